//! B20: a system that gives no thread, once or for ever, early or late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::races::quiet_panic;
use crate::support::{
    Count, Gate, RunTask, Setup, assert_conserved, eventually, for_each, on_every_dispatch, start_thread,
};
use formicary::{BuildError, Dispatch, StatefulPool, SubmitErrorKind, Task, WorkerPool, WorkerThread};

/// Gives the threads for which `gives` returns true; its argument is the number of the try, from 0.
fn system(mut setup: Setup, gives: impl Fn(usize) -> bool + Send + Sync + 'static) -> Setup {
    let tries = AtomicUsize::new(0);
    setup.spawn_handler = Some(Arc::new(move |thread| start_thread(gives(tries.fetch_add(1, SeqCst)), thread)));
    setup
}

/// Workers are started on demand only, and exit as soon as they are idle.
fn fleeting(workers: usize, queue: usize) -> Setup {
    Setup::fleeting(workers, queue, Duration::from_millis(1))
}

/// B20: at build, no thread at all is an error, and the same builder works when there are threads again.
#[test]
fn b20_build_fails_when_no_worker_can_start() {
    for_each(|variant| {
        let given = Arc::new(AtomicBool::new(false));
        let system_gives = Arc::clone(&given);
        let mut setup = Setup::new(2, 4);
        setup.min_workers = Some(2);
        let setup = system(setup, move |_| system_gives.load(SeqCst));
        let error = variant.try_build(setup.clone()).err().expect("there is no thread");
        assert!(matches!(error, BuildError::Spawn(_)), "{error}");
        given.store(true, SeqCst);
        let (pool, ran) = (variant.build(setup), Count::new());
        pool.submit(ran.task()).unwrap();
        pool.shutdown();
        assert_eq!(ran.get(), 1);
    });
}

/// B20, D22: at build, one refused thread of three is no error; the pool has the others, and gets the third later without load.
#[test]
fn b20_build_succeeds_with_fewer_workers() {
    for refused in 0..3 {
        for_each(move |variant| {
            let mut setup = Setup::new(3, 8);
            setup.min_workers = Some(3);
            let pool = variant.build(system(setup, move |n| n != refused));
            assert!(pool.stats().live >= 2);
            eventually("the third is there", || pool.stats().live == 3);
            assert_eq!(pool.stats().failed_starts, 1);
            let gate = Gate::new();
            (0..3).for_each(|_| pool.submit(gate.task()).unwrap());
            gate.await_arrivals(3);
            gate.open();
        });
    }
}

/// B20: a thread refused later leaves the tasks to the living worker; with threads again, there are more workers.
#[test]
fn b20_a_refused_thread_leaves_the_task_to_the_living() {
    for_each(|variant| {
        let given = Arc::new(AtomicBool::new(true));
        let system_gives = Arc::clone(&given);
        let pool = variant.build(system(Setup::new(2, 8), move |_| system_gives.load(SeqCst)));
        given.store(false, SeqCst);
        let (gate, ran) = (Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        pool.submit(ran.task()).unwrap();
        assert_eq!((pool.queued(), pool.stats().live), (1, 1));
        gate.open();
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 1);

        given.store(true, SeqCst);
        let gate = Gate::new();
        (0..2).for_each(|_| pool.submit(gate.task()).unwrap());
        gate.await_arrivals(2);
        gate.open();
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    });
}

/// B20: with no worker alive the submitter gets the error and the task; the next submit tries again.
#[test]
fn b20_without_any_worker_the_task_comes_back() {
    for_each(|variant| {
        let given = Arc::new(AtomicBool::new(true));
        let system_gives = Arc::clone(&given);
        let pool = variant.build(system(fleeting(2, 4), move |_| system_gives.load(SeqCst)));
        let ran = Count::new();
        pool.submit(ran.task()).unwrap();
        eventually("the worker expires", || pool.stats().live == 0);
        given.store(false, SeqCst);
        for refused in 1..=3 {
            let refusal = pool.submit(ran.task()).unwrap_err();
            assert_eq!(refusal.kind(), SubmitErrorKind::Spawn);
            assert_eq!(pool.stats().failed_starts, refused);
            refusal.into_task().run();
        }
        given.store(true, SeqCst);
        pool.submit(ran.task()).unwrap();
        assert!(pool.wait_idle());
        assert_eq!((ran.get(), pool.stats().rejected), (5, 3));
        assert_conserved(&*pool);
    });
}

