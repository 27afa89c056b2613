//! Tasks that run too long are told of, in real time. When exactly is tested beside the code, by a clock that stands still.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::support::{Gate, LIMIT, eventually, on_every_dispatch, quiet_panics};
use formicary::observe::RunningTask;
use formicary::{Dispatch, OnDrop, Pool};
use parking_lot::Mutex;

/// A handler that sends what it is told of.
fn sending(sender: &Sender<RunningTask>) -> impl Fn(&RunningTask) + Send + Sync + 'static {
    let sender = Mutex::new(sender.clone());
    move |task| drop(sender.lock().send(task.clone()))
}

fn next(told: &Receiver<RunningTask>) -> (Option<Arc<str>>, usize) {
    let task = told.recv_timeout(LIMIT).unwrap();
    (task.name, task.depth)
}

fn both_limits<D: Dispatch>() {
    let limit = Duration::from_millis(5);
    let ((slow, slow_told), (stuck, stuck_told)) = (channel(), channel());
    let pool = Pool::builder()
        .workers(2)
        .slow_after(limit, sending(&slow))
        .stuck_after(2 * limit, sending(&stuck))
        .dispatch::<D>()
        .build()
        .unwrap();
    let gate = Gate::new();
    pool.with().name("hangs").submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let task = slow_told.recv_timeout(LIMIT).unwrap();
    assert!(task.elapsed() >= limit && task.name.as_deref() == Some("hangs"), "{task:?}");
    assert!(stuck_told.recv_timeout(LIMIT).unwrap().elapsed() >= 2 * limit);
    // Another one, within the time of the first.
    let inner = pool.with().name("also").spawn(gate.closure()).unwrap();
    assert_eq!(next(&slow_told), (Some("also".into()), 0));
    assert_eq!(next(&stuck_told), (Some("also".into()), 0));
    gate.open();
    inner.join().unwrap();
    // Each was told once.
    drop(pool);
    drop((slow, stuck));
    assert!(slow_told.recv_timeout(LIMIT).is_err() && stuck_told.recv_timeout(LIMIT).is_err());
}

#[test]
fn slow_and_stuck_tasks_are_told_once() {
    on_every_dispatch!(both_limits);
}

/// A task within a task is told for itself, and so is the outer one.
#[test]
fn tasks_within_tasks_are_told_for_themselves() {
    let (sender, told) = channel();
    let pool = Pool::builder().workers(1).slow_after(Duration::from_millis(5), sending(&sender)).build().unwrap();
    let (pool, gate) = (Arc::new(pool), Gate::new());
    let (inside, inner) = (gate.closure(), Arc::clone(&pool));
    let nested = move || inner.with().name("inner").run(inside).unwrap();
    let outer = pool.with().name("outer").spawn(nested).unwrap();
    let mut both = [next(&told), next(&told)];
    both.sort();
    assert_eq!(both, [(Some("inner".into()), 1), (Some("outer".into()), 0)]);
    gate.open();
    outer.join().unwrap();
}

/// A panic of the handler is counted, and the next task is told all the same.
#[test]
fn a_panic_of_the_handler_is_counted() {
    quiet_panics();
    let (sender, told) = channel();
    let send = sending(&sender);
    let broken = move |task: &RunningTask| {
        send(task);
        panic!("broken handler");
    };
    let pool = Pool::builder().workers(1).slow_after(Duration::from_millis(1), broken).build().unwrap();
    for n in 1..=2 {
        let gate = Gate::new();
        pool.submit(gate.closure()).unwrap();
        assert_eq!(next(&told), (None, 0));
        gate.open();
        assert!(pool.wait_idle());
        eventually("it is counted", || pool.stats().handler_panics == n);
    }
    assert_eq!(pool.stats().completed, 2);
}

/// Short tasks are not told of, and a limit of zero tells of all.
#[test]
fn the_limit_is_kept() {
    let ((none, never), (all, always)) = (channel(), channel());
    let pool = Pool::builder()
        .workers(1)
        .slow_after(10 * LIMIT, sending(&none))
        .slow_after(Duration::MAX, sending(&none))
        .slow_after(Duration::ZERO, sending(&all))
        .build()
        .unwrap();
    for _ in 0..20 {
        pool.run(|| ()).unwrap();
        assert_eq!(next(&always), (None, 0));
    }
    assert!(pool.running_tasks().is_some(), "the list is included");
    drop(pool);
    drop((none, all));
    assert!(never.recv_timeout(LIMIT).is_err() && always.recv_timeout(LIMIT).is_err());
}

/// A pool that is dropped while its alarm is set and its task runs on: the handler goes with the engine.
#[test]
fn a_dropped_pool_takes_its_handler_along() {
    let (sender, told) = channel();
    let builder = Pool::builder().workers(1).on_drop(OnDrop::Detach);
    let pool = builder.slow_after(10 * LIMIT, sending(&sender)).build().unwrap();
    let gate = Gate::new();
    pool.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    drop((pool, sender));
    assert!(told.try_recv().is_err());
    gate.open();
    assert!(matches!(told.recv_timeout(LIMIT), Err(std::sync::mpsc::RecvTimeoutError::Disconnected)));
}
