//! A21: telling work to stop: closures that are cancelled while their submitter waits for room, in the queue and while they run.

use std::sync::Arc;
use std::thread;

use crate::support::closures::{occupy, pool};
use crate::support::races::together;
use crate::support::tokens::own_token;
use crate::support::{Count, Gate, LIMIT, assert_conserved, await_waiting, on_every_dispatch, within};
use formicary::{CancelToken, Dispatch, Pool, SubmitErrorKind};

/// A21: queued tasks are skipped and counted as cancelled, running ones see it and end, and the shutdown returns.
fn queued_and_running<D: Dispatch>() {
    let pool = pool::<D>(2, 100);
    let (all, ran, started) = (CancelToken::new(), Count::new(), Gate::new());
    started.open();
    let running: Vec<_> = (0..2)
        .map(|n| {
            let started = started.clone();
            let work = move || {
                started.wait();
                own_token().wait();
                n
            };
            pool.with().token(&all).spawn(work).unwrap()
        })
        .collect();
    started.await_arrivals(2);
    let queued: Vec<_> = (0..50)
        .map(|_| {
            let ran = ran.clone();
            pool.with().token(&all).spawn(move || ran.up()).unwrap()
        })
        .collect();
    for _ in 0..40 {
        let ran = ran.clone();
        pool.with().token(&all).submit(move || _ = ran.up()).unwrap();
    }
    all.cancel();
    assert!(pool.shutdown().is_complete());
    for (n, handle) in running.into_iter().enumerate() {
        assert_eq!(handle.join().unwrap(), n);
    }
    assert!(queued.into_iter().all(|handle| handle.join().unwrap_err().is_cancelled()));
    assert_eq!(ran.get(), 0);
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed, stats.cancelled), (92, 2, 90));
    assert_conserved(&*pool);
}

#[test]
fn a21_queued_tasks_are_skipped_and_running_ones_see_it() {
    on_every_dispatch!(queued_and_running);
}

/// A21: one handle is cancelled, the others are not.
fn by_handle<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let gate = occupy(&pool);
    let handles: Vec<_> = (0..6).map(|n| pool.spawn(move || n).unwrap()).collect();
    assert!(handles[1].cancel());
    assert!(!handles[1].cancel(), "it is over already");
    handles[2].token().cancel();
    let shared = pool.spawn(|| 7).unwrap().shared();
    assert!(shared.cancel() && shared.join().unwrap_err().is_cancelled());
    gate.open();
    for (n, handle) in handles.into_iter().enumerate() {
        match handle.join() {
            Ok(m) => assert!(n == m && n != 1 && n != 2),
            Err(error) => assert!(error.is_cancelled() && (n == 1 || n == 2)),
        }
    }
    assert!(pool.wait_idle());
    assert_eq!(pool.stats().cancelled, 3);
    assert_conserved(&*pool);
}

#[test]
fn a21_a_handle_cancels_its_own_task_alone() {
    on_every_dispatch!(by_handle);
}

/// A21: a finished task is unaffected, and the captures of a queued one are dropped at the moment of the cancelling.
fn late_and_early<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let handle = pool.spawn(|| 7).unwrap();
    assert!(pool.wait_idle());
    assert!(!handle.cancel());
    handle.token().cancel();
    assert_eq!(handle.join().unwrap(), 7);

    let gate = occupy(&pool);
    let captured = Arc::new(());
    let held = Arc::clone(&captured);
    let handle = pool.spawn(move || drop(held)).unwrap();
    assert!(handle.cancel());
    assert_eq!(Arc::strong_count(&captured), 1, "dropped here and now");
    gate.open();
    assert!(pool.wait_idle());
    assert_conserved(&*pool);
}

#[test]
fn a21_cancelling_too_late_and_in_time() {
    on_every_dispatch!(late_and_early);
}

