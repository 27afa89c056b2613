//! The end of a group: it comes after all that had started, and nothing is lost in it.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::support::closures::{assert_quiet, pool};
use crate::support::races::{quiet_panic, shift};
use crate::support::{Count, Gate, LIMIT, on_every_dispatch, quiet_panics};
use formicary::{CancelReason, CancelToken, Dispatch, TaskFailure};

/// B22: waiting never ends before the tasks that had started have: nothing that one captured is alive then, and the pool has
/// counted it.
fn never_before<D: Dispatch>() {
    for round in 0..100 {
        let (pool, gate) = (pool::<D>(3, 10), Gate::new());
        let group = pool.group::<(), ()>();
        let captured = Arc::new(());
        for n in 0..6 {
            let (held, wait) = (Arc::clone(&captured), gate.clone());
            let result = group.spawn(move |_| {
                wait.wait();
                if n > 0 {
                    shift(Duration::from_micros(10 * n * round));
                }
                let _held = held;
                if n == 0 { Err(()) } else { Ok(()) }
            });
            assert!(result.is_ok());
        }
        gate.await_arrivals(3);
        gate.open();
        let started = gate.clone();
        assert_eq!(group.wait().unwrap_err().index, 0);
        assert_eq!(Arc::strong_count(&captured), 1, "all that started have ended, and the rest is dropped");
        let ended = pool.stats().completed as usize;
        assert_eq!(ended, started.arrived(), "what has ended is counted");
        assert_quiet(&pool);
    }
}

#[test]
fn b22_waiting_ends_after_all_that_started() {
    on_every_dispatch!(never_before);
}

/// B22: a task that ignores the cancelling is waited for all the same.
fn stubborn<D: Dispatch>() {
    let (pool, gate, ended) = (pool::<D>(2, 10), Gate::new(), Arc::new(AtomicBool::new(false)));
    let group = pool.group::<(), ()>();
    let (wait, end) = (gate.clone(), Arc::clone(&ended));
    group
        .spawn(move |_| {
            wait.wait();
            end.store(true, SeqCst);
            Ok(())
        })
        .unwrap();
    gate.await_arrivals(1);
    group.spawn(|_| Err(())).unwrap();
    group.token().wait();
    assert!(!group.wait_timeout(Duration::from_millis(5)), "one still runs");
    let waiter = std::thread::spawn(move || group.wait().map_err(|error| error.index));
    shift(Duration::from_millis(5));
    assert!(!waiter.is_finished());
    gate.open();
    assert_eq!(waiter.join().unwrap(), Err(1));
    assert!(ended.load(SeqCst));
}

#[test]
fn b22_a_task_that_ignores_the_token_is_waited_for() {
    on_every_dispatch!(stubborn);
}

/// A42: a group that collects all: every task runs, and every outcome is there, in order.
fn collects_all<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(3, 5);
    let group = pool.group().collect_all(true);
    for n in 0..300_u32 {
        group
            .spawn(move |token| match n % 3 {
                0 => Ok(n),
                1 => Err((n, token.is_cancelled())),
                _ => {
                    quiet_panic();
                    Ok(n)
                }
            })
            .unwrap();
    }
    let results = group.collect();
    assert_eq!(results.len(), 300);
    for (n, result) in (0..).zip(results) {
        match (n % 3, result) {
            (0, Ok(value)) => assert_eq!(value, n),
            (1, Err(TaskFailure::Failed(error))) => assert_eq!(error, (n, false)),
            (2, Err(failure)) => assert!(failure.is_panic()),
            (_, other) => panic!("{n}: {other:?}"),
        }
    }
    assert_quiet(&pool);
}

#[test]
fn a42_everything_is_collected() {
    on_every_dispatch!(collects_all);
}

/// A42: a group that fails fast loses nothing either, if it is asked for all: values from before and from after the failure.
fn collect_after_failure<D: Dispatch>() {
    let (pool, gate) = (pool::<D>(2, 10), Gate::new());
    let group = pool.group();
    let wait = gate.clone();
    group
        .spawn(move |token| {
            wait.wait();
            token.wait();
            Ok("slow")
        })
        .unwrap();
    let wait = gate.clone();
    group
        .spawn(move |_| {
            wait.wait();
            Err("no")
        })
        .unwrap();
    group.spawn(|_| Ok("never")).unwrap();
    gate.await_arrivals(2);
    gate.open();
    let results = group.collect();
    assert!(
        matches!(results[..], [Ok("slow"), Err(TaskFailure::Failed("no")), Err(TaskFailure::Cancelled)]),
        "{results:?}"
    );
}

#[test]
fn a42_values_from_after_a_failure_are_kept() {
    on_every_dispatch!(collect_after_failure);
}

