//! Withdrawn tasks: cancelled by their handle, or run by the thread that waited for them, while their entry was in the queue.
//!
//! The entry is stale then. It stays in the queue until a worker takes it, or until its room is needed (`sweep.rs`). Meanwhile it does
//! not count as a queued task. A task that was cancelled counts as cancelled at once.

// Not `sync`'s atomics: loom's cannot be in a static. These are statistics, each written under the lock of a task's state.
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::current_worker::PoolId;

/// The counters for one pool. Handles outlive their pools, and there are many of them, so the counters are neither owned by the pool nor
/// reference-counted: they live as long as the process, and another pool reuses them.
#[derive(Debug, Default)]
pub(crate) struct Withdrawn {
    withdrawn: AtomicU64,
    cleared: AtomicU64,
    cancelled: AtomicU64,
}

/// The counters that no pool uses.
static FREE: Mutex<Vec<&'static Withdrawn>> = Mutex::new(Vec::new());

impl Withdrawn {
    /// Counts a task that was withdrawn from its entry.
    pub(crate) fn add(&self, is_cancelled: bool) {
        self.withdrawn.fetch_add(1, Ordering::Relaxed);
        self.cancelled.fetch_add(u64::from(is_cancelled), Ordering::Relaxed);
    }

    /// Counts a stale entry that has left the queue.
    pub(crate) fn clear(&self) {
        // ORDERING: Release pairs with the Acquire in `stale_entries`: a thread that counts the entry as gone sees the sweep that took it.
        self.cleared.fetch_add(1, Ordering::Release);
    }

    /// About how many stale entries are in the queue.
    pub(crate) fn stale_entries(&self) -> usize {
        let withdrawn = self.withdrawn.load(Ordering::Relaxed);
        usize::try_from(withdrawn.saturating_sub(self.cleared.load(Ordering::Acquire))).unwrap_or(usize::MAX)
    }

    /// The number of tasks that were cancelled in this way.
    pub(crate) fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// A pool's id and counters. Dropping it frees the counters for another pool, so it must be dropped after the queue and its entries.
pub(crate) struct Identity(PoolId);

impl Identity {
    pub(crate) fn new() -> Self {
        let free = FREE.lock().pop();
        Identity(PoolId::new(free.unwrap_or_else(|| Box::leak(Box::default()))))
    }

    pub(crate) fn id(&self) -> PoolId {
        self.0
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        if let Some(counts) = self.0.withdrawn() {
            for count in [&counts.withdrawn, &counts.cleared, &counts.cancelled] {
                count.store(0, Ordering::Relaxed);
            }
            FREE.lock().push(counts);
        }
    }
}
