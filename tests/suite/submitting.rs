//! Submitting: which submitters get in, wait or are refused, and what comes back.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{AnyPool, Count, Gate, LIMIT, Setup, assert_conserved, await_waiting, for_each};
use formicary::{MAX_WORKERS, SubmitError, SubmitErrorKind, Task};
use parking_lot::Mutex;

/// Submits on a thread of its own.
fn submit_aside(pool: &AnyPool, task: Task) -> JoinHandle<Result<(), SubmitError<Task>>> {
    let pool = pool.clone();
    thread::spawn(move || pool.submit(task))
}

/// A task that appends `value` to the list.
fn note<T: Send + 'static>(list: &Arc<Mutex<Vec<T>>>, value: T) -> Task {
    let list = list.clone();
    Task::new(move || list.lock().push(value))
}

/// A01
#[test]
fn a01_a_hundred_thousand_tasks_each_run_once() {
    const TASKS: usize = 100_000;
    for_each(|variant| {
        let pool = variant.build(Setup { workers: Some(100), ..Setup::default() });
        let runs: Arc<Vec<AtomicU8>> = Arc::new((0..TASKS).map(|_| AtomicU8::new(0)).collect());
        for n in 0..TASKS {
            let runs = runs.clone();
            let task = move || {
                runs[n].fetch_add(1, SeqCst);
            };
            pool.submit(Task::new(task)).unwrap();
        }
        assert!(pool.wait_idle());
        assert!(runs.iter().all(|runs| runs.load(SeqCst) == 1));
        assert_eq!((pool.stats().submitted, pool.stats().completed), (TASKS as u64, TASKS as u64));
        assert_conserved(&*pool);
    });
}

/// A06
#[test]
fn a06_a_full_nonblocking_pool_refuses_until_a_task_ends() {
    for_each(|variant| {
        let pool = variant.build(Setup { nonblocking: true, ..Setup::new(2, 0) });
        let (gate, count) = (Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        pool.submit(gate.task()).unwrap();
        let refusal = pool.submit(count.task()).unwrap_err();
        assert!(refusal.is_full());
        gate.pass(1);
        crate::support::eventually("one has ended", || pool.stats().completed == 1);
        pool.submit(refusal.into_task()).unwrap();
        gate.open();
        pool.wait_idle();
        assert_eq!((count.get(), pool.stats().rejected), (1, 1));
    });
}

/// A07
#[test]
fn a07_of_two_extra_submitters_one_may_block() {
    for_each(|variant| {
        let pool = variant.build(Setup { max_blocking: Some(1), ..Setup::new(1, 0) });
        let (gate, count) = (Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        let first = submit_aside(&pool, count.task());
        await_waiting(&*pool, 1);
        for refusal in [pool.submit(count.task()), pool.submit_timeout(count.task(), LIMIT)].map(Result::unwrap_err) {
            assert_eq!(refusal.kind(), SubmitErrorKind::Overloaded);
        }
        gate.open();
        assert!(first.join().unwrap().is_ok());
        pool.wait_idle();
        assert_eq!((count.get(), pool.stats().rejected), (1, 2));
    });
}

/// A10
#[test]
fn a10_without_a_limit_nested_submits_all_run_at_once() {
    fn nest(pool: &AnyPool, gate: &Gate, depth: usize) {
        let (inner, inner_gate) = (pool.clone(), gate.clone());
        let task = move || {
            if depth > 1 {
                nest(&inner, &inner_gate, depth - 1);
            }
            inner_gate.wait();
        };
        assert!(pool.submit(Task::new(task)).is_ok());
    }
    for_each(|variant| {
        let pool = variant.build(Setup::new(MAX_WORKERS, 0));
        let gate = Gate::new();
        nest(&pool, &gate, 50);
        gate.await_arrivals(50);
        assert_eq!((pool.running(), pool.queued()), (50, 0));
        gate.open();
        pool.wait_idle();
        assert_conserved(&*pool);
    });
}

/// A23
#[test]
fn a23_fifty_blocking_submits_pass_a_queue_of_ten() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(1, 10));
        let (gate, count) = (Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        let submitters: Vec<_> = (0..50).map(|_| submit_aside(&pool, count.task())).collect();
        await_waiting(&*pool, 40);
        gate.open();
        assert!(submitters.into_iter().all(|submitter| submitter.join().unwrap().is_ok()));
        pool.wait_idle();
        assert_eq!((count.get(), pool.waiting()), (50, 0));
    });
}

