//! What comes back from a submit: the way to the result.

mod several;
mod shared_handle;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::error::{Cause, JoinError};
use crate::sync::clock::deadline;
use crate::sync::current;
use crate::sync::waiter::Waiter;
use crate::task::current_worker::{self, PoolId};
use crate::task::in_view::InView;
use crate::task::state::{AwaitedEnd, Cancellable, Outcome, RunOutcome, TaskRef, TaskState};

pub use several::{AsCompleted, as_completed, wait_any, wait_any_timeout};
pub use shared_handle::SharedHandle;

/// The result of a task, once it has one.
///
/// Wait for it with [`join`](Self::join), or `.await` it on any executor. Dropping a handle detaches: the task runs all the
/// same and its result is dropped, as is at once a waker that a poll has left; [`cancel`](Self::cancel) stops it.
///
/// A handle costs its task one allocation, and one more for captures, and for a result, of more than 48 bytes. A handle that is
/// kept holds neither the captures of a task that has ended nor the memory of a result that was taken.
///
/// ```
/// use formicary::Pool;
///
/// let pool = Pool::new(2)?;
/// let handle = pool.spawn(|| 6 * 7)?;
/// assert_eq!(handle.join()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a handle detaches its task"]
pub struct Handle<T: Send + 'static> {
    task_state: Arc<dyn Joinable<T>>,
    id: TaskId,
}

/// Tells tasks with a handle apart. Never used twice in one process.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let (one, other) = (pool.spawn(|| 1)?, pool.spawn(|| 2)?);
/// assert_ne!(one.id(), other.id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A slot of a task whose input type is nobody's business any more.
pub(crate) trait Joinable<T>: Cancellable + Send + Sync {
    fn is_finished(&self) -> bool;
    /// `None` when the time is up.
    fn wait(self: Arc<Self>, deadline: Option<Instant>) -> Option<Result<T, JoinError>>;
    /// Runs the task on the calling thread if that is a worker of its pool and nobody has started it.
    fn run_inside(self: Arc<Self>);
    fn has_started(&self) -> bool;
    /// Waits for the end without taking the result; see [`TaskState::await_end`].
    fn await_end(
        self: Arc<Self>,
        deadline: Option<Instant>,
        token: Option<&CancelToken>,
        is_younger: bool,
    ) -> AwaitedEnd;
    fn pool(&self) -> PoolId;
    /// Whether the calling thread is a worker of the task's pool and could run the task in the middle of its own, perhaps after others
    /// of its view.
    fn can_run(&self) -> bool;
    /// Has `waiter` woken by the end, as one of several; `None` if the task has ended.
    fn listen(&self, waiter: Waiter) -> Option<u64>;
    /// The waiter with this place leaves.
    fn stop_listening(&self, place: u64);
    /// Whether the calling thread is a worker of the task's pool, nobody has started the task, and no other worker is free to. If it
    /// is not up to the caller now, the waiter is woken when it may be.
    fn is_up_to_caller(&self, waiter: &dyn Fn() -> Waiter) -> bool;
    /// Runs the task as long as it is up to the caller.
    fn run_for_poll(self: Arc<Self>, waiter: &dyn Fn() -> Waiter);
    /// The result, or word to wake the waiter.
    fn poll(&self, waiter: Option<Waiter>) -> Option<Result<T, JoinError>>;
    fn cancel(&self) -> bool;
    fn detach(&self);
}

/// Whether the calling thread is a worker of the task's pool and could run the task in the middle of its own: as deep as the
/// user's own waits nest.
fn can_run<I, T>(task_state: &TaskState<I, T>) -> bool {
    let meta = task_state.meta();
    current_worker::is_inside(meta.pool) && meta.view().map_or(meta.run_here.is_some(), InView::can_run)
}

/// Runs the task on the calling worker, if nobody has started it.
fn run_if_unstarted<I: Send + 'static, T: Send + 'static>(task_state: &Arc<TaskState<I, T>>) {
    if let Some(view) = task_state.meta().view() {
        view.run();
        return;
    }
    let Some(run) = task_state.meta().run_here else { return };
    current_worker::run_here_unbounded(task_state.meta().pool, |completion| {
        match TaskRef::new(task_state).run_withdrawn(completion, |input, task_state| run(input, task_state)) {
            RunOutcome::Ran => RunOutcome::Ran,
            // Whoever started or cancelled it counts it.
            _ => RunOutcome::Elsewhere,
        }
    });
}

/// A worker that waits with a limit, and would be the last one that could make progress, runs the task or what comes before it.
fn run_as_the_last<I: Send + 'static, T: Send + 'static>(task_state: &Arc<TaskState<I, T>>) {
    match task_state.meta().view() {
        Some(view) => _ = view.run_next(),
        None => run_if_unstarted(task_state),
    }
}

