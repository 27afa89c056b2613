//! A handle for several: clones that see one result.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Handle;
use crate::clock::deadline;
use crate::error::{Cause, JoinError};
use crate::slot::AwaitedEnd;
use crate::sync::OnceLock;

static WOULD_DEADLOCK: JoinError = JoinError::would_deadlock();

struct Shared<T: Send + 'static> {
    handle: Handle<T>,
    result: OnceLock<Result<T, JoinError>>,
}

/// A handle for several: every clone sees the same result, by reference. Made by [`Handle::shared`]. When the last clone is
/// dropped the task is detached.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let shared: formicary::SharedHandle<u32> = pool.spawn(|| 7)?.shared();
/// assert_eq!(shared.join().unwrap(), &7);
/// assert_eq!(shared.join().unwrap(), &7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharedHandle<T: Send + 'static>(Arc<Shared<T>>);

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
        if !self.0.handle.is_finished() {
            match Arc::clone(&self.0.handle.slot).await_end(deadline, None, false) {
                // Without a token no wait is cancelled.
                AwaitedEnd::Over | AwaitedEnd::Cancelled => {}
                AwaitedEnd::TimedOut => return None,
                AwaitedEnd::WouldDeadlock => return Some(Err(&WOULD_DEADLOCK)),
            }
        }
        // The result is there; whoever comes first moves it, and the others wait the moment that this takes.
        let result = self
            .0
            .result
            .get_or_init(|| self.0.handle.slot.poll(None).unwrap_or_else(|| Err(JoinError::new(Cause::Taken))));
        Some(result.as_ref())
    }
}

impl<T: Send + 'static> SharedHandle<T> {
    pub(super) fn of(handle: Handle<T>) -> Self {
        SharedHandle(Arc::new(Shared { handle, result: OnceLock::new() }))
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
        self.0.result.get().is_some() || self.0.handle.is_finished()
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
        self.0.handle.cancel()
    }
}

impl<T: Send + 'static> Clone for SharedHandle<T> {
    fn clone(&self) -> Self {
        SharedHandle(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> fmt::Debug for SharedHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedHandle").field(&self.0.handle).finish()
    }
}
