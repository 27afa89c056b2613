//! Workers that were woken and have not run since: another worker that waits for one of them is not refused as if it were blocked.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::yield_now;

use crate::support::closures::{assert_quiet, pool};
use crate::support::{Gate, LIMIT, on_every_dispatch};
use formicary::{CancelToken, Dispatch, Pool, SharedHandle};

/// So often each: whether a thread is still asleep after it was woken depends on the system.
const ROUNDS: usize = 50;

type Part = Box<dyn FnOnce() + Send>;

/// A worker waits for a part of its task, on the other worker, which ends the part, and then waits for the task.
fn after_a_part<D: Dispatch>(wait: fn(&Pool<D>, &Gate, Part)) {
    for _ in 0..ROUNDS {
        let pool = pool::<D>(2, 10);
        let (gate, own) = (Gate::new(), Arc::clone(&pool));
        let (of_task, of_part) = (gate.clone(), gate.clone());
        let part = Box::new(move || {
            of_part.wait();
            // The first worker parks meanwhile.
            (0..300).for_each(|_| yield_now());
        });
        let waiting = pool.spawn(move || wait(&own, &of_task, part)).unwrap().shared();
        gate.await_arrivals(1);
        let awaited = waiting.clone();
        let next = pool.spawn(move || awaited.join().is_ok()).unwrap();
        gate.open();
        assert!(next.join().unwrap(), "refused");
        waiting.join().unwrap();
        assert_quiet(&pool);
    }
}

fn after_a_task_of_a_scope<D: Dispatch>() {
    after_a_part::<D>(|pool, gate, part| {
        pool.scope(|s| {
            s.spawn(part);
            gate.await_arrivals(1);
        });
    });
}

#[test]
fn the_owner_of_a_scope_is_not_blocked_once_it_is_woken() {
    on_every_dispatch!(after_a_task_of_a_scope);
}

fn after_half_of_a_join<D: Dispatch>() {
    after_a_part::<D>(|pool, gate, part| {
        pool.join(|| gate.await_arrivals(1), part);
    });
}

#[test]
fn the_owner_of_a_fork_is_not_blocked_once_it_is_woken() {
    on_every_dispatch!(after_half_of_a_join);
}

/// A worker waits for a call with a token. The task cancels the token, and then waits for the worker's task.
fn after_a_cancel<D: Dispatch>() {
    for _ in 0..ROUNDS {
        let pool = pool::<D>(2, 10);
        let (gate, own, token) = (Gate::new(), Arc::clone(&pool), CancelToken::new());
        let (sender, receiver) = mpsc::channel::<SharedHandle<bool>>();
        let (joined, results) = mpsc::channel();
        let (here, canceller) = (gate.clone(), token.clone());
        let caller = pool.spawn(move || {
            let call = own.with().token(&token).run(move || {
                here.wait();
                (0..300).for_each(|_| yield_now());
                canceller.cancel();
                let caller = receiver.recv_timeout(LIMIT).unwrap();
                joined.send(caller.join().is_ok()).unwrap();
            });
            call.unwrap_err().is_cancelled()
        });
        let caller = caller.unwrap().shared();
        sender.send(caller.clone()).unwrap();
        gate.await_arrivals(1);
        gate.open();
        assert!(results.recv_timeout(LIMIT).unwrap(), "refused");
        assert!(*caller.join().unwrap());
        assert!(pool.wait_idle());
    }
}

#[test]
fn a_cancelled_caller_is_not_blocked_once_it_is_woken() {
    on_every_dispatch!(after_a_cancel);
}
