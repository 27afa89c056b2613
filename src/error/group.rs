//! Why a task of a group gave no value, and why a group did not.

use std::error::Error;
use std::fmt;

use super::JoinError;

/// Why a task of a [`Group`](crate::Group) gave no value.
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
    /// It returned this error.
    Failed(E),
    /// It panicked; [`JoinError::into_panic`] has what with.
    Panicked(JoinError),
    /// It never ran: the group was cancelled before, or the pool gave the task back.
    Cancelled,
    /// It was not waited for: the caller is a worker of the pool and would have waited for itself.
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

    /// What the task returned, if it returned an error.
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

    /// Whether the task never ran.
    ///
    /// ```
    /// assert!(formicary::TaskFailure::<u8>::Cancelled.is_cancelled());
    /// ```
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}

impl<E: fmt::Display> fmt::Display for TaskFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "the task failed: {error}"),
            Self::Panicked(error) => error.fmt(f),
            Self::Cancelled => f.write_str("the task was cancelled before it started"),
            Self::WouldDeadlock => f.write_str("a worker of the pool would have waited for itself"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> Error for TaskFailure<E> {}

/// Why a [`Group`](crate::Group) gave no values: its first failure, and which task it was.
///
/// ```
/// use formicary::{Pool, TaskFailure};
///
/// let pool = Pool::new(1)?;
/// let group = pool.group::<u8, _>();
/// group.spawn(|_| Ok(1))?;
/// group.spawn(|_| Err("no"))?;
/// let error = group.wait().unwrap_err();
/// assert_eq!(error.to_string(), "task 1 of the group: the task failed: no");
/// assert_eq!((error.index, error.failure.into_error()), (1, Some("no")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct GroupError<E> {
    /// The task's number in the order of submission, from 0. Refused tasks are not counted.
    pub index: usize,
    /// What it was.
    pub failure: TaskFailure<E>,
}

impl<E: fmt::Display> fmt::Display for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} of the group: {}", self.index, self.failure)
    }
}

impl<E: fmt::Debug + fmt::Display> Error for GroupError<E> {}
