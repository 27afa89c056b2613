//! B17: no task waits while a worker is idle, however long another task takes, and whether the workers beside it were parked when
//! the task came or about to park.

use std::time::Duration;

use crate::support::races::{shift, together};
use crate::support::sharded::{for_each_kind, hold_workers_of};
use crate::support::{AnyPool, Count, Gate, Setup, eventually, for_each};
use formicary::Balance;

/// So many workers from the start, none of which expires.
fn settled(workers: usize) -> Setup {
    Setup { min_workers: Some(workers), expiry: Some(None), ..Setup::new(workers, 100) }
}

/// Lets the workers come nearer to parking, round by round, until they are parked.
fn doze(round: u64) {
    shift(Duration::from_micros(round % 20 * round % 20 * 2));
}

/// Submits short tasks behind the long ones that hold `busy` workers; all of them run while those are held.
fn all_run_meanwhile(pool: &AnyPool, busy: usize, round: u64) {
    let ran = Count::new();
    let tasks = 1 + usize::try_from(round % 7).unwrap();
    if round % 2 == 0 {
        (0..tasks).for_each(|_| pool.submit(ran.task()).unwrap());
        eventually("the short tasks run beside the long ones", || ran.get() == tasks);
    } else {
        together(2, |_| (0..tasks).for_each(|_| pool.submit(ran.task()).unwrap()));
        eventually("the short tasks run beside the long ones", || ran.get() == 2 * tasks);
    }
    eventually("only the long ones are left", || (pool.running(), pool.queued()) == (busy, 0));
}

/// The short tasks come when the long ones have begun.
#[test]
fn b17_tasks_behind_long_ones_that_run_find_the_idle_workers() {
    for_each(|variant| {
        for (workers, long) in [(2, 1), (4, 1), (4, 3)] {
            let pool = variant.build(settled(workers));
            for round in 0..100 {
                let gate = Gate::new();
                (0..long).for_each(|_| pool.submit(gate.task()).unwrap());
                gate.await_arrivals(long);
                doze(round);
                all_run_meanwhile(&pool, long, round);
                gate.open();
                assert!(pool.wait_idle());
            }
        }
    });
}

/// The short tasks come right behind the long ones, which no worker may have popped yet; all workers were parked or about to park.
#[test]
fn b17_tasks_right_behind_long_ones_find_the_idle_workers() {
    for_each(|variant| {
        for (workers, long) in [(2, 1), (4, 3)] {
            let pool = variant.build(settled(workers));
            for round in 0..100 {
                let gate = Gate::new();
                doze(round);
                (0..long).for_each(|_| pool.submit(gate.task()).unwrap());
                all_run_meanwhile(&pool, long, round);
                gate.await_arrivals(long);
                gate.open();
                assert!(pool.wait_idle());
            }
        }
    });
}

/// The long task is the last to come, behind short ones that have work for every worker.
#[test]
fn b17_tasks_before_a_long_one_find_the_idle_workers() {
    for_each(|variant| {
        let pool = variant.build(settled(3));
        for round in 0..100 {
            let (first, long) = (Gate::new(), Gate::new());
            doze(round);
            (0..2).for_each(|_| pool.submit(first.task()).unwrap());
            pool.submit(long.task()).unwrap();
            long.await_arrivals(1);
            first.await_arrivals(2);
            first.open();
            all_run_meanwhile(&pool, 1, round);
            long.open();
            assert!(pool.wait_idle());
        }
    });
}

/// All workers of one shard are held, and tasks with its key are queued behind them: the workers of the other shards steal them,
/// parked or not.
#[test]
fn b17_a_shard_whose_workers_are_all_held_is_served_by_the_others() {
    for_each_kind(|kind| {
        let pool = kind(settled(4), 2, Balance::default()).unwrap();
        let keys = pool.key_of_each();
        for round in 0..60 {
            let shard = usize::try_from(round % 2).unwrap();
            let held = hold_workers_of(&pool, shard, keys[shard]);
            assert_eq!(held.len(), 2);
            doze(round);
            let ran = Count::new();
            (0..9).for_each(|_| pool.submit_keyed(keys[shard], ran.task()).unwrap());
            eventually("the others take them", || ran.get() == 9);
            all_run_meanwhile(&pool.pool, 2, round);
            held.iter().for_each(Gate::open);
            assert!(pool.pool.wait_idle());
        }
    });
}
