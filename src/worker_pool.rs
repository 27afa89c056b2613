//! What all pools share, as a trait to write code against.

use std::fmt;
use std::time::{Duration, Instant};

use crate::engine::{PauseControl, PauseId};
use crate::error::{BuildError, SubmitError};
use crate::stats::{ShutdownReport, Stats};

/// A pool that takes items of one type, whatever its kind and its dispatch.
///
/// [`Pool`](crate::Pool) is a `WorkerPool<Task>`, [`PoolWithFunc<T>`](crate::PoolWithFunc) a `WorkerPool<T>`,
/// [`StatefulPool<W>`](crate::StatefulPool) a `WorkerPool<W::Input>`; results are dropped. The trait is object-safe. Every
/// method does what the pools' own method of the same name does; the docs are there.
///
/// ```
/// use formicary::{Pool, PoolWithFunc, Task, WorkerPool};
///
/// fn run_ten(pool: &dyn WorkerPool<Task>) -> u64 {
///     for _ in 0..10 {
///         pool.submit(Task::new(|| ())).unwrap();
///     }
///     pool.wait_idle();
///     pool.stats().completed
/// }
/// assert_eq!(run_ten(&Pool::new(1)?), 10);
/// assert_eq!(run_ten(&PoolWithFunc::new(1, Task::run)?), 10);
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub trait WorkerPool<Item>: Send + Sync {
    /// Submits an item; blocks while the pool is full.
    ///
    /// # Errors
    /// [`SubmitError`] with the item.
    fn submit(&self, item: Item) -> Result<(), SubmitError<Item>>;
    /// Submits an item if there is room; never blocks.
    ///
    /// # Errors
    /// [`SubmitError`] with the item.
    fn try_submit(&self, item: Item) -> Result<(), SubmitError<Item>>;
    /// Submits an item; blocks for at most `limit`.
    ///
    /// # Errors
    /// [`SubmitError`] with the item.
    fn submit_timeout(&self, item: Item, limit: Duration) -> Result<(), SubmitError<Item>>;
    /// Submits all items of an iterator, blocking where one of them must; says how many were accepted.
    ///
    /// # Errors
    /// The count of those accepted before, and the refused item; what is left stays in the iterator.
    fn submit_all(&self, items: &mut dyn Iterator<Item = Item>) -> Result<usize, (usize, SubmitError<Item>)>;
    /// Sets the capacity.
    ///
    /// # Errors
    /// [`BuildError`] if a pool cannot have so many workers.
    fn tune(&self, workers: usize) -> Result<(), BuildError>;
    /// Stops starting tasks until the guard is dropped.
    fn pause(&self) -> PauseGuard;
    /// Stops starting tasks until the guard is dropped or the time is up.
    fn pause_timeout(&self, limit: Duration) -> PauseGuard;
    /// Waits until nothing is queued or running.
    fn wait_idle(&self) -> bool;
    /// Waits until nothing is queued or running, for at most `limit`; says whether that is so.
    #[must_use = "the pool may not be idle when the time is up"]
    fn wait_idle_timeout(&self, limit: Duration) -> bool;
    /// A snapshot of the counts.
    fn stats(&self) -> Stats;
    /// The most workers that may be alive.
    fn capacity(&self) -> usize;
    /// Tasks running.
    fn running(&self) -> usize;
    /// Tasks accepted and not started.
    fn queued(&self) -> usize;
    /// Submitters blocked at the door.
    fn waiting(&self) -> usize;
    /// Whether the pool has been shut down.
    fn is_closed(&self) -> bool;
    /// Refuses new items, runs what is queued, ends every thread.
    fn shutdown(&self) -> ShutdownReport;
    /// The same, giving up waiting after `limit`.
    #[must_use = "the pool may not have ended when the time is up"]
    fn shutdown_timeout(&self, limit: Duration) -> ShutdownReport;
    /// Refuses new items, gives back what is queued, waits for what runs.
    #[must_use = "the tasks that have not started are in it, and go with it"]
    fn shutdown_now(&self) -> Vec<Item>;
    /// Refuses new items and runs what is queued for at most `limit`; gives back what is left, and tells what runs to stop.
    #[must_use = "the tasks that have not started are in it, and what still runs"]
    fn shutdown_graceful(&self, limit: Duration) -> (Vec<Item>, ShutdownReport);
    /// Refuses new items and leaves the rest to the workers: nobody waits for them any more.
    fn detach(&self);
    /// Opens a pool that has ended again. Pauses from before are over.
    ///
    /// # Errors
    /// [`BuildError`] if it has not ended, or if no worker could be started.
    fn restart(&self) -> Result<(), BuildError>;
}

static_assertions::assert_obj_safe!(WorkerPool<u8>);

/// The time `limit` from now; `None`, for ever, where the clock does not reach so far.
pub(crate) fn deadline(limit: Duration) -> Option<Instant> {
    Instant::now().checked_add(limit)
}

/// A pause of a pool: as long as one lives no queued task starts. Dropping it resumes.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let pause = pool.pause();
/// pool.submit(|| ())?;
/// assert!(pause.wait_quiet());
/// assert_eq!((pool.stats().completed, pool.queued()), (0, 1));
/// drop(pause);
/// pool.wait_idle();
/// assert_eq!(pool.stats().completed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the pool resumes when the guard is dropped"]
pub struct PauseGuard {
    pool: Box<dyn PauseControl>,
    id: PauseId,
}

impl PauseGuard {
    pub(crate) fn new(pool: Box<dyn PauseControl>, id: PauseId) -> Self {
        PauseGuard { pool, id }
    }

    /// Blocks until no task is running. Returns at once, with `false`, when called from a task of the same pool.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| ())?;
    /// let pause = pool.pause();
    /// assert!(pause.wait_quiet());
    /// assert_eq!(pool.running(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "a task of the pool does not wait"]
    pub fn wait_quiet(&self) -> bool {
        self.pool.wait_quiet(None)
    }

    /// The same for at most `limit`; says whether nothing is running.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// assert!(pause.wait_quiet_timeout(std::time::Duration::from_secs(60)));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use = "tasks may run when the time is up"]
    pub fn wait_quiet_timeout(&self, limit: Duration) -> bool {
        self.pool.wait_quiet(deadline(limit))
    }
}

impl Drop for PauseGuard {
    fn drop(&mut self) {
        self.pool.resume(self.id);
    }
}

impl fmt::Debug for PauseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PauseGuard").field("id", &self.id).finish_non_exhaustive()
    }
}
