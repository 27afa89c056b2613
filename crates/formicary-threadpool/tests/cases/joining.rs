//! `join`: what it waits for, and whom it lets go.

use std::sync::mpsc::{TryRecvError, channel};
use std::thread;
use std::time::Duration;

use super::support::{Blocking, Count, Gate, LIMIT, eventually, within_limit};
use crate::subject::{Builder, ThreadPool};

/// Ported: `test_empty_pool`.
#[test]
fn joining_an_empty_pool_returns() {
    within_limit(|| {
        let pool = ThreadPool::new(4);
        pool.join();
        pool.join();
    });
}

/// Ported: `test_repeate_join`.
#[test]
fn a_pool_is_joined_again_and_again() {
    within_limit(|| {
        let pool = ThreadPool::with_name("repeat join".into(), 8);
        let ran = Count::new();
        for wave in 1..=50 {
            (0..42).for_each(|_| pool.execute(ran.job()));
            pool.join();
            assert_eq!((ran.get(), pool.active_count(), pool.queued_count()), (42 * wave, 0, 0));
        }
    });
}

#[test]
fn join_waits_for_queued_and_running_jobs() {
    within_limit(|| {
        let pool = ThreadPool::new(1);
        let (gate, ran) = (Gate::new(), Count::new());
        pool.execute(gate.job());
        (0..3).for_each(|_| pool.execute(ran.job()));
        gate.await_arrivals(1);
        let (sender, blocking) = channel();
        let (same, seen) = (pool.clone(), ran.clone());
        let joiner = thread::spawn(move || {
            sender.send(Blocking::current()).unwrap();
            same.join();
            seen.get()
        });
        blocking.recv().unwrap().until_blocked();
        assert!(!joiner.is_finished());
        gate.open();
        assert_eq!(joiner.join().unwrap(), 3);
    });
}

/// What a job holds is gone when `join` returns.
#[test]
fn captures_are_dropped_before_join_returns() {
    within_limit(|| {
        let pool = ThreadPool::new(2);
        for _ in 0..100 {
            let captured = Count::new();
            let held = std::sync::Arc::new(captured);
            for _ in 0..4 {
                let held = held.clone();
                pool.execute(move || held.up());
            }
            pool.join();
            assert_eq!((std::sync::Arc::strong_count(&held), held.get()), (1, 4));
        }
    });
}

/// Ported: `test_multi_join`. Jobs of one pool join another.
#[test]
fn pools_are_joined_from_jobs_of_others() {
    within_limit(|| {
        let pool0 = ThreadPool::with_name("multi join pool0".into(), 4);
        let pool1 = ThreadPool::with_name("multi join pool1".into(), 4);
        let (gate, (sender, receiver)) = (Gate::new(), channel());
        for n in 0..8 {
            let (other, this, sender, gate) = (pool1.clone(), pool0.clone(), sender.clone(), gate.clone());
            pool0.execute(move || {
                other.execute(move || {
                    this.join();
                    sender.send(n).unwrap();
                });
                gate.pass();
            });
        }
        drop(sender);
        gate.await_arrivals(4);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        gate.open();
        pool0.join();
        pool1.join();
        assert_eq!(receiver.iter().sum::<i32>(), 28);
    });
}

/// Ported: `test_no_fun_or_joy`. Jobs come while a thread joins.
#[test]
fn join_returns_although_jobs_come() {
    within_limit(|| {
        let pool = ThreadPool::with_name("no fun or joy".into(), 8);
        let (gate, ran) = (Gate::new(), Count::new());
        pool.execute(gate.job());
        let (adding, counts) = (pool.clone(), ran.clone());
        let adder = thread::spawn(move || {
            gate.open();
            (0..23).for_each(|_| adding.execute(counts.job()));
        });
        pool.join();
        adder.join().unwrap();
        pool.join();
        assert_eq!(ran.get(), 23);
    });
}

/// Ported: `test_clone`. Each clone joins the first jobs, and then adds its own.
#[test]
fn clones_share_the_pool() {
    within_limit(|| {
        let pool = ThreadPool::with_name("clone example".into(), 2);
        let (gate, ran) = (Gate::new(), Count::new());
        for _ in 0..6 {
            let (gate, ran) = (gate.clone(), ran.clone());
            pool.execute(move || {
                gate.pass();
                ran.up();
            });
        }
        let collect = |numbers: std::ops::Range<usize>| {
            let (pool, ran) = (pool.clone(), ran.clone());
            thread::spawn(move || {
                pool.join();
                assert_eq!(ran.get(), 6);
                let (sender, receiver) = channel();
                for n in numbers {
                    let sender = sender.clone();
                    pool.execute(move || sender.send(n).unwrap());
                }
                drop(sender);
                receiver.into_iter()
            })
        };
        let (sum, product) = (collect(0..42), collect(1..12));
        gate.open();
        assert_eq!(sum.join().unwrap().sum::<usize>(), 861);
        assert_eq!(product.join().unwrap().product::<usize>(), 39_916_800);
    });
}

/// Ported: `test_join_wavesurfer`. All threads that join at one moment return, though the first of them gives the pool new jobs at once;
/// those that come later wait for these.
#[test]
fn joining_threads_leave_in_waves() {
    const JOINERS: usize = 4;
    within_limit(|| {
        let builder = Builder::new().num_threads(JOINERS).thread_name("join wavesurfer".into());
        let (clock, waiter) = (builder.clone().build(), builder.build());
        let gates = [Gate::new(), Gate::new(), Gate::new()];
        clock.execute(gates[0].job());
        for wave in 0..2 {
            let (blocking, blocked) = channel();
            let (returned, returns) = channel();
            for _ in 0..JOINERS {
                let (clock, next) = (clock.clone(), gates[wave + 1].clone());
                let (blocking, returned) = (blocking.clone(), returned.clone());
                waiter.execute(move || {
                    blocking.send(Blocking::current()).unwrap();
                    clock.join();
                    clock.execute(next.job());
                    returned.send(()).unwrap();
                });
            }
            blocked.iter().take(JOINERS).for_each(|thread| thread.until_blocked());
            assert_eq!(returns.try_recv(), Err(TryRecvError::Empty));
            gates[wave].open();
            // The jobs of the next wave do not end before its gate is opened.
            (0..JOINERS).for_each(|_| returns.recv_timeout(LIMIT).expect("a thread stays in the join"));
        }
        gates[2].open();
        clock.join();
        waiter.join();
    });
}

/// A job that joins its own pool waits for itself, and with it everybody who joins.
#[test]
fn a_job_that_joins_its_own_pool_never_returns() {
    within_limit(|| {
        let pool = ThreadPool::new(2);
        let (ran, (sender, receiver)) = (Count::new(), channel());
        let inner = pool.clone();
        pool.execute(move || {
            sender.send(Blocking::current()).unwrap();
            inner.join();
            drop(sender);
        });
        receiver.recv().unwrap().until_blocked();
        // The other thread goes on.
        pool.execute(ran.job());
        eventually("the other job has run", || ran.get() == 1 && pool.active_count() == 1);
        let end = receiver.recv_timeout(Duration::from_millis(100)).map(drop);
        assert_eq!(end, Err(std::sync::mpsc::RecvTimeoutError::Timeout));
        assert_eq!(pool.active_count(), 1);
    });
}
