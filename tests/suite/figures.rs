//! What a pool reports: its name, its bound, and its refusals by kind.

use std::sync::Arc;
use std::time::Duration;

use crate::support::closures::{occupy, pool};
use crate::support::{Gate, Setup, eventually, for_each, on_every_dispatch, start_thread};
use formicary::{CancelToken, Context, Dispatch, Nested, Pool, Refusals, StatefulPool, SubmitErrorKind, Task, Worker};
use parking_lot::Mutex;

#[test]
fn a_pool_tells_its_name_and_its_bound() {
    for_each(|variant| {
        let named = Setup { thread_name: Some("mill".to_owned()), ..Setup::new(1, 7) };
        let stats = variant.build(named).stats();
        assert_eq!((&*stats.name, stats.queue_bound), ("mill", Some(7)));
        if !variant.preallocates {
            let stats = variant.build(Setup::unbounded(1)).stats();
            assert_eq!((&*stats.name, stats.queue_bound), (formicary::DEFAULT_NAME, None));
        }
    });
}

/// What each refusal adds.
fn with(change: impl FnOnce(&mut Refusals)) -> Refusals {
    let mut refusals = Refusals::default();
    change(&mut refusals);
    refusals
}

#[test]
fn refusals_are_counted_by_kind() {
    for_each(|variant| {
        let setup = Setup { max_blocking: Some(1), ..Setup::new(1, 0) };
        let (pool, gate) = (variant.build(setup), Gate::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        let refusals = || {
            let stats = pool.stats();
            assert_eq!(stats.rejected, stats.refusals.total());
            stats.refusals
        };
        assert_eq!(refusals(), Refusals::default());

        assert!(pool.try_submit(Task::new(|| ())).is_err());
        assert_eq!(refusals(), with(|refused| refused.full = 1));
        assert!(pool.submit_timeout(Task::new(|| ()), Duration::from_millis(1)).is_err());
        assert_eq!(refusals(), with(|refused| (refused.full, refused.timed_out) = (1, 1)));

        let (waits, task) = (pool.clone(), gate.task());
        let waits = std::thread::spawn(move || waits.submit(task).unwrap_err().kind());
        crate::support::await_waiting(&*pool, 1);
        assert_eq!(pool.submit(Task::new(|| ())).unwrap_err().kind(), SubmitErrorKind::Overloaded);
        let before = with(|refused| (refused.full, refused.timed_out, refused.overloaded) = (1, 1, 1));
        assert_eq!(refusals(), before);

        assert!(!pool.shutdown_timeout(Duration::ZERO).is_complete());
        assert_eq!(waits.join().unwrap(), SubmitErrorKind::Closed);
        assert!(pool.try_submit(Task::new(|| ())).is_err());
        assert_eq!(refusals(), {
            let mut after = before;
            after.closed = 2;
            after
        });
        gate.open();
    });
}

#[test]
fn a_refused_thread_is_a_kind() {
    for_each(|variant| {
        let refuses = Arc::new(|thread| start_thread(false, thread));
        let setup = Setup { min_workers: Some(0), spawn_handler: Some(refuses), ..Setup::new(1, 5) };
        let pool = variant.build(setup);
        assert_eq!(pool.submit(Task::new(|| ())).unwrap_err().kind(), SubmitErrorKind::Spawn);
        assert_eq!(pool.stats().refusals, with(|refused| refused.spawn = 1));
    });
}

/// With tokens, and as futures.
fn cancelled<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let gate = occupy(&pool);
    let token = CancelToken::new();
    token.cancel();
    assert!(pool.with().token(&token).submit(|| ()).unwrap_err().is_cancelled());
    assert!(
        crate::support::waking::block_on(pool.with().token(&token).submit_async(|| ())).unwrap_err().is_cancelled()
    );
    assert_eq!(pool.stats().refusals, with(|refused| refused.cancelled = 2));
    gate.open();
}

#[test]
fn cancelled_submits_are_a_kind() {
    on_every_dispatch!(cancelled);
}

type Submit = Arc<dyn Fn() -> SubmitErrorKind + Send + Sync>;

struct Submits(Arc<Mutex<Option<Submit>>>);

impl Worker for Submits {
    type Input = ();
    type Output = SubmitErrorKind;

    fn process(&mut self, (): (), _: &Context<'_>) -> SubmitErrorKind {
        let submit = self.0.lock().clone();
        submit.unwrap()()
    }
}

fn deadlock<D: Dispatch>() {
    let submit = Arc::new(Mutex::new(None));
    let handed = Arc::clone(&submit);
    let builder = StatefulPool::builder(move |_| Ok(Submits(Arc::clone(&handed))));
    let builder = builder.workers(1).queue(0).nested(Nested::Bounded);
    let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
    let inner = Arc::downgrade(&pool);
    let full = move || inner.upgrade().unwrap().submit(()).unwrap_err().kind();
    *submit.lock() = Some(Arc::new(full) as _);
    assert_eq!(pool.run(()).unwrap(), SubmitErrorKind::WouldDeadlock);
    eventually("it is idle", || pool.running() == 0);
    assert_eq!(pool.stats().refusals, with(|refused| refused.would_deadlock = 1));
}

#[test]
fn what_would_deadlock_is_a_kind() {
    on_every_dispatch!(deadlock);
}

/// A task for which no state could be made was accepted: it is no refusal.
#[test]
fn what_had_no_state_counts_as_cancelled() {
    fn fails<D: Dispatch>() {
        let builder = StatefulPool::builder(|_| Err::<Submits, _>("a test's failure".into()));
        let pool = builder.workers(1).min_workers(0).dispatch::<D>().build().unwrap();
        assert!(pool.run(()).unwrap_err().is_no_state());
        // Its caller is notified before it is counted.
        assert!(pool.wait_idle());
        let stats = pool.stats();
        assert_eq!((stats.rejected, stats.refusals, stats.cancelled), (0, Refusals::default(), 1));
    }
    on_every_dispatch!(fails);
}

#[test]
fn a_name_costs_no_copy() {
    let pool = Pool::new(1).unwrap();
    assert!(Arc::ptr_eq(&pool.stats().name, &pool.stats().name));
}
