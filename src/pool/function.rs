//! The pool of one function.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use super::accepts::{Accepts, AnyPool};
use super::control::PoolControl;
use super::verbs;
use super::with::With;
use crate::engine::{Engine, EngineRef, Runner, WaitMode};
use crate::error::{BoxError, BuildError, CallError, Cause, SubmitAllError, SubmitError, SubmitErrorKind};
use crate::pool::builder::Builder;
use crate::queue::{Dispatch, Stack};
use crate::task::deferred::Deferred;
use crate::task::handle::Handle;
use crate::task::job::Job;
use crate::task::liveness::Liveness;
use crate::task::running_tasks::Overdue;
use crate::task::state::{Completion, ReplySender, Retracted, RunOutcome, TaskRef, TaskState};

/// A pool that calls one function, bound when it is built, with payloads of one type. Nothing but the payload is queued, so
/// [`submit`](Self::submit) does not allocate.
///
/// A payload is moved by value a dozen times on its way through both threads' stacks: box what is larger than some 32 KiB.
///
/// ```
/// use formicary::PoolWithFunc;
///
/// let pool = PoolWithFunc::new(4, |word: &'static str| word.len())?;
/// assert_eq!(pool.run("formica")?, 7); // waits for the answer
/// pool.submit("rufa")?; // does not
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PoolWithFunc<T, D = Stack, R = ()>
where
    T: Send + 'static,
    D: Dispatch,
    R: Send + 'static,
{
    pub(crate) engine: Arc<Engine<CallFunc<T, R>, D>>,
    control: PoolControl<T>,
}

/// Calls the bound function.
pub struct CallFunc<T, R> {
    func: Arc<dyn Fn(T) -> R + Send + Sync>,
    overdue: Overdue,
}

impl<T, R> CallFunc<T, R> {
    pub(crate) fn new(func: impl Fn(T) -> R + Send + Sync + 'static) -> Self {
        CallFunc { func: Arc::new(func), overdue: Overdue::default() }
    }
}

impl<T: Send + 'static, R: Send + 'static> Runner for CallFunc<T, R> {
    type Item = Job<T, R>;
    type State = ();
    type Returned = T;

    fn start(&self, _worker: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn run(&self, _state: &mut (), item: Job<T, R>, completion: &mut Completion) -> RunOutcome {
        item.run(completion, None, |payload, _| (self.func)(payload))
    }

    fn overdue(&self) -> &Overdue {
        &self.overdue
    }

    fn spare_state(&self) -> Option<()> {
        Some(())
    }

    fn deferred(deferred: Deferred<Job<T, R>, T>) -> Job<T, R> {
        Job::Deferred(Box::new(deferred))
    }

    fn liveness(item: &Job<T, R>) -> Liveness {
        item.liveness()
    }

    fn retract(item: Job<T, R>, kind: SubmitErrorKind, cause: Cause) -> Retracted<T> {
        item.retract(kind, cause)
    }
}

/// Builds a [`PoolWithFunc`]; made by [`PoolWithFunc::builder`].
///
/// ```
/// let pool = formicary::PoolWithFunc::builder(|n: u64| n + 1).workers(1).build()?;
/// assert_eq!(pool.run(1)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Function<F, T, R>(F, PhantomData<fn(T) -> R>);

impl<F, T, R, D: Dispatch> Builder<Function<F, T, R>, D>
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    /// Builds the pool and starts its minimum of workers.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::builder(|n: u64| n + 1).workers(1).build()?;
    /// assert_eq!(pool.run(1)?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`], which names the option that was wrong, or why the first worker could not start.
    pub fn build(self) -> Result<PoolWithFunc<T, D, R>, BuildError> {
        Engine::build(self.options, CallFunc::new(self.kind.0)).map(PoolWithFunc::from_engine)
    }
}

impl<T: Send + 'static, R: Send + 'static> PoolWithFunc<T, Stack, R> {
    /// A pool of at most `workers` workers that call `func`, all else as the [`Builder`]'s defaults.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(4, |n: u64| n * n)?;
    /// assert_eq!(pool.run(9)?, 81);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too many, or if the system gives no thread.
    pub fn new(workers: usize, func: impl Fn(T) -> R + Send + Sync + 'static) -> Result<Self, BuildError> {
        Self::builder(func).workers(workers).build()
    }

