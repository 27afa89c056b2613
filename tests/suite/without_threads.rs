//! Pools without threads, for users' tests (feature `test-util`): tasks run on the thread that submits, or when the test steps.
#![cfg(feature = "test-util")]

use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use crate::support::{Count, on_every_dispatch};
use formicary::{Builder, Context, Dispatch, Pool, PoolWithFunc, SubmitErrorKind, Worker};

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn add(&self, what: &'static str) {
        self.0.lock().push(what);
    }

    fn adds(&self, what: &'static str) -> impl FnOnce() + Send + 'static {
        let log = self.clone();
        move || log.add(what)
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock())
    }
}

fn closures<D: Dispatch>() -> Builder<formicary::Closures, D> {
    Pool::builder().dispatch::<D>()
}

fn here() -> thread::ThreadId {
    thread::current().id()
}

fn verbs_run_on_the_caller<D: Dispatch>() {
    let pool = closures::<D>().inline().build().unwrap();
    let log = Log::default();
    pool.submit(log.adds("submit")).unwrap();
    assert_eq!(log.take(), ["submit"]);
    let handle = pool.spawn(here).unwrap();
    assert!(handle.is_finished());
    assert_eq!(handle.join().unwrap(), here());
    assert_eq!(pool.run(here).unwrap(), here());
    pool.try_submit(log.adds("try_submit")).unwrap();
    assert!(pool.submit_all([log.adds("first"), log.adds("second")]).is_ok());
    assert_eq!(log.take(), ["try_submit", "first", "second"]);
    assert_eq!(pool.join(here, here), (here(), here()));
    assert_eq!(pool.install(here), here());
    let (mut left, mut right) = (None, None);
    pool.scope(|scope| {
        scope.spawn(|| left = Some(here()));
        scope.spawn(|| right = Some(here()));
    });
    assert_eq!((left, right), (Some(here()), Some(here())));
    let group = pool.group::<(), ()>();
    (0..3).for_each(|_| group.spawn(|_| Ok(())).unwrap());
    assert!(group.wait().is_ok());
    let squares: Vec<_> = pool.map(0..10_u32, |n| n * n).collect();
    assert_eq!(squares, (0..10).map(|n| n * n).collect::<Vec<_>>());
    assert_eq!(pool.limited(1).run(here).unwrap(), here());
    assert_eq!(
        pool.with()
            .name("named")
            .run(|| Context::with(|cx| cx.name().map(str::to_owned)))
            .unwrap()
            .flatten()
            .as_deref(),
        Some("named")
    );
    let stats = pool.stats();
    assert_eq!((stats.live, stats.queued, stats.failed_starts), (0, 0, 0), "{stats}");
    assert_eq!(stats.submitted, stats.completed, "{stats}");
    assert!(pool.wait_idle() && pool.shutdown().is_complete());
    assert_eq!(pool.submit(|| ()).unwrap_err().kind(), SubmitErrorKind::Closed);
}

#[test]
fn an_inline_pool_runs_every_verb_on_the_caller() {
    on_every_dispatch!(verbs_run_on_the_caller);
}

