//! Options of a submission, given before the verb.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::accepts::{Accepts, AnyPool};
use super::verbs::{self, TaskOptions};
use crate::cancel::{CancelToken, earlier};
use crate::engine::{SubmitOptions, WaitMode};
use crate::error::{CallError, SubmitAllError, SubmitError};
use crate::queue::Sharded;
use crate::sync::Arc;
use crate::sync::clock::deadline;
use crate::task::handle::Handle;
use crate::task::state::TaskState;

/// A pool, or a [`Limited`](crate::Limited) view of one, and options for what is submitted next; made by `with()` of each.
///
/// The options may be combined, and the value may be kept, cloned and used any number of times. Each method that sets an option takes
/// the value and gives it back; each verb borrows it. Durations count from the verb, not from `with()`.
///
/// | option | what it sets | default |
/// |---|---|---|
/// | [`key`](Self::key) | the shard that the task goes to (on [`Sharded`] pools and their views) | the shard with room |
/// | [`room_timeout`](Self::room_timeout) | how long a submitter waits for room | as long as it takes; not at all on a [`nonblocking`](crate::Builder::nonblocking) pool |
/// | [`timeout`](Self::timeout), [`deadline`](Self::deadline) | when the task is to be over, with its wait for room, its wait in the queue, and its run | never |
/// | [`token`](Self::token) | the token that cancels the task, and the wait for room | none |
/// | [`name`](Self::name) | what the task is called in panic reports and [`Context::name`](crate::Context::name) | nothing |
///
/// A verb without options costs less than one with a token, a deadline or a name, for which the task gets a slot on the heap.
///
/// ```
/// use std::time::Duration;
/// use formicary::{CancelToken, Context, Pool};
///
/// let pool = Pool::new(2)?;
/// let token = CancelToken::new();
/// let resize = pool.with().token(&token).timeout(Duration::from_secs(60)).name("resize");
/// let name = resize.run(|| Context::with(|cx| cx.name().map(str::to_owned)))?;
/// assert_eq!(name.flatten().as_deref(), Some("resize"));
/// token.cancel();
/// assert!(resize.spawn(|| ()).unwrap_err().is_cancelled());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "options do nothing until a verb is called on them"]
pub struct With<'p, P> {
    pool: &'p P,
    /// What the queue knows the key by.
    key: Option<u64>,
    room_timeout: Option<Duration>,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    token: Option<CancelToken>,
    name: Option<Arc<str>>,
}

impl<P> Clone for With<'_, P> {
    fn clone(&self) -> Self {
        With { token: self.token.clone(), name: self.name.clone(), ..*self }
    }
}

/// The options.
impl<'p, P> With<'p, P> {
    pub(crate) fn new(pool: &'p P) -> Self {
        With { pool, key: None, room_timeout: None, timeout: None, deadline: None, token: None, name: None }
    }

