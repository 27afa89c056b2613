//! The pool of closures.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::builder::Builder;
use crate::cancel::CancelToken;
use crate::dispatch::{Dispatch, Ring, Sharded, Stack};
use crate::engine::{Engine, Patience, Runner, Way};
use crate::error::{BoxError, BuildError, CallError, Cause, SubmitAllError, SubmitError, SubmitErrorKind};
use crate::handle::Handle;
use crate::methods::pool_methods;
use crate::slot::{Recalled, Reply, Run, Slot, Terms, Ticket, Verdict};
use crate::task::{Body, Task};

/// A pool that runs closures.
///
/// [`submit`](Self::submit) hands one over and goes on, [`spawn`](Self::spawn) also gives a [`Handle`] to its result,
/// [`run`](Self::run) waits for the result. Share a pool between threads in an [`Arc`].
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

pool_methods!(impl [D: Dispatch] Pool<D> where item Task, wrap |task| task, unwrap |task| task);

/// Runs tasks: there is nothing to it.
pub(crate) struct CallTask;

impl Runner for CallTask {
    type Item = Task;
    type State = ();
    type Returned = Task;

    fn start(&self, _worker: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn run(&self, _state: &mut (), item: Task, reply: &mut Reply) -> Verdict {
        item.call(reply)
    }

    fn spare_state(&self) -> Option<()> {
        Some(())
    }

    fn recall(item: Task, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        item.recall(kind, cause)
    }
}

/// A closure whose result is wanted, and how to call it.
struct Answered<F, T>(Ticket<F, T>, Run<F, T>);

impl<F, T> Body for Answered<F, T>
where
    F: Send + 'static,
    T: Send + 'static,
{
    fn call(self, reply: &mut Reply) -> Verdict {
        self.0.run(reply, None, |f, slot| self.1(f, slot))
    }

    fn recall(self, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        match self.0.recall(kind, cause) {
            // Its handle has been told; whoever gets the task may still run it.
            Recalled::Here(f) => Recalled::Here(Task::new(move || drop(self.1(f, &CancelToken::new())))),
            Recalled::ToCaller => Recalled::ToCaller,
            Recalled::Gone(verdict) => Recalled::Gone(verdict),
        }
    }
}

/// A closure that runs only if its token is not cancelled when its turn comes.
struct Cancellable<F> {
    token: CancelToken,
    f: F,
}

impl<F: FnOnce() + Send + 'static> Body for Cancellable<F> {
    fn call(self, _reply: &mut Reply) -> Verdict {
        if self.token.is_cancelled() {
            return Verdict::Cancelled;
        }
        (self.f)();
        Verdict::Ran
    }

    fn recall(self, _kind: SubmitErrorKind, _cause: Cause) -> Recalled<Task> {
        Recalled::Here(Task::from_body(self))
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
        Engine::build(self.options, CallTask).map(Pool::from_engine)
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
}

impl<D: Dispatch> Pool<D> {
    pub(crate) fn from_engine(engine: Arc<Engine<CallTask, D>>) -> Self {
        Pool { engine }
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

    /// Submits a closure; blocks while the pool is full (or, with
    /// [`nonblocking`](Builder::nonblocking), refuses). Its result is nobody's business; a panic in it is caught.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| println!("on a worker"))?;
    /// pool.wait_idle();
    /// assert_eq!(pool.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure, if the pool is closed, full and not to be waited for, if too many wait
    /// already ([`max_blocking`](Builder::max_blocking)), or if no thread can be had.
    pub fn submit<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, self.engine.default_patience())
    }

