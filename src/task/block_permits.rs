//! Permits to block, for workers that wait for their own pool inside a task.
//!
//! A worker may block only while some other thread can still make progress. The last one gets [`WouldDeadlock`] instead of a permit.
//! A wait with a deadline ends by itself and needs no permit. When fewer threads can make progress, permits are revoked.

use std::collections::BTreeMap;
use std::task::{Wake, Waker};
use std::time::Instant;

use super::current_worker::{PoolId, inside};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Thread, current};

/// The worker must not block, because no other thread could make progress.
#[derive(Debug)]
pub(crate) struct WouldDeadlock;

/// Gets a permit for the calling thread to wait for work of `pool`. A thread that is not a worker of `pool` needs none.
pub(crate) fn enter_wait(pool: PoolId, deadline: Option<Instant>) -> Result<BlockGuard, WouldDeadlock> {
    enter(pool, deadline, false)
}

/// The same for a wait for room in the pool's queue. If `has_fallback`, the worker can run its own task instead of submitting it, or at
/// worst be refused. Then the permit is revoked ([`BlockGuard::is_revoked`]) for the next worker that must wait and has no fallback.
pub(crate) fn enter_wait_for_room(
    pool: PoolId,
    deadline: Option<Instant>,
    has_fallback: bool,
) -> Result<BlockGuard, WouldDeadlock> {
    enter(pool, deadline, has_fallback)
}

fn enter(pool: PoolId, deadline: Option<Instant>, has_fallback: bool) -> Result<BlockGuard, WouldDeadlock> {
    let Some((engine, _)) = inside(pool) else { return Ok(BlockGuard(None)) };
    // Before it counts as waiting: a woken future may be polled at once, on this thread.
    engine.notify_pending_polls();
    if deadline.is_some() {
        return Ok(BlockGuard(None));
    }
    let permit = engine.block_permits().enter(|| engine.progress_capacity(), has_fallback)?;
    Ok(BlockGuard(Some(permit)))
}

/// Counts the calling thread as waiting for `pool` even if it is the last one. It is for a wait whose end does not depend on a task that
/// is still queued.
pub(crate) fn enter_wait_regardless(pool: PoolId) -> BlockGuard {
    BlockGuard(inside(pool).map(|(engine, _)| {
        engine.notify_pending_polls();
        engine.block_permits().enter_regardless(|| engine.progress_capacity())
    }))
}

/// A granted wait. It is counted until this is dropped.
pub(crate) struct BlockGuard(Option<Arc<BlockPermit>>);

impl BlockGuard {
    /// The waiter to register for what the calling thread waits for.
    pub(crate) fn waiter(&self) -> Waiter {
        match &self.0 {
            Some(permit) => Waiter::Worker(Waker::from(Arc::clone(permit))),
            None => Waiter::Thread(current()),
        }
    }

    /// Whether the permit was revoked, because the pool has shrunk or because another worker needs it more.
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

/// What a worker does when its permit is revoked.
#[derive(Clone, Copy, PartialEq)]
enum Fallback {
    /// It makes progress by itself.
    Own,
    /// It asks again: it may find a task to run, or must give up.
    AskAgain,
    /// Nothing. The permit cannot be revoked.
    None,
}

/// A worker's permit to block.
pub(crate) struct BlockPermit {
    thread: Thread,
    fallback: Fallback,
    /// Its key among the permits of the pool. It is never reused.
    ticket: u64,
    permits: Arc<Mutex<Permits>>,
    /// Whether the permit counts. It is changed under the lock, and stays false once it is.
    counts: AtomicBool,
    is_revoked: AtomicBool,
}

impl BlockPermit {
    /// Ends the wait, because what the worker waits for is there. The worker counts as active from now on, not only when it has woken up:
    /// otherwise the thread that ends the wait could be refused a wait that this worker will end. Takes the lock of the pool's permits.
    pub(crate) fn end(&self) {
        self.give_back();
        self.thread.unpark();
    }

