//! How many tasks the workers of a queue have finished.

use crossbeam_utils::CachePadded;

use super::peak::Busy;
use crate::sync::{Arc, AtomicU64, Ordering};

/// The sum of what each worker counts for itself, so that the end of a task writes no line that others write.
#[derive(Default)]
pub(super) struct Seats {
    seats: Vec<Arc<CachePadded<AtomicU64>>>,
    /// Tasks that have left the queue and are not, or no longer, counted by a seat.
    others: u64,
}

#[doc(hidden)]
pub struct Seat {
    /// Its worker, by number.
    pub(super) worker: usize,
    finished: Arc<CachePadded<AtomicU64>>,
    pub(super) busy: Busy,
}

impl Seat {
    /// Its worker has finished a task.
    pub(super) fn finished(&self) {
        // ORDERING: Release, see `Seats::finished`. Only the worker itself writes it; but a read-modify-write orders what follows
        // (see `Queue::finished`).
        self.finished.fetch_add(1, Ordering::Release);
    }
}

impl Seats {
    /// How many tasks were finished, or went otherwise. It only grows, one by one, so it was right at a moment while this ran.
    pub(super) fn finished(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `Seat::finished`: who sees a task finished sees what it did.
        self.seats.iter().map(|seat| seat.load(Ordering::Acquire)).sum::<u64>() + self.others
    }

    /// So many tasks left the queue and no seat will count them.
    pub(super) fn went_otherwise(&mut self, tasks: u64) {
        self.others += tasks;
    }

    /// How many workers there are.
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn take(&mut self, worker: usize) -> Seat {
        let finished = Arc::<CachePadded<AtomicU64>>::default();
        self.seats.push(Arc::clone(&finished));
        Seat { worker, finished, busy: Busy::new(false) }
    }

    pub(super) fn leave(&mut self, seat: &Seat) {
        self.others += seat.finished.load(Ordering::Relaxed);
        self.seats.retain(|other| !Arc::ptr_eq(other, &seat.finished));
    }
}
