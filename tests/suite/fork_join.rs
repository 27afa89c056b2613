//! Fork and join: closures that borrow, on this worker and on others; their panics; and which tasks a waiting worker runs.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::closures::{assert_quiet, deep_pool, occupy, pool};
use crate::support::{Count, Gate, LIMIT, eventually, on_every_dispatch, quiet_panics, within};
use formicary::{CancelToken, Context, Dispatch, Pool, WorkerThread};

fn fib<D: Dispatch>(pool: &Pool<D>, n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = pool.join(|| fib(pool, n - 1), || fib(pool, n - 2));
    a + b
}

/// Recursion from a thread outside and from a worker, on one worker and on several: all results, and each counted once.
fn recursion<D: Dispatch>() {
    for workers in [1, 2, 4] {
        let pool = pool::<D>(workers, 10);
        assert_eq!(fib(&pool, 16), 987);
        let own = Arc::clone(&pool);
        assert_eq!(pool.run(move || fib(&own, 16)).unwrap(), 987);
        assert_quiet(&pool);
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.panicked), (stats.completed, 0), "{stats:?}");
        assert!(workers > 1 || stats.submitted == 2, "with one worker nothing is stolen: {stats:?}");
    }
}

#[test]
fn joins_nest() {
    on_every_dispatch!(recursion);
}

/// Both closures borrow, and their results come in order.
fn borrows<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (mut left, right) = (vec![1, 2], String::from("three"));
    let (a, b) = pool.join(|| left.pop(), || right.len());
    assert_eq!((a, b, left), (Some(2), 5, vec![1]));
    assert_eq!(pool.install(|| right.len()), 5);
    let words: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let lengths = pool.join_all(words.iter().map(|word| || word.len()));
    assert!(lengths.into_iter().eq(words.iter().map(String::len)));
    assert_eq!(pool.join_all(Vec::<fn() -> u8>::new()), [0_u8; 0]);
    assert_quiet(&pool);
}

#[test]
fn closures_borrow_and_results_are_in_order() {
    on_every_dispatch!(borrows);
}

/// `b` starts on the other worker, though it sleeps: `a` waits for it. Many times, with the worker in each state between spinning and sleep.
fn wakes_a_thief<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    for round in 0..2_000_u64 {
        if round % 4 == 0 {
            crate::support::races::shift(Duration::from_micros(round % 150));
        }
        let has_started = AtomicBool::new(false);
        let (a, b) = pool.join(
            || {
                while !has_started.load(SeqCst) {
                    thread::yield_now();
                }
                thread::current().id()
            },
            || {
                has_started.store(true, SeqCst);
                thread::current().id()
            },
        );
        assert_ne!(a, b);
    }
    assert_quiet(&pool);
    assert_eq!(pool.stats().submitted, 4_000, "what was stolen is a task");
}

#[test]
fn a_sleeping_worker_is_woken_for_a_fork() {
    on_every_dispatch!(wakes_a_thief);
}

/// The panics of each: both closures have ended before the panic goes on, that of `a` before that of `b`, here and on another worker.
fn panics<D: Dispatch>() {
    quiet_panics();
    for workers in [1, 2] {
        let pool = pool::<D>(workers, 10);
        for (a_panics, b_panics) in [(true, false), (false, true), (true, true)] {
            let (ended, stolen) = (Count::new(), AtomicBool::new(workers == 1));
            let joined = catch_unwind(AssertUnwindSafe(|| {
                pool.join(
                    || {
                        while !stolen.load(SeqCst) {
                            thread::yield_now();
                        }
                        ended.up();
                        if a_panics {
                            resume_unwind(Box::new("a"));
                        }
                    },
                    || {
                        stolen.store(true, SeqCst);
                        crate::support::races::shift(Duration::from_millis(1));
                        ended.up();
                        if b_panics {
                            resume_unwind(Box::new("b"));
                        }
                    },
                )
            }));
            let expected = if a_panics { "a" } else { "b" };
            assert_eq!(joined.unwrap_err().downcast_ref(), Some(&expected));
            assert_eq!(ended.get(), 2);
        }
        assert_eq!(pool.join(|| 1, || 2), (1, 2), "the pool goes on");
        let all = catch_unwind(AssertUnwindSafe(|| {
            pool.join_all((0..8).map(|n| move || if n % 3 == 1 { resume_unwind(Box::new(n)) } else { n }))
        }));
        assert_eq!(all.unwrap_err().downcast_ref(), Some(&1));
        let installed = catch_unwind(AssertUnwindSafe(|| pool.install(|| resume_unwind(Box::new(7)))));
        assert_eq!(installed.unwrap_err().downcast_ref(), Some(&7));
        assert_quiet(&pool);
    }
}

