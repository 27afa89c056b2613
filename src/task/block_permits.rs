//! Permits to wait, for workers that wait for their own pool from inside a task.
//!
//! A worker may wait only while some other thread can still make progress, so the last one is told [`WouldDeadlock`] and never falls
//! asleep. Waits with a deadline end by themselves and need no permit. When fewer threads can make progress, permits are revoked.

use std::collections::BTreeMap;
use std::task::{Wake, Waker};
use std::time::Instant;

use super::current_worker::{PoolId, inside};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Thread, current};

/// The worker may not wait: it would be the last one.
#[derive(Debug)]
pub(crate) struct WouldDeadlock;

/// Asks for a permit for the calling thread to wait for something that `pool` makes. Whoever is not its worker needs none.
pub(crate) fn enter_wait(pool: PoolId, deadline: Option<Instant>) -> Result<BlockGuard, WouldDeadlock> {
    enter(pool, deadline, false)
}

/// The same for a wait at the pool's door. If `has_fallback`, the worker can run the task that it holds itself, or at the worst
/// be refused: then its permit is revoked ([`BlockGuard::is_revoked`]) for the next worker that has to wait and has no way out.
pub(crate) fn enter_wait_for_room(
    pool: PoolId,
    deadline: Option<Instant>,
    has_fallback: bool,
) -> Result<BlockGuard, WouldDeadlock> {
    enter(pool, deadline, has_fallback)
}

fn enter(pool: PoolId, deadline: Option<Instant>, has_fallback: bool) -> Result<BlockGuard, WouldDeadlock> {
    match inside(pool) {
        Some((engine, _)) if deadline.is_none() => {
            let permit = engine.block_permits().enter(|| engine.progress_capacity(), has_fallback)?;
            Ok(BlockGuard(Some(permit)))
        }
        _ => Ok(BlockGuard(None)),
    }
}

/// Counts the calling thread as waiting for `pool`, also if it is the last one: for a wait that only its end can end, and whose
/// end depends on nothing that is still queued.
pub(crate) fn enter_wait_regardless(pool: PoolId) -> BlockGuard {
    BlockGuard(inside(pool).map(|(engine, _)| engine.block_permits().enter_regardless(|| engine.progress_capacity())))
}

/// A wait that was granted; counted until dropped.
pub(crate) struct BlockGuard(Option<Arc<BlockPermit>>);

impl BlockGuard {
    /// What wakes the calling thread when its wait is over for good.
    pub(crate) fn waiter(&self) -> Waiter {
        match &self.0 {
            Some(permit) => Waiter::Worker(Waker::from(Arc::clone(permit))),
            None => Waiter::Thread(current()),
        }
    }

    /// Whether the permit was revoked, because the pool has shrunk or because somebody needs it more.
    pub(crate) fn is_revoked(&self) -> bool {
        self.0.as_ref().is_some_and(|permit| permit.is_revoked())
    }
}

impl Drop for BlockGuard {
    fn drop(&mut self) {
        if let Some(permit) = &self.0 {
            permit.give_back();
        }
    }
}

/// What a worker can do when its permit is revoked.
#[derive(Clone, Copy, PartialEq)]
enum Fallback {
    /// Make progress by itself.
    Own,
    /// Ask again: it may find something to run, or must give up.
    AskAgain,
    /// Nothing; the permit is not revoked.
    None,
}

/// A worker's permit to wait.
pub(crate) struct BlockPermit {
    thread: Thread,
    fallback: Fallback,
    /// Its place among the permits of the pool; used once.
    ticket: u64,
    permits: Arc<Mutex<Permits>>,
    /// Whether it still counts. Changed under the lock; once false it stays so.
    counts: AtomicBool,
    is_revoked: AtomicBool,
}

