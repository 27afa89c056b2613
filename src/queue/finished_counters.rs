//! Counting finished tasks without a shared cache line.

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicU64, IS_CHECKED, Ordering};

/// One counter per worker, so that finishing a task does not write a cache line that many threads write. There are at most twice
/// as many counters as CPUs; workers beyond that share them, since they cannot all run at once, and the sum must not take long.
pub(super) struct FinishedCounters {
    counters: Vec<Arc<CachePadded<AtomicU64>>>,
    /// The most counters there can be.
    max: usize,
    workers: usize,
    /// Tasks that left the queue and are not counted by a worker.
    others: u64,
}

#[doc(hidden)]
pub struct FinishedCounter {
    /// The number of its worker.
    pub(super) worker: usize,
    finished: Arc<CachePadded<AtomicU64>>,
}

impl FinishedCounter {
    /// Counts a finished task.
    pub(super) fn finished(&self) {
        // ORDERING: Release, see `FinishedCounters::finished`. A read-modify-write because other workers may share the counter,
        // and because of the order that it gives to what follows (see `Queue::finished`).
        self.finished.fetch_add(1, Ordering::Release);
    }
}

impl FinishedCounters {
    pub(super) fn new() -> Self {
        // Twice the CPUs: few of the workers that run at the same time share a counter.
        let max = if IS_CHECKED { 2 } else { 2 * num_cpus::get() };
        FinishedCounters { counters: Vec::new(), max, workers: 0, others: 0 }
    }

    /// The number of tasks that finished or left the queue otherwise. Never decreases, and each counter grows one by one, so the
    /// sum was right at some moment during the call.
    pub(super) fn finished(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `FinishedCounter::finished`: a thread that sees a task finished sees what
        // the task did.
        self.counters.iter().map(|counter| counter.load(Ordering::Acquire)).sum::<u64>() + self.others
    }

    /// Counts tasks that left the queue and that no worker will count.
    pub(super) fn add_untracked(&mut self, tasks: u64) {
        self.others += tasks;
    }

    /// The number of registered workers.
    pub(super) fn len(&self) -> usize {
        self.workers
    }

    pub(super) fn register(&mut self, worker: usize) -> FinishedCounter {
        self.workers += 1;
        let index = worker % self.max;
        if self.counters.len() <= index {
            self.counters.resize_with(index + 1, Arc::default);
        }
        FinishedCounter { worker, finished: Arc::clone(&self.counters[index]) }
    }

    pub(super) fn unregister(&mut self) {
        self.workers -= 1;
    }
}