#[test]
fn a_panic_goes_on_when_both_have_ended() {
    on_every_dispatch!(panics);
}

/// A result or a payload whose drop panics, beside another panic.
#[test]
fn what_a_panic_leaves_over_is_dropped_safely() {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            resume_unwind(Box::new("dropped"));
        }
    }
    quiet_panics();
    let pool = Pool::new(1).unwrap();
    let joined = catch_unwind(AssertUnwindSafe(|| {
        pool.join(|| resume_unwind(Box::new(1)), || resume_unwind(Box::new(PanicsOnDrop)))
    }));
    assert_eq!(joined.map(|((), ())| ()).unwrap_err().downcast_ref(), Some(&1));
    let joined = catch_unwind(AssertUnwindSafe(|| pool.join(|| PanicsOnDrop, || resume_unwind(Box::new(2)))));
    assert_eq!(joined.map(|(_, ())| ()).unwrap_err().downcast_ref(), Some(&2));
    let joined = catch_unwind(AssertUnwindSafe(|| pool.join(|| resume_unwind(Box::new(3)), || PanicsOnDrop)));
    assert_eq!(joined.map(|((), _)| ()).unwrap_err().downcast_ref(), Some(&3));
}

/// While the pool is paused, a running task goes on with both of its closures, and no other worker starts one.
fn paused<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (gate, own) = (Gate::new(), Arc::clone(&pool));
    let at = gate.clone();
    let task = pool.spawn(move || {
        at.wait();
        let here = thread::current().id();
        let on_here = || thread::current().id() == here;
        own.join(on_here, || own.join(on_here, on_here))
    });
    gate.await_arrivals(1);
    let pause = pool.pause();
    gate.open();
    assert_eq!(task.unwrap().join().unwrap(), (true, (true, true)));
    assert_eq!(pool.stats().submitted, 1);
    drop(pause);
    assert_quiet(&pool);
}

#[test]
fn a_pause_does_not_stop_a_task_that_forks() {
    on_every_dispatch!(paused);
}

/// With a limit of one running task no closure runs beside another; the limit counts what is stolen.
fn tuned_down<D: Dispatch>() {
    let pool = pool::<D>(3, 10);
    assert_eq!(fib(&pool, 12), 144);
    pool.tune(1).unwrap();
    let running = Count::new();
    let check = || {
        running.up();
        crate::support::races::shift(Duration::from_micros(20));
        running.down();
    };
    pool.install(|| (0..200).for_each(|_| _ = pool.join(check, check)));
    assert_eq!(running.peak(), 1);
    pool.tune(3).unwrap();
    assert_eq!(fib(&pool, 12), 144);
    assert!(pool.stats().peak_running <= 3);
    assert_quiet(&pool);
}

#[test]
fn a_limit_counts_stolen_closures() {
    on_every_dispatch!(tuned_down);
}

/// A worker whose closure was stolen runs what the thief forks, and no other task.
fn helps_the_thief<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (unrelated, in_join) = (Count::new(), AtomicBool::new(false));
    let (seen, started, taken) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let wait_for = |flag: &AtomicBool| {
        while !flag.load(SeqCst) {
            thread::yield_now();
        }
    };
    pool.install(|| {
        let first = thread::current().id();
        let count = unrelated.clone();
        pool.join(
            || {
                wait_for(&started);
                in_join.store(true, SeqCst);
                pool.submit(move || _ = count.up()).unwrap();
            },
            || {
                started.store(true, SeqCst);
                wait_for(&in_join);
                // The first worker waits now, or soon. Only it can run this.
                pool.join(
                    || wait_for(&taken),
                    || {
                        taken.store(true, SeqCst);
                        seen.store(usize::from(thread::current().id() == first), SeqCst);
                        assert_eq!(unrelated.get(), 0, "a waiting worker has run a task that is not its own");
                    },
                );
            },
        );
    });
    assert_eq!(seen.load(SeqCst), 1);
    assert!(pool.wait_idle());
    assert_eq!(unrelated.get(), 1);
    assert_quiet(&pool);
}

