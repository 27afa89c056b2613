//! The figures of a pool, while it runs and at its end. As text: `stats_table.rs`.

use crate::queue::ShardStats;
use std::sync::Arc;

/// A snapshot of a pool's figures. Taking it does not stop the pool.
///
/// While tasks run, figures may differ from one another by the tasks in flight. When the pool is idle they are exact:
/// `submitted = completed + panicked + cancelled + returned + dropped`. At all times `live = running + idle`.
///
/// ```
/// let pool = formicary::Pool::new(2)?;
/// for _ in 0..10 {
///     pool.submit(|| ())?;
/// }
/// pool.wait_idle();
/// let stats = pool.stats();
/// assert_eq!((stats.submitted, stats.completed, stats.running), (10, 10, 0));
/// println!("{stats}"); // a small table
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The pool's name ([`Builder::name`](crate::Builder::name)).
    pub name: Arc<str>,
    /// How many tasks may wait beyond those that have a worker ([`Builder::queue`](crate::Builder::queue)). `None`: any number.
    pub queue_bound: Option<usize>,
    /// The highest number of workers that may be alive.
    pub capacity: usize,
    /// Living workers.
    pub live: usize,
    /// Living workers without a task.
    pub idle: usize,
    /// Tasks that run user code. A task that a worker runs inside another one is not counted as well.
    pub running: usize,
    /// Tasks that were accepted and have not started. A task is no longer counted when its handle has cancelled it, or when a worker that
    /// waits for it has run it. A task whose token is cancelled is counted until a worker takes it or its room is needed.
    pub queued: usize,
    /// Unfinished tasks beyond the bound of the queue, which the pool's own tasks have submitted; see
    /// [`Builder::nested`](crate::Builder::nested). They are also counted as queued or running.
    pub overcommitted: usize,
    /// Tasks that were submitted for a time ([`With::after`](crate::With::after)) and have not entered the pool. They are in no other figure;
    /// one that waits for room since its time has come also counts as a waiting submitter.
    pub scheduled: usize,
    /// Submitters that wait for room.
    pub waiting: usize,
    /// Tasks ever accepted, and closures of [`Pool::join`](crate::Pool::join) that another worker ran.
    pub submitted: u64,
    /// Tasks that ran to their end.
    pub completed: u64,
    /// Tasks that panicked.
    pub panicked: u64,
    /// Tasks that were accepted and will never run. Who waits for one, or for a task that is dropped or returned, may be told a moment before
    /// it is counted here; [`wait_idle`](crate::PoolControl::wait_idle) waits until all are counted.
    pub cancelled: u64,
    /// Refused submissions: the sum of `refusals`.
    pub rejected: u64,
    /// Refused submissions by kind.
    pub refusals: Refusals,
    /// Tasks given back by `shutdown_now`.
    pub returned: u64,
    /// Tasks that were accepted and dropped: the sum of `drops`.
    pub dropped: u64,
    /// Dropped tasks by reason.
    pub drops: Drops,
    /// Workers ever started.
    pub spawned: u64,
    /// Workers that have ended.
    pub retired: u64,
    /// Workers that were given up ([`PoolControl::replace`](crate::PoolControl::replace)) and have not ended. They count as neither live nor
    /// running.
    pub given_up: usize,
    /// The highest number of tasks that have run at the same time, each from when a worker took it to when its end was counted. It is
    /// never too high; where tasks end while others start, a short peak may be missed.
    pub peak_running: usize,
    /// Panics caught outside of tasks: in the panic handler, in thread hooks, in `ready` and `terminate`, in broadcasts, in drops of
    /// results without a receiver and of what cancelled tasks had captured. This includes drops that a group, a map, a view or a
    /// submitter makes on its own thread.
    pub handler_panics: u64,
    /// Threads that the system refused, and worker states that could not be made.
    pub failed_starts: u64,
    /// The figures of each shard of a [`Sharded`](crate::Sharded) pool; empty for other pools. Tasks beyond the bound are in no shard.
    pub shards: Vec<ShardStats>,
}

