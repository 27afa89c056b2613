//! Tasks that start when others have ended.

use std::error::Error;
use std::sync::Arc;
use std::thread;

use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::tokens::on_a_small_stack;
use crate::support::waking::block_on;
use crate::support::{Count, Gate, eventually, on_every_dispatch, quiet_panics};
use formicary::{
    CancelToken, Context, Dependency, Dispatch, Pool, PoolWithFunc, StatefulPool, SubmitErrorKind, Worker,
    as_completed, wait_any,
};
use parking_lot::Mutex;

/// A value whose drop is counted.
struct Counted(Count);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.up();
    }
}

fn told_the_result<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(2, 10);
    let gate = Gate::new();
    let held = gate.clone();
    let first = pool.spawn(move || {
        held.wait();
        7
    });
    let ran = Count::new();
    let seen = ran.clone();
    let second = first.unwrap().then(&*pool, move |n| {
        seen.up();
        n.unwrap() + 1
    });
    gate.await_arrivals(1);
    // The other worker is idle, and nothing is queued.
    assert_eq!((ran.get(), pool.stats().submitted, pool.stats().queued), (0, 1, 0));
    assert!(!second.is_finished());
    gate.open();
    assert_eq!(second.join().unwrap(), 8);
    assert_eq!((ran.get(), pool.stats().submitted), (1, 2));
    let fails = pool.spawn(|| -> u32 { std::panic::panic_any("no") }).unwrap();
    assert!(fails.then(&*pool, |n| n.unwrap_err().is_panic()).join().unwrap());
    // One that has ended before.
    let first = pool.spawn(|| 7).unwrap();
    assert!(pool.wait_idle());
    assert_eq!(first.then_ok(&*pool, |n| n + 1).join().unwrap(), 8);
    assert_quiet(&pool);
}

#[test]
fn it_starts_after_the_end_with_the_result() {
    on_every_dispatch!(told_the_result);
}

fn failed<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(2, 10);
    let (gate, drops) = (Gate::new(), Count::new());
    let held = gate.clone();
    let fails = pool.spawn(move || -> u32 {
        held.wait();
        std::panic::panic_any("out of tea")
    });
    let captured = Counted(drops.clone());
    let second = fails.unwrap().then_ok(&*pool, move |n| {
        let _captured = captured;
        n + 1
    });
    let third = second.then_ok(&*pool, |n| n + 1);
    gate.open();
    let error = third.join().unwrap_err();
    assert!(error.is_dependency() && error.is_cancelled() && !error.is_panic());
    let texts = crate::support::chain(&error);
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert_eq!(texts[1], "the task panicked: out of tea");
    assert_eq!(drops.get(), 1);
    assert_quiet(&pool);
    // Those that never ran are in no figure.
    assert_eq!((pool.stats().submitted, pool.stats().panicked), (1, 1));
}

#[test]
fn the_first_failure_ends_what_depends_on_it() {
    on_every_dispatch!(failed);
}

/// The error was taken before the dependent task could see it.
fn taken<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(1, 10);
    let mut fails = pool.spawn(|| -> u32 { std::panic::panic_any("no") }).unwrap();
    assert!(pool.wait_idle());
    assert!(fails.try_join().unwrap().is_err());
    let error = pool.spawn_after([&fails], || ()).join().unwrap_err();
    assert!(error.is_dependency() && error.source().is_none());
    // A success that was taken is one.
    let mut works = pool.spawn(|| 7).unwrap();
    assert!(pool.wait_idle());
    assert_eq!(works.try_join().unwrap().unwrap(), 7);
    pool.spawn_after([&works], || ()).join().unwrap();
    let cancelled = {
        let gate = occupy(&pool);
        let queued = pool.spawn(|| ()).unwrap();
        assert!(queued.cancel());
        gate.open();
        queued
    };
    assert!(pool.spawn_after([&cancelled], || ()).join().unwrap_err().is_dependency());
    assert_eq!(pool.spawn_after([cancelled.dependency().even_if_failed()], || 1).join().unwrap(), 1);
    assert_quiet(&pool);
}

