//! Which pools the calling thread works for, and what it can do for them.
//!
//! A worker that uses its own pool inside a task must not wait for itself. Where possible it runs the task that it waits for
//! ([`run_here`]); otherwise it blocks, unless it is the last that could make progress (`blocked_workers/`).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;
use std::rc::Rc;

use super::blocked_workers::BlockedWorkers;
use super::pending_polls::{PendingPoll, PendingPolls};
use super::running_tasks::{Overdue, RunningTasks, Stop};
use super::withdrawn::Withdrawn;
use crate::sync::{Arc, Ordering, thread_local};
use crate::task::state::{Completion, RunOutcome, SuspendedTask};

/// Identifies a pool, and refers to its counters of withdrawn tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolId {
    /// Unique in the process, and never [`OUTSIDE`].
    number: u64,
    withdrawn: Option<&'static Withdrawn>,
}

/// The number that no pool has.
const OUTSIDE: u64 = 0;

impl PoolId {
    /// A new id.
    pub(crate) fn new(withdrawn: &'static Withdrawn) -> Self {
        // Not one of `sync`'s atomics: loom's cannot be in a static, and no model builds a whole pool.
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(OUTSIDE + 1);
        PoolId { number: NEXT.fetch_add(1, Ordering::Relaxed), withdrawn: Some(withdrawn) }
    }

    /// An id that no pool has.
    pub(crate) fn none() -> Self {
        PoolId { number: u64::MAX, withdrawn: None }
    }

    pub(crate) fn number(self) -> u64 {
        self.number
    }

    pub(crate) fn withdrawn(self) -> Option<&'static Withdrawn> {
        self.withdrawn
    }

    /// About how many queue entries are stale.
    pub(crate) fn stale_entries(self) -> usize {
        self.withdrawn.map_or(0, Withdrawn::stale_entries)
    }
}

impl PartialEq for PoolId {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

/// How many queued tasks a worker may run inside one another, whichever pools they are of. Deeper waits are refused: nesting takes the
/// user's frames times this number of stack. What the user's own code nests is not counted.
pub(crate) const MAX_DEPTH: usize = 32;

/// What nested calls need of an engine, whatever its types.
pub(crate) trait CurrentPool {
    fn id(&self) -> PoolId;
    fn blocked_workers(&self) -> &BlockedWorkers;
    /// Whether the time of a shutdown is over.
    fn overdue(&self) -> &Overdue;
    fn running_tasks(&self) -> &RunningTasks;
    /// The number of threads that can still make progress: those that take queued tasks, or queue one. Fewer workers than this may
    /// block. When it decreases, [`BlockedWorkers::shrink`] is called.
    fn progress_capacity(&self) -> usize;
    /// Whether other workers are free to start all queued tasks.
    fn has_free_workers(&self) -> bool;
    fn pending_polls(&self) -> &PendingPolls;
    /// Wakes the polls that left their tasks to other workers, if those are no longer free. May run executors' code: do not call under a
    /// lock.
    fn notify_pending_polls(&self) {
        self.pending_polls().notify_unless(|| self.has_free_workers());
    }
    /// The calling worker is about to wait for its own pool inside a task: starts workers that the pool has put off. Returns whether
    /// [`end_wait`](Self::end_wait) must be called. May run a spawn handler: do not call under a lock, nor while the worker counts as blocked.
    fn begin_wait(&self) -> bool;
    /// The wait is over.
    fn end_wait(&self);
    /// The calling worker has polled for its own pool inside a task, and may wait. The same, for a wait whose end is not known.
    fn note_poll(&self);
    /// Runs a queued task on this worker, inside its current one, if there is one and the kind of pool allows it. Returns whether it
    /// did.
    fn help(&self) -> bool;
    /// Runs and counts a task on this worker.
    fn run_nested(&self, body: &mut dyn FnMut(&mut Completion) -> RunOutcome);
}

struct Current {
    /// That of the pool.
    number: u64,
    pool: Arc<dyn CurrentPool>,
    worker: usize,
    /// What the pool keeps for its tasks on this worker, whatever its type. Its address stays the same until the thread leaves the pool.
    local: Rc<dyn Any>,
}

thread_local! {
    /// The pools that the thread works for, the innermost last: a worker of one pool can be an inline worker of another. It has no
    /// destructor, so it is usable as long as the thread runs; an empty one holds no memory.
    static CURRENT: RefCell<ManuallyDrop<Vec<Current>>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
    /// The innermost of these pools, or [`OUTSIDE`]. A thread that works for no pool reads only this. It has no destructor, so it can
    /// be read at any time.
    static LATEST: Cell<u64> = const { Cell::new(OUTSIDE) };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// A pool that the thread works for, and its [`Current::local`]: those last looked up. Or [`OUTSIDE`], and nothing. It is reset whenever the
    /// thread enters or leaves a pool, so it refers to an entry of `CURRENT`.
    static LAST_LOCAL: Cell<(u64, NonNull<()>)> = const { Cell::new((OUTSIDE, NonNull::dangling())) };
}

/// Marks the calling thread as a worker of `pool` until it is dropped. Guards are dropped in reverse order.
pub(crate) struct EnterGuard {
    /// A task of another pool, inside which the thread works for this one.
    _outer: SuspendedTask,
}

impl EnterGuard {
    /// `local` is what [`with_local`] lends.
    pub(crate) fn enter(pool: Arc<dyn CurrentPool>, worker: usize, local: Rc<dyn Any>) -> Self {
        let id = pool.id().number;
        let entry = Current { number: id, pool, worker, local };
        CURRENT.with(|current| current.borrow_mut().push(entry));
        LATEST.with(|latest| latest.set(id));
        forget_last_local();
        EnterGuard { _outer: SuspendedTask::new() }
    }
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        forget_last_local();
        // This may be the last reference to the engine. Its drop runs user code, so the borrow has ended by then.
        let (left, before) = CURRENT.with(|current| {
            let mut current = current.borrow_mut();
            let last = current.pop();
            let unused = if current.is_empty() { mem::take(&mut **current) } else { Vec::new() };
            ((last, unused), current.last().map_or(OUTSIDE, |before| before.number))
        });
        LATEST.with(|latest| latest.set(before));
        drop(left);
    }
}

