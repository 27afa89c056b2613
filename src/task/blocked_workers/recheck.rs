//! Whether the other workers are really blocked, before the last one is refused its wait.
//!
//! The last one asks all that count as blocked. Each is woken, looks for what it waits for, and then either leaves, or confirms that it waits
//! on: in place, or by a new wait. If nothing else has happened meanwhile, no worker can make progress. This is only done instead of a
//! refusal, so it may take as long as a thread takes to wake up.

use super::{BlockGuard, BlockedWorker, BlockedWorkers, Inner, PoolId, inside};
use crate::sync::{Arc, Ordering, yield_now};

/// For the last worker of `pool`, which was refused a wait, has checked what it waits for, and has nothing to run. Returns whether it may
/// ask again, because another worker makes progress, or has made some since the call.
pub(crate) fn recheck(pool: PoolId) -> bool {
    inside(pool).is_some_and(|(engine, _)| engine.blocked_workers().recheck(|| engine.progress_capacity()))
}

impl BlockedWorkers {
    /// See [`recheck`].
    pub(crate) fn recheck(&self, capacity: impl Fn() -> usize) -> bool {
        let round = self.0.lock().ask();
        loop {
            yield_now();
            let inner = self.0.lock();
            if !inner.is_last(capacity()) || round.has_moved(&inner) {
                return true;
            }
            if round.is_complete() {
                return false;
            }
        }
    }
}

/// The workers that were asked, and what was counted then.
struct Round {
    number: u64,
    asked: Vec<Arc<BlockedWorker>>,
    next_ticket: u64,
    ended: u64,
}

impl Inner {
    /// Asks all workers that count as blocked, but those that make progress by themselves when they are evicted.
    fn ask(&mut self) -> Round {
        let asked: Vec<_> = self.asking_again.values().chain(self.without_fallback.values()).cloned().collect();
        self.rounds += 1;
        for worker in &asked {
            // ORDERING: Relaxed. The unpark publishes it.
            worker.asked.store(self.rounds, Ordering::Relaxed);
            worker.thread.unpark();
        }
        Round { number: self.rounds, asked, next_ticket: self.next_ticket, ended: self.ended }
    }
}

impl Round {
    /// Whether a wait has ended since, or a worker has begun one that was not blocked. One that was asked may begin one new wait.
    ///
    /// It does not see a worker that was asked, left for good, ended what another one waits for whose waker is a bare thread, and blocks again, if
    /// that other one had looked before and has not run since.
    fn has_moved(&self, inner: &Inner) -> bool {
        let left = self.asked.iter().filter(|worker| !worker.is_counted());
        inner.ended != self.ended || inner.next_ticket - self.next_ticket > left.count() as u64
    }

    /// Whether all that were asked have left or have confirmed. Called under the lock.
    fn is_complete(&self) -> bool {
        // ORDERING: Relaxed, under the lock.
        let has_confirmed = |worker: &BlockedWorker| worker.confirmed.load(Ordering::Relaxed) >= self.number;
        self.asked.iter().all(|worker| !worker.is_counted() || has_confirmed(worker))
    }
}

impl BlockedWorker {
    fn is_counted(&self) -> bool {
        // ORDERING: Relaxed, under the lock.
        self.is_counted.load(Ordering::Relaxed)
    }

    /// The worker is about to look for what it waits for. Returns the newest round in which it was asked to.
    pub(crate) fn look(&self) -> u64 {
        // ORDERING: Relaxed. A thread that asks after this load unparks this one afterwards, so this one looks once more.
        self.asked.load(Ordering::Relaxed)
    }

    /// The worker has looked since [`look`](Self::look), in vain, and is about to park.
    pub(crate) fn confirm(&self, round: u64) {
        // ORDERING: Relaxed. Only this thread stores it, and the lock orders the store before the asking thread's load.
        if self.confirmed.load(Ordering::Relaxed) < round {
            let _inner = self.pool.lock();
            self.confirmed.store(round, Ordering::Relaxed);
        }
    }
}

impl BlockGuard {
    /// See [`BlockedWorker::look`].
    pub(crate) fn look(&self) -> u64 {
        self.worker.as_ref().map_or(0, |worker| worker.look())
    }

    /// See [`BlockedWorker::confirm`].
    pub(crate) fn confirm(&self, round: u64) {
        self.worker.iter().for_each(|worker| worker.confirm(round));
    }
}
