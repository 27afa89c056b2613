//! What a view with a rate for each key remembers of keys, and for how long.
#![cfg(all(feature = "rate", feature = "test-util"))]

use std::time::Duration;

use crate::support::allocator::{alone, bytes};
use formicary::{Pool, Quota, TestClock};

const KEYS: usize = if cfg!(miri) { 1_000 } else { 20_000 };
const HOUR: Duration = Duration::from_secs(3600);

/// Many keys in one hour take some 30 bytes each. When they are idle, that comes back in the course of as many starts.
#[test]
fn idle_rate_keys_give_their_memory_back() {
    let (_alone, clock) = (alone(), TestClock::freeze());
    let pool = Pool::builder().inline().build().unwrap();
    let view = pool.limited(1).rate_per_key(Quota::new(1, HOUR));
    let start = |key: usize| view.with().rate_key(key).try_submit(|| ()).unwrap();
    start(KEYS);
    let before = bytes();
    (0..KEYS).for_each(start);
    assert_eq!((view.stats().completed as usize, view.waiting()), (KEYS + 1, 0));
    let of_key = (bytes() - before) / KEYS;
    assert!((16..=64).contains(&of_key), "{of_key} bytes for each");
    for _ in 0..KEYS {
        clock.advance(2 * HOUR);
        start(KEYS);
    }
    assert!(bytes() < before + 32 * 1024, "{} bytes are left", bytes() - before);
}
