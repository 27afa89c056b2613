//! `Builder::grow_when`: a pool that lets its queue get longer before it starts another worker.

use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use formicary::{Dispatch, Nested, Pool, StatefulPool, SubmitErrorKind, Task, WorkerThread};

use crate::support::waking::block_on;
use crate::support::{Gate, LIMIT, RunTask, Setup, await_waiting, for_each, on_every_dispatch, within};

const NEVER: usize = 10_000;

/// A worker more for each `n` tasks of every living one, counted where all living ones are held at a gate.
#[test]
fn workers_start_when_the_queue_is_long_enough() {
    for_each(|variant| {
        let pool = variant.build(Setup { grow_when: 2, ..Setup::roomy(4) });
        let gate = Gate::new();
        let submit = |tasks| {
            for _ in 0..tasks {
                let gate = gate.clone();
                pool.submit(Task::new(move || gate.wait())).unwrap();
            }
        };
        submit(1);
        gate.await_arrivals(1);
        for (before, held) in [(1, 2), (2, 2), (3, 2)] {
            // Each new worker has taken one task, so two more are missing at the next.
            submit(held);
            assert_eq!(pool.stats().spawned, before, "{}", variant.name);
            submit(1);
            assert_eq!(pool.stats().spawned, before + 1, "{}", variant.name);
            gate.await_arrivals(before as usize + 1);
        }
        submit(100);
        assert_eq!(pool.stats().spawned, 4, "{}: no more than the capacity", variant.name);
        gate.open();
        pool.wait_idle();
        assert_eq!(pool.stats().completed, 110);
    });
}

#[test]
fn by_default_a_worker_starts_for_each_task() {
    for_each(|variant| {
        let pool = variant.build(Setup::roomy(3));
        let gate = Gate::new();
        for workers in 1..4 {
            let waits = gate.clone();
            pool.submit(Task::new(move || waits.wait())).unwrap();
            gate.await_arrivals(workers);
            assert_eq!(pool.stats().spawned, workers as u64, "{}", variant.name);
        }
        gate.open();
    });
}

#[test]
fn the_first_worker_starts_at_once_and_a_full_pool_grows() {
    for_each(|variant| {
        let setup = Setup { grow_when: NEVER, min_workers: Some(0), ..Setup::new(2, 1) };
        let pool = variant.build(setup);
        let gate = Gate::new();
        for (tasks, spawned) in [(1, 1), (2, 1), (3, 2)] {
            let waits = gate.clone();
            pool.submit(Task::new(move || waits.wait())).unwrap();
            gate.await_arrivals(1);
            assert_eq!(pool.stats().spawned, spawned, "{}: {tasks} of 3 tasks", variant.name);
        }
        gate.open();
        pool.wait_idle();
        assert_eq!(pool.stats().completed, 3);
    });
}

#[test]
fn a_shutdown_runs_what_is_queued() {
    for_each(|variant| {
        let pool = variant.build(Setup { grow_when: NEVER, ..Setup::roomy(4) });
        for _ in 0..100 {
            pool.submit(Task::new(|| ())).unwrap();
        }
        assert!(pool.shutdown().is_complete());
        let stats = pool.stats();
        assert_eq!((stats.completed, stats.spawned), (100, 1), "{}", variant.name);
    });
}

/// A task waits for one that only another worker can run, in each way that the pool offers. Without a worker for it, it would wait for ever.
#[test]
fn a_task_that_waits_gets_a_worker_for_what_it_waits_for() {
    fn on<D: Dispatch>() {
        let waits: [fn(&StatefulPool<RunTask, D>); 4] = [
            |pool| drop(pool.spawn(Task::new(|| ())).unwrap().join()),
            |pool| assert!(pool.spawn(Task::new(|| ())).unwrap().join_timeout(10 * LIMIT).is_some()),
            |pool| block_on(pool.spawn(Task::new(|| ())).unwrap()).unwrap(),
            |pool| {
                let handles = [(); 3].map(|()| pool.spawn(Task::new(|| ())).unwrap());
                formicary::as_completed(handles).for_each(drop);
            },
        ];
        for wait in waits {
            let builder = StatefulPool::builder(|_| Ok(RunTask)).workers(2).grow_when(NEVER);
            let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
            let inner = Arc::clone(&pool);
            let waited = pool.spawn(Task::new(move || wait(&inner))).unwrap();
            within(LIMIT, "the wait", move || waited.join()).unwrap();
            assert_eq!(pool.stats().spawned, 2);
            // The wait is over, so the pool waits for a longer queue again.
            assert_eq!(pool.stats().capacity, 2);
        }
    }
    on_every_dispatch!(on);
}

