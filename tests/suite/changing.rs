//! Changing and observing a pool: resizing, pausing, waiting for idleness, the figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Count, Gate, LIMIT, Setup, assert_conserved, await_waiting, eventually, for_each, quiet_panics};
use formicary::{MAX_WORKERS, ShardStats, Stats, Task};

/// Long enough for a wrong event to happen. Never the cause of a failure.
const MOMENT: Duration = Duration::from_millis(10);

/// A11
#[test]
fn a11_growing_lets_blocked_submitters_in() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(2, 0)), Gate::new());
        let submitters: Vec<_> = (0..8)
            .map(|_| {
                let (pool, task) = (pool.clone(), gate.task());
                thread::spawn(move || pool.submit(task))
            })
            .collect();
        gate.await_arrivals(2);
        await_waiting(&*pool, 6);
        for capacity in [3, 8] {
            pool.tune(capacity).unwrap();
            gate.await_arrivals(capacity);
            await_waiting(&*pool, 8 - capacity);
            assert_eq!((pool.capacity(), pool.running()), (capacity, capacity));
        }
        gate.open();
        assert!(submitters.into_iter().all(|submitter| submitter.join().unwrap().is_ok()));
    });
}

/// A14
#[test]
fn a14_resizing_again_and_again_while_working_loses_nothing() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::new(10, 4)), Count::new());
        let stop = Arc::new(AtomicBool::new(false));
        let submitters: Vec<_> = (0..2)
            .map(|_| {
                let (pool, count, stop) = (pool.clone(), count.clone(), stop.clone());
                thread::spawn(move || {
                    let mut submitted = 0;
                    while !stop.load(SeqCst) {
                        pool.submit(count.task()).unwrap();
                        submitted += 1;
                    }
                    submitted
                })
            })
            .collect();
        for _ in 0..5 {
            for capacity in (1..=10).rev().chain([10]) {
                let before = count.get();
                pool.tune(capacity).unwrap();
                eventually("it goes on", || count.get() > before);
            }
        }
        stop.store(true, SeqCst);
        let submitted: usize = submitters.into_iter().map(|submitter| submitter.join().unwrap()).sum();
        pool.wait_idle();
        assert_eq!((count.get(), pool.capacity()), (submitted, 10));
        assert_conserved(&*pool);
    });
}

/// A26
#[test]
fn a26_resizing_with_exact_figures() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::roomy(1)), Gate::new());
        let load = || (pool.running(), pool.queued());
        for _ in 0..6 {
            pool.submit(gate.task()).unwrap();
        }
        gate.await_arrivals(1);
        assert_eq!(load(), (1, 5));
        pool.tune(3).unwrap();
        gate.await_arrivals(3);
        assert_eq!(load(), (3, 3));
        pool.tune(2).unwrap();
        gate.pass(1);
        eventually("one has ended", || pool.stats().completed == 1);
        eventually("its worker has gone", || pool.stats().live == 2);
        assert_eq!((load(), gate.arrived()), ((2, 3), 3));
        gate.pass(1);
        gate.await_arrivals(4);
        assert_eq!(load(), (2, 2));
        gate.open();
        pool.wait_idle();
        assert_eq!(load(), (0, 0));
        assert_conserved(&*pool);
    });
}

#[test]
fn shrinking_retires_the_idle_at_once_and_the_busy_after_their_task() {
    for_each(|variant| {
        let pool = variant.build(Setup { expiry: Some(None), min_workers: Some(6), ..Setup::roomy(8) });
        let gate = Gate::new();
        for _ in 0..8 {
            pool.submit(gate.task()).unwrap();
        }
        gate.await_arrivals(8);
        gate.pass(3);
        eventually("three are idle", || pool.stats().idle == 3);
        pool.tune(2).unwrap();
        eventually("the idle have gone", || pool.stats().live == 5);
        let stats = pool.stats();
        assert_eq!((stats.running, stats.retired, stats.completed), (5, 3, 3));
        gate.open();
        eventually("the busy have gone", || pool.stats().live == 2);
        assert_eq!(pool.stats().retired, 6);
        // A minimum above the capacity is lowered with it.
        pool.tune(1).unwrap();
        eventually("one is left", || pool.stats().live == 1);
    });
}

