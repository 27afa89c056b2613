//! How long a caller spins for its answer before it parks.
//!
//! An answer from a worker that is awake comes sooner than a yield takes. A worker that must be woken first may need this very CPU,
//! since the system tends to run a woken thread where its waker runs. The last answer predicts which of the two it will be.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::sync::spin;
use crate::sync::{IS_CHECKED, thread_local};

/// The most rounds of spinning: some microseconds, about what a park and a wake-up cost.
const ROUNDS: usize = if IS_CHECKED { 1 } else { 16 };
/// If an answer takes no longer than this, the next one is spun for without yielding.
const FAST: Duration = Duration::from_micros(2);

thread_local! {
    /// Whether this thread's last answer came fast. It has no destructor, so it is usable as long as the thread runs.
    static REPLIES_ARE_FAST: Cell<bool> = const { Cell::new(true) };
}

/// Spins for a bounded time until `is_there`. Returns whether it is.
pub(crate) fn spin_for_reply(is_there: impl Fn() -> bool) -> bool {
    let expects_fast = REPLIES_ARE_FAST.with(Cell::get);
    // The clock is read only where the spin yields at once.
    let since = if expects_fast { None } else { Some(Instant::now()) };
    let mut has_yielded = false;
    let found = spin::spin_until(
        expects_fast,
        || is_there().then_some(()),
        |round| {
            has_yielded = true;
            round < ROUNDS
        },
    );
    let was_fast = since.map_or(!has_yielded, |since| found.is_some() && since.elapsed() < FAST);
    REPLIES_ARE_FAST.with(|fast| fast.set(was_fast));
    found.is_some()
}
