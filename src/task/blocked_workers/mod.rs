//! The workers that block on their own pool inside a task.
//!
//! A worker may block only while some other thread can still make progress, so blocked workers are counted. The last one gets
//! [`WouldDeadlock`] instead. A wait with a deadline ends by itself and is not counted. When fewer threads can make progress, blocked
//! workers are evicted: they count as active again and must stop waiting.
//!
//! A worker counts as blocked for a moment longer than it is: from its wake-up, or from the end of what it waits for, until it has noticed. So a
//! refusal is certain only after all have looked again (`recheck.rs`). Therefore a worker keeps its [`BlockGuard`] until it has found something,
//! and parks by [`BlockGuard::park`] only.

mod recheck;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::task::{Wake, Waker};
use std::time::Instant;

use super::current_worker::{CurrentPool, PoolId, inside};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Thread, current};

pub(crate) use recheck::recheck;

/// The worker must not block, because no other thread could make progress.
#[derive(Debug)]
pub(crate) struct WouldDeadlock;

/// Counts the calling thread as blocked on work of `pool`, if it is a worker of `pool`.
pub(crate) fn enter_wait(pool: PoolId, deadline: Option<Instant>) -> Result<BlockGuard, WouldDeadlock> {
    enter(pool, deadline, false)
}

/// The same for a wait for room in the pool's queue. If `has_fallback`, the worker can run its own task instead of submitting it, or at
/// worst be refused. Then it is evicted ([`BlockGuard::is_evicted`]) in favour of the next worker that must wait and has no fallback.
pub(crate) fn enter_wait_for_room(
    pool: PoolId,
    deadline: Option<Instant>,
    has_fallback: bool,
) -> Result<BlockGuard, WouldDeadlock> {
    enter(pool, deadline, has_fallback)
}

fn enter(pool: PoolId, deadline: Option<Instant>, has_fallback: bool) -> Result<BlockGuard, WouldDeadlock> {
    let Some((engine, number)) = inside(pool) else { return Ok(BlockGuard::default()) };
    let counted = CountedWait::begin(&engine);
    let worker = match deadline {
        Some(_) => None,
        None => Some(engine.blocked_workers().enter(number, || engine.progress_capacity(), has_fallback)?),
    };
    Ok(BlockGuard { worker, looked: Cell::new(0), _counted: counted })
}

/// Counts the calling thread as blocked on `pool` even if it is the last worker. It is for a wait whose end does not depend on a task
/// that is still queued. Where it is the last one, another one asks again whether it may block.
pub(crate) fn enter_wait_regardless(pool: PoolId) -> BlockGuard {
    let Some((engine, number)) = inside(pool) else { return BlockGuard::default() };
    let counted = CountedWait::begin(&engine);
    let worker = engine.blocked_workers().enter_regardless(number, || engine.progress_capacity());
    BlockGuard { worker: Some(worker), looked: Cell::new(0), _counted: counted }
}

/// A wait that its engine may count, to start workers that it has put off.
#[derive(Default)]
struct CountedWait(Option<Arc<dyn CurrentPool>>);

impl CountedWait {
    /// Before the worker counts as blocked: a woken future may be polled at once, on this thread, and a spawn handler may be called.
    fn begin(engine: &Arc<dyn CurrentPool>) -> Self {
        engine.notify_pending_polls();
        CountedWait(engine.begin_wait().then(|| Arc::clone(engine)))
    }
}

impl Drop for CountedWait {
    fn drop(&mut self) {
        if let Some(engine) = &self.0 {
            engine.end_wait();
        }
    }
}

/// The calling thread may block. If it is a worker of the pool, it counts as blocked until this is dropped.
#[derive(Default)]
pub(crate) struct BlockGuard {
    worker: Option<Arc<BlockedWorker>>,
    /// The newest round ([`Inner::rounds`]) in which the worker was asked before its last look.
    looked: Cell<u64>,
    _counted: CountedWait,
}

impl BlockGuard {
    #[cfg(all(test, formicary_loom))]
    pub(crate) fn of(worker: Arc<BlockedWorker>) -> Self {
        BlockGuard { worker: Some(worker), looked: Cell::new(0), _counted: CountedWait::default() }
    }

    /// The waiter to register for what the calling thread waits for.
    pub(crate) fn waiter(&self) -> Waiter {
        match &self.worker {
            Some(worker) => Waiter::Worker(Waker::from(Arc::clone(worker))),
            None => Waiter::Thread(current()),
        }
    }

    /// Whether the worker must stop waiting, because the pool has shrunk or because another worker has no fallback, or because its waiter was
    /// woken. If it has to wait on, it asks again.
    pub(crate) fn is_evicted(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.is_evicted())
    }
}

impl Drop for BlockGuard {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.leave();
        }
    }
}

/// What a worker does when it is evicted.
#[derive(Clone, Copy, PartialEq)]
enum Fallback {
    /// It makes progress by itself.
    Own,
    /// It asks again: it may find a task to run, or must give up.
    AskAgain,
    /// Nothing. It cannot be evicted.
    None,
}

