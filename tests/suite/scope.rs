//! Scopes: tasks that borrow, every one of which has ended when the scope does.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::closures::{assert_quiet, pool};
use crate::support::races::{quiet_panic, shift};
use crate::support::{Gate, assert_conserved, eventually, on_every_dispatch, quiet_panics};
use formicary::{Dispatch, Pool, Scope};

/// A43: tasks write into what they borrow, and it is all there when the scope ends; so is its value.
fn borrows<D: Dispatch>() {
    for (workers, queue) in [(1, 0), (1, 100), (3, 2)] {
        let pool = pool::<D>(workers, queue);
        let words = ["an", "ant", "hill"].map(String::from);
        let mut lengths = vec![0; 300];
        let count = pool.scope(|s| {
            for (length, word) in lengths.iter_mut().zip(words.iter().cycle()) {
                s.spawn(|| *length = word.len());
            }
            words.len()
        });
        assert_eq!(count, 3);
        assert!(lengths.into_iter().eq([2, 3, 4].into_iter().cycle().take(300)));
        assert_eq!(pool.stats().submitted, pool.stats().completed, "what has ended is counted");
        assert_quiet(&pool);
    }
}

#[test]
fn a43_tasks_borrow_from_the_caller() {
    on_every_dispatch!(borrows);
}

/// A43: the first panic of a task resumes when all have ended, and nothing that one captured is left.
fn first_panic<D: Dispatch>() {
    quiet_panics();
    let (pool, gate, ended, captured) = (pool::<D>(2, 100), Gate::new(), AtomicUsize::new(0), Arc::new(()));
    let panic = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|s| {
            s.spawn(|| resume_unwind(Box::new("first")));
            eventually("it has panicked", || pool.stats().panicked == 1);
            for n in 0..20 {
                let (held, gate, ended) = (Arc::clone(&captured), &gate, &ended);
                s.spawn(move || {
                    let _held = held;
                    gate.wait();
                    ended.fetch_add(1, SeqCst);
                    if n % 2 == 0 {
                        quiet_panic();
                    }
                });
            }
            gate.open();
        })
    }));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"first"));
    assert_eq!((ended.load(SeqCst), Arc::strong_count(&captured)), (20, 1));
    assert_eq!(pool.stats().panicked, 11);
    assert_quiet(&pool);
}

#[test]
fn a43_the_first_panic_goes_on_after_all_have_ended() {
    on_every_dispatch!(first_panic);
}

/// A43: the scope's own closure panics: its tasks are waited for, and its panic resumes.
fn closure_panics<D: Dispatch>() {
    quiet_panics();
    let (pool, gate, ended) = (pool::<D>(2, 10), Gate::new(), AtomicUsize::new(0));
    let opener = gate.clone();
    let opener = std::thread::spawn(move || {
        opener.await_arrivals(2);
        shift(Duration::from_millis(5));
        opener.open();
    });
    let panic = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|s| {
            for _ in 0..5 {
                s.spawn(|| {
                    gate.wait();
                    ended.fetch_add(1, SeqCst);
                    quiet_panic();
                });
            }
            resume_unwind(Box::new("the scope's own"))
        })
    }));
    assert_eq!(ended.load(SeqCst), 5);
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"the scope's own"));
    opener.join().unwrap();
    assert_quiet(&pool);
}

#[test]
fn a43_a_scope_that_panics_waits() {
    on_every_dispatch!(closure_panics);
}

/// A43: what `spawn` gives may be forgotten, and so may anything that is captured: the scope waits for the task.
fn forgotten<D: Dispatch>() {
    let (pool, gate) = (pool::<D>(1, 10), Gate::new());
    let mut value = 0;
    let opener = gate.clone();
    let opener = std::thread::spawn(move || {
        opener.await_arrivals(1);
        shift(Duration::from_millis(5));
        opener.open();
    });
    pool.scope(|s| {
        let value = &mut value;
        #[allow(forgetting_copy_types, clippy::unit_arg)] // that `spawn` gives nothing to keep is the point
        std::mem::forget(s.spawn(|| {
            gate.wait();
            *value = 7;
            std::mem::forget(Box::new("leaked"));
        }));
    });
    assert_eq!(value, 7);
    opener.join().unwrap();
}

#[test]
fn a43_nothing_that_is_forgotten_ends_a_scope() {
    on_every_dispatch!(forgotten);
}

