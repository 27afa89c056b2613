//! What an owner does with a pool of any kind: resize, pause, watch, wait, end, open again.

use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::pause::PauseGuard;
use crate::engine::Controlled;
use crate::engine::reconfigure::Reconfigure;
use crate::engine::stats::{ShutdownReport, Stats};
use crate::error::BuildError;
use crate::sync::Arc;
use crate::sync::clock::deadline;

/// What an owner does with a pool, whatever its kind and dispatch: every pool dereferences to this.
///
/// `X` is what the pool gives back when it ends before it has started all its tasks: [`Task`](crate::Task) for a
/// [`Pool`](crate::Pool), the payload or input otherwise.
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
    engine: Arc<dyn Controlled<X>>,
    kind: &'static str,
}

impl<X> PoolControl<X> {
    pub(super) fn new(engine: Arc<dyn Controlled<X>>, kind: &'static str) -> Self {
        PoolControl { engine, kind }
    }

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
    /// [`BuildError`] if `workers` is 0 or too many; nothing has changed then.
    pub fn tune(&self, workers: usize) -> Result<(), BuildError> {
        self.engine.tune(workers)
    }

    /// Changes the queue's bound, the expiry, `nonblocking` or `max_blocking` while the pool works. Does not wait for tasks.
    ///
    /// From the moment this returns the new values hold for whoever comes. Room that there is more of lets blocked submitters in
    /// at once; those at a [`Limited`](crate::Limited) view enter when a task of the view ends. Nobody who waits already, and no task
    /// that is queued, is sent away. A pool that is restarted keeps the new values.
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
    /// it was built with, and a [`Sharded`](crate::Sharded) queue needs room for a task in each shard. Nothing has changed then.
    pub fn reconfigure(&self, changes: &Reconfigure) -> Result<(), BuildError> {
        self.engine.reconfigure(changes)
    }

    /// Stops starting tasks until the guard is dropped. Running ones go on, submitting still queues; one that submits to
    /// this very pool while that is full may run the task in hand as a part of its own. Pauses may overlap: the pool
    /// resumes with the last one. A shutdown overrides them. Never blocks.
    ///
    /// Whoever waits for a task that has not started waits until the pool resumes: in `run`, `call` and `process`, in
    /// [`Handle::join`](crate::Handle::join), in groups, scopes and maps, and in [`wait_idle`](Self::wait_idle). So a thread
    /// drops its own guard before it waits for such a task, or waits with a limit; or it pauses with
    /// [`pause_timeout`](Self::pause_timeout), which ends by itself. What runs already is waited for with
    /// [`PauseGuard::wait_quiet`](crate::PauseGuard::wait_quiet).
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
    pub fn is_paused(&self) -> bool {
        self.engine.is_paused()
    }

    /// Blocks until nothing is queued or running, and leaves the pool open. Returns `true`; called from a task of
    /// the same pool, which would wait for itself, it returns `false` at once. All who wait when the pool is idle return,
    /// also if one of them has given it work again.
    ///
    /// A paused pool with tasks queued is not idle: this waits until another thread resumes it. A thread that holds the
    /// only [`PauseGuard`] itself would wait for ever: it drops the guard first, waits with
    /// [`PauseGuard::wait_quiet`](crate::PauseGuard::wait_quiet) for what runs, or uses
    /// [`wait_idle_timeout`](Self::wait_idle_timeout).
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

    /// The same for at most `limit`; says whether the pool was idle meanwhile.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert!(pool.wait_idle_timeout(std::time::Duration::from_secs(1)));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use = "the pool may not be idle when the time is up"]
    pub fn wait_idle_timeout(&self, limit: Duration) -> bool {
        self.engine.wait_idle(deadline(limit))
    }

    /// As [`wait_idle`](Self::wait_idle), as a future, which blocks no thread and works on any executor. It waits for the pool to be
    /// idle at a moment after its first poll. Polled on a thread of the same pool before that, it is `false` at once. Dropping it
    /// ends the wait and drops the waker.
    ///
    /// A waker is woken by whichever thread finds the pool idle, most often the worker that ran the last task.
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

    /// A snapshot of the counts; see [`Stats`]. Takes the time to add up one cache line per worker.
    ///
    /// ```
    /// let pool = formicary::Pool::new(3)?;
    /// assert_eq!(pool.stats().capacity, 3);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn stats(&self) -> Stats {
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

