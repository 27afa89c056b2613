//! A handle that several threads can use: all clones see one result.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Handle;
use super::joinable::poll_future;
use crate::error::{Cause, JoinError};
use crate::sync::OnceLock;
use crate::sync::clock::deadline;
use crate::task::state::AwaitedEnd;

static WOULD_DEADLOCK: JoinError = JoinError::would_deadlock();

struct Shared<T: Send + 'static> {
    handle: Handle<T>,
    result: OnceLock<Result<T, JoinError>>,
}

/// A handle that can be cloned; every clone sees the same result. It is made by [`Handle::shared`]. Dropping the last clone detaches the
/// task.
///
/// [`join`](Self::join) returns the result by reference. `.await` gives a clone of it, on any executor.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let shared: formicary::SharedHandle<u32> = pool.spawn(|| 7)?.shared();
/// assert_eq!(shared.join().unwrap(), &7);
/// assert_eq!(shared.join().unwrap(), &7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharedHandle<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    /// The entry of this clone among the waiters, if it was polled.
    entry: Option<u64>,
}

impl<T: Send + Sync + 'static> SharedHandle<T> {
    /// Blocks until the task has ended, as [`Handle::join`] does. The result stays available to other clones.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let shared = pool.spawn(|| -> u32 { std::panic::panic_any("no") })?.shared();
    /// assert!(shared.join().unwrap_err().is_panic());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Handle::join`]. Where a worker would wait for itself, the error is for this call only.
    pub fn join(&self) -> Result<&T, &JoinError> {
        // Without a deadline the wait ends only with a result.
        self.wait(None).unwrap_or(Err(&WOULD_DEADLOCK))
    }

    /// As [`join`](Self::join), for at most `limit`. Returns `None` if the task has not ended. See [`Handle::join_timeout`].
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let shared = pool.spawn(|| 7)?.shared();
    /// assert_eq!(shared.join_timeout(std::time::Duration::from_secs(60)).unwrap().unwrap(), &7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`join`](Self::join).
    #[must_use = "the task may not have ended when the time is up"]
    pub fn join_timeout(&self, limit: Duration) -> Option<Result<&T, &JoinError>> {
        self.wait(deadline(limit))
    }

    fn wait(&self, deadline: Option<Instant>) -> Option<Result<&T, &JoinError>> {
        if !self.shared.handle.is_finished() {
            match Arc::clone(&self.shared.handle.task_state).await_end(deadline, None, false) {
                // A wait without a token is not cancelled.
                AwaitedEnd::Over | AwaitedEnd::Cancelled => {}
                AwaitedEnd::TimedOut => return None,
                AwaitedEnd::WouldDeadlock => return Some(Err(&WOULD_DEADLOCK)),
            }
        }
        Some(self.shared.result())
    }
}

impl<T: Send + 'static> Shared<T> {
    /// The result of a task that has ended. The first caller moves it out of the task's state; others wait meanwhile.
    fn result(&self) -> Result<&T, &JoinError> {
        let take = || self.handle.task_state.poll(None).unwrap_or_else(|| Err(JoinError::new(Cause::Taken)));
        self.result.get_or_init(take).as_ref()
    }
}

impl<T: Send + 'static> SharedHandle<T> {
    /// Removes the waiter of this clone.
    fn stop_listening(&mut self) {
        let entry = self.entry.take();
        entry.into_iter().for_each(|entry| self.shared.handle.task_state.stop_listening(entry));
    }

    /// The handle that the clones share.
    pub(super) fn task_handle(&self) -> &Handle<T> {
        &self.shared.handle
    }

    pub(super) fn of(handle: Handle<T>) -> Self {
        SharedHandle { shared: Arc::new(Shared { handle, result: OnceLock::new() }), entry: None }
    }

    /// Whether the task has ended.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let shared = pool.spawn(|| ())?.shared();
    /// pool.wait_idle();
    /// assert!(shared.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.shared.result.get().is_some() || self.shared.handle.is_finished()
    }

    /// Cancels the task, as [`Handle::cancel`] does.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let shared = pool.spawn(|| ())?.shared();
    /// assert!(shared.cancel());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.shared.handle.cancel()
    }
}

/// `.await` gives a clone of the result. Each clone of the handle can be awaited, and polled again after that. All see the same error, so
/// [`JoinError::into_panic`] returns the panic only to its last owner.
///
/// Dropping a clone removes its waker, in a time that does not depend on the number of waiters. A panic of a waker is caught; the others
/// are still woken.
///
/// Polled by a task of the same pool, it behaves as [`Handle`] does.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let pool = formicary::Pool::new(1)?;
/// let shared = pool.spawn(|| String::from("formica"))?.shared();
/// let other = shared.clone();
/// assert_eq!(shared.await?, "formica");
/// assert_eq!(other.await?, "formica");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<T: Clone + Send + Sync + 'static> Future for SharedHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Self::Output> {
        self.stop_listening();
        if self.shared.result.get().is_none() {
            let shared = Arc::clone(&self.shared);
            let task_state = &shared.handle.task_state;
            let listen = |waiter| {
                self.entry = task_state.relisten(self.entry.take(), waiter);
                self.entry.is_none().then_some(())
            };
            let _ = poll_future(task_state, poller.waker(), listen);
        }
        match self.entry {
            Some(_) => Poll::Pending,
            None => Poll::Ready(self.shared.result().cloned().map_err(JoinError::share)),
        }
    }
}

impl<T: Send + 'static> Drop for SharedHandle<T> {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

impl<T: Send + 'static> Clone for SharedHandle<T> {
    fn clone(&self) -> Self {
        SharedHandle { shared: Arc::clone(&self.shared), entry: None }
    }
}

impl<T: Send + 'static> fmt::Debug for SharedHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedHandle").field(&self.shared.handle).finish()
    }
}
