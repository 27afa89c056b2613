//! Spinning before a thread parks.
//!
//! A short spin is cheaper than parking and being woken. A spinning thread yields between rounds: the thread it waits for may
//! need this CPU, since systems tend to run a woken thread on the CPU of its waker.

use crate::sync::{IS_CHECKED, spin_loop, yield_now};

/// Spins before the first yield: about a microsecond, which is longer than a round trip between two CPUs.
const FIRST_ROUND: usize = if IS_CHECKED { 1 } else { 32 };
/// The same if the result is not expected within that time.
const FIRST_ROUND_UNEXPECTED: usize = if IS_CHECKED { 1 } else { 4 };
/// Spins between two yields.
const LATER_ROUNDS: usize = if IS_CHECKED { 1 } else { 16 };

/// Calls `found` until it returns a value, in rounds that end with a yield. Calls `go_on` with the number of finished rounds
/// before each yield, and returns `None` when it returns `false`. The first round is longer if `is_soon`.
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
