//! How long a caller looks for its answer before it sleeps.
//!
//! An answer that is given by a worker that is up comes sooner than a caller could give way. One that is given by a worker that
//! had to be woken may even wait for this processor: the system likes to run the woken where the waker runs. Which of the two it
//! will be is guessed from the last time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::sync::spin;
use crate::sync::{IS_CHECKED, thread_local};

/// The longest look, in rounds: some microseconds, about what a sleep and a wake-up cost.
const ROUNDS: usize = if IS_CHECKED { 1 } else { 16 };
/// An answer that comes within this time is worth a look without giving way.
const FAST: Duration = Duration::from_micros(2);

thread_local! {
    /// Whether the last answer that this thread looked for came soon. Has no destructor, so it never goes out of use.
    static REPLIES_ARE_FAST: Cell<bool> = const { Cell::new(true) };
}

/// Looks for a while whether something `is_there`; says whether it is.
pub(super) fn spin_for_reply(is_there: impl Fn() -> bool) -> bool {
    let expects_soon = REPLIES_ARE_FAST.with(Cell::get);
    // The clock is not asked for as long as nobody gives way.
    let since = if expects_soon { None } else { Some(Instant::now()) };
    let mut gave_way = false;
    let found = spin::spin_until(
        expects_soon,
        || is_there().then_some(()),
        |round| {
            gave_way = true;
            round < ROUNDS
        },
    );
    let was_soon = since.map_or(!gave_way, |since| found.is_some() && since.elapsed() < FAST);
    REPLIES_ARE_FAST.with(|soon| soon.set(was_soon));
    found.is_some()
}
