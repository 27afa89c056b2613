//! The error of building, restarting or reconfiguring a pool.

use std::error::Error;
use std::fmt;
use std::io;

use super::BoxError;

/// Why a pool could not be built, restarted or resized. The text names the setting that was wrong.
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
    /// `workers` is 0.
    ZeroWorkers,
    /// `workers` is above [`MAX_WORKERS`](crate::MAX_WORKERS).
    TooManyWorkers {
        /// The number requested.
        asked: usize,
        /// The largest number possible.
        limit: usize,
    },
    /// `min_workers` is above `workers`.
    MinAboveMax {
        /// The minimum requested.
        min: usize,
        /// The maximum requested.
        max: usize,
    },
    /// The dispatch does not support these queue settings.
    Queue {
        /// The name of the dispatch.
        dispatch: &'static str,
        /// Which setting it does not support, in a sentence.
        reason: String,
    },
    /// `thread_name` is empty or contains a NUL byte.
    ThreadName(String),
    /// `stack_size` is 0.
    ZeroStackSize,
    /// The system, or the pool's spawn handler, failed to start the first thread: its error.
    Spawn(io::Error),
    /// The factory failed to create the state of one of the first workers.
    Factory {
        /// The worker's number.
        worker: usize,
        /// The factory's error or, if the factory panicked, an error with the text of the panic.
        source: BoxError,
    },
    /// `overflow` is [`CallerRuns`](crate::Overflow::CallerRuns), and tasks of this pool need the state of a worker.
    CallerRuns,
    /// `restart` was called before the pool had ended.
    StillRunning,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroWorkers => f.write_str("workers is 0: a pool needs at least one"),
            Self::TooManyWorkers { asked, limit } => {
                write!(f, "workers is {asked}: {limit} is the most a pool can have")
            }
            Self::MinAboveMax { min, max } => {
                write!(f, "min_workers is {min}, which is above workers, {max}")
            }
            Self::Queue { dispatch, reason } => write!(f, "dispatch {dispatch}: {reason}"),
            Self::ThreadName(name) if name.is_empty() => f.write_str("thread_name is \"\": a thread needs a name"),
            Self::ThreadName(name) => write!(f, "thread_name is {name:?}, which contains a NUL byte"),
            Self::ZeroStackSize => f.write_str("stack_size is 0: a thread needs a stack"),
            Self::Spawn(_) => f.write_str("no thread could be started"),
            Self::Factory { worker, .. } => write!(f, "the factory failed to create the state of worker {worker}"),
            Self::CallerRuns => {
                f.write_str("overflow is CallerRuns: a submitter has no worker's state to run a task with")
            }
            Self::StillRunning => f.write_str("the pool cannot be restarted before it has ended"),
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
