//! An executor whose waker panics, with a payload whose drop panics once more: no other waiter is affected.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Poller, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::support::races::quiet_panic;
use crate::support::waking::{Bell, block_on, poll_with};
use crate::support::{Count, Gate, LIMIT, assert_conserved, await_waiting, eventually, on_every_dispatch, within};
use formicary::{CancelToken, Dispatch, Handle, Pool};

/// Counts a call, and panics.
struct Bad(Count);

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        self.0.up();
        resume_unwind(Box::new(Bomb));
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        quiet_panic();
    }
}

fn poll_badly<F: Future>(future: Pin<&mut F>, calls: &Count) -> Poll<F::Output> {
    future.poll(&mut Poller::from_waker(&Waker::from(Arc::new(Bad(calls.clone())))))
}

/// A pool of one worker that waits at the gate.
fn occupied<D: Dispatch>(queue: usize) -> (Arc<Pool<D>>, Gate) {
    let pool = Arc::new(Pool::builder().workers(1).queue(queue).dispatch::<D>().build().unwrap());
    let gate = Gate::new();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    (pool, gate)
}

fn is_cancelled<T: Send>(handle: Handle<T>) -> bool {
    handle.join().is_err_and(|error| error.is_cancelled())
}

fn retracted<D: Dispatch>() {
    let (pool, gate) = occupied::<D>(8);
    let calls = Count::new();
    let mut handles: Vec<_> = (0..4).map(|n| pool.spawn(move || n).unwrap()).collect();
    let last = handles.pop().unwrap();
    assert!(handles.iter_mut().all(|handle| poll_badly(Pin::new(handle), &calls).is_pending()));
    let joiner = thread::spawn(move || is_cancelled(last));
    let ends = Arc::clone(&pool);
    let ending = thread::spawn(move || ends.shutdown_now().len());
    // It ends while the worker is still held: all tasks have been retracted before.
    assert!(joiner.join().unwrap());
    gate.open();
    assert_eq!(ending.join().unwrap(), 4);
    assert_eq!(calls.get(), 3);
    assert!(handles.into_iter().all(is_cancelled));
    assert!(pool.shutdown_timeout(LIMIT).is_complete());
    assert_conserved(&*pool);
    assert_eq!(pool.stats().returned, 4);
    pool.restart().unwrap();
    assert_eq!(pool.run(|| 7).unwrap(), 7);
}

#[test]
fn a36_shutdown_now_retracts_all_past_a_waker_that_panics() {
    on_every_dispatch!(retracted);
}

fn several<D: Dispatch>() {
    let (pool, gate) = occupied::<D>(8);
    let calls = Count::new();
    let mut handle = pool.spawn(|| 7).unwrap();
    assert!(poll_badly(Pin::new(&mut handle), &calls).is_pending());
    let shared = handle.shared();
    let joiners: Vec<_> = (0..3)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || *shared.join().unwrap())
        })
        .collect();
    gate.open();
    assert!(joiners.into_iter().all(|joiner| joiner.join().unwrap() == 7));
    assert_eq!(calls.get(), 1);
    // The panic does not reach the canceller, either.
    let pause = pool.pause();
    let mut handle = pool.spawn(|| 7).unwrap();
    assert!(poll_badly(Pin::new(&mut handle), &calls).is_pending());
    assert!(handle.cancel());
    drop(pause);
    assert_eq!((calls.get(), is_cancelled(handle)), (2, true));
    pool.wait_idle();
    assert_conserved(&*pool);
}

#[test]
fn a33_all_who_wait_for_a_task_are_told_past_a_waker_that_panics() {
    on_every_dispatch!(several);
}

fn in_the_queue<D: Dispatch>() {
    let (pool, gate) = occupied::<D>(0);
    let calls = Count::new();
    let mut first = Box::pin(pool.submit_async(|| ()));
    assert!(poll_badly(first.as_mut(), &calls).is_pending());
    let second = {
        let pool = Arc::clone(&pool);
        thread::spawn(move || pool.spawn(|| 7).unwrap().join().unwrap())
    };
    await_waiting(&*pool, 2);
    // The worker notifies the head of the wait queue.
    gate.open();
    eventually("the worker is free again", || calls.get() > 0 && pool.running() == 0);
    drop(first);
    assert_eq!(second.join().unwrap(), 7);
    assert!(pool.shutdown_timeout(LIMIT).is_complete());
    assert_conserved(&*pool);
}

#[test]
fn a27_a_worker_outlives_a_waker_that_panics_in_the_wait_queue() {
    on_every_dispatch!(in_the_queue);
}

fn closing<D: Dispatch>() {
    let (pool, gate) = occupied::<D>(0);
    let calls = Count::new();
    let mut first = Box::pin(pool.submit_async(|| ()));
    assert!(poll_badly(first.as_mut(), &calls).is_pending());
    let second = {
        let pool = Arc::clone(&pool);
        thread::spawn(move || pool.submit(|| ()).unwrap_err().is_closed())
    };
    await_waiting(&*pool, 2);
    let ends = Arc::clone(&pool);
    let ending = thread::spawn(move || ends.shutdown().is_complete());
    assert!(second.join().unwrap());
    gate.open();
    assert!(ending.join().unwrap());
    assert!(calls.get() > 0);
    assert!(block_on(first).unwrap_err().is_closed());
}

#[test]
fn a28_closing_sends_all_away_past_a_waker_that_panics() {
    on_every_dispatch!(closing);
}

#[test]
fn a21_a_token_wakes_all_past_a_waker_that_panics() {
    let (token, calls, bell) = (CancelToken::new(), Count::new(), Bell::new());
    let (mut first, mut second) = (pin!(token.cancelled()), pin!(token.cancelled()));
    assert!(poll_badly(first.as_mut(), &calls).is_pending());
    assert!(poll_with(second.as_mut(), &bell).is_pending());
    token.cancel();
    assert_eq!((calls.get(), bell.rung()), (1, 1));
    assert!(poll_with(first, &bell).is_ready());
    assert!(poll_with(second, &bell).is_ready());
}

#[test]
fn a21_the_time_is_kept_past_a_waker_that_panics() {
    within(LIMIT, "the timer", || {
        let calls = Count::new();
        let (early, late) = (CancelToken::new(), CancelToken::new());
        early.cancel_after(Duration::from_millis(1));
        late.cancel_after(Duration::from_millis(20));
        let mut first = pin!(early.cancelled());
        if poll_badly(first.as_mut(), &calls).is_pending() {
            block_on(late.cancelled());
            assert_eq!(calls.get(), 1);
        }
        // And later waiters get their time limits.
        let later = CancelToken::new();
        later.cancel_after(Duration::from_millis(1));
        block_on(later.cancelled());
    });
}
