//! A process-wide count of cancellations, which tells a sweep cheaply whether any token may have been cancelled since the last
//! one.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often a token of this process was cancelled or given a deadline. Not one of `sync`'s atomics: loom's cannot be in a
/// static.
static CANCELLATIONS: AtomicU64 = AtomicU64::new(0);

/// The current count; it differs after each cancellation.
pub(crate) fn cancellations() -> u64 {
    // ORDERING: Acquire pairs with the Release in `note_cancellation`: a thread that sees the number sees the token cancelled.
    CANCELLATIONS.load(Ordering::Acquire)
}

/// Counts a cancellation or a new deadline. Call after marking the tokens.
pub(crate) fn note_cancellation() {
    // ORDERING: Release, see `cancellations`.
    CANCELLATIONS.fetch_add(1, Ordering::Release);
}
