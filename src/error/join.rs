//! The error of waiting for an accepted task.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::sync::Mutex;

use super::{Chain, DROPPED, Payload, SharedError, SubmitErrorKind, WOULD_DEADLOCK, panic_text};

/// Why an accepted task has no result.
///
/// ```
/// use formicary::Pool;
///
/// let pool = Pool::new(1)?;
/// let handle = pool.spawn(|| -> u32 { std::panic::panic_any("out of tea") })?;
/// let error = handle.join().unwrap_err();
/// assert!(error.is_panic());
/// assert_eq!(error.to_string(), "the task panicked: out of tea");
/// assert_eq!(error.into_panic().unwrap().downcast_ref(), Some(&"out of tea"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JoinError(Cause);

pub enum Cause {
    /// Behind a lock because a payload is not `Sync`, and the error is.
    Panic(Arc<Mutex<Payload>>),
    /// The task was cancelled, or returned by `shutdown_now`, before it started.
    Cancelled,
    /// The task's deadline passed before it started.
    Expired,
    /// The pool refused the task when it was to enter, or was closed before.
    Refused(SubmitErrorKind),
    /// The worker's state could not be created: the factory's error.
    NoState(SharedError),
    /// A call timed out while its task was running.
    TimedOut,
    /// The token of a call was cancelled while its task was running.
    Stopped,
    WouldDeadlock,
    /// The pool dropped the task before it started.
    Dropped,
    /// A timed join has already returned the result.
    Taken,
    /// A task that this one depends on has no output: its error, unless that was taken.
    Dependency(Option<Arc<JoinError>>),
    /// The function of a batch returned too few results.
    NoResult,
}

impl JoinError {
    pub(crate) fn new(cause: Cause) -> Self {
        JoinError(cause)
    }

    /// For a task that depends on one with this error. In a chain it is the first error, so no error nests in proportion to the chain.
    pub(crate) fn of_dependency(error: Option<JoinError>) -> Self {
        JoinError(Cause::Dependency(match error {
            Some(JoinError(Cause::Dependency(first))) => first,
            error => error.map(Arc::new),
        }))
    }

    pub(crate) const fn would_deadlock() -> Self {
        JoinError(Cause::WouldDeadlock)
    }

    pub(crate) fn panic(payload: Payload) -> Self {
        JoinError(Cause::Panic(Arc::new(Mutex::new(payload))))
    }