/// B20: refused for ever: every way to submit gives the error and does not hang, and the end returns.
#[test]
fn b20_refused_for_ever_is_an_error_each_time() {
    for_each(|variant| {
        let pool = variant.build(system(fleeting(2, 4), |_| false));
        let none = || Task::new(|| ());
        for _ in 0..10 {
            assert_eq!(pool.submit(none()).unwrap_err().kind(), SubmitErrorKind::Spawn);
            assert_eq!(pool.try_submit(none()).unwrap_err().kind(), SubmitErrorKind::Spawn);
            let timed = pool.submit_timeout(none(), Duration::from_secs(1)).unwrap_err();
            assert_eq!(timed.kind(), SubmitErrorKind::Spawn);
            let (accepted, all) = pool.submit_all(&mut (0..3).map(|_| none())).unwrap_err();
            assert_eq!((accepted, all.kind()), (0, SubmitErrorKind::Spawn));
        }
        assert!(pool.wait_idle());
        assert!(pool.shutdown().is_complete());
    });
}

/// B20: every other thread is refused while workers start and exit: what is accepted runs.
#[test]
fn b20_refused_now_and_then_loses_nothing() {
    for_each(|variant| {
        let pool = variant.build(system(fleeting(2, 2), |n| n % 2 == 0));
        let (ran, accepted) = (Count::new(), Count::new());
        for round in 0..100 {
            crate::support::races::together(3, |_| match pool.submit(ran.task()) {
                Ok(()) => _ = accepted.up(),
                Err(refusal) => assert_eq!(refusal.kind(), SubmitErrorKind::Spawn),
            });
            assert!(pool.wait_idle());
            assert_eq!(ran.get(), accepted.get(), "round {round}");
            crate::support::races::shift(Duration::from_micros(900 + 10 * (round % 30)));
        }
    });
}

/// B20: the first thread is refused, and another submitter, which did not wait for it, counts on it: its task runs all the same.
#[test]
fn b20_a_thread_refused_to_one_submitter_strands_no_other() {
    for_each(|variant| {
        let (asked, ran) = (Gate::new(), Count::new());
        let mut setup = fleeting(1, 4);
        let (wait, first) = (asked.clone(), AtomicBool::new(true));
        setup.spawn_handler = Some(Arc::new(move |thread| {
            let refuse = first.swap(false, SeqCst);
            if refuse {
                wait.wait();
            }
            start_thread(!refuse, thread)
        }));
        let pool = variant.build(setup);
        std::thread::scope(|scope| {
            let one = scope.spawn(|| pool.submit(ran.task()).is_ok());
            asked.await_arrivals(1);
            pool.submit(ran.task()).unwrap();
            asked.open();
            let accepted = 1 + usize::from(one.join().unwrap());
            assert!(pool.wait_idle());
            assert_eq!(ran.get(), accepted);
        });
    });
}

/// A task is accepted while the last worker exits, and no thread can be had for its successor. It runs before `end` returns.
fn left_by_the_last_worker(end: fn(&dyn WorkerPool<Task>, &Gate)) {
    for_each(move |variant| {
        let (leaving, ran) = (Gate::new(), Count::new());
        let hook = leaving.clone();
        let mut setup = fleeting(1, 4);
        setup.on_thread_stop = Some(Arc::new(move |_| hook.wait()));
        let pool = variant.build(system(setup, |n| n == 0));
        pool.submit(ran.task()).unwrap();
        leaving.await_arrivals(1);
        let accepted = usize::from(pool.submit(ran.task()).is_ok());
        end(&*pool, &leaving);
        assert_eq!(ran.get(), 1 + accepted);
    });
}

/// B20: a task is accepted while the last worker exits, and then there is no thread for its successor: the task runs.
#[test]
fn b20_a_task_left_by_the_last_worker_runs_without_a_new_thread() {
    left_by_the_last_worker(|pool, leaving| {
        leaving.open();
        assert!(pool.wait_idle());
    });
}

/// B20: the end of the pool runs what was accepted, also when the last worker has exited and no other started.
#[test]
fn b20_shutdown_runs_what_no_thread_came_for() {
    left_by_the_last_worker(|pool, leaving| {
        leaving.open();
        eventually("the last worker is gone", || pool.stats().retired > 0);
        assert!(pool.shutdown().is_complete());
    });
}

