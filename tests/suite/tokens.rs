//! Tokens by themselves: trees of them, deadlines, reasons, chains of any length, and waiting for one.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::races::together;
use crate::support::tokens::{SMALL_STACK, cancelled, chain, on_a_small_stack, own_token, past};
use crate::support::{LIMIT, on_every_dispatch, within};
use formicary::{CancelReason, CancelToken, Dispatch, Pool};
use parking_lot::Mutex;

const LINKS: usize = 300_000;

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

/// Cancelling, or setting a deadline, while threads are about to wait: every one of them is woken.
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

/// A thread that sees a token cancelled sees those below it cancelled, while others make children, drop tokens in between, and
/// cancel.
#[test]
fn a_token_is_cancelled_no_later_than_those_above_it() {
    within(LIMIT, "checking", || {
        for round in 0..2000 {
            let root = CancelToken::new();
            let middle = Mutex::new(Some(root.child()));
            let leaf = middle.lock().as_ref().unwrap().child();
            together(4, |n| match n {
                0 if round % 2 == 0 => root.cancel(),
                0 => root.cancel_after(Duration::ZERO),
                1 => drop(middle.lock().take()),
                2 => {
                    let is_cancelled = root.is_cancelled();
                    assert!(leaf.is_cancelled() || !is_cancelled);
                }
                _ => {
                    let below = middle.lock().as_ref().map(CancelToken::child);
                    root.wait();
                    assert!(below.is_none_or(|below| below.is_cancelled() && below.child().is_cancelled()));
                }
            });
            assert!(leaf.is_cancelled());
        }
    });
}

/// Tokens in the middle of a tree are dropped, alone and with others, in any order: a cancel still reaches the tokens below.
#[test]
fn d04_what_is_dropped_in_the_middle_leaves_no_gap() {
    for dropped in 0..1 << 5 {
        let root = CancelToken::new();
        let (left, right) = (root.child(), root.child());
        let (middle, other) = (left.child(), left.child());
        let mut tree = [Some(left), Some(middle.child()), Some(middle), Some(other), Some(right)];
        for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 3, 4, 1]] {
            let leaf = tree[1].as_ref().map(CancelToken::child);
            order.into_iter().filter(|n| dropped & 1 << n != 0).for_each(|n| tree[n] = None);
            let later: Vec<_> = tree.iter().flatten().map(CancelToken::child).collect();
            let time = Instant::now() + LIMIT;
            root.cancel_at(time);
            let mut all = tree.iter().flatten().chain(&later).chain(&leaf);
            assert!(
                all.all(|token| token.deadline().is_some_and(|deadline| deadline <= time) && !token.is_cancelled())
            );
        }
        root.cancel();
        assert!(tree.iter().flatten().all(CancelToken::is_cancelled));
    }
}

/// D04: many children, each of the one before: made, checked, cancelled, and dropped in any order.
#[test]
fn d04_a_long_chain_needs_no_stack() {
    on_a_small_stack("only the last one is held", || {
        let root = CancelToken::new();
        let last = (0..LINKS).fold(root.clone(), |above, _| above.child());
        assert!(!last.is_cancelled());
        root.cancel();
        assert_eq!(last.reason(), Some(CancelReason::Asked));
    });
    on_a_small_stack("dropped downwards", || {
        let chain = chain(LINKS);
        chain[0].cancel_after(LIMIT);
        assert!(chain[LINKS - 1].deadline().is_some());
        drop(chain);
    });
    on_a_small_stack("dropped upwards", || {
        let mut chain = chain(LINKS);
        chain[0].cancel();
        assert!(chain.iter().rev().all(CancelToken::is_cancelled));
        while chain.pop().is_some() {}
    });
}

/// D04: a check costs the same at any depth, and so does waiting for a deadline that is asked for again and again.
#[test]
fn d04_a_look_does_not_walk_the_chain() {
    within(LIMIT, "checks", || {
        let chain = chain(100_000);
        let last = chain.last().unwrap();
        for _ in 0..1_000_000 {
            assert!(last.deadline().is_none() && !last.is_cancelled());
        }
        chain[0].cancel();
        assert!(last.is_cancelled());
    });
}

/// A task that submits the next one with the token that it was given.
fn respawn<D: Dispatch>(pool: &Arc<Pool<D>>, token: &CancelToken, left: usize, done: Sender<CancelToken>) {
    let owner = Arc::clone(pool);
    let spawned = pool.with().token(token).spawn(move || {
        let token = own_token();
        match left {
            0 => done.send(token).unwrap(),
            _ => respawn(&owner, &token, left - 1, done),
        }
    });
    drop(spawned.unwrap());
}

fn respawns<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(2).queue(8).stack_size(SMALL_STACK).dispatch::<D>().build().unwrap());
    let (done, ended) = channel();
    let root = CancelToken::new();
    respawn(&pool, &root, 200_000, done);
    let last = ended.recv().unwrap();
    assert!(!last.is_cancelled());
    root.cancel();
    assert!(last.is_cancelled());
    pool.wait_idle();
}

/// D04: the tokens of a task that respawns itself are no longer chain at the end than at the beginning.
#[test]
fn d04_a_task_that_respawns_itself_makes_no_chain() {
    on_every_dispatch!(respawns);
}

/// A guard cancels its token on any way out, unless it is disarmed; and with the token those below it.
#[test]
fn a_guard_cancels_when_it_is_dropped() {
    let token = CancelToken::new();
    let child = token.child();
    let guard = token.clone().drop_guard();
    assert!(!token.is_cancelled() && format!("{guard:?}").contains("DropGuard"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = guard;
        std::panic::resume_unwind(Box::new("out"));
    }));
    assert!(panicked.is_err() && token.is_cancelled() && child.is_cancelled());

    let token = CancelToken::new();
    let mut below = token.child().drop_guard();
    for _ in 0..3 {
        below = below.disarm().drop_guard();
    }
    let below = below.disarm();
    assert!(!below.is_cancelled());
    drop(below.clone().drop_guard());
    assert!(below.is_cancelled() && !token.is_cancelled());
}
