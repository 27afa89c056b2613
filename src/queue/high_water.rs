//! How many tasks ever ran at the same time.

use std::cell::Cell;

use crate::sync::{AtomicUsize, Ordering, fence_after_rmw};

/// A worker's own mark: whether it is counted.
pub(super) type Busy = Cell<bool>;

/// A high-water mark. It never says more than there was: a number is taken for a peak only when it was counted, from tasks started
/// and tasks finished, and what was started is read first. For both only grow, so at the moment between the two readings at least
/// that many ran.
///
/// Whether to count is told by the number of busy workers, which is never too low: a worker that goes from one task straight to
/// the next stays busy and writes nothing here. Of those that start tasks the last one finds all the others busy. So tasks that
/// go on until all of them have started are never missed; of those that end meanwhile one or the other may be.
pub(super) struct HighWater {
    busy: AtomicUsize,
    highest: AtomicUsize,
}

impl HighWater {
    pub(super) fn new() -> Self {
        HighWater { busy: AtomicUsize::new(0), highest: AtomicUsize::new(0) }
    }

    /// The worker has a task, and has counted it as started by a read-modify-write or under a lock. Says whether there may be a
    /// new peak: then it is to count, as is said above.
    #[inline]
    pub(super) fn enter(&self, mark: &Busy) -> bool {
        if !mark.replace(true) {
            self.busy.fetch_add(1, Ordering::Relaxed);
        }
        // ORDERING: SeqCst fence between the count of the start, and of the worker, and the look at those of others: of two that
        // start at the same time one sees the other.
        fence_after_rmw();
        self.busy.load(Ordering::Relaxed) > self.highest()
    }

    /// So many ran at one moment. Says how many ever did.
    pub(super) fn record(&self, running: usize) -> usize {
        let highest = self.highest();
        if running > highest { self.highest.fetch_max(running, Ordering::Relaxed).max(running) } else { highest }
    }

    /// The worker has no task.
    #[inline]
    pub(super) fn exit(&self, mark: &Busy) {
        if mark.replace(false) {
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn highest(&self) -> usize {
        self.highest.load(Ordering::Relaxed)
    }
}
