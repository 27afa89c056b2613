//! B23: after a burst a pool is as small as before it, in threads and in bytes; a tree of tokens is too.

use std::sync::Arc;
use std::time::Duration;

use crate::support::allocator::{alone, bytes};
use crate::support::{Count, Gate, Setup, assert_conserved, eventually, for_each, on_every_dispatch, threads_named};
use formicary::{CancelToken, Dispatch, Pool};

/// A hundred thousand tasks while the workers are held, and then all of them at once.
const BURST: usize = 100_000;

/// What may be left: lists that are kept, counters; far below the megabytes that the burst takes.
const REST: usize = 64 * 1024;

fn burst(min_workers: usize) {
    for_each(move |variant| {
        let mut setup = Setup::new(8, BURST);
        setup.min_workers = Some(min_workers);
        setup.expiry = Some(Some(Duration::from_millis(20)));
        setup.thread_name = Some("b23burst".into());
        let pool = variant.build(setup);
        let before = bytes();
        let (gate, ran) = (Gate::new(), Count::new());
        (0..8).for_each(|_| pool.submit(gate.task()).unwrap());
        gate.await_arrivals(8);
        (0..BURST).for_each(|_| pool.submit(ran.task()).unwrap());
        let takes = bytes().saturating_sub(before);
        assert_eq!(takes > BURST * size_of::<usize>(), !variant.preallocates, "the burst takes {takes} bytes");
        gate.open();
        assert!(pool.wait_idle());
        eventually("the threads are gone", || threads_named("b23burst") == min_workers);
        eventually("the memory is back", || bytes() < before + REST);
        assert_eq!(ran.get(), BURST);
    });
}

/// B23: threads and memory go back to the minimum, be that one worker or none.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "counts threads in /proc")]
fn b23_after_a_burst_threads_and_memory_go_back() {
    let _alone = alone();
    burst(0);
    burst(1);
}

/// B23: also where no worker ever exits, because the minimum is all there is.
#[test]
fn b23_memory_goes_back_without_a_worker_leaving() {
    let _alone = alone();
    for_each(|variant| {
        let mut setup = Setup::new(1, BURST);
        setup.expiry = Some(Some(Duration::from_millis(20)));
        let pool = variant.build(setup);
        let before = bytes();
        let gate = Gate::new();
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        let ran = Count::new();
        (0..BURST).for_each(|_| pool.submit(ran.task()).unwrap());
        gate.open();
        assert!(pool.wait_idle());
        eventually("the memory is back", || bytes() < before + REST);
    });
}

/// D04: a long-lived token keeps nothing of the children that it had, whether they were many at a time, one after the other, or
/// each a child of the one before.
#[test]
fn d04_a_token_keeps_nothing_of_dropped_children() {
    let _alone = alone();
    for is_cancelled in [false, true] {
        let root = CancelToken::new();
        if is_cancelled {
            root.cancel();
        }
        let kept = root.child();
        let before = bytes();
        let many: Vec<_> = (0..BURST).map(|_| root.child()).collect();
        let pairs: Vec<_> = many.iter().map(|token| [token.child(), token.child()]).collect();
        assert!(bytes() > before + 3 * BURST * size_of::<CancelToken>());
        // What is in the middle goes first, and so stays until one of the two below it goes.
        drop(many);
        drop(pairs);
        (0..BURST).for_each(|_| drop(kept.child()));
        let last = (0..BURST).fold(kept.clone(), |above, _| above.child());
        assert!(bytes() < before + REST, "a chain without a holder");
        drop(last);
        assert!(bytes() < before + REST);
        assert_eq!(kept.is_cancelled(), is_cancelled);
    }
}

