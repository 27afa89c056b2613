//! The pool of closures: its kinds, and how it is built.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::accepts::{Accepts, AnyPool};
use super::answered::{Answered, Called, CalledTask};
use super::control::PoolControl;
use super::verbs;
use super::with::With;
use crate::engine::{Engine, EngineRef, Runner, WaitMode};
use crate::error::{BoxError, BuildError, CallError, Cause, SubmitAllError, SubmitError, SubmitErrorKind};
use crate::pool::builder::Builder;
use crate::queue::{Dispatch, Ring, Sharded, Stack};
use crate::task::closure::Task;
use crate::task::deferred::Deferred;
use crate::task::handle::Handle;
use crate::task::liveness::Liveness;
use crate::task::running_tasks::Overdue;
use crate::task::state::{Completion, ReplySender, Retracted, Run, RunOutcome, TaskRef, TaskState};

/// A pool that runs closures.
///
/// [`submit`](Self::submit) hands one over and goes on, [`spawn`](Self::spawn) also gives a [`Handle`] to
/// its result, [`run`](Self::run) waits for the result. Share a pool between threads in an [`Arc`].
///
/// ```
/// use formicary::Pool;
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
/// use std::sync::Arc;
///
/// let pool = Pool::new(4)?;
/// let sum = Arc::new(AtomicUsize::new(0));
/// for n in 1..=100 {
///     let sum = sum.clone();
///     pool.submit(move || { sum.fetch_add(n, Relaxed); })?;
/// }
/// pool.wait_idle();
/// assert_eq!(sum.load(Relaxed), 5050);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool<D: Dispatch = Stack> {
    pub(crate) engine: Arc<Engine<CallTask, D>>,
    control: PoolControl<Task>,
}

/// A pool of closures with a LIFO stack of idle workers.
///
/// ```
/// assert_eq!(formicary::StackPool::with_workers(2)?.run(|| 7)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type StackPool = Pool<Stack>;

/// A pool of closures with a loop queue: a lock-free ring.
///
/// ```
/// assert_eq!(formicary::LoopPool::with_workers(2)?.run(|| 7)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type LoopPool = Pool<Ring>;

/// A pool of closures with several queues.
///
/// ```
/// assert_eq!(formicary::ShardedPool::with_workers(2)?.run(|| 7)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type ShardedPool = Pool<Sharded>;

/// Runs tasks: there is nothing to it.
#[derive(Default)]
pub struct CallTask {
    overdue: Overdue,
}

impl Runner for CallTask {
    type Item = Task;
    type State = ();
    type Returned = Task;

    fn start(&self, _worker: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn run(&self, _state: &mut (), item: Task, completion: &mut Completion) -> RunOutcome {
        item.call(completion)
    }

    fn overdue(&self) -> &Overdue {
        &self.overdue
    }

    fn spare_state(&self) -> Option<()> {
        Some(())
    }

    fn deferred(deferred: Deferred<Task, Task>) -> Task {
        Task::from_body(deferred)
    }

    fn liveness(item: &Task) -> Liveness {
        item.liveness()
    }

    fn retract(item: Task, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        item.retract(kind, cause)
    }
}

/// Builds a [`Pool`]; made by [`Pool::builder`].
///
/// ```
/// let builder: formicary::Builder<formicary::Closures> = formicary::Pool::builder();
/// assert!(builder.build().is_ok());
/// ```
#[derive(Debug)]
pub struct Closures;

impl<D: Dispatch> Builder<Closures, D> {
    /// Builds the pool and starts its minimum of workers.
    ///
    /// ```
    /// let error = formicary::Pool::builder().workers(2).min_workers(3).build().unwrap_err();
    /// assert_eq!(error.to_string(), "min_workers is 3, which is above workers, 2");
    /// ```
    ///
    /// # Errors
    /// [`BuildError`], which names the option that was wrong, or why the first worker could not start.
    pub fn build(self) -> Result<Pool<D>, BuildError> {
        Engine::build(self.options, CallTask::default()).map(Pool::from_engine)
    }
}

impl Pool<Stack> {
    /// A pool of at most `workers` workers, all else as the [`Builder`]'s defaults.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.capacity(), 4);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too many, or if the system gives no thread.
    pub fn new(workers: usize) -> Result<Self, BuildError> {
        Self::builder().workers(workers).build()
    }

    /// A builder for a pool of closures.
    ///
    /// ```
    /// use formicary::Pool;
    ///
    /// let pool = Pool::builder().workers(2).queue(0).thread_name("mill").build()?;
    /// assert_eq!(pool.capacity(), 2);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn builder() -> Builder<Closures> {
        Builder::of(Closures)
    }

