//! Broadcasts to workers that start, exit, and lose their states; and what later states are given.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::notes::{Notes, NotesPool, all, digits, full, held, panic_quietly};
use crate::support::races::{quiet_panic, together};
use crate::support::{Count, Gate, eventually, on_every_dispatch};
use formicary::{Context, Dispatch, PanicPolicy, Stack, StatefulPool, Worker};
use parking_lot::Mutex;

fn panicking<D: Dispatch>() {
    for policy in [PanicPolicy::Rebuild, PanicPolicy::Keep] {
        let told = Count::new();
        let (counts, made) = (told.clone(), Count::new());
        let makes = made.clone();
        let factory = move |_| {
            makes.up();
            Ok(Notes::default())
        };
        let builder = StatefulPool::builder(factory).workers(2).min_workers(2).panic_policy(policy);
        let builder = builder
            .panic_handler(move |_| {
                counts.up();
            })
            .dispatch::<D>();
        let pool = builder.build().unwrap();
        let answers = pool.broadcast(|notes: &mut Notes| {
            notes.0.push(1);
            quiet_panic();
        });
        let answers = answers.unwrap();
        assert_eq!(answers.len(), 2);
        assert!(answers.iter().all(|(_, answer)| answer.as_ref().is_err_and(|error| error.is_panic())));
        let stats = pool.stats();
        assert_eq!((told.get(), stats.handler_panics, stats.panicked, stats.submitted), (2, 2, 0, 0));
        // A lost state has no answer; it is made anew for a task.
        let keeps = policy == PanicPolicy::Keep;
        assert_eq!(pool.broadcast(|_: &mut Notes| ()).unwrap().len(), if keeps { 2 } else { 0 });
        assert_eq!(pool.run(digits()).unwrap(), u32::from(keeps));
        assert_eq!(made.get(), if keeps { 2 } else { 3 });
        assert_eq!(pool.broadcast(|_: &mut Notes| ()).unwrap().len(), if keeps { 2 } else { 1 });
    }
}

#[test]
fn a_panic_is_an_answer_and_the_policy_says_what_becomes_of_the_state() {
    on_every_dispatch!(panicking);
}

fn lost_state<D: Dispatch>() {
    let pool = full::<D>(2);
    let (gate, told) = (Gate::new(), Gate::new());
    let at = gate.clone();
    let task = pool.spawn(Box::new(move |_| {
        at.wait();
        panic_quietly()
    }));
    gate.await_arrivals(1);
    told.open();
    std::thread::scope(|scope| {
        // Two broadcasts, the second behind the first: both are lost with the state.
        let tell = || {
            let told = told.clone();
            pool.broadcast(move |_: &mut Notes| told.wait())
        };
        let asking = [scope.spawn(tell), scope.spawn(tell)];
        // The idle worker has run it, so the busy one has received it.
        told.await_arrivals(2);
        gate.open();
        for answers in asking {
            let mut answers = answers.join().unwrap().unwrap();
            assert_eq!(answers.len(), 2);
            answers.retain(|(_, answer)| answer.is_err());
            assert!(matches!(&answers[..], [(_, Err(error))] if error.is_cancelled()));
        }
    });
    assert!(task.unwrap().join().unwrap_err().is_panic());
    assert_eq!(told.arrived(), 2);
}

#[test]
fn a_worker_that_loses_its_state_first_says_so() {
    on_every_dispatch!(lost_state);
}

