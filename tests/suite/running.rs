//! Running: panics, what tasks captured, and how many run at a time.

use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

use crate::support::{
    Count, Gate, Setup, assert_conserved, await_waiting, eventually, for_each, on_every_dispatch, quiet_panics,
};
use formicary::{Dispatch, Pool, Task, TaskPanic};
use parking_lot::Mutex;

#[derive(Debug, PartialEq)]
struct Burnt(u32);

/// A task that panics with `Burnt(n)`.
fn burn(n: u32) -> Task {
    Task::new(move || panic_any(Burnt(n)))
}

/// A03
#[test]
fn a03_the_handler_gets_each_panic_once() {
    quiet_panics();
    for_each(|variant| {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let seen = reports.clone();
        let handler = move |panic: &TaskPanic<'_>| {
            let burnt = panic.payload().downcast_ref::<Burnt>().unwrap().0;
            let thread = thread::current().name().unwrap().to_owned();
            seen.lock().push((burnt, panic.worker(), panic.pool().to_owned(), thread));
        };
        let name = format!("{}-pans", formicary::DEFAULT_NAME);
        let panic_handler = Some(Arc::new(handler) as _);
        let pool = variant.build(Setup { panic_handler, thread_name: Some(name.clone()), ..Setup::roomy(1) });
        for n in 0..5 {
            pool.submit(burn(n)).unwrap();
        }
        assert!(pool.wait_idle());
        let expected: Vec<_> = (0..5).map(|n| (n, 0, name.clone(), "formicary-pan-0".to_owned())).collect();
        assert_eq!(*reports.lock(), expected);
        let stats = pool.stats();
        assert_eq!((stats.running, stats.panicked, stats.completed, stats.handler_panics), (0, 5, 0, 0));
    });
}

/// A04
#[test]
fn a04_without_a_handler_the_next_tasks_run() {
    quiet_panics();
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::roomy(2)), Count::new());
        for n in 0..10 {
            pool.submit(burn(n)).unwrap();
            pool.submit(count.task()).unwrap();
        }
        assert!(pool.wait_idle());
        assert_eq!((count.get(), pool.stats().panicked), (10, 10));
        assert_conserved(&*pool);
    });
}

#[test]
fn a_panic_in_the_handler_is_caught_and_counted_too() {
    quiet_panics();
    for_each(|variant| {
        let handler = |_: &TaskPanic<'_>| panic_any("a test's panic");
        let pool = variant.build(Setup { panic_handler: Some(Arc::new(handler)), ..Setup::roomy(1) });
        let count = Count::new();
        for task in [burn(0), count.task(), burn(1), count.task()] {
            pool.submit(task).unwrap();
        }
        assert!(pool.wait_idle());
        let stats = pool.stats();
        assert_eq!((count.get(), stats.panicked, stats.handler_panics), (2, 2, 2));
    });
}

#[test]
fn a_payload_that_panics_when_dropped_is_survived() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_any("a test's panic, in a drop");
        }
    }
    quiet_panics();
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::roomy(1)), Count::new());
        pool.submit(Task::new(|| panic_any(Bomb))).unwrap();
        pool.submit(count.task()).unwrap();
        assert!(pool.wait_idle());
        assert_eq!((count.get(), pool.stats().panicked), (1, 1));
        assert_conserved(&*pool);
    });
}

/// As many tasks run at once after the panics as before them, on the same number of workers.
#[test]
fn panics_cost_no_capacity_and_let_the_blocked_in() {
    quiet_panics();
    for_each(|variant| {
        let pool = variant.build(Setup::new(3, 0));
        let (fuse, gate) = (Gate::new(), Gate::new());
        for n in 0..3 {
            let fuse = fuse.clone();
            let task = move || {
                fuse.wait();
                panic_any(Burnt(n));
            };
            pool.submit(Task::new(task)).unwrap();
        }
        let blocked: Vec<_> = (0..3)
            .map(|_| {
                let (pool, task) = (pool.clone(), gate.task());
                thread::spawn(move || pool.submit(task))
            })
            .collect();
        await_waiting(&*pool, 3);
        for let_in in 1..=3 {
            fuse.pass(1);
            gate.await_arrivals(let_in);
        }
        assert_eq!((pool.running(), pool.stats().panicked, pool.stats().live), (3, 3, 3));
        gate.open();
        assert!(blocked.into_iter().all(|submitter| submitter.join().unwrap().is_ok()));
        pool.wait_idle();
        assert_conserved(&*pool);
    });
}

/// A17
#[test]
fn a17_ten_tasks_that_wait_for_each_other_finish_on_ten_workers() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(10, 0));
        let meet = Arc::new(Barrier::new(10));
        for _ in 0..10 {
            let meet = meet.clone();
            let task = move || {
                meet.wait();
            };
            pool.submit(Task::new(task)).unwrap();
        }
        assert!(pool.wait_idle());
        assert_eq!((pool.stats().completed, pool.stats().peak_running), (10, 10));
    });
}