    /// Submits a closure if there is room; never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure; of kind `Full` if there is no room.
    pub fn try_submit<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, Patience::None)
    }

    /// Submits a closure; blocks for at most `limit`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// let refusal = pool.submit_timeout(|| (), Duration::from_millis(1)).unwrap_err();
    /// assert!(refusal.is_timed_out());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure; of kind `TimedOut` if there was no room in time.
    pub fn submit_timeout<F>(&self, f: F, limit: Duration) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, Patience::at_most(limit))
    }

    /// Submits a closure unless `token` is cancelled; blocks while the pool is full, and gives up when the token is cancelled
    /// meanwhile. If it is cancelled while the closure is queued, the closure never runs; it is dropped when its turn comes, and
    /// counted as cancelled. A closure that runs may look at a clone of the token.
    ///
    /// ```
    /// use formicary::{CancelToken, Pool, SubmitErrorKind};
    ///
    /// let pool = Pool::new(1)?;
    /// let token = CancelToken::new();
    /// let pause = pool.pause();
    /// pool.submit_cancellable(&token, || unreachable!("it was cancelled"))?;
    /// token.cancel();
    /// drop(pause);
    /// pool.wait_idle();
    /// assert_eq!(pool.stats().cancelled, 1);
    /// assert_eq!(pool.submit_cancellable(&token, || ()).unwrap_err().kind, SubmitErrorKind::Cancelled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit); `Cancelled`, or `TimedOut` if it was by the token's deadline.
    pub fn submit_cancellable<F>(&self, token: &CancelToken, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let task = Task::from_body(Cancellable { token: token.clone(), f });
        let way = Way::from(self.engine.default_patience()).unless(Some(token));
        self.engine.submit(task, way).map_err(|e| e.map(|task| task.into_body::<Cancellable<F>>().f))
    }

    /// Submits a closure; waits for room without blocking the thread, in one line with the threads that wait.
    /// Dropping the future takes it out of the line, and drops the closure; one that is kept and never polled holds up those
    /// behind it. Not on a worker of this pool: there nobody sees
    /// that it waits for itself.
    ///
    /// ```
    /// # fn block_on<F: std::future::Future>(f: F) -> F::Output {
    /// #     let mut f = std::pin::pin!(f);
    /// #     struct Unpark(std::thread::Thread);
    /// #     impl std::task::Wake for Unpark { fn wake(self: std::sync::Arc<Self>) { self.0.unpark() } }
    /// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    /// #     loop {
    /// #         match f.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
    /// #             std::task::Poll::Ready(out) => return out,
    /// #             std::task::Poll::Pending => std::thread::park(),
    /// #         }
    /// #     }
    /// # }
    /// let pool = formicary::Pool::new(1).unwrap();
    /// block_on(async {
    ///     pool.submit_async(|| ()).await.unwrap();
    ///     let handle = pool.spawn_async(|| 6 * 7).await.unwrap();
    ///     assert_eq!(handle.await.unwrap(), 42);
    /// });
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure.
    pub fn submit_async<F>(&self, f: F) -> impl Future<Output = Result<(), SubmitError<F>>> + Send
    where
        F: FnOnce() + Send + 'static,
    {
        let entering = self.engine.submit_async(Task::new(f), Patience::Forever.into());
        async move { entering.await.map_err(|e| e.map(Task::into_closure)) }
    }

    /// As [`spawn`](Self::spawn), waiting for room as [`submit_async`](Self::submit_async).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let future = pool.spawn_async(|| 7);
    /// # drop(future);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure.
    pub fn spawn_async<F, T>(&self, f: F) -> impl Future<Output = Result<Handle<T>, SubmitError<F>>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (slot, task) = self.slot(f, |f, _| f(), false, None);
        let entering = self.engine.submit_async(task, Patience::Forever.into());
        async move {
            entering.await.map_err(|refusal| slot.refused(refusal.kind))?;
            Ok(Handle::new(slot))
        }
    }

    /// Submits all closures of an iterator. Blocks where [`submit`](Self::submit) would. At most
    /// one worker is being woken at any time, not one for each task. Says how many were accepted.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// assert_eq!(pool.submit_all((0..100).map(|_| || ())).unwrap(), 100);
    /// pool.wait_idle();
    /// assert_eq!(pool.stats().completed, 100);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`] at the first refusal, with the count before it, the refused closure, and the rest of the iterator.
    pub fn submit_all<F, I>(&self, closures: I) -> Result<usize, SubmitAllError<F, I::IntoIter>>
    where
        F: FnOnce() + Send + 'static,
        I: IntoIterator<Item = F>,
    {
        let mut rest = closures.into_iter();
        let result = self.engine.submit_all(&mut rest.by_ref().map(Task::new));
        result.map_err(|(accepted, error)| SubmitAllError { accepted, error: error.map(Task::into_closure), rest })
    }

    pub(crate) fn enter<'t, F>(&self, f: F, way: impl Into<Way<'t>>) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.engine.submit(Task::new(f), way).map_err(|e| e.map(Task::into_closure))
    }

    /// Submits a closure and returns a handle to its result; blocks while the pool is full.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let lengths = ["an", "ant"].map(|word| pool.spawn(move || word.len()).unwrap());
    /// assert_eq!(lengths.map(|handle| handle.join().unwrap()), [2, 3]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn spawn<F, T>(&self, f: F) -> Result<Handle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (slot, task) = self.slot(f, |f, _| f(), false, None);
        self.engine.submit_slot(&slot, task, self.engine.default_patience())?;
        Ok(Handle::new(slot))
    }

    /// As [`spawn`](Self::spawn), unless `token` is cancelled. The closure gets a token of its own below it, which
    /// [`Handle::cancel`] cancels, too.
    ///
    /// ```
    /// use formicary::{CancelToken, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let all = CancelToken::new();
    /// let handle = pool.spawn_cancellable(&all, |token| {
    ///     let mut rounds = 0;
    ///     while !token.is_cancelled() {
    ///         rounds += 1;
    ///     }
    ///     rounds
    /// })?;
    /// all.cancel();
    /// // Stopped, or not even begun.
    /// assert!(handle.join().map_or_else(|error| error.is_cancelled(), |_rounds| true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit_cancellable`](Self::submit_cancellable).
    pub fn spawn_cancellable<F, T>(&self, token: &CancelToken, f: F) -> Result<Handle<T>, SubmitError<F>>
    where
        F: FnOnce(&CancelToken) -> T + Send + 'static,
        T: Send + 'static,
    {
        let (slot, task) = self.slot(f, |f, task| f(task.token()), false, Some(token));
        let way = Way::from(self.engine.default_patience()).unless(Some(token));
        self.engine.submit_slot(&slot, task, way)?;
        Ok(Handle::new(slot))
    }

    /// Runs a closure on a worker and waits for its result. From inside a task of the same pool it runs on the spot.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.run(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the closure, or failed: the closure panicked.
    pub fn run<F, T>(&self, f: F) -> Result<T, CallError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (slot, task) = self.slot(f, |f, _| f(), true, None);
        if !self.engine.run_on_the_spot(&slot, |f| f()) {
            self.engine.submit_slot(&slot, task, self.engine.default_patience())?;
        }
        slot.call().into_result()
    }

    /// A slot for a closure, and the task that stands for it in the queue.
    pub(crate) fn slot<F, T>(
        &self,
        f: F,
        run: Run<F, T>,
        is_call: bool,
        token: Option<&CancelToken>,
    ) -> (Arc<Slot<F, T>>, Task)
    where
        F: Send + 'static,
        T: Send + 'static,
    {
        let terms = Terms {
            pool: self.engine.id(),
            is_call,
            deadline: None,
            token: token.cloned(),
            run_here: Some(run),
            view: None,
        };
        answered(f, run, terms)
    }
}

/// A slot for a closure, and the task that stands for it in a queue.
pub(crate) fn answered<F, T>(f: F, run: Run<F, T>, terms: Terms<F, T>) -> (Arc<Slot<F, T>>, Task)
where
    F: Send + 'static,
    T: Send + 'static,
{
    let slot = Slot::new(f, terms);
    let task = Task::from_body(Answered(Ticket::new(&slot), run));
    (slot, task)
}
