//! Ending: draining, giving back, many ends at once, restart, drop.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::{
    AnyPool, Count, Gate, LIMIT, Setup, assert_conserved, await_waiting, eventually, for_each, threads_named, within,
};
use formicary::{BuildError, Pool, PoolWithFunc, ShutdownReport, Task};
use parking_lot::Mutex;

/// A prefix that no other pool of this process has, short enough to be shown in full.
fn fresh_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("end{}x", NEXT.fetch_add(1, SeqCst))
}

/// Calls `end` on a thread of its own, to be received when it has returned.
fn aside<T: Send + 'static>(pool: &AnyPool, end: fn(&AnyPool) -> T) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    let pool = pool.clone();
    thread::spawn(move || {
        let ended = end(&pool);
        drop(pool);
        drop(sender.send(ended));
    });
    receiver
}

/// A08
#[test]
fn a08_shutdown_refuses_all_blocked_submitters() {
    for_each(|variant| {
        let (pool, gate, count) = (variant.build(Setup::new(1, 1)), Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        pool.submit(count.task()).unwrap();
        let blocked: Vec<_> = (0..10)
            .map(|n| {
                let (pool, task) = (pool.clone(), count.task());
                thread::spawn(move || if n % 2 == 0 { pool.submit(task) } else { pool.submit_timeout(task, 2 * LIMIT) })
            })
            .collect();
        await_waiting(&*pool, 10);
        let ended = aside(&pool, |pool| pool.shutdown());
        // The gate is closed: no submitter enters, and all of them are refused.
        for submitter in blocked {
            assert!(submitter.join().unwrap().unwrap_err().is_closed());
        }
        gate.open();
        assert!(ended.recv().unwrap().is_complete());
        assert_eq!((count.get(), pool.waiting(), pool.stats().rejected), (1, 0, 10));
        assert_conserved(&*pool);
    });
}

/// A09
#[test]
fn a09_restart_makes_a_closed_pool_work_again() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup { min_workers: Some(2), ..Setup::new(3, 3) }), Count::new());
        pool.tune(4).unwrap();
        for life in 1..=5 {
            assert!(!pool.is_closed());
            assert!((2..=4).contains(&pool.stats().live));
            for _ in 0..20 {
                pool.submit(count.task()).unwrap();
            }
            assert!(pool.shutdown().is_complete());
            assert_eq!((count.get(), pool.is_closed()), (20 * life, true));
            let refusals = [pool.submit(count.task()), pool.try_submit(count.task())];
            assert!(refusals.into_iter().all(|refused| refused.unwrap_err().is_closed()));
            pool.restart().unwrap();
            assert_eq!(pool.capacity(), 4);
        }
        assert_conserved(&*pool);
    });
}

/// A worker that has exited is not busy any more.
#[test]
fn a09_workers_from_before_and_after_a_restart_never_run_at_a_time() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(1, 1));
        for _ in 0..3 {
            pool.submit(Task::new(|| ())).unwrap();
            pool.shutdown();
            pool.restart().unwrap();
        }
        assert_eq!(pool.stats().peak_running, 1);
    });
}

#[test]
fn only_a_pool_that_has_ended_can_be_restarted() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(1, 1)), Gate::new());
        assert!(matches!(pool.restart(), Err(BuildError::StillRunning)));
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        assert!(!pool.shutdown_timeout(Duration::ZERO).is_complete());
        assert!(matches!(pool.restart(), Err(BuildError::StillRunning)));
        gate.open();
        pool.shutdown();
        pool.restart().unwrap();

        // Not one that happens to have no worker, either.
        let none = Setup { min_workers: Some(0), expiry: Some(Some(Duration::ZERO)), ..Setup::new(1, 1) };
        let pool = variant.build(none);
        eventually("no worker is left", || pool.stats().live == 0);
        assert!(matches!(pool.restart(), Err(BuildError::StillRunning)));
    });
}

/// A12: the limit is far beyond the test's limit, so that waiting until it is over would fail.
#[test]
fn a12_a_timed_shutdown_returns_when_the_pool_is_empty() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(5, 0)), Gate::new());
        for _ in 0..5 {
            pool.submit(gate.task()).unwrap();
        }
        gate.await_arrivals(5);
        let ended = aside(&pool, |pool| pool.shutdown_timeout(100 * LIMIT));
        eventually("closed", || pool.is_closed());
        assert!(ended.try_recv().is_err());
        gate.open();
        assert!(ended.recv().unwrap().is_complete());
        assert_eq!(pool.stats().completed, 5);
    });
}

