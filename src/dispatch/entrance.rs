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

    /// A ticket, unless shut or full. `renew` has to call [`renew`](Self::renew) and pass on its answer.
    pub(super) fn pass(&self, renew: impl Fn() -> bool) -> Result<u64, Blocked> {
        loop {
            // ORDERING: Relaxed. The limit is a permission that stays true: those counted as gone do not come back.
            match self.turnstile.pass(|ticket| ticket < self.limit.load(Ordering::Relaxed)) {
                Err(Blocked::NotReady) if renew() => {}
                result => return result,
            }
        }
    }

    /// Sets the limit to what `reckon` says; whether there is room for one more now. Call it under one lock.
    pub(super) fn renew(&self, reckon: impl FnOnce() -> u64) -> bool {
        // In this order a refusal was right at the moment between the two: later ones may have come in since, and gone.
        let count = self.turnstile.count();
        let limit = reckon();
        // ORDERING: Relaxed, as in `pass`.
        self.limit.store(limit, Ordering::Relaxed);
        count < limit
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
