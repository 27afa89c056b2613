//! The control of a pool, whatever its kind: resize, pause, watch, wait. How it ends is in `ending.rs`.

use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::pause::PauseGuard;
use crate::engine::Controlled;
use crate::engine::reconfigure::Reconfigure;
use crate::engine::stats::Stats;
use crate::error::BuildError;
use crate::sync::Arc;
use crate::sync::clock::deadline;

/// The control of a pool, whatever its kind and dispatch. Every pool dereferences to this type.
///
/// `X` is what the pool gives back of a task that it has not started when it ends: a [`Task`](crate::Task) for a [`Pool`](crate::Pool),
/// the payload or input for the other kinds.
///
/// ```
/// use formicary::{Pool, PoolControl, PoolWithFunc, Task};
///
/// fn end<X>(pool: &PoolControl<X>) -> u64 {
///     pool.shutdown().ran
/// }
/// let (closures, lengths) = (Pool::new(1)?, PoolWithFunc::new(1, str::len)?);
/// closures.submit(|| ())?;
/// lengths.submit("formica")?;
/// assert!(end(&closures) <= 1 && end(&lengths) <= 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PoolControl<X> {
    pub(crate) engine: Arc<dyn Controlled<X>>,
    /// The name of the pool's type, for `Debug`.
    kind: &'static str,
}

impl<X> PoolControl<X> {
    pub(super) fn new(engine: Arc<dyn Controlled<X>>, kind: &'static str) -> Self {
        PoolControl { engine, kind }
    }

    /// Sets the capacity, the greatest number of workers that may be alive: 1 to [`MAX_WORKERS`](crate::MAX_WORKERS). Does not wait for
    /// tasks.
    ///
    /// Growing lets blocked submitters in at once. Shrinking ends idle workers at once and busy ones after their task. As soon as this
    /// returns, no task starts while `workers` or more are running. A minimum above `workers` is lowered to it.
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
    /// [`BuildError`] if `workers` is 0 or too large. Then nothing changes.
    #[doc(alias("set_num_threads", "SetSize", "Resize", "setCorePoolSize", "setMaximumPoolSize"))]
    pub fn tune(&self, workers: usize) -> Result<(), BuildError> {
        self.engine.tune(workers)
    }

