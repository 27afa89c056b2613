//! Threads that wait for results: handles, calls, cancelling, and pools that are used from inside their own tasks.

use std::sync::{Arc, Weak};
use std::time::Duration;

use formicary::{
    CallError, CancelToken, Context, Dispatch, PanicPolicy, Pool, Ring, Sharded, Stack, StatefulPool, SubmitErrorKind,
    Worker,
};
use shuttle::thread;

use crate::explore::{draw, explore, is_even, stumble};
use crate::tasks::{Entry, Ledger, check_threads};

macro_rules! on_each_dispatch {
    ($scenario:ident) => {
        explore(concat!(stringify!($scenario), "/Stack"), $scenario::<Stack>);
        explore(concat!(stringify!($scenario), "/Ring"), $scenario::<Ring>);
        explore(concat!(stringify!($scenario), "/Sharded"), $scenario::<Sharded>);
    };
}
pub(crate) use on_each_dispatch;

pub fn pool<D: Dispatch>(workers: usize, queue: usize) -> Arc<Pool<D>> {
    let builder = Pool::builder().dispatch::<D>().workers(workers).min_workers(draw(workers + 1)).queue(queue);
    let expiry = if is_even() && draw(2) == 0 { Some(Duration::ZERO) } else { None };
    Arc::new(builder.expiry(expiry).spin(Duration::ZERO).build().unwrap())
}

/// Spawns a task and does something with its handle: what the handle says is what became of the task.
fn spawn_one<D: Dispatch>(pool: &Pool<D>, ledger: &Ledger, token: &CancelToken) {
    let entry = ledger.entry();
    let number = entry.number;
    let panics = draw(4) == 0;
    let task = move || match panics {
        true => {
            entry.run_and_panic();
            0
        }
        false => entry.run(stumble).map_or(0, |()| number),
    };
    let spawned = match draw(3) {
        0 => pool.with().token(token).spawn(|| task()).map_err(|refusal| refusal.kind()),
        1 => shuttle::future::block_on(pool.spawn_async(task)).map_err(|refusal| refusal.kind()),
        _ => pool.spawn(task).map_err(|refusal| refusal.kind()),
    };
    let handle = match spawned {
        Ok(handle) => handle,
        Err(SubmitErrorKind::Closed | SubmitErrorKind::Cancelled) => return ledger.refused(number),
        Err(other) => panic!("refused as {other}"),
    };
    ledger.accepted(number);
    let was_queued = draw(4) == 0 && handle.cancel();
    let result = match draw(4) {
        0 => {
            // Cancelled, as the pool's figures show.
            if was_queued {
                ledger.came_back(number);
                return;
            }
            handle.join()
        }
        1 => shuttle::future::block_on(handle),
        2 => {
            let shared = handle.shared();
            let other = thread::spawn({
                let shared = shared.clone();
                move || shared.join().is_ok()
            });
            let is_ok = shared.join().is_ok();
            assert_eq!(other.join().unwrap(), is_ok);
            match shared.join() {
                Ok(value) => Ok(*value),
                Err(error) if error.is_cancelled() => {
                    assert_eq!(ledger.record(number).ran, 0);
                    return ledger.came_back(number);
                }
                Err(_) => {
                    assert!(panics);
                    return;
                }
            }
        }
        _ => handle.join(),
    };
    match result {
        Ok(value) => assert_eq!((value, ledger.record(number).ran, was_queued), (number, 1, false)),
        Err(error) if error.is_cancelled() => {
            assert_eq!(ledger.record(number).ran, 0);
            ledger.came_back(number);
        }
        Err(error) => assert!(panics && ledger.record(number).panicked, "{error}"),
    }
}