/// Refused submissions by the [`kind`](crate::SubmitErrorKind) of the refusal. A task that was accepted, and then had no state to run
/// with ([`NoState`](crate::SubmitErrorKind::NoState)), counts as cancelled and not as refused.
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
    /// The queue was full, and the call did not wait.
    pub full: u64,
    /// Too many submitters were waiting already ([`max_blocking`](crate::Builder::max_blocking)).
    pub overloaded: u64,
    /// The queue was full until the time was over.
    pub timed_out: u64,
    /// The task was cancelled before it was accepted.
    pub cancelled: u64,
    /// The pool was closed.
    pub closed: u64,
    /// The system refused a thread, and no worker was alive.
    pub spawn: u64,
    /// The submitter was a worker of the pool and would have waited for itself.
    pub would_deadlock: u64,
    /// The task's weight was more than the whole budget.
    pub too_large: u64,
}

impl Refusals {
    /// The sum over all kinds.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(pool.try_submit(|| ()).is_err());
    /// assert_eq!(pool.stats().refusals.total(), 1);
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn total(&self) -> u64 {
        let Refusals { full, overloaded, timed_out, cancelled, closed, spawn, would_deadlock, too_large } = self;
        full + overloaded + timed_out + cancelled + closed + spawn + would_deadlock + too_large
    }
}

/// Tasks that were accepted and dropped, by [reason](crate::DropReason).
///
/// ```
/// use formicary::{Overflow, Pool};
///
/// let pool = Pool::builder().workers(1).queue(0).overflow(Overflow::DropNewest).build()?;
/// let pause = pool.pause();
/// pool.submit(|| ())?;
/// pool.submit(|| ())?;
/// drop(pause);
/// pool.wait_idle();
/// let stats = pool.stats();
/// assert_eq!((stats.submitted, stats.completed, stats.dropped, stats.drops.newest), (2, 1, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drops {
    /// They were the oldest in a full queue ([`Overflow::DropOldest`](crate::Overflow::DropOldest)).
    pub oldest: u64,
    /// They were new and found no room ([`Overflow::DropNewest`](crate::Overflow::DropNewest)).
    pub newest: u64,
    /// They waited longer than their [`max_queue_time`](crate::With::max_queue_time).
    pub late: u64,
    /// The pool refused them at their [time](crate::With::after).
    pub refused: u64,
    /// The pool, or their view, was closed before their [time](crate::With::after).
    pub closed: u64,
}

impl Drops {
    /// The sum over all reasons.
    ///
    /// ```
    /// assert_eq!(formicary::Pool::new(1)?.stats().drops.total(), 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn total(&self) -> u64 {
        let Drops { oldest, newest, late, refused, closed } = self;
        oldest + newest + late + refused + closed
    }
}

/// What is left of a pool when a shutdown returns, and what happened to its tasks since the call. Nothing is left unless the time was over
/// or the shutdown was called on one of the pool's own threads.
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
    /// Workers still alive, and submitters that still run a task ([`Overflow::CallerRuns`](crate::Overflow::CallerRuns)).
    pub workers: usize,
    /// Tasks that have not started. The workers still run them.
    pub queued: usize,
    /// Tasks still running.
    pub running: usize,
    /// Tasks that ran to their end, or panicked, during the shutdown.
    pub ran: u64,
    /// Tasks that were cancelled during the shutdown.
    pub cancelled: u64,
    /// Tasks that were given back, by this shutdown or by a concurrent one.
    pub returned: u64,
}

impl ShutdownReport {
    /// Whether the pool has ended: no worker is alive, and no task is left.
    ///
    /// ```
    /// use formicary::Pool;
    /// use std::sync::mpsc::channel;
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let (go, gate) = channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// assert!(!pool.shutdown_timeout(Duration::from_millis(1)).is_complete());
    /// drop(go);
    /// assert!(pool.shutdown().is_complete());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_complete(&self) -> bool {
        self.workers == 0 && self.queued == 0
    }
}
