//! Why there is no result.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::sync::Mutex;

use super::{Payload, SubmitError, SubmitErrorKind, panic_text};

/// Why there is no result of a task that was accepted.
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

pub(crate) enum Cause {
    /// Behind a lock because a payload may not be looked at by two threads, and an error may.
    Panic(Mutex<Payload>),
    /// Cancelled, or given back by `shutdown_now`, before it started.
    Cancelled,
    /// The worker's state could not be built.
    NoState(Arc<str>),
    /// A timed wait ended while the task was running.
    TimedOut,
    /// The caller's token was cancelled while the task was running.
    Stopped,
    WouldDeadlock,
    /// A timed join has already handed out the result.
    Taken,
}

impl JoinError {
    pub(crate) fn new(cause: Cause) -> Self {
        JoinError(cause)
    }

    pub(crate) const fn would_deadlock() -> Self {
        JoinError(Cause::WouldDeadlock)
    }

    pub(crate) fn panic(payload: Payload) -> Self {
        JoinError(Cause::Panic(Mutex::new(payload)))
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

    /// Whether the task never ran: it was cancelled, given back by `shutdown_now`, or its worker's state
    /// could not be built ([`is_no_state`](Self::is_no_state)); or whether a call's token was cancelled while its task ran.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// let handle = pool.spawn(|| 7)?;
    /// let returned = pool.shutdown_now();
    /// # drop(pause);
    /// // The worker may have been quicker.
    /// assert!(handle.join().map_or_else(|error| error.is_cancelled() && returned.len() == 1, |n| n == 7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Cause::Cancelled | Cause::Stopped | Cause::NoState(_))
    }

    /// Whether the task never ran because its worker's state could not be built.
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

    /// Whether a timed call gave up while the task was running.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.run(|| std::panic::panic_any("no")).unwrap_err();
    /// assert!(matches!(error, formicary::CallError::Failed(failed) if !failed.is_timed_out()));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_timed_out(&self) -> bool {
        matches!(self.0, Cause::TimedOut)
    }

    /// Whether the caller is a worker of the pool and would have waited for itself.
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

    /// What the task panicked with; the error itself if it did not panic.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.spawn(|| std::panic::panic_any(7_u8))?.join().unwrap_err();
    /// assert_eq!(error.into_panic().unwrap().downcast_ref(), Some(&7_u8));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The error, unchanged, if [`is_panic`](Self::is_panic) is false.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send + 'static>, Self> {
        match self.0 {
            Cause::Panic(payload) => Ok(payload.into_inner()),
            other => Err(JoinError(other)),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Panic(payload) => write!(f, "the task panicked: {}", panic_text(&**payload.lock())),
            Cause::Cancelled => f.write_str("the task was cancelled before it started"),
            Cause::NoState(why) => {
                write!(f, "the task was cancelled: its worker's state could not be built: {why}")
            }
            Cause::TimedOut => f.write_str("the task was still running when the time was up"),
            Cause::Stopped => f.write_str("the call was cancelled while the task was running"),
            Cause::WouldDeadlock => f.write_str("a worker of the pool would have waited for itself"),
            Cause::Taken => f.write_str("the task's result has been taken already"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {}

/// Why a synchronous call (`process`, `call`, `run`) gave no result.
///
/// ```
/// use formicary::{PoolWithFunc, CallError};
///
/// let pool = PoolWithFunc::new(1, |text: String| text.len())?;
/// pool.shutdown();
/// let error = pool.call("kept".to_owned()).unwrap_err();
/// assert_eq!(error.into_input().as_deref(), Some("kept"));
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub enum CallError<I> {
    /// The task was not started; the input is in the error.
    Refused(SubmitError<I>),
    /// The task was started, or its input is gone otherwise.
    Failed(JoinError),
}

/// The error of [`StatefulPool::process`](crate::StatefulPool::process).
///
/// ```
/// use formicary::{CallError, ProcessError};
///
/// fn same(error: ProcessError<u8>) -> CallError<u8> {
///     error
/// }
/// # let _ = same;
/// ```
pub type ProcessError<I> = CallError<I>;

impl<I> CallError<I> {
    /// The input, if the task was not started.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert_eq!(pool.call(7).unwrap_err().into_input(), Some(7));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn into_input(self) -> Option<I> {
        match self {
            Self::Refused(refused) => Some(refused.task),
            Self::Failed(_) => None,
        }
    }

    /// Whether the time was up, be it before the task started or while it ran.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.run(|| std::panic::panic_any("no")).unwrap_err();
    /// assert!(!error.is_timed_out());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_timed_out(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_timed_out(),
            Self::Failed(failed) => failed.is_timed_out(),
        }
    }

    /// Whether it was cancelled, be it before the task started or while it ran.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.run(|| std::panic::panic_any("no")).unwrap_err();
    /// assert!(!error.is_cancelled());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.kind == SubmitErrorKind::Cancelled,
            Self::Failed(failed) => failed.is_cancelled(),
        }
    }

    /// Whether the task panicked.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.run(|| std::panic::panic_any("no")).unwrap_err();
    /// assert!(error.is_panic());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Failed(failed) if failed.is_panic())
    }

    /// Whether the task did not run because the state of the worker that was to run it could not be made. The input is in the error then.
    ///
    /// ```
    /// use formicary::{Context, StatefulPool, Worker};
    ///
    /// struct Never;
    /// impl Worker for Never {
    ///     type Input = u8;
    ///     type Output = ();
    ///     fn process(&mut self, _: u8, _: &Context<'_>) {}
    /// }
    /// let builder = StatefulPool::<Never>::builder(|_worker| Err("no such host".into()));
    /// let pool = builder.workers(1).min_workers(0).build()?;
    /// let error = pool.process(7).unwrap_err();
    /// assert!(error.is_no_state());
    /// assert_eq!(error.into_input(), Some(7));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_no_state(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_no_state(),
            Self::Failed(failed) => failed.is_no_state(),
        }
    }

    /// Whether the caller is a worker of the pool and would have waited for itself.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.run(|| std::panic::panic_any("no")).unwrap_err();
    /// assert!(!error.is_would_deadlock());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_would_deadlock(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.kind == SubmitErrorKind::WouldDeadlock,
            Self::Failed(failed) => failed.is_would_deadlock(),
        }
    }
}

impl<I> From<SubmitError<I>> for CallError<I> {
    fn from(refused: SubmitError<I>) -> Self {
        Self::Refused(refused)
    }
}

impl<I> From<JoinError> for CallError<I> {
    fn from(failed: JoinError) -> Self {
        Self::Failed(failed)
    }
}

impl<I> fmt::Debug for CallError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => f.debug_tuple("Refused").field(refused).finish(),
            Self::Failed(failed) => f.debug_tuple("Failed").field(failed).finish(),
        }
    }
}

impl<I> fmt::Display for CallError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Failed(failed) => failed.fmt(f),
        }
    }
}

impl<I> Error for CallError<I> {}
