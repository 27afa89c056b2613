//! Delays of flow control, which pass when the test says.

use std::time::Duration;

use formicary::{Dependency, Pool, TestClock};

use super::support::eventually;
use super::{ALONE, HOUR};

/// A batch goes out when its first item has waited, and not when a later one has.
#[test]
fn a_batch_waits_for_its_first_item() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::new(1).unwrap();
    let batched = pool.batched(10, HOUR, |items: Vec<usize>| vec![items.len(); items.len()]);
    let first = batched.spawn(0).unwrap();
    clock.advance(HOUR / 2);
    let second = batched.spawn(0).unwrap();
    clock.advance(HOUR / 2 - Duration::from_secs(1));
    assert_eq!((batched.stats().waiting, pool.stats().submitted), (2, 0));
    clock.advance(Duration::from_secs(1));
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (2, 2));
    // The alarm of a batch that was flushed does not send the next.
    let flushed = batched.spawn(0).unwrap();
    batched.flush();
    assert_eq!(flushed.join().unwrap(), 1);
    clock.advance(HOUR / 2);
    let next = batched.spawn(0).unwrap();
    clock.advance(HOUR / 2);
    assert_eq!(batched.stats().waiting, 1);
    clock.advance(HOUR / 2);
    assert_eq!(next.join().unwrap(), 1);
}

/// A deadline ends the wait for other tasks, without a thread that waits.
#[test]
fn a_deadline_ends_the_wait_for_dependencies() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::new(1).unwrap();
    let pause = pool.pause();
    let first = pool.spawn(|| ()).unwrap();
    let after = pool.with().timeout(HOUR).spawn_after([Dependency::from(&first)], || ());
    clock.advance(HOUR / 2);
    assert!(!after.is_finished());
    clock.advance(HOUR / 2);
    eventually("its time is up", || after.is_finished());
    let error = after.join().unwrap_err();
    assert!(error.is_timed_out() && error.is_cancelled());
    drop(pause);
    first.join().unwrap();
}
