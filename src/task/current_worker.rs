//! Which pools the calling thread is a worker of, and what it can do for them.
//!
//! A worker that uses its own pool from inside a task must not wait for itself. What it waits for it runs on the spot where that is
//! possible ([`run_here`]); otherwise it needs a permit to wait (`block_permits.rs`).

use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};

use super::block_permits::BlockPermits;
use super::running_tasks::{Overdue, RunningTasks, Stop};
use super::withdrawn::Withdrawn;
use crate::sync::{Arc, Ordering, thread_local};
use crate::task::state::{Completion, RunOutcome, SuspendedTask};

/// Tells pools apart, and knows where a pool counts the tasks that are taken from their queued tickets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolId {
    /// Never used twice in one process, and never [`OUTSIDE`].
    number: u64,
    withdrawn: Option<&'static Withdrawn>,
}

/// No pool's number.
const OUTSIDE: u64 = 0;

impl PoolId {
    /// A new one.
    pub(crate) fn new(withdrawn: &'static Withdrawn) -> Self {
        // Not one of `sync`'s atomics: a static of loom's cannot be made, and no model builds a whole pool.
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(OUTSIDE + 1);
        PoolId { number: NEXT.fetch_add(1, Ordering::Relaxed), withdrawn: Some(withdrawn) }
    }

    /// Of no pool.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        PoolId { number: u64::MAX, withdrawn: None }
    }

    pub(crate) fn withdrawn(self) -> Option<&'static Withdrawn> {
        self.withdrawn
    }

    /// How many queued tickets stand for nothing any more, about.
    pub(crate) fn tickets(self) -> usize {
        self.withdrawn.map_or(0, Withdrawn::tickets)
    }
}