    /// Bounds the wait for room; what happens to the task afterwards is not bounded. Also makes a verb wait on a
    /// [`nonblocking`](crate::Builder::nonblocking) pool. The `try_` verbs never wait, whatever it says.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// let refusal = pool.with().room_timeout(std::time::Duration::from_millis(1)).submit(|| ()).unwrap_err();
    /// assert!(refusal.is_timed_out());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn room_timeout(mut self, limit: Duration) -> Self {
        self.room_timeout = Some(limit);
        self
    }

    /// Bounds everything: the wait for room, the time in the queue, and the run, counted from the verb. A task that has not started by
    /// then does not start; one that runs is told to stop ([`Context::is_cancelled`](crate::Context::is_cancelled)). `run` returns
    /// when the time is up, also while the task still runs. With a [`deadline`](Self::deadline), the earlier counts.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// let error = pool.with().timeout(std::time::Duration::from_millis(5)).run(move || drop(gate.recv())).unwrap_err();
    /// assert!(error.is_timed_out());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The same as a moment.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let late = pool.with().deadline(std::time::Instant::now());
    /// assert!(late.submit(|| ()).unwrap_err().is_timed_out());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Ties the task to a token: when that is cancelled, a submitter stops waiting for room, a task that has not started does not start,
    /// and one that runs is told to stop.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let token = formicary::CancelToken::new();
    /// let (asks, cancelled) = (token.clone(), pool.with().token(&token));
    /// let stopped = cancelled.spawn(move || {
    ///     asks.cancel();
    ///     formicary::Context::with(|cx| cx.is_cancelled())
    /// })?;
    /// assert_eq!(stopped.join()?, Some(true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn token(mut self, token: &CancelToken) -> Self {
        self.token = Some(token.clone());
        self
    }

    /// Names the task, for panic handlers ([`TaskPanic::task`](crate::TaskPanic::task)) and for itself
    /// ([`Context::name`](crate::Context::name)). The name is kept once, however many tasks are submitted under it.
    ///
    /// ```
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .panic_handler(move |panic| tell.send(panic.task().map(str::to_owned)).unwrap())
    ///     .build()?;
    /// pool.with().name("fragile").submit(|| panic!("broken"))?;
    /// assert_eq!(told.recv()?.as_deref(), Some("fragile"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl<P: AnyPool<Dispatch = Sharded>> With<'_, P> {
    /// Sends the task to the shard of a key: all tasks of one key go to the same shard, so that one tenant cannot fill them all. If that
    /// shard is full the verb waits or is refused, although others may have room. Which shard it is differs from pool to pool
    /// ([`PoolControl::shard_of`](crate::PoolControl::shard_of)), so nobody can choose keys that share one everywhere.
    ///
    /// ```
    /// use formicary::{Pool, Sharded};
    ///
    /// let pool = Pool::builder().workers(2).dispatch::<Sharded>().build()?;
    /// let acme = pool.with().key("acme");
    /// acme.submit(|| ())?;
    /// assert_eq!(acme.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn key(mut self, key: impl Hash) -> Self {
        self.key = Some(self.pool.engine().number_of(key));
        self
    }
}

/// What the options come to, from the moment of a verb.
impl<'p, P: AnyPool> With<'p, P> {
    fn task_options(&self) -> TaskOptions {
        let deadline = earlier(self.timeout.and_then(deadline), self.deadline);
        TaskOptions { deadline, token: self.token.clone(), name: self.name.clone() }
    }

    fn options<'t>(&self, token: Option<&'t CancelToken>, mode: WaitMode) -> SubmitOptions<'t> {
        self.pool.engine().options(self.key, mode).with_token(token)
    }

    /// How long a blocking verb waits for room.
    fn mode(&self, task_options: &TaskOptions) -> WaitMode {
        match self.room_timeout.map(deadline) {
            Some(room) => earlier(room, task_options.deadline).map_or(WaitMode::Forever, WaitMode::Until),
            None => task_options.deadline.map_or_else(|| verbs::mode(self.pool), WaitMode::Until),
        }
    }

    fn enter<X>(&self, task_state: &TaskStateOf<P, X>, mode: WaitMode) -> Result<(), SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        verbs::enter(self.pool, task_state, self.options(task_state.meta().token.as_ref(), mode))
    }

    fn submit_for<X>(&self, x: X, task_options: TaskOptions, mode: WaitMode) -> Result<(), SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        if task_options.is_none() {
            return verbs::submit(self.pool, x, self.options(None, mode));
        }
        let task_state = verbs::task_state(self.pool, x, task_options.in_token(), false);
        // Before it can end, so that its result is dropped on the worker.
        task_state.detach();
        self.enter(&task_state, mode)
    }

    fn spawn_for<X>(&self, x: X, task_options: TaskOptions, mode: WaitMode) -> Result<Handle<P::Output>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let task_state = verbs::task_state(self.pool, x, task_options.in_token(), false);
        self.enter(&task_state, mode)?;
        Ok(Handle::new(task_state))
    }

    fn run_for<X>(&self, x: X, task_options: TaskOptions, mode: WaitMode) -> Result<P::Output, CallError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        if task_options.is_none() {
            return verbs::run(self.pool, x, self.options(None, mode));
        }
        // Who has a deadline may leave before the answer is there.
        let task_state = verbs::task_state(self.pool, x, task_options, true);
        self.enter(&task_state, mode)?;
        task_state.call().into_result()
    }

    /// Enters the task of a slot as a future, for at most as long as the options allow for room.
    async fn enter_async<X>(self, task_state: TaskStateOf<P, X>) -> Result<TaskStateOf<P, X>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        // A future gives up by its token alone.
        let token = task_state.meta().token.clone();
        let room = self.room_timeout.map(|limit| {
            let token = token.as_ref().map_or_else(CancelToken::new, CancelToken::child);
            token.cancel_after(limit);
            token
        });
        verbs::enter_async(self.pool, task_state, self.options(room.as_ref().or(token.as_ref()), WaitMode::Forever))
            .await
    }
}

