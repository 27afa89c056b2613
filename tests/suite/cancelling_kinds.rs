//! A21: telling work to stop, in pools of every kind and by every way to submit.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::closures::{occupy, pool};
use crate::support::tokens::{cancelled, past};
use crate::support::{Count, Gate, LIMIT, await_waiting, on_every_dispatch};
use formicary::{CancelToken, Context, Dispatch, PoolWithFunc, StatefulPool, SubmitErrorKind, Worker};

/// Cancelled before: refused with the task and the reason, by every way to submit.
fn before<D: Dispatch>() {
    let closures = pool::<D>(1, 4);
    let function = PoolWithFunc::builder(|n: u32| n).workers(1).dispatch::<D>().build().unwrap();
    let states = StatefulPool::builder(|_| Ok(Obeys)).workers(1).dispatch::<D>().build().unwrap();
    for (token, kind) in [(cancelled(), SubmitErrorKind::Cancelled), (past(), SubmitErrorKind::TimedOut)] {
        for token in [token.child(), token] {
            let refusal = closures.with().token(&token).submit(|| ()).unwrap_err();
            assert_eq!(refusal.kind(), kind);
            refusal.into_task()();
            let refusal = closures.with().token(&token).spawn(|| 7).unwrap_err();
            assert_eq!((refusal.kind(), refusal.into_task()()), (kind, 7));
            let refusal = function.with().token(&token).submit(7).unwrap_err();
            assert_eq!((refusal.kind(), refusal.into_task()), (kind, 7));
            let refusal = states.with().token(&token).submit(Gate::new()).unwrap_err();
            assert_eq!(refusal.kind(), kind);
            let refusal = states.with().token(&token).run(Gate::new()).unwrap_err();
            assert_eq!(refusal.is_timed_out(), kind == SubmitErrorKind::TimedOut);
            assert!(refusal.into_input().is_some());
        }
    }
    assert_eq!((closures.stats().submitted, closures.stats().rejected), (0, 8));
    assert_eq!((function.stats().rejected, states.stats().rejected), (4, 8));
}

#[test]
fn a21_cancelled_before_it_is_submitted() {
    on_every_dispatch!(before);
}

/// A deadline limits the wait for room, also one that is set or shortened while the submitter waits, and on a token above.
fn late_while_waiting<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let function = Arc::new(PoolWithFunc::builder(Gate::wait_as).workers(1).queue(0).dispatch::<D>().build().unwrap());
    let gate = occupy(&pool);
    function.submit(gate.clone()).unwrap();
    let token = CancelToken::new();
    token.cancel_after(Duration::from_millis(20));
    assert!(pool.with().token(&token).submit(|| ()).unwrap_err().is_timed_out());
    assert!(pool.with().token(&token.child()).spawn(|| ()).unwrap_err().is_timed_out());
    assert!(function.with().token(&token).submit(Gate::new()).unwrap_err().is_timed_out());

    let parent = CancelToken::new();
    parent.cancel_after(LIMIT * 10);
    let (waits, child) = (Arc::clone(&pool), parent.child());
    let waiter = thread::spawn(move || waits.with().token(&child).submit(|| ()).map_err(|error| error.kind()));
    await_waiting(&*pool, 1);
    parent.cancel_after(Duration::from_millis(1));
    assert_eq!(waiter.join().unwrap(), Err(SubmitErrorKind::TimedOut));
    assert_eq!(pool.waiting(), 0);
    gate.open();
    assert!(pool.wait_idle() && function.wait_idle());
}

#[test]
fn a21_a_tokens_deadline_limits_the_wait_for_room() {
    on_every_dispatch!(late_while_waiting);
}

/// `wait` as a function item, so that a pool can be made of it.
trait WaitAs {
    fn wait_as(self);
}

impl WaitAs for Gate {
    fn wait_as(self) {
        self.wait();
    }
}

/// Works until its token is cancelled.
struct Obeys;

impl Worker for Obeys {
    type Input = Gate;
    type Output = bool;

    fn process(&mut self, started: Gate, cx: &Context<'_>) -> bool {
        started.wait();
        let token = cx.token().expect("a caller waits for it");
        token.wait();
        cx.is_cancelled()
    }
}

fn open_gate() -> Gate {
    let gate = Gate::new();
    gate.open();
    gate
}

/// Queued and running, of workers with state: by the token, by the handle, and by a call's time.
fn states<D: Dispatch>() {
    let builder = StatefulPool::builder(|_| Ok(Obeys)).workers(1).queue(10);
    let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
    let (token, started) = (CancelToken::new(), open_gate());
    let running = pool.with().token(&token).spawn(started.clone()).unwrap();
    started.await_arrivals(1);
    let queued = pool.with().token(&token).spawn(open_gate()).unwrap();
    token.cancel();
    assert!(running.join().unwrap());
    assert!(queued.join().unwrap_err().is_cancelled());

    let started = open_gate();
    let running = pool.spawn(started.clone()).unwrap();
    started.await_arrivals(1);
    assert!(!running.cancel(), "it has started");
    assert!(running.join().unwrap());

    // A call that is given up: the running task sees that in its token, which it has asked for before.
    let error = pool.with().timeout(Duration::from_millis(20)).run(open_gate()).unwrap_err();
    assert!(error.is_timed_out());
    assert!(pool.wait_idle());

    let token = CancelToken::new();
    let (started, calls, stops) = (open_gate(), Arc::clone(&pool), token.clone());
    let came = started.clone();
    // The token may end the worker's task before the caller checks.
    let call = thread::spawn(move || calls.with().token(&stops).run(came).unwrap_or_else(|e| e.is_cancelled()));
    started.await_arrivals(1);
    token.cancel();
    assert!(call.join().unwrap());
    assert!(pool.wait_idle());

    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed, stats.cancelled), (5, 4, 1));
}

#[test]
fn a21_workers_with_state_are_cancelled() {
    on_every_dispatch!(states);
}

/// A payload whose token is cancelled in the queue is dropped on the worker.
fn payloads<D: Dispatch>() {
    let ran = Count::new();
    let counts = ran.clone();
    let builder = PoolWithFunc::builder(move |_: Arc<()>| counts.up());
    let pool = builder.workers(1).dispatch::<D>().build().unwrap();
    let (token, payload) = (CancelToken::new(), Arc::new(()));
    let pause = pool.pause();
    for n in 0..20 {
        match n % 2 {
            0 => pool.with().token(&token).submit(Arc::clone(&payload)).unwrap(),
            _ => pool.submit(Arc::clone(&payload)).unwrap(),
        }
    }
    token.cancel();
    assert_eq!(Arc::strong_count(&payload), 21);
    drop(pause);
    assert!(pool.wait_idle());
    assert_eq!((ran.get(), Arc::strong_count(&payload)), (10, 1));
    assert_eq!((pool.stats().completed, pool.stats().cancelled), (10, 10));
}

#[test]
fn a21_payloads_are_cancelled_in_the_queue() {
    on_every_dispatch!(payloads);
}