impl PartialEq for PoolId {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

/// How many queued tasks, of whosoever, a worker may run in the middle of one another. Beyond it waits are refused: the stack
/// that nesting takes is the user's frames times this number. What the user's own code nests is not counted.
pub(crate) const MAX_DEPTH: usize = 32;

/// What nested calls need of an engine, whatever its types.
pub(crate) trait CurrentPool {
    fn id(&self) -> PoolId;
    fn block_permits(&self) -> &BlockPermits;
    /// Whether the time of a shutdown is over.
    fn overdue(&self) -> &Overdue;
    fn running_tasks(&self) -> &RunningTasks;
    /// The number of threads that can still make progress: they find a queued task, or bring one. Fewer workers than that may wait.
    /// When it has become less, [`BlockPermits::shrink`] is called.
    fn progress_capacity(&self) -> usize;
    /// Whether other workers are free to start all that is queued.
    fn has_free_workers(&self) -> bool;
    /// Runs a queued task on this worker, in the middle of the one that it is at, if there is one and the pool's kind allows
    /// it; says whether it did.
    fn help(&self) -> bool;
    /// Runs and accounts a task on this worker.
    fn run_nested(&self, worker: usize, body: &mut dyn FnMut(&mut Completion) -> RunOutcome);
}

struct Current {
    pool: Arc<dyn CurrentPool>,
    worker: usize,
}

thread_local! {
    /// The pools whose worker the thread is, the latest last: a worker of one can be a guest of another. Has no destructor, so
    /// that it can be used as long as the thread runs; an empty one holds no memory.
    static CURRENT: RefCell<ManuallyDrop<Vec<Current>>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
    /// The latest of these pools, or [`OUTSIDE`]: all that a thread that is nobody's worker has to look at. No destructor, so it can be
    /// read at any time.
    static LATEST: Cell<u64> = const { Cell::new(OUTSIDE) };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Marks the calling thread as a worker of `pool` until dropped, which is in the reverse order.
pub(crate) struct EnterGuard {
    /// A task of another pool, in the middle of which the thread lends a hand.
    _outer: SuspendedTask,
}

impl EnterGuard {
    pub(crate) fn enter(pool: Arc<dyn CurrentPool>, worker: usize) -> Self {
        let id = pool.id().number;
        CURRENT.with(|current| current.borrow_mut().push(Current { pool, worker }));
        LATEST.with(|latest| latest.set(id));
        EnterGuard { _outer: SuspendedTask::new() }
    }
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        // Perhaps the last owner of the engine, which is somebody else's code: not dropped while it is borrowed.
        let (left, before) = CURRENT.with(|current| {
            let mut current = current.borrow_mut();
            let last = current.pop();
            let unused = if current.is_empty() { mem::take(&mut **current) } else { Vec::new() };
            ((last, unused), current.last().map_or(OUTSIDE, |before| before.pool.id().number))
        });
        LATEST.with(|latest| latest.set(before));
        drop(left);
    }
}

/// The engine and the number of the calling worker, if it is one of `pool`.
pub(crate) fn inside(pool: PoolId) -> Option<(Arc<dyn CurrentPool>, usize)> {
    if LATEST.with(Cell::get) == OUTSIDE {
        return None;
    }
    CURRENT.with(|current| {
        let current = current.borrow();
        current.iter().rev().find(|c| c.pool.id() == pool).map(|c| (Arc::clone(&c.pool), c.worker))
    })
}

/// The pools that the calling thread is a worker of.
pub(crate) fn pools_of_thread() -> Vec<PoolId> {
    CURRENT.try_with(|current| current.borrow().iter().map(|c| c.pool.id()).collect()).unwrap_or_default()
}

/// The pool that the calling thread works for, and its number there; of several the one whose task it is at.
pub(crate) fn innermost() -> Option<(Arc<dyn CurrentPool>, usize)> {
    CURRENT.with(|current| current.borrow().last().map(|c| (Arc::clone(&c.pool), c.worker)))
}

/// Whether the calling thread is a worker of any pool.
pub(crate) fn is_worker() -> bool {
    LATEST.with(Cell::get) != OUTSIDE
}

/// Whether the calling thread is a worker of `pool`.
#[inline]
pub(crate) fn is_inside(pool: PoolId) -> bool {
    let latest = LATEST.with(Cell::get);
    latest != OUTSIDE && is_one_of(pool, latest)
}

#[cold]
fn is_one_of(pool: PoolId, latest: u64) -> bool {
    pool.number == latest || inside(pool).is_some()
}

/// The number of the calling worker, if it is one of `pool`.
pub(crate) fn worker_of(pool: PoolId) -> Option<usize> {
    inside(pool).map(|(_, worker)| worker)
}

/// Whether so many queued tasks run in the middle of one another on this thread that there must not be one more.
pub(crate) fn is_too_deep() -> bool {
    DEPTH.with(Cell::get) >= MAX_DEPTH
}

/// If the calling thread is a worker of `pool` and not too deep, runs `body` on it as a task of its own;
/// says whether it did.
pub(crate) fn run_here(pool: PoolId, body: impl FnOnce(&mut Completion) -> RunOutcome) -> bool {
    if is_too_deep() {
        return false;
    }
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let has_run = run_here_unbounded(pool, body);
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    has_run
}

/// The same at any depth, uncounted. For what is nested in the user's own code, not by the queue's chance: the depth is bounded by
/// the caller's own recursion.
pub(crate) fn run_here_unbounded(pool: PoolId, body: impl FnOnce(&mut Completion) -> RunOutcome) -> bool {
    let Some((engine, worker)) = inside(pool) else { return false };
    let mut body = Some(body);
    // Not the task in the middle of which this one runs.
    let _outer = SuspendedTask::new();
    engine.run_nested(worker, &mut |completion| match body.take() {
        Some(body) => body(completion),
        None => RunOutcome::Elsewhere,
    });
    true
}

/// Whether other workers are free to start all that is queued in `pool`, whose worker the calling thread is.
pub(crate) fn has_free_workers(pool: PoolId) -> bool {
    inside(pool).is_some_and(|(engine, _)| engine.has_free_workers())
}

/// If the calling thread is a worker of `pool`, runs a queued task on it, if there is one and the pool's kind allows it; says
/// whether it did.
pub(crate) fn help(pool: PoolId) -> bool {
    inside(pool).is_some_and(|(engine, _)| engine.help())
}

/// The calling thread runs a task of `pool`, until the answer is dropped: a shutdown may tell it to stop.
pub(crate) fn stoppable(pool: PoolId, task: Arc<dyn Stop>) -> Option<Stoppable> {
    inside(pool).map(|(engine, _)| {
        let key = engine.running_tasks().insert(task);
        Stoppable(engine, key)
    })
}

/// See [`stoppable`].
pub(crate) struct Stoppable(Arc<dyn CurrentPool>, u64);

impl Drop for Stoppable {
    fn drop(&mut self) {
        self.0.running_tasks().remove(self.1);
    }
}
