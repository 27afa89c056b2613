//! The errors of groups: why one task returned no value, and why the group did not.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::{BoxError, JoinError, SubmitErrorKind, WOULD_DEADLOCK};

/// Why a task of a [`Group`](crate::Group) or of a [`race`](crate::Pool::race) returned no value.
///
/// ```
/// use formicary::{Pool, TaskFailure};
///
/// let pool = Pool::new(2)?;
/// let group = pool.group::<u8, _>().collect_all(true);
/// group.spawn(|_| Err("no"))?;
/// assert!(matches!(group.collect()[..], [Err(TaskFailure::Failed("no"))]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TaskFailure<E> {
    /// The task returned this error.
    Failed(E),
    /// The task panicked; [`JoinError::into_panic`] returns the payload.
    Panicked(JoinError),
    /// The task never ran: the group was cancelled first, or the pool returned the task.
    Cancelled,
    /// The pool refused the task for this reason. Only in a [`race`](crate::Pool::race); a group reports a refusal to the
    /// submitter.
    Refused(SubmitErrorKind),
    /// Waiting for the task would have deadlocked: the waiting thread is a worker of this pool.
    WouldDeadlock,
}

impl<E> TaskFailure<E> {
    pub(crate) fn of(error: JoinError) -> Self {
        if error.is_panic() {
            Self::Panicked(error)
        } else if error.is_would_deadlock() {
            Self::WouldDeadlock
        } else {
            Self::Cancelled
        }
    }

    /// Returns the task's error, if it returned one.
    ///
    /// ```
    /// assert_eq!(formicary::TaskFailure::Failed(7).into_error(), Some(7));
    /// assert_eq!(formicary::TaskFailure::<u8>::Cancelled.into_error(), None);
    /// ```
    pub fn into_error(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the task panicked.
    ///
    /// ```
    /// assert!(!formicary::TaskFailure::Failed(7).is_panic());
    /// ```
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Whether the task never ran because it was cancelled or refused.
    ///
    /// ```
    /// assert!(formicary::TaskFailure::<u8>::Cancelled.is_cancelled());
    /// ```
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Refused(_))
    }
}

impl<E> fmt::Display for TaskFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(_) => f.write_str("the task failed"),
            Self::Panicked(error) => error.fmt(f),
            Self::Cancelled => f.write_str("the task was cancelled before it started"),
            Self::Refused(_) => f.write_str("the task was refused"),
            Self::WouldDeadlock => f.write_str(WOULD_DEADLOCK),
        }
    }
}

impl<E: Error + 'static> Error for TaskFailure<E> {
    /// The error that the task returned.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Panicked(error) => error.source(),
            Self::Refused(kind) => Some(kind),
            Self::Cancelled | Self::WouldDeadlock => None,
        }
    }
}

/// Why a [`Group`](crate::Group) returned no values: its first failure, and the task that failed.
///
/// The error that the task returned is the [`source`](Error::source), so this type implements [`Error`] only if `E` does. For an
/// `E` that does not, such as a `String` or an `anyhow::Error`, use [`into_dyn`](Self::into_dyn).
///
/// ```
/// use formicary::{Pool, TaskFailure};
///
/// let pool = Pool::new(1)?;
/// let group = pool.group::<u8, _>();
/// group.spawn(|_| Ok(1))?;
/// group.spawn(|_| Err("no"))?;
/// let error = group.wait().unwrap_err();
/// assert_eq!(error.to_string(), "task 1 of the group: the task failed");
/// assert_eq!((error.index, error.failure.into_error()), (1, Some("no")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct GroupError<E> {
    /// The task's index in the order of submission, from 0. Refused tasks are not counted.
    pub index: usize,
    /// Why the task failed.
    pub failure: TaskFailure<E>,
}

impl<E> GroupError<E> {
    /// Boxes the task's error, for an `E` that converts into an error but does not implement [`Error`].
    ///
    /// ```
    /// use formicary::{GroupError, Pool};
    ///
    /// fn all() -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    ///     let pool = Pool::new(1)?;
    ///     let group = pool.group::<u8, String>();
    ///     group.spawn(|_token| Err("no such file".to_owned()))?;
    ///     Ok(group.wait().map_err(GroupError::into_dyn)?)
    /// }
    /// let error = all().unwrap_err();
    /// assert_eq!(error.to_string(), "task 0 of the group: the task failed");
    /// assert_eq!(error.source().unwrap().to_string(), "no such file");
    /// ```
    pub fn into_dyn(self) -> GroupError<Arc<dyn Error + Send + Sync>>
    where
        E: Into<BoxError>,
    {
        let failure = match self.failure {
            TaskFailure::Failed(error) => TaskFailure::Failed(Arc::from(error.into())),
            TaskFailure::Panicked(error) => TaskFailure::Panicked(error),
            TaskFailure::Cancelled => TaskFailure::Cancelled,
            TaskFailure::Refused(kind) => TaskFailure::Refused(kind),
            TaskFailure::WouldDeadlock => TaskFailure::WouldDeadlock,
        };
        GroupError { index: self.index, failure }
    }
}

impl<E> fmt::Display for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} of the group: {}", self.index, self.failure)
    }
}

impl<E: Error + 'static> Error for GroupError<E> {
    /// The source of the failure, whose text this error displays.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure.source()
    }
}
