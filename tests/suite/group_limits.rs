//! Groups beside each other, and what a group's limit does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use crate::support::closures::{assert_quiet, pool};
use crate::support::races::{quiet_panic, shift, together};
use crate::support::{Count, Gate, LIMIT, assert_conserved, eventually, on_every_dispatch, quiet_panics};
use formicary::{CancelToken, Dispatch, Group, SubmitErrorKind};

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

/// A45: a submitter that waits at the limit is refused when the group fails or is cancelled, and when the pool is closed; it gets
/// its closure back.
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
            let spawner = scope.spawn(|| group.spawn(|_| Ok(())).map_err(|refusal| refusal.kind()));
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
        let spawner = scope.spawn(|| group.spawn(|_| Ok(())).unwrap_err().kind());
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

/// An impossible setting panics and says which one and why; so does one that comes too late.
fn bad_settings<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let started = || {
        let group = pool.group::<(), ()>();
        group.spawn(|_| Ok(())).unwrap();
        assert!(group.wait_timeout(LIMIT));
        group
    };
    let group = || pool.group::<(), ()>();
    let late = "for a group: it has accepted 1 tasks";
    let assert_panics = |set: &dyn Fn() -> Group<(), (), D>, expected: &str| {
        let panic = catch_unwind(AssertUnwindSafe(|| drop(set()))).unwrap_err();
        let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref().map(String::as_str));
        assert_eq!(text, Some(expected));
    };
    assert_panics(&|| group().limit(0), "`tasks` is 0: a group with this limit lets nothing in");
    assert_panics(&|| started().limit(3), &format!("`limit` comes too late {late}"));
    assert_panics(&|| started().collect_all(true), &format!("`collect_all` comes too late {late}"));
    // Control: what is said in time.
    let group = group().collect_all(true).limit(usize::MAX).limit(1);
    let (gate, refused) = (Gate::new(), |group: &Group<_, _, D>| group.try_spawn(|_| Ok(())).unwrap_err().is_full());
    let held = gate.clone();
    group
        .spawn(move |_| {
            held.wait();
            Err(())
        })
        .unwrap();
    assert!(refused(&group));
    gate.open();
    assert!(group.wait_timeout(LIMIT) && !group.token().is_cancelled());
    assert_quiet(&pool);
}

#[test]
fn a45_bad_settings_of_a_group_are_panics() {
    on_every_dispatch!(bad_settings);
}

/// Starts `count` threads that each spawn one task, in this order, and returns when all wait at the group's limit.
fn line_up<'s, D: Dispatch>(
    scope: &'s Scope<'s, '_>,
    group: &'s Group<usize, (), D>,
    count: usize,
    task: impl Fn(usize) -> Result<usize, ()> + Clone + Send + 'static,
) -> Vec<ScopedJoinHandle<'s, (Result<(), SubmitErrorKind>, u64)>> {
    let start = |n| {
        let task = task.clone();
        let thread = scope.spawn(move || {
            let before = sleeps();
            let entered = group.spawn(move |_| task(n)).map_err(|refusal| refusal.kind());
            (entered, sleeps() - before)
        });
        eventually("it waits", || group.waiting() == n + 1);
        thread
    };
    (0..count).map(start).collect()
}

/// How often the calling thread has slept (Linux).
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok());
    count.unwrap_or(0)
}

/// D16: submitters that wait at the limit enter in the order in which they came, and each task that ends wakes one of them.
fn in_order<D: Dispatch>() {
    const THREADS: usize = 200;
    let (pool, gate, order) = (pool::<D>(2, 1000), Gate::new(), Arc::new(Mutex::new(Vec::new())));
    let group = pool.group::<usize, ()>().limit(1);
    let held = gate.clone();
    group
        .spawn(move |_| {
            held.wait();
            Ok(THREADS)
        })
        .unwrap();
    let note = Arc::clone(&order);
    let task = move |n| {
        note.lock().unwrap().push(n);
        Ok(n)
    };
    std::thread::scope(|scope| {
        let threads = line_up(scope, &group, THREADS, task);
        gate.open();
        let mut slept = 0;
        for thread in threads {
            let (entered, sleeps) = thread.join().unwrap();
            assert_eq!(entered, Ok(()));
            slept += sleeps;
        }
        // Once each, and a little for locks. Each that was woken with every end would make it some 20,000.
        assert!(slept < 10 * THREADS as u64, "{slept}");
    });
    assert_eq!(group.waiting(), 0);
    assert_eq!(group.wait().unwrap().len(), 1 + THREADS);
    assert!(order.lock().unwrap().iter().copied().eq(0..THREADS));
    assert_quiet(&pool);
}

#[test]
fn d16_one_place_wakes_one_in_order() {
    on_every_dispatch!(in_order);
}

/// D16: a cancelled group refuses all waiting submitters, and one that goes on has room for later ones.
fn sent_away<D: Dispatch>() {
    for fails in [false, true] {
        let (pool, gate) = (pool::<D>(2, 1000), Gate::new());
        let group = pool.group::<usize, ()>().limit(2);
        for _ in 0..2 {
            let held = gate.clone();
            group
                .spawn(move |_| {
                    held.wait();
                    if fails { Err(()) } else { Ok(0) }
                })
                .unwrap();
        }
        gate.await_arrivals(2);
        std::thread::scope(|scope| {
            let threads = line_up(scope, &group, 20, Ok);
            if fails {
                gate.pass(1);
            } else {
                group.cancel();
            }
            for thread in threads {
                assert_eq!(thread.join().unwrap().0, Err(SubmitErrorKind::Cancelled));
            }
        });
        assert_eq!((group.waiting(), group.len()), (0, 2));
        gate.open();
        assert_eq!(group.wait().is_err(), fails);
        assert_quiet(&pool);
    }
}

#[test]
fn d16_a_cancelled_group_sends_all_away() {
    on_every_dispatch!(sent_away);
}

/// D16, B05: the only worker waits at a group's limit behind an outside submitter; when that one is in, the worker runs its task.
fn only_worker_waits<D: Dispatch>() {
    for round in 0..200 {
        let (pool, gate) = (pool::<D>(1, 10), Gate::new());
        let group = Arc::new(pool.group::<_, ()>().limit(1));
        let inner = Arc::clone(&group);
        let busy = gate.clone();
        let worker = pool.spawn(move || {
            busy.wait();
            inner.spawn(|_| Ok(2)).unwrap();
        });
        gate.await_arrivals(1);
        let held = gate.clone();
        group
            .spawn(move |_| {
                held.wait();
                Ok(0)
            })
            .unwrap();
        gate.pass(1);
        gate.await_arrivals(2);
        std::thread::scope(|scope| {
            let outsider = scope.spawn(|| group.spawn(|_| Ok(1)).unwrap());
            eventually("the outsider waits", || group.waiting() == 1);
            shift(Duration::from_micros(round % 10));
            gate.open();
            outsider.join().unwrap();
        });
        worker.unwrap().join().unwrap();
        assert_eq!(Arc::into_inner(group).unwrap().wait().unwrap(), [0, 1, 2]);
        assert_quiet(&pool);
    }
}

#[test]
fn d16_the_only_worker_waits() {
    on_every_dispatch!(only_worker_waits);
}
