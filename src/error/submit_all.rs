//! The error of submitting several tasks.

use std::error::Error;
use std::fmt;

use super::exclusive::Exclusive;
use super::{SubmitError, SubmitErrorKind};

/// A [`submit_all`](crate::Pool::submit_all) that stopped early. It holds the number of accepted tasks, the refused task with
/// the reason, and the rest of the iterator, so no task is lost.
///
/// `Send` and `Sync` if the task and the iterator are `Send`.
///
/// ```
/// let pool = formicary::PoolWithFunc::builder(|_: u8| ()).workers(1).queue(1).nonblocking(true).build()?;
/// let pause = pool.pause();
/// let stopped = pool.submit_all(0..5).unwrap_err();
/// assert_eq!((stopped.accepted(), stopped.kind().to_string()), (2, "the pool is full".to_owned()));
/// let (error, rest) = stopped.into_parts();
/// assert_eq!(error.into_task(), 2);
/// assert!(rest.eq(3..5));
/// # drop(pause);
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct SubmitAllError<T, I> {
    accepted: usize,
    error: SubmitError<T>,
    rest: Exclusive<I>,
}

impl<T, I> SubmitAllError<T, I> {
    pub(crate) fn new(accepted: usize, error: SubmitError<T>, rest: I) -> Self {
        SubmitAllError { accepted, error, rest: Exclusive::new(rest) }
    }

    /// The number of tasks accepted before the refusal.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.shutdown();
    /// assert_eq!(pool.submit_all([|| ()]).unwrap_err().accepted(), 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn accepted(&self) -> usize {
        self.accepted
    }

    /// The reason of the refusal.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.shutdown();
    /// assert_eq!(pool.submit_all([|| ()]).unwrap_err().kind(), formicary::SubmitErrorKind::Closed);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn kind(&self) -> SubmitErrorKind {
        self.error.kind()
    }

    /// Returns the refusal with its task, and the iterator over the tasks after it.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// let (error, rest) = pool.submit_all([7, 8, 9]).unwrap_err().into_parts();
    /// assert_eq!(error.into_task(), 7);
    /// assert!(rest.eq([8, 9]));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn into_parts(self) -> (SubmitError<T>, I) {
        (self.error, self.rest.into_inner())
    }
}

impl<T, I> fmt::Debug for SubmitAllError<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitAllError")
            .field("accepted", &self.accepted)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T, I> fmt::Display for SubmitAllError<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} accepted tasks", self.error, self.accepted)
    }
}

impl<T, I> Error for SubmitAllError<T, I> {
    /// The source of the refusal, whose text this error displays.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
