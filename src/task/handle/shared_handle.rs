//! A handle for several: clones that see one result.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Handle;
use crate::error::{Cause, JoinError};
use crate::sync::OnceLock;
use crate::sync::clock::deadline;
use crate::sync::waiter::Waiter;
use crate::task::state::AwaitedEnd;

static WOULD_DEADLOCK: JoinError = JoinError::would_deadlock();

struct Shared<T: Send + 'static> {
    handle: Handle<T>,
    result: OnceLock<Result<T, JoinError>>,
}

/// A handle for several: every clone sees the same result. LazyWith by [`Handle::shared`]. When the last clone is dropped the task is
/// detached.
///
/// [`join`](Self::join) gives the result by reference. `.await` gives a clone of it, on any executor.
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
    /// The place of this clone among those who wait, if it was polled.
    place: Option<u64>,
}

impl<T: Send + Sync + 'static> SharedHandle<T> {
    /// Blocks until the task has ended. As [`Handle::join`], but the result stays for the others.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let shared = pool.spawn(|| -> u32 { std::panic::panic_any("no") })?.shared();
    /// assert!(shared.join().unwrap_err().is_panic());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Handle::join`]; of a worker that would wait for itself it is only this one's error.
    pub fn join(&self) -> Result<&T, &JoinError> {
        // Without a deadline the wait ends only with a result.
        self.wait(None).unwrap_or(Err(&WOULD_DEADLOCK))
    }

    /// The same for at most `limit`, as [`Handle::join_timeout`]; `None` if the task has not ended.
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
                // Without a token no wait is cancelled.
                AwaitedEnd::Over | AwaitedEnd::Cancelled => {}
                AwaitedEnd::TimedOut => return None,
                AwaitedEnd::WouldDeadlock => return Some(Err(&WOULD_DEADLOCK)),
            }
        }
        Some(self.shared.result())
    }
}

impl<T: Send + 'static> Shared<T> {
    /// The result of a task that has ended. Whoever comes first moves it, and the others wait the moment that this takes.
    fn result(&self) -> Result<&T, &JoinError> {
        let take = || self.handle.task_state.poll(None).unwrap_or_else(|| Err(JoinError::new(Cause::Taken)));
        self.result.get_or_init(take).as_ref()
    }
}

impl<T: Send + 'static> SharedHandle<T> {
    /// Whoever was told to wake this clone forgets it.
    fn stop_listening(&mut self) {
        let place = self.place.take();
        place.into_iter().for_each(|place| self.shared.handle.task_state.stop_listening(place));
    }

    pub(super) fn of(handle: Handle<T>) -> Self {
        SharedHandle { shared: Arc::new(Shared { handle, result: OnceLock::new() }), place: None }
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

    /// As [`Handle::cancel`].
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

/// `.await`: a clone of the result, which stays for the others: each clone of the handle can be awaited by itself, and polled again
/// after that. The error is the one that all see, so [`JoinError::into_panic`] gives the panic only to the last who has it.
///
/// A clone that is dropped leaves no waker behind, in a time that does not depend on how many wait. A panic of a waker is caught;
/// the others are woken all the same.
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
            let (task_state, waiter) = (&self.shared.handle.task_state, || Waiter::Task(poller.waker().clone()));
            if task_state.is_up_to_caller(&waiter) {
                Arc::clone(task_state).run_for_poll(&waiter);
            }
            self.place = self.shared.handle.task_state.listen(waiter());
        }
        match self.place {
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
        SharedHandle { shared: Arc::clone(&self.shared), place: None }
    }
}

impl<T: Send + 'static> fmt::Debug for SharedHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedHandle").field(&self.shared.handle).finish()
    }
}