/// The task that it waits for is submitted by another one, after the wait has begun.
#[test]
fn a_push_while_a_task_waits_starts_a_worker() {
    fn on<D: Dispatch>() {
        let builder = StatefulPool::builder(|_| Ok(RunTask)).workers(3).grow_when(NEVER);
        let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
        let gate = Gate::new();
        let waits = gate.clone();
        // Runs on the second worker, which is held.
        let inner = Arc::clone(&pool);
        let waiting = pool.spawn(Task::new(move || {
            let held = inner.spawn(Task::new(move || waits.wait())).unwrap();
            held.join().unwrap();
        }));
        gate.await_arrivals(1);
        assert_eq!(pool.stats().spawned, 2);
        let third = pool.spawn(Task::new(|| ())).unwrap();
        within(LIMIT, "the third worker", move || third.join()).unwrap();
        assert_eq!(pool.stats().spawned, 3);
        gate.open();
        waiting.unwrap().join().unwrap();
    }
    on_every_dispatch!(on);
}

/// Closures that wait for each other's results are run by their waiters, and scopes and groups end.
#[test]
fn recursion_ends_on_one_worker() {
    fn on<D: Dispatch>() {
        let pool = Arc::new(Pool::builder().workers(4).grow_when(NEVER).dispatch::<D>().build().unwrap());
        fn sum<D: Dispatch>(pool: &Arc<Pool<D>>, n: u64) -> u64 {
            if n < 2 {
                return n;
            }
            let inner = Arc::clone(pool);
            let half = pool.spawn(move || sum(&inner, n / 2)).unwrap();
            sum(pool, n - n / 2) + half.join().unwrap()
        }
        let inner = Arc::clone(&pool);
        assert_eq!(pool.run(move || sum(&inner, 500)).unwrap(), 500);
        assert!(pool.wait_idle_timeout(Duration::from_secs(60)));
    }
    on_every_dispatch!(on);
}

/// A worker that waits calls the spawn handler, which fills the pool: it waits for room like any submitter, and asks no blocked worker whether
/// it really waits. That worker would be itself.
#[test]
fn a_worker_that_calls_the_handler_does_not_count_as_blocked() {
    fn on<D: Dispatch>() {
        let own = Arc::new(OnceLock::<Weak<StatefulPool<RunTask, D>>>::new());
        let (ended, ends) = channel();
        let fills = Arc::clone(&own);
        let handler = move |thread: WorkerThread| {
            if let Some(pool) = fills.get().and_then(Weak::upgrade) {
                let refusal = std::iter::repeat_with(|| pool.submit(Task::new(|| ()))).find_map(Result::err);
                ended.send(refusal.map(|refusal| refusal.kind())).unwrap();
            }
            std::thread::Builder::new().spawn(|| thread.run()).map(drop)
        };
        let builder = StatefulPool::builder(|_| Ok(RunTask)).workers(2).queue(1).nested(Nested::Bounded);
        let pool = builder.grow_when(NEVER).spawn_handler(handler).dispatch::<D>().build().unwrap();
        let pool = Arc::new(pool);
        own.set(Arc::downgrade(&pool)).unwrap();
        within(LIMIT, "the handler's submitter", move || {
            let inner = Arc::clone(&pool);
            pool.submit(Task::new(move || drop(inner.spawn(Task::new(|| ())).unwrap().join()))).unwrap();
            await_waiting(&*pool, 1);
            drop(pool.shutdown_now());
            assert_eq!(ends.recv().unwrap(), Some(SubmitErrorKind::Closed));
        });
    }
    on_every_dispatch!(on);
}
