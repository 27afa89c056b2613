//! Breakers: what opens them, what they refuse, and what does not count. When they open and close is in `tests/flow_clock.rs`; the states
//! alone have tests beside them.

use std::panic::panic_any;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::support::tries::{fails, fails_always, on_each_kind};
use crate::support::waking::block_on;
use crate::support::{Gate, eventually, on_every_dispatch, quiet_panics};
use formicary::{Breaker, BreakerState, DeadLetters, Dispatch, GaveUp, Pool, PoolWithFunc, Retry, SubmitErrorKind};

/// No test lasts as long as this.
const HOUR: Duration = Duration::from_secs(3600);

/// Opens at the first failure, and stays open.
fn fragile() -> Breaker {
    Breaker::ratio(1.0).window(1).rest(HOUR)
}

/// Results pass through, failures open it, and then every verb is refused, with the task and the time.
#[test]
fn failures_open_it() {
    fn check<D: Dispatch>() {
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let calls = $pool.guarded(Breaker::ratio(0.5).window(4).minimum(4).rest(HOUR));
                assert_eq!(calls.run($make(fails(0))).unwrap(), Ok(1));
                assert_eq!(block_on(calls.run_async($make(fails(0)))).unwrap(), Ok(1));
                assert_eq!(calls.spawn($make(fails_always())).unwrap().join().unwrap(), Err("failure 0".into()));
                assert_eq!((calls.state(), calls.retry_after()), (BreakerState::Closed, None));
                let handle = block_on(calls.spawn_async($make(fails_always()))).unwrap();
                assert_eq!(block_on(handle).unwrap(), Err("failure 0".into()));
                assert_eq!(calls.state(), BreakerState::Open);
                assert!(calls.retry_after().unwrap() > HOUR / 2);

                let refusal = calls.spawn($make(fails(0))).unwrap_err();
                assert!(refusal.is_open() && refusal.retry_after().unwrap() > HOUR / 2);
                assert!(refusal.retry_after().unwrap() <= HOUR);
                assert_eq!(refusal.to_string(), "the breaker is open");
                // It is the task.
                $control.wait_idle();
                assert_eq!($pool.run(refusal.into_task()).unwrap(), Ok(1));
                let kinds = [
                    calls.submit($make(fails(0))).unwrap_err().kind(),
                    calls.try_submit($make(fails(0))).unwrap_err().kind(),
                    block_on(calls.submit_async($make(fails(0)))).unwrap_err().kind(),
                    calls.try_spawn($make(fails(0))).unwrap_err().kind(),
                    block_on(calls.spawn_async($make(fails(0)))).unwrap_err().kind(),
                ];
                assert_eq!(kinds, [SubmitErrorKind::Open; 5]);
                assert!(calls.run($make(fails(0))).unwrap_err().is_open());
                assert!(calls.try_run($make(fails(0))).unwrap_err().is_open());
                assert!(block_on(calls.run_async($make(fails(0)))).unwrap_err().is_open());
                let stats = calls.stats();
                assert_eq!((stats.succeeded, stats.failed, stats.refused, stats.opened), (2, 2, 9, 1));
                assert_eq!($control.stats().submitted, 5);
                // A clone has the same breaker.
                assert_eq!(calls.clone().state(), BreakerState::Open);
            };
        }
        on_each_kind!(D, workers: 2, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// By default an `Err` and a panic; or what a predicate says, and a panic; or a panic.
#[test]
fn what_is_a_failure() {
    quiet_panics();
    let pool = Pool::new(1).unwrap();
    let calls = pool.guarded(fragile());
    let panicked = calls.run(|| -> Result<(), ()> { panic_any("a test's panic") }).unwrap_err();
    assert!(panicked.is_panic());
    assert_eq!(calls.state(), BreakerState::Open);

    let calls = pool.guarded(fragile().panics());
    assert_eq!(calls.run(|| Err::<(), _>(7)).unwrap(), Err(7));
    assert_eq!((calls.run(|| 7).unwrap(), calls.state()), (7, BreakerState::Closed));
    assert!(calls.run(|| panic_any("a test's panic")).is_err());
    assert_eq!(calls.state(), BreakerState::Open);

    let pool = PoolWithFunc::new(1, |status: u16| status).unwrap();
    let calls = pool.guarded(fragile().when(|status: &u16| *status >= 500));
    assert_eq!((calls.run(404).unwrap(), calls.state()), (404, BreakerState::Closed));
    assert_eq!((calls.run(503).unwrap(), calls.state()), (503, BreakerState::Open));
    // A predicate that panics has found a failure.
    let calls = pool.guarded(fragile().when(|_: &u16| panic_any("a test's panic")));
    assert_eq!((calls.run(200).unwrap(), calls.state()), (200, BreakerState::Open));
    assert_eq!(calls.stats().handler_panics, 1);
}

/// What did not run has no outcome.
#[test]
fn what_does_not_run_does_not_count() {
    fn check<D: Dispatch>() {
        let pool = Pool::builder().workers(1).queue(1).dispatch::<D>().build().unwrap();
        let calls = pool.guarded(fragile());
        let pause = pool.pause();
        let cancelled = calls.spawn(|| Err::<(), _>("no")).unwrap();
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is_cancelled());
        let [one, other] = [(); 2].map(|()| calls.spawn(|| Err::<(), _>("no")).unwrap());
        assert!(calls.try_submit(|| Err::<(), _>("no")).unwrap_err().is_full());
        assert_eq!(pool.shutdown_now().len(), 2);
        drop(pause);
        assert!(one.join().unwrap_err().is_cancelled() && other.join().unwrap_err().is_cancelled());
        assert!(calls.submit(|| Err::<(), _>("no")).unwrap_err().is_closed());
        let stats = calls.stats();
        assert_eq!((calls.state(), stats.lost, stats.failed), (BreakerState::Closed, 5, 0));
    }
    on_every_dispatch!(check);
}