/// A43: a task spawns more, through the same scope, and borrows the same things.
fn spawns_more<D: Dispatch>() {
    fn tree<'scope, D: Dispatch>(s: &'scope Scope<'scope, '_, D>, count: &'scope AtomicUsize, depth: u32) {
        count.fetch_add(1, SeqCst);
        for _ in 0..depth.min(3) {
            s.spawn(move || tree(s, count, depth - 1));
        }
    }
    for (workers, queue) in [(1, 0), (1, 500), (3, 1), (3, 500)] {
        let pool = pool::<D>(workers, queue);
        let count = AtomicUsize::new(0);
        pool.scope(|s| tree(s, &count, 5));
        // 1 + 3 + 9 + 27 for the depths 5, 4, 3, 2; then two each, and one.
        assert_eq!(count.load(SeqCst), 1 + 3 + 9 + 27 + 54 + 54);
        assert_quiet(&pool);
    }
}

#[test]
fn a43_tasks_spawn_into_their_scope() {
    on_every_dispatch!(spawns_more);
}

/// B05: scopes in scopes, on a pool of one worker too, to any depth.
fn nested<D: Dispatch>() {
    fn sum<D: Dispatch>(pool: &Pool<D>, numbers: &[u64]) -> u64 {
        let (one, rest) = numbers.split_at(numbers.len().div_ceil(2));
        if rest.is_empty() {
            return one.iter().sum();
        }
        let (mut left, mut right) = (0, 0);
        pool.scope(|s| {
            s.spawn(|| left = sum(pool, one));
            s.spawn(|| right = sum(pool, rest));
        });
        left + right
    }
    fn chain<D: Dispatch>(pool: &Pool<D>, depth: usize) -> usize {
        let mut below = 0;
        if depth > 0 {
            pool.scope(|s| s.spawn(|| below = chain(pool, depth - 1)));
        }
        below + 1
    }
    for (workers, queue) in [(1, 0), (1, 1), (1, 500), (2, 0), (3, 500)] {
        let pool = pool::<D>(workers, queue);
        let numbers: Vec<u64> = (1..=200).collect();
        assert_eq!(sum(&pool, &numbers), 20_100);
        assert_eq!(chain(&pool, 100), 101, "deeper than other waits may be nested");
        assert_quiet(&pool);
    }
}

#[test]
fn b05_scopes_in_scopes_on_one_worker() {
    on_every_dispatch!(nested);
}

/// A43: the pool is closed before, or meanwhile: what it does not take runs here, with its panics kept for the end.
fn closed<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(2, 10);
    let here = std::thread::current().id();
    let mut seen = Vec::new();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|s| {
            pool.shutdown();
            s.spawn(|| resume_unwind(Box::new("kept")));
            s.spawn(|| seen.push(std::thread::current().id()));
        })
    }));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"kept"));
    assert_eq!(seen, [here]);
    assert_quiet(&pool);
}

#[test]
fn a43_a_closed_pool_s_tasks_run_on_the_caller() {
    on_every_dispatch!(closed);
}

/// A43: `shutdown_now` takes tasks out of the queue, but does not return the closures, which borrow: the scope's own thread runs
/// them.
fn taken_out<D: Dispatch>() {
    let (pool, gate) = (pool::<D>(1, 10), Gate::new());
    let here = std::thread::current().id();
    let mut ran_on = [None; 4];
    std::thread::scope(|threads| {
        let closer = pool.scope(|s| {
            let [first, rest @ ..] = &mut ran_on;
            s.spawn(|| {
                gate.wait();
                *first = Some(std::thread::current().id());
            });
            gate.await_arrivals(1);
            for place in rest {
                s.spawn(|| *place = Some(std::thread::current().id()));
            }
            let closer = threads.spawn(|| pool.shutdown_now().len());
            eventually("taken out", || pool.queued() == 0);
            gate.open();
            closer
        });
        assert_eq!(closer.join().unwrap(), 0, "nothing that borrows is given away");
    });
    assert!(ran_on[0].is_some_and(|thread| thread != here));
    assert_eq!(ran_on[1..], [Some(here); 3]);
    assert_eq!(pool.stats().returned, 3);
    assert_quiet(&pool);
}

#[test]
fn a43_what_shutdown_now_takes_out_runs_in_the_scope() {
    on_every_dispatch!(taken_out);
}

