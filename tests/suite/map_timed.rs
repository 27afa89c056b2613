//! Maps whose results are waited for with a limit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::maps::{items, on_all, work};
use crate::support::races::quiet_panic;
use crate::support::{Count, Gate, LIMIT, on_every_dispatch};
use formicary::{Dispatch, Pool};

const SOON: Duration = Duration::from_millis(2);

/// No result yet, a result, and the end; in both orders. Giving up loses nothing.
#[test]
fn a_limit_ends_the_wait_and_loses_nothing() {
    on_all(2, 4, |pool| {
        for ordered in [true, false] {
            let gate = Gate::new();
            let held = gate.clone();
            let slow = work(move || {
                held.wait();
                0
            });
            let all = items([slow, work(|| 1)]);
            let mut map = if ordered { pool.map(all) } else { pool.map_unordered(all) };
            if ordered {
                assert_eq!(map.next_timeout(Duration::ZERO), None);
                assert_eq!(map.next_timeout(SOON), None);
            } else {
                assert_eq!(map.next_timeout(LIMIT), Some(Some(1)));
            }
            assert_eq!(map.next_timeout(SOON), None);
            gate.open();
            assert_eq!(map.next_timeout(LIMIT), Some(Some(0)));
            if ordered {
                assert_eq!(map.next(), Some(1));
            }
            assert_eq!(map.next_timeout(Duration::ZERO), Some(None));
            assert_eq!((map.next(), map.next_timeout(LIMIT)), (None, Some(None)));
        }
        pool.wait_idle();
    });
}

/// A result that is there comes whatever the limit; failures come at their places.
#[test]
fn what_is_there_comes_in_no_time() {
    on_all(1, 10, |pool| {
        let fails = || {
            quiet_panic();
            2
        };
        let gate = Gate::new();
        let all = || {
            let held = gate.clone();
            let first = move || {
                held.wait();
                1
            };
            items([work(first), work(fails), work(|| 3)])
        };
        let mut results = pool.map(all()).window(3).results();
        // This starts them all.
        assert!(results.next_timeout(Duration::ZERO).is_none());
        gate.open();
        pool.wait_idle();
        assert!(matches!(results.next_timeout(Duration::ZERO), Some(Some(Ok(1)))));
        assert!(results.next_timeout(Duration::ZERO).unwrap().unwrap().is_err_and(|error| error.is_panic()));
        assert!(matches!(results.next_timeout(Duration::ZERO), Some(Some(Ok(3)))));
        assert!(matches!(results.next_timeout(Duration::ZERO), Some(None)));
        let mut map = pool.map(all());
        assert_eq!(map.next_timeout(LIMIT), Some(Some(1)));
        assert!(catch_unwind(AssertUnwindSafe(|| map.next_timeout(LIMIT))).is_err());
        assert_eq!(map.next_timeout(LIMIT), Some(None));
    });
}

/// The wait for room is bounded too: with nothing under way, and with something. The item that found none is kept.
fn no_room<D: Dispatch>() {
    let pool = pool::<D>(2, 0);
    let (first, second) = (occupy(&pool), occupy(&pool));
    let mut map = pool.map(0..2, |n: u32| n);
    for _ in 0..3 {
        assert_eq!(map.next_timeout(SOON), None);
    }
    assert_eq!(pool.waiting(), 0);
    first.open();
    assert_eq!(map.next_timeout(LIMIT), Some(Some(0)));
    second.open();
    assert!(map.eq(1..2));
    assert_quiet(&pool);

    let (occupied, gate) = (occupy(&pool), Gate::new());
    let held = gate.clone();
    let mut map = pool.map(0..2, move |n: u32| {
        held.wait();
        n
    });
    for _ in 0..3 {
        assert_eq!(map.next_timeout(SOON), None);
    }
    gate.open();
    assert_eq!((map.next_timeout(LIMIT), map.next_timeout(LIMIT)), (Some(Some(0)), Some(Some(1))));
    occupied.open();
    assert_quiet(&pool);
}

#[test]
fn a_limit_ends_the_wait_for_room() {
    on_every_dispatch!(no_room);
}

/// A pool that does not block refuses, with a limit as without.
fn nonblocking<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(0).nonblocking(true).dispatch::<D>().build().unwrap();
    let gate = occupy(&pool);
    let mut results = pool.map(0..1, |n: u32| n).results();
    assert!(results.next_timeout(LIMIT).unwrap().unwrap().is_err_and(|error| error.is_full()));
    assert!(matches!(results.next_timeout(LIMIT), Some(None)));
    gate.open();
    assert_quiet(&pool);
}

#[test]
fn a_nonblocking_pool_refuses() {
    on_every_dispatch!(nonblocking);
}

/// Inside the pool, only the last worker runs what it waits for. Another gives up in time.
fn inside<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let own = Arc::clone(&pool);
    let sum = pool.run(move || {
        let mut map = own.map(0..5, |n: u32| n);
        let mut sum = 0;
        while let Some(n) = map.next_timeout(LIMIT).unwrap() {
            sum += n;
        }
        sum
    });
    assert_eq!(sum.unwrap(), 10);
    assert_quiet(&pool);
    let pool = self::pool::<D>(2, 10);
    let (gate, own, seen) = (Gate::new(), Arc::clone(&pool), Count::new());
    thread::scope(|scope| {
        let (held, counts) = (gate.clone(), seen.clone());
        let waits = scope.spawn(|| {
            pool.run(move || {
                let mut map = own.map(0..1, move |n: u32| {
                    held.wait();
                    n
                });
                while map.next_timeout(SOON).is_none() {
                    counts.up();
                }
            })
        });
        gate.await_arrivals(1);
        crate::support::eventually("it gives up", || seen.get() > 0);
        gate.open();
        waits.join().unwrap().unwrap();
    });
    assert_quiet(&pool);
}

#[test]
fn inside_the_last_worker_runs_what_it_waits_for() {
    on_every_dispatch!(inside);
}