    /// Stops counting the permit.
    pub(crate) fn give_back(&self) {
        // ORDERING: Relaxed. A thread that reads false has nothing to do: the thread that stored it has removed the permit.
        if self.counts.load(Ordering::Relaxed) {
            self.permits.lock().remove(self);
        }
    }

    /// Tells the worker that its permit was removed.
    fn revoke(&self) {
        // ORDERING: Relaxed. The unpark publishes it.
        self.is_revoked.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }

    pub(crate) fn is_revoked(&self) -> bool {
        // ORDERING: Relaxed. The unpark after the store publishes it.
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

/// The permits that count. Adding and removing one takes logarithmic time in the number of waiting workers.
#[derive(Default)]
struct Permits {
    next_ticket: u64,
    /// Those with [`Fallback::Own`] by ticket, which is the order in which they were granted.
    with_fallback: BTreeMap<u64, Arc<BlockPermit>>,
    /// The same for [`Fallback::AskAgain`].
    asking_again: BTreeMap<u64, Arc<BlockPermit>>,
    /// The number of those with [`Fallback::None`].
    irrevocable: usize,
    /// Threads that are about to queue a task that no other thread can. Each counts as one more worker that does not wait.
    inflight: usize,
}

impl BlockPermits {
    pub(crate) fn new() -> Self {
        BlockPermits(Arc::new(Mutex::new(Permits::default())))
    }

    /// Grants a permit. `capacity` is called under the lock: a thread that lowers it calls [`shrink`](Self::shrink) afterwards, and then
    /// finds the permit.
    pub(crate) fn enter(
        &self,
        capacity: impl Fn() -> usize,
        has_fallback: bool,
    ) -> Result<Arc<BlockPermit>, WouldDeadlock> {
        let mut permits = self.0.lock();
        let capacity = capacity();
        // The last worker may wait if another one with a fallback stops waiting. With a fallback of its own, it uses that first.
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

    /// Announces that the calling thread takes a task from where no worker finds it, and will queue it.
    pub(crate) fn begin_inflight(&self) {
        self.0.lock().inflight += 1;
    }

    /// Ends what `begin_inflight` began. A worker that got a permit because of it must check again.
    pub(crate) fn end_inflight(&self, capacity: impl Fn() -> usize) {
        let mut permits = self.0.lock();
        permits.inflight -= 1;
        permits.shrink(capacity());
    }

    /// Revokes permits until one worker is free again, after the capacity has become less.
    pub(crate) fn shrink(&self, capacity: impl Fn() -> usize) {
        self.0.lock().shrink(capacity());
    }
}

impl Permits {
    /// The number of workers that wait.
    fn waiting(&self) -> usize {
        self.with_fallback.len() + self.asking_again.len() + self.irrevocable
    }

    /// Whether no thread could make progress if one more worker waited.
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
        // ORDERING: Relaxed. The lock orders both accesses.
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

    /// Makes the worker with a fallback that has waited longest take it. Returns whether there was one.
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

    /// So many that a linear search for each would take minutes.
    const MANY: usize = 200_000;

    /// D15: workers begin and end waits without a linear search, whatever ends the wait.
    #[test]
    fn d15_a_wait_for_the_own_pool_costs_the_same_however_many_wait() {
        let begun = Instant::now();
        let waiting = BlockPermits::new();
        let stay: Vec<_> = (0..MANY).filter_map(|n| waiting.enter(|| usize::MAX, n % 2 == 0).ok()).collect();
        // From the middle: with an answer, and without one.
        for permit in &stay[MANY / 4..MANY / 2] {
            permit.end();
            permit.give_back();
        }
        stay[MANY / 2..MANY * 3 / 4].iter().for_each(|permit| permit.give_back());
        assert_eq!(waiting.0.lock().waiting(), MANY / 2);
        // `shrink` revokes the newest first. Each regardless wait revokes the oldest that can be revoked.
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
