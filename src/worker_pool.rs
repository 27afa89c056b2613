//! What all pools share: one trait to write code against, and the same methods on every pool.

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
    fn shutdown_timeout(&self, limit: Duration) -> ShutdownReport;
    /// Refuses new items, gives back what is queued, waits for what runs.
    fn shutdown_now(&self) -> Vec<Item>;
    /// Opens a pool that has ended again.
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
/// pause.wait_quiet();
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

/// The methods that every pool has, and the trait on top of them. `submit` and its kin differ in name and type and are
/// in each pool's own file; here they are named so that the trait can call them.
macro_rules! pool_methods {
    (
        impl [$($generics:tt)*] $pool:ty where item $item:ty, wrap $wrap:expr, unwrap $unwrap:expr
    ) => {
        impl<$($generics)*> $pool {
            /// Sets the most workers that may be alive, 1 to [`MAX_WORKERS`](crate::MAX_WORKERS).
            ///
            /// Growing lets blocked submitters in at once. Shrinking ends idle workers at once and busy ones after their
            /// task: from the moment this returns no task starts while `workers` or more are running. A minimum
            /// above `workers` sinks with it. Does not wait for tasks.
            ///
            /// ```
            /// let pool = formicary::Pool::new(1)?;
            /// pool.tune(8)?;
            /// assert_eq!(pool.capacity(), 8);
            /// assert!(pool.tune(0).is_err());
            /// # Ok::<(), formicary::BuildError>(())
            /// ```
            ///
            /// # Errors
            /// [`BuildError`](crate::BuildError) if `workers` is 0 or too many; nothing has changed then.
            pub fn tune(&self, workers: usize) -> Result<(), $crate::BuildError> {
                self.engine.tune(workers)
            }

            /// Stops starting tasks until the guard is dropped. Running ones go on, submitting still queues. Pauses may
            /// overlap: the pool resumes with the last one. A shutdown overrides them. Never blocks.
            ///
            /// ```
            /// let pool = formicary::Pool::new(1)?;
            /// let pause = pool.pause();
            /// pool.submit(|| ())?;
            /// assert_eq!(pool.running(), 0);
            /// drop(pause);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn pause(&self) -> $crate::PauseGuard {
                let id = self.engine.pause(None);
                $crate::PauseGuard::new(self.pause_control(), id)
            }

            /// The same, but the pool resumes by itself after `limit` if the guard is still alive.
            ///
            /// ```
            /// let pool = formicary::Pool::new(1)?;
            /// let pause = pool.pause_timeout(std::time::Duration::from_millis(1));
            /// pool.submit(|| ())?;
            /// pool.wait_idle(); // resumes while the guard lives
            /// assert_eq!(pool.stats().completed, 1);
            /// # drop(pause);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn pause_timeout(&self, limit: ::std::time::Duration) -> $crate::PauseGuard {
                let id = self.engine.pause(Some(limit));
                $crate::PauseGuard::new(self.pause_control(), id)
            }

            fn pause_control(&self) -> Box<dyn $crate::engine::PauseControl> {
                Box::new($crate::engine::EngineRef(::std::sync::Arc::clone(&self.engine)))
            }

            /// Blocks until nothing is queued or running, and leaves the pool open. Returns `true`; called from a task of
            /// the same pool, which would wait for itself, it returns `false` at once.
            ///
            /// ```
            /// let pool = formicary::Pool::new(1)?;
            /// pool.submit(|| ())?;
            /// assert!(pool.wait_idle());
            /// assert_eq!(pool.stats().completed, 1);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn wait_idle(&self) -> bool {
                self.engine.wait_idle(None)
            }

            /// The same for at most `limit`; says whether the pool is idle.
            ///
            /// ```
            /// let pool = formicary::Pool::new(1)?;
            /// assert!(pool.wait_idle_timeout(std::time::Duration::from_secs(1)));
            /// # Ok::<(), formicary::BuildError>(())
            /// ```
            pub fn wait_idle_timeout(&self, limit: ::std::time::Duration) -> bool {
                self.engine.wait_idle($crate::worker_pool::deadline(limit))
            }

            /// A snapshot of the counts; see [`Stats`](crate::Stats). Takes the time to add up one cache line per worker.
            ///
            /// ```
            /// let pool = formicary::Pool::new(3)?;
            /// assert_eq!(pool.stats().capacity, 3);
            /// # Ok::<(), formicary::BuildError>(())
            /// ```
            pub fn stats(&self) -> $crate::Stats {
                self.engine.stats()
            }

            /// The most workers that may be alive.
            ///
            /// ```
            /// assert_eq!(formicary::Pool::new(3)?.capacity(), 3);
            /// # Ok::<(), formicary::BuildError>(())
            /// ```
            pub fn capacity(&self) -> usize {
                self.engine.capacity()
            }

            /// Tasks inside user code now.
            ///
            /// ```
            /// assert_eq!(formicary::Pool::new(3)?.running(), 0);
            /// # Ok::<(), formicary::BuildError>(())
            /// ```
            pub fn running(&self) -> usize {
                self.engine.load().running
            }

            /// Tasks accepted and not started.
            ///
            /// ```
            /// assert_eq!(formicary::Pool::new(3)?.queued(), 0);
            /// # Ok::<(), formicary::BuildError>(())
            /// ```
            pub fn queued(&self) -> usize {
                self.engine.load().queued
            }

            /// Submitters blocked at the door.
            ///
            /// ```
            /// assert_eq!(formicary::Pool::new(3)?.waiting(), 0);
            /// # Ok::<(), formicary::BuildError>(())
            /// ```
            pub fn waiting(&self) -> usize {
                self.engine.waiting()
            }

            /// Whether the pool has been shut down and not restarted.
            ///
            /// ```
            /// let pool = formicary::Pool::new(1)?;
            /// pool.shutdown();
            /// assert!(pool.is_closed());
            /// # Ok::<(), formicary::BuildError>(())
            /// ```
            pub fn is_closed(&self) -> bool {
                self.engine.is_closed()
            }

            /// Refuses new tasks, sends blocked submitters away with `Closed`, runs all that is queued, joins every thread.
            ///
            /// May be called from several threads and more than once: all wait for the same end. From inside a task of
            /// the same pool it closes and returns at once. Dropping the pool does the same.
            ///
            /// ```
            /// let pool = formicary::Pool::new(1)?;
            /// pool.submit(|| ())?;
            /// assert!(pool.shutdown().is_complete());
            /// assert_eq!(pool.stats().completed, 1);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn shutdown(&self) -> $crate::ShutdownReport {
                self.engine.shutdown(None)
            }

            /// The same, but stops waiting after `limit`: the report says what is left then, and the workers go on with it.
            /// Returns as soon as the pool has ended.
            ///
            /// ```
            /// let pool = formicary::Pool::new(1)?;
            /// assert!(pool.shutdown_timeout(std::time::Duration::from_secs(60)).is_complete());
            /// # Ok::<(), formicary::BuildError>(())
            /// ```
            pub fn shutdown_timeout(&self, limit: ::std::time::Duration) -> $crate::ShutdownReport {
                self.engine.shutdown($crate::worker_pool::deadline(limit))
            }

            /// Refuses new tasks and gives back those that have not started, oldest first; blocks until the running ones
            /// have ended. The handles of those given back say cancelled; a caller who waits for one gets its
            /// input back himself, and it is not in the list.
            ///
            /// ```
            /// let pool = formicary::Pool::new(1)?;
            /// let pause = pool.pause();
            /// pool.submit(|| ())?;
            /// pool.submit(|| ())?;
            /// # if false {
            /// drop(pause);
            /// # }
            /// let returned = pool.shutdown_now();
            /// let stats = pool.stats();
            /// assert_eq!(stats.completed + returned.len() as u64, 2);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn shutdown_now(&self) -> Vec<$item> {
                self.engine.shutdown_now()
            }

            /// Opens the pool again after its end, with its options and the capacity that it had, and starts its minimum of
            /// workers.
            ///
            /// ```
            /// let pool = formicary::Pool::new(1)?;
            /// pool.shutdown();
            /// pool.restart()?;
            /// assert_eq!(pool.run(|| 7)?, 7);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// [`StillRunning`](crate::BuildError::StillRunning) if the pool has not ended; or as building.
            pub fn restart(&self) -> Result<(), $crate::BuildError> {
                self.engine.restart()
            }
        }

        impl<$($generics)*> $crate::WorkerPool<$item> for $pool {
            fn submit(&self, item: $item) -> Result<(), $crate::SubmitError<$item>> {
                let patience = self.engine.default_patience();
                self.engine.submit($wrap(item), patience).map_err(|e| e.map($unwrap))
            }
            fn try_submit(&self, item: $item) -> Result<(), $crate::SubmitError<$item>> {
                let patience = $crate::engine::Patience::None;
                self.engine.submit($wrap(item), patience).map_err(|e| e.map($unwrap))
            }
            fn submit_timeout(
                &self,
                item: $item,
                limit: ::std::time::Duration,
            ) -> Result<(), $crate::SubmitError<$item>> {
                let patience = $crate::engine::Patience::at_most(limit);
                self.engine.submit($wrap(item), patience).map_err(|e| e.map($unwrap))
            }
            fn submit_all(
                &self,
                items: &mut dyn Iterator<Item = $item>,
            ) -> Result<usize, (usize, $crate::SubmitError<$item>)> {
                self.engine
                    .submit_all(&mut items.map($wrap))
                    .map_err(|(accepted, error)| (accepted, error.map($unwrap)))
            }
            fn tune(&self, workers: usize) -> Result<(), $crate::BuildError> {
                <$pool>::tune(self, workers)
            }
            fn pause(&self) -> $crate::PauseGuard {
                <$pool>::pause(self)
            }
            fn pause_timeout(&self, limit: ::std::time::Duration) -> $crate::PauseGuard {
                <$pool>::pause_timeout(self, limit)
            }
            fn wait_idle(&self) -> bool {
                <$pool>::wait_idle(self)
            }
            fn wait_idle_timeout(&self, limit: ::std::time::Duration) -> bool {
                <$pool>::wait_idle_timeout(self, limit)
            }
            fn stats(&self) -> $crate::Stats {
                <$pool>::stats(self)
            }
            fn capacity(&self) -> usize {
                <$pool>::capacity(self)
            }
            fn running(&self) -> usize {
                <$pool>::running(self)
            }
            fn queued(&self) -> usize {
                <$pool>::queued(self)
            }
            fn waiting(&self) -> usize {
                <$pool>::waiting(self)
            }
            fn is_closed(&self) -> bool {
                <$pool>::is_closed(self)
            }
            fn shutdown(&self) -> $crate::ShutdownReport {
                <$pool>::shutdown(self)
            }
            fn shutdown_timeout(&self, limit: ::std::time::Duration) -> $crate::ShutdownReport {
                <$pool>::shutdown_timeout(self, limit)
            }
            fn shutdown_now(&self) -> Vec<$item> {
                <$pool>::shutdown_now(self)
            }
            fn restart(&self) -> Result<(), $crate::BuildError> {
                <$pool>::restart(self)
            }
        }

        impl<$($generics)*> Drop for $pool {
            /// As [`shutdown`](Self::shutdown).
            fn drop(&mut self) {
                self.engine.shutdown(None);
            }
        }

        impl<$($generics)*> ::std::fmt::Debug for $pool {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($pool)).field("stats", &self.stats()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use pool_methods;
