//! The way into a queue with a bound.

use super::ticket_counter::{Blocked, TicketCounter};
use crate::sync::{AtomicU64, Ordering};

/// A turnstile with a limit on how many may ever have gone in, which is the number of those that have left plus the room.
/// The limit is reckoned anew only when it is reached: so those who come in need not read, each time, what those who leave
/// write.
pub(super) struct BoundedTickets {
    ticket_counter: TicketCounter,
    limit: AtomicU64,
}

impl BoundedTickets {
    pub(super) fn new(room: u64) -> Self {
        BoundedTickets { ticket_counter: TicketCounter::new(), limit: AtomicU64::new(room) }
    }

    /// A ticket, unless shut or there would not be room for `reserved` more. `refresh_bound` has to call [`refresh_bound`](Self::refresh_bound) and pass on
    /// its answer.
    pub(super) fn try_take(&self, reserved: usize, refresh_bound: impl Fn() -> u64) -> Result<u64, Blocked> {
        let reserved = reserved as u64;
        loop {
            // ORDERING: Relaxed. The limit is a permission that stays true: those counted as gone do not come back.
            match self.ticket_counter.try_take(|ticket| ticket + reserved < self.limit.load(Ordering::Relaxed)) {
                Err(Blocked::NotReady) if refresh_bound() > reserved => {}
                result => return result,
            }
        }
    }

    /// Sets the limit to what `reckon` says; how many there is room for now. Call it under one lock.
    pub(super) fn refresh_bound(&self, reckon: impl FnOnce() -> u64) -> u64 {
        // In this order a refusal was right at the moment between the two: later ones may have come in since, and gone.
        let count = self.ticket_counter.count();
        let limit = reckon();
        // ORDERING: Relaxed, as in `try_take`.
        self.limit.store(limit, Ordering::Relaxed);
        limit.saturating_sub(count)
    }

    /// How many have gone in.
    pub(super) fn count(&self) -> u64 {
        self.ticket_counter.count()
    }

    pub(super) fn close(&self) {
        self.ticket_counter.close();
    }

    pub(super) fn open(&self) {
        self.ticket_counter.open();
    }
}