    /// Submitters blocked for room.
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
    /// May be called from several threads and more than once: all wait for the same end. On a thread of the same pool
    /// it closes and returns at once: inside a task, in a hook, in the drop of a state, in the destructor of a thread-local;
    /// the pool then ends by itself. The same where threads of several pools would wait for each other's ends in a circle.
    /// Dropping the pool does the same, unless [`on_drop`](crate::Builder::on_drop) says otherwise.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| ())?;
    /// assert!(pool.shutdown().is_complete());
    /// assert_eq!(pool.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown(&self) -> ShutdownReport {
        self.engine.shutdown(None)
    }

    /// The same, but stops waiting after `limit`: the report says what is left then, and the workers go on with it.
    /// Returns as soon as the pool has ended. Tasks that no worker is left for, where the system gives no thread, are left to
    /// the next shutdown: this one would have to run them itself, for as long as they take.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert!(pool.shutdown_timeout(std::time::Duration::from_secs(60)).is_complete());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use = "the pool may not have ended when the time is up"]
    pub fn shutdown_timeout(&self, limit: Duration) -> ShutdownReport {
        self.engine.shutdown(deadline(limit))
    }

    /// As [`shutdown`](Self::shutdown), as a future, which works on any executor. Its first poll closes the pool; before that nothing
    /// happens. It is ready when every thread has ended. Dropping it drops the waker and ends the wait; the shutdown goes on.
    ///
    /// A poll blocks no thread, except that it joins threads that are done with their work: for as long as the destructors of
    /// their thread-locals take. Polled on a thread of the same pool, or where threads of several pools would wait for each other's ends
    /// in a circle, it is ready at once, as `shutdown`. It runs no task itself: where no worker is left for what is queued, and
    /// the system gives no thread, it is ready too, and the report says what is left. The next shutdown sees to that.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| ())?;
    /// assert!(pool.shutdown_async().await.is_complete());
    /// assert_eq!(pool.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If it is polled after it was ready.
    pub async fn shutdown_async(&self) -> ShutdownReport {
        let mut ending = None;
        poll_fn(|poller| self.engine.poll_shutdown(&mut ending, poller.waker())).await
    }

    /// Refuses new tasks and gives back those that have not started, oldest first; blocks until the running ones
    /// have ended. The handles of those given back say cancelled; a caller who waits for one gets its
    /// input back himself, and it is not in the list.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let (started, begun) = std::sync::mpsc::channel();
    /// pool.submit(move || { started.send(()).unwrap(); drop(gate.recv()) })?;
    /// begun.recv()?;
    /// pool.submit(|| println!("perhaps"))?;
    /// drop(go);
    /// let returned = pool.shutdown_now();
    /// assert_eq!(pool.stats().completed + returned.len() as u64, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the tasks that have not started are in it, and go with it"]
    pub fn shutdown_now(&self) -> Vec<X> {
        self.engine.shutdown_now()
    }

    /// Refuses new tasks and runs what is queued for at most `limit`. What has not started by then is given back,
    /// oldest first, and what runs is told to stop ([`Context::is_cancelled`](crate::Context::is_cancelled), and the
    /// tokens of tasks that were submitted with one); the report says how much that is. Does not wait for it: [`shutdown`](Self::shutdown) does. From inside a task of
    /// the same pool, which could not end meanwhile, the time is over at once.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| ())?;
    /// let (returned, report) = pool.shutdown_graceful(std::time::Duration::from_secs(60));
    /// assert!(returned.is_empty() && report.is_complete());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the tasks that have not started are in it, and what still runs"]
    pub fn shutdown_graceful(&self, limit: Duration) -> (Vec<X>, ShutdownReport) {
        self.engine.shutdown_graceful(deadline(limit))
    }

    /// Refuses new tasks and lets go of what is queued and of what runs: the workers go on with it and end by themselves, and
    /// from now on dropping the pool does not wait for them, as with [`OnDrop::Detach`](crate::OnDrop::Detach). For a
    /// program that has to end although a task does not: after a shutdown with a limit that gave up. Never blocks.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| loop { std::thread::park() })?;
    /// if !pool.shutdown_timeout(Duration::from_millis(1)).is_complete() {
    ///     pool.detach();
    /// }
    /// drop(pool); // does not wait for ever
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn detach(&self) {
        self.engine.detach();
    }

    /// Opens the pool again after its end, with its options and the capacity that it had, and starts its minimum of
    /// workers. All pauses from before are over, also those whose guard is still there.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// pool.shutdown();
    /// pool.restart()?;
    /// assert_eq!(pool.run(|| 7)?, 7); // not paused
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StillRunning`](crate::BuildError::StillRunning) if the pool has not ended; or as building.
    pub fn restart(&self) -> Result<(), BuildError> {
        self.engine.restart()
    }

    /// The shard that tasks with this key go to ([`With::key`](crate::With::key)): below the number of shards, 0 where the queue has
    /// none. The same key has the same shard as long as the pool lives, and perhaps another in another pool.
    ///
    /// ```
    /// use formicary::{Pool, Sharded};
    ///
    /// let pool = Pool::builder().workers(4).dispatch::<Sharded>().shards(2).build()?;
    /// assert_eq!(pool.shard_of("acme"), pool.shard_of("acme"));
    /// assert!(pool.shard_of("acme") < 2);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn shard_of(&self, key: impl Hash) -> usize {
        self.engine.shard_of(&|hasher| hasher.hash_one(&key))
    }
}

impl<X> Drop for PoolControl<X> {
    /// As [`on_drop`](crate::Builder::on_drop) says; by default as [`shutdown`](Self::shutdown).
    fn drop(&mut self) {
        self.engine.end();
    }
}

impl<X> fmt::Debug for PoolControl<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.kind).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