#[test]
fn a_result_that_was_taken_is_still_a_success_or_a_failure() {
    on_every_dispatch!(taken);
}

fn of_several<D: Dispatch>() {
    let (pool, other) = (pool::<D>(1, 10), pool::<D>(2, 10));
    let (one, two) = (Gate::new(), Gate::new());
    let (held, waits) = (one.clone(), two.clone());
    let number = other.spawn(move || {
        held.wait();
        7
    });
    let number = number.unwrap();
    let word = other.spawn(move || {
        waits.wait();
        "formica"
    });
    let word = word.unwrap().shared();
    let ran = Count::new();
    let seen = ran.clone();
    let after = pool.spawn_after([Dependency::from(&number), Dependency::from(&word)], move || {
        seen.up();
    });
    one.open();
    eventually("the first has ended", || number.is_finished());
    // It holds no worker: the only one of its pool runs other tasks meanwhile.
    assert_eq!(pool.run(|| 1).unwrap(), 1);
    assert_eq!((ran.get(), pool.stats().submitted), (0, 1));
    // Neither does it matter what becomes of the handles.
    drop(word);
    let mut number = number;
    assert_eq!(number.try_join().unwrap().unwrap(), 7);
    drop(number);
    two.open();
    after.join().unwrap();
    assert_eq!(ran.get(), 1);
    pool.spawn_after(Vec::<Dependency>::new(), || ()).join().unwrap();
    assert_quiet(&pool);
    assert_quiet(&other);
}

#[test]
fn it_starts_after_the_last_of_several() {
    on_every_dispatch!(of_several);
}

/// A handle that is polled, and one that is dropped, leave the place of the dependent task alone.
fn beside<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    for is_polled in [false, true] {
        let gate = Gate::new();
        let held = gate.clone();
        let mut first = pool.spawn(move || held.wait()).unwrap();
        let after = pool.spawn_after([&first], || 7);
        gate.await_arrivals(1);
        if is_polled {
            let waker = crate::support::waking::CountingWaker::new();
            assert!(crate::support::waking::poll_with(std::pin::Pin::new(&mut first), &waker).is_pending());
        }
        drop(first);
        gate.open();
        assert_eq!(after.join().unwrap(), 7);
    }
    assert_quiet(&pool);
}

#[test]
fn a_dropped_handle_does_not_hold_back_what_depends_on_its_task() {
    on_every_dispatch!(beside);
}

fn cancelled<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (gate, drops) = (Gate::new(), Count::new());
    let held = gate.clone();
    let first = pool.spawn(move || held.wait()).unwrap();
    let captured = Counted(drops.clone());
    let second = pool.spawn_after([&first], move || drop(captured));
    gate.await_arrivals(1);
    let third = second.shared();
    let after = pool.spawn_after([&third], || ());
    assert!(third.cancel());
    assert_eq!(drops.get(), 1, "what it captured goes at once");
    assert!(third.join().unwrap_err().is_cancelled());
    assert!(after.join().unwrap_err().is_dependency());
    assert!(!third.cancel());
    // By a token, which ends the wait as well.
    let token = CancelToken::new();
    let captured = Counted(drops.clone());
    let by_token = pool.with().token(&token).spawn_after([&first], move || drop(captured));
    token.cancel();
    let error = by_token.join().unwrap_err();
    assert!(error.is_cancelled() && !error.is_dependency());
    assert_eq!(drops.get(), 2);
    assert!(!first.is_finished());
    gate.open();
    first.join().unwrap();
    assert_quiet(&pool);
    assert_eq!((pool.stats().submitted, pool.stats().cancelled), (1, 0));
}

#[test]
fn cancelling_it_releases_what_it_captured_at_once() {
    on_every_dispatch!(cancelled);
}

