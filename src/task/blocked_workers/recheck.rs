//! Whether the other workers are really blocked, before the last one is refused its wait.
//!
//! The last one asks all that count as blocked. Each is woken, looks for what it waits for, and then either leaves, or confirms that it waits
//! on. It leaves only if it has found something, so a worker that asks is answered in bounded time, also where another one asks at the same
//! time. If all have confirmed, and nothing else has happened meanwhile, no worker can make progress. This is only done instead of a refusal, so
//! it may take as long as a thread takes to wake up.

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
    /// Whether a worker has ended a wait since, or has begun one.
    fn has_moved(&self, inner: &Inner) -> bool {
        let has_left = || self.asked.iter().any(|worker| !worker.is_counted());
        inner.ended != self.ended || inner.next_ticket != self.next_ticket || has_left()
    }

    /// Whether all that were asked have confirmed. Called under the lock.
    fn is_complete(&self) -> bool {
        // ORDERING: Relaxed, under the lock.
        self.asked.iter().all(|worker| worker.confirmed.load(Ordering::Relaxed) >= self.number)
    }
}

impl BlockedWorker {
    fn is_counted(&self) -> bool {
        // ORDERING: Relaxed, under the lock.
        self.is_counted.load(Ordering::Relaxed)
    }

    /// The newest round in which the worker was asked to look.
    fn asked(&self) -> u64 {
        // ORDERING: Relaxed. A thread that asks after this load unparks this one afterwards, so this one looks once more.
        self.asked.load(Ordering::Relaxed)
    }

    /// The worker has looked since it was asked in `round`, in vain, and is about to park.
    fn confirm(&self, round: u64) {
        // ORDERING: Relaxed. Only this thread stores it, and the lock orders the store before the asking thread's load.
        if self.confirmed.load(Ordering::Relaxed) < round {
            let _inner = self.pool.lock();
            self.confirmed.store(round, Ordering::Relaxed);
        }
    }
}

impl BlockGuard {
    /// Parks the calling thread by `park`, which returns when the thread is unparked, at the latest. The caller has looked for what it waits for
    /// since it has got the guard, and since the last call, in vain. So it confirms that it waits. If it was asked in between, it looks once more.
    pub(crate) fn park(&self, park: impl FnOnce()) {
        let Some(worker) = &self.worker else { return park() };
        worker.confirm(self.looked.get());
        // Code of the caller may have consumed the park token since.
        if worker.asked() == self.looked.get() {
            park();
        }
        self.looked.set(worker.asked());
    }
}
