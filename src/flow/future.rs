//! Futures that are polled on the workers of a pool.
//!
//! Each poll is a task of the pool. Between two polls a future is parked: it holds no worker and no room, and the pool knows it only to
//! drop it when it is closed. A wake-up queues the next poll. While a poll runs, wake-ups are noted, and the end of the poll, which the
//! pool has counted by then, queues the next one; so a future is never polled twice at a time.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Weak;
use std::task::{Context, Poll, Wake, Waker};

use crate::combinators::limited::Limited;
use crate::engine::{EndsWithPool, Engine, WaitMode};
use crate::error::{Cause, Payload, SubmitError, SubmitErrorKind};
use crate::pool::{Admit, AnyPool, CallTask, Item, Pool, Reentry, verbs};
use crate::queue::Dispatch;
use crate::sync::{Arc, AtomicU8, Mutex, Ordering, fence};
use crate::task::closure::{Body, Task};
use crate::task::handle::Handle;
use crate::task::state::{Cancellable, Complete, Completion, Retracted, RunOutcome, Running, TaskMeta, TaskState};

/// It waits to be woken.
const PARKED: u8 = 0;
/// A poll is queued.
const QUEUED: u8 = 1;
/// A poll runs, or its end is being counted.
const POLLING: u8 = 2;
/// The same, and it was woken meanwhile.
const WOKEN: u8 = 3;
/// The future is gone.
const OVER: u8 = 4;

/// The user's future, which gives up when the token of its task is cancelled.
type BoxFuture<T> = Pin<Box<dyn Future<Output = Option<T>> + Send>>;

/// A future that the workers of a pool poll, and its waker.
struct FutureTask<D: Dispatch, T: Send + 'static> {
    this: Weak<Self>,
    engine: Arc<Engine<CallTask, D>>,
    /// The pool, or the view whose permits the polls need.
    reentry: Arc<dyn Reentry<Task>>,
    stage: AtomicU8,
    /// `None` while it is polled, and at the end.
    future: Mutex<Option<BoxFuture<T>>>,
    /// What the handle waits for.
    result: Arc<TaskState<(), T>>,
}

impl<D: Dispatch, T: Send + 'static> FutureTask<D, T> {
    fn new<P: AnyPool<Runner = CallTask, Dispatch = D>>(pool: &P) -> Arc<Self> {
        let engine = Arc::clone(pool.engine());
        let result = TaskState::started((), TaskMeta::new(engine.id()));
        Arc::new_cyclic(|this| FutureTask {
            this: Weak::clone(this),
            engine,
            reentry: pool.shared().reentry(),
            stage: AtomicU8::new(QUEUED),
            future: Mutex::new(None),
            result,
        })
    }

    fn attached(self: Arc<Self>) -> Arc<dyn EndsWithPool> {
        self
    }

    /// The task of the first poll.
    fn start<F: Future<Output = T> + Send + 'static>(self: Arc<Self>, future: F) -> Task {
        let token = self.result.token().clone();
        *self.future.lock() = Some(Box::pin(async move {
            let (mut cancelled, mut future) = (pin!(token.cancelled()), pin!(future));
            let or_cancelled = |poller: &mut Context<'_>| match cancelled.as_mut().poll(poller) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => future.as_mut().poll(poller).map(Some),
            };
            poll_fn(or_cancelled).await
        }));
        Task::from_body(NextPoll(Some(self)))
    }

    fn queue(self: Arc<Self>) {
        let reentry = Arc::clone(&self.reentry);
        let engine = Arc::clone(&self.engine);
        let refused = reentry.enter_again(Task::from_body(NextPoll(Some(self)))).err();
        // Its view is closed: it is dropped on a worker, or here if the pool is closed as well.
        drop(refused.and_then(|next| engine.enter_unless_closed(next).err()));
    }

    fn poll(self: &Arc<Self>, completion: &mut Completion) -> RunOutcome {
        // ORDERING: SeqCst, as all changes of the stage. The queue orders this after the change to `QUEUED`.
        self.stage.store(POLLING, Ordering::SeqCst);
        let Some(mut future) = self.future.lock().take() else { return RunOutcome::Cancelled };
        if self.reentry.is_over() {
            self.stage.store(OVER, Ordering::SeqCst);
            return completion.drop_cancelled(future);
        }
        let waker = Waker::from(Arc::clone(self));
        let running = Running::new(&*self.result);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        drop(running);
        match polled {
            Ok(Poll::Pending) => {
                *self.future.lock() = Some(future);
                RunOutcome::Ran
            }
            Ok(Poll::Ready(output)) => {
                self.stage.store(OVER, Ordering::SeqCst);
                drop(future);
                let is_cancelled = output.is_none();
                output.into_iter().for_each(|output| self.result.produce(output));
                if is_cancelled { RunOutcome::Cancelled } else { RunOutcome::Ran }
            }
            Err(panic) => {
                self.stage.store(OVER, Ordering::SeqCst);
                // Two panics at a time would abort the process.
                self.engine.catch_user_panic(|| drop(future));
                resume_unwind(panic)
            }
        }
    }

    /// The end of a poll that has left the future pending.
    fn park(self: Arc<Self>) {
        // ORDERING: SeqCst, with the fence: either the thread that closes the pool finds the future parked, or this sees the close.
        if self.stage.compare_exchange(POLLING, PARKED, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            fence(Ordering::SeqCst);
            if self.engine.is_closed() {
                self.end_parked();
            }
        } else if self.engine.is_closed() {
            // One that wakes itself in every poll would hold up the end of the pool for ever.
            self.end();
        } else {
            self.stage.store(QUEUED, Ordering::SeqCst);
            self.queue();
        }
    }

    /// Drops the future if it is parked.
    fn end_parked(&self) {
        if self.stage.compare_exchange(PARKED, OVER, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.end();
        }
    }

    /// Drops the future of a task that is not polled any more, and tells the handle.
    fn end(&self) {
        self.stage.store(OVER, Ordering::SeqCst);
        let future = self.future.lock().take();
        self.engine.catch_user_panic(|| drop(future));
        self.finish(None);
    }

    fn finish(&self, panic: Option<Payload>) {
        self.this.upgrade().into_iter().for_each(|this| self.engine.unattach(&this.attached()));
        Complete::complete(&*self.result, panic);
    }
}