/// The engine, and the number of the calling worker, if the calling thread works for `pool`.
pub(crate) fn inside(pool: PoolId) -> Option<(Arc<dyn CurrentPool>, usize)> {
    if LATEST.with(Cell::get) == OUTSIDE {
        return None;
    }
    CURRENT.with(|current| {
        let current = current.borrow();
        current.iter().rev().find(|c| c.number == pool.number).map(|c| (Arc::clone(&c.pool), c.worker))
    })
}

/// Calls `f` with what the pool keeps for its tasks on the calling worker, if the calling thread works for `pool`. `L` is always the same for a
/// pool. Mostly one comparison.
#[inline]
pub(crate) fn with_local<L: 'static, O>(pool: PoolId, f: impl FnOnce(Option<&L>) -> O) -> O {
    let local = last_local(pool.number).or_else(|| find_local::<L>(pool));
    // SAFETY: it is that of an entry of `CURRENT`, whose type is `L`, as `find_local` has found. The entry owns it until its `EnterGuard` is
    // dropped, in a frame of this thread below this one. So it outlives the call of `f`.
    f(local.map(|local| unsafe { local.cast::<L>().as_ref() }))
}

/// What was last looked up, if it is that of the pool of this number.
#[inline]
fn last_local(number: u64) -> Option<NonNull<()>> {
    let (last, local) = LAST_LOCAL.with(Cell::get);
    (last == number).then_some(local)
}

#[cold]
fn find_local<L: 'static>(pool: PoolId) -> Option<NonNull<()>> {
    if !is_worker() {
        return None;
    }
    CURRENT.with(|current| {
        let current = current.borrow();
        let entry = current.iter().rev().find(|entry| entry.number == pool.number)?;
        let local = NonNull::from(entry.local.downcast_ref::<L>()?).cast();
        LAST_LOCAL.with(|last| last.set((pool.number, local)));
        Some(local)
    })
}

fn forget_last_local() {
    LAST_LOCAL.with(|last| last.set((OUTSIDE, NonNull::dangling())));
}

/// The pools that the calling thread works for.
pub(crate) fn pools_of_thread() -> Vec<PoolId> {
    CURRENT.try_with(|current| current.borrow().iter().map(|c| c.pool.id()).collect()).unwrap_or_default()
}

/// The innermost pool that the calling thread works for, and its worker number there.
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

/// The number of the calling worker, if the calling thread works for `pool`.
pub(crate) fn worker_of(pool: PoolId) -> Option<usize> {
    inside(pool).map(|(_, worker)| worker)
}

/// Whether the calling thread runs as many queued tasks inside one another as is allowed.
pub(crate) fn is_too_deep() -> bool {
    DEPTH.with(Cell::get) >= MAX_DEPTH
}

/// Runs `body` as a task of its own if the calling thread is a worker of `pool` and not nested too deeply. Returns whether it did.
pub(crate) fn run_here(pool: PoolId, body: impl FnOnce(&mut Completion) -> RunOutcome) -> bool {
    if is_too_deep() {
        return false;
    }
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let has_run = run_here_unbounded(pool, body);
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    has_run
}

/// The same at any depth, and without counting. For tasks that user code nests: the user's own recursion bounds the depth.
pub(crate) fn run_here_unbounded(pool: PoolId, body: impl FnOnce(&mut Completion) -> RunOutcome) -> bool {
    let Some((engine, _)) = inside(pool) else { return false };
    let mut body = Some(body);
    // The outer task is not the current one while this runs.
    let _outer = SuspendedTask::new();
    engine.run_nested(&mut |completion| match body.take() {
        Some(body) => body(completion),
        None => RunOutcome::Elsewhere,
    });
    true
}

/// Whether other workers of `pool` are free to start all its queued tasks. The calling thread is a worker of it.
pub(crate) fn has_free_workers(pool: PoolId) -> bool {
    inside(pool).is_some_and(|(engine, _)| engine.has_free_workers())
}

/// Registers a poll of a task of `pool` on the calling worker, which leaves the task to other workers.
pub(crate) fn register_poll(pool: PoolId, poll: Arc<PendingPoll>) {
    if let Some((engine, _)) = inside(pool) {
        engine.pending_polls().register(poll);
    }
}

/// If the calling thread is a worker of `pool`, which is about to wait: wakes the polls that left their tasks to other workers, if those are
/// no longer free, and starts workers that the pool has put off. May run executors' code: do not call under a lock.
pub(crate) fn notify_pending_polls(pool: PoolId) {
    if let Some((engine, _)) = inside(pool) {
        engine.note_poll();
        engine.notify_pending_polls();
    }
}

/// Runs a queued task if the calling thread is a worker of `pool`, there is one, and the kind of pool allows it. Returns whether it did.
pub(crate) fn help(pool: PoolId) -> bool {
    inside(pool).is_some_and(|(engine, _)| engine.help())
}

/// Registers a running task of `pool`, until the returned guard is dropped. A shutdown may tell it to stop.
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