    /// A pool of the whole process, as [`Pool::default`] makes one. It is made when it is first asked for, and never dropped. The
    /// crate does not use it itself.
    ///
    /// When the process ends, nothing waits for this pool: its threads end wherever they are, and what is queued never runs. A program
    /// that must not lose tasks waits for them: with [`wait_idle`](crate::PoolControl::wait_idle), or by their handles.
    ///
    /// Everybody in the process shares it, so whatever changes it changes it for all. After a
    /// [`shutdown`](crate::PoolControl::shutdown) it refuses everybody's tasks, until somebody restarts it. A library that needs a pool
    /// to itself makes one.
    ///
    /// ```
    /// use formicary::Pool;
    ///
    /// assert_eq!(Pool::global().run(|| 6 * 7)?, 42);
    /// assert!(std::ptr::eq(Pool::global(), Pool::global()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn global() -> &'static Self {
        // The standard library's, also in a model: a static cannot be one of a checker's.
        static GLOBAL: OnceLock<Pool> = OnceLock::new();
        GLOBAL.get_or_init(Pool::default)
    }
}

/// A worker for each processor that the process may use, started when tasks need it; all else as the [`Builder`]'s defaults. It
/// starts no thread yet, so it cannot fail.
///
/// With no worker at all a pool may have to run a task on the submitter's thread: see [`Builder::min_workers`].
///
/// ```
/// use formicary::Pool;
///
/// let pool = Pool::default();
/// assert_eq!(pool.stats().live, 0);
/// assert_eq!(pool.run(|| 6 * 7)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Default for Pool<Stack> {
    fn default() -> Self {
        match Self::builder().min_workers(0).build() {
            Ok(pool) => pool,
            Err(error) => unreachable!("the defaults are good, and no thread is started: {error}"),
        }
    }
}

impl<D: Dispatch> Pool<D> {
    pub(crate) fn from_engine(engine: Arc<Engine<CallTask, D>>) -> Self {
        let control = PoolControl::new(Arc::new(EngineRef(Arc::clone(&engine))), "Pool");
        Pool { engine, control }
    }

    /// As [`new`](Pool::new), for any dispatch.
    ///
    /// ```
    /// let pool = formicary::LoopPool::with_workers(4)?;
    /// assert_eq!(pool.capacity(), 4);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too many, or if the system gives no thread.
    pub fn with_workers(workers: usize) -> Result<Self, BuildError> {
        Pool::builder().workers(workers).dispatch::<D>().build()
    }
}

