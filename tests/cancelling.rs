//! Telling work to stop: tokens and their trees, tasks that are cancelled before, at the door, in the queue and while they run.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use formicary::{
    CancelReason, CancelToken, Context, Dispatch, Pool, PoolWithFunc, StatefulPool, SubmitErrorKind, Worker,
};
use support::races::together;
use support::{Count, Gate, LIMIT, assert_conserved, await_waiting, on_every_dispatch, within};

fn pool<D: Dispatch>(workers: usize, queue: usize) -> Arc<Pool<D>> {
    Arc::new(Pool::builder().workers(workers).queue(queue).dispatch::<D>().build().unwrap())
}

/// Occupies the one worker of a pool until the gate is opened.
fn occupy<D: Dispatch>(pool: &Pool<D>) -> Gate {
    let gate = Gate::new();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    gate
}

fn past() -> CancelToken {
    let token = CancelToken::new();
    token.cancel_after(Duration::ZERO);
    token
}

fn cancelled() -> CancelToken {
    let token = CancelToken::new();
    token.cancel();
    token
}

/// A21: what is queued is skipped and counted as cancelled, what runs sees it and ends, and the shutdown returns.
fn queued_and_running<D: Dispatch>() {
    let pool = pool::<D>(2, 100);
    let (all, ran, started) = (CancelToken::new(), Count::new(), Gate::new());
    started.open();
    let running: Vec<_> = (0..2)
        .map(|n| {
            let started = started.clone();
            let work = move |token: &CancelToken| {
                started.wait();
                token.wait();
                n
            };
            pool.spawn_cancellable(&all, work).unwrap()
        })
        .collect();
    started.await_arrivals(2);
    let queued: Vec<_> = (0..50)
        .map(|_| {
            let ran = ran.clone();
            pool.spawn_cancellable(&all, move |_| ran.up()).unwrap()
        })
        .collect();
    for _ in 0..40 {
        let ran = ran.clone();
        pool.submit_cancellable(&all, move || _ = ran.up()).unwrap();
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

/// A21: a task that has ended does not mind, and what it captured is dropped at the moment of the cancelling.
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

/// A21: 100,000 tasks with one token. Cancelling runs no user code and touches no task: they leave when their turn comes.
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
            0 => pool.submit_cancellable(&token, work).unwrap(),
            _ => drop(pool.spawn_cancellable(&token, move |_| work()).unwrap()),
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

/// Cancelled before: refused with the task and the reason, by every way in.
fn before<D: Dispatch>() {
    let closures = pool::<D>(1, 4);
    let function = PoolWithFunc::builder(|n: u32| n).workers(1).dispatch::<D>().build().unwrap();
    let states = StatefulPool::builder(|_| Ok(Obeys)).workers(1).dispatch::<D>().build().unwrap();
    for (token, kind) in [(cancelled(), SubmitErrorKind::Cancelled), (past(), SubmitErrorKind::TimedOut)] {
        for token in [token.child(), token] {
            let refusal = closures.submit_cancellable(&token, || ()).unwrap_err();
            assert_eq!(refusal.kind, kind);
            (refusal.task)();
            let refusal = closures.spawn_cancellable(&token, |_| 7).unwrap_err();
            assert_eq!((refusal.kind, (refusal.task)(&token)), (kind, 7));
            let refusal = function.invoke_cancellable(&token, 7).unwrap_err();
            assert_eq!((refusal.kind, refusal.task), (kind, 7));
            let refusal = states.submit_cancellable(&token, Gate::new()).unwrap_err();
            assert_eq!(refusal.kind, kind);
            let refusal = states.process_cancellable(&token, Gate::new()).unwrap_err();
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

/// Cancelled at the door: the task comes back, and whoever stands behind it gets the call that it had.
fn at_the_door<D: Dispatch>() {
    for round in 0..20 {
        let pool = pool::<D>(1, 0);
        let gate = occupy(&pool);
        let token = CancelToken::new();
        let (first, second) = (Arc::clone(&pool), Arc::clone(&pool));
        let stops = token.child();
        let first = thread::spawn(move || {
            let refusal = first.spawn_cancellable(&stops, |_| 7).map(drop).err();
            refusal.map(|refusal| (refusal.kind, (refusal.task)(&stops)))
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
fn a21_a_token_calls_a_submitter_out_of_the_line() {
    on_every_dispatch!(at_the_door);
}

/// A deadline at the door is a time limit, also one that is set or shortened while the submitter waits, and on a token above.
fn late_at_the_door<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let function = Arc::new(PoolWithFunc::builder(Gate::wait_as).workers(1).queue(0).dispatch::<D>().build().unwrap());
    let gate = occupy(&pool);
    function.invoke(gate.clone()).unwrap();
    let token = CancelToken::new();
    token.cancel_after(Duration::from_millis(20));
    assert!(pool.submit_cancellable(&token, || ()).unwrap_err().is_timed_out());
    assert!(pool.spawn_cancellable(&token.child(), |_| ()).unwrap_err().is_timed_out());
    assert!(function.invoke_cancellable(&token, Gate::new()).unwrap_err().is_timed_out());

    let parent = CancelToken::new();
    parent.cancel_after(LIMIT * 10);
    let (waits, child) = (Arc::clone(&pool), parent.child());
    let waiter = thread::spawn(move || waits.submit_cancellable(&child, || ()).map_err(|error| error.kind));
    await_waiting(&*pool, 1);
    parent.cancel_after(Duration::from_millis(1));
    assert_eq!(waiter.join().unwrap(), Err(SubmitErrorKind::TimedOut));
    assert_eq!(pool.waiting(), 0);
    gate.open();
    assert!(pool.wait_idle() && function.wait_idle());
}

#[test]
fn a21_a_tokens_deadline_is_a_time_limit_at_the_door() {
    on_every_dispatch!(late_at_the_door);
}

/// What `wait` is as a function: so that a pool can be made of it.
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
        let token = cx.token().expect("somebody waits for it");
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
    let running = pool.submit_cancellable(&token, started.clone()).unwrap();
    started.await_arrivals(1);
    let queued = pool.submit_cancellable(&token, open_gate()).unwrap();
    token.cancel();
    assert!(running.join().unwrap());
    assert!(queued.join().unwrap_err().is_cancelled());

    let started = open_gate();
    let running = pool.submit(started.clone()).unwrap();
    started.await_arrivals(1);
    assert!(!running.cancel(), "it has started");
    assert!(running.join().unwrap());

    // A call that is given up: what runs sees that in its token, which it has asked for before.
    let error = pool.process_timeout(open_gate(), Duration::from_millis(20)).unwrap_err();
    assert!(error.is_timed_out());
    assert!(pool.wait_idle());

    let token = CancelToken::new();
    let (started, calls, stops) = (open_gate(), Arc::clone(&pool), token.clone());
    let came = started.clone();
    // The worker may end, because of the token too, before its caller looks.
    let call = thread::spawn(move || calls.process_cancellable(&stops, came).unwrap_or_else(|e| e.is_cancelled()));
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
            0 => pool.invoke_cancellable(&token, Arc::clone(&payload)).unwrap(),
            _ => pool.invoke(Arc::clone(&payload)).unwrap(),
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

/// What is cancelled and then given back or shut down is counted once.
fn cancelled_and_taken_out<D: Dispatch>() {
    let pool = pool::<D>(1, 100);
    let gate = occupy(&pool);
    let token = CancelToken::new();
    let handles: Vec<_> = (0..10).map(|_| pool.spawn_cancellable(&token, |_| ()).unwrap()).collect();
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

/// Cancelling a running task and asking it for its token at the same time: the token must hear of it, whoever is first.
#[test]
fn a21_a_token_that_is_made_while_its_task_is_cancelled() {
    within(LIMIT, "tokens", || {
        let pool = Arc::new(Pool::new(1).unwrap());
        for _ in 0..500 {
            let gate = Gate::new();
            let held = gate.clone();
            let handle = pool
                .spawn_cancellable(&CancelToken::new(), move |token| {
                    held.wait();
                    token.wait();
                })
                .unwrap();
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

#[test]
fn a_tree_of_tokens_is_cancelled_downwards() {
    let root = CancelToken::new();
    let (left, right) = (root.child(), root.child());
    let leaf = left.child();
    left.cancel();
    assert!(leaf.is_cancelled() && left.is_cancelled());
    assert!(!root.is_cancelled() && !right.is_cancelled());
    assert!(left.child().is_cancelled(), "a child of a cancelled one");
    root.clone().cancel();
    assert!(right.is_cancelled());
    drop(root);
    assert!(right.child().is_cancelled(), "those above live as long as those below");
}

#[test]
fn a_deadline_holds_for_those_below_and_the_shortest_counts() {
    let now = Instant::now();
    let (near, far) = (now + Duration::from_secs(1000), now + Duration::from_secs(2000));
    let parent = CancelToken::new();
    let child = parent.child();
    child.cancel_at(near);
    assert_eq!((parent.deadline(), child.deadline()), (None, Some(near)));
    parent.cancel_at(far);
    assert_eq!((parent.deadline(), child.deadline()), (Some(far), Some(near)));
    parent.cancel_at(now);
    assert_eq!((parent.deadline(), child.deadline()), (Some(now), Some(now)));
    parent.cancel_at(far);
    assert_eq!(parent.deadline(), Some(now), "a limit cannot be lengthened");
    assert_eq!(child.reason(), Some(CancelReason::Deadline));
    child.cancel_after(Duration::MAX);
}

#[test]
fn the_first_reason_stays() {
    let token = past();
    assert_eq!(token.reason(), Some(CancelReason::Deadline));
    token.cancel();
    assert_eq!(token.reason(), Some(CancelReason::Deadline));

    let parent = past();
    let (seen, unseen) = (parent.child(), parent.child());
    assert_eq!(seen.reason(), Some(CancelReason::Deadline));
    [&seen, &unseen].into_iter().for_each(CancelToken::cancel);
    assert_eq!((seen.reason(), unseen.reason()), (Some(CancelReason::Deadline), Some(CancelReason::Deadline)));

    let parent = cancelled();
    let child = parent.child();
    assert_eq!(child.reason(), Some(CancelReason::Asked));
    child.cancel_after(Duration::ZERO);
    assert_eq!(child.reason(), Some(CancelReason::Asked));
    assert!(format!("{child:?}").contains("Asked"));
}

/// Many wait, on tokens all over a tree, for ever and for a time; one cancel wakes all.
#[test]
fn a_cancel_wakes_all_who_wait_for_any_token_below() {
    within(LIMIT, "waiters", || {
        let root = CancelToken::new();
        let tree: Vec<_> = (0..4).map(|_| root.child()).flat_map(|child| [child.child(), child]).collect();
        let threads: Vec<_> = (0..32)
            .map(|n| {
                let token = tree[n % tree.len()].clone();
                thread::spawn(move || if n % 2 == 0 { token.wait() } else { assert!(token.wait_timeout(2 * LIMIT)) })
            })
            .collect();
        assert!(!root.wait_timeout(Duration::from_millis(20)));
        root.cancel();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A wait ends by the deadline of the token, by one that is set while it waits, and by its own limit, whichever comes first.
#[test]
fn waits_end_at_the_first_of_their_times() {
    within(LIMIT, "times", || {
        let parent = CancelToken::new();
        let token = parent.child();
        assert!(!token.wait_timeout(Duration::ZERO));
        assert!(!token.wait_timeout(Duration::from_millis(5)));
        let waits = token.clone();
        let waiter = thread::spawn(move || waits.wait());
        parent.cancel_after(Duration::from_millis(20));
        waiter.join().unwrap();
        assert!(token.wait_timeout(Duration::ZERO));
        assert_eq!(token.reason(), Some(CancelReason::Deadline));
        assert!(past().wait_timeout(2 * LIMIT));
    });
}

/// Cancelling, or setting a deadline, while others are about to wait: nobody sleeps on.
#[test]
fn a_cancel_is_not_lost_on_one_who_is_just_going_to_wait() {
    within(LIMIT, "registering", || {
        for round in 0..1000 {
            let root = CancelToken::new();
            let child = root.child();
            together(3, |n| match (n, round % 3) {
                (0, 0) => root.cancel(),
                (0, 1) => root.cancel_after(Duration::ZERO),
                (0, _) => child.cancel(),
                (1, _) => child.wait(),
                _ => assert!(child.child().wait_timeout(2 * LIMIT)),
            });
        }
    });
}