/// A worker that waits for a task of its own pool runs it, if nobody has started it. Not under a time limit, which could not
/// be kept.
fn run_if_waited_for_inside<I: Send + 'static, T: Send + 'static>(
    task_state: &Arc<TaskState<I, T>>,
    deadline: Option<Instant>,
) {
    if deadline.is_none() && can_run(task_state) {
        run_if_unstarted(task_state);
    }
}

fn into_join_result<I, T>(outcome: Outcome<I, T>) -> Option<Result<T, JoinError>> {
    match outcome {
        Outcome::Done(result) => Some(result),
        Outcome::TimedOut => None,
        Outcome::WouldDeadlock => Some(Err(JoinError::new(Cause::WouldDeadlock))),
        Outcome::Returned(_) | Outcome::Cancelled => Some(Err(JoinError::new(Cause::Cancelled))),
    }
}

impl<I: Send + 'static, T: Send + 'static> Joinable<T> for TaskState<I, T> {
    fn is_finished(&self) -> bool {
        TaskState::is_finished(self)
    }

    fn wait(self: Arc<Self>, deadline: Option<Instant>) -> Option<Result<T, JoinError>> {
        run_if_waited_for_inside(&self, deadline);
        loop {
            let can_run = deadline.is_some() && can_run(&self);
            match TaskState::wait(&*self, deadline, None, can_run) {
                Outcome::WouldDeadlock if can_run => run_as_the_last(&self),
                outcome => return into_join_result(outcome),
            }
        }
    }

    fn run_inside(self: Arc<Self>) {
        run_if_waited_for_inside(&self, None);
        self.run_those_before(|| Waiter::Thread(current()));
    }

    fn has_started(&self) -> bool {
        TaskState::has_started(self)
    }

    fn await_end(
        self: Arc<Self>,
        deadline: Option<Instant>,
        token: Option<&CancelToken>,
        is_younger: bool,
    ) -> AwaitedEnd {
        run_if_waited_for_inside(&self, deadline);
        loop {
            let can_run = deadline.is_some() && can_run(&self);
            match TaskState::await_end(&*self, deadline, token, is_younger, can_run) {
                AwaitedEnd::WouldDeadlock if can_run => run_as_the_last(&self),
                end => return end,
            }
        }
    }

    fn pool(&self) -> PoolId {
        self.meta().pool
    }

    fn can_run(&self) -> bool {
        can_run(self)
    }

    fn listen(&self, waiter: Waiter) -> Option<u64> {
        TaskState::listen(self, waiter)
    }

    fn stop_listening(&self, place: u64) {
        TaskState::stop_listening(self, place);
    }

    fn is_up_to_caller(&self, waiter: &dyn Fn() -> Waiter) -> bool {
        TaskState::is_up_to_caller(self, waiter)
    }

    fn run_for_poll(self: Arc<Self>, waiter: &dyn Fn() -> Waiter) {
        match self.meta().view() {
            None => run_if_unstarted(&self),
            Some(_) => self.run_those_before(waiter),
        }
    }

    fn poll(&self, waiter: Option<Waiter>) -> Option<Result<T, JoinError>> {
        TaskState::poll(self, waiter).and_then(into_join_result)
    }

    fn cancel(&self) -> bool {
        TaskState::cancel(self)
    }

    fn detach(&self) {
        TaskState::detach(self);
    }
}