/// B20: what was accepted before the threads ran out is run at the end, if need be by the thread that ends the pool.
#[test]
fn b20_shutdown_needs_no_new_thread() {
    for_each(|variant| {
        let setup = Setup { expiry: Some(None), ..fleeting(1, 4) };
        let pool = variant.build(system(setup, |n| n == 0));
        let (gate, ran) = (Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        (0..3).for_each(|_| pool.submit(ran.task()).unwrap());
        std::thread::scope(|scope| {
            let closer = scope.spawn(|| pool.shutdown());
            eventually("closed", || pool.is_closed());
            gate.open();
            assert!(closer.join().unwrap().is_complete());
        });
        assert_eq!(ran.get(), 3);
    });
}

/// B20 and B05: a worker that waits for room must not count on workers that the system refuses.
#[test]
fn b20_a_lone_worker_that_waits_for_room_does_not_hang() {
    for_each(|variant| {
        let pool = variant.build(system(Setup::new(4, 0), |n| n == 0));
        let ran = Count::new();
        let (inner, count) = (Arc::downgrade(&pool), ran.clone());
        pool.submit(Task::new(move || {
            let pool = inner.upgrade().unwrap();
            for _ in 0..10 {
                if let Err(refusal) = pool.submit(count.task()) {
                    assert_eq!(refusal.kind(), SubmitErrorKind::WouldDeadlock);
                    refusal.into_task().run();
                }
            }
        }))
        .unwrap();
        assert!(pool.wait_idle());
        assert_eq!((ran.get(), pool.stats().panicked), (10, 0));
    });
}

/// B05, B20: states cannot be built for a while, and one worker is left. When it has a state again, so can others: it may wait for room
/// in the queue, for one of them is started to make some.
#[test]
fn b05_b20_a_waiting_submitter_gets_help_when_states_can_be_had_again() {
    fn test<D: Dispatch>() {
        let (works, rebuilds, held) = (Arc::new(AtomicBool::new(true)), Gate::new(), Gate::new());
        let (factory_works, rebuilding) = (Arc::clone(&works), rebuilds.clone());
        let survivor = Arc::new(AtomicUsize::new(usize::MAX));
        let survives = Arc::clone(&survivor);
        let builder = StatefulPool::builder(move |worker| {
            if worker == survives.load(SeqCst) {
                rebuilding.wait();
            } else if !factory_works.load(SeqCst) {
                return Err("a test's fault".into());
            }
            Ok(RunTask)
        });
        let setup = Setup { min_workers: Some(2), ..Setup::new(2, 1) };
        let pool = Arc::new(setup.on(builder).dispatch::<D>().build().unwrap());

        // One worker runs a task, at whose end it will need a new state; the other loses its own and cannot have another.
        let (first, mine) = (held.clone(), Arc::clone(&survivor));
        let number = move || std::thread::current().name().unwrap().rsplit('-').next().unwrap().parse().unwrap();
        let first = Task::new(move || {
            mine.store(number(), SeqCst);
            first.wait();
            quiet_panic();
        });
        drop(pool.spawn(first).unwrap());
        held.await_arrivals(1);
        works.store(false, SeqCst);
        drop(pool.spawn(Task::new(quiet_panic)).unwrap().join());
        assert!(pool.run(Task::new(|| ())).is_err());
        eventually("one worker is left", || pool.stats().live == 1);

        // It takes this task, and then the pool is full.
        let (own, count) = (Arc::downgrade(&pool), Count::new());
        let last = count.task();
        let nested = Task::new(move || drop(own.upgrade().unwrap().spawn(last).unwrap()));
        let nested = pool.spawn(nested).unwrap();
        drop(pool.spawn(count.task()).unwrap());
        held.open();
        rebuilds.await_arrivals(1);
        drop(pool.spawn(count.task()).unwrap());
        eventually("one worker is left", || pool.stats().live == 1);

        works.store(true, SeqCst);
        rebuilds.open();
        nested.join().unwrap();
        assert!(pool.wait_idle());
        assert_eq!(count.get(), 3);
        assert_conserved(&*pool);
    }
    on_every_dispatch!(test);
}

/// B20: states that cannot be built while tasks wait are tried no more often in one submit than there may be workers.
#[test]
fn b20_a_submit_tries_no_state_too_often() {
    fn test<D: Dispatch>() {
        let (works, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (factory_works, counter) = (Arc::clone(&works), Arc::clone(&tries));
        let builder = StatefulPool::builder(move |_| {
            counter.fetch_add(1, SeqCst);
            if factory_works.load(SeqCst) { Ok(RunTask) } else { Err("a test's fault".into()) }
        });
        // A worker without a state is gone when its start returns, so there is always a place for the next.
        let is_first = AtomicBool::new(true);
        let start_here = move |thread: WorkerThread| match is_first.swap(false, SeqCst) {
            true => start_thread(true, thread),
            false => {
                thread.run();
                Ok(())
            }
        };
        let setup = Setup { spawn_handler: Some(Arc::new(start_here)), ..Setup::new(3, 8) };
        let pool = setup.on(builder).dispatch::<D>().build().unwrap();
        let (gate, ran) = (Gate::new(), Count::new());
        drop(pool.spawn(gate.task()).unwrap());
        gate.await_arrivals(1);
        works.store(false, SeqCst);
        drop(pool.spawn(ran.task()).unwrap());
        assert_eq!(tries.load(SeqCst), 1 + 3);
        gate.open();
        assert!(pool.wait_idle());
        assert_eq!((ran.get(), pool.stats().live), (1, 1));
    }
    on_every_dispatch!(test);
}
