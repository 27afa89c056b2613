//! Retries and breakers by a clock that the test advances. A program of its own, because the clock is for the whole process.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;

use formicary::observe::{Observer, RetryInfo};
use formicary::{Breaker, BreakerState, DeadLetters, Dispatch, GaveUp, Pool, Retry, RetryStats, TestClock};
use support::tries::{fails, fails_always, on_each_kind};
use support::{Gate, eventually, on_every_dispatch, quiet_panics};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_nanos(1);

/// Waits until so many attempts have failed, and the task waits for the next.
fn await_delay(stats: impl Fn() -> RetryStats, failed: u64) {
    eventually("it waits for the next attempt", || stats().retried == failed && stats().waiting == 1);
}

/// No attempt is early by a nanosecond, and none is late.
#[test]
fn delays_are_exact() {
    fn check<D: Dispatch>() {
        let clock = TestClock::freeze();
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let policy = Retry::exponential(SECOND).max(5 * SECOND).attempts(6);
                let retrying = $pool.retrying(policy);
                let handle = retrying.spawn($make(fails_always())).unwrap();
                for (failed, delay) in (1..).zip([1, 2, 4, 5, 5]) {
                    await_delay(|| retrying.stats(), failed);
                    clock.advance(delay * SECOND - TICK);
                    assert_eq!(($control.stats().submitted, retrying.stats().waiting), (failed, 1));
                    clock.advance(TICK);
                }
                let error = handle.join().unwrap().unwrap_err();
                assert_eq!((error.reason(), error.attempts()), (GaveUp::Exhausted, 6));
                assert_eq!($control.stats().submitted, 6);
            };
        }
        on_each_kind!(D, workers: 1, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// A script of ones own in place of chance. The limit is before the jitter.
#[test]
fn a_jitter_changes_the_delays() {
    let clock = TestClock::freeze();
    let given = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&given);
    let policy = Retry::exponential(2 * SECOND).max(4 * SECOND).attempts(4).jitter_with(move |delay| {
        notes.lock().push(delay);
        delay / 2
    });
    let pool = Pool::new(1).unwrap();
    let retrying = pool.retrying(policy);
    let handle = retrying.spawn(|| Err::<(), _>("no")).unwrap();
    for (failed, delay) in (1..).zip([1, 2, 2]) {
        await_delay(|| retrying.stats(), failed);
        clock.advance(delay * SECOND);
    }
    assert_eq!(handle.join().unwrap().unwrap_err().attempts(), 4);
    assert_eq!(*given.lock(), [2 * SECOND, 4 * SECOND, 4 * SECOND]);
}

/// Chance stays within its range, as observers see it.
#[test]
fn jitters_stay_in_their_ranges() {
    #[derive(Clone, Default)]
    struct Delays(Arc<Mutex<Vec<Duration>>>);
    impl Observer for Delays {
        fn retried(&self, retry: &RetryInfo<'_>) {
            self.0.lock().push(retry.delay);
        }
    }
    let _clock = TestClock::freeze();
    for (least, policy) in
        [(Duration::ZERO, Retry::<&str>::fixed(SECOND).jitter()), (SECOND / 2, Retry::fixed(SECOND).equal_jitter())]
    {
        let delays = Delays::default();
        let pool = Pool::builder().workers(1).observer(delays.clone()).build().unwrap();
        let retrying = pool.retrying(policy);
        let handles: Vec<_> = (0..50).map(|_| retrying.spawn(|| Err::<(), _>("no")).unwrap()).collect();
        eventually("all wait", || retrying.stats().waiting == 50);
        let delays = delays.0.lock().clone();
        assert!(delays.iter().all(|delay| (least..SECOND).contains(delay)), "{delays:?}");
        let mut different = delays.clone();
        different.sort_unstable();
        different.dedup();
        assert!(different.len() > 40, "{delays:?}");
        pool.shutdown();
        handles.into_iter().for_each(|handle| drop(handle.join().unwrap().unwrap_err()));
    }
}

