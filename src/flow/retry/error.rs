//! Why a task was given up.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::error::{JoinError, SubmitErrorKind};

/// How an attempt failed.
pub(super) enum Failure<E> {
    Error(E),
    /// It panicked, or could not start.
    Join(JoinError),
    /// The pool refused it.
    Refused(SubmitErrorKind),
    /// A breaker refused it, and lets the next call through after so long.
    Open(Duration),
}

/// Why a task is not attempted again.
///
/// ```
/// assert_eq!(formicary::GaveUp::TimeUp.to_string(), "the time for attempts is up");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GaveUp {
    /// There was no attempt left ([`Retry::attempts`](crate::Retry::attempts)), or no delay.
    Exhausted,
    /// [`Retry::when`](crate::Retry::when) was false for the error; or the attempt panicked, and
    /// [`Retry::on_panic`](crate::Retry::on_panic) was not set.
    Permanent,
    /// The next attempt would have begun after [`Retry::within`](crate::Retry::within), or later than the clock can represent; or the deadline of
    /// its options, or of its token, has passed.
    TimeUp,
    /// The pool or view was closed.
    Closed,
    /// Its handle or its token cancelled it; or the pool cancelled an attempt, or gave it back, as any task of its queue; or dropped it, and its
    /// [`dropped_handler`](crate::Builder::dropped_handler) has it. (Without a handler, an attempt that is dropped is a failed one.)
    Cancelled,
}

/// A task that was given up: why, after how many attempts, and how the last one failed.
///
/// An [`Error`] if `E` is one, which is the source.
///
/// ```
/// use formicary::{GaveUp, Pool, Retry};
///
/// let pool = Pool::new(1)?;
/// let policy = Retry::fixed(std::time::Duration::ZERO).attempts(2);
/// let error = pool.retrying(policy).run(|| Err::<(), _>("no route"))?.unwrap_err();
/// assert_eq!((error.reason(), error.attempts(), error.error()), (GaveUp::Exhausted, 2, Some(&"no route")));
/// assert_eq!(error.to_string(), "given up after 2 attempts: no attempt is left");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RetryError<E> {
    pub(super) reason: GaveUp,
    pub(super) attempts: u32,
    /// `None` if no attempt failed.
    pub(super) last: Option<Failure<E>>,
}

impl<E> RetryError<E> {
    /// Why the task is not attempted again.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.retrying(formicary::Retry::none()).run(|| Err::<(), _>("no"))?.unwrap_err();
    /// assert_eq!(error.reason(), formicary::GaveUp::Exhausted);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reason(&self) -> GaveUp {
        self.reason
    }

    /// How many attempts have failed, those included that a pool or a breaker refused.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.retrying(formicary::Retry::none()).run(|| Err::<(), _>("no"))?.unwrap_err();
    /// assert_eq!(error.attempts(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The error that the last attempt returned. `None` if it returned none: it panicked, could not start, or was refused.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.retrying(formicary::Retry::none()).run(|| Err::<(), _>("no"))?.unwrap_err();
    /// assert_eq!(error.error(), Some(&"no"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn error(&self) -> Option<&E> {
        match &self.last {
            Some(Failure::Error(error)) => Some(error),
            _ => None,
        }
    }

    /// The same by value.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.retrying(formicary::Retry::none()).run(|| Err::<(), _>("no"))?.unwrap_err();
    /// assert_eq!(error.into_error(), Some("no"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_error(self) -> Option<E> {
        match self.last {
            Some(Failure::Error(error)) => Some(error),
            _ => None,
        }
    }

    /// The panic of the last attempt, or why it could not start.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).panic_handler(|_| ()).build()?;
    /// let policy = formicary::Retry::<String>::none();
    /// let error = pool.retrying(policy).run(|| -> Result<(), _> { std::panic::panic_any("broken") })?.unwrap_err();
    /// assert!(error.join_error().is_some_and(|error| error.is_panic()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join_error(&self) -> Option<&JoinError> {
        match &self.last {
            Some(Failure::Join(error)) => Some(error),
            _ => None,
        }
    }

    /// Why the last attempt was refused, by the pool or a breaker.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.retrying(formicary::Retry::none()).run(|| Err::<(), _>("no"))?.unwrap_err();
    /// assert_eq!(error.refusal(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refusal(&self) -> Option<SubmitErrorKind> {
        match &self.last {
            Some(Failure::Refused(kind)) => Some(*kind),
            Some(Failure::Open(_)) => Some(SubmitErrorKind::Open),
            _ => None,
        }
    }

    /// The text of the last failure.
    pub(super) fn text(&self) -> String
    where
        E: fmt::Display,
    {
        match &self.last {
            Some(Failure::Error(error)) => error.to_string(),
            Some(Failure::Join(error)) => error.to_string(),
            Some(Failure::Refused(kind)) => kind.to_string(),
            Some(Failure::Open(_)) => SubmitErrorKind::Open.to_string(),
            None => self.reason.to_string(),
        }
    }
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "no attempt is left",
            Self::Permanent => "such a failure is not retried",
            Self::TimeUp => "the time for attempts is up",
            Self::Closed => "the pool has been shut down",
            Self::Cancelled => "it was cancelled",
        })
    }
}

impl<E> fmt::Display for RetryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.attempts == 1 { "" } else { "s" };
        write!(f, "given up after {} attempt{plural}: {}", self.attempts, self.reason)
    }
}

impl<E> fmt::Debug for RetryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("RetryError");
        fields.field("reason", &self.reason).field("attempts", &self.attempts);
        match &self.last {
            Some(Failure::Join(error)) => _ = fields.field("last", error),
            Some(Failure::Refused(kind)) => _ = fields.field("last", kind),
            Some(Failure::Open(after)) => _ = fields.field("retry_after", after),
            Some(Failure::Error(_)) | None => {}
        }
        fields.finish_non_exhaustive()
    }
}

impl<E: Error + 'static> Error for RetryError<E> {
    /// How the last attempt failed.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.last {
            Some(Failure::Error(error)) => Some(error),
            Some(Failure::Join(error)) => Some(error),
            Some(Failure::Refused(kind)) => Some(kind),
            _ => None,
        }
    }
}
