//! Autoscalers on real pools: every period is one that the test has advanced the clock by.

use std::sync::Arc;
use std::time::Duration;

use formicary::autoscale::{Autoscaler, ByLoad, Change, Controller, Decision, GradientLimit, Reason, Sample, Tuner};
use formicary::{Pool, PoolWithFunc, StatefulPool, TestClock};
use parking_lot::Mutex;

use super::support::{Gate, RunTask, Setup, eventually, variants};
use super::{ALONE, HOUR};

/// Lets one period pass.
fn turn(clock: &TestClock, tuner: &Tuner) {
    let before = tuner.periods();
    clock.advance(HOUR);
    eventually("a turn", || tuner.periods() > before);
}

/// Remembers what it was shown, and decides as the test says.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<(Vec<Sample>, Option<usize>)>>);

impl Scripted {
    fn set(&self, size: usize) {
        self.0.lock().1 = Some(size);
    }

    fn last(&self) -> Sample {
        self.0.lock().0.last().unwrap().clone()
    }
}

impl Controller for Scripted {
    fn next(&mut self, sample: &Sample) -> Decision {
        let mut shared = self.0.lock();
        shared.0.push(sample.clone());
        shared.1.map_or(Decision::keep(sample, Reason::Settled), |size| Decision::to(size, Reason::Other("the test's")))
    }
}

#[test]
fn a_pool_grows_while_tasks_wait_and_shrinks_when_they_are_done() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    for variant in variants() {
        let pool = variant.build(Setup { expiry: Some(None), ..Setup::roomy(1) });
        let tuner = Autoscaler::between(1, 4).period(HOUR).start(&pool).unwrap();
        let gate = Gate::new();
        for _ in 0..20 {
            pool.submit(gate.task()).unwrap();
        }
        // None ends, so each waits for the whole period. A change is made in every third period.
        for size in [2, 2, 2, 3, 3, 3, 4, 4, 4] {
            turn(&clock, &tuner);
            assert_eq!(pool.capacity(), size, "{}", variant.name);
            gate.await_arrivals(size);
        }
        gate.open();
        assert!(pool.wait_idle());
        let mut turns = 0;
        while pool.capacity() > 1 {
            turn(&clock, &tuner);
            turns += 1;
            assert!(turns <= 20, "{}", variant.name);
        }
        let sizes: Vec<_> = tuner.changes().iter().map(|change| change.to).collect();
        assert_eq!(sizes, [2, 3, 4, 3, 2, 1], "{}", variant.name);
        let changes = tuner.changes();
        assert!(changes[..3].iter().all(|change| change.reason == Reason::QueueWait));
        assert!(changes[3..].iter().all(|change| change.reason == Reason::Underused));
        assert_eq!((changes[0].after, changes[0].from), (HOUR, 1));
        eventually("the others end", || pool.stats().live == 1);
        assert_eq!(pool.stats().completed, 20);
    }
}

