//! Broadcasts: a closure for every worker's state, when it runs, and when it is refused.

use std::sync::Arc;

use crate::support::notes::{Notes, all, digits, full, held};
use crate::support::races::together;
use crate::support::{Gate, on_every_dispatch};
use formicary::{Dispatch, StatefulPool, SubmitErrorKind};

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
    let task = pool.spawn(held(&gate)).unwrap();
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
        let next: Vec<_> = (0..4).map(|_| pool.spawn(digits()).unwrap()).collect();
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
    let waits = pool.spawn(digits()).unwrap();
    assert_eq!(all(pool.broadcast(|notes: &mut Notes| notes.0.push(3)).unwrap()).len(), 2);
    assert!(pause.wait_quiet() && !waits.is_finished());
    drop(pause);
    assert_eq!(waits.join().unwrap(), 3);
}

#[test]
fn it_goes_on_while_the_pool_is_paused() {
    on_every_dispatch!(paused);
}

fn full_pool<D: Dispatch>() {
    let builder = StatefulPool::builder(|_| Ok(Notes::default())).workers(1).queue(1).dispatch::<D>();
    let pool = builder.build().unwrap();
    let pause = pool.pause();
    let tasks = [pool.spawn(digits()).unwrap(), pool.spawn(digits()).unwrap()];
    assert!(pool.try_spawn(digits()).is_err());
    assert_eq!(all(pool.broadcast(|notes: &mut Notes| notes.0.push(5)).unwrap()).len(), 1);
    drop(pause);
    tasks.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), 5));
}

#[test]
fn it_needs_no_room() {
    on_every_dispatch!(full_pool);
}

/// The broadcasters are not synchronised with each other: all workers run the broadcasts in the same order all the same.
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

fn from_inside<D: Dispatch>() {
    let pool = Arc::new(full::<D>(2));
    let weak = Arc::downgrade(&pool);
    let task = move |_: &mut Notes| {
        let pool = weak.upgrade().unwrap();
        let error = pool.broadcast(|notes: &mut Notes| notes.0.push(1)).unwrap_err();
        assert_eq!(error.kind(), SubmitErrorKind::WouldDeadlock);
        let error = pool.broadcast_and_remember("key", |notes: &mut Notes| notes.0.push(1)).unwrap_err();
        assert_eq!(error.kind(), SubmitErrorKind::WouldDeadlock);
        u32::from(!pool.forget("key"))
    };
    assert_eq!(pool.run(Box::new(task.clone())).unwrap(), 1);
    // The closure of a broadcast runs inside the pool, too.
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
    assert_eq!((error.kind(), Arc::strong_count(&given)), (SubmitErrorKind::Closed, 2));
    drop(error);
    assert!(pool.broadcast_and_remember("key", |notes: &mut Notes| notes.0.push(1)).is_err());
    pool.restart().unwrap();
    assert_eq!(pool.run(digits()).unwrap(), 0);
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
