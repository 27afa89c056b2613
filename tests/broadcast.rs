//! Broadcasts: a closure for every worker's state.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formicary::{Answers, Context, Dispatch, PanicPolicy, Stack, StatefulPool, SubmitErrorKind, Worker};
use support::races::{quiet_panic, together};
use support::{Count, Gate, eventually, on_every_dispatch};

/// A worker that does what it is told and keeps notes.
#[derive(Default)]
struct Notes(Vec<u32>);

type Process = Box<dyn FnOnce(&mut Notes) -> u32 + Send>;

impl Worker for Notes {
    type Input = Process;
    type Output = u32;

    fn process(&mut self, input: Process, _: &Context<'_>) -> u32 {
        input(self)
    }
}

type NotesPool<D> = StatefulPool<Notes, D>;

/// A pool of so many workers, all of them started.
fn full<D: Dispatch>(workers: usize) -> NotesPool<D> {
    let builder = StatefulPool::builder(|_| Ok(Notes::default())).workers(workers).min_workers(workers).queue(100);
    builder.dispatch::<D>().build().unwrap()
}

/// A task that waits at the gate.
fn held(gate: &Gate) -> Process {
    let gate = gate.clone();
    Box::new(move |_| {
        gate.wait();
        0
    })
}

/// A task that says what the worker has noted, in decimal digits.
fn digits() -> Process {
    Box::new(|notes| notes.0.iter().fold(0, |sum, digit| 10 * sum + digit))
}

/// The answers, all of which are there.
fn all<R>(answers: Answers<R>) -> Vec<(usize, R)> {
    answers.into_iter().map(|(worker, answer)| (worker, answer.unwrap())).collect()
}

fn sleeping_workers<D: Dispatch>() {
    let pool = full::<D>(4);
    for round in 1..=50_usize {
        let lengths = pool.broadcast(|notes: &mut Notes| {
            notes.0.push(7);
            notes.0.len()
        });
        assert_eq!(all(lengths.unwrap()), (0..4).map(|worker| (worker, round)).collect::<Vec<_>>());
    }
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed, stats.running, stats.peak_running), (0, 0, 0, 0));
}

#[test]
fn every_sleeping_worker_does_it_once_and_answers_in_order() {
    on_every_dispatch!(sleeping_workers);
}

fn busy_worker<D: Dispatch>() {
    let pool = full::<D>(2);
    let (gate, asked) = (Gate::new(), Gate::new());
    let task = pool.submit(held(&gate)).unwrap();
    gate.await_arrivals(1);
    std::thread::scope(|scope| {
        let at = asked.clone();
        let answers = scope.spawn(|| {
            pool.broadcast(move |notes: &mut Notes| {
                at.wait();
                notes.0.push(1);
            })
        });
        asked.await_arrivals(1);
        asked.open();
        // Behind the task, but before what is queued behind that.
        let next: Vec<_> = (0..4).map(|_| pool.submit(digits()).unwrap()).collect();
        assert!(!answers.is_finished() && asked.arrived() == 1);
        gate.open();
        assert_eq!(all(answers.join().unwrap().unwrap()).len(), 2);
        task.join().unwrap();
        for task in next {
            assert_eq!(task.join().unwrap(), 1);
        }
    });
    assert_eq!(asked.arrived(), 2);
}

#[test]
fn a_busy_worker_does_it_after_its_task_and_before_the_next() {
    on_every_dispatch!(busy_worker);
}

fn paused<D: Dispatch>() {
    let pool = full::<D>(2);
    let pause = pool.pause();
    let waits = pool.submit(digits()).unwrap();
    assert_eq!(all(pool.broadcast(|notes: &mut Notes| notes.0.push(3)).unwrap()).len(), 2);
    assert!(pause.wait_quiet() && !waits.is_finished());
    drop(pause);
    assert_eq!(waits.join().unwrap(), 3);
}

#[test]
fn it_goes_on_while_the_pool_is_paused() {
    on_every_dispatch!(paused);
}

fn full_house<D: Dispatch>() {
    let builder = StatefulPool::builder(|_| Ok(Notes::default())).workers(1).queue(1).dispatch::<D>();
    let pool = builder.build().unwrap();
    let pause = pool.pause();
    let tasks = [pool.submit(digits()).unwrap(), pool.submit(digits()).unwrap()];
    assert!(pool.try_submit(digits()).is_err());
    assert_eq!(all(pool.broadcast(|notes: &mut Notes| notes.0.push(5)).unwrap()).len(), 1);
    drop(pause);
    tasks.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), 5));
}

