//! The error of acquiring permits of a semaphore.

use std::error::Error;
use std::fmt;

use super::SubmitErrorKind;

/// Why a [`Semaphore`](crate::Semaphore) gave no permits.
///
/// ```
/// use formicary::{AcquireError, Semaphore};
///
/// let semaphore = Semaphore::new(1);
/// let permit = semaphore.acquire(1)?;
/// assert_eq!(semaphore.try_acquire(1).unwrap_err(), AcquireError::Full);
/// # drop(permit);
/// # Ok::<(), AcquireError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcquireError {
    /// Too few permits were free, or others waited for them, and the call was not to wait.
    Full,
    /// The time was up before there were enough permits.
    TimedOut,
    /// The token was cancelled before there were enough permits.
    Cancelled,
    /// The semaphore has been closed.
    Closed,
    /// More permits were asked for than the semaphore has in all, so it could never give them.
    TooLarge,
}

impl AcquireError {
    /// Whether it is [`Full`](Self::Full).
    ///
    /// ```
    /// let semaphore = formicary::Semaphore::new(1);
    /// let permit = semaphore.acquire(1).unwrap();
    /// assert!(semaphore.try_acquire(1).unwrap_err().is_full());
    /// # drop(permit);
    /// ```
    pub fn is_full(&self) -> bool {
        *self == Self::Full
    }

    /// Whether it is [`TimedOut`](Self::TimedOut).
    ///
    /// ```
    /// let semaphore = formicary::Semaphore::new(1);
    /// let permit = semaphore.acquire(1).unwrap();
    /// assert!(semaphore.acquire_timeout(1, std::time::Duration::ZERO).unwrap_err().is_timed_out());
    /// # drop(permit);
    /// ```
    pub fn is_timed_out(&self) -> bool {
        *self == Self::TimedOut
    }

    /// Whether it is [`Cancelled`](Self::Cancelled).
    ///
    /// ```
    /// let (semaphore, token) = (formicary::Semaphore::new(1), formicary::CancelToken::new());
    /// token.cancel();
    /// assert!(semaphore.acquire_with(1, &token).unwrap_err().is_cancelled());
    /// ```
    pub fn is_cancelled(&self) -> bool {
        *self == Self::Cancelled
    }

    /// Whether it is [`Closed`](Self::Closed).
    ///
    /// ```
    /// let semaphore = formicary::Semaphore::new(1);
    /// semaphore.close();
    /// assert!(semaphore.acquire(1).unwrap_err().is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        *self == Self::Closed
    }

    /// Whether it is [`TooLarge`](Self::TooLarge).
    ///
    /// ```
    /// assert!(formicary::Semaphore::new(1).acquire(2).unwrap_err().is_too_large());
    /// ```
    pub fn is_too_large(&self) -> bool {
        *self == Self::TooLarge
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too few permits are free",
            Self::TimedOut => "the time was up before there were enough permits",
            Self::Cancelled => "the wait for permits was cancelled",
            Self::Closed => "the semaphore has been closed",
            Self::TooLarge => "more permits were asked for than there are",
        })
    }
}

impl Error for AcquireError {}

impl From<AcquireError> for SubmitErrorKind {
    /// What a refused permit means to the submitter of a task that has a weight.
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Full => SubmitErrorKind::Full,
            AcquireError::TimedOut => SubmitErrorKind::TimedOut,
            AcquireError::Cancelled => SubmitErrorKind::Cancelled,
            AcquireError::Closed => SubmitErrorKind::Closed,
            AcquireError::TooLarge => SubmitErrorKind::TooLarge,
        }
    }
}
