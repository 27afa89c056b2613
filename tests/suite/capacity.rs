//! How many workers there are, how many are counted, and how long they live.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::{ThreadId, current, sleep};
use std::time::{Duration, Instant};

use crate::support::races::together;
use crate::support::{AnyPool, Count, Gate, Setup, assert_conserved, eventually, for_each};
use formicary::{SubmitErrorKind, Task};
use parking_lot::Mutex;

/// Hooks that count the living threads.
fn counting(threads: &Count, mut setup: Setup) -> Setup {
    let (up, down) = (threads.clone(), threads.clone());
    setup.on_thread_start = Some(Arc::new(move |_| _ = up.up()));
    setup.on_thread_stop = Some(Arc::new(move |_| down.down()));
    setup
}

/// A task that counts the tasks that run at the same time.
fn beside(running: &Count) -> Task {
    let running = running.clone();
    Task::new(move || {
        running.up();
        std::thread::yield_now();
        running.down();
    })
}

/// B02: many concurrent first submitters start as many workers as are allowed, and no more.
#[test]
fn b02_a_race_of_first_submits_starts_no_worker_too_many() {
    for_each(|variant| {
        for _ in 0..40 {
            let (threads, running) = (Count::new(), Count::new());
            let mut setup = Setup::roomy(3);
            setup.min_workers = Some(0);
            setup.expiry = Some(None);
            let pool = variant.build(counting(&threads, setup));
            together(8, |_| (0..10).for_each(|_| pool.submit(beside(&running)).unwrap()));
            assert!(pool.wait_idle());
            let stats = pool.stats();
            assert!(threads.peak() <= 3, "{} threads", threads.peak());
            assert!(running.peak() <= 3 && stats.peak_running <= 3, "{} tasks", running.peak());
            assert!(stats.spawned <= 3, "{stats:?}");
        }
    });
}

/// B02: the same while workers expire and new ones replace them.
#[test]
fn b02_a_race_with_expiry_starts_no_worker_too_many() {
    for_each(|variant| {
        let (threads, running) = (Count::new(), Count::new());
        let mut setup = Setup::roomy(2);
        setup.min_workers = Some(0);
        setup.expiry = Some(Some(Duration::from_millis(1)));
        let pool = variant.build(counting(&threads, setup));
        for round in 0..100 {
            together(4, |_| (0..3).for_each(|_| pool.submit(beside(&running)).unwrap()));
            assert!(pool.wait_idle());
            crate::support::races::shift(Duration::from_micros(800 + 20 * (round % 20)));
        }
        assert!(threads.peak() <= 2, "{} threads", threads.peak());
        assert!(running.peak() <= 2 && pool.stats().peak_running <= 2);
    });
}

/// Twenty workers that have all run and are idle.
fn twenty_idle(variant: crate::support::Variant) -> AnyPool {
    let mut setup = Setup::roomy(20);
    setup.expiry = Some(None);
    let (pool, gate) = (variant.build(setup), Gate::new());
    (0..20).for_each(|_| pool.submit(gate.task()).unwrap());
    gate.await_arrivals(20);
    gate.open();
    assert!(pool.wait_idle());
    assert_eq!(pool.stats().live, 20);
    pool
}

/// B02: shrinking ends idle workers; later tasks find two.
#[test]
fn b02_tune_down_ends_idle_workers() {
    for_each(|variant| {
        let pool = twenty_idle(variant);
        pool.tune(2).unwrap();
        eventually("eighteen workers are gone", || pool.stats().live == 2);
        assert_eq!(pool.stats().retired, 18);
    });
}

/// B02: right after the shrinking returns, while surplus workers may still be alive, two tasks run and not twenty.
#[test]
fn b02_tune_down_holds_at_once() {
    for_each(|variant| {
        for _ in 0..20 {
            let pool = twenty_idle(variant);
            let running = Count::new();
            pool.tune(2).unwrap();
            (0..40).for_each(|_| pool.submit(beside(&running)).unwrap());
            assert!(pool.wait_idle());
            assert!(running.peak() <= 2, "{} at a time", running.peak());
        }
    });
}

/// B02: shrinking below what runs: no task starts while two or more of the old ones run.
#[test]
fn b02_tune_down_starts_nothing_above_the_new_capacity() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::roomy(10)), Gate::new());
        let running = Count::new();
        for _ in 0..10 {
            let (gate, running) = (gate.clone(), running.clone());
            pool.submit(Task::new(move || {
                running.up();
                gate.wait();
                running.down();
            }))
            .unwrap();
        }
        gate.await_arrivals(10);
        pool.tune(2).unwrap();
        let most = Arc::new(AtomicUsize::new(0));
        for _ in 0..20 {
            let (running, most) = (running.clone(), Arc::clone(&most));
            pool.submit(Task::new(move || {
                most.fetch_max(running.up(), SeqCst);
                std::thread::yield_now();
                running.down();
            }))
            .unwrap();
        }
        for ended in 1..=10 {
            gate.pass(1);
            eventually("one more has ended", || pool.stats().completed >= ended);
        }
        assert!(pool.wait_idle());
        assert!(most.load(SeqCst) <= 2, "{} at a time", most.load(SeqCst));
        eventually("the surplus is gone", || pool.stats().live == 2);
    });
}

