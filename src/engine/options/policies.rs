//! Policies of a pool: what a full one does with a task, what its own tasks may submit, and what dropping or closing it does.

/// What happens to a task that finds no room ([`Builder::overflow`](crate::Builder::overflow)).
///
/// The `try_` verbs never wait. `submit_async` and its kin never run a task on the executor's thread, so under
/// [`CallerRuns`](Self::CallerRuns) they wait.
///
/// ```
/// use formicary::{Overflow, Pool};
///
/// assert_eq!(Overflow::default(), Overflow::Block);
/// let pool = Pool::builder().workers(1).queue(0).overflow(Overflow::Refuse).build()?;
/// let pause = pool.pause();
/// pool.submit(|| ())?;
/// assert!(pool.submit(|| ()).unwrap_err().is_full());
/// # drop(pause);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The submitter waits for room. The default.
    #[default]
    Block,
    /// The submission is refused, and the task comes back. The same as [`nonblocking`](crate::Builder::nonblocking): `submit_async` and its
    /// kin, and verbs with a limit on their wait, wait all the same.
    Refuse,
    /// The submitter runs the task, and so submits no other meanwhile. It waits instead while the pool is paused, at a
    /// [limited view](crate::Limited), whose limit it would exceed, and if it has set a limit on its wait. A pool whose workers have states
    /// cannot have this policy.
    ///
    /// Such a task runs beside those of the workers, beyond the capacity. It counts as submitted, and as completed or panicked, but not as
    /// running. [`Context::worker`](crate::Context::worker) is a number that no worker has. What it submits to the same pool is queued beyond
    /// the bound. A shutdown waits for it.
    CallerRuns,
    /// The task that has waited longest in the queue is dropped, and the new one takes its place. A keyed task replaces one of its own
    /// shard. If no task waits that could be dropped, because all that there is room for run, the new task is dropped.
    DropOldest,
    /// The new task is accepted and dropped: the submission succeeds, but the task never runs.
    DropNewest,
}

/// What a pool's own tasks may submit to it beyond the bound of its queue. See [`Builder::nested`](crate::Builder::nested). It does not
/// concern forks and scopes on a worker, which need no room.
///
/// ```
/// use formicary::{Nested, Pool};
/// use std::sync::Arc;
///
/// assert_eq!(Nested::default(), Nested::Any);
/// let pool = Arc::new(Pool::builder().workers(1).queue(0).nested(Nested::AtMost(1)).build()?);
/// let inner = Arc::clone(&pool);
/// let accepted = pool.run(move || {
///     let accepted = (0..3).filter(|_| inner.try_submit(|| ()).is_ok()).count();
///     drop(inner);
///     accepted
/// })?;
/// assert_eq!(accepted, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Nested {
    /// Any number of tasks, as long as memory lasts. The default.
    #[default]
    Any,
    /// At most this number of unfinished tasks beyond the bound. Above it the rule of [`Bounded`](Self::Bounded) holds.
    AtMost(usize),
    /// None: these tasks are within the bound, as all others. A worker that finds the queue full waits, as other submitters do. The
    /// last worker that could make room instead runs queued tasks, or the task that it submits, but at most 32 inside one another.
    /// Deeper, and on a [`StatefulPool`](crate::StatefulPool), the submission is refused with
    /// [`WouldDeadlock`](crate::SubmitErrorKind::WouldDeadlock).
    Bounded,
}

impl Nested {
    /// The limit of unfinished tasks beyond the bound.
    pub(crate) fn most(self) -> usize {
        match self {
            Nested::Any => usize::MAX,
            Nested::AtMost(tasks) => tasks,
            Nested::Bounded => 0,
        }
    }
}

/// What dropping a pool does with its tasks ([`Builder::on_drop`](crate::Builder::on_drop)). The pool is always closed first. A drop on one
/// of the pool's own threads never waits.
///
/// ```
/// use formicary::{OnDrop, Pool};
///
/// let pool = Pool::builder().workers(1).on_drop(OnDrop::Cancel).build()?;
/// let pause = pool.pause();
/// let handle = pool.spawn(|| 7)?;
/// drop(pool);
/// assert!(handle.join().unwrap_err().is_cancelled());
/// # drop(pause);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDrop {
    /// Runs all queued tasks and waits until every thread has ended, as [`PoolControl::shutdown`](crate::PoolControl::shutdown) does.
    /// A task that never ends blocks the drop for ever. The default.
    #[default]
    Drain,
    /// Drops the queued tasks, which count as cancelled; tells running tasks to stop
    /// ([`Context::is_cancelled`](crate::Context::is_cancelled), and the tokens of tasks that were submitted with one); and waits
    /// until every thread has ended. A caller that waits for a queued task gets its input back.
    Cancel,
    /// Does not wait. The workers run the queued tasks and then end; they own all that they need. The end of the process ends them at
    /// any point. Queued tasks for which the system gives no thread never run.
    Detach,
}

/// What becomes of tasks whose time has not come ([`With::after`](crate::With::after), [`With::at`](crate::With::at)) when their pool is closed
/// ([`Builder::on_close`](crate::Builder::on_close)). No shutdown waits for their times. Those of a [`Limited`](crate::Limited) view are
/// never run at once: where others are, they are dropped, as what waits in a view is.
///
/// ```
/// use formicary::{OnClose, Pool};
/// use std::time::Duration;
///
/// let pool = Pool::builder().workers(1).on_close(OnClose::RunNow).build()?;
/// let handle = pool.with().after(Duration::from_secs(3600)).spawn(|| 7)?;
/// pool.shutdown();
/// assert_eq!(handle.join()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnClose {
    /// [`shutdown_now`](crate::PoolControl::shutdown_now) and [`shutdown_graceful`](crate::PoolControl::shutdown_graceful) return them, after
    /// the queued tasks and in the order of their times. A close that returns no tasks drops them, as [`Drop`](Self::Drop). The default: a
    /// task neither delays a shutdown by the time that is left nor runs before its time unless that was asked for.
    #[default]
    Return,
    /// A close that runs what is queued also runs them, at once, in the order of their times and beyond the bound of the queue.
    /// `shutdown_now`, which runs nothing, returns them. [`OnDrop::Cancel`] drops them.
    RunNow,
    /// They are dropped, also by `shutdown_now`. Each goes to the [`dropped_handler`](crate::Builder::dropped_handler), if there is one, and its
    /// handle says that the pool was closed ([`JoinError::refusal`](crate::JoinError::refusal)).
    Drop,
}
