//! B23: after a burst a pool is as small as before it, in threads and in bytes; a tree of tokens is too.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::time::Duration;

use formicary::CancelToken;
use parking_lot::Mutex;
use support::allocator::{Counting, bytes};
use support::{Count, Gate, Setup, eventually, for_each, threads_named};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A hundred thousand tasks while the workers are held, and then all of them at once.
const BURST: usize = 100_000;

/// What may be left: lists that are kept, counters; far below the megabytes that the burst takes.
const REST: usize = 64 * 1024;

/// One test at a time: the bytes are counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

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
fn b23_after_a_burst_threads_and_memory_go_back() {
    let _alone = ALONE.lock();
    burst(0);
    burst(1);
}

/// B23: also where no worker ever leaves, because the minimum is all there is.
#[test]
fn b23_memory_goes_back_without_a_worker_leaving() {
    let _alone = ALONE.lock();
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

/// D04: a token that lives on keeps nothing of the children that it had, be they many at a time, one after the other, or each a child
/// of the one before.
#[test]
fn d04_a_token_keeps_nothing_of_children_that_are_gone() {
    let _alone = ALONE.lock();
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
        assert!(bytes() < before + REST, "a chain that nobody holds");
        drop(last);
        assert!(bytes() < before + REST);
        assert_eq!(kept.is_cancelled(), is_cancelled);
    }
}
