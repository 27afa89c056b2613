//! A worker that uses its own pool from inside a task.
//!
//! Such a worker must not wait for itself. What it waits for it runs on the spot where that is possible
//! ([`run_here`]); otherwise it may wait only while some other worker does not ([`enter_wait`]), so the last
//! one that could make progress is told [`WouldDeadlock`] and never falls asleep. Waits with a deadline
//! end by themselves and are not counted.

use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};
use std::time::Instant;

use super::stops::{Overdue, Stop, Stops};
use super::withdrawn::Withdrawn;
use crate::slot::{Reply, SetAside, Verdict};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Thread, current, thread_local};
use crate::waiter::Waiter;

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
    pub(super) fn new(withdrawn: &'static Withdrawn) -> Self {
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
    pub(super) fn tickets(self) -> usize {
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
pub(crate) trait Inside {
    fn id(&self) -> PoolId;
    fn waits(&self) -> &Waits;
    /// Whether the time of a shutdown is over.
    fn overdue(&self) -> &Overdue;
    fn stops(&self) -> &Stops;
    /// As many workers, and others, as can be counted on to find a queued task or to bring one: waiting workers must stay below
    /// it. When it has become less, [`Waits::shrink`] is called.
    fn strength(&self) -> usize;
    /// Whether other workers are free to start all that is queued.
    fn has_free_workers(&self) -> bool;
    /// Runs a queued task on this worker, in the middle of the one that it is at, if there is one and the pool's kind allows
    /// it; says whether it did.
    fn help(&self) -> bool;
    /// Runs and accounts a task on this worker.
    fn run_nested(&self, worker: usize, body: &mut dyn FnMut(&mut Reply) -> Verdict);
}

struct Current {
    pool: Arc<dyn Inside>,
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
pub(crate) struct Badge {
    /// A task of another pool, in the middle of which the thread lends a hand.
    _outer: SetAside,
}

impl Badge {
    pub(crate) fn wear(pool: Arc<dyn Inside>, worker: usize) -> Self {
        let id = pool.id().number;
        CURRENT.with(|current| current.borrow_mut().push(Current { pool, worker }));
        LATEST.with(|latest| latest.set(id));
        Badge { _outer: SetAside::new() }
    }
}

impl Drop for Badge {
    fn drop(&mut self) {
        // Perhaps the last owner of the engine, which is somebody else's code: not dropped while it is borrowed.
        let (worn, before) = CURRENT.with(|current| {
            let mut current = current.borrow_mut();
            let last = current.pop();
            let unused = if current.is_empty() { mem::take(&mut **current) } else { Vec::new() };
            ((last, unused), current.last().map_or(OUTSIDE, |before| before.pool.id().number))
        });
        LATEST.with(|latest| latest.set(before));
        drop(worn);
    }
}

/// The engine and the number of the calling worker, if it is one of `pool`.
fn inside(pool: PoolId) -> Option<(Arc<dyn Inside>, usize)> {
    if LATEST.with(Cell::get) == OUTSIDE {
        return None;
    }
    CURRENT.with(|current| {
        let worn = current.borrow();
        worn.iter().rev().find(|c| c.pool.id() == pool).map(|c| (Arc::clone(&c.pool), c.worker))
    })
}

/// The pools that the calling thread is a worker of.
pub(super) fn pools_of_thread() -> Vec<PoolId> {
    CURRENT.try_with(|current| current.borrow().iter().map(|c| c.pool.id()).collect()).unwrap_or_default()
}

/// The pool that the calling thread works for, and its number there; of several the one whose task it is at.
pub(crate) fn innermost() -> Option<(Arc<dyn Inside>, usize)> {
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

/// The worker may not wait: it would be the last one.
#[derive(Debug)]
pub(crate) struct WouldDeadlock;

/// If the calling thread is a worker of `pool` and not too deep, runs `body` on it as a task of its own;
/// says whether it did.
pub(crate) fn run_here(pool: PoolId, body: impl FnOnce(&mut Reply) -> Verdict) -> bool {
    if DEPTH.with(Cell::get) >= MAX_DEPTH {
        return false;
    }
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let has_run = run_here_however_deep(pool, body);
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    has_run
}

/// The same at any depth, uncounted. For what is nested in the user's own code, not by the queue's chance: the depth is bounded by
/// the caller's own recursion.
pub(crate) fn run_here_however_deep(pool: PoolId, body: impl FnOnce(&mut Reply) -> Verdict) -> bool {
    let Some((engine, worker)) = inside(pool) else { return false };
    let mut body = Some(body);
    // Not the task in the middle of which this one runs.
    let _outer = SetAside::new();
    engine.run_nested(worker, &mut |reply| match body.take() {
        Some(body) => body(reply),
        None => Verdict::Elsewhere,
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
        let key = engine.stops().began(task);
        Stoppable(engine, key)
    })
}

/// See [`stoppable`].
pub(crate) struct Stoppable(Arc<dyn Inside>, u64);

impl Drop for Stoppable {
    fn drop(&mut self) {
        self.0.stops().ended(self.1);
    }
}

/// Asks leave for the calling thread to wait for something that `pool` makes. Anyone may who is not its
/// worker.
pub(crate) fn enter_wait(pool: PoolId, deadline: Option<Instant>) -> Result<Wait, WouldDeadlock> {
    enter(pool, deadline, false)
}

/// The same for a wait at the pool's door. If `has_way_out`, the worker can run the task that it holds itself, or at the worst
/// be refused: then it gives its leave up ([`Wait::is_doomed`]) to the next worker that has to wait and has no way out.
pub(crate) fn enter_wait_at_door(
    pool: PoolId,
    deadline: Option<Instant>,
    has_way_out: bool,
) -> Result<Wait, WouldDeadlock> {
    enter(pool, deadline, has_way_out)
}

fn enter(pool: PoolId, deadline: Option<Instant>, has_way_out: bool) -> Result<Wait, WouldDeadlock> {
    match inside(pool) {
        Some((engine, _)) if deadline.is_none() => {
            let leave = engine.waits().enter(|| engine.strength(), has_way_out)?;
            Ok(Wait(Some((engine, leave))))
        }
        _ => Ok(Wait(None)),
    }
}

/// Counts the calling thread as waiting for `pool`, also if it is the last one: for a wait that only its end can end, and whose
/// end depends on nothing that is still queued.
pub(crate) fn enter_wait_regardless(pool: PoolId) -> Wait {
    Wait(inside(pool).map(|(engine, _)| {
        let leave = engine.waits().enter_regardless(|| engine.strength());
        (engine, leave)
    }))
}

/// A wait that was granted; counted until dropped.
pub(crate) struct Wait(Option<(Arc<dyn Inside>, Arc<Leave>)>);

/// A worker's leave to wait.
pub(crate) struct Leave {
    thread: Thread,
    way_out: WayOut,
    doomed: AtomicBool,
    over: AtomicBool,
}

/// What a worker can do whose leave is withdrawn.
#[derive(Clone, Copy, PartialEq)]
enum WayOut {
    /// Make progress by itself.
    Own,
    /// Ask again: it may find something to run, or must give up.
    Asks,
    /// Nothing; it is not withdrawn.
    None,
}

impl Leave {
    fn new(way_out: WayOut) -> Arc<Self> {
        let (doomed, over) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Leave { thread: current(), way_out, doomed, over })
    }

    /// Withdraws it.
    fn doom(&self) {
        // ORDERING: Relaxed. The unpark orders it.
        self.doomed.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }

    /// Whether it was withdrawn.
    pub(super) fn is_doomed(&self) -> bool {
        // ORDERING: Relaxed. The unpark that follows the store orders it.
        self.doomed.load(Ordering::Relaxed)
    }

    /// What the worker waits for is there. It counts as at work from now on, and not only when it has woken up: otherwise the one
    /// who brought it could be refused a wait that this worker will end.
    pub(crate) fn end(&self) {
        // ORDERING: Relaxed. Read under the lock of `Waits`, by the same thread or by one that was granted leave after it.
        self.over.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }

    fn is_over(&self) -> bool {
        // ORDERING: Relaxed, see `end`.
        self.over.load(Ordering::Relaxed)
    }
}

impl Wait {
    /// What wakes the calling thread when its wait is over for good.
    pub(crate) fn waiter(&self) -> Waiter {
        match &self.0 {
            Some((_, leave)) => Waiter::Worker(Arc::clone(leave)),
            None => Waiter::Thread(current()),
        }
    }

    /// Whether the leave to wait was withdrawn, because the pool has shrunk or because somebody needs it more.
    pub(crate) fn is_doomed(&self) -> bool {
        self.0.as_ref().is_some_and(|(_, leave)| leave.is_doomed())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some((engine, leave)) = &self.0 {
            engine.waits().leave(leave);
        }
    }
}

/// The workers of one pool that wait for it without a deadline.
pub(crate) struct Waits {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    blocked: Vec<Arc<Leave>>,
    /// Threads that are about to bring a queued task in, which nobody else can: each is as good as a worker that does not wait.
    arriving: usize,
}

impl Waits {
    pub(crate) fn new() -> Self {
        Waits { book: Mutex::new(Book::default()) }
    }

    /// `strength` is asked under the lock: whoever lowers it calls [`shrink`](Self::shrink) after that, and finds the leave.
    pub(super) fn enter(&self, strength: impl Fn() -> usize, has_way_out: bool) -> Result<Arc<Leave>, WouldDeadlock> {
        let mut book = self.book.lock();
        let strength = strength();
        // The last one may wait if another need not; but one at the door has its own task to run first.
        if book.is_last(strength) && (has_way_out || strength < 2 || !book.send_one_away()) {
            return Err(WouldDeadlock);
        }
        Ok(book.push(if has_way_out { WayOut::Own } else { WayOut::Asks }))
    }

    fn enter_regardless(&self, strength: impl Fn() -> usize) -> Arc<Leave> {
        let mut book = self.book.lock();
        if book.is_last(strength()) {
            book.send_one_away();
        }
        book.push(WayOut::None)
    }

    pub(super) fn leave(&self, leave: &Arc<Leave>) {
        self.book.lock().blocked.retain(|other| !Arc::ptr_eq(other, leave));
    }

    /// The calling thread takes a task from where no worker finds it, to bring it in.
    pub(crate) fn arrive(&self) {
        self.book.lock().arriving += 1;
    }

    /// It has brought it in: whoever was granted leave because of it must look again.
    pub(crate) fn arrived(&self, strength: impl Fn() -> usize) {
        let mut book = self.book.lock();
        book.arriving -= 1;
        book.shrink(strength());
    }

    /// The pool has shrunk: withdraws leave until one worker is free again.
    pub(crate) fn shrink(&self, strength: impl Fn() -> usize) {
        self.book.lock().shrink(strength());
    }
}

impl Book {
    /// Workers that wait, and will for some time.
    fn waiting(&self) -> usize {
        self.blocked.iter().filter(|leave| !leave.is_over()).count()
    }

    /// Whether one more that waits would leave nobody at work.
    fn is_last(&self, strength: usize) -> bool {
        self.waiting() + 1 >= strength + self.arriving
    }

    /// Somebody else who has a way out must take it; says whether there was one.
    fn send_one_away(&mut self) -> bool {
        let one = self.blocked.iter().position(|leave| leave.way_out == WayOut::Own && !leave.is_over());
        one.map(|one| self.blocked.remove(one).doom()).is_some()
    }

    fn push(&mut self, way_out: WayOut) -> Arc<Leave> {
        let leave = Leave::new(way_out);
        self.blocked.push(Arc::clone(&leave));
        leave
    }

    fn shrink(&mut self, strength: usize) {
        while self.waiting() >= strength + self.arriving {
            match self.blocked.iter().rposition(|leave| leave.way_out != WayOut::None && !leave.is_over()) {
                Some(one) => self.blocked.remove(one).doom(),
                None => break,
            }
        }
    }
}

/// loom models of the leave to wait.
#[cfg(all(test, formicary_loom))]
mod models {
    use loom::thread;

    use super::Waits;
    use crate::engine::models::explore;
    use crate::sync::{Arc, Ordering, park};

    /// Of two workers one stands at the door, or is about to, and the other waits regardless: the first is sent away from the
    /// door or not let wait there, so one is at work in any case.
    #[test]
    fn a_wait_regardless_leaves_nobody_at_the_door() {
        explore(3, || {
            let waits = Arc::new(Waits::new());
            let other = Arc::clone(&waits);
            let at_the_door = thread::spawn(move || {
                if let Ok(leave) = other.enter(|| 2, true) {
                    while !leave.doomed.load(Ordering::Relaxed) {
                        park(None);
                    }
                }
            });
            waits.enter_regardless(|| 2);
            at_the_door.join().unwrap();
        });
    }
}
