//! The settings of a pool, which a builder collects and an engine reads.

mod dropped;
pub(crate) mod extensions;
pub(crate) mod panic_location;
#[cfg(feature = "pin")]
pub(crate) mod pinning;
mod policies;
mod task_panic;
mod worker_thread;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::observer::Observer;
use crate::engine::without_threads::RunOn;
use crate::error::BuildError;
use crate::queue::{Balance, MAX_WORKERS};
use crate::sync::user_code::catch_user_panic;
use crate::task::propagated::Propagator;

use extensions::Extensions;

pub(crate) use dropped::DroppedHandler;
pub use dropped::{DropReason, Dropped};
pub use policies::{Nested, OnDrop, Overflow};
pub use task_panic::TaskPanic;
pub use worker_thread::WorkerThread;

/// The default number of tasks that may wait beyond those that have a worker.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// assert_eq!(pool.stats().queue_bound, Some(formicary::DEFAULT_QUEUE));
/// assert_eq!(formicary::DEFAULT_QUEUE, 1024);
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub const DEFAULT_QUEUE: usize = 1024;
/// The default time after which an idle worker above the minimum ends.
///
/// ```
/// assert_eq!(formicary::DEFAULT_EXPIRY.as_secs(), 10);
/// ```
pub const DEFAULT_EXPIRY: Duration = Duration::from_secs(10);
/// The default limit of the time for which an idle worker spins before it sleeps.
///
/// ```
/// assert_eq!(formicary::DEFAULT_SPIN.as_micros(), 10);
/// ```
pub const DEFAULT_SPIN: Duration = Duration::from_micros(10);
/// The default prefix of the threads' names.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let name = pool.run(|| std::thread::current().name().map(str::to_owned))?;
/// assert!(name.unwrap().starts_with(formicary::DEFAULT_NAME));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const DEFAULT_NAME: &str = "formicary";

pub(crate) type Hook = Arc<dyn Fn(usize) + Send + Sync>;
pub(crate) type PanicHandler = Arc<dyn Fn(&TaskPanic<'_>) + Send + Sync>;
pub(crate) type ThreadNames = Arc<dyn Fn(usize) -> String + Send + Sync>;
pub(crate) type SpawnHandler = Arc<dyn Fn(WorkerThread) -> io::Result<()> + Send + Sync>;

/// All settings of a pool, whatever its kind.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) workers: usize,
    pub(crate) min_workers: usize,
    pub(crate) queue: Option<usize>,
    pub(crate) overflow: Overflow,
    pub(crate) dropped_handler: DroppedHandler,
    pub(crate) nested: Nested,
    /// How many queued tasks per living worker start no other.
    pub(crate) grow_when: usize,
    pub(crate) shards: Option<usize>,
    pub(crate) balance: Option<Balance>,
    pub(crate) nonblocking: bool,
    pub(crate) max_blocking: usize,
    pub(crate) expiry: Option<Duration>,
    pub(crate) spin: Duration,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) thread_name: Arc<str>,
    pub(crate) thread_names: Option<ThreadNames>,
    pub(crate) stack_size: Option<usize>,
    #[cfg(feature = "pin")]
    pub(crate) processors: Option<pinning::Processors>,
    pub(crate) on_thread_start: Option<Hook>,
    pub(crate) on_thread_stop: Option<Hook>,
    pub(crate) spawn_handler: Option<SpawnHandler>,
    pub(crate) panic_handler: Option<PanicHandler>,
    pub(crate) panic_locations: bool,
    pub(crate) on_drop: OnDrop,
    pub(crate) run_on: RunOn,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) extensions: Extensions,
    pub(crate) propagators: Vec<Arc<dyn Propagator>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: num_cpus::get().clamp(1, MAX_WORKERS),
            min_workers: 1,
            queue: Some(DEFAULT_QUEUE),
            overflow: Overflow::default(),
            dropped_handler: DroppedHandler::default(),
            nested: Nested::default(),
            grow_when: 0,
            shards: None,
            balance: None,
            nonblocking: false,
            max_blocking: usize::MAX,
            expiry: Some(DEFAULT_EXPIRY),
            spin: DEFAULT_SPIN,
            name: None,
            thread_name: DEFAULT_NAME.into(),
            thread_names: None,
            stack_size: None,
            #[cfg(feature = "pin")]
            processors: None,
            on_thread_start: None,
            on_thread_stop: None,
            spawn_handler: None,
            panic_handler: None,
            panic_locations: false,
            on_drop: OnDrop::default(),
            run_on: RunOn::default(),
            observers: Vec::new(),
            extensions: Extensions::default(),
            propagators: Vec::new(),
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        check_workers(self.workers)?;
        if self.min_workers > self.workers {
            return Err(BuildError::MinAboveMax { min: self.min_workers, max: self.workers });
        }
        if self.thread_name.is_empty() || self.thread_name.contains('\0') {
            return Err(BuildError::ThreadName(self.thread_name.to_string()));
        }
        match self.stack_size {
            Some(0) => Err(BuildError::ZeroStackSize),
            _ => Ok(()),
        }
    }

    /// The name of a setting that only queues with shards have, if one is set.
    pub(crate) fn about_shards(&self) -> Option<&'static str> {
        self.shards.map(|_| "shards").or(self.balance.map(|_| "balance"))
    }

    /// The pool's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        self.name.as_ref().unwrap_or(&self.thread_name)
    }

    /// A thread of the pool's own, bound to its processor if the pool is pinned.
    pub(crate) fn pinned(&self, thread: WorkerThread) -> WorkerThread {
        #[cfg(feature = "pin")]
        if let Some(processors) = &self.processors {
            return processors.bind(thread);
        }
        thread
    }

    /// The name for the thread of worker `index`, or why it cannot have one.
    pub(crate) fn name_of(&self, index: usize) -> io::Result<String> {
        let Some(names) = &self.thread_names else { return Ok(self.numbered(index)) };
        let Some(name) = catch_user_panic(|| names(index)) else {
            return Err(io::Error::other("the function that names threads panicked"));
        };
        if name.is_empty() || name.contains('\0') {
            let text =
                format!("{name:?} is no name for the thread of worker {index}: it is empty or has a NUL byte in it");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(name)
    }

    // Linux shows 15 bytes, so the prefix is cut to leave room for the number.
    fn numbered(&self, index: usize) -> String {
        let number = format!("-{index}");
        let mut end = self.thread_name.len().min(15 - number.len());
        while !self.thread_name.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{number}", &self.thread_name[..end])
    }
}

/// Checks that a pool can have this number of workers.
pub(crate) fn check_workers(workers: usize) -> Result<(), BuildError> {
    match workers {
        0 => Err(BuildError::ZeroWorkers),
        n if n > MAX_WORKERS => Err(BuildError::TooManyWorkers { asked: n, limit: MAX_WORKERS }),
        _ => Ok(()),
    }
}
