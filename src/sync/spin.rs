//! Looking for something for a while before going to sleep for it.
//!
//! A look is cheaper than a sleep and a wake-up as long as it is short. Who looks gives way again and again: what it looks for may
//! have to come from a thread that waits for this very processor, as the system likes to run the woken where the waker runs.

use crate::sync::{IS_CHECKED, spin_loop, yield_now};

/// Looks before the first giving way: about a microsecond. One there and back between two processors is shorter.
const FIRST_ROUND: usize = if IS_CHECKED { 1 } else { 32 };
/// The same for something that is not expected within that time.
const FIRST_ROUND_UNEXPECTED: usize = if IS_CHECKED { 1 } else { 4 };
/// Looks between two givings way.
const LATER_ROUNDS: usize = if IS_CHECKED { 1 } else { 16 };

/// Asks for `found` again and again; before each round but the first, whether it should `go_on`. What `is_soon` expected is worth
/// a longer first round.
pub(crate) fn spin_until<T>(
    is_soon: bool,
    mut found: impl FnMut() -> Option<T>,
    mut go_on: impl FnMut(usize) -> bool,
) -> Option<T> {
    let mut round = 0;
    let mut spins = if is_soon { FIRST_ROUND } else { FIRST_ROUND_UNEXPECTED };
    loop {
        for _ in 0..spins {
            if let Some(found) = found() {
                return Some(found);
            }
            spin_loop();
        }
        round += 1;
        if !go_on(round) {
            return None;
        }
        yield_now();
        spins = LATER_ROUNDS;
    }
}