/// What a queue holds for tasks that their waiter ran, or that were cancelled, while no worker pops.
fn retracted_tasks<D: Dispatch>() {
    let rounds = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    let builder = Pool::builder().workers(1).dispatch::<D>();
    // A ring needs a bound.
    let pool = Arc::new(if D::NAME == "Ring" { builder } else { builder.unbounded_queue() }.build().unwrap());
    let inner = Arc::downgrade(&pool);
    let most = pool.run(move || {
        let (pool, before) = (inner.upgrade().unwrap(), bytes());
        let round = |n| {
            assert_eq!(pool.spawn(move || n).unwrap().join().unwrap(), n);
            bytes().saturating_sub(before)
        };
        (0..rounds).map(round).max()
    });
    let most = most.unwrap().unwrap();
    assert!(most < REST, "{most} bytes are taken by what has been joined");
    assert!(pool.wait_idle());
    let (pause, before) = (pool.pause(), bytes());
    let live: Vec<_> = (0..10).map(|_| pool.spawn(|| ()).unwrap()).collect();
    for _ in 0..rounds {
        assert!(pool.spawn(|| ()).unwrap().cancel());
    }
    let taken = bytes().saturating_sub(before);
    assert!(taken < REST, "{taken} bytes are taken by what was cancelled");
    assert_eq!((pool.queued(), pool.stats().cancelled), (10, rounds));
    drop(pause);
    live.into_iter().for_each(|handle| handle.join().unwrap());
    assert!(pool.wait_idle());
    assert_conserved(&*pool);
}

/// D18: a loop in a task that joins what it spawns does not take more and more memory, and neither does one that cancels it.
#[test]
fn d18_retracted_tasks_do_not_pile_up() {
    let _alone = alone();
    on_every_dispatch!(retracted_tasks);
}

/// What a view, and the queue of its pool, hold for tasks of the view that their waiter ran, or that were cancelled.
fn cancelled_tasks_of_views<D: Dispatch>() {
    let rounds = if cfg!(debug_assertions) { 20_000 } else { 300_000 };
    for limit in [1, 1_000_000] {
        for (in_view, is_full) in [(false, false), (true, false), (false, true), (true, true)] {
            let builder = Pool::builder().workers(1).dispatch::<D>();
            let is_bounded = is_full || D::NAME == "Ring";
            let pool = Arc::new(if is_bounded { builder } else { builder.unbounded_queue() }.build().unwrap());
            let (view, begins) = (Arc::new(pool.limited(limit)), Gate::new());
            let (own, begun) = (Arc::clone(&view), begins.clone());
            let joins = move || {
                begun.wait();
                let before = bytes();
                let round = |n| {
                    assert_eq!(own.spawn(move || n).unwrap().join().unwrap(), n);
                    bytes().saturating_sub(before)
                };
                (0..rounds).map(round).max()
            };
            let most = if in_view { view.spawn(joins) } else { pool.spawn(joins) }.ok().unwrap();
            begins.await_arrivals(1);
            // The view's task then waits for room in the pool.
            while is_full && pool.try_submit(|| ()).is_ok() {}
            begins.open();
            let most = most.join().unwrap().unwrap();
            assert!(most < REST, "{most} bytes are taken by what has been joined: limit {limit}, {in_view}, {is_full}");
            assert!(view.wait_idle() && pool.wait_idle());
            assert_conserved(&*pool);

            let (pause, before) = (pool.pause(), bytes());
            let live: Vec<_> = (0..10).map(|_| view.spawn(|| ()).unwrap()).collect();
            for _ in 0..rounds {
                assert!(view.spawn(|| ()).unwrap().cancel());
            }
            let taken = bytes().saturating_sub(before);
            assert!(taken < REST, "{taken} bytes are taken by what was cancelled: limit {limit}, {in_view}, {is_full}");
            assert_eq!((view.stats().queued, view.stats().cancelled), (10, rounds));
            drop(pause);
            live.into_iter().for_each(|handle| handle.join().unwrap());
            assert!(view.wait_idle() && pool.wait_idle());
            assert_conserved(&*pool);
        }
    }
}

/// D18: the same for views of a pool.
#[test]
fn d18_cancelled_tasks_of_views_do_not_pile_up() {
    let _alone = alone();
    on_every_dispatch!(cancelled_tasks_of_views);
}