/// The verbs.
impl<D: Dispatch> Pool<D> {
    /// Submits a closure. What it returns is dropped on the worker.
    ///
    /// Blocks while the pool is full: where as many tasks are unfinished as there are workers and places in the queue. On a
    /// [`nonblocking`](crate::Builder::nonblocking) pool it is refused instead. On a thread of the pool itself it never waits for room:
    /// see [`Builder::nested`](crate::Builder::nested).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| println!("on a worker"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure: if the pool is closed, or has no worker and the system gives no thread; if it is full, or too many
    /// wait already ([`max_blocking`](crate::Builder::max_blocking)), where it is not to be waited for.
    #[doc(alias("execute", "go", "invoke"))]
    pub fn submit<F, T>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::submit(self, f, verbs::mode(self))
    }

    /// As [`submit`](Self::submit), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.try_submit(move || drop(gate.recv()))?;
    /// assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`; of kind `Full` if there is no room.
    #[doc(alias("try_invoke", "try_execute"))]
    pub fn try_submit<F, T>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::submit(self, f, WaitMode::Never)
    }

    /// As [`submit`](Self::submit), but waits for room as a future, which blocks no thread. Dropping the future takes the task back.
    /// Futures wait in one line with blocked threads; one that was woken and does not come is passed over.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit_async(|| println!("on a worker")).await?;
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
    pub fn submit_async<F, T>(&self, f: F) -> impl Future<Output = Result<(), SubmitError<F>>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::submit_async(self, f, WaitMode::Forever.into())
    }

    /// Submits all that an iterator gives, in order, and says how many there were. Blocks where one of them finds the pool full; the
    /// iterator may block too.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.submit_all((0..3).map(|n| move || println!("{n}")))?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`], as `submit` for the first that is refused: with that one, the number of those before it, and the rest of the
    /// iterator.
    pub fn submit_all<F, T, I>(&self, all: I) -> Result<usize, SubmitAllError<F, I::IntoIter>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
        I: IntoIterator<Item = F>,
    {
        verbs::submit_all(all, |x| self.submit(x))
    }

    /// Submits a closure and returns a [`Handle`] to its result: to join, to await, to cancel. Blocks as [`submit`](Self::submit) does.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.spawn(|| 6 * 7)?.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[doc(alias("spawn_blocking"))]
    pub fn spawn<F, T>(&self, f: F) -> Result<Handle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::spawn(self, f, verbs::mode(self))
    }

    /// As [`spawn`](Self::spawn), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.try_spawn(|| 6 * 7)?.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_spawn<F, T>(&self, f: F) -> Result<Handle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::spawn(self, f, WaitMode::Never)
    }

    /// As [`spawn`](Self::spawn), but waits for room as a future; the handle is one for the result.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// let handle = pool.spawn_async(|| 6 * 7).await?;
    /// assert_eq!(handle.await?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit_async`](Self::submit_async).
    pub fn spawn_async<F, T>(&self, f: F) -> impl Future<Output = Result<Handle<T>, SubmitError<F>>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::spawn_async(self, f)
    }

    /// Runs a closure on a worker and waits for its result. On a thread of the pool itself the closure runs on the spot.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.run(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the closure, as [`submit`](Self::submit) or because the pool was closed before the task started; or
    /// failed: it panicked.
    #[doc(alias("call", "process", "install"))]
    pub fn run<F, T>(&self, f: F) -> Result<T, CallError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::run(self, f, verbs::mode(self).into())
    }

    /// As [`run`](Self::run), but does not wait for room; for the result it does.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.try_run(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`; refused with kind `Full` if there is no room.
    pub fn try_run<F, T>(&self, f: F) -> Result<T, CallError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::run(self, f, WaitMode::Never.into())
    }

    /// As [`run`](Self::run), but waits as a future, for room and then for the result. Dropping the future takes the task back if it had
    /// no room yet, and lets it go on otherwise.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.run_async(|| 6 * 7).await?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`.
    pub fn run_async<F, T>(&self, f: F) -> impl Future<Output = Result<T, CallError<F>>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::run_async(self, f)
    }

    /// Options for what is submitted next: a token, a deadline, a name, a key. See [`With`].
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let limit = std::time::Duration::from_secs(60);
    /// assert_eq!(pool.with().timeout(limit).name("answer").run(|| 42)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with(&self) -> With<'_, Self> {
        With::new(self)
    }
}

impl<D: Dispatch> Deref for Pool<D> {
    type Target = PoolControl<Task>;

    fn deref(&self) -> &PoolControl<Task> {
        &self.control
    }
}

impl<D: Dispatch> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.control.fmt(f)
    }
}

impl<D: Dispatch> AnyPool for Pool<D> {
    type Runner = CallTask;
    type Dispatch = D;

    fn engine(&self) -> &Arc<Engine<CallTask, D>> {
        &self.engine
    }
}

impl<F, T, D> Accepts<F> for Pool<D>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
    D: Dispatch,
{
    type Output = T;

    const RUN_HERE: Option<Run<F, T>> = Some(|f, _| f());

    #[inline]
    fn plain(f: F) -> Task {
        Task::from_closure(f)
    }

    fn into_input(task: Task) -> F {
        task.into_closure()
    }

    fn called(f: F, sender: ReplySender<F, T>) -> Task {
        Task::from_body(Called(f, sender))
    }

    fn answered(task_state: &Arc<TaskState<F, T>>) -> Task {
        Task::from_body(Answered(TaskRef::new(task_state), |f, _| f()))
    }

    fn run_inline(&self, task_state: &Arc<TaskState<F, T>>) -> bool {
        self.engine.run_inline(task_state, |f| f())
    }
}

/// A closure that is wrapped already.
impl<D: Dispatch> Accepts<Task> for Pool<D> {
    type Output = ();

    const RUN_HERE: Option<Run<Task, ()>> = Some(|task, _| task.run());

    fn plain(task: Task) -> Task {
        task
    }

    fn into_input(task: Task) -> Task {
        task
    }

    fn called(task: Task, sender: ReplySender<Task, ()>) -> Task {
        Task::from_body(CalledTask(task, sender))
    }

    fn answered(task_state: &Arc<TaskState<Task, ()>>) -> Task {
        Task::from_body(Answered(TaskRef::new(task_state), |task: Task, _| task.run()))
    }
}
