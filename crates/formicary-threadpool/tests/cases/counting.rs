//! How many jobs run and wait, in which order, and what `set_num_threads` does about it.

use std::sync::mpsc::channel;

use super::support::{Count, Gate, eventually, within_limit};
use crate::subject::ThreadPool;

const THREADS: usize = 4;

/// Ported: `test_works`.
#[test]
fn jobs_run() {
    within_limit(|| {
        let pool = ThreadPool::new(THREADS);
        let (sender, receiver) = channel();
        for n in 0..THREADS {
            let sender = sender.clone();
            pool.execute(move || sender.send(n).unwrap());
        }
        assert_eq!(receiver.iter().take(THREADS).sum::<usize>(), 6);
    });
}

/// Ported: `test_active_count`, whose jobs never end either.
#[test]
fn one_job_for_each_thread_is_active() {
    within_limit(|| {
        let pool = ThreadPool::new(THREADS);
        let gate = Gate::new();
        (0..2 * THREADS).for_each(|_| pool.execute(gate.job()));
        gate.await_arrivals(THREADS);
        assert_eq!((pool.active_count(), pool.queued_count(), pool.max_count()), (THREADS, THREADS, THREADS));
        let same = pool.clone();
        assert_eq!((same.active_count(), same.queued_count(), same.max_count()), (THREADS, THREADS, THREADS));
    });
}

/// Ported: `test_massive_task_creation`, with a twentieth of the jobs.
#[test]
fn any_number_of_jobs_may_wait() {
    const JOBS: usize = 210_000;
    within_limit(|| {
        let pool = ThreadPool::new(THREADS);
        let (gate, ran) = (Gate::new(), Count::new());
        for n in 0..JOBS {
            let (gate, ran) = (gate.clone(), ran.clone());
            pool.execute(move || {
                if n < THREADS {
                    gate.pass();
                }
                ran.up();
            });
        }
        gate.await_arrivals(THREADS);
        assert_eq!((pool.active_count(), pool.queued_count()), (THREADS, JOBS - THREADS));
        gate.open();
        pool.join();
        assert_eq!((ran.get(), pool.active_count(), pool.queued_count()), (JOBS, 0, 0));
    });
}

/// Jobs start in the order in which they came, also those that a job of the pool queues behind others.
#[test]
fn first_come_is_first_served() {
    within_limit(|| {
        let pool = ThreadPool::new(1);
        let (gate, (sender, receiver)) = (Gate::new(), channel());
        let note = |name: &'static str| {
            let sender = sender.clone();
            move || sender.send(name).unwrap()
        };
        let (inner, held, nested) = (pool.clone(), gate.clone(), [note("nested 1"), note("nested 2")]);
        pool.execute(move || {
            held.pass();
            nested.into_iter().for_each(|job| inner.execute(job));
        });
        gate.await_arrivals(1);
        pool.execute(note("outer 1"));
        pool.execute(note("outer 2"));
        gate.open();
        pool.join();
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), ["outer 1", "outer 2", "nested 1", "nested 2"]);
    });
}

/// A job may queue more jobs than there are threads: it never waits for room.
#[test]
fn a_job_may_queue_jobs() {
    within_limit(|| {
        let pool = ThreadPool::new(2);
        let (ran, inner) = (Count::new(), pool.clone());
        let counts = ran.clone();
        pool.execute(move || (0..10_000).for_each(|_| inner.execute(counts.job())));
        pool.join();
        assert_eq!(ran.get(), 10_000);
    });
}

/// Ported: `test_set_num_threads_increasing`.
#[test]
fn more_threads_run_more_jobs() {
    within_limit(|| {
        let mut pool = ThreadPool::new(THREADS);
        let gate = Gate::new();
        (0..THREADS + 2).for_each(|_| pool.execute(gate.job()));
        gate.await_arrivals(THREADS);
        assert_eq!((pool.active_count(), pool.queued_count()), (THREADS, 2));
        pool.set_num_threads(3 * THREADS);
        // Those that waited, and those that come.
        gate.await_arrivals(THREADS + 2);
        (0..2 * THREADS - 2).for_each(|_| pool.execute(gate.job()));
        gate.await_arrivals(3 * THREADS);
        pool.execute(gate.job());
        assert_eq!((pool.active_count(), pool.queued_count(), pool.max_count()), (12, 1, 12));
        gate.open();
        pool.join();
    });
}

/// Ported: `test_set_num_threads_decreasing`.
#[test]
fn fewer_threads_run_jobs_to_the_end() {
    within_limit(|| {
        let mut pool = ThreadPool::new(THREADS);
        let (ran, gate) = (Count::new(), Gate::new());
        (0..THREADS).for_each(|_| pool.execute(ran.job()));
        pool.set_num_threads(2);
        assert_eq!(pool.max_count(), 2);
        (0..2).for_each(|_| pool.execute(gate.job()));
        gate.await_arrivals(2);
        eventually("only the held jobs are active", || pool.active_count() == 2);
        gate.open();
        pool.join();
        assert_eq!(ran.get(), THREADS);
    });
}

/// Ported: `test_shrink`.
#[test]
fn running_jobs_go_on_with_fewer_threads() {
    within_limit(|| {
        let mut pool = ThreadPool::new(THREADS + 2);
        let (first, second) = (Gate::new(), Gate::new());
        (0..THREADS + 2).for_each(|_| pool.execute(first.job()));
        (0..THREADS).for_each(|_| pool.execute(second.job()));
        first.await_arrivals(THREADS + 2);
        pool.set_num_threads(THREADS);
        assert_eq!((pool.active_count(), pool.queued_count()), (THREADS + 2, THREADS));
        first.open();
        second.await_arrivals(THREADS);
        eventually("the first jobs have ended", || pool.active_count() == THREADS);
        assert_eq!(pool.queued_count(), 0);
        second.open();
        pool.join();
    });
}

/// One change follows another, through any handle.
#[test]
fn the_number_of_threads_changes_again_and_again() {
    within_limit(|| {
        let pool = ThreadPool::new(1);
        let ran = Count::new();
        for threads in (1..=8).chain((1..8).rev()).chain([8]) {
            pool.clone().set_num_threads(threads);
            assert_eq!(pool.max_count(), threads);
            (0..20).for_each(|_| pool.execute(ran.job()));
        }
        let gate = Gate::new();
        (0..8).for_each(|_| pool.execute(gate.job()));
        gate.await_arrivals(8);
        gate.open();
        pool.join();
        assert_eq!(ran.get(), 16 * 20);
    });
}