    /// Whether the task panicked.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.spawn(|| std::panic::panic_any("no"))?.join().unwrap_err();
    /// assert!(error.is_panic());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Cause::Panic(_))
    }

    /// Whether the task never ran, because it was cancelled, its deadline passed, `shutdown_now` returned it, its worker's state
    /// could not be created ([`is_no_state`](Self::is_no_state)), a task that it depends on failed
    /// ([`is_dependency`](Self::is_dependency)), or the pool refused it when it was to enter ([`refusal`](Self::refusal)). Also `true` if
    /// the token of a call was cancelled while its task ran.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let handle = pool.spawn(|| 7)?;
    /// let returned = pool.shutdown_now();
    /// # drop(pause);
    /// // The task may have started before the pause.
    /// assert!(handle.join().map_or_else(|error| error.is_cancelled() && returned.len() == 1, |n| n == 7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self.0,
            Cause::Cancelled
                | Cause::Expired
                | Cause::Stopped
                | Cause::NoState(_)
                | Cause::Dependency(_)
                | Cause::Refused(_)
        )
    }

    /// Whether the task never ran because its worker's state could not be created.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.spawn(|| std::panic::panic_any("no"))?.join().unwrap_err();
    /// assert!(!error.is_no_state());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_no_state(&self) -> bool {
        matches!(self.0, Cause::NoState(_))
    }

    /// Why the pool did not take a task that was submitted for a time ([`With::after`](crate::With::after)): `Closed` if the pool was shut
    /// down before that time, otherwise why the pool refused it then. `None` for any other error.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let late = pool.with().after(Duration::from_secs(3600)).spawn(|| 7)?;
    /// pool.shutdown();
    /// assert_eq!(late.join().unwrap_err().refusal(), Some(formicary::SubmitErrorKind::Closed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refusal(&self) -> Option<SubmitErrorKind> {
        match self.0 {
            Cause::Refused(kind) => Some(kind),
            _ => None,
        }
    }

    /// Whether a call timed out while its task was running, or the task's deadline passed before it started. In the second case
    /// [`is_cancelled`](Self::is_cancelled) is also `true`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let late = pool.with().timeout(Duration::from_millis(5)).spawn(|| 7)?;
    /// std::thread::sleep(Duration::from_millis(5));
    /// drop(pause);
    /// assert!(late.join().unwrap_err().is_timed_out());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_timed_out(&self) -> bool {
        matches!(self.0, Cause::TimedOut | Cause::Expired | Cause::Refused(SubmitErrorKind::TimedOut))
    }

    /// Whether the wait would have deadlocked: the waiting thread is a worker of this pool.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.run(|| std::panic::panic_any("no")).unwrap_err();
    /// assert!(matches!(error, formicary::CallError::Failed(failed) if !failed.is_would_deadlock()));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_would_deadlock(&self) -> bool {
        matches!(self.0, Cause::WouldDeadlock)
    }

    /// Whether the task never ran because a task that it depends on failed. Then [`source`](Error::source) is that task's error, unless
    /// somebody has taken it. In a chain of such tasks it is the error of the first.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let fails = pool.spawn(|| -> u32 { std::panic::panic_any("no") })?;
    /// let error = fails.then_ok(&pool, |n| n + 1).join().unwrap_err();
    /// assert!(error.is_dependency() && error.is_cancelled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_dependency(&self) -> bool {
        matches!(self.0, Cause::Dependency(_))
    }

    /// Whether the function of a [batch](crate::Batched) returned no result for this item.
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    ///
    /// let pool = Arc::new(formicary::Pool::new(1)?);
    /// let batched = pool.batched(1, Duration::from_secs(1), |_: Vec<u32>| Vec::<u32>::new());
    /// assert!(batched.spawn(7)?.join().unwrap_err().is_no_result());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_no_result(&self) -> bool {
        matches!(self.0, Cause::NoResult)
    }

    /// Whether the pool dropped the task before it started: by its [overflow policy](crate::Builder::overflow), because the task waited longer
    /// than its [`max_queue_time`](crate::With::max_queue_time), or because it could not start at its time ([`refusal`](Self::refusal)).
    ///
    /// ```
    /// use formicary::{Overflow, Pool};
    ///
    /// let pool = Pool::builder().workers(1).queue(0).overflow(Overflow::DropNewest).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(pool.spawn(|| 7)?.join().unwrap_err().is_dropped());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_dropped(&self) -> bool {
        matches!(self.0, Cause::Dropped | Cause::Refused(_))
    }

    /// Returns the payload of the task's panic.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.spawn(|| std::panic::panic_any(7_u8))?.join().unwrap_err();
    /// assert_eq!(error.into_panic().unwrap().downcast_ref(), Some(&7_u8));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns the error unchanged if [`is_panic`](Self::is_panic) is `false`, or if another
    /// [`SharedHandle`](crate::SharedHandle) or error still refers to the same panic.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send + 'static>, Self> {
        match self.0 {
            Cause::Panic(payload) => {
                Arc::try_unwrap(payload).map(Mutex::into_inner).map_err(|payload| JoinError(Cause::Panic(payload)))
            }
            other => Err(JoinError(other)),
        }
    }

    /// A copy of the error for another waiter of the same task.
    pub(crate) fn share(&self) -> Self {
        JoinError(match &self.0 {
            Cause::Panic(payload) => Cause::Panic(Arc::clone(payload)),
            Cause::Cancelled => Cause::Cancelled,
            Cause::Expired => Cause::Expired,
            Cause::Refused(kind) => Cause::Refused(*kind),
            Cause::NoState(source) => Cause::NoState(Arc::clone(source)),
            Cause::TimedOut => Cause::TimedOut,
            Cause::Stopped => Cause::Stopped,
            Cause::WouldDeadlock => Cause::WouldDeadlock,
            Cause::Dropped => Cause::Dropped,
            Cause::Taken => Cause::Taken,
            Cause::Dependency(error) => Cause::Dependency(error.clone()),
            Cause::NoResult => Cause::NoResult,
        })
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Panic(payload) => write!(f, "the task panicked: {}", panic_text(&**payload.lock())),
            Cause::Cancelled => f.write_str("the task was cancelled before it started"),
            Cause::Expired => f.write_str("the task's deadline passed before it started"),
            Cause::NoState(_) => f.write_str("the task was cancelled: its worker's state could not be created"),
            Cause::TimedOut => f.write_str("the call timed out while the task was running"),
            Cause::Stopped => f.write_str("the call was cancelled while the task was running"),
            Cause::WouldDeadlock => f.write_str(WOULD_DEADLOCK),
            Cause::Dropped => f.write_str(DROPPED),
            Cause::Taken => f.write_str("the task's result has already been taken"),
            Cause::Dependency(_) => f.write_str("the task was cancelled: a task that it depends on failed"),
            Cause::Refused(kind) => write!(f, "the task was refused when it was to enter: {kind}"),
            Cause::NoResult => f.write_str("the batch has no result for this item"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({})", Chain(self))
    }
}

impl Error for JoinError {
    /// The factory's error, if the worker's state could not be created, or the error of a task that this one depends on.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Cause::NoState(source) => Some(&**source),
            Cause::Dependency(Some(error)) => Some(&**error),
            _ => None,
        }
    }
}
