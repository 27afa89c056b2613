//! D22, D23: a minimum that was lost to a failing factory, or to refused threads, is restored without load; and callers with tasks
//! meanwhile are told the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::races::quiet_panic;
use crate::support::{
    Count, Gate, RunTask, Setup, assert_conserved, eventually, for_each, on_every_dispatch, start_thread,
};
use formicary::{Dispatch, StatefulPool, SubmitErrorKind, Task};

/// A factory that fails while `fails` is set, and counts its calls.
#[derive(Clone, Default)]
struct Factory {
    fails: Arc<AtomicBool>,
    /// How many calls fail in any case.
    failures: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Factory {
    fn make(&self) -> Result<RunTask, formicary::BoxError> {
        self.asked.fetch_add(1, SeqCst);
        let fails = self.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails || self.fails.load(SeqCst) { Err("a test's fault".into()) } else { Ok(RunTask) }
    }

    /// A pool of three workers.
    fn pool<D: Dispatch>(&self) -> Arc<StatefulPool<RunTask, D>> {
        let factory = self.clone();
        let setup = Setup { min_workers: Some(3), ..Setup::new(3, 64) };
        let builder = setup.on(StatefulPool::builder(move |_| factory.make()));
        Arc::new(builder.dispatch().build().unwrap())
    }
}

/// Each of the three workers loses its state, and all but the last exit when they need another.
fn lose_all_states<D: Dispatch>(pool: &StatefulPool<RunTask, D>) {
    let gate = Gate::new();
    let panics = |_| {
        let gate = gate.clone();
        let task = Task::new(move || {
            gate.wait();
            quiet_panic();
        });
        pool.spawn(task).unwrap()
    };
    let handles: Vec<_> = (0..3).map(panics).collect();
    gate.await_arrivals(3);
    gate.open();
    assert!(handles.into_iter().all(|handle| handle.join().unwrap_err().is_panic()));
}

#[test]
fn d22_a_minimum_lost_to_a_failing_factory_comes_back_without_load() {
    fn test<D: Dispatch>() {
        let factory = Factory::default();
        let pool = factory.pool::<D>();
        lose_all_states(&pool);
        factory.fails.store(true, SeqCst);
        // Each of the three takes one and finds that it has no state.
        while pool.stats().live == 3 {
            drop(pool.spawn(Task::new(|| ())));
        }
        factory.fails.store(false, SeqCst);
        eventually("the minimum is back", || pool.stats().live == 3);

        // And after a number of failures, all without load.
        lose_all_states(&pool);
        factory.failures.store(12, SeqCst);
        while pool.stats().live == 3 && factory.failures.load(SeqCst) > 0 {
            drop(pool.spawn(Task::new(|| ())));
        }
        eventually("the minimum is back", || factory.failures.load(SeqCst) == 0 && pool.stats().live == 3);
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    }
    on_every_dispatch!(test);
}

/// It is not tried again and again.
#[test]
fn d22_a_factory_that_goes_on_failing_is_asked_less_and_less() {
    fn test<D: Dispatch>() {
        let factory = Factory::default();
        let pool = factory.pool::<D>();
        lose_all_states(&pool);
        factory.fails.store(true, SeqCst);
        while pool.stats().live == 3 {
            drop(pool.spawn(Task::new(|| ())));
        }
        assert!(pool.wait_idle());
        let before = factory.asked.load(SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        // After 10, 30, 70, 150 ms, and so on, for two workers.
        let asked = factory.asked.load(SeqCst) - before;
        assert!(asked <= 12, "{asked}");
    }
    on_every_dispatch!(test);
}

#[test]
fn d22_a_minimum_lost_to_refused_threads_comes_back_without_load() {
    for_each(|variant| {
        let (gives, tries) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let system_gives = Arc::clone(&gives);
        let given = move |n: usize| n == 0 || system_gives.load(SeqCst);
        let handler = move |thread| start_thread(given(tries.fetch_add(1, SeqCst)), thread);
        let setup = Setup { min_workers: Some(3), spawn_handler: Some(Arc::new(handler)), ..Setup::new(3, 8) };
        let pool = variant.build(setup);
        assert_eq!(pool.stats().live, 1);
        eventually("another try is refused", || pool.stats().failed_starts > 2);
        gives.store(true, SeqCst);
        eventually("the minimum is back", || pool.stats().live == 3);
        assert_eq!(pool.stats().submitted, 0);
    });
}

/// D23: the factory fails while a worker is alive: every error names the factory and not the threads; a call gets its input back.
#[test]
fn d23_a_refusal_for_want_of_a_state_says_so() {
    fn test<D: Dispatch>() {
        let factory = Factory::default();
        factory.fails.store(true, SeqCst);
        let made = factory.clone();
        let setup = Setup { min_workers: Some(0), ..Setup::new(1, 8) };
        let pool = setup.on(StatefulPool::builder(move |_| made.make())).dispatch::<D>().build().unwrap();
        let ran = Count::new();

        let error = pool.run(ran.task()).unwrap_err();
        assert!(error.is_no_state() && !error.to_string().contains("thread"), "{error}");
        let formicary::CallError::Refused(refusal) = error else { panic!("the task did not start") };
        assert_eq!(refusal.kind(), SubmitErrorKind::NoState);
        refusal.into_task().run();
        let error = pool.with().timeout(crate::support::LIMIT).run(ran.task()).unwrap_err();
        assert!(error.is_no_state() && !error.to_string().contains("thread"), "{error}");
        error.into_input().expect("it did not start").run();
        assert_eq!(ran.get(), 2);

        let error = pool.spawn(ran.task()).unwrap().join().unwrap_err();
        assert!(error.is_no_state() && error.is_cancelled(), "{error}");
        factory.fails.store(false, SeqCst);
        pool.run(ran.task()).unwrap();
        assert_eq!(ran.get(), 3);
        assert_conserved(&pool);
    }
    on_every_dispatch!(test);
}
