//! Rates, orders, retries, breakers, pauses and ends together, by a clock that the tests advance. A program of its own, because the clock is
//! for the whole process.
#![cfg(all(feature = "rate", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use formicary::{
    Breaker, BreakerState, CancelToken, DeadLetters, Dispatch, Every, GaveUp, Handle, Overrun, Quota, Retry, TestClock,
};
use support::closures::{assert_quiet, pool};
use support::{Gate, eventually, on_every_dispatch};

const SECOND: Duration = Duration::from_secs(1);

/// What has started.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn task(&self, name: &'static str) -> impl FnOnce() + Send + 'static + use<> {
        let log = self.clone();
        move || log.0.lock().push(name)
    }

    fn awaits(&self, names: &[&str]) {
        eventually("they have started", || self.0.lock().len() >= names.len());
        let mut started = self.0.lock().clone();
        started.sort_unstable();
        assert_eq!(started, names);
    }
}

/// One start a second, whatever the keys are, and each key's tasks in their order; what is cancelled takes no start, and gives its turn on.
fn ordered_at_a_rate<D: Dispatch>() {
    let (clock, log, pool) = (TestClock::freeze(), Log::default(), pool::<D>(4, 50));
    let view = pool.limited(4).rate(Quota::new(1, SECOND));
    let spawn = |key: u8, name: &'static str| view.with().in_order(key).spawn(log.task(name)).unwrap();
    spawn(1, "a1").join().unwrap();
    let handles = [(1, "a2"), (1, "a3"), (2, "b1"), (1, "a4"), (2, "b2")].map(|(key, name)| spawn(key, name));
    assert_eq!((view.stats().queued, pool.stats().running), (5, 0));
    assert!(handles[0].cancel());
    clock.advance(SECOND);
    eventually("one has started", || log.0.lock().len() == 2);
    clock.advance(SECOND);
    eventually("two have started", || log.0.lock().len() == 3);
    assert!(handles[4].cancel());
    clock.advance(SECOND);
    eventually("all have started", || log.0.lock().len() == 4);
    assert!(view.wait_idle());
    let of_key = |key: char| log.0.lock().iter().copied().filter(|name| name.starts_with(key)).collect::<Vec<_>>();
    assert_eq!((of_key('a'), of_key('b')), (vec!["a1", "a3", "a4"], vec!["b1"]));
    // The starts go to those that are next in their orders as they came: no key starves another.
    assert!(log.0.lock()[..3].contains(&"b1"), "{:?}", log.0.lock());
    let stats = view.stats();
    assert_eq!((stats.submitted, stats.completed, stats.cancelled), (6, 4, 2));
    assert_quiet(&pool);
    // The start that is saved up is not lost by the cancels.
    clock.advance(SECOND);
    spawn(2, "b3").join().unwrap();
}

#[test]
fn a_rate_holds_for_the_orders_of_all_keys() {
    on_every_dispatch!(ordered_at_a_rate);
}

/// While the pool is paused, what has its start can still be cancelled, and so can what waits for one.
fn paused_at_a_rate<D: Dispatch>() {
    let (clock, log, pool) = (TestClock::freeze(), Log::default(), pool::<D>(2, 50));
    let view = pool.limited(2).rate(Quota::new(1, SECOND));
    let pause = pool.pause();
    let token = CancelToken::new();
    let handles: Vec<Handle<()>> = ["0", "1", "2", "3", "4"].map(|name| view.spawn(log.task(name)).unwrap()).into();
    let by_token = view.with().token(&token).spawn(log.task("5")).unwrap();
    eventually("one has its start", || pool.stats().queued == 1);
    clock.advance(SECOND);
    eventually("two have their start", || pool.stats().queued == 2);
    // One that has its start, one that is next, and one behind it.
    assert!(handles[1].cancel() && handles[2].cancel());
    token.cancel();
    // The permit that came free goes to the next, which needs a start: there is none yet.
    clock.advance(SECOND);
    eventually("the next has its start", || pool.stats().queued >= 2);
    clock.advance(10 * SECOND);
    assert!(log.0.lock().is_empty());
    drop(pause);
    // The start that was saved up meanwhile is the last one's.
    assert!(view.wait_idle());
    log.awaits(&["0", "3", "4"]);
    assert!(by_token.join().unwrap_err().is_cancelled());
    let ended: Vec<_> = handles.into_iter().map(|handle| handle.join().is_ok()).collect();
    assert_eq!(ended, [true, false, false, true, true]);
    let stats = view.stats();
    assert_eq!((stats.submitted, stats.completed, stats.cancelled), (6, 3, 3));
    assert_quiet(&pool);
}

#[test]
fn a_pause_and_cancels_use_up_no_start() {
    on_every_dispatch!(paused_at_a_rate);
}