impl<D: Dispatch, T: Send + 'static> Wake for FutureTask<D, T> {
    fn wake(self: Arc<Self>) {
        let mut stage = self.stage.load(Ordering::SeqCst);
        loop {
            let next = match stage {
                PARKED => QUEUED,
                POLLING => WOKEN,
                _ => return,
            };
            match self.stage.compare_exchange_weak(stage, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) if next == QUEUED => return self.queue(),
                Ok(_) => return,
                Err(seen) => stage = seen,
            }
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Arc::clone(self).wake();
    }
}

/// The end of a poll, after the pool has counted it.
impl<D: Dispatch, T: Send + 'static> Complete for FutureTask<D, T> {
    fn complete(&self, panic: Option<Payload>) {
        if panic.is_some() || self.stage.load(Ordering::SeqCst) == OVER {
            self.finish(panic);
        } else if let Some(this) = self.this.upgrade() {
            this.park();
        }
    }

    fn cancellable(&self) -> Option<&dyn Cancellable> {
        Some(&*self.result)
    }
}

impl<D: Dispatch, T: Send + 'static> EndsWithPool for FutureTask<D, T> {
    fn pool_closed(self: Arc<Self>) {
        self.end_parked();
    }
}

/// A queued poll. If it is dropped, so is the future.
struct NextPoll<D: Dispatch, T: Send + 'static>(Option<Arc<FutureTask<D, T>>>);

impl<D: Dispatch, T: Send + 'static> Body for NextPoll<D, T> {
    fn call(mut self, completion: &mut Completion) -> RunOutcome {
        let Some(task) = self.0.take() else { return RunOutcome::Elsewhere };
        completion.set(Arc::clone(&task) as _);
        task.poll(completion)
    }

    fn retract(self, _kind: SubmitErrorKind, _cause: Cause) -> Retracted<Task> {
        drop(self);
        Retracted::Gone(RunOutcome::Cancelled)
    }
}

impl<D: Dispatch, T: Send + 'static> Drop for NextPoll<D, T> {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|task| task.end());
    }
}

