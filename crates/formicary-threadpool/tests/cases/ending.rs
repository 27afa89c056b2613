//! What becomes of jobs when the handles are dropped.

use std::sync::Arc;
use std::sync::mpsc::channel;

use super::support::{Count, Gate, eventually, within_limit};
use crate::subject::ThreadPool;

/// The drop does not wait: jobs are held. What is queued runs after it.
#[test]
fn dropping_the_pool_waits_for_nothing_and_queued_jobs_run() {
    within_limit(|| {
        let pool = ThreadPool::new(2);
        let (gate, ran) = (Gate::new(), Count::new());
        (0..2).for_each(|_| pool.execute(gate.job()));
        (0..100).for_each(|_| pool.execute(ran.job()));
        gate.await_arrivals(2);
        drop(pool);
        assert_eq!(ran.get(), 0);
        gate.open();
        eventually("all have run", || ran.get() == 100);
    });
}

/// A pool that is dropped before a thread of it has got as far as its first job.
#[test]
fn jobs_of_a_pool_that_is_dropped_at_once_run() {
    within_limit(|| {
        let ran = Count::new();
        for threads in 1..=20 {
            let pool = ThreadPool::new(threads % 4 + 1);
            (0..10).for_each(|_| pool.execute(ran.job()));
        }
        eventually("all have run", || ran.get() == 200);
    });
}

/// Dropping one handle of several ends nothing.
#[test]
fn the_last_handle_ends_the_pool() {
    within_limit(|| {
        let (pool, ran) = (ThreadPool::new(2), Count::new());
        let same = pool.clone();
        drop(pool);
        same.execute(ran.job());
        same.join();
        assert_eq!(ran.get(), 1);
    });
}

/// A job may hold the last handle, use it, and drop it.
#[test]
fn a_job_may_hold_the_last_handle() {
    within_limit(|| {
        let pool = ThreadPool::new(1);
        let (gate, (sender, receiver)) = (Gate::new(), channel());
        let (inner, held) = (pool.clone(), gate.clone());
        pool.execute(move || {
            held.pass();
            inner.execute(move || sender.send(inner_name()).unwrap());
            drop(inner);
        });
        gate.await_arrivals(1);
        drop(pool);
        gate.open();
        assert_eq!(receiver.recv().unwrap(), None);
        // And the threads end: nobody holds the sender.
        assert!(receiver.recv().is_err());
    });
}

fn inner_name() -> Option<String> {
    std::thread::current().name().map(str::to_owned)
}

/// When all jobs have run, nothing of them is left.
#[test]
fn nothing_is_left_of_jobs() {
    within_limit(|| {
        let captured = Arc::new(());
        let pool = ThreadPool::new(3);
        for n in 0..50 {
            let held = Arc::clone(&captured);
            pool.execute(move || {
                let _held = held;
                assert!(n % 5 > 0, "a test's panic");
            });
        }
        drop(pool);
        eventually("all captures are dropped", || Arc::strong_count(&captured) == 1);
    });
}