/// One attempt waits in a paused queue, one for its delay, and one runs: a shutdown has each end once, in one place.
fn shut_down_in_a_pause<D: Dispatch>() {
    let (clock, pool) = (TestClock::freeze(), pool::<D>(1, 10));
    let (letters, gate) = (DeadLetters::queue(9), Gate::new());
    type Attempt = Box<dyn FnMut() -> Result<u8, String> + Send>;
    let fails = || -> Attempt { Box::new(|| Err("no".to_owned())) };
    let retrying = pool.retrying(Retry::fixed(SECOND)).dead_letters(&letters);
    let [delayed, queued] = [(); 2].map(|()| retrying.spawn(fails()).unwrap());
    eventually("both wait", || retrying.stats().waiting == 2);
    let waits = gate.clone();
    let running = retrying.spawn(Box::new(move || (waits.wait(), Err("late".to_owned())).1) as Attempt).unwrap();
    gate.await_arrivals(1);
    let pause = pool.pause_timeout(Duration::ZERO);
    clock.advance(SECOND);
    eventually("both are queued", || pool.stats().queued == 2);
    delayed.cancel();
    eventually("one is left", || delayed.is_finished());
    let closing = Arc::clone(&pool);
    let ends = std::thread::spawn(move || closing.shutdown_now().len());
    eventually("it is closed", || pool.is_closed() && queued.is_finished());
    gate.open();
    assert_eq!(ends.join().unwrap(), 1);
    drop(pause);
    let reasons = [delayed, queued, running].map(|handle| handle.join().unwrap().unwrap_err().reason());
    assert_eq!(reasons, [GaveUp::Cancelled, GaveUp::Cancelled, GaveUp::Closed]);
    let (stats, letters) = (retrying.stats(), letters.take_all());
    assert_eq!((stats.submitted, stats.cancelled, stats.failed, stats.waiting), (3, 2, 1, 0));
    assert_eq!((letters.len(), letters[0].error()), (1, "late"));
    clock.advance(10 * SECOND);
    assert_quiet(&pool);
}

#[test]
fn attempts_end_once_in_a_pause_and_a_shutdown() {
    on_every_dispatch!(shut_down_in_a_pause);
}

/// The probe of a breaker is an attempt that waits in a paused pool; cancelled there, it is lost, and the next one is the probe.
fn probe_in_a_pause<D: Dispatch>() {
    let (clock, pool) = (TestClock::freeze(), pool::<D>(1, 10));
    let guarded = pool.guarded(Breaker::ratio(1.0).window(1).rest(10 * SECOND));
    guarded.run(|| Err::<u8, _>("no".to_owned())).unwrap().unwrap_err();
    assert_eq!(guarded.state(), BreakerState::Open);
    let calls = guarded.retrying(Retry::<String>::fixed(SECOND).attempts(9));
    let cancelled = calls.spawn(|| Ok(1)).unwrap();
    eventually("it waits", || calls.stats().waiting == 1);
    let pause = pool.pause();
    clock.advance(10 * SECOND);
    eventually("the probe is queued", || pool.stats().queued == 1);
    let next = calls.spawn(|| Ok(2)).unwrap();
    eventually("the next one waits", || calls.stats().waiting == 1);
    cancelled.cancel();
    assert_eq!(cancelled.join().unwrap().unwrap_err().reason(), GaveUp::Cancelled);
    drop(pause);
    for _ in 0..20 {
        clock.advance(SECOND);
    }
    assert_eq!(next.join().unwrap().unwrap(), 2);
    assert_eq!(guarded.state(), BreakerState::Closed);
    let stats = guarded.stats();
    assert_eq!((stats.failed, stats.succeeded, stats.lost), (1, 1, 1));
    assert_quiet(&pool);
}

#[test]
fn a_cancelled_probe_is_lost_and_the_next_one_decides() {
    on_every_dispatch!(probe_in_a_pause);
}

/// Runs of a series in a view with a rate wait for their starts; the view's close ends the series, and the law holds.
fn series_at_a_rate<D: Dispatch>() {
    let (clock, log, pool) = (TestClock::freeze(), Log::default(), pool::<D>(2, 10));
    let view = pool.limited(1).rate(Quota::new(1, 3 * SECOND));
    let runs = log.clone();
    let every = Every::rate(SECOND).overrun(Overrun::CatchUp);
    let series = view.submit_every(every, move || runs.0.lock().push("run")).unwrap();
    clock.advance(SECOND);
    log.awaits(&["run"]);
    eventually("the next is scheduled", || pool.stats().scheduled == 1);
    clock.advance(SECOND);
    eventually("it waits for its start", || view.stats().queued == 1);
    assert_eq!(log.0.lock().len(), 1);
    clock.advance(2 * SECOND);
    log.awaits(&["run", "run"]);
    // Those that are due meanwhile wait, one after the other.
    eventually("the third waits for its start", || view.stats().queued == 1);
    // A close gives back what waits, also a run.
    assert_eq!(view.close().len(), 1);
    eventually("it is over", || series.is_over());
    clock.advance(10 * SECOND);
    assert_eq!(log.0.lock().len(), 2);
    let stats = view.stats();
    assert_eq!(stats.submitted, stats.completed + stats.cancelled + stats.returned + stats.dropped, "{stats:?}");
    assert_quiet(&pool);
}

#[test]
fn a_series_keeps_to_the_rate_of_its_view() {
    on_every_dispatch!(series_at_a_rate);
}
