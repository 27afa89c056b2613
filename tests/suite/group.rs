//! Groups: they fail fast, and are cancelled from inside and outside.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::support::closures::{assert_quiet, pool};
use crate::support::races::{quiet_panic, shift};
use crate::support::{Count, Gate, LIMIT, on_every_dispatch, quiet_panics};
use formicary::{CancelToken, Dispatch, Group, SubmitErrorKind, TaskFailure};

/// A29: the first error cancels: what has not started never runs, what runs sees it, and the error says which task it was.
fn fails_fast<D: Dispatch>() {
    let (pool, gate, ran) = (pool::<D>(2, 100), Gate::new(), Count::new());
    let group = pool.group::<u32, &str>();
    let (saw, told) = mpsc::channel();
    let wait = gate.clone();
    group
        .spawn(move |token| {
            wait.wait();
            saw.send(token.wait_timeout(LIMIT)).unwrap();
            Ok(0)
        })
        .unwrap();
    let wait = gate.clone();
    group
        .spawn(move |_| {
            wait.wait();
            Err("second")
        })
        .unwrap();
    for n in 2..50 {
        let ran = ran.clone();
        group
            .spawn(move |_| {
                ran.up();
                Ok(n)
            })
            .unwrap();
    }
    gate.await_arrivals(2);
    gate.open();
    let error = group.wait().unwrap_err();
    assert_eq!((error.index, error.failure.into_error()), (1, Some("second")));
    assert!(told.recv().unwrap(), "a running task sees it");
    assert_eq!(ran.get(), 0);
    assert_quiet(&pool);
    assert_eq!(pool.stats().cancelled, 48);
}

#[test]
fn a29_the_first_error_cancels_the_rest() {
    on_every_dispatch!(fails_fast);
}

/// A29: a panic is a failure, too. The first failure in time is reported, even if a later one comes earlier in the order of tasks.
fn first_in_time<D: Dispatch>() {
    quiet_panics();
    let (pool, gate) = (pool::<D>(2, 10), Gate::new());
    let group = pool.group::<(), u8>();
    let wait = gate.clone();
    group
        .spawn(move |token| {
            wait.wait();
            token.wait();
            Err(7)
        })
        .unwrap();
    let wait = gate.clone();
    group
        .spawn(move |_| {
            wait.wait();
            quiet_panic();
            Ok(())
        })
        .unwrap();
    gate.await_arrivals(2);
    gate.open();
    let error = group.wait().unwrap_err();
    assert_eq!(error.index, 1);
    let TaskFailure::Panicked(panic) = error.failure else { panic!("it panicked") };
    assert_eq!(panic.into_panic().unwrap().downcast_ref(), Some(&"a test's panic"));
    assert_quiet(&pool);
    assert_eq!(pool.stats().panicked, 1);
}

#[test]
fn a29_the_first_failure_in_time_is_told() {
    on_every_dispatch!(first_in_time);
}

/// A29: after a failure nothing more gets in, and the closure comes back.
fn refused_after<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let group = pool.group::<(), ()>();
    group.spawn(|_| Err(())).unwrap();
    group.token().wait();
    let kept = Arc::new(());
    for refused in [Group::spawn::<Boxed>, Group::try_spawn::<Boxed>] {
        let held = Arc::clone(&kept);
        let refusal = refused(
            &group,
            Box::new(move |_| {
                drop(held);
                Ok(())
            }),
        )
        .unwrap_err();
        assert_eq!(refusal.kind(), SubmitErrorKind::Cancelled);
        assert_eq!(Arc::strong_count(&kept), 2, "the closure came back");
        refusal.into_task()(&CancelToken::new()).unwrap();
    }
    assert_eq!(group.len(), 1);
    assert_eq!(group.wait().unwrap_err().index, 0);
    assert_quiet(&pool);
}

type Boxed = Box<dyn FnOnce(&CancelToken) -> Result<(), ()> + Send>;

#[test]
fn a29_a_failed_group_refuses() {
    on_every_dispatch!(refused_after);
}