fn remembered<D: Dispatch>() {
    let builder = StatefulPool::builder(|_| Ok(Notes::default())).workers(3).min_workers(1).expiry(None);
    let pool = builder.dispatch::<D>().build().unwrap();
    let note = |digit| move |notes: &mut Notes| notes.0.push(digit);
    assert_eq!(all(pool.broadcast_and_remember("one", note(1)).unwrap()), [(0, ())]);
    assert_eq!(all(pool.broadcast_and_remember("two", note(2)).unwrap()), [(0, ())]);
    let gate = Gate::new();
    let busy = pool.spawn(held(&gate)).unwrap();
    gate.await_arrivals(1);
    // A new worker, before its first task.
    assert_eq!(pool.run(digits()).unwrap(), 12);
    // A new one of the same key comes last.
    let replaced = Arc::new(());
    let held_on = replaced.clone();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            pool.broadcast_and_remember("one", move |notes: &mut Notes| {
                let _ = &held_on;
                notes.0.push(3);
            })
        });
        gate.open();
        assert_eq!(all(asking.join().unwrap().unwrap()), [(0, ()), (1, ())]);
    });
    assert_eq!(Arc::strong_count(&replaced), 2);
    busy.join().unwrap();
    // After a panic.
    pool.tune(1).unwrap();
    eventually("one is left", || pool.stats().live == 1);
    assert_eq!(pool.run(digits()).unwrap(), 123);
    assert!(pool.run(Box::new(|_| panic_quietly())).unwrap_err().is_panic());
    assert_eq!(pool.run(digits()).unwrap(), 23);
    // After the end of the pool.
    pool.shutdown();
    pool.restart().unwrap();
    assert_eq!(pool.run(digits()).unwrap(), 23);
    assert!(pool.forget("one") && !pool.forget("one") && !pool.forget("three"));
    assert_eq!(Arc::strong_count(&replaced), 1);
    pool.shutdown();
    pool.restart().unwrap();
    assert_eq!(pool.run(digits()).unwrap(), 2);
}

#[test]
fn what_is_remembered_is_done_by_every_later_state_before_its_first_task() {
    on_every_dispatch!(remembered);
}

/// A new state that fails a remembered broadcast is discarded.
fn remembered_panic<D: Dispatch>() {
    let pool = full::<D>(1);
    let fails = Arc::new(AtomicBool::new(false));
    let flag = fails.clone();
    let answers = pool.broadcast_and_remember("key", move |_: &mut Notes| {
        if flag.load(SeqCst) {
            std::panic::resume_unwind(Box::new("no rules"));
        }
    });
    assert_eq!(all(answers.unwrap()).len(), 1);
    fails.store(true, SeqCst);
    assert!(pool.run(Box::new(|_| panic_quietly())).unwrap_err().is_panic());
    let error = pool.spawn(digits()).unwrap().join().unwrap_err();
    assert!(error.is_no_state() && error.source().unwrap().to_string().contains("no rules"), "{error:?}");
    assert_eq!(pool.broadcast(|_: &mut Notes| ()).unwrap().len(), 0);
    fails.store(false, SeqCst);
    assert_eq!(pool.run(digits()).unwrap(), 0);
    assert_eq!(all(pool.broadcast(|_: &mut Notes| ()).unwrap()).len(), 1);
}

#[test]
fn a_remembered_panic_is_a_failure_of_the_factory() {
    on_every_dispatch!(remembered_panic);
}

/// Workers start and exit while broadcasts run: each state has seen a gapless tail of them.
fn while_workers_come_and_go<D: Dispatch>() {
    let builder = StatefulPool::builder(|_| Ok(Notes::default())).workers(4).min_workers(0);
    let pool = builder.expiry(Duration::from_millis(1)).queue(1000).dispatch::<D>().build().unwrap();
    let told = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    let strays = Mutex::new(BTreeSet::new());
    together(3, |role| match role {
        0 => {
            for n in 1..=400 {
                let before = pool.broadcast_and_remember("latest", move |notes: &mut Notes| {
                    let before = notes.0.last().copied();
                    notes.0.push(n);
                    before
                });
                for (_, last) in all(before.unwrap()) {
                    // A state that existed before gets every broadcast.
                    if last.is_some_and(|last| last + 1 != n) {
                        strays.lock().insert((last, n));
                    }
                }
                told.store(n as usize, SeqCst);
            }
            done.store(true, SeqCst);
        }
        1 => {
            let mut workers = 1;
            while !done.load(SeqCst) {
                pool.tune(workers).unwrap();
                workers = workers % 4 + 1;
            }
        }
        _ => {
            while !done.load(SeqCst) {
                // A worker that runs a task has run all broadcasts from before the submit.
                let known = told.load(SeqCst) as u32;
                let tasks: Vec<_> = (0..8)
                    .map(|_| pool.spawn(Box::new(|notes: &mut Notes| notes.0.last().copied().unwrap_or(0))).unwrap())
                    .collect();
                for task in tasks {
                    let knows = task.join().unwrap();
                    assert!(knows >= known, "{knows} of {known}");
                }
            }
        }
    });
    assert_eq!(*strays.lock(), BTreeSet::new());
    pool.shutdown();
}