/// A view of each kind, and its run times.
#[test]
fn a_view_is_measured_and_its_limit_is_set() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    macro_rules! check {
        ($pool:expr, $task:expr) => {{
            let pool = $pool;
            let view = pool.limited(2);
            let inner = view.limited(2);
            let script = Scripted::default();
            let scaler = Autoscaler::between(1, 4).controller(script.clone()).period(HOUR);
            let tuner = scaler.start_on_view(&view).unwrap();
            let gate = Gate::new();
            // One of a view of it, and three that wait for permits.
            inner.submit($task(gate.clone())).unwrap();
            gate.await_arrivals(1);
            (0..4).for_each(|_| view.submit($task(gate.clone())).unwrap());
            gate.await_arrivals(2);
            turn(&clock, &tuner);
            let sample = script.last();
            assert_eq!((sample.size, sample.min, sample.max), (2, 1, 4));
            assert_eq!((sample.running, sample.queued, sample.ended, sample.run_time), (2, 3, 0, None));
            assert_eq!((sample.elapsed, sample.queue_wait), (HOUR, HOUR));
            script.set(3);
            turn(&clock, &tuner);
            assert_eq!(view.limit(), 3);
            gate.await_arrivals(3);
            script.set(100);
            turn(&clock, &tuner);
            assert_eq!(view.limit(), 4, "no more than the maximum");
            gate.await_arrivals(4);
            gate.open();
            assert!(view.wait_idle());
            turn(&clock, &tuner);
            let sample = script.last();
            // Two have run for three periods, one for one, and two for none.
            assert_eq!((sample.ended, sample.run_time), (5, Some(HOUR * 7 / 5)));
            assert!(sample.busy >= 6.9, "{}", sample.busy);
            // Nothing is left of it when it is dropped, and tasks run on.
            drop(tuner);
            view.submit($task(gate.clone())).unwrap();
            assert!(view.wait_idle() && view.stats().completed == 6);
        }};
    }
    check!(Pool::new(5).unwrap(), |gate: Gate| move || gate.wait());
    check!(PoolWithFunc::new(5, |gate: Gate| gate.wait()).unwrap(), |gate| gate);
    check!(StatefulPool::new(5, |_| Ok(RunTask)).unwrap(), |gate: Gate| gate.task());
}

#[test]
fn latencies_make_samples_exact() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::builder().workers(1).latencies().build().unwrap();
    let script = Scripted::default();
    let tuner = Autoscaler::between(1, 4).controller(script.clone()).period(HOUR).start(&pool).unwrap();
    let gate = Gate::new();
    (0..2).for_each(|_| pool.submit(gate.closure()).unwrap());
    gate.await_arrivals(1);
    clock.advance(HOUR / 4);
    gate.pass(1);
    gate.await_arrivals(2);
    clock.advance(HOUR / 4);
    gate.pass(1);
    assert!(pool.wait_idle());
    let before = tuner.periods();
    clock.advance(HOUR / 2);
    eventually("a turn", || tuner.periods() > before);
    let sample = script.last();
    assert_eq!((sample.ended, sample.queued, sample.running), (2, 0, 0));
    // The first has not waited, and each has run for a quarter.
    assert_eq!((sample.queue_wait, sample.run_time), (HOUR / 8, Some(HOUR / 4)));
    assert!((sample.busy - 0.5).abs() < 0.001 && (sample.utilisation() - 0.5).abs() < 0.001, "{}", sample.busy);
}

#[test]
fn it_pauses_resumes_and_stops() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::new(2).unwrap();
    let script = Scripted::default();
    let tuner = Autoscaler::between(1, 8).controller(script.clone()).period(HOUR).start(&pool).unwrap();
    script.set(3);
    turn(&clock, &tuner);
    assert_eq!(pool.capacity(), 3);
    let stays = |what: &str, periods| {
        clock.advance(10 * HOUR);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!((pool.capacity(), tuner.periods()), (3, periods), "{what}");
    };
    script.set(5);
    tuner.pause();
    stays("paused", 1);
    tuner.resume();
    // The period before the pause has no end, so this one is the first.
    turn(&clock, &tuner);
    assert_eq!(pool.capacity(), 3);
    turn(&clock, &tuner);
    assert_eq!(pool.capacity(), 5);
    assert_eq!(script.last().elapsed, HOUR, "without the pause");
    script.set(3);
    turn(&clock, &tuner);
    tuner.stop();
    clock.advance(10 * HOUR);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(pool.capacity(), 3);
}

#[test]
fn missed_periods_are_left_out() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::new(2).unwrap();
    let script = Scripted::default();
    let tuner = Autoscaler::between(1, 8).controller(script.clone()).period(HOUR).start(&pool).unwrap();
    clock.advance(100 * HOUR);
    eventually("a turn", || tuner.periods() > 0);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((tuner.periods(), script.last().elapsed), (1, 100 * HOUR));
    turn(&clock, &tuner);
    assert_eq!(script.last().elapsed, HOUR);
}

