//! Tokens by themselves: trees of them, deadlines, reasons, and waiting for one.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::thread;
use std::time::{Duration, Instant};

use formicary::{CancelReason, CancelToken};
use support::races::together;
use support::tokens::{cancelled, past};
use support::{LIMIT, within};

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