/// A blocked worker.
pub(crate) struct BlockedWorker {
    /// The number of the worker.
    number: usize,
    thread: Thread,
    fallback: Fallback,
    /// Its key among the blocked workers of the pool. It is never reused.
    ticket: u64,
    pool: Arc<Mutex<Inner>>,
    /// Whether the worker counts as blocked. It is changed under the lock, and stays false once it is.
    is_counted: AtomicBool,
    /// It must stop waiting, as it does not count as blocked any more.
    is_evicted: AtomicBool,
    /// The last round ([`Inner::rounds`]) in which it was asked whether it still waits, and the last in which it has confirmed that. They are
    /// changed under the lock.
    asked: AtomicU64,
    confirmed: AtomicU64,
}

impl BlockedWorker {
    /// Ends the wait, because what the worker waits for is there. The worker counts as active from now on, not only when it has woken up:
    /// otherwise the thread that ends the wait could be refused a wait that this worker will end. Takes the lock of the pool's blocked
    /// workers.
    pub(crate) fn end(&self) {
        // ORDERING: Relaxed. The unpark publishes it.
        self.is_evicted.store(true, Ordering::Relaxed);
        self.leave_because(true);
        self.thread.unpark();
    }

    /// Stops counting the worker as blocked.
    pub(crate) fn leave(&self) {
        self.leave_because(false);
    }

    fn leave_because(&self, has_ended: bool) {
        // ORDERING: Relaxed. A thread that reads false has nothing to do: the thread that stored it has removed the worker.
        if self.is_counted.load(Ordering::Relaxed) {
            let mut inner = self.pool.lock();
            inner.remove(self);
            inner.ended += u64::from(has_ended);
        }
    }

    /// Tells the worker, which is no longer counted, to stop waiting.
    fn stop_waiting(&self) {
        // ORDERING: Relaxed. The unpark publishes it.
        self.is_evicted.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }

    pub(crate) fn is_evicted(&self) -> bool {
        // ORDERING: Relaxed. The unpark after the store publishes it.
        self.is_evicted.load(Ordering::Relaxed)
    }
}

impl Wake for BlockedWorker {
    fn wake(self: Arc<Self>) {
        self.end();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.end();
    }
}

/// The workers of one pool that wait for it without a deadline.
pub(crate) struct BlockedWorkers(Arc<Mutex<Inner>>);

/// The workers that count as blocked. Adding and removing one takes logarithmic time in their number.
#[derive(Default)]
struct Inner {
    next_ticket: u64,
    /// Those with [`Fallback::Own`] by ticket, which is the order in which they began to wait.
    with_fallback: BTreeMap<u64, Arc<BlockedWorker>>,
    /// The same for [`Fallback::AskAgain`].
    asking_again: BTreeMap<u64, Arc<BlockedWorker>>,
    /// The same for [`Fallback::None`].
    without_fallback: BTreeMap<u64, Arc<BlockedWorker>>,
    /// How many waits another thread has ended.
    ended: u64,
    /// How often all were asked whether they still wait.
    rounds: u64,
    /// Threads that are about to queue a task that no other thread can. Each counts as one more worker that does not block.
    inflight: usize,
}

impl BlockedWorkers {
    pub(crate) fn new() -> Self {
        BlockedWorkers(Arc::new(Mutex::new(Inner::default())))
    }

    /// Counts the calling worker as blocked, unless it is the last one that could make progress. `capacity` is called under the lock: a
    /// thread that lowers it calls [`shrink`](Self::shrink) afterwards, and then finds the worker.
    pub(crate) fn enter(
        &self,
        number: usize,
        capacity: impl Fn() -> usize,
        has_fallback: bool,
    ) -> Result<Arc<BlockedWorker>, WouldDeadlock> {
        let mut inner = self.0.lock();
        let capacity = capacity();
        // The last worker may block if another one with a fallback stops waiting. With a fallback of its own, it uses that first.
        if inner.is_last(capacity) && (has_fallback || capacity < 2 || !inner.evict_one()) {
            return Err(WouldDeadlock);
        }
        Ok(self.add(&mut inner, number, if has_fallback { Fallback::Own } else { Fallback::AskAgain }))
    }

    /// The same for a worker that blocks even if it is the last one. It is never evicted. Another one may wait for what this one will do: it asks
    /// again, and is refused.
    pub(crate) fn enter_regardless(&self, number: usize, capacity: impl Fn() -> usize) -> Arc<BlockedWorker> {
        let mut inner = self.0.lock();
        if inner.is_last(capacity()) && !inner.evict_one() {
            inner.evict_newest();
        }
        self.add(&mut inner, number, Fallback::None)
    }

    fn add(&self, inner: &mut Inner, number: usize, fallback: Fallback) -> Arc<BlockedWorker> {
        let worker = Arc::new(BlockedWorker {
            number,
            thread: current(),
            fallback,
            ticket: inner.next_ticket,
            pool: Arc::clone(&self.0),
            is_counted: AtomicBool::new(true),
            is_evicted: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
        });
        inner.next_ticket += 1;
        inner.insert(&worker);
        worker
    }