#[test]
fn it_needs_no_room() {
    on_every_dispatch!(full_house);
}

/// Nobody who gives an order knows when the others do: the workers agree all the same.
fn several_at_once<D: Dispatch>() {
    let pool = full::<D>(3);
    together(4, |n| {
        for _ in 0..100 {
            assert_eq!(all(pool.broadcast(move |notes: &mut Notes| notes.0.push(n as u32)).unwrap()).len(), 3);
        }
    });
    let notes: Vec<_> = all(pool.broadcast(|notes: &mut Notes| notes.0.clone()).unwrap());
    assert_eq!(notes[0].1.len(), 400);
    assert!(notes.iter().all(|(_, other)| *other == notes[0].1));
}

#[test]
fn several_at_once_are_done_in_the_same_order_by_all() {
    on_every_dispatch!(several_at_once);
}

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
        // A state that is gone has nothing to answer; it is made anew for a task.
        let keeps = policy == PanicPolicy::Keep;
        assert_eq!(pool.broadcast(|_: &mut Notes| ()).unwrap().len(), if keeps { 2 } else { 0 });
        assert_eq!(pool.process(digits()).unwrap(), u32::from(keeps));
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
    let task = pool.submit(Box::new(move |_| {
        at.wait();
        panic_quietly()
    }));
    gate.await_arrivals(1);
    told.open();
    std::thread::scope(|scope| {
        // Two, the second behind the first: both go with the state.
        let tell = || {
            let told = told.clone();
            pool.broadcast(move |_: &mut Notes| told.wait())
        };
        let asking = [scope.spawn(tell), scope.spawn(tell)];
        // The idle worker has done it, so the busy one has been given it.
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

fn from_inside<D: Dispatch>() {
    let pool = Arc::new(full::<D>(2));
    let weak = Arc::downgrade(&pool);
    let task = move |_: &mut Notes| {
        let pool = weak.upgrade().unwrap();
        let error = pool.broadcast(|notes: &mut Notes| notes.0.push(1)).unwrap_err();
        assert_eq!(error.kind, SubmitErrorKind::WouldDeadlock);
        let error = pool.broadcast_and_remember("key", |notes: &mut Notes| notes.0.push(1)).unwrap_err();
        assert_eq!(error.kind, SubmitErrorKind::WouldDeadlock);
        u32::from(!pool.forget("key"))
    };
    assert_eq!(pool.process(Box::new(task.clone())).unwrap(), 1);
    // A broadcast is inside as well.
    assert_eq!(all(pool.broadcast(task).unwrap()), [(0, 1), (1, 1)]);
    assert!(pool.wait_idle());
    assert!(all(pool.broadcast(|notes: &mut Notes| notes.0.len()).unwrap()).iter().all(|(_, len)| *len == 0));
}

#[test]
fn from_inside_it_is_refused() {
    on_every_dispatch!(from_inside);
}

fn closed<D: Dispatch>() {
    let pool = full::<D>(2);
    pool.shutdown();
    let given = Arc::new(());
    let held = given.clone();
    let error = pool.broadcast(move |_: &mut Notes| drop(held.clone())).unwrap_err();
    assert_eq!((error.kind, Arc::strong_count(&given)), (SubmitErrorKind::Closed, 2));
    drop(error);
    assert!(pool.broadcast_and_remember("key", |notes: &mut Notes| notes.0.push(1)).is_err());
    pool.restart().unwrap();
    assert_eq!(pool.process(digits()).unwrap(), 0);
    assert_eq!(Arc::strong_count(&given), 1);
}

#[test]
fn a_closed_pool_refuses_and_gives_the_closure_back() {
    on_every_dispatch!(closed);
}

fn dropped_before_it_returns<D: Dispatch>() {
    let pool = full::<D>(3);
    for _ in 0..200 {
        let given = Arc::new(());
        let held = given.clone();
        all(pool.broadcast(move |_: &mut Notes| held.clone()).unwrap()).clear();
        assert_eq!(Arc::strong_count(&given), 1);
    }
}

#[test]
fn a34_the_closure_is_dropped_before_it_returns() {
    on_every_dispatch!(dropped_before_it_returns);
}

fn remembered<D: Dispatch>() {
    let builder = StatefulPool::builder(|_| Ok(Notes::default())).workers(3).min_workers(1).expiry(None);
    let pool = builder.dispatch::<D>().build().unwrap();
    let note = |digit| move |notes: &mut Notes| notes.0.push(digit);
    assert_eq!(all(pool.broadcast_and_remember("one", note(1)).unwrap()), [(0, ())]);
    assert_eq!(all(pool.broadcast_and_remember("two", note(2)).unwrap()), [(0, ())]);
    let gate = Gate::new();
    let busy = pool.submit(held(&gate)).unwrap();
    gate.await_arrivals(1);
    // A new worker, before its first task.
    assert_eq!(pool.process(digits()).unwrap(), 12);
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
    assert_eq!(pool.process(digits()).unwrap(), 123);
    assert!(pool.process(Box::new(|_| panic_quietly())).unwrap_err().is_panic());
    assert_eq!(pool.process(digits()).unwrap(), 23);
    // After the end of the pool.
    pool.shutdown();
    pool.restart().unwrap();
    assert_eq!(pool.process(digits()).unwrap(), 23);
    assert!(pool.forget("one") && !pool.forget("one") && !pool.forget("three"));
    assert_eq!(Arc::strong_count(&replaced), 1);
    pool.shutdown();
    pool.restart().unwrap();
    assert_eq!(pool.process(digits()).unwrap(), 2);
}

fn panic_quietly() -> u32 {
    quiet_panic();
    0
}

#[test]
fn what_is_remembered_is_done_by_every_later_state_before_its_first_task() {
    on_every_dispatch!(remembered);
}

/// A new state that cannot do what is remembered is no state.
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
    assert!(pool.process(Box::new(|_| panic_quietly())).unwrap_err().is_panic());
    let error = pool.submit(digits()).unwrap().join().unwrap_err();
    assert!(error.is_no_state() && error.to_string().contains("no rules"), "{error}");
    assert_eq!(pool.broadcast(|_: &mut Notes| ()).unwrap().len(), 0);
    fails.store(false, SeqCst);
    assert_eq!(pool.process(digits()).unwrap(), 0);
    assert_eq!(all(pool.broadcast(|_: &mut Notes| ()).unwrap()).len(), 1);
}

#[test]
fn a_remembered_panic_is_a_failure_of_the_factory() {
    on_every_dispatch!(remembered_panic);
}

/// Workers come and go while everyone is told something: each state has seen a gapless end of what was told.
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
                    // A state that was there is told everything.
                    if last.is_some_and(|last| last + 1 != n) {
                        strays.lock().unwrap().insert((last, n));
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
                // What was told before a task was submitted is known to the worker that runs it.
                let known = told.load(SeqCst) as u32;
                let tasks: Vec<_> = (0..8)
                    .map(|_| pool.submit(Box::new(|notes: &mut Notes| notes.0.last().copied().unwrap_or(0))).unwrap())
                    .collect();
                for task in tasks {
                    let knows = task.join().unwrap();
                    assert!(knows >= known, "{knows} of {known}");
                }
            }
        }
    });
    assert_eq!(*strays.lock().unwrap(), BTreeSet::new());
    pool.shutdown();
}