/// Handles that are joined, awaited, shared and cancelled, tokens, and an end of the pool, all at once.
fn every_handle_reports_its_task<D: Dispatch>() {
    let (pool, ledger) = (pool::<D>(1 + draw(2), draw(3)), Ledger::default());
    let token = CancelToken::new();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (pool, ledger, token) = (Arc::clone(&pool), ledger.clone(), token.clone());
            thread::spawn(move || (0..2).for_each(|_| spawn_one(&pool, &ledger, &token)))
        })
        .collect();
    stumble();
    match draw(4) {
        0 => token.cancel(),
        1 => assert!(pool.shutdown().is_complete()),
        2 => assert!(pool.shutdown_now().len() <= 4),
        _ => pool.tune(1 + draw(2)).unwrap(),
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(pool.shutdown().is_complete());
    let stats = pool.stats();
    // Handles of tasks that the end took out said cancelled.
    ledger.check(&stats, stats.returned);
    check_threads(&stats);
}

#[test]
fn p03_every_handle_reports_its_task() {
    on_each_dispatch!(every_handle_reports_its_task);
}

/// Tasks that wait for tasks of their own pool, which may be full, on a pool of one worker or two: every wait ends, and no
/// submission is refused.
fn a_pool_does_not_wait_for_itself<D: Dispatch>() {
    let (pool, ledger) = (pool::<D>(1 + draw(2), draw(2)), Ledger::default());
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
            thread::spawn(move || {
                let (inner_pool, inner_ledger) = (Arc::downgrade(&pool), ledger.clone());
                let entry = ledger.entry();
                let outer = entry.number;
                let handle = pool.spawn(move || {
                    entry.run(|| {
                        let Some(pool) = inner_pool.upgrade() else { return };
                        for _ in 0..1 + draw(2) {
                            let entry = inner_ledger.entry();
                            let number = entry.number;
                            if draw(2) == 0 {
                                let handle = pool.spawn(move || entry.run(|| number)).unwrap();
                                inner_ledger.accepted(number);
                                assert_eq!(handle.join().unwrap(), Some(number));
                            } else {
                                pool.submit(move || _ = entry.run(|| ())).unwrap();
                                inner_ledger.accepted(number);
                            }
                        }
                    });
                });
                ledger.accepted(outer);
                handle.unwrap().join().unwrap();
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(pool.wait_idle());
    assert!(pool.shutdown().is_complete());
    ledger.check(&pool.stats(), 0);
    check_threads(&pool.stats());
}

#[test]
fn p03_a_pool_does_not_wait_for_itself() {
    on_each_dispatch!(a_pool_does_not_wait_for_itself);
}

/// Groups, scopes and views of one pool at a time: a scope ends when its tasks have, a group reports its failure, a view keeps its
/// limit.
fn groups_scopes_and_views<D: Dispatch>() {
    let pool = pool::<D>(1 + draw(2), draw(2));
    let threads = [
        thread::spawn({
            let pool = Arc::clone(&pool);
            move || {
                let (mut one, mut two) = (1, 2);
                pool.scope(|scope| {
                    scope.spawn(|| one += 1);
                    scope.spawn(|| two += 1);
                });
                assert_eq!((one, two), (2, 3));
            }
        }),
        thread::spawn({
            let pool = Arc::clone(&pool);
            move || {
                let (group, fails) = (pool.group(), draw(2) == 0);
                for n in 0..2 {
                    // Refused if the first has failed by then, or the pool is closed.
                    drop(group.spawn(move |_| if fails { Err(n) } else { Ok(n) }));
                }
                let (is_whole, result) = (group.len() == 2, group.wait());
                assert!(!fails || !is_whole || result.is_err());
            }
        }),
        thread::spawn({
            let pool = Arc::clone(&pool);
            move || {
                let view = pool.limited(1);
                let ledger = Ledger::default();
                for _ in 0..2 {
                    let entry = ledger.entry();
                    drop(view.submit(move || _ = entry.run(stumble)));
                }
                assert!(view.wait_idle());
                assert!(ledger.peak() <= 1);
                let stats = view.stats();
                let ended = stats.completed + stats.panicked + stats.cancelled + stats.returned;
                assert_eq!(stats.submitted, ended, "{stats:?}");
            }
        }),
    ];
    if draw(2) == 0 {
        stumble();
        drop(pool.shutdown_now());
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(pool.wait_idle() && pool.shutdown().is_complete());
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled + stats.returned, "{stats:?}");
    check_threads(&stats);
}

#[test]
fn p03_groups_scopes_and_views() {
    on_each_dispatch!(groups_scopes_and_views);
}

/// A worker that counts what it has processed; 13 makes it panic.
struct Counter {
    version: usize,
    processed: usize,
}

/// An input that records what becomes of it.
struct Input {
    entry: Entry,
    panics: bool,
}

impl Worker for Counter {
    type Input = Input;
    type Output = usize;

    fn process(&mut self, input: Input, _: &Context<'_>) -> usize {
        if input.panics {
            input.entry.run_and_panic();
        } else {
            input.entry.run(stumble);
        }
        self.processed += 1;
        self.version
    }
}

/// Calls, panics that cost a state, a broadcast that is remembered, resizing and an end: a call after the broadcast meets no state
/// that has missed it.
fn every_state_gets_a_broadcast<D: Dispatch>() {
    let workers = 1 + draw(2);
    let builder = StatefulPool::builder(|_| Ok(Counter { version: 0, processed: 0 })).dispatch::<D>();
    let builder = builder.workers(workers).min_workers(draw(workers + 1)).queue(draw(2)).expiry(None);
    let policy = if draw(2) == 0 { PanicPolicy::Keep } else { PanicPolicy::Rebuild };
    let pool = Arc::new(builder.panic_policy(policy).spin(Duration::ZERO).build().unwrap());
    let (ledger, token) = (Ledger::default(), CancelToken::new());
    let call = {
        let (pool, ledger, token) = (Arc::clone(&pool), ledger.clone(), token.clone());
        move |least: usize| {
            let (entry, panics) = (ledger.entry(), draw(4) == 0);
            let number = entry.number;
            let result = match draw(3) {
                0 => pool.with().timeout(Duration::from_secs(1 << 30)).run(Input { entry, panics }),
                1 => pool.with().token(&token).run(Input { entry, panics }),
                _ => pool.run(Input { entry, panics }),
            };
            match result {
                Ok(version) => assert!(version >= least),
                Err(error) => assert!(panics && error.is_panic() || error.is_cancelled(), "task {number}: {error}"),
            }
        }
    };
    let other = call.clone();
    let mut threads = vec![thread::spawn(move || (0..2).for_each(|_| other(0)))];
    let tuned = Arc::clone(&pool);
    threads.push(thread::spawn(move || {
        stumble();
        match draw(3) {
            0 => tuned.tune(1 + draw(2)).unwrap(),
            1 => token.cancel(),
            _ => {}
        }
    }));
    let answers = pool.broadcast_and_remember("version", |counter| counter.version = 1);
    assert!(answers.unwrap().iter().all(|(_, answer)| answer.as_ref().is_ok_or_lost()));
    call(1);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(pool.wait_idle() && pool.shutdown().is_complete());
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled, "{stats:?}");
    let (ran, panicked) = (ledger.started() as u64, ledger.count(|record| record.panicked) as u64);
    assert_eq!((stats.completed, stats.panicked), (ran - panicked, panicked), "{stats:?}");
    check_threads(&stats);
}

/// Whether a worker did it, or lost its state before its turn.
trait IsOkOrLost {
    fn is_ok_or_lost(&self) -> bool;
}

impl<T> IsOkOrLost for Result<T, &formicary::JoinError> {
    fn is_ok_or_lost(&self) -> bool {
        self.as_ref().map_or_else(|error| error.is_cancelled(), |_| true)
    }
}

#[test]
fn p03_every_state_gets_a_broadcast() {
    on_each_dispatch!(every_state_gets_a_broadcast);
}

/// A worker that calls its own pool before it answers.
struct Nested;

/// How deep to go on, and in which pool.
type Call = (usize, Weak<dyn Fn(usize) -> bool + Send + Sync>);

impl Worker for Nested {
    type Input = Call;
    type Output = bool;

    fn process(&mut self, (depth, inner): Call, _: &Context<'_>) -> bool {
        depth == 0 || inner.upgrade().is_some_and(|call| call(depth - 1))
    }
}

/// Workers with state call their own pool: each call is answered, or refused because no worker would be left to answer it.
fn no_call_waits_for_ever<D: Dispatch>() {
    let workers = 1 + draw(2);
    let builder = StatefulPool::builder(|_| Ok(Nested)).dispatch::<D>().workers(workers).min_workers(draw(workers + 1));
    let pool = Arc::new(builder.queue(draw(2)).expiry(None).spin(Duration::ZERO).build().unwrap());
    let call = Arc::new_cyclic(|me: &Weak<_>| {
        let (pool, me) = (Arc::clone(&pool), me.clone() as Weak<dyn Fn(usize) -> bool + Send + Sync>);
        move |depth| match pool.run((depth, me.clone())) {
            Ok(all_answered) => all_answered,
            Err(CallError::Refused(refusal)) => {
                assert_eq!(refusal.kind(), SubmitErrorKind::WouldDeadlock);
                false
            }
            Err(CallError::Failed(error)) => {
                assert!(error.is_would_deadlock(), "{error}");
                false
            }
        }
    });
    let threads = [0, 1].map(|_| {
        let call = Arc::clone(&call);
        thread::spawn(move || {
            let depth = draw(3);
            // A call from outside is never refused; without a nested call every call is answered.
            assert!(call(depth) || depth > 0);
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(pool.wait_idle() && pool.shutdown().is_complete());
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled, "{stats:?}");
    check_threads(&stats);
}

#[test]
fn p03_no_call_waits_for_ever() {
    on_each_dispatch!(no_call_waits_for_ever);
}

/// Tasks in a full queue are cancelled, by token and by handle, while submitters wait and workers pop: a submitter that comes after
/// the cancelling finds the room, no more than there is, and each task is counted and dropped once.
fn cancelled_tasks_take_no_room<D: Dispatch>() {
    let (queue, ledger, token) = (1 + draw(2), Ledger::default(), CancelToken::new());
    let pool = pool::<D>(1, queue);
    let pause = pool.pause();
    let cancelled: Vec<_> = (0..=queue)
        .map(|_| {
            let entry = ledger.entry();
            let number = entry.number;
            let handle = pool.with().token(&token).spawn(|| _ = entry.run(|| ())).unwrap();
            ledger.accepted(number);
            (number, handle)
        })
        .collect();
    let submit = |pool: &Pool<D>, ledger: &Ledger| {
        let entry = ledger.entry();
        let number = entry.number;
        match pool.try_submit(move || _ = entry.run(|| ())) {
            Ok(()) => ledger.accepted(number),
            Err(refusal) => {
                assert!(refusal.is_full());
                ledger.refused(number);
                return false;
            }
        }
        true
    };
    let other = thread::spawn({
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        move || usize::from(submit(&pool, &ledger)) + usize::from(submit(&pool, &ledger))
    });
    let by_token = draw(2) == 0;
    if by_token {
        token.cancel();
    } else {
        cancelled.iter().for_each(|(_, handle)| assert!(handle.cancel()));
    }
    let mut entered = 0;
    if draw(2) == 0 {
        // A submitter finds room now, but for what the other one has taken.
        while submit(&pool, &ledger) {
            entered += 1;
        }
        entered += other.join().unwrap();
        assert_eq!((entered, pool.queued()), (queue + 1, queue + 1));
        drop(pause);
    } else {
        drop(pause);
        other.join().unwrap();
        submit(&pool, &ledger);
    }
    for (number, handle) in cancelled {
        assert!(handle.join().unwrap_err().is_cancelled());
        ledger.came_back(number);
    }
    assert!(pool.wait_idle());
    ledger.check(&pool.stats(), 0);
    assert!(pool.shutdown().is_complete());
}

#[test]
fn d18_p03_cancelled_tasks_take_no_room() {
    on_each_dispatch!(cancelled_tasks_take_no_room);
}