/// It waits for room as it waits for the others: without a thread. A cancelled one leaves the wait queue.
fn without_room<D: Dispatch>() {
    let (pool, other) = (pool::<D>(1, 0), pool::<D>(1, 0));
    let first = other.spawn(|| 6).unwrap();
    let gate = occupy(&pool);
    let (drops, ran) = (Count::new(), Count::new());
    let captured = Counted(drops.clone());
    let one = pool.spawn_after([&first], move || drop(captured));
    let seen = ran.clone();
    let two = first.then_ok(&*pool, move |n| n + seen.up());
    eventually("they wait for room", || pool.waiting() == 2);
    assert!(one.cancel());
    assert_eq!((drops.get(), ran.get()), (1, 0));
    // The worker that has ended what it waited for may still poll it.
    eventually("it leaves", || pool.waiting() == 1);
    gate.open();
    assert_eq!(two.join().unwrap(), 7);
    assert_quiet(&pool);
    let limit = std::time::Duration::from_millis(1);
    let gate = occupy(&pool);
    let first = other.spawn(|| ()).unwrap();
    let late = pool.with().room_timeout(limit).spawn_after([&first], || ());
    assert_eq!(late.join().unwrap_err().refusal(), Some(SubmitErrorKind::TimedOut));
    gate.open();
    assert_quiet(&pool);
}

#[test]
fn it_waits_for_room_without_a_thread() {
    on_every_dispatch!(without_room);
}

fn closed<D: Dispatch>() {
    for is_dropped in [false, true] {
        let (target, other) = (pool::<D>(1, 10), pool::<D>(1, 10));
        let (gate, drops) = (Gate::new(), Count::new());
        let held = gate.clone();
        let first = other.spawn(move || held.wait()).unwrap();
        let captured = Counted(drops.clone());
        let after = first.then(&*target, move |_| drop(captured));
        gate.await_arrivals(1);
        if is_dropped {
            drop(target);
        } else {
            assert!(target.shutdown().is_complete());
        }
        gate.open();
        assert_eq!(after.join().unwrap_err().refusal(), Some(SubmitErrorKind::Closed));
        assert_eq!(drops.get(), 1);
        assert_quiet(&other);
    }
    // Entered, and given back by the shutdown.
    let pool = pool::<D>(1, 10);
    let gate = occupy(&pool);
    let after = pool.spawn_after(Vec::<Dependency>::new(), || ());
    assert_eq!(pool.stats().queued, 1);
    let opener = thread::spawn(move || {
        thread::yield_now();
        gate.open();
    });
    let returned = pool.shutdown_now();
    opener.join().unwrap();
    assert_eq!(after.join().is_err(), returned.len() == 1);
}

#[test]
fn a_pool_that_was_closed_meanwhile_refuses_it_and_the_handle_says_so() {
    on_every_dispatch!(closed);
}

fn in_views<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (view, dropped) = (pool.limited(1), pool.limited(1));
    let gate = Gate::new();
    let held = gate.clone();
    let first = pool.spawn(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    let (running, runs) = (Count::new(), 5);
    let all: Vec<_> = (0..runs)
        .map(|n| {
            let running = running.clone();
            view.spawn_after([&first], move || {
                running.up();
                running.down();
                n
            })
        })
        .collect();
    let refused = dropped.spawn_after([&first], || ());
    drop(dropped);
    let cancelled = view.spawn_after([&first], || ());
    assert!(cancelled.cancel());
    gate.open();
    let results: Vec<_> = all.into_iter().map(|handle| handle.join().unwrap()).collect();
    assert_eq!(results, (0..runs).collect::<Vec<_>>());
    assert_eq!(refused.join().unwrap_err().refusal(), Some(SubmitErrorKind::Closed));
    assert_eq!(running.peak(), 1);
    assert!(view.wait_idle());
    assert_eq!((view.stats().completed, view.stats().submitted), (runs, runs));
    assert_quiet(&pool);
}

#[test]
fn it_enters_a_view_as_any_task() {
    on_every_dispatch!(in_views);
}

struct Echo;

impl Worker for Echo {
    type Input = u32;
    type Output = u32;

    fn process(&mut self, n: u32, _: &Context<'_>) -> u32 {
        n
    }
}