/// A34
#[test]
fn a34_what_tasks_captured_is_released_while_the_pool_lives() {
    quiet_panics();
    for_each(|variant| {
        let pool = variant.build(Setup::roomy(2));
        let value = Arc::new([0_u8; 100]);
        for n in 0..200 {
            let value = value.clone();
            // Of two sizes: small closures and large ones are stored differently.
            let task = match n % 2 {
                0 => Task::new(move || assert!(value[0] == 0 && n % 10 != 0, "a test's panic")),
                _ => {
                    let padding = [n; 100];
                    Task::new(move || assert_eq!(padding[0], padding[99] + usize::from(value[0])))
                }
            };
            pool.submit(task).unwrap();
        }
        assert!(pool.wait_idle());
        assert_eq!((pool.stats().completed, pool.stats().panicked), (180, 20));
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

/// A gate holds the drop, and meanwhile the task has not ended.
#[test]
fn a_capture_is_dropped_on_the_worker_before_its_task_counts_as_completed() {
    struct HeldDrop(Gate, Arc<AtomicBool>);
    impl Drop for HeldDrop {
        fn drop(&mut self) {
            self.1.store(thread::current().name().is_some_and(|name| name.starts_with("formicary-")), SeqCst);
            self.0.wait();
        }
    }
    for_each(|variant| {
        let (pool, gate, on_worker) = (variant.build(Setup::new(1, 1)), Gate::new(), Arc::new(AtomicBool::new(false)));
        let held = HeldDrop(gate.clone(), on_worker.clone());
        // Inside the task it is only read: it is dropped with the closure.
        pool.submit(Task::new(move || assert_eq!(held.0.arrived(), 0))).unwrap();
        gate.await_arrivals(1);
        let stats = pool.stats();
        assert_eq!((stats.running, stats.completed), (1, 0));
        assert!(on_worker.load(SeqCst));
        gate.open();
        pool.wait_idle();
        assert_eq!(pool.stats().completed, 1);
    });
}

/// A40
#[test]
fn a40_limits_are_never_exceeded() {
    for_each(|variant| {
        for limit in [1, 10, 100] {
            let (threads, tasks) = (Count::new(), Count::new());
            let (up, down) = (threads.clone(), threads.clone());
            let pool = variant.build(Setup {
                on_thread_start: Some(Arc::new(move |_| assert!(up.up() > 0))),
                on_thread_stop: Some(Arc::new(move |_| down.down())),
                ..Setup::new(limit, limit)
            });
            let submitters: Vec<_> = (0..8)
                .map(|_| {
                    let (pool, tasks) = (pool.clone(), tasks.clone());
                    thread::spawn(move || {
                        for _ in 0..250 {
                            let tasks = tasks.clone();
                            let task = move || {
                                tasks.up();
                                thread::yield_now();
                                tasks.down();
                            };
                            pool.submit(Task::new(task)).unwrap();
                        }
                    })
                })
                .collect();
            submitters.into_iter().for_each(|submitter| submitter.join().unwrap());
            assert!(pool.shutdown().is_complete());
            let stats = pool.stats();
            assert_eq!(stats.completed, 2000);
            assert!(tasks.peak() <= limit && stats.peak_running <= limit, "{} of {limit} ran", tasks.peak());
            assert!(threads.peak() <= limit, "{} of {limit} threads", threads.peak());
            assert_eq!(threads.get(), 0);
        }
    });
}

/// The counterpart of A40: the limit is also reached.
#[test]
fn the_capacity_is_used_up_to_the_limit() {
    for_each(|variant| {
        for limit in [1, 10, 100] {
            let (pool, gate) = (variant.build(Setup::roomy(limit)), Gate::new());
            for _ in 0..2 * limit {
                pool.submit(gate.task()).unwrap();
            }
            gate.await_arrivals(limit);
            assert_eq!((pool.running(), pool.queued(), gate.arrived()), (limit, limit, limit));
            gate.open();
            eventually("all have run", || pool.stats().completed == 2 * limit as u64);
            assert_eq!(pool.stats().peak_running, limit);
        }
    });
}

/// `peak_running` is what ran at one moment, and not what was ending as well: one by one it is 1, in a group its limit at the most;
/// and it includes all tasks that wait for each other.
fn peak_is_exact<D: Dispatch>() {
    let pool = Pool::builder().workers(16).min_workers(16).queue(100).dispatch::<D>().build().unwrap();
    let peak = || pool.stats().peak_running;
    for n in 0..2000 {
        match n % 3 {
            0 => pool.run(|| ()).unwrap(),
            1 => pool.spawn(|| ()).unwrap().join().unwrap(),
            _ => {
                pool.submit(|| ()).unwrap();
                assert!(pool.wait_idle());
            }
        }
        assert_eq!(peak(), 1);
    }
    for limit in [2, 10] {
        for _ in 0..3 {
            let (group, at_work) = (pool.group::<_, ()>().limit(limit), Count::new());
            let task = || {
                let at_work = at_work.clone();
                move |_: &_| {
                    at_work.up();
                    at_work.down();
                    Ok(())
                }
            };
            thread::scope(|threads| {
                for _ in 0..4 {
                    threads.spawn(|| (0..500).for_each(|_| group.spawn(task()).unwrap()));
                }
            });
            group.wait().unwrap();
            assert!(at_work.peak() <= limit && peak() <= limit, "{} and {} of {limit}", at_work.peak(), peak());
        }
        let limit = limit + 1;
        for _ in 0..3 {
            let meet = Arc::new(Barrier::new(limit));
            for _ in 0..limit {
                let meet = Arc::clone(&meet);
                let task = move || {
                    meet.wait();
                };
                pool.submit(task).unwrap();
            }
            assert!(pool.wait_idle());
            assert_eq!(peak(), limit);
        }
    }
}

#[test]
fn a40_the_peak_is_what_ran_at_one_moment() {
    on_every_dispatch!(peak_is_exact);
}