#[test]
fn a_timed_shutdown_that_gives_up_says_what_is_left() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(1, 3)), Gate::new());
        for _ in 0..4 {
            pool.submit(gate.task()).unwrap();
        }
        gate.await_arrivals(1);
        let report = pool.shutdown_timeout(Duration::from_millis(1));
        assert_eq!((report.workers, report.running, report.queued), (1, 1, 3));
        assert!(!report.is_complete());
        gate.open();
        assert!(pool.shutdown().is_complete(), "one can still wait for the rest");
        assert_eq!((gate.arrived(), pool.stats().completed), (4, 4));
    });
}

/// A19
#[test]
fn a19_shutdown_runs_all_that_is_queued() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::roomy(4)), Count::new());
        for _ in 0..1_000 {
            pool.submit(count.task()).unwrap();
        }
        assert!(pool.shutdown().is_complete());
        assert_eq!(count.get(), 1_000);
        assert_conserved(&*pool);
    });
}

/// A28
#[test]
fn a28_ten_thousand_submits_race_with_shutdown() {
    for_each(|variant| {
        for round in 0..4 {
            let (pool, count) = (variant.build(Setup::new(4, 8)), Count::new());
            let submitters: Vec<_> = (0..10)
                .map(|_| {
                    let (pool, count) = (pool.clone(), count.clone());
                    thread::spawn(move || {
                        let submits = (0..250).map(|_| pool.submit(count.task()));
                        submits.filter(|result| result.as_ref().map_err(|e| assert!(e.is_closed())).is_ok()).count()
                    })
                })
                .collect();
            // At another point of the race each time.
            eventually("some have run", || count.get() >= 500 * round);
            assert!(pool.shutdown().is_complete());
            let run = count.get();
            let accepted: usize = submitters.into_iter().map(|submitter| submitter.join().unwrap()).sum();
            assert_eq!((accepted, count.get()), (run, run));
            assert_eq!((pool.stats().submitted, pool.stats().rejected), (run as u64, 2_500 - run as u64));
            assert_conserved(&*pool);
        }
    });
}

/// A36
#[test]
fn a36_shutdown_now_gives_the_queued_back_oldest_first() {
    for_each(|variant| {
        // One worker, and so one shard: order is kept within a shard.
        let (pool, gate) = (variant.build(Setup::roomy(1)), Gate::new());
        let order = Arc::new(Mutex::new(Vec::new()));
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        for n in 0..10 {
            let order = order.clone();
            pool.submit(Task::new(move || order.lock().push(n))).unwrap();
        }
        let ended = aside(&pool, |pool| pool.shutdown_now());
        eventually("the queue is empty", || pool.queued() == 0);
        assert!(ended.try_recv().is_err(), "it waits for what runs");
        gate.open();
        let returned = ended.recv().unwrap();
        assert_eq!((returned.len(), order.lock().len()), (10, 0));
        returned.into_iter().for_each(Task::run);
        assert_eq!(*order.lock(), (0..10).collect::<Vec<_>>());
        assert!(pool.shutdown_now().is_empty(), "twice is fine");
        assert_eq!((pool.stats().completed, pool.stats().returned), (1, 10));
        assert_conserved(&*pool);
    });
}

/// A36
#[test]
fn a36_all_who_end_a_pool_at_once_wait_for_the_same_end() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::roomy(1)), Gate::new());
        for _ in 0..11 {
            pool.submit(gate.task()).unwrap();
        }
        gate.await_arrivals(1);
        let nows: Vec<_> = (0..5).map(|_| aside(&pool, |pool| pool.shutdown_now())).collect();
        let drains: Vec<_> = (0..5).map(|_| aside(&pool, |pool| pool.shutdown())).collect();
        eventually("the queue is empty", || pool.queued() == 0);
        assert!(nows.iter().all(|ended| ended.try_recv().is_err()));
        assert!(drains.iter().all(|ended| ended.try_recv().is_err()));
        gate.open();
        let returned: usize = nows.into_iter().map(|ended| ended.recv().unwrap().len()).sum();
        assert_eq!(returned, 10, "each task is given to one of them");
        assert!(drains.into_iter().all(|ended| ended.recv().unwrap().is_complete()));
        assert_eq!(gate.arrived(), 1);
        assert_conserved(&*pool);
    });
}

/// A38
#[test]
fn a38_no_thread_is_left_after_the_end() {
    for_each(|variant| {
        let ends: [fn(&AnyPool); 3] =
            [|pool| assert!(pool.shutdown().is_complete()), |pool| assert!(pool.shutdown_now().is_empty()), |_| ()];
        for end in ends {
            let (name, gate) = (fresh_name(), Gate::new());
            let pool = variant.build(Setup { thread_name: Some(name.clone()), ..Setup::roomy(6) });
            for _ in 0..6 {
                pool.submit(gate.task()).unwrap();
            }
            gate.await_arrivals(6);
            if cfg!(target_os = "linux") {
                // A listing may miss one while threads of other tests end.
                eventually("there are six threads", || threads_named(&name) == 6);
            }
            gate.open();
            end(&pool);
            drop(pool);
            // The threads have been joined. The kernel's own list may lag by a moment.
            eventually("no thread is left", || threads_named(&name) == 0);
        }
    });
}

