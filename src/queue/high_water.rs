//! The largest number of tasks that ran at the same time.

use std::cell::Cell;

use crate::sync::{AtomicUsize, Ordering, fence_after_rmw};

/// Whether a worker is counted as busy.
pub(super) type Busy = Cell<bool>;

/// A high-water mark that is never too high: it only records a number that was counted from tasks started and tasks finished,
/// where started is read first. Both never decrease, so at the moment between the two reads at least that many tasks ran.
///
/// The number of busy workers tells when to count, and is never too low. A worker that goes from one task straight to the next
/// stays busy and writes nothing here. The last of several workers that start a task finds all the others busy. So tasks that
/// run until all of them have started are never missed; of tasks that end meanwhile some may be.
pub(super) struct HighWater {
    busy: AtomicUsize,
    highest: AtomicUsize,
}

impl HighWater {
    pub(super) fn new() -> Self {
        HighWater { busy: AtomicUsize::new(0), highest: AtomicUsize::new(0) }
    }

    /// Marks the worker as busy, after it has counted its task as started by a read-modify-write or under a lock. Returns
    /// whether there may be a new maximum; the caller then counts and calls [`record`](Self::record).
    #[inline]
    pub(super) fn enter(&self, mark: &Busy) -> bool {
        if !mark.replace(true) {
            self.busy.fetch_add(1, Ordering::Relaxed);
        }
        // ORDERING: SeqCst fence between counting the start and the worker, and reading the counts of others: of two workers
        // that start at the same time one sees the other.
        fence_after_rmw();
        self.busy.load(Ordering::Relaxed) > self.highest()
    }

    /// Records that `running` tasks ran at one moment. Returns the maximum.
    pub(super) fn record(&self, running: usize) -> usize {
        let highest = self.highest();
        if running > highest { self.highest.fetch_max(running, Ordering::Relaxed).max(running) } else { highest }
    }

    /// Marks the worker as idle.
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