/// A24
#[test]
fn a24_ten_running_and_ten_queued_are_all() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(10, 10)), Gate::new());
        for _ in 0..20 {
            pool.submit(gate.task()).unwrap();
        }
        gate.await_arrivals(10);
        assert!(pool.try_submit(gate.task()).unwrap_err().is_full());
        let stats = pool.stats();
        assert_eq!((stats.running, stats.queued, stats.rejected, stats.submitted), (10, 10, 1, 20));
        gate.open();
        pool.wait_idle();
        assert_eq!(gate.arrived(), 20);
        assert_conserved(&*pool);
    });
}

/// A25
#[test]
fn a25_a_queue_of_zero_takes_a_task_only_for_a_free_worker() {
    for_each(|variant| {
        let (pool, gate, count) = (variant.build(Setup::new(1, 0)), Gate::new(), Count::new());
        pool.try_submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        assert!(pool.try_submit(count.task()).unwrap_err().is_full());
        let submitter = submit_aside(&pool, count.task());
        await_waiting(&*pool, 1);
        assert_eq!((pool.queued(), count.get()), (0, 0));
        gate.open();
        assert!(submitter.join().unwrap().is_ok());
        pool.wait_idle();
        assert_eq!(count.get(), 1);
    });
}

/// A27
#[test]
fn a27_blocked_submitters_get_in_in_order() {
    for_each(|variant| {
        for submitters in [2, 10] {
            let (pool, gate) = (variant.build(Setup::new(1, 1)), Gate::new());
            let order = Arc::new(Mutex::new(Vec::new()));
            pool.submit(gate.task()).unwrap();
            pool.submit(note(&order, 0)).unwrap();
            let blocked: Vec<_> = (1..=submitters)
                .map(|n| {
                    let submitter = submit_aside(&pool, note(&order, n));
                    await_waiting(&*pool, n);
                    submitter
                })
                .collect();
            assert!(pool.try_submit(note(&order, 99)).is_err(), "no submitter overtakes waiting ones");
            gate.open();
            assert!(blocked.into_iter().all(|submitter| submitter.join().unwrap().is_ok()));
            pool.wait_idle();
            assert_eq!(*order.lock(), (0..=submitters).collect::<Vec<_>>());
        }
    });
}

/// Another submitter tries all the time while there is room for the waiting one.
#[test]
fn a_newcomer_does_not_overtake_waiting_submitters() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(1, 0));
        for _ in 0..100 {
            let gate = Gate::new();
            pool.submit(gate.task()).unwrap();
            let first = submit_aside(&pool, Task::new(|| ()));
            await_waiting(&*pool, 1);
            gate.open();
            while pool.waiting() == 1 {
                let passed = pool.try_submit(Task::new(|| ())).is_ok() && pool.waiting() == 1;
                assert!(!passed, "the first still waits");
            }
            assert!(first.join().unwrap().is_ok());
            assert!(pool.wait_idle());
        }
    });
}

#[test]
fn every_refusal_hands_the_task_back() {
    for_each(|variant| {
        let pool = variant.build(Setup { max_blocking: Some(1), ..Setup::new(1, 0) });
        let (gate, count) = (Gate::new(), Count::new());
        pool.submit(gate.task()).unwrap();
        let full = pool.try_submit(count.task());
        let timed_out = pool.submit_timeout(count.task(), Duration::from_millis(1));
        let blocked = submit_aside(&pool, count.task());
        await_waiting(&*pool, 1);
        let overloaded = pool.submit(count.task());
        let opener = gate.clone();
        let ender = thread::spawn({
            let pool = pool.clone();
            move || pool.shutdown()
        });
        let closed_while_blocked = blocked.join().unwrap();
        let closed = pool.submit(count.task());
        opener.open();
        ender.join().unwrap();
        let expected = [
            (full, SubmitErrorKind::Full),
            (timed_out, SubmitErrorKind::TimedOut),
            (overloaded, SubmitErrorKind::Overloaded),
            (closed_while_blocked, SubmitErrorKind::Closed),
            (closed, SubmitErrorKind::Closed),
        ];
        for (number, (result, kind)) in expected.into_iter().enumerate() {
            let refusal = result.unwrap_err();
            assert_eq!((refusal.kind(), count.get()), (kind, number));
            refusal.into_task().run();
            assert_eq!(count.get(), number + 1, "it is the task itself");
        }
        assert_eq!((pool.stats().rejected, pool.stats().submitted), (5, 1));
    });
}

/// Whether the timed one gets in or gives up just as there is room, the one behind it gets in.
#[test]
fn a_submitter_that_gives_up_passes_its_wake_up_on() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::new(1, 0)), Count::new());
        let mut expected = 0;
        for round in 0..100_u64 {
            let gate = Gate::new();
            pool.submit(gate.task()).unwrap();
            let (timed_pool, task) = (pool.clone(), count.task());
            let limit = Duration::from_micros(500 + 20 * (round % 50));
            let timed = thread::spawn(move || timed_pool.submit_timeout(task, limit));
            let patient = submit_aside(&pool, count.task());
            // Near the timed one's limit, on either side of it.
            let _ = pool.wait_idle_timeout(Duration::from_micros(900));
            gate.open();
            assert!(patient.join().unwrap().is_ok());
            expected += 1;
            match timed.join().unwrap() {
                Ok(()) => expected += 1,
                Err(refusal) => assert!(refusal.is_timed_out()),
            }
            assert!(pool.wait_idle());
            assert_eq!(count.get(), expected);
        }
        assert_conserved(&*pool);
    });
}

