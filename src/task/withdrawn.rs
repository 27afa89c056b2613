//! Tasks that were withdrawn: cancelled by their handle, or run by whoever waited for them, while their ticket was in the queue.
//!
//! The ticket stays there until its turn, or until it is in the way (`sweep.rs`). Meanwhile it stands for nothing, so it is not to be
//! counted as a queued task; and a task that was cancelled counts as such at once.

// Not `sync`'s atomics: a static of a checker's cannot be made. These are statistics, each written under the lock of a slot.
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::current_worker::PoolId;

/// What is counted of them, for one pool. Handles outlive pools and there are many of them, so it is neither owned nor shared by
/// counting: it lives as long as the process, and is given to another pool when this one is gone.
#[derive(Debug, Default)]
pub(crate) struct Withdrawn {
    tickets: AtomicU64,
    cleared: AtomicU64,
    cancelled: AtomicU64,
}

/// Those that no pool has.
static FREE: Mutex<Vec<&'static Withdrawn>> = Mutex::new(Vec::new());

impl Withdrawn {
    /// A task is taken from its queued ticket.
    pub(crate) fn add(&self, is_cancelled: bool) {
        self.tickets.fetch_add(1, Ordering::Relaxed);
        self.cancelled.fetch_add(u64::from(is_cancelled), Ordering::Relaxed);
    }

    /// The ticket has left the queue.
    pub(crate) fn clear(&self) {
        // ORDERING: Release pairs with the Acquire in `tickets`: who does not count the ticket any more knows of the sweep that took it.
        self.cleared.fetch_add(1, Ordering::Release);
    }

    /// How many of these tickets are in the queue, about.
    pub(crate) fn tickets(&self) -> usize {
        let tickets = self.tickets.load(Ordering::Relaxed);
        usize::try_from(tickets.saturating_sub(self.cleared.load(Ordering::Acquire))).unwrap_or(usize::MAX)
    }

    /// How many tasks were cancelled in this way.
    pub(crate) fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// A pool's number and its counts, which go to another pool when this is dropped. To be dropped after the queue, whose tickets count.
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
            for count in [&counts.tickets, &counts.cleared, &counts.cancelled] {
                count.store(0, Ordering::Relaxed);
            }
            FREE.lock().push(counts);
        }
    }
}
