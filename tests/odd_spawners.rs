//! Odd spawn handlers. By one that does not do what it should the pool loses a worker, never its end.

mod support;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::time::Duration;

use formicary::{BuildError, Pool, Task, WorkerThread};
use support::*;

/// A pool whose handler starts the first `good` threads and does `odd` with the rest.
fn setup(workers: usize, good: usize, odd: fn(WorkerThread) -> io::Result<()>) -> Setup {
    let calls = AtomicUsize::new(0);
    let handler = move |thread: WorkerThread| {
        if calls.fetch_add(1, SeqCst) < good {
            std::thread::Builder::new().spawn(|| thread.run()).map(drop)
        } else {
            odd(thread)
        }
    };
    Setup { spawn_handler: Some(Arc::new(handler)), ..Setup::new(workers, 8) }
}

fn drops(thread: WorkerThread) -> io::Result<()> {
    drop(thread);
    Ok(())
}

fn panics(_thread: WorkerThread) -> io::Result<()> {
    panic!("a test's panic, in a spawn handler")
}

fn ends_at_once(_thread: WorkerThread) -> io::Result<()> {
    Err(io::Error::other("no"))
}

/// A worker that never runs is not counted as alive, so build says so instead of waiting for it.
#[test]
fn a_first_worker_that_never_runs_is_an_error_at_build() {
    for odd in [drops, panics, ends_at_once] {
        for_each(move |variant| {
            let error = variant.try_build(setup(2, 0, odd)).err();
            assert!(matches!(error, Some(BuildError::Spawn(_))), "{error:?}");
        });
    }
}

/// The living worker goes on alone, and the shutdown waits for nobody else.
#[test]
fn a_later_worker_that_never_runs_costs_nothing_else() {
    for odd in [drops, panics, ends_at_once] {
        for_each(move |variant| {
            let pool = variant.build(setup(4, 1, odd));
            let (gate, count) = (Gate::new(), Count::new());
            pool.submit(gate.task()).unwrap();
            for _ in 0..8 {
                pool.submit(count.task()).unwrap();
            }
            gate.open();
            pool.wait_idle();
            assert_eq!(count.get(), 8);
            assert!(pool.shutdown().is_complete());
            let stats = pool.stats();
            assert_eq!((stats.live, stats.spawned), (0, 1), "{stats:?}");
            assert_conserved(&*pool);
        });
    }
}

/// A worker that is promised and dropped later may have been counted on. Whoever drops it sees to what is queued, until another is
/// promised.
#[test]
fn b20_a_promised_worker_that_is_dropped_later_leaves_no_task() {
    for_each(|variant| {
        let (promised, threads) = mpsc::channel();
        let handler = move |thread| promised.send(thread).map_err(|_| io::Error::other("no"));
        let fleeting = Setup::fleeting(1, 8, Duration::from_secs(600));
        let pool = variant.build(Setup { spawn_handler: Some(Arc::new(handler)), ..fleeting });
        let count = Count::new();
        for _ in 0..3 {
            pool.submit(count.task()).unwrap();
        }
        drop(threads.recv().unwrap());
        assert_eq!((count.get(), pool.stats().failed_starts), (1, 1), "{:?}", pool.stats());
        drop(threads.recv().unwrap());
        assert_eq!((count.get(), pool.stats().failed_starts), (2, 2), "{:?}", pool.stats());
        let worker: WorkerThread = threads.recv().unwrap();
        let thread = std::thread::spawn(|| worker.run());
        pool.wait_idle();
        assert_eq!(count.get(), 3);
        assert!(pool.shutdown().is_complete());
        thread.join().unwrap();
        assert_conserved(&*pool);
    });
}

/// A pool's worker may be a task of another pool: when it has ended, the thread is that pool's worker as before, which does not wait
/// for itself.
#[test]
fn a_worker_that_is_a_task_of_another_pool_goes_back_to_it() {
    for_each(|variant| {
        let lender = Arc::new(Pool::new(1).unwrap());
        let (back, backs) = mpsc::channel();
        let lends = Arc::clone(&lender);
        let handler = move |thread: WorkerThread| {
            let (lender, back) = (Arc::clone(&lends), back.clone());
            let lent = move || {
                thread.run();
                back.send(lender.wait_idle()).unwrap();
            };
            lends.submit(lent).map_err(|_| io::Error::other("no worker to lend"))
        };
        let pool = variant.build(Setup { spawn_handler: Some(Arc::new(handler)), ..Setup::new(1, 8) });
        let count = Count::new();
        pool.submit(count.task()).unwrap();
        assert!(pool.shutdown().is_complete());
        assert_eq!(count.get(), 1);
        assert!(!backs.recv().unwrap(), "it waited for itself");
        assert!(lender.wait_idle());
    });
}

/// D11: a handler that starts the first worker of a pool submits to that pool. Its task runs, also if the thread is refused then.
#[test]
fn d11_a_spawn_handler_submits_to_its_own_pool() {
    for refuses in [false, true] {
        for_each(move |variant| {
            let (own, ran) = (Arc::new(OnceLock::<Weak<AnyPool>>::new()), Count::new());
            let (pool, count, calls) = (Arc::clone(&own), ran.clone(), AtomicUsize::new(0));
            let handler = move |thread: WorkerThread| {
                let is_first = calls.fetch_add(1, SeqCst) == 0;
                if let (true, Some(pool)) = (is_first, pool.get().and_then(Weak::upgrade)) {
                    let count = count.clone();
                    pool.submit(Task::new(move || _ = count.up())).unwrap();
                    if refuses {
                        return Err(io::Error::other("no"));
                    }
                }
                std::thread::Builder::new().spawn(|| thread.run()).map(drop)
            };
            let setup = Setup { spawn_handler: Some(Arc::new(handler)), min_workers: Some(0), ..Setup::new(1, 8) };
            let pool = Arc::new(variant.build(setup));
            own.set(Arc::downgrade(&pool)).unwrap();
            let count = ran.clone();
            let outer = pool.submit(Task::new(move || _ = count.up()));
            assert_eq!(outer.is_ok(), !refuses);
            assert!(pool.wait_idle());
            assert_eq!(ran.get(), if refuses { 1 } else { 2 });
        });
    }
}
