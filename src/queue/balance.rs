//! How tasks are spread over shards.

use std::cell::Cell;

use crate::sync::{Ordering, thread_local};

/// How a [`Sharded`](crate::Sharded) pool spreads tasks over its shards. Every policy skips full shards, so no submitter waits
/// while any shard has room.
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
    /// Each shard in turn, for each submitter. Submitters at the same moment may get the same shard. The default.
    #[default]
    RoundRobin,
    /// The shard with the fewest tasks, queued and running. Reads all shards, so it takes time in proportion to their number.
    LeastLoaded,
    /// The less loaded of two shards picked at random: nearly as even as [`LeastLoaded`](Self::LeastLoaded), in constant time
    /// (Mitzenmacher, *The power of two choices in randomized load balancing*, 1996).
    TwoChoices,
    /// One shard per submitting thread, so that few threads write the same memory. Spreads well with many submitting threads.
    Thread,
}

thread_local! {
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// A number for a new thread.
fn new_number() -> u64 {
    // Not one of `sync`'s atomics: loom's cannot be in a static, and no model depends on it.
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The calling thread's number. Threads that start one after the other have consecutive numbers.
pub(super) fn thread_number() -> usize {
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    truncate(NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(new_number());
        }
        number.get()
    }))
}

/// A random number from the thread's own sequence. Good enough to spread tasks.
pub(super) fn random() -> usize {
    truncate(RANDOM.with(|state| {
        if state.get() == 0 {
            state.set(new_number());
        }
        next_random(state)
    }))
}

/// The next number of a random sequence (Steele, Lea, Flood: SplitMix64, 2014).
pub(super) fn next_random(state: &Cell<u64>) -> u64 {
    state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
    scramble(state.get())
}

/// Maps close numbers to distant ones, one to one.
pub(super) fn scramble(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Callers take a remainder of it, so any bits will do.
#[expect(clippy::cast_possible_truncation)]
pub(super) fn truncate(number: u64) -> usize {
    number as usize
}