/// A task that was let through before the breaker opened runs, and does not count.
#[test]
fn what_was_let_through_runs() {
    let pool = Pool::new(1).unwrap();
    let calls = pool.guarded(fragile());
    let gate = Gate::new();
    let waits = gate.clone();
    let first = calls.spawn(move || (waits.wait(), Err::<(), _>("no")).1).unwrap();
    gate.await_arrivals(1);
    let second = calls.spawn(|| Ok::<_, &str>(())).unwrap();
    gate.open();
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (Err("no"), Ok(())));
    assert_eq!((calls.state(), calls.stats().opened), (BreakerState::Open, 1));
}

#[test]
fn changes_are_told() {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&changes);
    let pool = Pool::new(1).unwrap();
    // Such a rest is over before the next call.
    let breaker = Breaker::ratio(1.0).window(1).rest(Duration::from_nanos(1)).on_change(move |state| {
        notes.lock().push(state);
        panic_any("a test's panic")
    });
    let calls = pool.guarded(breaker);
    let succeeds = |succeeds: bool| calls.run(move || succeeds.then_some(()).ok_or("no")).unwrap().is_ok();
    assert!(!succeeds(false) && !succeeds(false) && succeeds(true) && succeeds(true));
    use BreakerState::{Closed, HalfOpen, Open};
    assert_eq!(*changes.lock(), [Open, HalfOpen, Open, HalfOpen, Closed]);
    assert_eq!((calls.stats().opened, calls.stats().handler_panics), (2, 5));
}