/// B09: idle workers do not count as running, and busy ones not as idle.
#[test]
fn b09_running_counts_no_idle_worker() {
    for_each(|variant| {
        let pool = twenty_idle(variant);
        assert_eq!((pool.running(), pool.stats().running, pool.stats().idle), (0, 0, 20));
        let gate = Gate::new();
        (0..3).for_each(|_| pool.submit(gate.task()).unwrap());
        gate.await_arrivals(3);
        let stats = pool.stats();
        assert_eq!((pool.running(), stats.running, stats.idle, stats.live), (3, 3, 17, 20));
        gate.open();
        assert!(pool.wait_idle());
        assert_eq!((pool.running(), pool.stats().idle), (0, 20));
    });
}

/// B09: each kind of refusal is counted, as a refusal and as nothing else.
#[test]
fn b09_refused_tasks_are_counted() {
    for_each(|variant| {
        let mut setup = Setup::new(1, 0);
        setup.max_blocking = Some(0);
        let (pool, gate) = (variant.build(setup), Gate::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        let none = || Task::new(|| ());
        assert_eq!(pool.try_submit(none()).unwrap_err().kind(), SubmitErrorKind::Full);
        assert_eq!(pool.stats().rejected, 1);
        assert_eq!(pool.submit(none()).unwrap_err().kind(), SubmitErrorKind::Overloaded);
        assert_eq!(pool.stats().rejected, 2);
        let (accepted, refusal) = pool.submit_all(&mut (0..5).map(|_| none())).unwrap_err();
        assert_eq!((accepted, refusal.kind()), (0, SubmitErrorKind::Overloaded));
        assert_eq!(pool.stats().rejected, 3);
        gate.open();
        pool.shutdown();
        assert_eq!(pool.submit(none()).unwrap_err().kind(), SubmitErrorKind::Closed);
        let stats = pool.stats();
        assert_eq!((stats.rejected, stats.submitted, stats.completed), (4, 1, 1));
        assert_conserved(&*pool);
    });
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(1, 0)), Gate::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        let refusal = pool.submit_timeout(Task::new(|| ()), Duration::from_millis(1)).unwrap_err();
        assert_eq!((refusal.kind(), pool.stats().rejected), (SubmitErrorKind::TimedOut, 1));
        gate.open();
    });
}

/// One worker in steady use for three times the expiry, and until three others have expired: the threads that ran its
/// tasks; nothing if the machine was too busy for a steady use, or for the same worker to be asleep each time.
fn use_steadily(pool: &AnyPool, expiry: Duration) -> Option<HashSet<ThreadId>> {
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let start = Instant::now();
    let mut last = start;
    while start.elapsed() < 3 * expiry || pool.stats().retired < 3 {
        if start.elapsed() > 10 * expiry {
            return None;
        }
        let seen = Arc::clone(&seen);
        let task = Task::new(move || _ = seen.lock().insert(current().id()));
        pool.submit(task).unwrap();
        assert!(pool.wait_idle());
        let now = Instant::now();
        if now - last > expiry / 2 {
            return None;
        }
        last = now;
        sleep(expiry / 40);
    }
    Some(std::mem::take(&mut *seen.lock()))
}

/// B10: a worker that is used more often than its expiry does not expire, even when others beside it do.
#[test]
fn b10_a_short_expiry_spares_the_worker_in_use() {
    for_each(|variant| {
        for expiry in [100, 200, 400, 800, 1600].map(Duration::from_millis) {
            let mut setup = Setup::new(4, 4);
            setup.min_workers = Some(0);
            setup.expiry = Some(Some(expiry));
            let (pool, gate) = (variant.build(setup), Gate::new());
            (0..4).for_each(|_| pool.submit(gate.task()).unwrap());
            gate.await_arrivals(4);
            gate.open();
            assert!(pool.wait_idle());
            if let Some(threads) = use_steadily(&pool, expiry) {
                let stats = pool.stats();
                assert_eq!((stats.spawned, stats.retired), (4, 3), "the worker in use stays");
                assert!(threads.len() <= 4, "{threads:?}");
                return;
            }
        }
        panic!("idle workers are kept busy in turn, or the machine is too busy to use one every 800 ms");
    });
}

/// After a pool has become smaller than its number of workers, of which some are only starting, a running worker goes on working.
#[test]
fn a_surplus_that_is_still_starting_holds_up_no_task() {
    for_each(|variant| {
        let (starting, gate, ran) = (Gate::new(), Gate::new(), Count::new());
        let hook = starting.clone();
        let mut setup = Setup::new(3, 8);
        setup.on_thread_start = Some(Arc::new(move |worker| {
            if worker > 0 {
                hook.wait();
            }
        }));
        let pool = variant.build(setup);
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        (0..2).for_each(|_| pool.submit(ran.task()).unwrap());
        starting.await_arrivals(2);
        pool.tune(1).unwrap();
        gate.open();
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 2);
        starting.open();
        eventually("the surplus has gone", || pool.stats().live == 1);
    });
}

/// A worker that is already exiting is not told to exit in place of another one.
#[test]
fn shrinking_twice_ends_no_more_than_it_must() {
    for_each(|variant| {
        let (leaving, gate) = (Gate::new(), Gate::new());
        let hook = leaving.clone();
        let mut setup = Setup { min_workers: Some(4), expiry: Some(None), ..Setup::new(4, 0) };
        setup.on_thread_stop = Some(Arc::new(move |_| hook.wait()));
        let pool = variant.build(setup);
        for capacity in [3, 2] {
            // Let the workers park: parked workers are the ones that are told to exit. The test holds without it.
            sleep(Duration::from_millis(10));
            pool.tune(capacity).unwrap();
            leaving.await_arrivals(4 - capacity);
        }
        (0..2).for_each(|_| pool.submit(gate.task()).unwrap());
        gate.await_arrivals(2);
        assert_eq!(pool.stats().spawned, 4);
        gate.open();
        leaving.open();
    });
}