    /// Changes the queue's bound, the expiry, `nonblocking` or `max_blocking` of a pool in use. Does not wait for tasks.
    ///
    /// The new values apply to every submission after this has returned. A greater bound lets blocked submitters in at once; those that
    /// wait at a [`Limited`](crate::Limited) view enter when a task of the view ends. A smaller one refuses no submitter that waits
    /// already and no task that is queued. The values survive a restart.
    ///
    /// ```
    /// use formicary::{Pool, Reconfigure, Ring};
    ///
    /// let pool = Pool::builder().workers(1).queue(10).build()?;
    /// pool.reconfigure(&Reconfigure::new().queue(20).max_blocking(5))?;
    /// assert_eq!(pool.stats().queue_bound, Some(20));
    ///
    /// let ring = Pool::builder().workers(1).queue(10).dispatch::<Ring>().build()?;
    /// let error = ring.reconfigure(&Reconfigure::new().queue(20)).unwrap_err();
    /// assert_eq!(error.to_string(), "dispatch Ring: the bound of a ring cannot be changed: its slots are allocated once");
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Queue`] if the dispatch cannot have the bound: a [`Ring`](crate::Ring) has the one that
    /// it was built with, and a [`Sharded`](crate::Sharded) queue needs room for a task in each shard. Then nothing changes.
    pub fn reconfigure(&self, changes: &Reconfigure) -> Result<(), BuildError> {
        self.engine.reconfigure(changes)
    }

    /// Starts no more tasks until the guard is dropped. Never blocks.
    ///
    /// Running tasks go on, and submitting still queues; a running task that submits to this pool while it is full may run the submitted
    /// task as a part of its own. Pauses may overlap: the pool resumes when the last guard is dropped. A shutdown overrides all of them.
    ///
    /// A wait for a task that has not started lasts until the pool resumes: in `run`, in [`Handle::join`](crate::Handle::join), in groups,
    /// scopes and maps, and in [`wait_idle`](Self::wait_idle). A thread that waits for such a task while it holds the only guard waits
    /// for ever. Drop the guard first, wait with a limit, or pause with [`pause_timeout`](Self::pause_timeout), which ends by itself. To
    /// wait for the running tasks alone, use [`PauseGuard::wait_quiet`](crate::PauseGuard::wait_quiet).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert_eq!(pool.running(), 0);
    /// drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pause(&self) -> PauseGuard {
        let id = self.engine.pause(None);
        PauseGuard::new(Arc::clone(&self.engine).pausing(), id)
    }

    /// As [`pause`](Self::pause), but the pool resumes by itself after `limit`, even if the guard is still alive.
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
    pub fn pause_timeout(&self, limit: Duration) -> PauseGuard {
        let id = self.engine.pause(Some(limit));
        PauseGuard::new(Arc::clone(&self.engine).pausing(), id)
    }

    /// Whether a pause is in force.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// assert!(pool.is_paused());
    /// drop(pause);
    /// assert!(!pool.is_paused());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.engine.is_paused()
    }

    /// Blocks until no task is queued or running, and returns `true`. The pool stays open. Called from a task of the same pool, which would
    /// wait for itself, this returns `false` at once. When the pool becomes idle, all waiting threads return, even if one of them submits
    /// a task at once.
    ///
    /// A task that waits in a [`Limited`](crate::Limited) view is not in the pool yet, so the pool may be idle meanwhile: wait for the view
    /// first ([`Limited::wait_idle`](crate::Limited::wait_idle)).
    ///
    /// A paused pool with queued tasks is not idle: this waits until another thread resumes it. So a thread that holds the only
    /// [`PauseGuard`] would wait for ever. It drops the guard first, waits for the running tasks with
    /// [`PauseGuard::wait_quiet`](crate::PauseGuard::wait_quiet), or uses [`wait_idle_timeout`](Self::wait_idle_timeout).
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| ())?;
    /// assert!(pool.wait_idle());
    /// assert_eq!(pool.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("join", "awaitQuiescence", "Wait"))]
    pub fn wait_idle(&self) -> bool {
        self.engine.wait_idle(None)
    }

    /// As [`wait_idle`](Self::wait_idle), for at most `limit`. Returns whether the pool became idle in that time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// assert!(!pool.wait_idle_timeout(Duration::from_millis(1)));
    /// drop(done);
    /// assert!(pool.wait_idle_timeout(Duration::from_secs(60)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the pool may not be idle when the time is up"]
    pub fn wait_idle_timeout(&self, limit: Duration) -> bool {
        self.engine.wait_idle(deadline(limit))
    }

    /// As [`wait_idle`](Self::wait_idle), as a future, which blocks no thread and works on any executor. It is ready when the pool has been
    /// idle at some moment after the first poll. If it is polled on a thread of the same pool before that, it is ready with `false` at
    /// once. Dropping it ends the wait and drops the waker.
    ///
    /// The thread that finds the pool idle wakes it, most often the worker that ran the last task.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| ())?;
    /// assert!(pool.wait_idle_async().await);
    /// assert_eq!(pool.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If it is polled after it was ready.
    pub async fn wait_idle_async(&self) -> bool {
        let mut watch = None;
        poll_fn(|poller| self.engine.poll_idle(&mut watch, poller.waker())).await
    }

    /// A snapshot of the counts; see [`Stats`]. The cost is one cache line read per worker.
    ///
    /// ```
    /// let pool = formicary::Pool::new(3)?;
    /// assert_eq!(pool.stats().capacity, 3);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[doc(alias("free", "idle", "panic_count", "failed_count"))]
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// The greatest number of workers that may be alive.
    ///
    /// ```
    /// assert_eq!(formicary::Pool::new(3)?.capacity(), 3);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[doc(alias("cap", "size", "max_count", "current_num_threads", "getMaximumPoolSize"))]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.engine.capacity()
    }

    /// The number of tasks that run now.
    ///
    /// ```
    /// let pool = std::sync::Arc::new(formicary::Pool::new(3)?);
    /// let inner = pool.clone();
    /// assert_eq!(pool.run(move || inner.running())?, 1);
    /// assert_eq!(pool.running(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("active_count", "getActiveCount", "RunningWorkers"))]
    #[must_use]
    pub fn running(&self) -> usize {
        self.engine.load().running
    }

    /// The number of tasks that were accepted and have not started.
    ///
    /// ```
    /// let pool = formicary::Pool::new(3)?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert_eq!(pool.queued(), 1);
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("queued_count", "QueueLength", "WaitingQueueSize", "qsize"))]
    #[must_use]
    pub fn queued(&self) -> usize {
        self.engine.load().queued
    }

    /// The number of submitters that wait for room.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// std::thread::scope(|s| {
    ///     s.spawn(|| pool.submit(|| ()));
    ///     while pool.waiting() == 0 {
    ///         std::thread::yield_now();
    ///     }
    ///     drop(pause);
    /// });
    /// assert_eq!(pool.waiting(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
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
    #[doc(alias("isShutdown", "IsClosed", "Stopped"))]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.engine.is_closed()
    }

    /// The index of the shard that tasks with this key go to ([`With::key`](crate::With::key)); 0 if the queue has no shards. It stays the
    /// same as long as the pool lives, and may differ in another pool.
    ///
    /// ```
    /// use formicary::{Pool, Sharded};
    ///
    /// let pool = Pool::builder().workers(4).dispatch::<Sharded>().shards(2).build()?;
    /// assert_eq!(pool.shard_of("acme"), pool.shard_of("acme"));
    /// assert!(pool.shard_of("acme") < 2);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use]
    pub fn shard_of(&self, key: impl Hash) -> usize {
        self.engine.shard_of(&|hasher| hasher.hash_one(&key))
    }
}

impl<X> Drop for PoolControl<X> {
    /// Ends the pool as [`on_drop`](crate::Builder::on_drop) says; by default as [`shutdown`](Self::shutdown).
    fn drop(&mut self) {
        self.engine.end();
    }
}

impl<X> fmt::Debug for PoolControl<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.kind).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