/// The clock stops: nothing happens, and a cancel, a pause and a close work.
#[test]
fn the_clock_stops() {
    fn check<D: Dispatch>() {
        let clock = TestClock::freeze();
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let letters = DeadLetters::queue(9);
                let retrying = $pool.retrying(Retry::fixed(SECOND)).dead_letters(&letters);
                let [cancelled, paused, closed] = [(); 3].map(|()| retrying.spawn($make(fails(1))).unwrap());
                eventually("all wait", || retrying.stats().waiting == 3);
                cancelled.cancel();
                assert_eq!(cancelled.join().unwrap().unwrap_err().reason(), GaveUp::Cancelled);
                let pause = $control.pause();
                clock.advance(SECOND - TICK);
                assert_eq!((retrying.stats().waiting, $control.stats().queued), (2, 0));
                clock.advance(TICK);
                // The delay is over. The attempts wait for the end of the pause.
                eventually("both are queued", || retrying.stats().waiting == 0);
                assert!(!paused.is_finished() && !closed.is_finished());
                drop(pause);
                assert_eq!((paused.join().unwrap().unwrap(), closed.join().unwrap().unwrap()), (2, 2));
                let closed = retrying.spawn($make(fails(1))).unwrap();
                eventually("it waits", || retrying.stats().waiting == 1);
                $control.shutdown();
                assert_eq!(closed.join().unwrap().unwrap_err().reason(), GaveUp::Closed);
                assert_eq!(letters.len(), 1);
                clock.advance(10 * SECOND);
                assert_eq!(letters.stats().received, 1);
            };
        }
        on_each_kind!(D, workers: 2, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// The limit of time is exact, and a task that could not be in time does not wait for it.
#[test]
fn no_attempt_begins_after_the_limit() {
    let clock = TestClock::freeze();
    let pool = Pool::new(1).unwrap();
    let retrying = pool.retrying(Retry::fixed(2 * SECOND).attempts(9).within(4 * SECOND));
    let handle = retrying.spawn(|| Err::<(), _>("no")).unwrap();
    for failed in [1, 2] {
        await_delay(|| retrying.stats(), failed);
        clock.advance(2 * SECOND);
    }
    let error = handle.join().unwrap().unwrap_err();
    assert_eq!((error.reason(), error.attempts()), (GaveUp::TimeUp, 3));
}

/// A time limit of the options is one of each attempt, and a late attempt is a failed one. A deadline is one of the whole.
#[test]
fn options_limit_the_attempts_or_the_whole() {
    fn check<D: Dispatch>() {
        let clock = TestClock::freeze();
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let letters = DeadLetters::queue(9);
                let retrying = $pool.with().timeout(3 * SECOND).retrying(Retry::fixed(SECOND)).dead_letters(&letters);
                let pause = $control.pause();
                let handle = retrying.spawn($make(fails(0))).unwrap();
                clock.advance(3 * SECOND);
                drop(pause);
                await_delay(|| retrying.stats(), 1);
                clock.advance(SECOND);
                assert_eq!(handle.join().unwrap().unwrap(), 1);
                let late = $pool.with().timeout(3 * SECOND).retrying(Retry::none()).dead_letters(&letters);
                let pause = $control.pause();
                let handle = late.spawn($make(fails(0))).unwrap();
                clock.advance(3 * SECOND);
                drop(pause);
                let error = handle.join().unwrap().unwrap_err();
                assert_eq!((error.reason(), error.join_error().unwrap().is_timed_out()), (GaveUp::Exhausted, true));

                let whole = $pool.with().deadline(clock.now() + 3 * SECOND).retrying(Retry::fixed(2 * SECOND));
                let whole = whole.dead_letters(&letters);
                let handle = whole.spawn($make(fails_always())).unwrap();
                await_delay(|| whole.stats(), 1);
                clock.advance(2 * SECOND);
                await_delay(|| whole.stats(), 2);
                clock.advance(SECOND - TICK);
                assert_eq!(whole.stats().waiting, 1);
                clock.advance(TICK);
                let error = handle.join().unwrap().unwrap_err();
                assert_eq!((error.reason(), error.attempts(), letters.len()), (GaveUp::TimeUp, 2, 2));
            };
        }
        on_each_kind!(D, workers: 1, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// A breaker that has opened.
macro_rules! opened {
    ($pool:expr, $breaker:expr) => {{
        let calls = $pool.guarded($breaker);
        calls.run(|| Err::<(), _>("no")).unwrap().unwrap_err();
        calls
    }};
}

fn fragile() -> Breaker {
    Breaker::ratio(1.0).window(1).rest(10 * SECOND)
}

/// It half-opens after its rest, lets one probe through at a time, and closes or opens with that.
#[test]
fn a_probe_decides() {
    let clock = TestClock::freeze();
    let pool = Pool::new(2).unwrap();
    let calls = opened!(pool, fragile().growing(30 * SECOND));
    let refused = || calls.submit(|| Ok::<_, &str>(())).unwrap_err().retry_after().unwrap();
    assert_eq!(refused(), 10 * SECOND);
    clock.advance(10 * SECOND - TICK);
    assert_eq!((calls.state(), refused()), (BreakerState::Open, TICK));
    clock.advance(TICK);
    assert_eq!((calls.state(), calls.retry_after()), (BreakerState::HalfOpen, None));
    // The rests grow while probes fail.
    for rest in [20, 30, 30].map(|seconds| seconds * SECOND) {
        calls.run(|| Err::<(), _>("no")).unwrap().unwrap_err();
        assert_eq!((calls.state(), refused()), (BreakerState::Open, rest));
        clock.advance(rest);
    }
    let gate = Gate::new();
    let waits = gate.clone();
    let probe = calls.spawn(move || (waits.wait(), Ok::<_, &str>(())).1).unwrap();
    gate.await_arrivals(1);
    assert_eq!((calls.state(), refused()), (BreakerState::HalfOpen, 30 * SECOND));
    gate.open();
    probe.join().unwrap().unwrap();
    assert_eq!(calls.state(), BreakerState::Closed);
    calls.run(|| Ok::<_, &str>(())).unwrap().unwrap();
    // Its next rest is the first again.
    calls.run(|| Err::<(), _>("no")).unwrap().unwrap_err();
    assert_eq!(refused(), 10 * SECOND);
}

/// A probe that is refused, cancelled, given back or dropped makes room for another at once, one that hangs after a rest.
#[test]
fn a_lost_probe_is_followed_by_another() {
    fn check<D: Dispatch>() {
        quiet_panics();
        let clock = TestClock::freeze();
        let pool = Pool::builder().workers(1).queue(0).dispatch::<D>().build().unwrap();
        let calls = opened!(pool, fragile());
        clock.advance(10 * SECOND);
        let pause = pool.pause();
        let cancelled = calls.spawn(|| Ok::<_, &str>(())).unwrap();
        assert!(calls.submit(|| Ok::<_, &str>(())).unwrap_err().is_open());
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is_cancelled());
        let occupies = pool.spawn(|| ()).unwrap();
        for _ in 0..3 {
            assert!(calls.try_submit(|| Ok::<_, &str>(())).unwrap_err().is_full());
        }
        // A future that is dropped while it waits for room.
        let mut waiting = Box::pin(calls.submit_async(|| Ok::<_, &str>(())));
        let waker = support::waking::CountingWaker::new();
        assert!(support::waking::poll_with(waiting.as_mut(), &waker).is_pending());
        assert!(calls.try_submit(|| Ok::<_, &str>(())).unwrap_err().is_open());
        drop(waiting);
        assert!(calls.try_submit(|| Ok::<_, &str>(())).unwrap_err().is_full());
        drop(pause);
        occupies.join().unwrap();

        let gate = Gate::new();
        let waits = gate.clone();
        let hangs = calls.spawn(move || (waits.wait(), Err::<(), _>("late")).1).unwrap();
        gate.await_arrivals(1);
        clock.advance(10 * SECOND - TICK);
        assert!(calls.try_submit(|| Ok::<_, &str>(())).unwrap_err().is_open());
        clock.advance(TICK);
        assert!(calls.try_submit(|| Ok::<_, &str>(())).unwrap_err().is_full());
        gate.open();
        // It has lost its place as the probe.
        assert_eq!(hangs.join().unwrap(), Err("late"));
        assert_eq!(calls.state(), BreakerState::HalfOpen);
        assert!(calls.run(|| -> Result<(), ()> { panic_any("a test's panic") }).is_err());
        assert_eq!(calls.state(), BreakerState::Open);
        clock.advance(10 * SECOND);
        calls.run(|| Ok::<_, &str>(())).unwrap().unwrap();
        assert_eq!(calls.state(), BreakerState::Closed);
    }
    on_every_dispatch!(check);
}

/// A task in retry comes when the breaker lets it through, however short its own delay is.
#[test]
fn retries_wait_for_the_breaker() {
    fn check<D: Dispatch>() {
        let clock = TestClock::freeze();
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let guarded = $pool.guarded(fragile());
                guarded.run($make(fails_always())).unwrap().unwrap_err();
                let runs = $control.stats().submitted;
                let calls = guarded.retrying(Retry::exponential(SECOND).attempts(9));
                let handle = calls.spawn($make(fails(1))).unwrap();
                await_delay(|| calls.stats(), 1);
                clock.advance(10 * SECOND - TICK);
                assert_eq!((calls.stats().waiting, $control.stats().submitted), (1, runs));
                clock.advance(TICK);
                // The probe fails, and opens it again. Its own delay would be two seconds.
                await_delay(|| calls.stats(), 2);
                clock.advance(2 * SECOND);
                await_delay(|| calls.stats(), 3);
                assert_eq!((guarded.state(), $control.stats().submitted), (BreakerState::Open, runs + 1));
                clock.advance(8 * SECOND);
                assert_eq!(handle.join().unwrap().unwrap(), 2);
                assert_eq!(guarded.state(), BreakerState::Closed);
            };
        }
        on_each_kind!(D, workers: 1, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// Thousands of delays that end at once.
#[test]
fn many_delays_end_together() {
    let clock = TestClock::freeze();
    let pool = Pool::builder().workers(2).queue(10).build().unwrap();
    let retrying = pool.retrying(Retry::fixed(SECOND));
    let runs = Arc::new(AtomicUsize::new(0));
    let spawn = |_| {
        let runs = Arc::clone(&runs);
        let mut is_first = true;
        let task = move || {
            runs.fetch_add(1, SeqCst);
            if std::mem::take(&mut is_first) { Err("once") } else { Ok(()) }
        };
        retrying.spawn(task).unwrap()
    };
    let handles: Vec<_> = (0..5_000).map(spawn).collect();
    eventually("all wait", || retrying.stats().waiting == 5_000);
    clock.advance(SECOND);
    handles.into_iter().for_each(|handle| handle.join().unwrap().unwrap());
    assert_eq!((runs.load(SeqCst), retrying.stats().succeeded), (10_000, 5_000));
}
