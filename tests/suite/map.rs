//! A41: parallel maps over iterators: in which order, how far ahead, and where a panic comes out.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::{Arc, mpsc};
use std::thread;

use crate::support::maps::{Items, Maps, Work, counted, items, on_all, work};
use crate::support::{Count, Gate, LIMIT, eventually};

fn gates(count: usize) -> Vec<Gate> {
    (0..count).map(|_| Gate::new()).collect()
}

/// A41: each item waits for the one behind it, and the results still come from the front.
#[test]
fn a41_ordered_stream_runs_in_parallel_and_hands_out_in_order() {
    on_all(4, 4, |pool| {
        let gates = gates(5);
        gates[4].open();
        let chain: Vec<_> = (0..4)
            .map(|n| {
                let gates = gates.clone();
                work(move || {
                    gates[n + 1].wait();
                    gates[n].open();
                    n as u64
                })
            })
            .collect();
        assert!(pool.map(items(chain)).eq(0..4));
    });
}

#[test]
fn a41_unordered_results_come_as_they_end() {
    on_all(4, 4, |pool| {
        let gates = gates(4);
        let held: Vec<_> = (0..4)
            .map(|n| {
                let gate = gates[n].clone();
                work(move || {
                    gate.wait();
                    n as u64
                })
            })
            .collect();
        let mut results = pool.map_unordered(items(held));
        for n in [2, 0, 3, 1] {
            gates[n].open();
            assert_eq!(results.next(), Some(n as u64));
        }
        assert_eq!((results.next(), results.next()), (None, None));
    });
}

/// Four numbers, the second of which is a panic.
fn with_a_panic(after: &Count) -> Items {
    let after = after.clone();
    items((0..4).map(move |n| {
        let after = after.clone();
        work(move || {
            if n == 1 {
                panic_any("a test's panic");
            }
            after.up();
            n
        })
    }))
}

#[test]
fn a41_a_panic_surfaces_at_its_items_place_and_blocks_no_other() {
    crate::support::quiet_panics();
    on_all(2, 8, |pool| {
        let after = Count::new();
        let mut results = pool.map(with_a_panic(&after));
        assert_eq!(results.next(), Some(0));
        let panic = catch_unwind(AssertUnwindSafe(|| results.next())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a test's panic"));
        assert_eq!(results.next(), None);
        pool.wait_idle();
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.panicked), (stats.completed + stats.panicked + stats.cancelled, 1));

        // As errors it touches no other.
        let answers: Vec<_> = pool.map(with_a_panic(&after)).results().map(|answer| answer.ok()).collect();
        assert_eq!(answers, [Some(0), None, Some(2), Some(3)]);
        // Not in order, it still comes once.
        let mut answers: Vec<_> = pool.map_unordered(with_a_panic(&after)).results().map(|a| a.ok()).collect();
        answers.sort_unstable();
        assert_eq!(answers, [None, Some(0), Some(2), Some(3)]);
        assert!(pool.map(items([work(|| 7)])).eq([7]), "the pool goes on");
    });
}

#[test]
fn a41_nothing_is_pulled_before_it_is_asked_for_and_then_a_window() {
    on_all(3, 20, |pool| {
        let pulls = Count::new();
        for unordered in [false, true] {
            let map = |items| if unordered { pool.map_unordered(items) } else { pool.map(items) };
            pool.wait_idle();
            let before = pulls.get();
            let mut by_default = map(counted(&pulls));
            assert_eq!((pulls.get() - before, pool.stats().running), (0, 0));
            for handed_out in 1..50 {
                assert!(by_default.next().is_some());
                let pulled = pulls.get() - before;
                assert!((handed_out..6 + handed_out).contains(&pulled), "twice the capacity at most: {pulled}");
            }
            drop(by_default);
            for window in [1, 5] {
                let (before, handed_out) = (pulls.get(), Count::new());
                for _ in map(counted(&pulls)).window(window).take(20) {
                    let pulled = pulls.get() - before;
                    assert!(pulled < window + handed_out.up(), "{pulled}");
                }
            }
            // Where no result is ready it is all that the window allows.
            for window in [None, Some(1), Some(5)] {
                let (before, gate) = (pulls.get(), Gate::new());
                let (held, puller) = (gate.clone(), pulls.clone());
                let all = (0..20).map(move |n| {
                    let held = held.clone();
                    puller.up();
                    work(move || {
                        held.wait();
                        n
                    })
                });
                let most = window.unwrap_or(6);
                let results = map(items(all));
                let mut results = if let Some(window) = window { results.window(window) } else { results };
                thread::scope(|scope| {
                    let first = scope.spawn(move || (results.next().is_some(), results));
                    eventually("the window is full", || pulls.get() - before == most);
                    gate.await_arrivals(most.min(3));
                    gate.open();
                    let (is_first, results) = first.join().unwrap();
                    assert!(is_first);
                    assert_eq!(pulls.get() - before, most);
                    drop(results);
                });
            }
        }
        map_ends(&*pool);
    });
}

