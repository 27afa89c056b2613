//! Groups: they fail fast, end when their tasks have ended, and lose nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use formicary::{CancelToken, Dispatch, Group, Pool, SubmitErrorKind, TaskFailure};
use support::races::{quiet_panic, shift, together};
use support::{Count, Gate, LIMIT, assert_conserved, eventually, on_every_dispatch, quiet_panics};

fn pool<D: Dispatch>(workers: usize, queue: usize) -> Arc<Pool<D>> {
    Arc::new(Pool::builder().workers(workers).queue(queue).dispatch::<D>().build().unwrap())
}

fn assert_quiet<D: Dispatch>(pool: &Pool<D>) {
    assert!(pool.wait_idle());
    assert_conserved(pool);
}

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

/// A29: a panic is a failure, too; the first in time is the one that is told, also if a later one comes earlier in order.
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
        assert_eq!(refusal.kind, SubmitErrorKind::Cancelled);
        assert_eq!(Arc::strong_count(&kept), 2, "the closure came back");
        (refusal.task)(&CancelToken::new()).unwrap();
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
    assert!(pool.group::<u8, u8>().limit(0).collect().is_empty());
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
/// parent. Nobody failed, so the error is the first task that never ran.
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

/// A31: the one who waits learns of the cancelling though the group's tasks stand behind others that go on for long.
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

/// A31: a group whose parent has a time limit is cancelled by it while somebody waits.
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

/// A42: a group that collects all: every task runs, and what became of each is there, in order.
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

/// A45: groups of one pool do not see each other: each gets its own values in order, and the failure of one is its own.
fn apart<D: Dispatch>() {
    let pool = pool::<D>(2, 8);
    together(4, |who| {
        for round in 0..20 {
            let group = pool.group();
            let fails = (who + round) % 2 == 0;
            for n in 0..20 {
                let result = group.spawn(move |_| if fails && n == 7 { Err(who) } else { Ok((who, n)) });
                assert!(result.is_ok() || fails && n > 7, "{result:?}");
            }
            match group.wait() {
                Ok(values) => assert!(!fails && values.into_iter().eq((0..20).map(|n| (who, n)))),
                Err(error) => assert_eq!((fails, error.index, error.failure.into_error()), (true, 7, Some(who))),
            }
        }
    });
    assert_quiet(&pool);
}

#[test]
fn a45_groups_share_a_pool() {
    on_every_dispatch!(apart);
}

/// A45: never more of a group at a time than its limit; other groups have the rest of the pool.
fn limited<D: Dispatch>() {
    let (pool, at_work) = (pool::<D>(4, 100), Count::new());
    let (group, gate) = (pool.group::<_, ()>().limit(2), Gate::new());
    let task = |n| {
        let (at_work, gate) = (at_work.clone(), gate.clone());
        move |_: &CancelToken| {
            at_work.up();
            gate.wait();
            at_work.down();
            Ok(n)
        }
    };
    group.try_spawn(task(0)).unwrap();
    group.spawn(task(1)).unwrap();
    assert!(group.try_spawn(task(2)).unwrap_err().is_full());
    gate.await_arrivals(2);
    assert!(pool.group::<_, ()>().limit(1).spawn(|_| Ok(7)).is_ok(), "another group has its own limit");
    std::thread::scope(|scope| {
        let spawner = scope.spawn(|| (2..30).for_each(|n| group.spawn(task(n)).unwrap()));
        gate.pass(1);
        gate.await_arrivals(3);
        gate.open();
        spawner.join().unwrap();
    });
    assert!(group.wait().unwrap().into_iter().eq(0..30));
    assert_eq!(at_work.peak(), 2);
    assert_quiet(&pool);
}

#[test]
fn a45_a_group_keeps_its_limit() {
    on_every_dispatch!(limited);
}

/// A45: who waits at the limit is sent away when the group fails or is cancelled, with the closure; and when the pool is closed.
fn limit_and_end<D: Dispatch>() {
    quiet_panics();
    for how in 0..4 {
        let (pool, gate) = (pool::<D>(1, 10), Gate::new());
        let group = pool.group::<(), ()>().limit(1);
        let wait = gate.clone();
        group
            .spawn(move |_| {
                wait.wait();
                match how {
                    0 => return Err(()),
                    1 => quiet_panic(),
                    _ => {}
                }
                Ok(())
            })
            .unwrap();
        gate.await_arrivals(1);
        std::thread::scope(|scope| {
            let spawner = scope.spawn(|| group.spawn(|_| Ok(())).map_err(|refusal| refusal.kind));
            shift(Duration::from_millis(2));
            match how {
                2 => group.cancel(),
                3 => {
                    scope.spawn(|| pool.shutdown());
                    eventually("closed", || pool.is_closed());
                    gate.open();
                }
                _ => gate.open(),
            }
            let expected = if how == 3 { SubmitErrorKind::Closed } else { SubmitErrorKind::Cancelled };
            assert_eq!(spawner.join().unwrap(), Err(expected), "{how}");
            gate.open();
        });
        assert_eq!(group.wait().is_err(), how < 2, "{how}");
    }
}

#[test]
fn a45_the_end_reaches_who_waits_at_the_limit() {
    on_every_dispatch!(limit_and_end);
}