#[test]
fn no_state_misses_anything_while_workers_come_and_go() {
    on_every_dispatch!(while_workers_come_and_go);
}

/// Notes whether it was told before it ended.
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

/// The pool shrinks, or closes, with an order for workers that are busy: they follow it before they end.
fn ending<D: Dispatch>() {
    for closes in [false, true] {
        let untold = Arc::new(AtomicUsize::new(0));
        let counts = untold.clone();
        let factory = move |_| Ok(Ending { told: false, untold: counts.clone() });
        let pool = StatefulPool::builder(factory).workers(3).min_workers(3).dispatch::<D>().build().unwrap();
        let (gate, told) = (Gate::new(), Gate::new());
        let tasks = [pool.submit(gate.clone()).unwrap(), pool.submit(gate.clone()).unwrap()];
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
            // The idle one has done it, so the busy ones have been given it.
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
fn b14_the_end_of_the_pool_leaves_nobody_waiting() {
    on_every_dispatch!(against_the_end);
}

/// The factory fails for those that come later: they have no state to be told anything.
#[test]
fn a_worker_whose_factory_fails_is_left_out() {
    support::within(support::LIMIT, "this test", || {
        let made = Count::new();
        let factory = move |_| if made.up() == 1 { Ok(Notes::default()) } else { Err("no more".into()) };
        let pool: NotesPool<Stack> = StatefulPool::builder(factory).workers(3).build().unwrap();
        let gate = Gate::new();
        let tasks: Vec<_> = (0..3).map(|_| pool.submit(held(&gate)).unwrap()).collect();
        gate.open();
        tasks.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), 0));
        assert_eq!(all(pool.broadcast(|_: &mut Notes| ()).unwrap()).len(), 1);
    });
}