fn of_other_kinds<D: Dispatch>() {
    let func = PoolWithFunc::builder(|n: u32| n + 1).workers(1).dispatch::<D>().build().unwrap();
    let states = StatefulPool::builder(|_| Ok(Echo)).workers(1).dispatch::<D>().build().unwrap();
    let first = func.spawn(1).unwrap();
    let second = states.spawn_after([&first], 5);
    let third = func.limited(1).spawn_after([&second], 6);
    // The view is gone, but its task may have entered before.
    drop(third);
    assert_eq!(func.spawn_after([&second], 6).join().unwrap(), 7);
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (2, 5));
}

#[test]
fn pools_of_all_kinds_have_dependent_tasks() {
    on_every_dispatch!(of_other_kinds);
}

/// The only worker of a pool waits for a task that depends on another one in its queue.
fn inside<D: Dispatch>() {
    for queue in [0, 10] {
        let pool = pool::<D>(1, queue);
        let inner = Arc::clone(&pool);
        let waits = pool.spawn(move || {
            let chain = || inner.spawn(|| 1).unwrap().then_ok(&*inner, |n| n + 1).then_ok(&*inner, |n| n + 1);
            let joined = chain().join().unwrap();
            let awaited = block_on(chain()).unwrap();
            let mut several = [chain(), chain()];
            let first = wait_any(&mut several).unwrap();
            let any = several[first].try_join().unwrap();
            let all: u32 = as_completed([chain(), chain()]).map(|(_, n)| n.unwrap()).sum();
            let timed = chain().join_timeout(crate::support::LIMIT).unwrap().unwrap();
            joined + awaited + any.unwrap() + all + timed
        });
        assert_eq!(waits.unwrap().join().unwrap(), 18);
        assert_quiet(&pool);
    }
}

#[test]
fn a_worker_that_waits_for_it_runs_what_it_depends_on() {
    on_every_dispatch!(inside);
}

/// The task waits for room in the pool whose only worker waits for it.
fn inside_without_room<D: Dispatch>() {
    let (pool, other) = (pool::<D>(1, 0), pool::<D>(1, 0));
    let inner = Arc::clone(&pool);
    let waits = pool.spawn(move || other.spawn(|| 1).unwrap().then_ok(&*inner, |n| n + 1).join().unwrap());
    assert_eq!(waits.unwrap().join().unwrap(), 2);
    eventually("its entry has left", || pool.waiting() == 0);
    assert_quiet(&pool);
}

#[test]
fn a_worker_runs_a_task_that_waits_for_room() {
    on_every_dispatch!(inside_without_room);
}

fn many<D: Dispatch>() {
    let pool = pool::<D>(2, 20_000);
    let gate = Gate::new();
    let held = gate.clone();
    let first = pool.spawn(move || held.wait()).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let all: Vec<_> = (0..5000).map(|_| pool.spawn_after([&first], || ())).collect();
    let last = pool.spawn_after(&all, || 7);
    // A chain, in its order.
    let mut chain = first.then(&*pool, |_| ());
    for n in 0..5000 {
        let order = Arc::clone(&order);
        chain = chain.then_ok(&*pool, move |()| order.lock().push(n));
    }
    gate.open();
    assert_eq!(last.join().unwrap(), 7);
    chain.join().unwrap();
    assert!(order.lock().iter().copied().eq(0..5000));
    assert_quiet(&pool);
}

#[test]
fn many_depend_on_one_and_one_on_many() {
    on_every_dispatch!(many);
}

/// A failure goes down a chain of any length without recursion.
#[test]
fn a_long_chain_fails_on_a_small_stack() {
    on_a_small_stack("a chain that fails", || {
        let pool = Pool::builder().workers(1).stack_size(256 * 1024).build().unwrap();
        for is_cancelled in [true, false] {
            let gate = occupy(&pool);
            let first = pool.spawn(|| ()).unwrap().shared();
            let mut last = pool.spawn_after([&first], || ());
            for _ in 0..20_000 {
                last = last.then_ok(&pool, |()| ());
            }
            if is_cancelled {
                assert!(first.cancel());
                assert!(last.join().unwrap_err().is_dependency());
                gate.open();
            } else {
                assert!(last.cancel());
                drop(last);
                gate.open();
            }
            assert!(pool.wait_idle());
        }
    });
}
