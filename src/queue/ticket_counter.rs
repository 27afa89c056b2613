//! A counter of tickets that can be closed.

use std::ops::Range;

use crate::sync::{AtomicU64, Backoff, Ordering};

const CLOSED: u64 = 1;
const ONE: u64 = 2;

/// Why no ticket was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// The counter is closed.
    Closed,
    /// The caller's condition does not hold.
    NotReady,
}

/// Gives out tickets 0, 1, 2, …, each to one caller, until it is closed. The closed flag is a bit of the counter's word: once
/// [`close`](Self::close) returns, no ticket is given out.
///
/// At one ticket per nanosecond the counter lasts 292 years.
pub(super) struct TicketCounter(AtomicU64);

impl TicketCounter {
    pub(super) fn new() -> Self {
        TicketCounter(AtomicU64::new(0))
    }

    /// The number of tickets given out, which is the next ticket.
    pub(super) fn count(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `try_take_some`: a thread that sees a ticket given out sees what its taker did
        // before.
        self.0.load(Ordering::Acquire) / ONE
    }

    pub(super) fn is_closed(&self) -> bool {
        // ORDERING: Relaxed. A hint; `try_take_some` decides.
        self.0.load(Ordering::Relaxed) & CLOSED != 0
    }

    pub(super) fn close(&self) {
        // ORDERING: AcqRel: the caller sees the tickets given out before, and a thread that finds the counter closed sees what
        // the caller did before.
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(super) fn open(&self) {
        // ORDERING: AcqRel, as in `close`.
        self.0.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// Takes the next ticket if `ready` holds for it. Lock-free.
    pub(super) fn try_take(&self, ready: impl Fn(u64) -> bool) -> Result<u64, Blocked> {
        Ok(self.try_take_some(|ticket| u64::from(ready(ticket)))?.start)
    }

    /// Takes so many of the next tickets as `available` returns for the first of them, at least one. Lock-free.
    #[inline]
    pub(super) fn try_take_some(&self, available: impl Fn(u64) -> u64) -> Result<Range<u64>, Blocked> {
        let backoff = Backoff::new();
        // ORDERING: Acquire, as in `count`; the same for the other loads here.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if word & CLOSED != 0 {
                return Err(Blocked::Closed);
            }
            let (first, count) = (word / ONE, available(word / ONE));
            if count == 0 {
                let now = self.0.load(Ordering::Acquire);
                if now == word {
                    return Err(Blocked::NotReady);
                }
                word = now;
                continue;
            }
            // ORDERING: AcqRel: takers of later tickets see what takers of earlier ones did before.
            match self.0.compare_exchange_weak(word, word + count * ONE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(first..first + count),
                Err(now) => {
                    word = now;
                    backoff.spin();
                }
            }
        }
    }

    /// Takes the next ticket of a closed counter. The caller makes sure that no two threads do this at a time.
    pub(super) fn take_closed(&self) -> u64 {
        debug_assert!(self.is_closed());
        // ORDERING: AcqRel, as in `try_take_some`.
        self.0.fetch_add(ONE, Ordering::AcqRel) / ONE
    }
}