#[test]
fn a_waiting_worker_helps_the_thief() {
    on_every_dispatch!(helps_the_thief);
}

/// A thief that forks late wakes the worker that waits for it, even after that one has parked.
fn wakes_a_helper<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    for round in 0..50 {
        let (started, taken) = (AtomicBool::new(false), AtomicBool::new(false));
        pool.join(
            || {
                while !started.load(SeqCst) {
                    thread::yield_now();
                }
            },
            || {
                started.store(true, SeqCst);
                crate::support::races::shift(Duration::from_micros(40 * round));
                pool.join(
                    || {
                        while !taken.load(SeqCst) {
                            thread::yield_now();
                        }
                    },
                    || taken.store(true, SeqCst),
                );
            },
        );
    }
    assert_quiet(&pool);
}

#[test]
fn a_helper_is_woken_by_a_late_fork() {
    on_every_dispatch!(wakes_a_helper);
}

/// A pool that refuses: a closed one runs everything on the caller, and so does a full one that does not wait.
fn refused<D: Dispatch>() {
    let pool: Pool<D> = Pool::builder().workers(1).queue(0).nonblocking(true).dispatch().build().unwrap();
    let (gate, here) = (occupy(&pool), thread::current().id());
    let on_here = || thread::current().id() == here;
    assert_eq!(pool.join(on_here, on_here), (true, true));
    assert!(pool.install(on_here));
    assert_eq!(pool.join_all([on_here; 3]), [true; 3]);
    gate.open();
    pool.shutdown();
    assert_eq!(pool.join(on_here, || pool.join(on_here, on_here)), (true, (true, true)));
    quiet_panics();
    let ended = Count::new();
    let joined = catch_unwind(AssertUnwindSafe(|| pool.join(|| resume_unwind(Box::new("a")), || _ = ended.up())));
    assert_eq!(joined.map(|((), ())| ()).unwrap_err().downcast_ref(), Some(&"a"));
    assert_eq!(ended.get(), 1, "both run");
}

#[test]
fn what_a_pool_refuses_runs_on_the_caller() {
    on_every_dispatch!(refused);
}

/// A shutdown during a fork: both closures run, and none is given back.
fn ends_meanwhile<D: Dispatch>() {
    for way in 0..3 {
        let pool = pool::<D>(2, 10);
        let (gate, ran, own) = (Gate::new(), Count::new(), Arc::clone(&pool));
        let (at, counts) = (gate.clone(), ran.clone());
        let task = pool.spawn(move || {
            let first = || {
                at.wait();
                counts.up();
            };
            own.join(first, || (0..10).for_each(|_| _ = own.join(|| counts.up(), || counts.up())));
        });
        gate.await_arrivals(1);
        let ends = thread::spawn({
            let pool = Arc::clone(&pool);
            move || match way {
                0 => drop(pool.shutdown()),
                1 => assert!(pool.shutdown_now().is_empty()),
                _ => drop(pool.shutdown_graceful(LIMIT)),
            }
        });
        eventually("it is closed", || pool.is_closed());
        gate.open();
        task.unwrap().join().unwrap();
        ends.join().unwrap();
        assert_eq!(ran.get(), 21);
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.returned, stats.cancelled), (stats.completed, 0, 0), "{stats:?}");
    }
}

#[test]
fn a_shutdown_gives_no_closure_back() {
    on_every_dispatch!(ends_meanwhile);
}

/// Recursion ten thousand deep, in the first and in the second closure.
fn deep<D: Dispatch>() {
    fn down<D: Dispatch>(pool: &Pool<D>, depth: usize, first: bool) -> usize {
        match (depth, first) {
            (0, _) => 0,
            (_, true) => 1 + pool.join(|| down(pool, depth - 1, first), || ()).0,
            (_, false) => 1 + pool.join(|| (), || down(pool, depth - 1, first)).1,
        }
    }
    let pool = deep_pool::<D>(2, 10);
    for first in [true, false] {
        assert_eq!(pool.install(|| down(&pool, 10_000, first)), 10_000);
    }
    assert_quiet(&pool);
}