impl BlockPermit {
    /// What the worker waits for is there. It counts as at work from now on, and not only when it has woken up: otherwise the one
    /// who brought it could be refused a wait that this worker will end. Takes the lock of the pool's permits.
    pub(crate) fn end(&self) {
        self.give_back();
        self.thread.unpark();
    }

    /// It does not count any more.
    pub(crate) fn give_back(&self) {
        // ORDERING: Relaxed. Who finds it false has nothing to do: whoever has made it so has taken the permit off the books.
        if self.counts.load(Ordering::Relaxed) {
            self.permits.lock().remove(self);
        }
    }

    /// Tells the worker, whose permit was taken off the books.
    fn revoke(&self) {
        // ORDERING: Relaxed. The unpark orders it.
        self.is_revoked.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }

    pub(crate) fn is_revoked(&self) -> bool {
        // ORDERING: Relaxed. The unpark that follows the store orders it.
        self.is_revoked.load(Ordering::Relaxed)
    }
}

impl Wake for BlockPermit {
    fn wake(self: Arc<Self>) {
        self.end();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.end();
    }
}

/// The workers of one pool that wait for it without a deadline.
pub(crate) struct BlockPermits(Arc<Mutex<Permits>>);

/// The permits that count. Each comes and goes in logarithmic time: there are as many as there are workers that wait.
#[derive(Default)]
struct Permits {
    next_ticket: u64,
    /// Those with [`Fallback::Own`], by ticket and so in the order in which they were granted.
    with_fallback: BTreeMap<u64, Arc<BlockPermit>>,
    /// The same for [`Fallback::AskAgain`].
    asking_again: BTreeMap<u64, Arc<BlockPermit>>,
    /// How many there are with [`Fallback::None`].
    irrevocable: usize,
    /// Threads that are about to bring a queued task in, which nobody else can: each is as good as a worker that does not wait.
    inflight: usize,
}

impl BlockPermits {
    pub(crate) fn new() -> Self {
        BlockPermits(Arc::new(Mutex::new(Permits::default())))
    }

    /// `capacity` is asked under the lock: whoever lowers it calls [`shrink`](Self::shrink) after that, and finds the permit.
    pub(crate) fn enter(
        &self,
        capacity: impl Fn() -> usize,
        has_fallback: bool,
    ) -> Result<Arc<BlockPermit>, WouldDeadlock> {
        let mut permits = self.0.lock();
        let capacity = capacity();
        // The last one may wait if another need not; but one at the door has its own task to run first.
        if permits.is_last(capacity) && (has_fallback || capacity < 2 || !permits.evict_one()) {
            return Err(WouldDeadlock);
        }
        Ok(self.grant(&mut permits, if has_fallback { Fallback::Own } else { Fallback::AskAgain }))
    }

    pub(crate) fn enter_regardless(&self, capacity: impl Fn() -> usize) -> Arc<BlockPermit> {
        let mut permits = self.0.lock();
        if permits.is_last(capacity()) {
            permits.evict_one();
        }
        self.grant(&mut permits, Fallback::None)
    }

    fn grant(&self, permits: &mut Permits, fallback: Fallback) -> Arc<BlockPermit> {
        let permit = Arc::new(BlockPermit {
            thread: current(),
            fallback,
            ticket: permits.next_ticket,
            permits: Arc::clone(&self.0),
            counts: AtomicBool::new(true),
            is_revoked: AtomicBool::new(false),
        });
        permits.next_ticket += 1;
        permits.insert(&permit);
        permit
    }

    /// The calling thread takes a task from where no worker finds it, to bring it in.
    pub(crate) fn begin_inflight(&self) {
        self.0.lock().inflight += 1;
    }

    /// It has brought it in: whoever was granted a permit because of it must look again.
    pub(crate) fn end_inflight(&self, capacity: impl Fn() -> usize) {
        let mut permits = self.0.lock();
        permits.inflight -= 1;
        permits.shrink(capacity());
    }

