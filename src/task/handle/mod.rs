//! Handles: the way to a task's result.

mod awaited;
mod joinable;
mod linked;
mod several;
mod shared_handle;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::error::{Cause, JoinError};
use crate::sync::clock::deadline;
use crate::sync::waiter::Waiter;
use crate::task::state::{PollAction, TaskState};

pub(crate) use awaited::Awaited;
pub use awaited::Dependency;
pub(crate) use joinable::Joinable;
use joinable::poll_future;
pub(crate) use linked::Link;
pub use several::{AsCompleted, as_completed, wait_any, wait_any_timeout};
pub use shared_handle::SharedHandle;

/// Gives access to the result of a task.
///
/// Wait for the result with [`join`](Self::join), or `.await` it on any executor. Dropping a handle detaches its task: the task still
/// runs, and its result is dropped. A waker that a poll has left is dropped at once. [`cancel`](Self::cancel) stops the task.
///
/// A handle costs its task one allocation, and one more each for captures and for a result of more than 48 bytes. A handle that is kept
/// holds neither the captures of a task that has ended nor the memory of a result that was taken.
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

/// Identifies a task that has a handle. An id is never used twice in one process.
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

impl<T: Send + 'static> Handle<T> {
    pub(crate) fn new<I: Send + 'static>(task_state: Arc<TaskState<I, T>>) -> Self {
        Handle::of(task_state)
    }

    fn of(task_state: Arc<dyn Joinable<T>>) -> Self {
        // Not one of `sync`'s atomics: loom's cannot be in a static.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Handle { task_state, id: TaskId(NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    /// The task's id.
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

    /// Blocks until the task has ended. If the pool is [paused](crate::PoolControl::pause) before the task has started, this blocks until
    /// the pool resumes.
    ///
    /// Called by a task of the same pool, it runs the awaited task on the calling thread if that has not started (`Pool`). So a pool of
    /// one worker can wait for its own tasks. Such waits nest as deep as the worker's stack allows. Tasks of two pools that wait for each
    /// other deadlock; where this can happen, use [`join_timeout`](Self::join_timeout).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.spawn(|| 7)?.join()?, 7);
    /// let error = pool.spawn(|| panic!("broken"))?.join().unwrap_err();
    /// assert!(error.is_panic());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`JoinError`] if the task panicked, if it was cancelled or given back before it started, or if the calling worker would wait
    /// for itself.
    pub fn join(self) -> Result<T, JoinError> {
        // Without a deadline the wait ends only with a result.
        self.wait_until(None).unwrap_or_else(|| Err(JoinError::new(Cause::TimedOut)))
    }

    /// As [`join`](Self::join) and [`join_deadline`](Self::join_deadline), without consuming or borrowing the handle exclusively.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> Option<Result<T, JoinError>> {
        Arc::clone(&self.task_state).wait(deadline)
    }

    /// Blocks until the task has ended, for at most `limit`. Returns `None` if the task has not ended; the handle can be used again.
    ///
    /// The first `Some` has the result. After it every call returns an error which says that the result was taken.
    ///
    /// Called by a task of the same pool (`Pool`), it runs the awaited task on the calling thread only where this would otherwise be the
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

    /// Blocks until the task has ended, until `deadline` at most. Otherwise it is like [`join_timeout`](Self::join_timeout).
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

    /// Returns the result if the task has ended. Never blocks. Otherwise it is like [`join_timeout`](Self::join_timeout).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let mut handle = pool.spawn(|| 7)?;
    /// assert!(handle.try_join().is_none());
    /// drop(pause);
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

    /// Whether the task has ended, so that [`join`](Self::join) would not block. Never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let handle = pool.spawn(|| ())?;
    /// assert!(!handle.is_finished());
    /// drop(pause);
    /// pool.wait_idle();
    /// assert!(handle.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.task_state.is_finished()
    }

    /// Cancels the task. Returns whether the task had not started.
    ///
    /// A task that has not started never will: its captures are dropped before this returns, and it counts as cancelled. A task that
    /// runs is told to stop, through its token ([`Context`](crate::Context)) and its worker's
    /// [`interrupter`](crate::Worker::interrupter). It may go on, and its result can still be joined. This does not wait for it.
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

    /// The task's token. It is cancelled with the task, by [`cancel`](Self::cancel) or by the token that the task was submitted with.
    /// Cancelling it cancels the task. The first call allocates.
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

    /// Takes the result if it is there. Otherwise registers the waiter. Runs the task on the calling worker if no other is free to.
    pub(crate) fn poll_or_listen(&mut self, waiter: impl Fn() -> Waiter) -> Option<Result<T, JoinError>> {
        if self.task_state.poll_action(&waiter) == PollAction::Run {
            Arc::clone(&self.task_state).run_for_poll(&waiter);
        }
        self.task_state.poll(Some(waiter()))
    }

    /// As a poll of the future by one of the crate's own, which is polled where it is woken. It never runs the task.
    pub(crate) fn poll_inline(&mut self, waker: &Waker) -> Option<Result<T, JoinError>> {
        self.task_state.poll(Some(Waiter::Inline(waker.clone())))
    }

    /// Turns this into a handle that can be cloned, and joined by several threads and more than once.
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

/// `.await` gives the result, and takes it: a poll after that returns an error which says that the result was taken. Dropping the future
/// detaches the task; await `&mut handle` to keep the handle.
///
/// A panic of the executor's waker is caught. It affects neither the pool nor other waiters. Dropping the handle drops the waker.
///
/// Polled by a task of the same pool (`Pool`), it runs the awaited task on the calling thread if that has not started and no other
/// worker is free to start it. So `block_on(handle)` inside a task ends on a pool of one worker, too. If free workers take other tasks
/// instead, and wait, the waker is called, and the next poll runs the task. A poll runs no other task, except
/// those that keep a task of a view from its permit ([`Limited`](crate::Limited)). Workers of a [`StatefulPool`](crate::StatefulPool)
/// run nothing, because their state is in use; other workers must run the awaited task.
impl<T: Send + 'static> Future for Handle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Self::Output> {
        let task_state = &self.task_state;
        let listen = |waiter| task_state.poll(Some(waiter));
        match poll_future(task_state, poller.waker(), listen) {
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