    /// A builder for a pool that calls `func`.
    ///
    /// ```
    /// use formicary::PoolWithFunc;
    ///
    /// let pool = PoolWithFunc::builder(|n: u64| n * n).workers(2).queue(16).build()?;
    /// assert_eq!(pool.run(7)?, 49);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder<F>(func: F) -> Builder<Function<F, T, R>>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
    {
        Builder::of(Function(func, PhantomData))
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    pub(crate) fn from_engine(engine: Arc<Engine<CallFunc<T, R>, D>>) -> Self {
        let control = PoolControl::new(Arc::new(EngineRef(Arc::clone(&engine))), "PoolWithFunc");
        PoolWithFunc { engine, control }
    }

    /// As [`new`](PoolWithFunc::new), for any dispatch.
    ///
    /// ```
    /// use formicary::{PoolWithFunc, Ring};
    ///
    /// let pool = PoolWithFunc::<u64, Ring, u64>::with_workers(4, |n| n * n)?;
    /// assert_eq!(pool.run(9)?, 81);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too many, or if the system gives no thread.
    pub fn with_workers(workers: usize, func: impl Fn(T) -> R + Send + Sync + 'static) -> Result<Self, BuildError> {
        PoolWithFunc::builder(func).workers(workers).dispatch::<D>().build()
    }
}

/// The verbs.
impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    /// Submits a payload. What the function returns is dropped on the worker.
    ///
    /// Blocks while the pool is full: where as many tasks are unfinished as there are workers and places in the queue. On a
    /// [`nonblocking`](crate::Builder::nonblocking) pool it is refused instead. On a thread of the pool itself it never waits for room:
    /// see [`Builder::nested`](crate::Builder::nested).
    ///
    /// ```
    /// let printer = formicary::PoolWithFunc::new(1, |word: &str| println!("{word}"))?;
    /// printer.submit("formica")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the payload: if the pool is closed, or has no worker and the system gives no thread; if it is full, or too many
    /// wait already ([`max_blocking`](crate::Builder::max_blocking)), where it is not to be waited for.
    #[doc(alias("execute", "go", "invoke"))]
    pub fn submit(&self, payload: T) -> Result<(), SubmitError<T>> {
        verbs::submit(self, payload, verbs::mode(self))
    }

    /// As [`submit`](Self::submit), but never blocks.
    ///
    /// ```
    /// let pause = std::time::Duration::from_millis(20);
    /// let sleeper = formicary::PoolWithFunc::builder(std::thread::sleep).workers(1).queue(0).build()?;
    /// sleeper.try_submit(pause)?;
    /// assert!(sleeper.try_submit(pause).is_err_and(|refusal| refusal.is_full()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`; of kind `Full` if there is no room.
    #[doc(alias("try_invoke", "try_execute"))]
    pub fn try_submit(&self, payload: T) -> Result<(), SubmitError<T>> {
        verbs::submit(self, payload, WaitMode::Never)
    }

    /// As [`submit`](Self::submit), but waits for room as a future, which blocks no thread. Dropping the future takes the task back.
    /// Futures wait in one line with blocked threads; one that was woken and does not come is passed over.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// lengths.submit_async("formica").await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`, also on a `nonblocking` pool: a future that waits blocks nobody.
    ///
    /// # Panics
    /// If it is polled after it was ready.
    pub fn submit_async(&self, payload: T) -> impl Future<Output = Result<(), SubmitError<T>>> + Send {
        verbs::submit_async(self, payload, WaitMode::Forever.into())
    }

    /// Submits all that an iterator gives, in order, and says how many there were. Blocks where one of them finds the pool full; the
    /// iterator may block too.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// assert_eq!(lengths.submit_all(["formica", "lasius"])?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`], as `submit` for the first that is refused: with that one, the number of those before it, and the rest of the
    /// iterator.
    pub fn submit_all<I>(&self, all: I) -> Result<usize, SubmitAllError<T, I::IntoIter>>
    where
        I: IntoIterator<Item = T>,
    {
        verbs::submit_all(all, |x| self.submit(x))
    }