/// The slot of a task that a pool makes of an `X`.
type TaskStateOf<P, X> = Arc<TaskState<X, <P as Accepts<X>>::Output>>;

/// The verbs: each as that of the pool or view, with the options.
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
    /// [`SubmitError`], with `x`: as `submit` of the pool, of kind `TimedOut` if the time for room is up or the deadline is over, or of kind
    /// `Cancelled` if the token was cancelled before there was room.
    pub fn submit<X>(&self, x: X) -> Result<(), SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let task_options = self.task_options();
        let mode = self.mode(&task_options);
        self.submit_for(x, task_options, mode)
    }

    /// The same, but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.with().name("greet").try_submit(|| println!("hello"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit); of kind `Full` if there is no room.
    pub fn try_submit<X>(&self, x: X) -> Result<(), SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        self.submit_for(x, self.task_options(), WaitMode::Never)
    }

    /// The same, but waits for room as a future. Dropping the future takes the task back.
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
        async move {
            if task_options.is_none() && with.room_timeout.is_none() {
                return verbs::submit_async(with.pool, x, with.options(None, WaitMode::Forever)).await;
            }
            let task_state = verbs::task_state(with.pool, x, task_options, false);
            task_state.detach();
            with.enter_async(task_state).await.map(drop)
        }
    }

    /// Submits all that an iterator gives, in order; says how many there were. Blocks where one of them finds the pool full.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.with().name("batch").submit_all((0..3).map(|n| move || println!("{n}")))?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`], as [`submit`](Self::submit) for the first that is refused: with that one, the number of those before it, and
    /// the rest of the iterator.
    pub fn submit_all<I>(&self, all: I) -> Result<usize, SubmitAllError<I::Item, I::IntoIter>>
    where
        I: IntoIterator,
        P: Accepts<I::Item>,
        I::Item: Send + 'static,
    {
        verbs::submit_all(all, |x| self.submit(x))
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
    pub fn spawn<X>(&self, x: X) -> Result<Handle<P::Output>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let task_options = self.task_options();
        let mode = self.mode(&task_options);
        self.spawn_for(x, task_options, mode)
    }

    /// The same, but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.with().name("answer").try_spawn(|| 42)?.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_spawn<X>(&self, x: X) -> Result<Handle<P::Output>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        self.spawn_for(x, self.task_options(), WaitMode::Never)
    }

    /// The same, but waits for room as a future. Dropping the future takes the task back.
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
        let task_state = verbs::task_state(self.pool, x, self.task_options().in_token(), false);
        let with = self.clone();
        async move { with.enter_async(task_state).await.map(Handle::new) }
    }

    /// Runs `x` on a worker and waits for its result. Blocks while the pool is full and until the task has ended, or until its
    /// deadline, or until its token is cancelled.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.with().timeout(std::time::Duration::from_secs(60)).run(|| 42)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with `x`, as [`submit`](Self::submit); or failed: it panicked, the deadline came, or the token was cancelled.
    pub fn run<X>(&self, x: X) -> Result<P::Output, CallError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        let task_options = self.task_options();
        let mode = self.mode(&task_options);
        self.run_for(x, task_options, mode)
    }

    /// The same, but does not wait for room; for the result it does.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.with().name("answer").try_run(|| 42)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run); refused with kind `Full` if there is no room.
    pub fn try_run<X>(&self, x: X) -> Result<P::Output, CallError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        self.run_for(x, self.task_options(), WaitMode::Never)
    }

    /// The same, but waits as a future, for room and then for the result. Dropping the future takes the task back if it had no room
    /// yet, and lets it go on otherwise.
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
        let task_state = verbs::task_state(self.pool, x, self.task_options().in_token(), false);
        let (with, token) = (self.clone(), task_state.meta().token.clone());
        async move {
            let handle = with.enter_async(task_state).await.map(Handle::new)?;
            Ok(verbs::outcome(handle, token.as_ref()).await?)
        }
    }
}

impl<P> fmt::Debug for With<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("With")
            .field("has_key", &self.key.is_some())
            .field("room_timeout", &self.room_timeout)
            .field("timeout", &self.timeout)
            .field("deadline", &self.deadline)
            .field("has_token", &self.token.is_some())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
