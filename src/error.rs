//! What can go wrong, and what comes back with it.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Any error, as the factories of a [`StatefulPool`](crate::StatefulPool) return it.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send + 'static>;

/// The text of a panic, if it has one.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a payload that is not text"
    }
}

/// Why a pool could not be built, restarted or resized. Names the value that was wrong.
///
/// ```
/// use formicary::{BuildError, Pool};
///
/// let error = Pool::new(0).err();
/// assert!(matches!(error, Some(BuildError::ZeroWorkers)));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// Zero workers were asked for: such a pool could run nothing.
    ZeroWorkers,
    /// More workers were asked for than [`MAX_WORKERS`](crate::MAX_WORKERS).
    TooManyWorkers {
        /// The number asked for.
        asked: usize,
        /// The most there can be.
        limit: usize,
    },
    /// `min_workers` is above `workers`.
    MinAboveMax {
        /// The minimum asked for.
        min: usize,
        /// The maximum asked for.
        max: usize,
    },
    /// The dispatch cannot have a queue of the size asked for.
    Queue {
        /// The dispatch, by name.
        dispatch: &'static str,
        /// What it lacks, in a sentence.
        reason: &'static str,
    },
    /// A thread name with a NUL byte in it.
    ThreadName(String),
    /// The system, or the pool's spawn handler, refused the first thread.
    Spawn(io::Error),
    /// The factory failed to make the state of a first worker.
    Factory {
        /// The worker's number.
        worker: usize,
        /// The factory's own error; if it panicked, an error with the panic's text.
        source: BoxError,
    },
    /// `restart` was called on a pool that has not ended.
    StillRunning,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroWorkers => f.write_str("a pool needs at least one worker, 0 were asked for"),
            Self::TooManyWorkers { asked, limit } => {
                write!(f, "{asked} workers were asked for, {limit} is the most a pool can have")
            }
            Self::MinAboveMax { min, max } => {
                write!(f, "min_workers is {min}, which is above workers, {max}")
            }
            Self::Queue { dispatch, reason } => write!(f, "dispatch {dispatch}: {reason}"),
            Self::ThreadName(name) => write!(f, "the thread name {name:?} contains a NUL byte"),
            Self::Spawn(source) => write!(f, "no thread could be started: {source}"),
            Self::Factory { worker, source } => {
                write!(f, "the factory failed to make the state of worker {worker}: {source}")
            }
            Self::StillRunning => f.write_str("the pool has not ended, it cannot be restarted"),
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Spawn(source) => Some(source),
            Self::Factory { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

/// Why a task was refused.
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
    pub fn into_inner(self) -> T {
        self.task
    }

    /// Whether the pool was full and the call does not wait.
    pub fn is_full(&self) -> bool {
        self.kind == SubmitErrorKind::Full
    }

    /// Whether the pool has been shut down.
    pub fn is_closed(&self) -> bool {
        self.kind == SubmitErrorKind::Closed
    }

    /// Whether the time was up.
    pub fn is_timed_out(&self) -> bool {
        self.kind == SubmitErrorKind::TimedOut
    }

    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> SubmitError<U> {
        SubmitError { kind: self.kind, task: f(self.task) }
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
    Panic(Payload),
    /// Cancelled, or given back by `shutdown_now`, before it started.
    Cancelled,
    /// The worker's state could not be built.
    NoState(Arc<str>),
    /// A timed wait ended while the task was running.
    TimedOut,
    WouldDeadlock,
    /// A timed join has already handed out the result.
    Taken,
}

impl JoinError {
    pub(crate) fn new(cause: Cause) -> Self {
        JoinError(cause)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Cause::Panic(_))
    }

    /// Whether the task never ran: it was cancelled, given back by `shutdown_now`, or its worker's state
    /// could not be built.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Cause::Cancelled | Cause::NoState(_))
    }

    /// Whether a timed call gave up while the task was running.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.0, Cause::TimedOut)
    }

    /// Whether the caller is a worker of the pool and would have waited for itself.
    pub fn is_would_deadlock(&self) -> bool {
        matches!(self.0, Cause::WouldDeadlock)
    }

    /// What the task panicked with; the error itself if it did not panic.
    ///
    /// # Errors
    /// The error, unchanged, if [`is_panic`](Self::is_panic) is false.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send + 'static>, Self> {
        match self.0 {
            Cause::Panic(payload) => Ok(payload),
            other => Err(JoinError(other)),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Panic(payload) => write!(f, "the task panicked: {}", panic_text(&**payload)),
            Cause::Cancelled => f.write_str("the task was cancelled before it started"),
            Cause::NoState(why) => {
                write!(f, "the task was cancelled: its worker's state could not be built: {why}")
            }
            Cause::TimedOut => f.write_str("the task was still running when the time was up"),
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
pub type ProcessError<I> = CallError<I>;

impl<I> CallError<I> {
    /// The input, if the task was not started.
    pub fn into_input(self) -> Option<I> {
        match self {
            Self::Refused(refused) => Some(refused.task),
            Self::Failed(_) => None,
        }
    }

    /// Whether the time was up, be it before the task started or while it ran.
    pub fn is_timed_out(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_timed_out(),
            Self::Failed(failed) => failed.is_timed_out(),
        }
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Failed(failed) if failed.is_panic())
    }

    /// Whether the caller is a worker of the pool and would have waited for itself.
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