/// An infinite input, and the end of a finite one.
fn map_ends(pool: &dyn Maps) {
    assert!(pool.map(counted(&Count::new())).take(10).eq(0..10));
    let mut three = pool.map(items((0..3).map(|n| work(move || n)))).window(2);
    assert_eq!(three.size_hint(), (3, Some(3)));
    assert_eq!(three.next(), Some(0));
    assert_eq!(three.size_hint(), (2, Some(2)));
    assert_eq!((three.next(), three.next(), three.next(), three.next()), (Some(1), Some(2), None, None));
}

/// Never more tasks started and not handed out than the window has.
#[test]
fn a41_a_slow_consumer_bounds_the_work() {
    on_all(2, 100, |pool| {
        let (made, slow) = (Count::new(), Gate::new());
        let (count, gate) = (made.clone(), slow.clone());
        let works = (0_u64..).map(move |n| {
            let (count, gate) = (count.clone(), gate.clone());
            work(move || {
                count.up();
                if n == 0 {
                    gate.wait();
                }
                n
            })
        });
        let mut results = pool.map(items(works)).window(7);
        thread::scope(|scope| {
            let first = scope.spawn(|| results.next());
            crate::support::eventually("the other worker does the rest", || made.get() == 7);
            assert_eq!(pool.stats().submitted, 7);
            slow.open();
            assert_eq!(first.join().unwrap(), Some(0));
        });
        assert_eq!((made.get(), pool.stats().submitted), (7, 7));
    });
}

#[test]
fn a41_it_can_go_on_on_another_thread() {
    on_all(2, 4, |pool| {
        let mut results = pool.map(counted(&Count::new()));
        assert_eq!(results.next(), Some(0));
        thread::scope(|scope| assert!(scope.spawn(|| results.take(8).eq(1..9)).join().unwrap()));
    });
}

/// The works, counted as they are pulled; each pull but the first waits until all results of those before are ready, and fails if
/// one of them that was ready at the last pull has not been handed out.
fn patient(pool: &Arc<dyn Maps>, works: Vec<Work>, pulls: &Count, handed_out: &Count) -> Items {
    let (pool, pulls, handed_out) = (Arc::clone(pool), pulls.clone(), handed_out.clone());
    items(works.into_iter().inspect(move |_| {
        let pulled = pulls.up();
        assert!(handed_out.get() + 2 >= pulled, "pull {pulled}, and {} handed out", handed_out.get());
        pool.wait_idle();
    }))
}

/// D27: a result that is ready is handed out before more is pulled.
#[test]
fn d27_what_is_ready_is_handed_out_before_the_next_pull() {
    on_all(2, 20, |pool| {
        for unordered in [false, true] {
            let (pulls, handed_out) = (Count::new(), Count::new());
            let works = (0..30).map(|n| work(move || n)).collect();
            let input = patient(&pool, works, &pulls, &handed_out);
            let mut results = if unordered { pool.map_unordered(input) } else { pool.map(input) };
            for n in 0..15 {
                assert_eq!(results.next(), Some(n));
                handed_out.up();
            }
            let mut results = results.results();
            for n in 15..30 {
                assert_eq!(results.next().unwrap().unwrap(), n);
                handed_out.up();
            }
            assert!(results.next().is_none());
            assert_eq!(pulls.get(), 30);
        }
    });
}

/// D27: a source that yields something now and then, and at the end nothing more: each result comes out with the next item, and not
/// only with a full window.
#[test]
fn d27_a_live_source_does_not_hold_back_what_is_ready() {
    on_all(2, 20, |pool| {
        for unordered in [false, true] {
            let ((say, heard), (told, results)) = (mpsc::channel::<Work>(), mpsc::channel());
            let before = pool.stats().completed;
            thread::scope(|scope| {
                let mapping = &pool;
                scope.spawn(move || {
                    let input = items(heard);
                    let all = if unordered { mapping.map_unordered(input) } else { mapping.map(input) };
                    all.for_each(|n| told.send(n).unwrap());
                });
                say.send(work(|| 0)).unwrap();
                for n in 1..10 {
                    eventually("the last one has run", || pool.stats().completed - before == n);
                    // Also announced.
                    pool.wait_idle();
                    say.send(work(move || n)).unwrap();
                    assert_eq!(results.recv_timeout(LIMIT), Ok(n - 1));
                }
                drop(say);
                assert_eq!(results.recv_timeout(LIMIT), Ok(9));
            });
        }
    });
}

/// D23: a window of zero is an error that is named.
#[test]
fn d23_a_window_of_zero_panics_and_names_it() {
    on_all(1, 1, |pool| {
        let caught = catch_unwind(AssertUnwindSafe(|| drop(pool.map(items([])).window(0))));
        let text = *caught.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(text, "window is 0: a map needs at least 1");
    });
}
