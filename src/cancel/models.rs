//! loom models of a token tree: cancelling and setting deadlines while tokens are created and dropped.
//!
//! Run by `ci/loom.sh`.

use std::sync::Mutex as StdMutex;
use std::time::Instant;

use loom::thread;

use super::CancelToken;
use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicUsize, Ordering};

/// Runs each body on its own thread. In the first execution of a model they run one after the other in this order. loom
/// remembers only the last access to a value, so readers must come after writers, or loom does not see the conflict.
fn in_any_order<const N: usize>(bodies: [Box<dyn FnOnce() + Send>; N]) {
    let threads = bodies.map(thread::spawn);
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

/// A token in the middle of the tree gets a child and is dropped while the root is cancelled: all tokens below are cancelled.
#[test]
fn a_cancel_reaches_past_what_is_being_dropped() {
    explore(3, || {
        let root = CancelToken::new();
        let middle = root.child();
        let leaf = middle.child();
        let cancels = move || root.cancel();
        let made = Arc::new(StdMutex::new(None));
        let makes = {
            let made = Arc::clone(&made);
            move || {
                let later = middle.child();
                drop(middle);
                *made.lock().expect("no panic") = Some(later);
            }
        };
        in_any_order([Box::new(cancels), Box::new(makes)]);
        let later = made.lock().expect("no panic").take();
        assert!(leaf.is_cancelled() && later.is_some_and(|later| later.is_cancelled()));
    });
}

/// Two threads drop children of a token without handles, so that one of them removes it; the remaining child is still cancelled
/// with the root.
#[test]
fn a_branch_is_taken_out_while_it_is_cancelled() {
    explore(3, || {
        let root = CancelToken::new();
        let middle = root.child();
        let (first, second, last) = (middle.child(), middle.child(), middle.child());
        drop(middle);
        let canceller = root.clone();
        in_any_order([Box::new(move || canceller.cancel()), Box::new(|| drop(first)), Box::new(|| drop(second))]);
        assert!(last.is_cancelled());
        drop(last);
        assert!(root.0.is_childless(), "a node is left");
    });
}

/// A thread that sees a token cancelled sees those below it cancelled, and what the cancelling thread did before.
#[test]
fn a_cancel_is_seen_from_below() {
    explore(3, || {
        let root = CancelToken::new();
        let (child, done) = (root.child(), Arc::new(AtomicUsize::new(0)));
        let cancels = {
            let (root, done) = (root.clone(), Arc::clone(&done));
            move || {
                done.store(1, Ordering::Relaxed);
                root.cancel();
            }
        };
        let checks = move || {
            let is_cancelled = root.is_cancelled();
            let below = child.is_cancelled();
            assert!(below || !is_cancelled);
            assert!(!below || done.load(Ordering::Relaxed) == 1);
        };
        in_any_order([Box::new(cancels), Box::new(checks)]);
    });
}

/// Two threads cancel: when either call returns, the tokens below are cancelled.
#[test]
fn a_second_cancel_waits_for_the_first() {
    explore(3, || {
        let root = CancelToken::new();
        let child = root.child();
        let cancels = || {
            let (root, child) = (root.clone(), child.clone());
            move || {
                root.cancel();
                assert!(child.is_cancelled() && child.child().is_cancelled());
            }
        };
        in_any_order([Box::new(cancels()), Box::new(cancels())]);
    });
}

/// An expired deadline is set on the parent: the same holds, and a thread that waits for the child is woken.
#[test]
fn a_deadline_is_seen_from_below() {
    explore(3, || {
        let root = CancelToken::new();
        let child = root.child();
        let sets = {
            let root = root.clone();
            move || root.cancel_at(Instant::now())
        };
        let waits = {
            let child = child.clone();
            move || child.wait()
        };
        let checks = move || {
            let is_cancelled = root.is_cancelled();
            assert!(child.is_cancelled() || !is_cancelled);
        };
        in_any_order([Box::new(sets), Box::new(waits), Box::new(checks)]);
    });
}
