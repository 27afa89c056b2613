//! A41: maps that end early: dropped, refused by a closed pool, given back, and every value dropped once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::support::maps::{Marked, counted, items, on_all, work};
use crate::support::races::quiet_panic;
use crate::support::{Count, Gate, on_every_dispatch};
use formicary::{CallError, Dispatch, Pool};

#[test]
fn a41_dropping_it_cancels_what_has_not_started_and_does_not_wait() {
    on_all(1, 20, |pool| {
        let (living, ran, gate, full) = (Count::new(), Count::new(), Gate::new(), Gate::new());
        let (marks, runs, held) = (living.clone(), ran.clone(), gate.clone());
        let works = (0_u64..).map(move |n| {
            let (mark, runs, held, full) = (Marked::new(n, &marks), runs.clone(), held.clone(), full.clone());
            if n == 4 {
                full.open();
            }
            work(move || {
                let mark = mark; // all of it
                runs.up();
                match mark.0 {
                    0 => full.wait(),
                    1 => held.wait(),
                    _ => {}
                }
                mark.0
            })
        });
        let mut results = pool.map(items(works)).window(5);
        assert_eq!(results.next(), Some(0));
        gate.await_arrivals(1);
        drop(results);
        assert_eq!(living.get(), 1, "what will not run is dropped at once");
        gate.open();
        pool.wait_idle();
        assert_eq!((ran.get(), living.get()), (2, 0));
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.completed, stats.cancelled), (5, 2, 3));
    });
}

#[test]
fn a41_a_closed_pool_gives_every_item_back() {
    on_all(2, 4, |pool| {
        pool.shutdown();
        let pulls = Count::new();
        for unordered in [false, true] {
            let map = |items| if unordered { pool.map_unordered(items) } else { pool.map(items) };
            let before = pulls.get();
            let mut results = map(counted(&pulls)).results();
            for n in 0..3 {
                let error = results.next().unwrap().unwrap_err();
                assert!(matches!(&error, CallError::Refused(refusal) if refusal.is_closed()));
                assert_eq!(error.into_input().unwrap()(), n, "it still can be run");
                assert_eq!((pulls.get() - before) as u64, n + 1, "nothing is pulled ahead of a refusal");
            }
            drop(results);
            let mut results = map(counted(&pulls));
            let panic = catch_unwind(AssertUnwindSafe(|| results.next())).unwrap_err();
            assert_eq!(panic.downcast_ref::<String>().unwrap(), "an item was refused: the pool has been shut down");
            assert_eq!(results.next(), None);
        }
    });
}

/// What the pool gives back in the middle is an error at its place, in either order.
#[test]
fn a41_what_shutdown_now_gives_back_is_told() {
    for unordered in [false, true] {
        on_all(1, 20, move |pool| {
            let gate = Gate::new();
            let held = gate.clone();
            let works = (0..4).map(move |n| {
                let held = held.clone();
                work(move || {
                    held.wait();
                    n
                })
            });
            let map = if unordered { pool.map_unordered(items(works)) } else { pool.map(items(works)) };
            let mut results = map.window(4).results();
            let (first, returned) = thread::scope(|scope| {
                let first = scope.spawn(|| results.next().unwrap());
                gate.await_arrivals(1);
                crate::support::eventually("all are in", || pool.stats().submitted == 4);
                let ender = scope.spawn(|| pool.shutdown_now());
                crate::support::eventually("it is emptied", || pool.stats().queued == 0);
                gate.open();
                (first.join().unwrap(), ender.join().unwrap())
            });
            assert_eq!(returned, 3);
            let all: Vec<_> = [first].into_iter().chain(results).collect();
            assert_eq!(all.iter().filter(|answer| answer.is_ok()).count(), 1);
            let told = all.iter().filter(|a| matches!(a, Err(CallError::Failed(error)) if error.is_cancelled()));
            assert_eq!(told.count(), 3);
        });
    }
}

fn dropped_once<D: Dispatch>() {
    let living = Count::new();
    for round in 0..200_u64 {
        let pool = Pool::builder().workers(2).queue((round % 4) as usize).dispatch::<D>().build().unwrap();
        let (marks, count) = (living.clone(), living.clone());
        let input = (0..20).map(move |n| Marked::new(n, &marks));
        let f = move |mark: Marked| {
            if mark.0 == 13 && round % 3 == 0 {
                quiet_panic();
            }
            Marked::new(mark.0 + 1, &count)
        };
        let map = if round % 2 == 0 { pool.map(input, f) } else { pool.map_unordered(input, f) };
        let map = map.window(1 + (round % 7) as usize);
        match round % 5 {
            0 => drop(map.results().collect::<Vec<_>>()),
            1 => drop(map.take((round % 11) as usize).collect::<Vec<_>>()),
            2 => {
                let mut map = map.results();
                drop(map.next());
                thread::scope(|scope| {
                    scope.spawn(|| pool.shutdown_now());
                    assert_eq!(map.by_ref().count(), 19);
                });
            }
            3 => drop(catch_unwind(AssertUnwindSafe(|| map.map(drop).count()))),
            _ => drop(pool.map(map.results().take(5), |mark| mark).results().count()),
        }
        assert!(pool.wait_idle());
        drop(pool);
        assert_eq!(living.get(), 0, "round {round}");
    }
}

#[test]
fn a41_every_value_is_dropped_once() {
    on_every_dispatch!(dropped_once);
}

/// An item that panics in its drop, where the map is dropped: the others are cancelled all the same. (Found by the fuzz target
/// `group`, in groups.)
fn items_that_panic_in_their_drop<D: Dispatch>() {
    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            quiet_panic();
        }
    }
    let pool = Pool::builder().workers(1).dispatch::<D>().build().unwrap();
    let (ran, gate, full) = (Count::new(), Gate::new(), Gate::new());
    let (runs, held, fills) = (ran.clone(), gate.clone(), full.clone());
    let items = (0..).map(|n| {
        if n == 4 {
            fills.open();
        }
        (n, (n > 1).then(|| PanicsInDrop))
    });
    let map = pool.map(items, move |(n, item)| {
        std::mem::forget(item);
        runs.up();
        match n {
            0 => full.wait(),
            1 => held.wait(),
            _ => {}
        }
    });
    let mut results = map.window(5);
    assert_eq!(results.next(), Some(()));
    gate.await_arrivals(1);
    drop(results);
    gate.open();
    pool.wait_idle();
    assert_eq!((ran.get(), pool.stats().cancelled), (2, 3));
}

#[test]
fn a41_items_that_panic_in_their_drop() {
    on_every_dispatch!(items_that_panic_in_their_drop);
}