/// A group that is dropped without waiting: tasks that have not started never run and are dropped at once; running ones are
/// cancelled and not waited for.
fn dropped<D: Dispatch>() {
    let (pool, gate, ran) = (pool::<D>(1, 10), Gate::new(), Count::new());
    let group = pool.group::<(), ()>();
    let (sender, receiver) = mpsc::channel();
    let wait = gate.clone();
    group
        .spawn(move |token| {
            wait.wait();
            sender.send(token.is_cancelled()).unwrap();
            Ok(())
        })
        .unwrap();
    let captured = Arc::new(());
    let (held, count) = (Arc::clone(&captured), ran.clone());
    group
        .spawn(move |_| {
            let _held = held;
            count.up();
            Ok(())
        })
        .unwrap();
    gate.await_arrivals(1);
    drop(group);
    assert_eq!(Arc::strong_count(&captured), 1);
    gate.open();
    assert!(receiver.recv().unwrap());
    assert_quiet(&pool);
    assert_eq!((ran.get(), pool.stats().cancelled), (0, 1));
}

#[test]
fn a45_a_dropped_group_is_cancelled() {
    on_every_dispatch!(dropped);
}

/// A group is the same after it has been waited for with a time limit.
fn timed<D: Dispatch>() {
    let (pool, gate) = (pool::<D>(1, 10), Gate::new());
    let group = pool.group::<_, ()>();
    let wait = gate.clone();
    group
        .spawn(move |_| {
            wait.wait();
            Ok(1)
        })
        .unwrap();
    assert!(!group.wait_timeout(Duration::from_millis(1)));
    gate.open();
    assert!(group.wait_timeout(LIMIT));
    group.spawn(|_| Ok(2)).unwrap();
    assert!(!group.token().is_cancelled());
    assert_eq!(group.wait().unwrap(), [1, 2]);
}

#[test]
fn a45_waiting_for_so_long() {
    on_every_dispatch!(timed);
}

/// However a group ends, its token ends with it, and with that its child tokens and their waiters; the parent's token does not.
fn token_ends<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    for how in 0..5 {
        let parent = CancelToken::new();
        let group = pool.group_with::<_, ()>(&parent);
        let (token, child) = (group.token().clone(), group.token().child());
        let other = child.clone();
        let background = std::thread::spawn(move || other.wait_timeout(LIMIT));
        if how < 3 {
            group.spawn(|_| Ok(7)).unwrap();
        }
        assert!(how == 4 || group.wait_timeout(LIMIT));
        assert!(!token.is_cancelled() && !child.is_cancelled(), "before the end");
        match how {
            0 => assert_eq!(group.wait().unwrap(), [7]),
            1 => assert_eq!(*group.collect()[0].as_ref().unwrap(), 7),
            2 | 3 => drop(group),
            _ => assert!(group.wait().unwrap().is_empty()),
        }
        assert!(token.is_cancelled() && child.is_cancelled(), "{how}");
        assert_eq!(token.reason(), Some(CancelReason::Asked));
        assert!(background.join().unwrap());
        assert!(!parent.is_cancelled());
    }
    assert_quiet(&pool);
}

#[test]
fn a45_a_token_ends_with_its_group() {
    on_every_dispatch!(token_ends);
}

/// A capture that panics in its drop, where the group cancels its task: the other tasks are cancelled all the same, and the wait
/// ends after those that run. (Found by the fuzz target `group`.)
fn captures_that_panic_in_their_drop<D: Dispatch>() {
    quiet_panics();
    for waits in [true, false] {
        let (pool, gate, ran) = (pool::<D>(1, 10), Gate::new(), Count::new());
        let group = pool.group::<(), ()>().collect_all(true);
        let wait = gate.clone();
        let running = group.spawn(move |_| {
            wait.wait();
            Ok(())
        });
        assert!(running.is_ok());
        gate.await_arrivals(1);
        for _ in 0..3 {
            let (captured, ran) = (PanicsInDrop, ran.clone());
            let task = move |_: &_| {
                let _ = &captured;
                ran.up();
                Ok(())
            };
            assert!(group.spawn(task).is_ok());
        }
        group.cancel();
        if waits {
            let open = gate.clone();
            let opener = std::thread::spawn(move || {
                shift(Duration::from_millis(5));
                open.open();
            });
            let results = group.collect();
            assert!(results[0].is_ok(), "what runs is waited for");
            assert!(results[1..].iter().all(|result| matches!(result, Err(TaskFailure::Cancelled))));
            opener.join().unwrap();
        } else {
            drop(group);
            gate.open();
        }
        pool.wait_idle();
        assert_eq!((ran.get(), pool.stats().cancelled), (0, 3));
    }
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        quiet_panic();
    }
}

#[test]
fn b22_captures_that_panic_in_their_drop() {
    on_every_dispatch!(captures_that_panic_in_their_drop);
}
