//! Tasks that wait for scheduled tasks of their own pool.

use std::sync::Arc;

use formicary::{CallError, Dispatch, OnClose, Pool, Ring, TestClock};

use crate::support::waking::block_on;
use crate::support::{Gate, LIMIT, eventually, on_every_dispatch, within};
use crate::{HOUR, looks_at_the_time};

fn joined_inside<D: Dispatch>() {
    let clock = TestClock::freeze();
    let pool = Arc::new(Pool::builder().workers(2).dispatch::<D>().build().unwrap());
    let inner = Arc::clone(&pool);
    let outer = pool.spawn(move || inner.with().after(HOUR).spawn(|| 7).unwrap().join()).unwrap();
    eventually("it is scheduled", || pool.stats().scheduled == 1);
    looks_at_the_time();
    assert!(!outer.is_finished(), "the worker does not run it before its time");
    clock.advance(HOUR);
    assert_eq!(outer.join().unwrap().unwrap(), 7);
}

#[test]
fn a_worker_joins_a_task_that_another_one_runs() {
    on_every_dispatch!(joined_inside);
}

fn last_worker<D: Dispatch>() {
    let _clock = TestClock::freeze();
    let pool = Arc::new(Pool::builder().workers(1).dispatch::<D>().build().unwrap());
    let inner = Arc::clone(&pool);
    let (joined, called) = pool
        .run(move || {
            let joined = inner.with().after(HOUR).spawn(|| ()).unwrap().join();
            let called = inner.with().after(HOUR).run(|| ());
            drop(inner);
            (joined, called)
        })
        .unwrap();
    assert!(joined.unwrap_err().is_would_deadlock());
    assert!(matches!(called, Err(CallError::Refused(refusal)) if refusal.is_would_deadlock()));
    assert_eq!(pool.stats().scheduled, 1, "the first has only lost its handle");
}

#[test]
fn the_last_worker_is_refused() {
    on_every_dispatch!(last_worker);
}

fn polled_inside<D: Dispatch>() {
    let clock = TestClock::freeze();
    let pool = Arc::new(Pool::builder().workers(1).dispatch::<D>().build().unwrap());
    let (inner, gate) = (Arc::clone(&pool), Gate::new());
    let arrives = gate.clone();
    let outer = pool.spawn(move || {
        let handle = inner.with().after(HOUR).spawn(|| 7).unwrap();
        arrives.pass(1);
        arrives.wait();
        block_on(handle)
    });
    gate.await_arrivals(1);
    looks_at_the_time();
    clock.advance(HOUR);
    assert_eq!(outer.unwrap().join().unwrap().unwrap(), 7);
}

#[test]
fn the_only_worker_runs_what_it_polls_when_the_time_has_come() {
    on_every_dispatch!(polled_inside);
}

/// Also where the task enters because the pool is closed.
#[test]
fn the_only_worker_runs_what_it_polls_when_the_pool_is_closed() {
    let _clock = TestClock::freeze();
    let pool = Arc::new(Pool::builder().workers(1).on_close(OnClose::RunNow).build().unwrap());
    let inner = Arc::clone(&pool);
    let outer = pool.spawn(move || block_on(inner.with().after(HOUR).spawn(|| 7).unwrap())).unwrap();
    eventually("it is scheduled", || pool.stats().scheduled == 1);
    looks_at_the_time();
    let closes = Arc::clone(&pool);
    within(LIMIT, "shutdown", move || _ = closes.shutdown());
    assert_eq!(outer.join().unwrap().unwrap(), 7);
}

/// Also where it polls a shared handle.
#[test]
fn a_shared_handle_is_polled_again() {
    let clock = TestClock::freeze();
    let pool = Arc::new(Pool::builder().workers(1).dispatch::<Ring>().build().unwrap());
    let inner = Arc::clone(&pool);
    let outer = pool.spawn(move || {
        let shared = inner.with().after(HOUR).spawn(|| 7).unwrap().shared();
        block_on(shared).unwrap_or(0)
    });
    eventually("it is scheduled", || pool.stats().scheduled == 1);
    looks_at_the_time();
    clock.advance(HOUR);
    assert_eq!(outer.unwrap().join().unwrap(), 7);
}

/// A task that a task schedules enters as one from outside.
#[test]
fn a_scheduled_task_of_a_task_is_within_the_bound() {
    let clock = TestClock::freeze();
    let pool = Arc::new(Pool::builder().workers(1).queue(0).build().unwrap());
    let inner = Arc::clone(&pool);
    let scheduled = pool.run(move || inner.with().after(HOUR).spawn(|| 7).unwrap()).unwrap();
    let gate = Gate::new();
    pool.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    clock.advance(HOUR);
    eventually("it waits for room", || pool.waiting() == 1);
    assert_eq!(pool.stats().overcommitted, 0);
    gate.open();
    assert_eq!(scheduled.join().unwrap(), 7);
}