    /// The pool has shrunk: revokes permits until one worker is free again.
    pub(crate) fn shrink(&self, capacity: impl Fn() -> usize) {
        self.0.lock().shrink(capacity());
    }
}

impl Permits {
    /// How many workers wait, and will for some time.
    fn waiting(&self) -> usize {
        self.with_fallback.len() + self.asking_again.len() + self.irrevocable
    }

    /// Whether one more that waits would leave nobody at work.
    fn is_last(&self, capacity: usize) -> bool {
        self.waiting() + 1 >= capacity + self.inflight
    }

    fn insert(&mut self, permit: &Arc<BlockPermit>) {
        match permit.fallback {
            Fallback::Own => _ = self.with_fallback.insert(permit.ticket, Arc::clone(permit)),
            Fallback::AskAgain => _ = self.asking_again.insert(permit.ticket, Arc::clone(permit)),
            Fallback::None => self.irrevocable += 1,
        }
    }

    fn remove(&mut self, permit: &BlockPermit) {
        // ORDERING: Relaxed, under the lock.
        if !permit.counts.load(Ordering::Relaxed) {
            return;
        }
        permit.counts.store(false, Ordering::Relaxed);
        match permit.fallback {
            Fallback::Own => _ = self.with_fallback.remove(&permit.ticket),
            Fallback::AskAgain => _ = self.asking_again.remove(&permit.ticket),
            Fallback::None => self.irrevocable -= 1,
        }
    }

    fn revoke(&mut self, permit: Option<Arc<BlockPermit>>) -> bool {
        permit.inspect(|permit| self.remove(permit)).map(|permit| permit.revoke()).is_some()
    }

    /// The worker that has waited longest of those with a way out must take that; says whether there was one.
    fn evict_one(&mut self) -> bool {
        let oldest = self.with_fallback.first_key_value().map(|(_, permit)| Arc::clone(permit));
        self.revoke(oldest)
    }

    fn shrink(&mut self, capacity: usize) {
        while self.waiting() >= capacity + self.inflight {
            let newest = [&self.with_fallback, &self.asking_again].into_iter().filter_map(BTreeMap::last_key_value);
            let newest = newest.max_by_key(|(ticket, _)| **ticket).map(|(_, permit)| Arc::clone(permit));
            if !self.revoke(newest) {
                break;
            }
        }
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// So many that a walk along the list for each of them would take minutes.
    const MANY: usize = 200_000;

    /// D15: workers that wait come and go without a walk along those that wait, whatever ends their waits.
    #[test]
    fn d15_a_wait_for_the_own_pool_costs_the_same_however_many_wait() {
        let begun = Instant::now();
        let waiting = BlockPermits::new();
        let stay: Vec<_> = (0..MANY).filter_map(|n| waiting.enter(|| usize::MAX, n % 2 == 0).ok()).collect();
        // From the middle, for an answer and without one.
        for permit in &stay[MANY / 4..MANY / 2] {
            permit.end();
            permit.give_back();
        }
        stay[MANY / 2..MANY * 3 / 4].iter().for_each(|permit| permit.give_back());
        assert_eq!(waiting.0.lock().waiting(), MANY / 2);
        // The newest are sent away first, and one for each that waits regardless: the oldest that can go.
        let regardless: Vec<_> = (0..MANY / 8).map(|_| waiting.enter_regardless(|| MANY / 2 + 1)).collect();
        assert!(stay[..MANY / 4].iter().all(|permit| permit.is_revoked() == (permit.fallback == Fallback::Own)));
        waiting.shrink(|| MANY / 4 + 1);
        assert!(stay[MANY * 3 / 4..].iter().all(|permit| permit.is_revoked()));
        assert!(regardless.iter().all(|permit| !permit.is_revoked()));
        assert_eq!(waiting.0.lock().waiting(), MANY / 4);
        stay.iter().chain(&regardless).for_each(|permit| permit.give_back());
        assert_eq!(waiting.0.lock().waiting(), 0);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
