//! Autoscalers: their settings, and the thread that they share. What they do in each period: `tests/test_clock/autoscaling.rs`.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use formicary::autoscale::{Autoscaler, ByLoad, Controller, Decision, HillClimb, Reason, Sample};
use formicary::{Dispatch, MAX_WORKERS, Pool};
use parking_lot::Mutex;

use crate::support::{Gate, LIMIT, Setup, eventually, for_each, on_every_dispatch, within};

const MOMENT: Duration = Duration::from_millis(1);

/// Always the same size.
struct Always(usize);

impl Controller for Always {
    fn next(&mut self, _sample: &Sample) -> Decision {
        Decision::to(self.0, Reason::Other("the test's"))
    }
}

#[test]
fn it_sets_the_capacity_of_every_kind_of_pool() {
    for_each(|variant| {
        let pool = variant.build(Setup::roomy(2));
        let (sender, changes) = channel();
        let scaler = Autoscaler::between(1, 4).controller(Always(9)).period(MOMENT);
        let tuner = scaler.on_change(move |change| sender.send(*change).unwrap()).start(&pool).unwrap();
        let change = changes.recv_timeout(LIMIT).unwrap();
        assert_eq!((change.from, change.to, change.reason), (2, 4, Reason::Other("the test's")), "{}", variant.name);
        assert_eq!(pool.capacity(), 4);
        // As many tasks run at a time from then on.
        let gate = Gate::new();
        (0..6).for_each(|_| pool.submit(gate.task()).unwrap());
        gate.await_arrivals(4);
        assert_eq!(pool.stats().queued, 2);
        gate.open();
        drop(tuner);
        assert!(changes.recv().is_err(), "the handler is gone, and nothing more was changed");
    });
}

/// Bounds hold whatever the controllers want under real load.
#[test]
fn the_capacity_stays_within_the_bounds_under_load() {
    fn on<D: Dispatch>() {
        let pool = Arc::new(Pool::builder().workers(2).latencies().dispatch::<D>().build().unwrap());
        let controllers: [Box<dyn FnOnce(Autoscaler) -> Autoscaler>; 2] = [
            Box::new(|scaler| scaler.controller(ByLoad::new().grow_wait(Duration::from_micros(1)).cool_down(0))),
            Box::new(|scaler| scaler.controller(HillClimb::new().measure(1).settle(0))),
        ];
        for with_controller in controllers {
            let tuner = with_controller(Autoscaler::between(2, 5).period(MOMENT)).start(&pool).unwrap();
            let from = pool.stats().completed;
            let mut submitted = 0;
            while tuner.periods() < 50 {
                for _ in 0..100 {
                    pool.submit(|| (0..100).for_each(|_| std::hint::spin_loop())).unwrap();
                }
                submitted += 100;
                assert!((2..=5).contains(&pool.capacity()));
            }
            drop(tuner);
            assert!(pool.wait_idle());
            assert_eq!(pool.stats().completed - from, submitted);
        }
    }
    on_every_dispatch!(on);
}

/// The handler may use the autoscaler and the pool, and drop both.
#[test]
fn a_handler_may_do_anything() {
    within(LIMIT, "the handler", || {
        let pool = Arc::new(Pool::new(1).unwrap());
        let kept = Arc::new(Mutex::new(None));
        let (owner, theirs) = (Arc::clone(&kept), Mutex::new(Some(Arc::clone(&pool))));
        let (sender, told) = channel();
        let scaler = Autoscaler::between(2, 4).period(MOMENT).on_change(move |change| {
            let (Some(pool), Some(tuner)) = (theirs.lock().take(), owner.lock().take()) else { return };
            let tuner: formicary::autoscale::Tuner = tuner;
            tuner.pause();
            tuner.resume();
            assert_eq!((tuner.changes().len(), pool.capacity()), (1, change.to));
            assert_eq!(pool.run(|| 7).unwrap(), 7);
            tuner.stop();
            // The last owner: the shutdown runs here.
            drop(pool);
            sender.send(()).unwrap();
        });
        // The tuner must be there when the handler is called.
        let mut place = kept.lock();
        let weak = Arc::downgrade(&pool);
        *place = Some(scaler.start(&pool).unwrap());
        drop(pool);
        drop(place);
        told.recv().unwrap();
        assert!(weak.upgrade().is_none());
    });
}

/// One that blocks holds up the others, and neither pools nor timers.
#[test]
fn a_controller_that_blocks_holds_up_no_pool() {
    struct Blocks(Gate);
    impl Controller for Blocks {
        fn next(&mut self, sample: &Sample) -> Decision {
            self.0.wait();
            Decision::keep(sample, Reason::Settled)
        }
    }
    within(LIMIT, "the pools", || {
        let gate = Gate::new();
        let pool = Pool::new(2).unwrap();
        let blocked = Autoscaler::between(1, 4).controller(Blocks(gate.clone())).period(MOMENT).start(&pool).unwrap();
        gate.await_arrivals(1);
        let other = Pool::new(1).unwrap();
        let waits = Autoscaler::between(2, 4).controller(Always(3)).period(MOMENT).start(&other).unwrap();
        assert_eq!(pool.run(|| 7).unwrap(), 7);
        // By the timer thread.
        let token = formicary::CancelToken::new();
        token.cancel_after(MOMENT);
        crate::support::waking::block_on(token.cancelled());
        pool.tune(3).unwrap();
        // Stopping does not wait for it.
        drop(blocked);
        drop(pool);
        assert_eq!(other.capacity(), 1);
        gate.open();
        eventually("the other goes on", || other.capacity() == 3);
        drop(waits);
    });
}

#[test]
fn bad_settings_are_errors_that_name_them() {
    let pool = Pool::new(1).unwrap();
    let view = pool.limited(1);
    let check = |make: &dyn Fn() -> Autoscaler, text: &str| {
        assert_eq!(make().start(&pool).unwrap_err().to_string(), text);
        assert_eq!(make().start_on_view(&view).unwrap_err().to_string(), text);
    };
    check(&|| Autoscaler::between(0, 4), "min is 0: it must be above 0");
    check(&|| Autoscaler::between(5, 4), "min is 5, which is above max, 4");
    check(&|| Autoscaler::between(1, 4).period(Duration::ZERO), "period is 0ns: it must be above 0");
    let crossed = || Autoscaler::between(1, 4).controller(ByLoad::new().shrink_utilisation(0.9));
    check(&crossed, "shrink_utilisation is 0.9: it must be less than high_utilisation, 0.8");
    let error = Autoscaler::between(1, usize::MAX).start(&pool).unwrap_err();
    assert_eq!(error.argument(), "max");
    assert!(error.to_string().contains(&MAX_WORKERS.to_string()), "{error}");
    // A view may have any limit, and a period that the clock cannot represent never ends.
    let tuner = Autoscaler::between(1, usize::MAX).period(Duration::MAX).start_on_view(&view).unwrap();
    assert_eq!(tuner.periods(), 0);
}