#[test]
fn no_state_misses_anything_while_workers_come_and_go() {
    on_every_dispatch!(while_workers_come_and_go);
}

/// Records whether it ran the broadcast before it ended.
struct Ending {
    told: bool,
    untold: Arc<AtomicUsize>,
}

impl Worker for Ending {
    type Input = Gate;
    type Output = ();

    fn process(&mut self, gate: Gate, _: &Context<'_>) {
        gate.wait();
    }

    fn terminate(self) {
        self.untold.fetch_add(usize::from(!self.told), SeqCst);
    }
}

/// The pool shrinks, or closes, with a broadcast for busy workers: they run it before they exit.
fn ending<D: Dispatch>() {
    for closes in [false, true] {
        let untold = Arc::new(AtomicUsize::new(0));
        let counts = untold.clone();
        let factory = move |_| Ok(Ending { told: false, untold: counts.clone() });
        let pool = StatefulPool::builder(factory).workers(3).min_workers(3).dispatch::<D>().build().unwrap();
        let (gate, told) = (Gate::new(), Gate::new());
        let tasks = [pool.spawn(gate.clone()).unwrap(), pool.spawn(gate.clone()).unwrap()];
        gate.await_arrivals(2);
        told.open();
        std::thread::scope(|scope| {
            let answers = scope.spawn(|| {
                let told = told.clone();
                pool.broadcast(move |state: &mut Ending| {
                    told.wait();
                    state.told = true;
                })
            });
            // The idle worker has run it, so the busy ones have received it.
            told.await_arrivals(1);
            let end = scope.spawn(|| match closes {
                true => assert!(pool.shutdown().is_complete()),
                false => pool.tune(1).unwrap(),
            });
            eventually("the pool changes", || pool.is_closed() || pool.capacity() == 1);
            gate.open();
            end.join().unwrap();
            assert_eq!(all(answers.join().unwrap().unwrap()).len(), 3);
        });
        tasks.into_iter().for_each(|task| task.join().unwrap());
        drop(pool);
        assert_eq!(untold.load(SeqCst), 0);
    }
}

#[test]
fn a_worker_that_ends_does_it_first() {
    on_every_dispatch!(ending);
}

/// Broadcasts against the end of the pool: each returns.
fn against_the_end<D: Dispatch>() {
    for _ in 0..100 {
        let pool = full::<D>(3);
        together(3, |role| match role {
            0 => drop(pool.shutdown()),
            _ => {
                while let Ok(answers) = pool.broadcast(|notes: &mut Notes| notes.0.push(1)) {
                    assert!(all(answers).len() <= 3);
                }
            }
        });
    }
}

#[test]
fn b14_the_end_of_the_pool_leaves_no_caller_waiting() {
    on_every_dispatch!(against_the_end);
}

/// The factory fails for later workers: they have no state for a broadcast.
#[test]
fn a_worker_whose_factory_fails_is_left_out() {
    crate::support::within(crate::support::LIMIT, "this test", || {
        let made = Count::new();
        let factory = move |_| if made.up() == 1 { Ok(Notes::default()) } else { Err("no more".into()) };
        let pool: NotesPool<Stack> = StatefulPool::builder(factory).workers(3).build().unwrap();
        let gate = Gate::new();
        let tasks: Vec<_> = (0..3).map(|_| pool.spawn(held(&gate)).unwrap()).collect();
        gate.open();
        tasks.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), 0));
        assert_eq!(all(pool.broadcast(|_: &mut Notes| ()).unwrap()).len(), 1);
    });
}
