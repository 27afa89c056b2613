//! Scopes whose tasks wait in local deques: what a task leaves there for a scope of another thread, pauses and limits, and scopes among forks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::{Count, Gate, LIMIT, eventually, on_every_dispatch, quiet_panics, within};
use formicary::{Dispatch, Pool, Scope};

fn grow<'scope, D: Dispatch>(s: &'scope Scope<'scope, '_, D>, ran: &'scope AtomicUsize, levels: u32) {
    ran.fetch_add(1, SeqCst);
    for _ in 0..if levels > 1 { 2 } else { 0 } {
        s.spawn(move || grow(s, ran, levels - 1));
    }
}

/// A tree of tasks in one scope, of a thread outside and of a worker: each runs once, and is counted once.
fn trees<D: Dispatch>() {
    for workers in [1, 2, 4] {
        let (pool, ran) = (pool::<D>(workers, 10), AtomicUsize::new(0));
        pool.scope(|s| grow(s, &ran, 10));
        assert_eq!(ran.swap(0, SeqCst), 1023);
        pool.install(|| pool.scope(|s| grow(s, &ran, 10)));
        assert_eq!(ran.load(SeqCst), 1023);
        assert_quiet(&pool);
        let stats = pool.stats();
        // The root of each runs on the thread of its scope, and `install` is one more task.
        assert_eq!((stats.submitted, stats.completed), (2 * 1022 + 1, 2 * 1022 + 1), "{stats:?}");
        assert!(stats.peak_running <= workers && stats.queued == 0, "{stats:?}");
    }
}

#[test]
fn trees_in_one_scope() {
    on_every_dispatch!(trees);
}

/// fib by nested scopes, on one worker and on several.
fn fib<D: Dispatch>(pool: &Pool<D>, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (mut a, mut b) = (0, 0);
    pool.scope(|s| {
        s.spawn(|| a = fib(pool, n - 1));
        s.spawn(|| b = fib(pool, n - 2));
    });
    a + b
}

fn nests<D: Dispatch>() {
    for workers in [1, 2, 4] {
        let pool = pool::<D>(workers, 10);
        assert_eq!(fib(&pool, 14), 377);
        assert_quiet(&pool);
    }
}

#[test]
fn scopes_nest() {
    on_every_dispatch!(nests);
}

/// A task of a scope spawns another one, and ends while the pool is paused: the other one waits in the queue until the pause is over.
fn pauses<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let (gate, has_run) = (Gate::new(), AtomicBool::new(false));
    thread::scope(|threads| {
        threads.spawn(|| {
            pool.scope(|s| {
                s.spawn(|| {
                    gate.wait();
                    s.spawn(|| has_run.store(true, SeqCst));
                });
            });
        });
        gate.await_arrivals(1);
        let pause = pool.pause();
        gate.open();
        assert!(pause.wait_quiet());
        assert_eq!((pool.stats().queued, has_run.load(SeqCst)), (1, false));
        drop(pause);
    });
    assert!(has_run.load(SeqCst));
    assert_quiet(&pool);
}

#[test]
fn what_a_task_leaves_obeys_a_pause() {
    on_every_dispatch!(pauses);
}

/// The same where the scope is that of a worker: it goes on with what the other worker has left, although only one may run.
fn limits<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (gate, ran) = (Gate::new(), Count::new());
    pool.install(|| {
        pool.scope(|s| {
            s.spawn(|| {
                gate.wait();
                (0..3).for_each(|_| s.spawn(|| ran.up()));
            });
            // The other worker has stolen it.
            gate.await_arrivals(1);
            pool.tune(1).unwrap();
            gate.open();
        });
    });
    assert_eq!(ran.get(), 3);
    assert_quiet(&pool);
}

#[test]
fn a_worker_runs_what_is_left_of_its_scope() {
    on_every_dispatch!(limits);
}

