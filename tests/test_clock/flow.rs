//! Delays of flow control, which pass when the test says.

use std::sync::mpsc;
use std::time::Duration;

use formicary::{DeadLetters, Dependency, Pipeline, Pool, PoolWithFunc, Retry, TestClock};

use super::support::{Gate, eventually};
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

/// A batch of a pipeline goes on when its first item has waited, and not when a later one has, or the alarm of a batch before it rings.
#[test]
fn a_batch_of_a_pipeline_waits_for_its_first_item() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let (sender, receiver) = mpsc::channel();
    let mut results = Pipeline::from(receiver).batch(3, HOUR).into_iter();
    sender.send(0).unwrap();
    eventually("the first is in it", || results.stats().stages[0].entered == 1);
    clock.advance(HOUR / 2);
    sender.send(1).unwrap();
    eventually("the second is in it", || results.stats().stages[0].entered == 2);
    clock.advance(HOUR / 2 - Duration::from_secs(1));
    assert_eq!(results.stats().stages[0].left, 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(results.next().unwrap().unwrap(), [0, 1]);

    // This one is full before its time.
    (2..5).for_each(|n| sender.send(n).unwrap());
    assert_eq!(results.next().unwrap().unwrap(), [2, 3, 4]);
    clock.advance(HOUR / 2);
    sender.send(5).unwrap();
    eventually("the next has an item", || results.stats().stages[0].entered == 6);
    clock.advance(HOUR / 2);
    // An item that comes after the early alarm finds it there.
    sender.send(6).unwrap();
    eventually("it has two", || results.stats().stages[0].entered == 7);
    assert_eq!(results.stats().stages[0].waiting_for_room, 2);
    clock.advance(HOUR / 2);
    assert_eq!(results.next().unwrap().unwrap(), [5, 6]);
    drop(sender);
    assert!(results.next().is_none());
}

/// A batch that waits for room when its time comes goes on when there is room; what is left of it waits for the time of its own first item.
#[test]
fn a_late_batch_leaves_a_batch_with_a_time_of_its_own() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let (pool, gate) = (Pool::new(1).unwrap(), Gate::new());
    let held = gate.clone();
    let hold = move |batch: Vec<u32>| {
        held.wait();
        batch
    };
    let (sender, receiver) = mpsc::channel();
    let mut results = Pipeline::from(receiver).batch(2, HOUR).buffer(4).stage(&pool, hold).buffer(1).into_iter();
    (0..4).for_each(|n| sender.send(n).unwrap());
    eventually("a full batch waits for room", || results.stats().stages[0].waiting_for_room == 2);
    clock.advance(HOUR / 2);
    sender.send(4).unwrap();
    eventually("one waits behind it", || results.stats().stages[0].waiting_for_room == 3);
    clock.advance(HOUR / 2);
    gate.open();
    assert_eq!(results.next().unwrap().unwrap(), [0, 1]);
    assert_eq!(results.next().unwrap().unwrap(), [2, 3]);
    assert_eq!(results.stats().stages[0].waiting_for_room, 1);
    clock.advance(HOUR / 2);
    assert_eq!(results.next().unwrap().unwrap(), [4]);
    drop(sender);
    assert!(results.next().is_none());
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

/// What waits for a time is in the queue when the advance returns: a test with one thread need not wait for the timer's.
#[test]
fn an_advance_lets_in_what_is_due() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = PoolWithFunc::builder(|n: u32| Err::<(), _>(n)).stepped().build().unwrap();
    let letters = DeadLetters::queue(100);
    let retrying = pool.retrying(Retry::fixed(HOUR).attempts(3)).dead_letters(&letters);
    for round in 0..100 {
        let handle = retrying.spawn(round).unwrap();
        assert!(pool.step());
        for _ in 1..3 {
            clock.advance(HOUR - Duration::from_secs(1));
            assert!(!pool.step());
            clock.advance(Duration::from_secs(1));
            assert!(pool.step());
        }
        assert_eq!((handle.is_finished(), letters.len()), (true, 1));
        assert_eq!(letters.take().unwrap().into_task(), round);
    }
}

/// The same for a rate of a view and for a batch.
#[test]
#[cfg(feature = "rate")]
fn an_advance_lets_in_what_a_rate_and_a_batch_hold_back() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::builder().stepped().build().unwrap();
    let view = pool.limited(8).rate(formicary::Quota::per_second(1));
    let batched = pool.batched(10, Duration::from_secs(1), |items: Vec<u32>| items);
    for _ in 0..100 {
        clock.advance(Duration::from_secs(10)); // the burst is back
        (0..2).for_each(|_| view.submit(|| ()).unwrap());
        let item = batched.spawn(7).unwrap();
        assert!(pool.step() && !pool.step());
        clock.advance(Duration::from_secs(1));
        assert!(pool.step() && pool.step() && !pool.step());
        assert_eq!(item.join().unwrap(), 7);
    }
}