fn other_kinds<D: Dispatch>() {
    let lengths =
        PoolWithFunc::builder(|word: &'static str| (word.len(), here())).dispatch::<D>().inline().build().unwrap();
    assert_eq!(lengths.run("formica").unwrap(), (7, here()));

    struct Counter(u32);
    impl Worker for Counter {
        type Input = u32;
        type Output = u32;

        fn process(&mut self, n: u32, _cx: &Context<'_>) -> u32 {
            self.0 += n;
            self.0
        }
    }
    let made = Count::new();
    let count = made.clone();
    let factory = move |_worker| {
        count.up();
        Ok(Counter(0))
    };
    let build = formicary::StatefulPool::builder(factory);
    let counting = build.dispatch::<D>().inline().build().unwrap();
    assert_eq!(made.get(), 0);
    // A state serves what is queued when it is there.
    let pause = counting.pause();
    let handles: Vec<_> = (1..=3).map(|n| counting.spawn(n).unwrap()).collect();
    drop(pause);
    let sums: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
    assert_eq!((sums, made.get()), (vec![1, 3, 6], 1));
    assert_eq!((counting.run(5).unwrap(), made.get()), (5, 2));
}

#[test]
fn all_kinds_can_be_inline() {
    on_every_dispatch!(other_kinds);
}

fn in_order<D: Dispatch>() {
    let pool = Arc::new(closures::<D>().inline().build().unwrap());
    let log = Log::default();
    let (inner, notes) = (Arc::clone(&pool), log.clone());
    let outer = move || {
        inner.submit(notes.adds("inner")).unwrap();
        notes.add("outer");
    };
    pool.submit(outer).unwrap();
    assert_eq!(log.take(), ["outer", "inner"]);

    let pause = pool.pause();
    pool.submit(log.adds("paused")).unwrap();
    assert!(log.take().is_empty());
    drop(pause);
    assert_eq!(log.take(), ["paused"]);

    let failed = pool.spawn(|| panic!("broken")).unwrap();
    assert!(failed.join().unwrap_err().is_panic());
    pool.submit(log.adds("goes on")).unwrap();
    assert_eq!((log.take(), pool.stats().panicked), (vec!["goes on"], 1));

    // A task that waits for another one of its pool runs it.
    let inner = Arc::clone(&pool);
    let waits = pool.run(move || inner.spawn(|| 7).unwrap().join().unwrap()).unwrap();
    assert_eq!(waits, 7);
}

#[test]
fn an_inline_pool_keeps_the_order_of_other_pools() {
    on_every_dispatch!(in_order);
}

fn from_many_threads<D: Dispatch>() {
    const EACH: usize = 500;
    let pool = closures::<D>().queue(8).inline().build().unwrap();
    let (ran, now) = (Count::new(), Count::new());
    thread::scope(|scope| {
        let works = || {
            for n in 0..EACH {
                let (ran, now) = (ran.clone(), now.clone());
                let task = move || {
                    now.up();
                    thread::yield_now();
                    now.down();
                    ran.up();
                };
                match n % 3 {
                    0 => pool.submit(task).unwrap(),
                    1 => pool.run(task).unwrap(),
                    _ => pool.spawn(task).unwrap().join().unwrap(),
                }
            }
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(works)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(pool.wait_idle());
    assert_eq!((ran.get(), now.peak()), (4 * EACH, 1));
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed), (4 * EACH as u64, 4 * EACH as u64), "{stats}");
}

#[test]
fn threads_that_share_an_inline_pool_run_one_task_at_a_time() {
    on_every_dispatch!(from_many_threads);
}

fn one_by_one<D: Dispatch>() {
    let pool = Arc::new(closures::<D>().queue(2).stepped().build().unwrap());
    let log = Log::default();
    assert!(!pool.step());
    pool.submit(log.adds("first")).unwrap();
    let second = pool.spawn(log.adds("second")).unwrap();
    let cancelled = pool.spawn(log.adds("cancelled")).unwrap();
    assert_eq!(pool.try_submit(|| ()).unwrap_err().kind(), SubmitErrorKind::Full);
    assert_eq!((pool.queued(), log.take().len()), (3, 0));
    cancelled.cancel();

    let pause = pool.pause();
    assert!(!pool.step());
    drop(pause);
    assert!(log.take().is_empty());
    let mut steps = 0;
    while pool.step() {
        steps += 1;
    }
    let mut ran = log.take();
    ran.sort_unstable();
    assert_eq!(ran, ["first", "second"]);
    assert!((2..=3).contains(&steps), "the stale entry may take a step: {steps}");
    second.join().unwrap();
    assert!(cancelled.join().is_err());

    // What a task submits takes a step of its own; what it waits for does not.
    let (inner, notes) = (Arc::clone(&pool), log.clone());
    let submits = move || {
        inner.submit(notes.adds("later")).unwrap();
        inner.spawn(notes.adds("awaited")).unwrap().join().unwrap();
        inner.join(notes.adds("left"), notes.adds("right"));
        notes.add("end");
    };
    pool.submit(submits).unwrap();
    assert!(pool.step());
    assert_eq!(log.take().last(), Some(&"end"));
    while pool.step() {}
    assert_eq!(pool.queued(), 0);
    let stats = pool.stats();
    assert_eq!((stats.live, stats.running, stats.failed_starts), (0, 0, 0), "{stats}");
    assert_eq!(stats.submitted, stats.completed + stats.cancelled, "{stats}");
}

#[test]
fn a_stepped_pool_runs_a_task_when_it_is_asked_to() {
    on_every_dispatch!(one_by_one);
}

fn in_queue_order<D: Dispatch>() {
    let pool = closures::<D>().stepped().build().unwrap();
    let log = Log::default();
    for name in ["a", "b", "c"] {
        pool.submit(log.adds(name)).unwrap();
    }
    for name in ["a", "b", "c"] {
        assert!(pool.step());
        assert_eq!(log.take(), [name]);
    }
    // A thread that steps is the worker.
    let handle = pool.spawn(here).unwrap();
    let stepped = thread::scope(|scope| scope.spawn(|| (pool.step(), here())).join().unwrap());
    assert_eq!((true, handle.join().unwrap()), stepped);
}

#[test]
fn steps_follow_the_order_of_the_queue() {
    on_every_dispatch!(in_queue_order);
}

fn stepping_threads<D: Dispatch>() {
    const TASKS: usize = 2_000;
    let pool = closures::<D>().queue(TASKS).stepped().build().unwrap();
    let ran = Count::new();
    for _ in 0..TASKS {
        let ran = ran.clone();
        pool.submit(move || _ = ran.up()).unwrap();
    }
    thread::scope(|scope| {
        let steps = || {
            while pool.queued() > 0 {
                pool.step();
            }
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(steps)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(pool.wait_idle());
    assert_eq!((ran.get(), pool.stats().completed), (TASKS, TASKS as u64));
}

#[test]
fn several_threads_may_step() {
    on_every_dispatch!(stepping_threads);
}

fn ends<D: Dispatch>() {
    let queued = |log: &Log| {
        let pool = closures::<D>().stepped().build().unwrap();
        pool.submit(log.adds("ran")).unwrap();
        pool.submit(log.adds("ran")).unwrap();
        pool
    };
    let log = Log::default();
    let pool = queued(&log);
    assert!(pool.shutdown().is_complete());
    assert_eq!(log.take(), ["ran", "ran"]);
    drop(queued(&log));
    assert_eq!(log.take(), ["ran", "ran"]);
    let pool = queued(&log);
    assert_eq!((pool.shutdown_now().len(), log.take().len()), (2, 0));
    assert!(!pool.step());
    // Whoever waits for a result waits for another thread's step.
    let pool = closures::<D>().stepped().build().unwrap();
    thread::scope(|scope| {
        let caller = scope.spawn(|| pool.run(here));
        while !pool.step() {
            thread::yield_now();
        }
        assert_eq!(caller.join().unwrap().unwrap(), here());
    });
}

#[test]
fn a_stepped_pool_ends_with_its_tasks_run_or_given_back() {
    on_every_dispatch!(ends);
}

fn settings<D: Dispatch>() {
    let pool = closures::<D>().inline().workers(8).min_workers(3).build().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.capacity, stats.live), (1, 0));
    assert!(!pool.step());
    let threaded = closures::<D>().workers(1).build().unwrap();
    let pause = threaded.pause();
    threaded.submit(|| ()).unwrap();
    assert!(!threaded.step());
    drop(pause);
    assert!(threaded.wait_idle());
}

#[test]
fn the_size_of_a_pool_without_threads_is_one() {
    on_every_dispatch!(settings);
}