#[test]
fn after_shrinking_nothing_starts_above_the_new_size() {
    for_each(|variant| {
        let (pool, gate, count) = (variant.build(Setup::roomy(8)), Gate::new(), Count::new());
        for _ in 0..8 {
            pool.submit(gate.task()).unwrap();
        }
        gate.await_arrivals(8);
        for _ in 0..20 {
            pool.submit(count.task()).unwrap();
        }
        pool.tune(2).unwrap();
        for ended in 1..=6 {
            gate.pass(1);
            eventually("one more has ended", || pool.running() == 8 - ended);
            assert_eq!((count.get(), pool.queued()), (0, 20));
        }
        gate.pass(1);
        eventually("the one free worker has run all", || count.get() == 20);
        gate.open();
        pool.wait_idle();
        assert_conserved(&*pool);
    });
}

#[test]
fn a_bad_size_changes_nothing() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(2, 1));
        assert!(pool.tune(0).is_err());
        assert!(pool.tune(MAX_WORKERS + 1).is_err());
        assert_eq!(pool.capacity(), 2);
    });
}

/// A37: running tasks go on, queued tasks wait, and submitters queue up.
#[test]
fn a37_while_paused_nothing_starts() {
    for_each(|variant| {
        let (pool, gate, count) = (variant.build(Setup::new(2, 2)), Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        let pause = pool.pause();
        for _ in 0..3 {
            pool.try_submit(count.task()).unwrap();
        }
        assert!(pool.try_submit(count.task()).unwrap_err().is_full());
        assert!(!pause.wait_quiet_timeout(MOMENT), "one still runs");
        gate.open();
        assert!(pause.wait_quiet());
        assert!(!pool.wait_idle_timeout(MOMENT));
        assert_eq!((pool.running(), pool.queued(), count.get()), (0, 3, 0));
        drop(pause);
        assert!(pool.wait_idle());
        assert_eq!(count.get(), 3);
    });
}

/// A37
#[test]
fn a37_pauses_stack() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::roomy(2)), Count::new());
        let (first, second, timed) = (pool.pause(), pool.pause(), pool.pause_timeout(Duration::from_millis(1)));
        pool.submit(count.task()).unwrap();
        drop(first);
        assert!(!pool.wait_idle_timeout(MOMENT));
        drop(timed);
        assert!(!pool.wait_idle_timeout(MOMENT));
        assert_eq!(count.get(), 0);
        drop(second);
        assert!(pool.wait_idle());
        assert_eq!(count.get(), 1);
    });
}

/// A37
#[test]
fn a37_concurrent_pauses_leave_the_pool_running() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::new(2, 2)), Count::new());
        let pausers: Vec<_> = (0..4)
            .map(|_| {
                let (pool, count) = (pool.clone(), count.clone());
                thread::spawn(move || {
                    for _ in 0..50 {
                        let pause = pool.pause();
                        assert!(pause.wait_quiet());
                        drop(pause);
                        pool.submit(count.task()).unwrap();
                    }
                })
            })
            .collect();
        pausers.into_iter().for_each(|pauser| pauser.join().unwrap());
        assert!(pool.wait_idle());
        assert_eq!(count.get(), 200);
    });
}

/// A37
#[test]
fn a37_shutdown_overrides_a_pause() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::roomy(2)), Count::new());
        let pause = pool.pause();
        for _ in 0..10 {
            pool.submit(count.task()).unwrap();
        }
        assert_eq!(count.get(), 0);
        assert!(pool.shutdown().is_complete());
        assert_eq!(count.get(), 10);
        // Nor does the old pause affect the pool after its restart.
        pool.restart().unwrap();
        pool.submit(count.task()).unwrap();
        assert!(pool.wait_idle());
        drop(pause);
        assert_eq!(count.get(), 11);
    });
}

#[test]
fn a_timed_pause_resumes_by_itself() {
    for_each(|variant| {
        for min_workers in [0, 1] {
            let pool = variant.build(Setup { min_workers: Some(min_workers), ..Setup::new(1, 0) });
            let count = Count::new();
            let pause = pool.pause_timeout(Duration::from_millis(5));
            for _ in 0..3 {
                // From the second on the submitter, too, waits for the end of the pause.
                pool.submit(count.task()).unwrap();
            }
            assert!(pool.wait_idle());
            assert_eq!(count.get(), 3);
            drop(pause);
        }
    });
}

#[test]
fn wait_idle_waits_for_the_queued_and_the_running_and_leaves_the_pool_open() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::roomy(1)), Gate::new());
        assert!(pool.wait_idle(), "nothing to wait for");
        for round in 1..=3 {
            for _ in 0..3 {
                pool.submit(gate.task()).unwrap();
            }
            gate.pass(2);
            gate.await_arrivals(3 * round);
            assert!(!pool.wait_idle_timeout(MOMENT), "the last one runs");
            let opener = gate.clone();
            let waiter = pool.clone();
            let waiting = thread::spawn(move || (waiter.wait_idle(), waiter.stats().completed));
            opener.pass(1);
            assert_eq!(waiting.join().unwrap(), (true, 3 * round as u64));
            assert!(!pool.is_closed());
        }
    });
}

