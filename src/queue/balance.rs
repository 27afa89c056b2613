//! Which shard a task goes to.

use std::cell::Cell;

use crate::sync::{Ordering, thread_local};

/// How a [`Sharded`](crate::Sharded) pool spreads tasks over its shards. A shard without room is passed over, whatever the
/// choice, so that nobody waits while there is room anywhere.
///
/// ```
/// use formicary::{Balance, Pool, Sharded};
///
/// let pool = Pool::builder().workers(4).dispatch::<Sharded>().shards(4).balance(Balance::LeastLoaded).build()?;
/// for _ in 0..100 {
///     pool.submit(|| ())?;
/// }
/// pool.wait_idle();
/// assert_eq!(pool.stats().completed, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Balance {
    /// One after the other; of several submitters at the same moment two may get the same. The default.
    #[default]
    RoundRobin,
    /// The one with the fewest tasks, queued and running. Looks at all of them, which takes time in proportion to
    /// their number.
    LeastLoaded,
    /// The less loaded of two picked at random: nearly as even as [`LeastLoaded`](Self::LeastLoaded), at a constant cost
    /// (Mitzenmacher, *The power of two choices in randomized load balancing*, 1996).
    TwoChoices,
    /// Each submitting thread has its shard, so that few threads write the same memory. Spreads well where there are many
    /// submitters.
    Thread,
}

thread_local! {
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// Numbers threads.
fn new_number() -> u64 {
    // Not one of `sync`'s atomics: a static of loom's cannot be made, and no model depends on it.
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The calling thread's number; threads that start one after the other have consecutive numbers.
pub(super) fn thread_number() -> usize {
    thread_local! {
        static NUMBER: u64 = new_number();
    }
    // A thread whose locals are gone may get any.
    truncate(NUMBER.try_with(|number| *number).unwrap_or(0))
}

/// A random number that differs from thread to thread. Good enough to spread tasks.
pub(super) fn random() -> usize {
    truncate(RANDOM.with(|state| {
        if state.get() == 0 {
            state.set(new_number());
        }
        next_random(state)
    }))
}

/// The next of a sequence of random numbers (Steele, Lea, Flood: SplitMix64, 2014).
pub(super) fn next_random(state: &Cell<u64>) -> u64 {
    state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
    scramble(state.get())
}

/// Spreads close numbers over the whole range; never maps two to one.
pub(super) fn scramble(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A remainder is taken of it, so any bits will do.
#[expect(clippy::cast_possible_truncation)]
pub(super) fn truncate(number: u64) -> usize {
    number as usize
}