impl<T: Send + 'static> Handle<T> {
    pub(crate) fn new<I: Send + 'static>(task_state: Arc<TaskState<I, T>>) -> Self {
        // Not one of `sync`'s atomics: a static of loom's cannot be made.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Handle { task_state, id: TaskId(NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    /// The task's number.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let handle = pool.spawn(|| ())?;
    /// assert_eq!(handle.id(), handle.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Blocks until the task has ended; so, if it has not started and the pool is [paused](crate::PoolControl::pause), until that resumes.
    ///
    /// Called from a task of the same pool, it runs the awaited task on the spot if that has not started
    /// (`Pool`), so that a pool of one worker can wait for its own tasks. Such waits nest as deep as the worker's stack allows. Tasks of
    /// two pools that wait for each other in a circle wait for ever; where that can be, [`join_timeout`](Self::join_timeout) is the way
    /// out.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.spawn(|| 7)?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`JoinError`] if the task panicked, if it was cancelled or given back before it started, or if a
    /// worker of the pool would wait for itself for ever.
    pub fn join(self) -> Result<T, JoinError> {
        // Without a deadline the wait ends only with a result.
        self.wait_until(None).unwrap_or_else(|| Err(JoinError::new(Cause::TimedOut)))
    }

    /// As [`join`](Self::join) and [`join_deadline`](Self::join_deadline), for those who still need the handle after it.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> Option<Result<T, JoinError>> {
        Arc::clone(&self.task_state).wait(deadline)
    }

    /// Blocks until the task has ended, for at most `limit`. `None`: it has not ended; the handle stays good.
    ///
    /// The first `Some` has the result; after it every call says that it has been taken.
    ///
    /// Called from a task of the same pool (`Pool`), it runs the awaited task on the spot only where this would otherwise be the
    /// last worker that could make progress. Then it can take longer than `limit`.
    ///
    /// ```
    /// use formicary::Pool;
    /// use std::sync::mpsc::channel;
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let (go, gate) = channel::<()>();
    /// let mut handle = pool.spawn(move || gate.recv().is_ok())?;
    /// assert!(handle.join_timeout(Duration::from_millis(1)).is_none());
    /// go.send(())?;
    /// assert!(handle.join_timeout(Duration::from_secs(60)).unwrap()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`join`](Self::join).
    #[must_use = "it takes the result, if there is one"]
    pub fn join_timeout(&mut self, limit: Duration) -> Option<Result<T, JoinError>> {
        Arc::clone(&self.task_state).wait(deadline(limit))
    }

    /// Blocks until the task has ended, until `deadline` at most; as [`join_timeout`](Self::join_timeout).
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let mut handle = pool.spawn(|| 7)?;
    /// let result = handle.join_deadline(Instant::now() + Duration::from_secs(60));
    /// assert_eq!(result.unwrap()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`join`](Self::join).
    #[must_use = "it takes the result, if there is one"]
    pub fn join_deadline(&mut self, deadline: Instant) -> Option<Result<T, JoinError>> {
        Arc::clone(&self.task_state).wait(Some(deadline))
    }

    /// The result if the task has ended; never blocks. As [`join_timeout`](Self::join_timeout) otherwise.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let mut handle = pool.spawn(|| 7)?;
    /// pool.wait_idle();
    /// assert_eq!(handle.try_join().unwrap()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`join`](Self::join).
    #[must_use = "it takes the result, if there is one"]
    pub fn try_join(&mut self) -> Option<Result<T, JoinError>> {
        self.task_state.poll(None)
    }

    /// Whether the task has ended, so that [`join`](Self::join) would not wait. Never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let handle = pool.spawn(|| ())?;
    /// pool.wait_idle();
    /// assert!(handle.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.task_state.is_finished()
    }

    /// Stops the task. One that has not started never will: what it captured is dropped here and now, and it counts as
    /// cancelled. One that runs is told so, through its token ([`Context`](crate::Context)) and its
    /// worker's [`interrupter`](crate::Worker::interrupter), and may go on; its result can still be joined. Says whether the
    /// task had not started. Does not wait for it.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let handle = pool.spawn(|| 7)?;
    /// assert!(handle.cancel());
    /// drop(pause);
    /// assert!(handle.join().unwrap_err().is_cancelled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.task_state.cancel()
    }

    /// The task's token: cancelled with the task, by [`cancel`](Self::cancel) or by the token that it was submitted with, and
    /// cancelling it cancels the task. Costs an allocation where nobody has asked before.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let handle = pool.spawn(|| 7)?;
    /// handle.token().cancel();
    /// drop(pause);
    /// assert!(handle.join().unwrap_err().is_cancelled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn token(&self) -> CancelToken {
        self.task_state.token().clone()
    }

    /// The result, or word to wake the waiter. Runs the task on the calling worker if nobody else is free to.
    pub(crate) fn poll_or_listen(&mut self, waiter: impl Fn() -> Waiter) -> Option<Result<T, JoinError>> {
        if self.task_state.is_up_to_caller(&waiter) {
            Arc::clone(&self.task_state).run_for_poll(&waiter);
        }
        self.task_state.poll(Some(waiter()))
    }

    /// A handle that can be cloned and joined by several threads, and more than once.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let shared = pool.spawn(|| vec![1, 2, 3])?.shared();
    /// let other = shared.clone();
    /// let thread = std::thread::spawn(move || other.join().unwrap().len());
    /// assert_eq!(shared.join().unwrap()[0], 1);
    /// assert_eq!(thread.join().unwrap(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shared(self) -> SharedHandle<T> {
        SharedHandle::of(self)
    }
}

/// `.await`: the result. Takes it: polling again after that says that it has been taken. Dropping the future detaches the
/// task, as dropping a handle does; await `&mut handle` where that must not be.
///
/// A panic of the executor's waker is caught: it does not touch the pool, and others who wait are woken. Dropping the handle drops
/// the waker.
///
/// Polled by a task of the same pool (`Pool`), it runs the awaited task on the spot if that has not started and no other worker is
/// free to start it, so that `block_on(handle)` inside a task ends on a pool of one worker, too. A poll runs no other task, but for
/// those that keep a task of a view from its place ([`Limited`](crate::Limited)). Workers of a
/// [`StatefulPool`](crate::StatefulPool), whose state is in use, run nothing: there the wait is up to the other workers.
impl<T: Send + 'static> Future for Handle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Self::Output> {
        match self.poll_or_listen(|| Waiter::Task(poller.waker().clone())) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

impl<T: Send + 'static> Drop for Handle<T> {
    fn drop(&mut self) {
        self.task_state.detach();
    }
}

impl<T: Send + 'static> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", &self.id.0).field("is_finished", &self.is_finished()).finish()
    }
}