#[test]
fn it_leaves_a_paused_or_closed_pool_alone_and_goes_on_after_a_restart() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::new(1).unwrap();
    let by_load = ByLoad::new().cool_down(0);
    let tuner = Autoscaler::between(1, 8).controller(by_load).period(HOUR).start(&pool).unwrap();
    let pause = pool.pause();
    (0..10).for_each(|_| pool.submit(|| ()).unwrap());
    for _ in 0..3 {
        turn(&clock, &tuner);
        assert_eq!(tuner.latest(), Some(Decision::to(1, Reason::Held)));
    }
    drop(pause);
    pool.shutdown();
    turn(&clock, &tuner);
    assert_eq!(tuner.latest(), Some(Decision::to(1, Reason::Held)));
    pool.restart().unwrap();
    let gate = Gate::new();
    (0..3).for_each(|_| pool.submit(gate.closure()).unwrap());
    gate.await_arrivals(1);
    turn(&clock, &tuner);
    turn(&clock, &tuner);
    assert_eq!((pool.capacity(), tuner.latest().unwrap().reason), (2, Reason::QueueWait));
    gate.open();
}

#[test]
fn a_size_out_of_the_bounds_is_brought_back() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::new(1).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let scaler = Autoscaler::between(2, 4).period(HOUR).history(1);
    let tuner = scaler.on_change(move |change| tell.lock().push(*change)).start(&pool).unwrap();
    turn(&clock, &tuner);
    pool.tune(9).unwrap();
    turn(&clock, &tuner);
    let changes: Vec<_> = told.lock().iter().map(|Change { from, to, reason, .. }| (*from, *to, *reason)).collect();
    assert_eq!(changes, [(1, 2, Reason::OutOfBounds), (9, 4, Reason::OutOfBounds)]);
    assert_eq!(tuner.changes(), told.lock()[1..], "it remembers one");
}

#[test]
fn it_ends_with_its_pool_or_view() {
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::new(3).unwrap();
    let view = pool.limited(2);
    let on_pool = Autoscaler::between(1, 4).period(HOUR).start(&pool).unwrap();
    let on_view = Autoscaler::between(1, 4).controller(GradientLimit::new()).period(HOUR).start_on_view(&view).unwrap();
    drop(view);
    turn(&clock, &on_pool);
    eventually("it is over", || on_view.is_over());
    assert!(!on_pool.is_over());
    drop(pool);
    clock.advance(HOUR);
    eventually("it is over", || on_pool.is_over());
    on_pool.resume();
    assert!(on_pool.is_over() && on_pool.periods() == 1);
}

#[test]
fn panics_of_controllers_and_handlers_are_counted_and_change_nothing() {
    struct Panics;
    impl Controller for Panics {
        fn next(&mut self, sample: &Sample) -> Decision {
            assert!(sample.size > 2, "a test's panic");
            Decision::keep(sample, Reason::Settled)
        }
    }
    let _alone = ALONE.lock();
    let clock = TestClock::freeze();
    let pool = Pool::new(2).unwrap();
    let scaler = Autoscaler::between(1, 4).controller(Panics).period(HOUR).on_change(|_| panic!("a test's panic"));
    let tuner = scaler.start(&pool).unwrap();
    turn(&clock, &tuner);
    assert_eq!((tuner.panics(), pool.capacity(), tuner.latest()), (1, 2, None));
    pool.tune(5).unwrap();
    turn(&clock, &tuner);
    assert_eq!((tuner.panics(), pool.capacity()), (2, 4));
    turn(&clock, &tuner);
    assert_eq!((tuner.panics(), tuner.latest().unwrap().reason), (2, Reason::Settled));
    assert_eq!(pool.run(|| 7).unwrap(), 7);
}