/// A45: `shutdown_now` takes tasks of a group out: the group fails, its limit's places are free, and the tasks still run.
fn given_back<D: Dispatch>() {
    let (pool, gate, ran) = (pool::<D>(1, 10), Gate::new(), Count::new());
    let wait = gate.clone();
    pool.submit(move || wait.wait()).unwrap();
    gate.await_arrivals(1);
    let group = pool.group::<(), ()>().limit(2);
    for _ in 0..2 {
        let ran = ran.clone();
        group
            .spawn(move |_| {
                ran.up();
                Ok(())
            })
            .unwrap();
    }
    std::thread::scope(|scope| {
        let spawner = scope.spawn(|| group.spawn(|_| Ok(())).unwrap_err().kind);
        let closer = scope.spawn(|| pool.shutdown_now());
        let kind = spawner.join().unwrap();
        assert!(matches!(kind, SubmitErrorKind::Closed | SubmitErrorKind::Cancelled), "{kind}");
        gate.open();
        let returned = closer.join().unwrap();
        assert_eq!(returned.len(), 2);
        returned.into_iter().for_each(formicary::Task::run);
    });
    assert_eq!(ran.get(), 2);
    let error = group.wait().unwrap_err();
    assert!(error.index == 0 && error.failure.is_cancelled());
    assert_conserved(&*pool);
}

#[test]
fn a45_a_group_whose_tasks_are_given_back() {
    on_every_dispatch!(given_back);
}

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

/// B22: a task that takes no notice of the cancelling is waited for all the same.
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
fn b22_who_ignores_the_token_is_waited_for() {
    on_every_dispatch!(stubborn);
}

/// B05: groups in groups finish on a pool of one worker, whatever its queue and the groups' limits.
fn nested<D: Dispatch>() {
    fn leaves<D: Dispatch>(pool: &Arc<Pool<D>>, depth: u32, limit: usize) -> Result<u64, String> {
        if depth == 0 {
            return Ok(1);
        }
        let group = pool.group().limit(limit);
        for _ in 0..3 {
            let inner = Arc::clone(pool);
            group.spawn(move |_| leaves(&inner, depth - 1, limit)).map_err(|error| error.to_string())?;
        }
        group.wait().map(|counts| counts.iter().sum()).map_err(|error| error.to_string())
    }
    for (workers, queue, limit) in [(1, 0, 1), (1, 0, 9), (1, 2, 2), (1, 50, 1), (2, 0, 9), (2, 50, 2), (3, 1, 1)] {
        let pool = pool::<D>(workers, queue);
        let inner = Arc::clone(&pool);
        assert_eq!(pool.run(move || leaves(&inner, 4, limit)).unwrap(), Ok(81), "{workers} {queue} {limit}");
        assert_quiet(&pool);
    }
}

#[test]
fn b05_groups_in_groups_on_one_worker() {
    on_every_dispatch!(nested);
}

/// B05: deeper than a pool goes it refuses, and does not hang.
fn too_deep<D: Dispatch>() {
    fn deeper<D: Dispatch>(pool: &Arc<Pool<D>>, depth: usize) -> Result<usize, usize> {
        let group = pool.group();
        let inner = Arc::clone(pool);
        match group.spawn(move |_| deeper(&inner, depth + 1)) {
            Ok(()) => match group.wait() {
                Ok(values) => Ok(values[0]),
                Err(error) => error.failure.into_error().map_or(Err(depth), Err),
            },
            Err(refusal) => {
                assert_eq!(refusal.kind, SubmitErrorKind::WouldDeadlock);
                Err(depth)
            }
        }
    }
    for queue in [0, 50] {
        let pool = pool::<D>(1, queue);
        let inner = Arc::clone(&pool);
        let depth = pool.run(move || deeper(&inner, 0)).unwrap().unwrap_err();
        assert!((8..64).contains(&depth), "{depth}");
        assert_quiet(&pool);
    }
}

#[test]
fn b05_too_deep_is_refused() {
    on_every_dispatch!(too_deep);
}

/// B05: a task that spawns into its own group, which is at its limit because of it, is refused and does not wait for itself.
fn own_group<D: Dispatch>() {
    for workers in [1, 3] {
        let pool = pool::<D>(workers, 10);
        let group = Arc::new(pool.group::<_, ()>().limit(1));
        let own = Arc::downgrade(&group);
        group.spawn(move |_| Ok(own.upgrade().unwrap().spawn(|_| Ok(None)).err().map(|refusal| refusal.kind))).unwrap();
        eventually("the task is through", || group.wait_timeout(LIMIT) && Arc::strong_count(&group) == 1);
        let group = Arc::into_inner(group).unwrap();
        assert_eq!(group.wait().unwrap(), [Some(SubmitErrorKind::WouldDeadlock)]);
    }
}

#[test]
fn b05_a_full_group_from_inside_itself() {
    on_every_dispatch!(own_group);
}

/// A group that is dropped without waiting: what has not started never runs and is dropped at once; what runs is told and not
/// waited for.
fn dropped<D: Dispatch>() {
    let (pool, gate, ran) = (pool::<D>(1, 10), Gate::new(), Count::new());
    let group = pool.group::<(), ()>();
    let (saw, told) = mpsc::channel();
    let wait = gate.clone();
    group
        .spawn(move |token| {
            wait.wait();
            saw.send(token.is_cancelled()).unwrap();
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
    assert!(told.recv().unwrap());
    assert_quiet(&pool);
    assert_eq!((ran.get(), pool.stats().cancelled), (0, 1));
}

#[test]
fn a45_a_dropped_group_is_cancelled() {
    on_every_dispatch!(dropped);
}

/// A group is the same after it has been waited for with a time limit; its token is untouched by a good end.
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
    let token = group.token().clone();
    assert_eq!(group.wait().unwrap(), [1, 2]);
    assert!(!token.is_cancelled());
}

#[test]
fn a45_waiting_for_so_long() {
    on_every_dispatch!(timed);
}
