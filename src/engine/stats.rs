//! Figures of a pool at one moment, and of its end.

use crate::queue::ShardStats;
use std::fmt;
use std::sync::Arc;

/// A snapshot of a pool's counts. Reading it never stops the pool.
///
/// While tasks are on their way the figures may be a task apart from one another. When the pool is quiet they are
/// exact: `submitted = completed + panicked + cancelled + returned`, and at all times `live = running + idle`.
///
/// ```
/// let pool = formicary::Pool::new(2)?;
/// for _ in 0..10 {
///     pool.submit(|| ())?;
/// }
/// pool.wait_idle();
/// let stats = pool.stats();
/// assert_eq!((stats.submitted, stats.completed, stats.running), (10, 10, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The pool's name ([`Builder::name`](crate::Builder::name)).
    pub name: Arc<str>,
    /// How many tasks may wait beyond those that have a worker ([`Builder::queue`](crate::Builder::queue)); `None` is any number.
    pub queue_bound: Option<usize>,
    /// The most workers that may be alive.
    pub capacity: usize,
    /// Living workers.
    pub live: usize,
    /// Living workers without a task.
    pub idle: usize,
    /// Tasks inside user code. A task that a worker runs in the middle of another is not counted twice.
    pub running: usize,
    /// Tasks accepted and not started. One that its handle has cancelled, or that a worker has run itself because it waited for it,
    /// is not counted; one whose token is cancelled is, until its turn comes or its place is needed.
    pub queued: usize,
    /// Unfinished tasks that the pool's own tasks submitted, beyond the bound of the queue: see [`Builder::nested`](crate::Builder::nested).
    /// They are counted as queued and running, too.
    pub overcommitted: usize,
    /// Submitters blocked at the door.
    pub waiting: usize,
    /// Tasks ever accepted.
    pub submitted: u64,
    /// Tasks that ran to their end.
    pub completed: u64,
    /// Tasks that panicked.
    pub panicked: u64,
    /// Tasks that were accepted and will never run.
    pub cancelled: u64,
    /// Submissions refused, for whatever reason: the sum of `refusals`.
    pub rejected: u64,
    /// The same by kind.
    pub refusals: Refusals,
    /// Tasks given back by `shutdown_now`.
    pub returned: u64,
    /// Workers ever started.
    pub spawned: u64,
    /// Workers that have ended.
    pub retired: u64,
    /// The most tasks that were ever running at the same time, each from when a worker took it to when its end was counted. Never
    /// more than that; where tasks end while others start, a moment may be missed.
    pub peak_running: usize,
    /// Panics caught outside of tasks: in the panic handler, in thread hooks, in `ready` and `terminate`, in broadcasts, and
    /// in drops of results that nobody waited for and of what cancelled tasks had captured, also where a group, a map or a view
    /// drops these on its owner's thread, or a submitter that makes room on its own.
    pub handler_panics: u64,
    /// Threads that the system refused, and worker states that could not be built.
    pub failed_starts: u64,
    /// The figures of each shard of a [`Sharded`](crate::Sharded) pool; empty for others. Tasks beyond the bound are in no shard.
    pub shards: Vec<ShardStats>,
}

/// Refused submissions by the [`kind`](crate::SubmitErrorKind) of the refusal. A task that was accepted and then had no state to run
/// with ([`NoState`](crate::SubmitErrorKind::NoState)) counts as cancelled, not as refused.
///
/// ```
/// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
/// let pause = pool.pause();
/// pool.submit(|| ())?;
/// assert!(pool.try_submit(|| ()).unwrap_err().is_full());
/// drop(pause);
/// pool.shutdown();
/// assert!(pool.try_submit(|| ()).unwrap_err().is_closed());
///
/// let stats = pool.stats();
/// assert_eq!((stats.refusals.full, stats.refusals.closed), (1, 1));
/// assert_eq!((stats.refusals.total(), stats.rejected), (2, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusals {
    /// There was no room, and the call did not wait.
    pub full: u64,
    /// Too many submitters waited already ([`max_blocking`](crate::Builder::max_blocking)).
    pub overloaded: u64,
    /// There was no room until the time was up.
    pub timed_out: u64,
    /// The task was cancelled before it was taken.
    pub cancelled: u64,
    /// The pool was closed.
    pub closed: u64,
    /// The system refused a thread, and no worker was alive.
    pub spawn: u64,
    /// The submitter was a worker of the pool, and would have waited for itself.
    pub would_deadlock: u64,
}

impl Refusals {
    /// All of them.
    ///
    /// ```
    /// assert_eq!(formicary::Refusals::default().total(), 0);
    /// ```
    pub fn total(&self) -> u64 {
        let Refusals { full, overloaded, timed_out, cancelled, closed, spawn, would_deadlock } = self;
        full + overloaded + timed_out + cancelled + closed + spawn + would_deadlock
    }
}

impl fmt::Display for Stats {
    /// Two lines of `name value` pairs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "submitted {} completed {} panicked {} cancelled {} returned {} rejected {}",
            self.submitted, self.completed, self.panicked, self.cancelled, self.returned, self.rejected
        )?;
        write!(
            f,
            "capacity {} live {} running {} peak {} queued {} waiting {} spawned {} retired {}",
            self.capacity,
            self.live,
            self.running,
            self.peak_running,
            self.queued,
            self.waiting,
            self.spawned,
            self.retired
        )
    }
}

/// What was left of a pool when a shutdown returned: nothing, unless its time was up or it was called from one
/// of the pool's own tasks. And what came of its tasks from the moment of the call.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// pool.submit(|| ())?;
/// let report = pool.shutdown();
/// assert!(report.is_complete() && report.ran <= 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Workers still alive.
    pub workers: usize,
    /// Tasks not started; the workers go on with them.
    pub queued: usize,
    /// Tasks still running.
    pub running: usize,
    /// Tasks that ran to their end, or panicked, during the shutdown.
    pub ran: u64,
    /// Tasks that were cancelled during the shutdown.
    pub cancelled: u64,
    /// Tasks that were given back, by this shutdown or by another at the same time.
    pub returned: u64,
}

impl ShutdownReport {
    /// Whether the pool has ended: no worker is alive, and no task is left.
    ///
    /// ```
    /// assert!(formicary::Pool::new(1)?.shutdown().is_complete());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_complete(&self) -> bool {
        self.workers == 0 && self.queued == 0
    }
}