/// A43: a scope inside a worker of a pool that is ended meanwhile, from inside.
fn taken_out_inside<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let inner = Arc::clone(&pool);
    let outer = pool.spawn(move || {
        let mut values = [0; 4];
        inner.scope(|s| {
            let [one, two, three, four] = &mut values;
            s.spawn(|| *one = 1);
            s.spawn(|| *two = 2);
            assert_eq!(inner.shutdown_now().len(), 0);
            s.spawn(|| *three = 3);
            s.spawn(|| *four = 4);
        });
        values
    });
    assert_eq!(outer.unwrap().join().unwrap(), [1, 2, 3, 4]);
    assert!(pool.shutdown().is_complete());
    assert_conserved(&*pool);
}

#[test]
fn a43_a_worker_s_scope_in_a_pool_that_ends() {
    on_every_dispatch!(taken_out_inside);
}

/// A43: a full pool that does not block, and a full one that does.
fn full<D: Dispatch>() {
    let gate = Gate::new();
    let builder = Pool::builder().workers(1).queue(1).nonblocking(true);
    let pool = builder.dispatch::<D>().build().unwrap();
    let here = std::thread::current().id();
    let mut ran_on = None;
    pool.scope(|s| {
        s.spawn(|| gate.wait());
        s.spawn(|| ());
        s.spawn(|| {
            ran_on = Some(std::thread::current().id());
            gate.open();
        });
    });
    assert_eq!(ran_on, Some(here));
    assert_quiet(&pool);
}

#[test]
fn a43_a_full_pool_that_does_not_block() {
    on_every_dispatch!(full);
}

/// A43: two workers whose tasks each wait for a scope of their own while outsiders keep the queue full.
fn under_load<D: Dispatch>() {
    let pool = pool::<D>(2, 1);
    let total = AtomicUsize::new(0);
    crate::support::races::together(4, |_| {
        for _ in 0..50 {
            pool.scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        pool.scope(|s| {
                            for _ in 0..3 {
                                s.spawn(|| total.fetch_add(1, SeqCst));
                            }
                        });
                    });
                }
            });
        }
    });
    assert_eq!(total.load(SeqCst), 4 * 50 * 9);
    assert_quiet(&pool);
}

#[test]
fn b05_nested_scopes_from_many_threads() {
    on_every_dispatch!(under_load);
}

/// A panic whose payload panics when it is dropped does not get a scope out before its tasks have ended.
fn nasty_payload<D: Dispatch>() {
    struct Nasty;
    impl Drop for Nasty {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                quiet_panic();
            }
        }
    }
    quiet_panics();
    let pool = pool::<D>(1, 10);
    let ended = AtomicUsize::new(0);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|s| {
            pool.shutdown();
            s.spawn(|| resume_unwind(Box::new("first")));
            s.spawn(|| resume_unwind(Box::new(Nasty)));
            s.spawn(|| ended.fetch_add(1, SeqCst));
        })
    }));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"first"));
    assert_eq!(ended.load(SeqCst), 1);
}

#[test]
fn a43_a_payload_that_panics_when_dropped() {
    on_every_dispatch!(nasty_payload);
}

/// An empty scope ends at once, also where nothing runs.
fn empty<D: Dispatch>() {
    let pool = pool::<D>(1, 1);
    let pause = pool.pause();
    assert_eq!(pool.scope(|_| 7), 7);
    drop(pause);
    pool.shutdown();
    assert_eq!(pool.scope(|_| 7), 7);
}

#[test]
fn a43_an_empty_scope() {
    on_every_dispatch!(empty);
}

/// A43: the same while the scope's thread sleeps already: it is woken for them.
fn taken_out_late<D: Dispatch>() {
    let (pool, gate) = (pool::<D>(1, 10), Gate::new());
    let count = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            eventually("all are spawned", || pool.queued() == 3);
            gate.await_arrivals(1);
            shift(Duration::from_millis(5));
            threads.spawn(|| assert_eq!(pool.shutdown_now().len(), 0));
            eventually("they have run, and the first has not ended", || count.load(SeqCst) == 3);
            gate.open();
        });
        pool.scope(|s| {
            s.spawn(|| gate.wait());
            gate.await_arrivals(1);
            for _ in 0..3 {
                s.spawn(|| count.fetch_add(1, SeqCst));
            }
        });
    });
    assert_quiet(&pool);
}

#[test]
fn a43_a_sleeping_scope_is_woken_for_what_is_taken_out() {
    on_every_dispatch!(taken_out_late);
}