#[test]
fn submit_all_counts_what_went_in_and_keeps_the_rest() {
    for_each(|variant| {
        let pool = variant.build(Setup { nonblocking: true, ..Setup::new(1, 4) });
        let (gate, order) = (Gate::new(), Arc::new(Mutex::new(Vec::new())));
        pool.submit(gate.task()).unwrap();
        let mut tasks = (0..10).map(|n| note(&order, n));
        let (accepted, refusal) = pool.submit_all(&mut tasks).unwrap_err();
        assert_eq!((accepted, refusal.kind()), (4, SubmitErrorKind::Full));
        gate.open();
        pool.wait_idle();
        refusal.into_task().run();
        assert_eq!(pool.submit_all(&mut tasks.by_ref().take(3)).unwrap(), 3);
        pool.wait_idle();
        assert_eq!(*order.lock(), (0..8).collect::<Vec<_>>());
        assert_eq!(tasks.len(), 2);
        assert_eq!(pool.submit_all(&mut std::iter::empty()).unwrap(), 0);
    });
}

#[test]
fn submit_all_blocks_where_it_must_and_starts_the_workers_it_needs() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(4, 2)), Gate::new());
        let (aside, tasks) = (pool.clone(), gate.clone());
        let all = thread::spawn(move || aside.submit_all(&mut (0..20).map(|_| tasks.task())));
        gate.await_arrivals(4);
        await_waiting(&*pool, 1);
        assert_eq!((pool.running(), pool.queued()), (4, 2));
        gate.open();
        assert_eq!(all.join().unwrap().unwrap(), 20);
        pool.wait_idle();
        assert_eq!(gate.arrived(), 20);
    });
}

#[test]
fn an_unbounded_queue_refuses_nothing() {
    for_each(|variant| {
        if variant.preallocates {
            let error = variant.try_build(Setup::unbounded(1)).err().unwrap();
            assert!(error.to_string().contains("a ring needs a bounded queue"), "{error}");
            return;
        }
        let (pool, count) = (variant.build(Setup::unbounded(1)), Count::new());
        let pause = pool.pause();
        for _ in 0..20_000 {
            pool.try_submit(count.task()).unwrap();
        }
        assert_eq!(pool.queued(), 20_000);
        drop(pause);
        pool.wait_idle();
        assert_eq!(count.get(), 20_000);
    });
}

#[test]
fn a_task_may_submit_to_its_own_pool() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::roomy(1)), Count::new());
        let (inner, child) = (pool.clone(), count.clone());
        let task = move || {
            for _ in 0..10 {
                inner.submit(child.task()).unwrap();
            }
        };
        pool.submit(Task::new(task)).unwrap();
        assert!(pool.wait_idle());
        assert_eq!((count.get(), pool.stats().completed), (10, 11));
    });
}

/// Every worker submits to its own full pool: it runs tasks there, or is told that it would deadlock.
#[test]
fn workers_that_submit_to_their_own_full_pool_do_not_hang() {
    for_each(|variant| {
        for (workers, queue) in [(1, 0), (1, 2), (2, 0), (3, 1)] {
            let pool = variant.build(Setup::new(workers, queue).bounded());
            let (meet, count, refused) = (Arc::new(Barrier::new(workers)), Count::new(), Count::new());
            for _ in 0..workers {
                let (inner, meet, count, refused) = (pool.clone(), meet.clone(), count.clone(), refused.clone());
                let task = move || {
                    meet.wait();
                    for _ in 0..=queue {
                        if let Err(refusal) = inner.submit(count.task()) {
                            assert_eq!(refusal.kind(), SubmitErrorKind::WouldDeadlock);
                            refused.up();
                            refusal.into_task().run();
                        }
                    }
                };
                pool.submit(Task::new(task)).unwrap();
            }
            assert!(pool.wait_idle());
            assert_eq!(count.get(), workers * (queue + 1));
            if variant.helps {
                assert_eq!(refused.get(), 0);
            } else if workers == 1 {
                assert_eq!(refused.get(), 1, "what is beyond the queue");
            } else {
                assert!(refused.get() >= 1);
            }
            assert_eq!(pool.stats().panicked, 0);
            assert_conserved(&*pool);
        }
    });
}
