//! The verbs with options.

use std::future::Future;

use super::accepts::{Accepts, AnyPool};
use super::admit::Admit;
use super::in_order::InOrder;
use super::later::Later;
use super::scheduled::{self, time_from};
use super::verbs::{self, TaskOptions};
use super::weight;
use super::with::With;
use crate::cancel::{CancelToken, earlier};
use crate::engine::{SubmitOptions, WaitMode};
use crate::error::{CallError, SubmitAllError, SubmitError, SubmitErrorKind};
use crate::queue::KeptLane;
use crate::semaphore::SemaphorePermit;
use crate::sync::Arc;
use crate::task::handle::Handle;
use crate::task::state::TaskState;

/// The state of a task that a pool makes of an `X`.
type TaskStateOf<P, X> = Arc<TaskState<X, <P as Accepts<X>>::Output>>;

/// What the options amount to at the moment of a verb.
impl<'p, P: AnyPool> With<'p, P> {
    fn task_options(&self) -> TaskOptions {
        let due = self.due();
        let from = |limit| time_from(due, limit);
        let deadline = earlier(self.timeout.and_then(from), self.deadline);
        let start_by = self.max_queue_time.and_then(from);
        let (token, name) = (self.token.clone(), self.name.clone());
        TaskOptions { deadline, token, name, start_by, weight: self.weight, rate_key: self.rate_key, due }
    }

    /// The tenant's lane, which must be kept until the task is in. `None` for a task without a tenant.
    #[track_caller]
    pub(super) fn tenant_lane(&self) -> Option<KeptLane> {
        self.pool.engine().lane_of_tenant(self.tenant.as_ref())
    }