fn spawn<P, F>(pool: &P, future: F, mode: WaitMode) -> Result<Handle<F::Output>, SubmitError<F>>
where
    P: AnyPool<Runner = CallTask>,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = FutureTask::<P::Dispatch, F::Output>::new(pool);
    let (engine, result) = (Arc::clone(&task.engine), Arc::clone(&task.result));
    let attached = Arc::clone(&task).attached();
    engine.attach(Arc::clone(&attached));
    let make = |future| -> Item<P> { task.start(future) };
    let admitted = pool.shared().admit(future, make, None, mode.into());
    admitted.inspect_err(|_| engine.unattach(&attached))?;
    Ok(Handle::new(result))
}

/// Futures.
impl<D: Dispatch> Pool<D> {
    /// Polls a future on the workers, and returns a handle to its output (feature `async`). Blocks while the pool is full, as
    /// [`spawn`](Self::spawn) does.
    ///
    /// - **A poll is a task.** It starts, is counted, paused and observed as any other; what it submits, and [`Context`](crate::Context),
    ///   work as in any other. Only the first needs room: a wake-up never waits, and queues the next poll beyond the bound if need be. It
    ///   never polls on the thread that wakes. A future that wakes itself is queued behind what waits.
    /// - **A pending future holds no worker and no room.** [`wait_idle`](crate::PoolControl::wait_idle) does not wait for it, and it may
    ///   wait for timers and sockets of any runtime whose reactor runs elsewhere. To wait for it, join its handle. A worker that does so
    ///   while no other worker could poll it gets `WouldDeadlock`.
    /// - **Cancelling**, by the handle (whose [`cancel`](Handle::cancel) returns `false`, as for a task that has started) or by its
    ///   [`token`](Handle::token), drops the future on a worker, in its next poll, which is queued
    ///   at once. Dropping the handle lets it run on.
    /// - **When the pool is closed**, by any kind of shutdown or by a drop, polls that are queued still run, unless the shutdown takes them
    ///   out. All other futures are dropped, woken or not, and their handles say that they were cancelled. The thread that closes the pool
    ///   drops them, or the worker whose poll has left them pending, or a thread that wakes them at that moment. The same happens to a
    ///   future whose poll is taken out, or dropped by [`Overflow`](crate::Overflow).
    /// - **A panic** of a poll ends the future, and is reported and passed to the handle. What [`propagate`](crate::Builder::propagate)
    ///   captures is not there in polls.
    ///
    /// It costs four allocations per future and none per poll.
    ///
    /// ```
    /// use formicary::Pool;
    /// use tokio::sync::oneshot;
    ///
    /// let pool = Pool::new(2)?;
    /// let (sender, receiver) = oneshot::channel();
    /// let doubled = pool.spawn_future(async move { receiver.await.map(|n: u32| 2 * n) })?;
    /// assert!(pool.wait_idle() && !doubled.is_finished());
    /// sender.send(21).unwrap();
    /// assert_eq!(doubled.join()??, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the future, as [`submit`](Self::submit).
    #[doc(alias("block_on", "spawn_ok", "spawn_local"))]
    pub fn spawn_future<F>(&self, future: F) -> Result<Handle<F::Output>, SubmitError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn(self, future, verbs::mode(self))
    }

    /// As [`spawn_future`](Self::spawn_future), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.try_spawn_future(async { 7 })?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit), with the future.
    pub fn try_spawn_future<F>(&self, future: F) -> Result<Handle<F::Output>, SubmitError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn(self, future, WaitMode::Never)
    }
}

/// Futures.
impl<D: Dispatch> Limited<Pool<D>> {
    /// As [`Pool::spawn_future`]: each poll needs a permit of the view, which a pending future does not hold. Polls beyond the first wait
    /// in the view for their permits, however many there are. When the view is closed and not its pool, a future of it is dropped when it
    /// is woken.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// assert_eq!(view.spawn_future(async { 7 })?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the future, as [`submit`](Self::submit).
    pub fn spawn_future<F>(&self, future: F) -> Result<Handle<F::Output>, SubmitError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn(self, future, verbs::mode(self))
    }

    /// As [`spawn_future`](Self::spawn_future), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(2).try_spawn_future(async { 7 })?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit), with the future.
    pub fn try_spawn_future<F>(&self, future: F) -> Result<Handle<F::Output>, SubmitError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn(self, future, WaitMode::Never)
    }
}