/// Each attempt counts for the breaker, and an open one is a failed attempt that starts no task.
#[test]
fn retries_go_on_top() {
    fn check<D: Dispatch>() {
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let guarded = $pool.guarded(Breaker::ratio(1.0).window(3).minimum(3).rest(HOUR));
                let letters = DeadLetters::queue(9);
                let calls = guarded.retrying(Retry::fixed(Duration::ZERO)).dead_letters(&letters);
                let handle = calls.spawn($make(fails_always())).unwrap();
                eventually("it waits for the breaker", || calls.stats().retried == 4 && calls.stats().waiting == 1);
                let stats = guarded.stats();
                assert_eq!((stats.failed, stats.refused, stats.opened), (3, 1, 1));
                // So does one whose first attempt is refused.
                let other = calls.spawn($make(fails(0))).unwrap();
                assert_eq!((calls.stats().waiting, guarded.stats().refused), (2, 2));
                let impatient = guarded.retrying(Retry::fixed(Duration::ZERO).within(HOUR / 2));
                let error = impatient.run($make(fails(0))).unwrap().unwrap_err();
                assert_eq!((error.reason(), error.refusal()), (GaveUp::TimeUp, Some(SubmitErrorKind::Open)));
                $control.shutdown();
                let errors = [handle, other].map(|handle| handle.join().unwrap().unwrap_err());
                assert_eq!(
                    errors.map(|error| (error.reason(), error.attempts())),
                    [(GaveUp::Closed, 4), (GaveUp::Closed, 1)]
                );
                assert_eq!(letters.take().unwrap().error(), "the breaker is open");
                assert_eq!(($control.stats().submitted, letters.len()), (3, 1));
            };
        }
        on_each_kind!(D, workers: 1, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// A bulkhead: a view limits what runs, the breaker what is let through.
#[test]
fn a_view_is_the_bulkhead() {
    let pool = Pool::new(4).unwrap();
    let view = pool.limited(2);
    let calls = view.guarded(fragile());
    let gate = Gate::new();
    let spawn = |n: usize| {
        let waits = gate.clone();
        calls.spawn(move || (waits.wait(), if n == 0 { Err("no") } else { Ok(()) }).1).unwrap()
    };
    let handles: Vec<_> = (0..4).map(spawn).collect();
    gate.await_arrivals(2);
    assert_eq!((view.stats().running, view.stats().peak_running), (2, 2));
    assert_eq!(pool.run(|| 7).unwrap(), 7);
    gate.open();
    let failed = handles.into_iter().map(|handle| handle.join().unwrap()).filter(Result::is_err).count();
    assert_eq!((failed, calls.state(), view.stats().peak_running), (1, BreakerState::Open, 2));
}

/// On a worker of the same pool, too.
#[test]
fn a_worker_may_wait_for_a_guarded_task() {
    fn check<D: Dispatch>() {
        let pool = Arc::new(Pool::builder().workers(1).dispatch::<D>().build().unwrap());
        let inner = Arc::clone(&pool);
        let result = pool.run(move || inner.guarded(fragile()).run(|| Ok::<_, String>(7)).unwrap());
        assert_eq!(result.unwrap(), Ok(7));
    }
    on_every_dispatch!(check);
}

#[test]
fn bad_settings_panic() {
    type Case = (fn() -> Breaker, &'static str);
    let cases: [Case; 12] = [
        (|| Breaker::ratio(f64::NAN), "`ratio` is NaN"),
        (|| Breaker::ratio(0.0), "`ratio` is 0"),
        (|| Breaker::ratio(-0.5), "`ratio` is -0.5"),
        (|| Breaker::ratio(1.01), "`ratio` is 1.01"),
        (|| Breaker::ratio(f64::INFINITY), "`ratio` is inf"),
        (|| Breaker::ratio(0.5).window(0), "`outcomes` is 0"),
        (|| Breaker::ratio(0.5).minimum(0), "`outcomes` is 0"),
        (|| Breaker::ratio(0.5).minimum(21), "the minimum is 21, which is above the window, 20"),
        (|| Breaker::ratio(0.5).minimum(5).window(4), "the minimum is 5, which is above the window, 4"),
        (|| Breaker::ratio(0.5).rest(Duration::ZERO), "`rest` is 0"),
        (|| Breaker::ratio(0.5).rest(Duration::MAX), "`rest` is 18446744073709551615.999999999s"),
        (
            || Breaker::ratio(0.5).growing(Duration::from_secs(1)),
            "the limit of rests is 1s, which is below the first, 30s",
        ),
    ];
    for (make, text) in cases {
        let payload = std::panic::catch_unwind(|| drop(make())).unwrap_err();
        let found = payload.downcast_ref::<String>().cloned();
        let found = found.unwrap_or_else(|| (*payload.downcast_ref::<&str>().unwrap()).to_owned());
        assert!(found.starts_with(text), "{found}");
    }
    drop(Breaker::ratio(0.5).window(4).minimum(4).rest(HOUR).growing(HOUR));
}
