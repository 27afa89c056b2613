//! Spawn handlers that do not do what they should: the pool loses a worker by it, never its end.

mod support;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use formicary::{BuildError, WorkerThread};
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
