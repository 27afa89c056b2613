//! Why a task was not taken.

use std::error::Error;
use std::fmt;

/// Why a task was refused.
///
/// ```
/// assert_eq!(formicary::SubmitErrorKind::Full.to_string(), "the pool is full");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubmitErrorKind {
    /// There was no room, and the call does not wait.
    Full,
    /// As many submitters wait already as `max_blocking` allows.
    Overloaded,
    /// There was no room until the time was up.
    TimedOut,
    /// The task was cancelled before it was taken.
    Cancelled,
    /// The pool has been shut down.
    Closed,
    /// The system refused a thread, and no worker is alive to run the task.
    Spawn,
    /// The task was taken, and the state of the worker that was to run it could not be made: the factory failed.
    NoState,
    /// The caller is a worker of this pool, and waiting here would have been waiting for itself.
    WouldDeadlock,
}

/// A refusal, with the task that was refused.
///
/// Needs nothing of the task's type: it is [`Debug`](fmt::Debug) and an [`Error`] for any `T`.
///
/// ```
/// use formicary::{Pool, SubmitErrorKind};
///
/// let pool = Pool::new(1)?;
/// pool.shutdown();
/// let name = String::from("kept");
/// let refusal = pool.submit(move || drop(name)).unwrap_err();
/// assert_eq!(refusal.kind, SubmitErrorKind::Closed);
/// (refusal.task)(); // the closure came back, and still runs
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SubmitError<T> {
    /// Why.
    pub kind: SubmitErrorKind,
    /// The task, as it was handed in.
    pub task: T,
}

impl<T> SubmitError<T> {
    pub(crate) fn new(kind: SubmitErrorKind, task: T) -> Self {
        SubmitError { kind, task }
    }

    /// The task that was refused.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert_eq!(pool.invoke(7).unwrap_err().into_inner(), 7);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn into_inner(self) -> T {
        self.task
    }

    /// Whether the pool was full and the call does not wait.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert!(!pool.invoke(7).unwrap_err().is_full());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_full(&self) -> bool {
        self.kind == SubmitErrorKind::Full
    }

    /// Whether the pool has been shut down.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert!(pool.invoke(7).unwrap_err().is_closed());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        self.kind == SubmitErrorKind::Closed
    }

    /// Whether the time was up.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert!(!pool.invoke(7).unwrap_err().is_timed_out());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_timed_out(&self) -> bool {
        self.kind == SubmitErrorKind::TimedOut
    }

    /// Whether the task was taken, and a worker's state to run it with could not be made.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert!(!pool.invoke(7).unwrap_err().is_no_state());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_no_state(&self) -> bool {
        self.kind == SubmitErrorKind::NoState
    }

    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> SubmitError<U> {
        SubmitError { kind: self.kind, task: f(self.task) }
    }
}

impl SubmitErrorKind {
    /// There may be room later.
    pub(crate) fn is_for_now(self) -> bool {
        matches!(self, Self::Full | Self::Overloaded | Self::TimedOut | Self::Cancelled)
    }
}

impl fmt::Display for SubmitErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the pool is full",
            Self::Overloaded => "too many submitters wait for the pool already",
            Self::TimedOut => "the pool had no room until the time was up",
            Self::Cancelled => "the task was cancelled before it was taken",
            Self::Closed => "the pool has been shut down",
            Self::Spawn => "no thread could be started to run the task",
            Self::NoState => "the state of the worker that was to run the task could not be made",
            Self::WouldDeadlock => "a worker of the pool would have waited for itself",
        })
    }
}

impl<T> fmt::Debug for SubmitError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitError").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SubmitError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl<T> Error for SubmitError<T> {}

/// `submit_all` stopped early. Nothing is lost: what was accepted is counted, the refused task is in
/// `error`, and what the iterator has not given out is in `rest`.
///
/// ```
/// let pool = formicary::PoolWithFunc::builder(|_: u8| ()).workers(1).queue(1).nonblocking(true).build()?;
/// let pause = pool.pause();
/// let mut stopped = pool.invoke_all(0..5).unwrap_err();
/// assert_eq!((stopped.accepted, stopped.error.task), (2, 2));
/// assert!(stopped.rest.eq(3..5));
/// # drop(pause);
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct SubmitAllError<T, I> {
    /// How many tasks were accepted before.
    pub accepted: usize,
    /// The refusal, with its task.
    pub error: SubmitError<T>,
    /// The iterator, from the task after the refused one.
    pub rest: I,
}

impl<T, I> fmt::Debug for SubmitAllError<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitAllError")
            .field("accepted", &self.accepted)
            .field("kind", &self.error.kind)
            .finish_non_exhaustive()
    }
}

impl<T, I> fmt::Display for SubmitAllError<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} accepted tasks", self.error, self.accepted)
    }
}

impl<T, I> Error for SubmitAllError<T, I> {}