    /// Submits a payload and returns a [`Handle`] to what the function makes of it. Blocks as [`submit`](Self::submit) does.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// assert_eq!(lengths.spawn("formica")?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[doc(alias("spawn_blocking"))]
    pub fn spawn(&self, payload: T) -> Result<Handle<R>, SubmitError<T>> {
        verbs::spawn(self, payload, verbs::mode(self))
    }

    /// As [`spawn`](Self::spawn), but never blocks.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// assert_eq!(lengths.try_spawn("formica")?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_spawn(&self, payload: T) -> Result<Handle<R>, SubmitError<T>> {
        verbs::spawn(self, payload, WaitMode::Never)
    }

    /// As [`spawn`](Self::spawn), but waits for room as a future; the handle is one for the result.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// let handle = lengths.spawn_async("formica").await?;
    /// assert_eq!(handle.await?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit_async`](Self::submit_async).
    pub fn spawn_async(&self, payload: T) -> impl Future<Output = Result<Handle<R>, SubmitError<T>>> + Send {
        verbs::spawn_async(self, payload)
    }

    /// Runs the function on a worker and waits for its result. On a thread of the pool itself it runs on the spot.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// assert_eq!(lengths.run("formica")?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the payload, as [`submit`](Self::submit) or because the pool was closed before the task started; or
    /// failed: it panicked.
    #[doc(alias("call", "process", "install"))]
    pub fn run(&self, payload: T) -> Result<R, CallError<T>> {
        verbs::run(self, payload, verbs::mode(self).into())
    }

    /// As [`run`](Self::run), but does not wait for room; for the result it does.
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// assert_eq!(lengths.try_run("formica")?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`; refused with kind `Full` if there is no room.
    pub fn try_run(&self, payload: T) -> Result<R, CallError<T>> {
        verbs::run(self, payload, WaitMode::Never.into())
    }

    /// As [`run`](Self::run), but waits as a future, for room and then for the result. Dropping the future takes the task back if it had
    /// no room yet, and lets it go on otherwise.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// assert_eq!(lengths.run_async("formica").await?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`.
    pub fn run_async(&self, payload: T) -> impl Future<Output = Result<R, CallError<T>>> + Send {
        verbs::run_async(self, payload)
    }

    /// Options for what is submitted next: a token, a deadline, a name, a key. See [`With`].
    ///
    /// ```
    /// let lengths = formicary::PoolWithFunc::new(1, |word: &'static str| word.len())?;
    /// let limit = std::time::Duration::from_secs(60);
    /// assert_eq!(lengths.with().timeout(limit).run("formica")?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with(&self) -> With<'_, Self> {
        With::new(self)
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> Deref for PoolWithFunc<T, D, R> {
    type Target = PoolControl<T>;

    fn deref(&self) -> &PoolControl<T> {
        &self.control
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> fmt::Debug for PoolWithFunc<T, D, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.control.fmt(f)
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> AnyPool for PoolWithFunc<T, D, R> {
    type Runner = CallFunc<T, R>;
    type Dispatch = D;

    fn engine(&self) -> &Arc<Engine<CallFunc<T, R>, D>> {
        &self.engine
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> Accepts<T> for PoolWithFunc<T, D, R> {
    type Output = R;

    #[inline]
    fn plain(payload: T) -> Job<T, R> {
        Job::Plain(payload)
    }

    fn into_input(job: Job<T, R>) -> T {
        job.into_payload()
    }

    fn called(payload: T, sender: ReplySender<T, R>) -> Job<T, R> {
        Job::Called(payload, sender)
    }

    fn answered(task_state: &Arc<TaskState<T, R>>) -> Job<T, R> {
        Job::Answered(TaskRef::new(task_state))
    }

    fn run_inline(&self, task_state: &Arc<TaskState<T, R>>) -> bool {
        self.engine.run_inline(task_state, |payload| (self.engine.runner().func)(payload))
    }
}