    pub(super) fn options<'t>(
        &self,
        tenant_lane: Option<&KeptLane>,
        token: Option<&'t CancelToken>,
        mode: WaitMode,
    ) -> SubmitOptions<'t> {
        let options = self.pool.engine().options(self.key, mode).with_token(token);
        tenant_lane.map_or(options, |lane| options.in_lane(lane.number()))
    }

    /// How long a blocking verb waits for room.
    fn mode(&self, task_options: &TaskOptions) -> WaitMode {
        match self.room_timeout.map(|limit| time_from(task_options.due, limit)) {
            Some(room) => earlier(room, task_options.deadline).map_or(WaitMode::Forever, WaitMode::Until),
            None => task_options.deadline.map_or_else(|| verbs::mode(self.pool), WaitMode::Until),
        }
    }

    /// What the verbs submit to if the tasks of a key are ordered, instead of the pool.
    pub(crate) fn lane(&self) -> Option<InOrder<P>> {
        self.order.map(|key| InOrder::new(self.pool, key))
    }

    #[track_caller]
    pub(super) fn enter<Q, X>(
        &self,
        pool: &Q,
        task_state: &TaskStateOf<Q, X>,
        mode: WaitMode,
    ) -> Result<(), SubmitError<X>>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        let token = task_state.meta().token.as_ref();
        if let Some(weight) = self.weight {
            let taken = weight::take(self.pool.shared(), weight, mode, token);
            self.hold(task_state, taken)?;
        }
        let tenant = self.tenant_lane();
        let options = self.options(tenant.as_ref(), token, mode);
        if task_state.meta().schedule().is_some() {
            return scheduled::schedule(pool, task_state, options);
        }
        verbs::enter(pool, task_state, options)
    }

    /// The task has its weight, or is refused.
    fn hold<X, O>(
        &self,
        task_state: &TaskState<X, O>,
        taken: Result<SemaphorePermit, SubmitErrorKind>,
    ) -> Result<(), SubmitError<X>> {
        let permit = taken.map_err(|kind| {
            self.pool.shared().note_refusal(kind);
            task_state.refused(kind)
        })?;
        if let Some(held) = task_state.meta().weight() {
            held.hold(permit);
        }
        Ok(())
    }

    #[track_caller]
    fn submit_for<X>(&self, x: X, task_options: TaskOptions, mode: WaitMode) -> Result<(), SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        match self.lane() {
            Some(lane) => self.submit_to(&lane, x, task_options, mode),
            None => self.submit_to(self.pool, x, task_options, mode),
        }
    }

    #[inline]
    #[track_caller]
    fn submit_to<Q, X>(&self, pool: &Q, x: X, task_options: TaskOptions, mode: WaitMode) -> Result<(), SubmitError<X>>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        if task_options.is_none() {
            let tenant = self.tenant_lane();
            return verbs::submit(pool, x, self.options(tenant.as_ref(), None, mode));
        }
        if let Some(due) = task_options.due {
            return self.submit_at(pool, due, x, task_options, mode);
        }
        let task_state = verbs::detached_state(pool, x, task_options.in_token());
        self.enter(pool, &task_state, mode)
    }

    #[track_caller]
    fn spawn_for<X>(&self, x: X, task_options: TaskOptions, mode: WaitMode) -> Result<Handle<P::Output>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        match self.lane() {
            Some(lane) => self.spawn_to(&lane, x, task_options, mode),
            None => self.spawn_to(self.pool, x, task_options, mode),
        }
    }

    #[inline]
    fn spawn_to<Q, X>(
        &self,
        pool: &Q,
        x: X,
        task_options: TaskOptions,
        mode: WaitMode,
    ) -> Result<Handle<Q::Output>, SubmitError<X>>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        let task_state = verbs::task_state(pool, x, task_options.in_token(), false);
        self.enter(pool, &task_state, mode)?;
        Ok(Handle::new(task_state))
    }

    #[track_caller]
    fn run_for<X>(&self, x: X, task_options: TaskOptions, mode: WaitMode) -> Result<P::Output, CallError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        match self.lane() {
            Some(lane) => self.run_on(&lane, x, task_options, mode),
            None => self.run_on(self.pool, x, task_options, mode),
        }
    }

    #[inline]
    #[track_caller]
    fn run_on<Q, X>(&self, pool: &Q, x: X, task_options: TaskOptions, mode: WaitMode) -> Result<Q::Output, CallError<X>>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        if task_options.is_none() {
            let tenant = self.tenant_lane();
            return verbs::run(pool, x, self.options(tenant.as_ref(), None, mode));
        }
        // Not on the caller's stack: a caller with a deadline may return before the task has ended.
        let task_state = verbs::task_state(pool, x, task_options, true);
        self.enter(pool, &task_state, mode)?;
        task_state.call().into_result()
    }

    pub(crate) fn has_no_weight(&self) -> bool {
        self.weight.is_none()
    }

    pub(crate) fn pool(&self) -> &'p P {
        self.pool
    }

    /// A task of `pool`, which is the pool or a lane of it, that enters later.
    #[track_caller]
    pub(crate) fn later_to<Q, X>(&self, pool: &Q, x: X) -> Later<Q::Shared, X, Q::Output>
    where
        Q: Accepts<X>,
        X: Send + 'static,
    {
        let has_more = self.after.is_some() || self.at.is_some() || self.weight.is_some();
        assert!(!has_more, "a task that waits for others has neither a time nor a weight");
        let tenant = self.tenant_lane();
        let options = self.options(tenant.as_ref(), None, WaitMode::Forever);
        Later::new::<Q>(pool.shared().clone(), x, self.task_options().in_token(), options, tenant, self.room_timeout)
    }

    /// Submits the task of a state as a future, which waits for room for at most as long as the options allow.
    async fn enter_async<X>(
        &self,
        lane: Option<InOrder<P>>,
        task_state: TaskStateOf<P, X>,
    ) -> Result<TaskStateOf<P, X>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        if task_state.meta().schedule().is_some() {
            let due = task_state.meta().schedule().map(|schedule| schedule.place().0);
            let room = self.room_timeout.and_then(|limit| time_from(due, limit));
            let mode = room.map_or(WaitMode::Forever, WaitMode::Until);
            let token = task_state.meta().token.as_ref();
            if let Some(weight) = self.weight {
                let taken = Box::pin(weight::take_async(self.pool.shared(), weight, token)).await;
                self.hold(&task_state, taken)?;
            }
            let tenant = self.tenant_lane();
            let options = self.options(tenant.as_ref(), token, mode);
            match &lane {
                Some(lane) => scheduled::schedule(lane, &task_state, options)?,
                None => scheduled::schedule(self.pool, &task_state, options)?,
            }
            return Ok(task_state);
        }
        // A future has no other way to give up than its token, so a limit becomes a child of it.
        let token = task_state.meta().token.clone();
        let room = self.room_timeout.map(|limit| {
            let token = token.as_ref().map_or_else(CancelToken::new, CancelToken::child);
            token.cancel_after(limit);
            token
        });
        let tenant = self.tenant_lane();
        let ends = room.as_ref().or(token.as_ref());
        if let Some(weight) = self.weight {
            // In a box, so that it adds nothing to the future of a task without a weight.
            let taken = Box::pin(weight::take_async(self.pool.shared(), weight, ends)).await;
            self.hold(&task_state, taken)?;
        }
        let options = self.options(tenant.as_ref(), ends, WaitMode::Forever);
        match lane {
            // In a box, so that it adds nothing to the future of a task without an order.
            Some(lane) => Box::pin(verbs::enter_async(&lane, task_state, options)).await,
            None => verbs::enter_async(self.pool, task_state, options).await,
        }
    }

    /// The state of a task, and what it is submitted to.
    fn task_state<X>(&self, x: X) -> (Option<InOrder<P>>, TaskStateOf<P, X>)
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let (lane, task_options) = (self.lane(), self.task_options().in_token());
        let task_state = match &lane {
            Some(lane) => verbs::task_state(lane, x, task_options, false),
            None => verbs::task_state(self.pool, x, task_options, false),
        };
        (lane, task_state)
    }
}