/// `Debug` says how many tasks have not ended.
fn debug<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    pool.scope(|s| {
        assert!(format!("{s:?}").contains("pending: 0"), "{s:?}");
        let pause = pool.pause();
        (0..2).for_each(|_| s.spawn(|| ()));
        assert!(format!("{s:?}").contains("pending: 2"), "{s:?}");
        drop(pause);
    });
    assert_quiet(&pool);
}

#[test]
fn debug_counts_what_is_pending() {
    on_every_dispatch!(debug);
}

fn respawn<'scope, D: Dispatch>(s: &'scope Scope<'scope, '_, D>, end: &'scope AtomicBool) {
    if !end.load(SeqCst) {
        s.spawn(move || respawn(s, end));
    }
}

/// A task that spawns itself again and again in a scope of another thread does not keep the worker from what others submit.
fn yields_to_others<D: Dispatch>() {
    let (pool, end) = (pool::<D>(1, 10), Arc::new(AtomicBool::new(false)));
    let gate = occupy(&pool);
    thread::scope(|threads| {
        threads.spawn(|| pool.scope(|s| s.spawn(|| respawn(s, &end))));
        eventually("the scope's task is queued", || pool.stats().queued == 1);
        let other = Arc::clone(&end);
        pool.submit(move || other.store(true, SeqCst)).unwrap();
        gate.open();
    });
    assert_quiet(&pool);
}

#[test]
fn a_chain_in_a_scope_lets_others_in() {
    on_every_dispatch!(yields_to_others);
}

/// The first closure of a fork spawns into a scope around it, which is not the fork's to wait for: both ends come, whoever runs what.
fn among_forks<D: Dispatch>() {
    for workers in [1, 2, 3] {
        let (pool, ran) = (pool::<D>(workers, 10), Count::new());
        for _ in 0..100 {
            pool.scope(|s| {
                s.spawn(|| {
                    let spawn = || s.spawn(|| pool.join(|| ran.up(), || ran.up()));
                    pool.join(spawn, || pool.join(spawn, spawn));
                });
            });
        }
        assert_eq!(ran.get(), 600);
        assert_quiet(&pool);
    }
}

#[test]
fn scopes_around_forks() {
    on_every_dispatch!(among_forks);
}

/// A task that a worker spawns and runs itself panics: it is counted and reported, and the scope raises it when all have ended.
fn panics<D: Dispatch>() {
    quiet_panics();
    let reports = Count::new();
    let reported = reports.clone();
    let builder = Pool::builder().workers(1).panic_handler(move |_| _ = reported.up());
    let pool = builder.dispatch::<D>().build().unwrap();
    let ran = Count::new();
    let caught = pool.install(|| {
        catch_unwind(AssertUnwindSafe(|| {
            pool.scope(|s| {
                s.spawn(|| ran.up());
                s.spawn(|| panic!("one of three"));
                s.spawn(|| ran.up());
            });
        }))
    });
    assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "one of three");
    assert_quiet(&pool);
    let stats = pool.stats();
    assert_eq!((ran.get(), stats.panicked, stats.completed, reports.get()), (2, 1, 3, 1), "{stats:?}");
}

#[test]
fn a_panic_in_a_local_task() {
    on_every_dispatch!(panics);
}

/// `shutdown_now` while a task spawns: all of it runs, on a worker or on the thread of the scope.
fn ends<D: Dispatch>() {
    for round in 0..50 {
        let (pool, ran) = (pool::<D>(1 + round % 2, 200), AtomicUsize::new(0));
        let gate = Gate::new();
        thread::scope(|threads| {
            threads.spawn(|| {
                pool.scope(|s| {
                    s.spawn(|| {
                        gate.wait();
                        (0..100).for_each(|_| s.spawn(|| ran.fetch_add(1, SeqCst)));
                    });
                });
            });
            gate.await_arrivals(1);
            gate.open();
            assert!(pool.shutdown_now().is_empty());
        });
        assert_eq!(ran.load(SeqCst), 100);
        assert_quiet(&pool);
    }
}

#[test]
fn a_scope_in_a_pool_that_ends() {
    within(LIMIT, "the scopes end", || on_every_dispatch!(ends));
}
