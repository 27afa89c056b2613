//! Why there is no pool.

use std::error::Error;
use std::fmt;
use std::io;

use super::BoxError;

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
    /// `workers` is 0: such a pool could run nothing.
    ZeroWorkers,
    /// `workers` is above [`MAX_WORKERS`](crate::MAX_WORKERS).
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
    /// The dispatch cannot have a queue like that.
    Queue {
        /// The dispatch, by name.
        dispatch: &'static str,
        /// Which setting it cannot have, in a sentence.
        reason: String,
    },
    /// A `thread_name` that is empty or has a NUL byte in it.
    ThreadName(String),
    /// `stack_size` is 0.
    ZeroStackSize,
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
            Self::ZeroWorkers => f.write_str("workers is 0: a pool needs at least one"),
            Self::TooManyWorkers { asked, limit } => {
                write!(f, "workers is {asked}: {limit} is the most a pool can have")
            }
            Self::MinAboveMax { min, max } => {
                write!(f, "min_workers is {min}, which is above workers, {max}")
            }
            Self::Queue { dispatch, reason } => write!(f, "dispatch {dispatch}: {reason}"),
            Self::ThreadName(name) if name.is_empty() => f.write_str("thread_name is \"\": a thread needs a name"),
            Self::ThreadName(name) => write!(f, "thread_name is {name:?}, which has a NUL byte in it"),
            Self::ZeroStackSize => f.write_str("stack_size is 0: a thread needs a stack"),
            Self::Spawn(_) => f.write_str("no thread could be started"),
            Self::Factory { worker, .. } => write!(f, "the factory failed to make the state of worker {worker}"),
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
