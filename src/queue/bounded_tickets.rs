//! A ticket counter with a bound.

use std::ops::Range;

use super::ticket_counter::{Blocked, TicketCounter};
use crate::sync::{AtomicU64, Ordering};

/// A [`TicketCounter`] with a limit on the tickets ever given out: the number of tasks that have left plus the room. The limit
/// is recomputed only when it is reached. So submitters rarely read what workers write.
pub(super) struct BoundedTickets {
    ticket_counter: TicketCounter,
    limit: AtomicU64,
}

impl BoundedTickets {
    pub(super) fn new(room: u64) -> Self {
        BoundedTickets { ticket_counter: TicketCounter::new(), limit: AtomicU64::new(room) }
    }

    /// Takes a ticket, unless the counter is closed or there is no room for it and `reserved` more. `refresh_bound` must call
    /// [`refresh_bound`](Self::refresh_bound) and return its result.
    pub(super) fn try_take(&self, reserved: usize, refresh_bound: impl Fn() -> u64) -> Result<u64, Blocked> {
        Ok(self.try_take_some(1, reserved, refresh_bound)?.start)
    }

    /// Takes up to `most` tickets, but at least one, as [`try_take`](Self::try_take) does.
    #[inline]
    pub(super) fn try_take_some(
        &self,
        most: usize,
        reserved: usize,
        refresh_bound: impl Fn() -> u64,
    ) -> Result<Range<u64>, Blocked> {
        let (most, reserved) = (most as u64, reserved as u64);
        loop {
            // ORDERING: Relaxed. A limit once computed stays valid: tasks counted as gone do not come back.
            let limit = || self.limit.load(Ordering::Relaxed);
            match self.ticket_counter.try_take_some(|ticket| limit().saturating_sub(ticket + reserved).min(most)) {
                Err(Blocked::NotReady) if refresh_bound() > reserved => {}
                result => return result,
            }
        }
    }

    /// Sets the limit to what `compute` returns, and returns the room that is left. Callers hold one common lock.
    pub(super) fn refresh_bound(&self, compute: impl FnOnce() -> u64) -> u64 {
        // The count is read before the limit, so a refusal was right at the moment between the two; tasks may have come and gone
        // since.
        let count = self.ticket_counter.count();
        let limit = compute();
        // ORDERING: Relaxed, as in `try_take_some`.
        self.limit.store(limit, Ordering::Relaxed);
        limit.saturating_sub(count)
    }

    /// The number of tickets given out.
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
