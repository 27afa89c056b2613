//! The pool of closures.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use super::call_task::CallTask;
use super::control::PoolControl;
use super::verbs;
use super::with::With;
use crate::engine::{Engine, WaitMode};
use crate::error::{BuildError, CallError, SubmitAllError, SubmitError};
use crate::pool::builder::Builder;
use crate::queue::{Dispatch, Ring, Sharded, Stack};
use crate::task::closure::Task;
use crate::task::handle::Handle;

/// A pool that runs closures.
///
/// [`submit`](Self::submit) hands a closure over and returns, [`spawn`](Self::spawn) also returns a [`Handle`] to its result, and
/// [`run`](Self::run) waits for the result. To share a pool between threads, put it in an [`Arc`].
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
#[doc(alias("ThreadPool", "ThreadPoolExecutor", "ExecutorService", "WorkerPool"))]
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

/// A pool of closures with a lock-free ring as its queue: `Pool<Ring>`. The name is that of Go's `ants`.
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
#[doc(alias("MultiPool", "NewMultiPool"))]
pub type ShardedPool = Pool<Sharded>;

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
    /// [`BuildError`], which names the option that was wrong, or says why the first worker could not start.
    pub fn build(self) -> Result<Pool<D>, BuildError> {
        Engine::build(self.options, CallTask::default()).map(Pool::from_engine)
    }
}

impl Pool<Stack> {
    /// A pool of at most `workers` workers. All other options have the [`Builder`]'s defaults.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.capacity(), 4);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too large, or if the system refuses a thread.
    #[doc(alias("newFixedThreadPool", "NewPool", "num_threads"))]
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
    #[doc(alias = "ThreadPoolBuilder")]
    pub fn builder() -> Builder<Closures> {
        Builder::of(Closures)
    }
}

/// The verbs.
impl<D: Dispatch> Pool<D> {
    /// Submits a closure. Its result is dropped on the worker.
    ///
    /// Blocks while the pool is full, that is while it has as many unfinished tasks as workers and places in the queue together. A
    /// [`nonblocking`](Builder::nonblocking) pool refuses the closure instead. On a thread of the pool itself this never waits for room:
    /// see [`Builder::nested`].
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| println!("on a worker"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure: if the pool is closed; if it has no worker and the system refuses a thread; and, where this may
    /// not wait, if the pool is full or [too many](Builder::max_blocking) submitters wait already.
    #[doc(alias("execute", "go", "invoke", "addTask", "enqueue", "defer"))]
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
    #[doc(alias("try_invoke", "try_execute", "TrySubmit"))]
    pub fn try_submit<F, T>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::submit(self, f, WaitMode::Never)
    }

    /// As [`submit`](Self::submit), but waits for room as a future, which blocks no thread. Dropping the future takes the closure back.
    ///
    /// Futures and blocked threads share one wait queue. A future that is woken and not polled does not hold up those behind it.
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
    /// As `submit`. It waits for room also on a `nonblocking` pool, since it blocks no thread.
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
    #[doc(alias("spawn_blocking", "apply_async", "evaluate"))]
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
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let pause = pool.pause();
    /// let handle = pool.try_spawn(|| 6 * 7)?;
    /// assert!(pool.try_spawn(|| 0).is_err_and(|refusal| refusal.is_full()));
    /// drop(pause);
    /// assert_eq!(handle.join()?, 42);
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

    /// As [`spawn`](Self::spawn), but waits for room as a future. Its output is the handle, which is a future of the result.
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

    /// Runs a closure on a worker and waits for its result. On a thread of the pool itself the closure runs on that thread.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.run(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the closure, as by [`submit`](Self::submit) or because the pool was closed before the task started; or
    /// failed, because it panicked.
    #[doc(alias("call", "process", "install", "SubmitWait"))]
    pub fn run<F, T>(&self, f: F) -> Result<T, CallError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        verbs::run(self, f, verbs::mode(self).into())
    }

    /// As [`run`](Self::run), but does not wait for room. It waits for the result.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// assert_eq!(pool.try_run(|| 6 * 7)?, 42);
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// assert!(pool.try_run(|| 0).unwrap_err().is_full());
    /// # drop(done);
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

    /// As [`run`](Self::run), but waits as a future, first for room and then for the result. Dropping the future takes the closure back if
    /// it has not entered the pool yet; otherwise the task goes on.
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

    /// Options for the verbs that are called on the value: a token, a deadline, a name, a key. See [`With`].
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

    /// Submits all closures of an iterator, in order, and returns how many there were. Blocks as [`submit`](Self::submit) does for each of
    /// them; the iterator may block too.
    ///
    /// The items of a `Vec`, a boxed slice, a `VecDeque`, an array of up to 32, a copied slice, or a range are at hand: they go in batches of
    /// up to 64, as far as there is room, with one step and one wake-up for a batch. Any other iterator may block, an adaptor of these too, so
    /// each of its items goes alone.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.submit_all((0..3).map(|n| move || println!("{n}")))?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`], as `submit` for the first closure that is refused. It holds that closure, the number of those accepted
    /// before, and the rest of the iterator.
    #[doc(alias("invokeAll", "invoke_all"))]
    pub fn submit_all<F, T, I>(&self, all: I) -> Result<usize, SubmitAllError<F, I::IntoIter>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
        I: IntoIterator<Item = F>,
    {
        verbs::submit_all_plain(self, all, verbs::mode(self).into(), |x| self.submit(x))
    }
}

impl<D: Dispatch> Pool<D> {
    pub(crate) fn from_engine(engine: Arc<Engine<CallTask, D>>) -> Self {
        let control = PoolControl::new(Arc::<Engine<_, _>>::clone(&engine), "Pool");
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
    /// As `new`.
    pub fn with_workers(workers: usize) -> Result<Self, BuildError> {
        Pool::builder().workers(workers).dispatch::<D>().build()
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