/// The verbs: as those of the pool, with the options.
impl<'p, P: AnyPool> With<'p, P> {
    /// Submits `x`; its result is dropped. Blocks while the pool is full.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.with().name("greet").submit(|| println!("hello"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with `x`: as `submit` of the pool; of kind `TimedOut` if the time for room is up or the deadline has passed; or of
    /// kind `Cancelled` if the token was cancelled before there was room.
    #[track_caller]
    pub fn submit<X>(&self, x: X) -> Result<(), SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let task_options = self.task_options();
        let mode = self.mode(&task_options);
        self.submit_for(x, task_options, mode)
    }

    /// As [`submit`](Self::submit), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let pause = pool.pause();
    /// let greet = pool.with().name("greet");
    /// greet.try_submit(|| println!("hello"))?;
    /// assert!(greet.try_submit(|| println!("hello")).unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit); of kind `Full` if there is no room.
    #[track_caller]
    pub fn try_submit<X>(&self, x: X) -> Result<(), SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        self.submit_for(x, self.task_options(), WaitMode::Never)
    }

    /// As [`submit`](Self::submit), but waits for room as a future. Dropping the future takes `x` back.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// pool.with().name("greet").submit_async(|| println!("hello")).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_async<X>(&self, x: X) -> impl Future<Output = Result<(), SubmitError<X>>> + Send + use<'p, P, X>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let (with, task_options) = (self.clone(), self.task_options().in_token());
        let needs_state = !task_options.is_none() || self.room_timeout.is_some() || self.pool.engine().propagates();
        let lane = self.lane();
        let task = match (&lane, needs_state) {
            (Some(lane), true) => Ok(verbs::detached_state(lane, x, task_options)),
            (None, true) => Ok(verbs::detached_state(self.pool, x, task_options)),
            (_, false) => Err(x),
        };
        async move {
            let task = match task {
                Ok(task_state) => return with.enter_async(lane, task_state).await.map(drop),
                Err(x) => x,
            };
            let tenant = with.tenant_lane();
            let options = with.options(tenant.as_ref(), None, WaitMode::Forever);
            match (task, lane) {
                (x, Some(lane)) => Box::pin(verbs::submit_async(&lane, x, options)).await,
                (x, None) => verbs::submit_async(with.pool, x, options).await,
            }
        }
    }

    /// Submits `x` and returns a handle to its result. Blocks while the pool is full.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.with().name("answer").spawn(|| 42)?.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[track_caller]
    pub fn spawn<X>(&self, x: X) -> Result<Handle<P::Output>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let task_options = self.task_options();
        let mode = self.mode(&task_options);
        self.spawn_for(x, task_options, mode)
    }

    /// As [`spawn`](Self::spawn), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.with().name("answer").try_spawn(|| 42)?.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    #[track_caller]
    pub fn try_spawn<X>(&self, x: X) -> Result<Handle<P::Output>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        self.spawn_for(x, self.task_options(), WaitMode::Never)
    }

    /// As [`spawn`](Self::spawn), but waits for room as a future. Dropping the future takes `x` back.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// let handle = pool.with().name("answer").spawn_async(|| 42).await?;
    /// assert_eq!(handle.await?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn spawn_async<X>(
        &self,
        x: X,
    ) -> impl Future<Output = Result<Handle<P::Output>, SubmitError<X>>> + Send + use<'p, P, X>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let (with, (lane, task_state)) = (self.clone(), self.task_state(x));
        async move { with.enter_async(lane, task_state).await.map(Handle::new) }
    }

    /// Runs `x` on a worker and waits for its result. Blocks while the pool is full, and then until the task has ended, its deadline
    /// passes, or its token is cancelled.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.with().timeout(std::time::Duration::from_secs(60)).run(|| 42)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with `x`, as by [`submit`](Self::submit); or failed, because it panicked, the deadline passed, or the token
    /// was cancelled.
    #[track_caller]
    pub fn run<X>(&self, x: X) -> Result<P::Output, CallError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let task_options = self.task_options();
        let mode = self.mode(&task_options);
        self.run_for(x, task_options, mode)
    }

    /// As [`run`](Self::run), but does not wait for room. It waits for the result.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.with().name("answer").try_run(|| 42)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run); refused with kind `Full` if there is no room.
    #[track_caller]
    pub fn try_run<X>(&self, x: X) -> Result<P::Output, CallError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        self.run_for(x, self.task_options(), WaitMode::Never)
    }

    /// As [`run`](Self::run), but waits as a future, first for room and then for the result. Dropping the future takes `x` back if it has
    /// not entered the pool yet; otherwise the task goes on.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.with().name("answer").run_async(|| 42).await?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_async<X>(&self, x: X) -> impl Future<Output = Result<P::Output, CallError<X>>> + Send + use<'p, P, X>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let (lane, task_state) = self.task_state(x);
        let (with, token) = (self.clone(), task_state.meta().token.clone());
        async move {
            let handle = with.enter_async(lane, task_state).await.map(Handle::new)?;
            Ok(verbs::outcome(handle, token.as_ref()).await?)
        }
    }

    /// Submits all that an iterator yields, in order, and returns how many there were. Blocks as [`submit`](Self::submit) does for each of
    /// them; the iterator may block too.
    ///
    /// The items of a `Vec`, a boxed slice, a `VecDeque`, an array of up to 32, a copied slice, or a range are at hand: they go in batches of
    /// up to 64, as far as there is room, with one step and one wake-up for a batch. Any other iterator may block, an adaptor of these too, so
    /// each of its items goes alone. So does each item where there is a name, a token or a time.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.with().name("batch").submit_all((0..3).map(|n| move || println!("{n}")))?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`], as [`submit`](Self::submit) for the first that is refused. It holds that one, the number of those accepted
    /// before, and the rest of the iterator.
    #[track_caller]
    pub fn submit_all<I>(&self, all: I) -> Result<usize, SubmitAllError<I::Item, I::IntoIter>>
    where
        I: IntoIterator,
        P: Accepts<I::Item>,
        I::Item: Send + 'static,
    {
        let submit = |x| self.submit(x);
        match self.task_options().is_none() && self.order.is_none() {
            true => {
                let tenant = self.tenant_lane();
                let options = self.options(tenant.as_ref(), None, WaitMode::Never);
                verbs::submit_all_plain(self.pool, all, options, submit)
            }
            false => verbs::submit_all(all, submit),
        }
    }
}
