//! The verbs with options.

use std::future::Future;

use super::accepts::{Accepts, AnyPool};
use super::verbs;
use super::with::With;
use crate::engine::WaitMode;
use crate::error::{CallError, SubmitAllError, SubmitError};
use crate::task::handle::Handle;

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