#[test]
fn joins_nest_as_deep_as_the_stack() {
    on_every_dispatch!(deep);
}

/// Two pools in each other: each has deques of its own.
fn two_pools<D: Dispatch>() {
    let (one, two) = (pool::<D>(2, 10), pool::<D>(2, 10));
    let sum = one.install(|| {
        let (a, b) = one.join(|| two.install(|| fib(&one, 10) + fib(&two, 10)), || fib(&one, 10));
        a + b
    });
    assert_eq!(sum, 3 * 55);
    assert_quiet(&one);
    assert_quiet(&two);
}

#[test]
fn pools_fork_inside_each_other() {
    on_every_dispatch!(two_pools);
}

/// A thread that works for two pools, one inside the other: each fork goes into the deque of its own pool, and none into that of a pool which
/// the thread has left.
fn works_for_two<D: Dispatch>() {
    let start_here = |thread: WorkerThread| {
        thread.run();
        Ok(())
    };
    let inner = Pool::builder().workers(1).min_workers(0).expiry(Duration::from_millis(1)).spawn_handler(start_here);
    let (outer, inner) = (pool::<D>(1, 10), inner.dispatch::<D>().build().unwrap());
    let forks = |pool: &Pool<D>| assert_eq!(fib(pool, 5), 5);
    outer.install(|| {
        let here = thread::current().id();
        for round in 1..=3 {
            forks(&outer);
            inner.install(|| {
                assert_eq!(thread::current().id(), here);
                forks(&outer);
                forks(&inner);
            });
            assert_eq!(inner.stats().submitted, 2 * round - 1);
            // The thread has left it, and enters it again.
            forks(&inner);
            assert_eq!(inner.stats().submitted, 2 * round);
            forks(&outer);
        }
    });
    assert_eq!(outer.stats().submitted, 1);
    assert_quiet(&outer);
    assert_quiet(&inner);
}

#[test]
fn a_thread_forks_in_the_pool_that_it_works_for() {
    within(LIMIT, "works for two pools", || on_every_dispatch!(works_for_two));
}

/// What runs on the calling worker is a part of its task, with its name and token.
fn context<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let (own, token) = (Arc::clone(&pool), CancelToken::new());
    let names = pool.with().name("outer").token(&token).run(move || {
        let ask = || Context::with(|cx| (cx.name().map(str::to_owned), cx.token().is_some())).unwrap();
        own.join(ask, ask)
    });
    let expected = (Some("outer".to_owned()), true);
    assert_eq!(names.unwrap(), (expected.clone(), expected));
}

#[test]
fn what_runs_on_the_caller_is_a_part_of_its_task() {
    on_every_dispatch!(context);
}

/// Forks beside other tasks, by several threads, with results that own memory; nothing is lost and nothing is left.
fn mixed<D: Dispatch>() {
    let (pool, held) = (pool::<D>(3, 4), Arc::new(()));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for n in 0..100 {
                        let clone = || (0..n % 7).map(|_| Arc::clone(&held)).collect::<Vec<_>>();
                        let (a, b) = pool.join(clone, || pool.join_all((0..n % 5).map(|_| &clone)));
                        assert_eq!(a.len() + b.iter().flatten().count(), (n % 7) * (1 + n % 5));
                        pool.submit(|| ()).unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(pool.wait_idle());
    assert_eq!(Arc::strong_count(&held), 1);
    assert_quiet(&pool);
}

#[test]
fn forks_and_tasks_share_the_workers() {
    on_every_dispatch!(mixed);
}

/// `yield_now` runs one queued task inside the current one.
fn yields<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let (gate, ran) = (Gate::new(), Count::new());
    let (at, count) = (gate.clone(), ran.clone());
    let task = pool.spawn(move || {
        at.wait();
        let mut seen = vec![count.get()];
        while formicary::yield_now() {
            seen.push(count.get());
        }
        seen
    });
    gate.await_arrivals(1);
    (0..3).for_each(|_| pool.with().submit(ran.task()).unwrap());
    gate.open();
    assert_eq!(task.unwrap().join().unwrap(), [0, 1, 2, 3]);
    assert!(!formicary::yield_now());
    assert_quiet(&pool);
}

#[test]
fn a_task_that_yields_lets_one_pass() {
    within(LIMIT, "yields", || on_every_dispatch!(yields));
}
