//! How many workers were ever busy at the same time.

use std::cell::Cell;

use crate::sync::{AtomicUsize, Ordering};

/// A worker's own mark: whether it is counted.
pub(super) type Busy = Cell<bool>;

/// Counts workers, not tasks, so that a worker that goes from one task straight to the next writes nothing here. It counts
/// as busy in between: two tasks that overlap are never missed, two that just do not may be counted as overlapping.
pub(super) struct Peak {
    busy: AtomicUsize,
    highest: AtomicUsize,
}

impl Peak {
    pub(super) fn new() -> Self {
        Peak { busy: AtomicUsize::new(0), highest: AtomicUsize::new(0) }
    }

    /// The worker has a task.
    pub(super) fn works(&self, mark: &Busy) {
        if !mark.replace(true) {
            let now = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
            self.highest.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// The worker has none.
    pub(super) fn rests(&self, mark: &Busy) {
        if mark.replace(false) {
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn highest(&self) -> usize {
        self.highest.load(Ordering::Relaxed)
    }
}
