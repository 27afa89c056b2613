//! Counting who goes through, until it is shut.

use crate::sync::{AtomicU64, Backoff, Ordering};

const CLOSED: u64 = 1;
const ONE: u64 = 2;

/// Why nobody went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// The turnstile is shut.
    Shut,
    /// The caller's own condition does not hold.
    NotReady,
}

/// Gives out tickets 0, 1, 2, … one at a time, each to one caller, until it is shut. Ticket and bolt share a word: from
/// the moment [`close`](Self::close) returns nobody goes through.
///
/// At a task every nanosecond the count lasts for 292 years.
pub(super) struct TicketCounter(AtomicU64);

impl TicketCounter {
    pub(super) fn new() -> Self {
        TicketCounter(AtomicU64::new(0))
    }

    /// How many have gone through; the ticket of the next.
    pub(super) fn count(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `try_take`: who sees a ticket given out sees what its taker did before.
        self.0.load(Ordering::Acquire) / ONE
    }

    pub(super) fn is_closed(&self) -> bool {
        // ORDERING: Relaxed. A look; `try_take` decides.
        self.0.load(Ordering::Relaxed) & CLOSED != 0
    }

    pub(super) fn close(&self) {
        // ORDERING: AcqRel: the tickets given out before are seen here, and what was done before by those who find it shut.
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(super) fn open(&self) {
        // ORDERING: AcqRel, as in `close`.
        self.0.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// Takes the next ticket if `ready` says of it that it may be had. Lock-free.
    pub(super) fn try_take(&self, ready: impl Fn(u64) -> bool) -> Result<u64, Blocked> {
        let backoff = Backoff::new();
        // ORDERING: Acquire, as in `count`; so in the other loads here.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            if word & CLOSED != 0 {
                return Err(Blocked::Shut);
            }
            if !ready(word / ONE) {
                let now = self.0.load(Ordering::Acquire);
                if now == word {
                    return Err(Blocked::NotReady);
                }
                word = now;
                continue;
            }
            // ORDERING: AcqRel: takers of later tickets see what takers of earlier ones did before.
            match self.0.compare_exchange_weak(word, word + ONE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(word / ONE),
                Err(now) => {
                    word = now;
                    backoff.spin();
                }
            }
        }
    }

    /// Takes the next ticket of a turnstile that is shut. The caller sees to it that no two do this at a time.
    pub(super) fn take_closed(&self) -> u64 {
        debug_assert!(self.is_closed());
        // ORDERING: AcqRel, as in `try_take`.
        self.0.fetch_add(ONE, Ordering::AcqRel) / ONE
    }
}
