//! The clock for tests: every kind of limit follows it. A program of its own, because the clock is for the whole process.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used)]

#[path = "test_clock/autoscaling.rs"]
mod autoscaling;
#[path = "test_clock/flow.rs"]
mod flow;
mod support;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use formicary::{CancelToken, Pool, Reconfigure, TestClock};
use support::waking::block_on;
use support::{Gate, LIMIT, eventually, within};

/// Also held where no clock lives.
static ALONE: Mutex<()> = Mutex::new(());

/// No test lasts as long as this, unless the clock advances.
const HOUR: Duration = Duration::from_secs(3600);

/// Whether `waits` returns only when the clock has advanced by an hour. It is called on a thread of its own.
fn returns_after_an_hour<T: Send + 'static>(clock: &TestClock, waits: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, result) = channel();
    let (begins, begun) = channel();
    let waiting = thread::spawn(move || {
        begins.send(()).unwrap();
        sender.send(waits()).unwrap();
    });
    begun.recv_timeout(LIMIT).unwrap();
    clock.advance(HOUR / 2);
    // It sees this, and has not returned some looks later.
    thread::sleep(Duration::from_millis(20));
    assert!(result.try_recv().is_err(), "it returned too early");
    // The wait may have begun after the first advance.
    clock.advance(HOUR);
    let result = result.recv_timeout(LIMIT).unwrap();
    waiting.join().unwrap();
    result
}

#[test]
fn waits_with_a_limit_follow_the_clock() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Arc::new(Pool::builder().workers(1).queue(0).build().unwrap());
    let gate = Gate::new();
    let waits = gate.clone();
    let hangs = pool.spawn(move || waits.wait()).unwrap();
    gate.await_arrivals(1);

    let inner = Arc::clone(&pool);
    assert!(returns_after_an_hour(&clock, move || !inner.wait_idle_timeout(HOUR)));
    let inner = Arc::clone(&pool);
    let late = returns_after_an_hour(&clock, move || inner.with().room_timeout(HOUR).submit(|| ()).unwrap_err().kind());
    assert_eq!(late, formicary::SubmitErrorKind::TimedOut);
    let inner = Arc::clone(&pool);
    let late = returns_after_an_hour(&clock, move || inner.with().timeout(HOUR).run(|| ()).is_err());
    assert!(late);
    assert!(returns_after_an_hour(&clock, || !CancelToken::new().wait_timeout(HOUR)));
    // By the timer thread.
    let token = CancelToken::new();
    token.cancel_after(HOUR);
    returns_after_an_hour(&clock, move || block_on(token.cancelled()));
    let mut hangs = hangs;
    let hangs = returns_after_an_hour(&clock, move || {
        assert!(hangs.join_timeout(HOUR).is_none());
        hangs
    });
    gate.open();
    assert!(hangs.join().is_ok());
}

#[test]
fn pauses_and_expiry_follow_the_clock() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::builder().workers(2).min_workers(0).expiry(HOUR).build().unwrap();
    assert_eq!(pool.run(|| 1).unwrap(), 1);
    let pause = pool.pause_timeout(HOUR);
    let task = pool.spawn(|| 2).unwrap();
    clock.advance(HOUR - Duration::from_nanos(1));
    thread::sleep(Duration::from_millis(10));
    assert!(pool.is_paused() && !task.is_finished() && pool.stats().live > 0);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(within(LIMIT, "the pause", move || task.join()).unwrap(), 2);
    drop(pause);
    assert!(pool.stats().live > 0);
    clock.advance(2 * HOUR);
    eventually("idle workers end", || pool.stats().live == 0);
    pool.reconfigure(&Reconfigure::new().expiry(None)).unwrap();
}

#[test]
fn a_watchdog_and_latencies_follow_the_clock() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let (sender, slow) = channel();
    let builder = Pool::builder().workers(1).latencies();
    let pool = builder.slow_after(HOUR, move |task| sender.send(task.elapsed()).unwrap()).build().unwrap();
    let gate = Gate::new();
    let waits = gate.clone();
    let hangs = pool.spawn(move || waits.wait()).unwrap();
    let queued = pool.spawn(|| ()).unwrap();
    gate.await_arrivals(1);
    clock.advance(HOUR - Duration::from_nanos(1));
    thread::sleep(Duration::from_millis(10));
    assert!(slow.try_recv().is_err());
    clock.advance(Duration::from_nanos(1));
    assert_eq!(slow.recv_timeout(LIMIT).unwrap(), HOUR);
    gate.open();
    assert!(hangs.join().is_ok() && queued.join().is_ok());
    let latencies = pool.latencies().unwrap();
    let [wait, run] = [latencies.queue_wait.max(), latencies.run_time.max()];
    assert!(wait >= HOUR && run >= HOUR, "{wait:?} {run:?}");
    assert!(latencies.run_time.min().is_zero());
}

/// The time goes on when the clock is dropped.
#[test]
fn a_clock_ends() {
    let _alone = ALONE.lock();
    drop(TestClock::freeze());
    let clock = TestClock::freeze();
    let now = clock.now();
    clock.advance(Duration::MAX);
    assert_eq!(clock.now(), now, "it cannot be represented");
    clock.advance(HOUR);
    assert_eq!(clock.now(), now + HOUR);
    let before = Instant::now();
    drop(clock);
    assert!(!CancelToken::new().wait_timeout(Duration::from_millis(2)));
    assert!(before.elapsed() >= Duration::from_millis(2));
}

/// The timer's thread follows the next clock, too.
#[test]
fn a_clock_after_a_clock() {
    let _alone = ALONE.lock();
    for hours in 1..4 {
        let clock = TestClock::freeze();
        let token = CancelToken::new();
        token.cancel_after(hours * HOUR);
        let (sender, cancelled) = channel();
        let waits = thread::spawn(move || {
            block_on(token.cancelled());
            sender.send(()).unwrap();
        });
        // The thread may have begun to wait only after some of these.
        for _ in 0..2 * hours {
            thread::sleep(Duration::from_millis(5));
            clock.advance(HOUR);
        }
        cancelled.recv_timeout(LIMIT).unwrap();
        waits.join().unwrap();
        drop(clock);
        // The timer's thread looks at the time once more, which has gone back.
        thread::sleep(Duration::from_millis(10));
    }
}