#[test]
fn a_task_does_not_wait_for_itself() {
    for_each(|variant| {
        let (pool, answers) = (variant.build(Setup::new(1, 0)), Count::new());
        let (inner, wrong) = (pool.clone(), answers.clone());
        let task = move || {
            let pause = inner.pause();
            if inner.wait_idle() || inner.wait_idle_timeout(LIMIT) || pause.wait_quiet() {
                wrong.up();
            }
        };
        pool.submit(Task::new(task)).unwrap();
        assert!(pool.wait_idle());
        assert_eq!((answers.get(), pool.stats().completed), (0, 1));
    });
}

/// A22
#[test]
fn a22_figures_are_zero_at_first_and_exact_after_ten_thousand_tasks() {
    quiet_panics();
    for_each(|variant| {
        let pool = variant.build(Setup { min_workers: Some(0), ..Setup::new(4, 100) });
        let mut nothing = Stats::default();
        nothing.capacity = 4;
        nothing.name = formicary::DEFAULT_NAME.into();
        nothing.queue_bound = Some(100);
        let mut stats = pool.stats();
        assert_eq!(stats.shards.is_empty(), !variant.name.starts_with("Sharded"));
        assert!(stats.shards.drain(..).all(|shard| shard == ShardStats::default()));
        assert_eq!(stats, nothing);
        for n in 0..10_000 {
            pool.submit(Task::new(move || assert_eq!(n % 2, 0, "a test's panic"))).unwrap();
        }
        assert!(pool.wait_idle());
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.completed, stats.panicked), (10_000, 5_000, 5_000));
        let others = (stats.cancelled, stats.rejected, stats.returned, stats.waiting, stats.handler_panics);
        assert_eq!(others, (0, 0, 0, 0, 0));
        assert_eq!((stats.queued, stats.running, stats.idle), (0, 0, stats.live));
        assert!((1..=4).contains(&stats.peak_running) && stats.live <= 4);
        pool.shutdown();
        let stats = pool.stats();
        assert_eq!((stats.live, stats.idle, stats.spawned), (0, 0, stats.retired));
        assert_conserved(&*pool);
    });
}

/// A reader that polls the figures all the time sees consistent ones, and blocks no thread.
#[test]
fn figures_hold_together_while_tasks_run() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::new(3, 5)), Count::new());
        let stop = Arc::new(AtomicBool::new(false));
        let (watched, ended) = (pool.clone(), stop.clone());
        let reader = thread::spawn(move || {
            let mut before = watched.stats();
            while !ended.load(SeqCst) {
                let stats = watched.stats();
                assert!(stats.running <= 3 && stats.live <= 3 && stats.running + stats.queued <= 8, "{stats:?}");
                assert!(stats.submitted >= before.submitted && stats.completed >= before.completed, "{stats:?}");
                before = stats;
            }
        });
        for _ in 0..3_000 {
            pool.submit(count.task()).unwrap();
        }
        pool.wait_idle();
        stop.store(true, SeqCst);
        reader.join().unwrap();
        assert_eq!(count.get(), 3_000);
        assert_conserved(&*pool);
    });
}

/// A pause with a time limit ends by itself, even if one without a limit hid it.
#[test]
fn a37_a_timed_pause_under_an_open_one_still_ends() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(2, 8));
        let count = Count::new();
        pool.submit(count.task()).unwrap();
        pool.wait_idle();
        let open = pool.pause();
        let timed = pool.pause_timeout(2 * MOMENT);
        pool.submit(count.task()).unwrap();
        // Gives the worker time to park without a timeout, which is the case under test; in the other case the test passes too.
        thread::sleep(MOMENT);
        drop(open);
        pool.wait_idle();
        assert_eq!(count.get(), 2);
        drop(timed);
    });
}

/// The same while the worker is about to park, at any moment of that.
#[test]
fn a37_a_timed_pause_is_not_missed_by_a_worker_that_falls_asleep() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(1, 8));
        let count = Count::new();
        for round in 0..400 {
            pool.submit(count.task()).unwrap();
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(round % 40) {
                std::hint::spin_loop();
            }
            let timed = pool.pause_timeout(Duration::from_micros(200));
            pool.submit(count.task()).unwrap();
            pool.wait_idle();
            drop(timed);
        }
        assert_eq!(count.get(), 800);
    });
}