/// A21: 100,000 tasks with one token. Cancelling runs no user code and touches no task: workers discard them when their turn comes.
fn a_hundred_thousand<D: Dispatch>() {
    const TASKS: usize = 100_000;
    let pool = pool::<D>(2, TASKS);
    let (token, ran, alive) = (CancelToken::new(), Count::new(), Arc::new(()));
    let pause = pool.pause();
    for n in 0..TASKS {
        let (ran, alive) = (ran.clone(), Arc::clone(&alive));
        let work = move || {
            ran.up();
            drop(alive);
        };
        match n % 2 {
            0 => pool.with().token(&token).submit(work).unwrap(),
            _ => drop(pool.with().token(&token).spawn(work).unwrap()),
        }
    }
    token.cancel();
    assert_eq!((pool.queued(), Arc::strong_count(&alive)), (TASKS, TASKS + 1), "cancelling touches no task");
    drop(pause);
    assert!(pool.wait_idle());
    assert_eq!((ran.get(), Arc::strong_count(&alive)), (0, 1));
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.cancelled, stats.completed), (TASKS as u64, TASKS as u64, 0));
    assert_conserved(&*pool);
}

#[test]
fn a21_a_hundred_thousand_tasks_with_one_token() {
    on_every_dispatch!(a_hundred_thousand);
}

/// Cancelled while its submitter waits for room: the task comes back, and the submitter behind it gets the notification.
fn waiting_for_room<D: Dispatch>() {
    for round in 0..20 {
        let pool = pool::<D>(1, 0);
        let gate = occupy(&pool);
        let token = CancelToken::new();
        let (first, second) = (Arc::clone(&pool), Arc::clone(&pool));
        let stops = token.child();
        let first = thread::spawn(move || {
            let refusal = first.with().token(&stops).spawn(|| 7).map(drop).err();
            refusal.map(|refusal| (refusal.kind(), refusal.into_task()()))
        });
        await_waiting(&*pool, 1);
        let second = thread::spawn(move || second.submit(|| ()).is_ok());
        await_waiting(&*pool, 2);
        if round % 2 == 0 {
            token.cancel();
            assert_eq!(first.join().unwrap(), Some((SubmitErrorKind::Cancelled, 7)));
            gate.open();
        } else {
            // The room and the cancelling at the same time: the first may get in or not, the second must.
            together(2, |n| if n == 0 { token.cancel() } else { gate.open() });
            let _ = first.join().unwrap();
        }
        assert!(second.join().unwrap());
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    }
}

#[test]
fn a21_a_token_takes_a_submitter_out_of_the_wait_queue() {
    on_every_dispatch!(waiting_for_room);
}

/// What is cancelled and then given back or shut down is counted once.
fn cancelled_and_taken_out<D: Dispatch>() {
    let pool = pool::<D>(1, 100);
    let gate = occupy(&pool);
    let token = CancelToken::new();
    let handles: Vec<_> = (0..10).map(|_| pool.with().token(&token).spawn(|| ()).unwrap()).collect();
    let others: Vec<_> = (0..10).map(|_| pool.spawn(|| ()).unwrap()).collect();
    assert!(others[..5].iter().all(|handle| handle.cancel()));
    token.cancel();
    together(2, |n| match n {
        0 => drop(pool.shutdown_now()),
        _ => gate.open(),
    });
    assert!(handles.into_iter().all(|handle| handle.join().unwrap_err().is_cancelled()));
    let ran = others.into_iter().enumerate().filter_map(|(n, handle)| handle.join().ok().map(|()| n));
    let ran: Vec<_> = ran.collect();
    assert!(ran.iter().all(|n| *n >= 5), "{ran:?} ran");
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed), (21, 1 + ran.len() as u64));
    assert!(stats.cancelled >= 5);
    assert_conserved(&*pool);
}

#[test]
fn a21_cancelling_and_shutting_down_count_a_task_once() {
    on_every_dispatch!(cancelled_and_taken_out);
}

/// Cancelling a running task and asking its handle for a token at the same time: the token is cancelled, whichever comes first.
#[test]
fn a21_a_token_that_is_made_while_its_task_is_cancelled() {
    within(LIMIT, "tokens", || {
        let pool = Arc::new(Pool::new(1).unwrap());
        for _ in 0..500 {
            let gate = Gate::new();
            let held = gate.clone();
            let work = move || {
                held.wait();
                own_token().wait();
            };
            let handle = pool.with().token(&CancelToken::new()).spawn(work).unwrap();
            gate.await_arrivals(1);
            together(2, |n| {
                if n == 0 {
                    handle.cancel();
                } else {
                    gate.open();
                }
            });
            handle.join().unwrap();
        }
    });
}
