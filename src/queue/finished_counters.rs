//! How many tasks the workers of a queue have finished.

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicU64, IS_CHECKED, Ordering};

/// The sum of what each worker counts, so that the end of a task writes no line that many others write. Workers far beyond the number
/// of processors share their counters: they cannot all run at once, and the sum must not take long.
pub(super) struct FinishedCounters {
    counters: Vec<Arc<CachePadded<AtomicU64>>>,
    /// There are no more counters than this.
    most: usize,
    workers: usize,
    /// Tasks that have left the queue and that no worker counts.
    others: u64,
}

#[doc(hidden)]
pub struct FinishedCounter {
    /// Its worker, by number.
    pub(super) worker: usize,
    finished: Arc<CachePadded<AtomicU64>>,
}

impl FinishedCounter {
    /// Its worker has finished a task.
    pub(super) fn finished(&self) {
        // ORDERING: Release, see `FinishedCounters::finished`. A read-modify-write because others may count here, and for the order that it
        // gives to what follows (see `Queue::finished`).
        self.finished.fetch_add(1, Ordering::Release);
    }
}

impl FinishedCounters {
    pub(super) fn new() -> Self {
        // Twice the processors: of those that run at once few share one.
        let most = if IS_CHECKED { 2 } else { 2 * num_cpus::get() };
        FinishedCounters { counters: Vec::new(), most, workers: 0, others: 0 }
    }

    /// How many tasks were finished, or went otherwise. It only grows, one by one, so it was right at a moment while this ran.
    pub(super) fn finished(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `FinishedCounter::finished`: who sees a task finished sees what it did.
        self.counters.iter().map(|counter| counter.load(Ordering::Acquire)).sum::<u64>() + self.others
    }

    /// So many tasks left the queue and no worker will count them.
    pub(super) fn add_untracked(&mut self, tasks: u64) {
        self.others += tasks;
    }

    /// How many workers there are.
    pub(super) fn len(&self) -> usize {
        self.workers
    }

    pub(super) fn take(&mut self, worker: usize) -> FinishedCounter {
        self.workers += 1;
        let place = worker % self.most;
        if self.counters.len() <= place {
            self.counters.resize_with(place + 1, Arc::default);
        }
        FinishedCounter { worker, finished: Arc::clone(&self.counters[place]) }
    }

    pub(super) fn leave(&mut self) {
        self.workers -= 1;
    }
}