#[test]
fn after_the_end_no_captured_value_is_alive() {
    for_each(|variant| {
        let (pool, gate, value) = (variant.build(Setup::roomy(1)), Gate::new(), Arc::new(()));
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        for _ in 0..10 {
            let value = value.clone();
            pool.submit(Task::new(move || drop(value))).unwrap();
        }
        let ended = aside(&pool, |pool| drop(pool.shutdown_now()));
        eventually("closed", || pool.is_closed());
        gate.open();
        ended.recv().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

#[test]
fn the_bound_function_goes_with_its_pool() {
    let value = Arc::new(());
    let captured = value.clone();
    let pool = PoolWithFunc::new(2, move |_: u8| drop(captured.clone())).unwrap();
    pool.submit(1).unwrap();
    drop(pool);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn from_inside_a_task_no_end_waits_for_itself() {
    for_each(|variant| {
        let ends: [fn(&AnyPool) -> ShutdownReport; 2] =
            [|pool| pool.shutdown(), |pool| pool.shutdown_timeout(100 * LIMIT)];
        for end in ends {
            let (pool, count) = (variant.build(Setup::roomy(1)), Count::new());
            let (inner, gate) = (pool.clone(), Gate::new());
            let (held, after) = (gate.clone(), count.clone());
            let task = move || {
                held.wait();
                if !end(&inner).is_complete() {
                    after.up();
                }
            };
            pool.submit(Task::new(task)).unwrap();
            pool.submit(count.task()).unwrap();
            gate.open();
            eventually("closed from inside", || pool.is_closed());
            assert!(pool.shutdown().is_complete());
            assert_eq!(count.get(), 2);
        }
    });
}

#[test]
fn shutdown_now_from_inside_gives_the_queued_back_too() {
    for_each(|variant| {
        let (pool, gate, returned) = (variant.build(Setup::roomy(1)), Gate::new(), Count::new());
        let (inner, held, count) = (pool.clone(), gate.clone(), returned.clone());
        let task = move || {
            held.wait();
            inner.shutdown_now().iter().for_each(|_| assert!(count.up() > 0));
        };
        pool.submit(Task::new(task)).unwrap();
        for _ in 0..5 {
            pool.submit(gate.task()).unwrap();
        }
        gate.open();
        eventually("closed from inside", || pool.is_closed());
        assert!(pool.shutdown().is_complete());
        assert_eq!((returned.get(), gate.arrived(), pool.stats().returned), (5, 1, 5));
        assert_conserved(&*pool);
    });
}

#[test]
fn dropping_a_pool_runs_what_is_queued() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::roomy(2)), Count::new());
        for _ in 0..500 {
            pool.submit(count.task()).unwrap();
        }
        drop(pool);
        assert_eq!(count.get(), 500);
    });
}

/// The last owner is a task: it cannot join its own thread, and does not try.
#[test]
fn a_pool_dropped_by_its_own_task_ends_all_the_same() {
    for_each(|variant| {
        let (name, gate, count) = (fresh_name(), Gate::new(), Count::new());
        let pool = variant.build(Setup { thread_name: Some(name.clone()), ..Setup::roomy(2) });
        let (owner, held) = (pool.clone(), gate.clone());
        let task = move || {
            held.wait();
            drop(owner);
        };
        pool.submit(Task::new(task)).unwrap();
        gate.await_arrivals(1);
        for _ in 0..10 {
            pool.submit(count.task()).unwrap();
        }
        drop(pool);
        gate.open();
        eventually("what was queued has run", || count.get() == 10);
        eventually("no thread is left", || threads_named(&name) == 0);
    });
}

#[test]
fn a_pool_ends_though_another_pools_task_ends_it() {
    within(LIMIT, "two pools", || {
        let (outer, inner) = (Pool::new(1).unwrap(), Arc::new(Pool::new(1).unwrap()));
        let (ended, count) = (inner.clone(), Count::new());
        for _ in 0..10 {
            let count = count.clone();
            inner.submit(move || assert!(count.up() > 0)).unwrap();
        }
        assert!(outer.run(move || ended.shutdown().is_complete()).unwrap());
        assert_eq!((count.get(), outer.is_closed()), (10, false));
    });
}