    /// Announces that the calling thread takes a task from where no worker finds it, and will queue it.
    pub(crate) fn begin_inflight(&self) {
        self.0.lock().inflight += 1;
    }

    /// Ends what `begin_inflight` began. A worker that blocks because of it must check again.
    pub(crate) fn end_inflight(&self, capacity: impl Fn() -> usize) {
        let mut inner = self.0.lock();
        inner.inflight -= 1;
        inner.shrink(capacity());
    }

    /// Counts a worker as blocked no more, because the pool does without it. It waits on. Takes time in proportion to the blocked workers.
    pub(crate) fn forget(&self, number: usize) {
        let mut inner = self.0.lock();
        let all = inner.with_fallback.values().chain(inner.asking_again.values());
        let its: Vec<_> = all.filter(|worker| worker.number == number).cloned().collect();
        its.iter().for_each(|worker| inner.remove(worker));
        drop(inner);
    }

    /// Evicts blocked workers until one thread can make progress again, after the capacity has become less.
    pub(crate) fn shrink(&self, capacity: impl Fn() -> usize) {
        self.0.lock().shrink(capacity());
    }
}

impl Inner {
    /// The number of workers that are blocked.
    fn blocked(&self) -> usize {
        self.with_fallback.len() + self.asking_again.len() + self.without_fallback.len()
    }

    fn list(&mut self, fallback: Fallback) -> &mut BTreeMap<u64, Arc<BlockedWorker>> {
        match fallback {
            Fallback::Own => &mut self.with_fallback,
            Fallback::AskAgain => &mut self.asking_again,
            Fallback::None => &mut self.without_fallback,
        }
    }

    /// Whether no thread could make progress if one more worker blocked.
    fn is_last(&self, capacity: usize) -> bool {
        self.blocked() + 1 >= capacity + self.inflight
    }

    fn insert(&mut self, worker: &Arc<BlockedWorker>) {
        self.list(worker.fallback).insert(worker.ticket, Arc::clone(worker));
    }

    fn remove(&mut self, worker: &BlockedWorker) {
        // ORDERING: Relaxed. The lock orders both accesses.
        if !worker.is_counted.load(Ordering::Relaxed) {
            return;
        }
        worker.is_counted.store(false, Ordering::Relaxed);
        self.list(worker.fallback).remove(&worker.ticket);
    }

    /// Evicts this worker. Returns whether there was one.
    fn evict(&mut self, worker: Option<Arc<BlockedWorker>>) -> bool {
        worker.inspect(|worker| self.remove(worker)).map(|worker| worker.stop_waiting()).is_some()
    }

    /// Evicts the worker with a fallback of its own that has waited longest. Returns whether there was one.
    fn evict_one(&mut self) -> bool {
        let oldest = self.with_fallback.first_key_value().map(|(_, worker)| Arc::clone(worker));
        self.evict(oldest)
    }

    /// Evicts the worker with any fallback that has begun to wait last. Returns whether there was one.
    fn evict_newest(&mut self) -> bool {
        let newest = [&self.with_fallback, &self.asking_again].into_iter().filter_map(BTreeMap::last_key_value);
        let newest = newest.max_by_key(|(ticket, _)| **ticket).map(|(_, worker)| Arc::clone(worker));
        self.evict(newest)
    }

    fn shrink(&mut self, capacity: usize) {
        while self.blocked() >= capacity + self.inflight && self.evict_newest() {}
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// So many that a linear search for each would take minutes.
    const MANY: usize = 200_000;

    /// D15: workers begin and end waits without a linear search, whatever ends the wait.
    #[test]
    fn d15_a_wait_for_the_own_pool_costs_the_same_however_many_wait() {
        let begun = Instant::now();
        let blocked = BlockedWorkers::new();
        let stay: Vec<_> = (0..MANY).filter_map(|n| blocked.enter(n, || usize::MAX, n % 2 == 0).ok()).collect();
        // From the middle: because the wait has ended, and before that.
        for worker in &stay[MANY / 4..MANY / 2] {
            worker.end();
            worker.leave();
        }
        stay[MANY / 2..MANY * 3 / 4].iter().for_each(|worker| worker.leave());
        assert_eq!(blocked.0.lock().blocked(), MANY / 2);
        // `shrink` evicts the newest first. Each regardless wait evicts the oldest with a fallback.
        let regardless: Vec<_> = (0..MANY / 8).map(|n| blocked.enter_regardless(n, || MANY / 2 + 1)).collect();
        assert!(stay[..MANY / 4].iter().all(|worker| worker.is_evicted() == (worker.fallback == Fallback::Own)));
        blocked.shrink(|| MANY / 4 + 1);
        assert!(stay[MANY * 3 / 4..].iter().all(|worker| worker.is_evicted()));
        assert!(regardless.iter().all(|worker| !worker.is_evicted()));
        assert_eq!(blocked.0.lock().blocked(), MANY / 4);
        stay.iter().chain(&regardless).for_each(|worker| worker.leave());
        assert_eq!(blocked.0.lock().blocked(), 0);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
