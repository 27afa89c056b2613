//! The way into a queue with a bound.

use super::turnstile::{Blocked, Turnstile};
use crate::sync::{AtomicU64, Ordering};

/// A turnstile with a limit on how many may ever have gone in, which is the number of those that have left plus the room.
/// The limit is reckoned anew only when it is reached: so those who come in need not read, each time, what those who leave
/// write.
pub(super) struct Entrance {
    turnstile: Turnstile,
    limit: AtomicU64,
}

impl Entrance {
    pub(super) fn new(room: u64) -> Self {
        Entrance { turnstile: Turnstile::new(), limit: AtomicU64::new(room) }
    }

    /// A ticket, unless shut or there would not be room for `keep` more. `renew` has to call [`renew`](Self::renew) and pass on
    /// its answer.
    pub(super) fn pass(&self, keep: usize, renew: impl Fn() -> u64) -> Result<u64, Blocked> {
        let keep = keep as u64;
        loop {
            // ORDERING: Relaxed. The limit is a permission that stays true: those counted as gone do not come back.
            match self.turnstile.pass(|ticket| ticket + keep < self.limit.load(Ordering::Relaxed)) {
                Err(Blocked::NotReady) if renew() > keep => {}
                result => return result,
            }
        }
    }

    /// Sets the limit to what `reckon` says; how many there is room for now. Call it under one lock.
    pub(super) fn renew(&self, reckon: impl FnOnce() -> u64) -> u64 {
        // In this order a refusal was right at the moment between the two: later ones may have come in since, and gone.
        let count = self.turnstile.count();
        let limit = reckon();
        // ORDERING: Relaxed, as in `pass`.
        self.limit.store(limit, Ordering::Relaxed);
        limit.saturating_sub(count)
    }

    /// How many have gone in.
    pub(super) fn count(&self) -> u64 {
        self.turnstile.count()
    }

    pub(super) fn shut(&self) {
        self.turnstile.shut();
    }

    pub(super) fn open(&self) {
        self.turnstile.open();
    }
}