/// A30: an empty group ends at once, also on a pool that is paused, and also inside its only worker.
fn empty<D: Dispatch>() {
    let pool = pool::<D>(1, 1);
    let pause = pool.pause();
    assert!(pool.group::<u8, u8>().wait().unwrap().is_empty());
    assert!(pool.group::<u8, u8>().limit(1).collect().is_empty());
    assert!(pool.group::<u8, u8>().wait_timeout(Duration::ZERO));
    let cancelled = pool.group::<u8, u8>();
    cancelled.cancel();
    assert!(cancelled.wait().unwrap().is_empty());
    drop(pause);
    let inner = Arc::clone(&pool);
    assert!(pool.run(move || inner.group::<u8, u8>().wait().unwrap().is_empty()).unwrap());
}

#[test]
fn a30_an_empty_group_ends_at_once() {
    on_every_dispatch!(empty);
}

/// A31: stopping from inside, by the token that is given and by a clone that was captured; from outside by the group and by a
/// parent. No task failed, so the error is the first task that never ran.
fn cancelled<D: Dispatch>() {
    for how in 0..4 {
        let (pool, gate, ran, parent) = (pool::<D>(1, 10), Gate::new(), Count::new(), CancelToken::new());
        let group = pool.group_with::<(), ()>(&parent);
        let (wait, own) = (gate.clone(), group.token().clone());
        group
            .spawn(move |token| {
                wait.wait();
                match how {
                    0 => token.cancel(),
                    1 => own.cancel(),
                    _ => {}
                }
                Ok(())
            })
            .unwrap();
        for _ in 0..3 {
            let ran = ran.clone();
            group
                .spawn(move |_| {
                    ran.up();
                    Ok(())
                })
                .unwrap();
        }
        gate.await_arrivals(1);
        match how {
            2 => group.cancel(),
            3 => parent.cancel(),
            _ => {}
        }
        gate.open();
        let error = group.wait().unwrap_err();
        assert!(error.failure.is_cancelled(), "{how}: {error:?}");
        assert_eq!((error.index, ran.get()), (1, 0), "{how}");
        assert_eq!(parent.is_cancelled(), how == 3, "a group does not cancel its parent");
        assert_quiet(&pool);
    }
}

#[test]
fn a31_a_group_is_cancelled_from_inside_and_outside() {
    on_every_dispatch!(cancelled);
}

/// A31: the waiting thread learns of the cancelling though the group's tasks are queued behind long ones.
fn cancelled_while_waiting<D: Dispatch>() {
    let (pool, gate) = (pool::<D>(1, 10), Gate::new());
    pool.submit({
        let gate = gate.clone();
        move || gate.wait()
    })
    .unwrap();
    gate.await_arrivals(1);
    let group = pool.group::<(), ()>();
    let captured = Arc::new(());
    let held = Arc::clone(&captured);
    group
        .spawn(move |_| {
            drop(held);
            Ok(())
        })
        .unwrap();
    assert!(!group.wait_timeout(Duration::from_millis(1)));
    let token = group.token().clone();
    let canceller = std::thread::spawn(move || {
        shift(Duration::from_millis(5));
        token.cancel();
    });
    assert!(group.wait().unwrap_err().failure.is_cancelled());
    assert_eq!(Arc::strong_count(&captured), 1, "what it had captured is dropped");
    canceller.join().unwrap();
    gate.open();
    assert_quiet(&pool);
}

#[test]
fn a31_cancelling_reaches_the_waiting() {
    on_every_dispatch!(cancelled_while_waiting);
}

/// A31: a group whose parent has a time limit is cancelled by it while a thread waits.
fn parent_deadline<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let pause = pool.pause();
    let parent = CancelToken::new();
    let group = pool.group_with::<(), ()>(&parent);
    group.spawn(|_| Ok(())).unwrap();
    parent.cancel_after(Duration::from_millis(5));
    assert!(group.wait().unwrap_err().failure.is_cancelled());
    drop(pause);
    assert_quiet(&pool);
}

#[test]
fn a31_a_parent_s_time_limit() {
    on_every_dispatch!(parent_deadline);
}
