//! Whether any token was cancelled since the last look, for those who would have to look at many.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often a token of this process was cancelled, or given a deadline. Not one of `sync`'s atomics: a static of loom's cannot be
/// made.
static CANCELLATIONS: AtomicU64 = AtomicU64::new(0);

/// A number that is another one after the next cancellation.
pub(crate) fn cancellations() -> u64 {
    // ORDERING: Acquire pairs with the Release in `note_cancellation`: whoever sees the number sees the token cancelled.
    CANCELLATIONS.load(Ordering::Acquire)
}

/// Something was cancelled.
pub(crate) fn note_cancellation() {
    // ORDERING: Release, see `cancellations`.
    CANCELLATIONS.fetch_add(1, Ordering::Release);
}
