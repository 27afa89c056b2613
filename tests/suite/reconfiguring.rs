//! Changing the queue's bound and other settings of a pool that works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::races::together;
use crate::support::{AnyPool, Count, Gate, Setup, Variant, assert_conserved, await_waiting, eventually, for_each};
use formicary::{BuildError, Pool, Reconfigure, Sharded, SubmitErrorKind, Task};

/// Runs `test` on each kind of pool whose queue bound can be changed.
fn for_each_elastic(test: impl Fn(Variant) + Send + Clone + 'static) {
    for_each(move |variant| {
        if !variant.preallocates {
            test(variant);
        }
    });
}

/// A pool whose one worker is held by the gate.
fn held(variant: Variant, setup: Setup) -> (AnyPool, Gate) {
    let (pool, gate) = (variant.build(setup), Gate::new());
    pool.submit(gate.task()).unwrap();
    gate.await_arrivals(1);
    (pool, gate)
}

fn blocked(pool: &AnyPool, gate: &Gate) -> thread::JoinHandle<bool> {
    let (pool, task) = (pool.clone(), gate.task());
    thread::spawn(move || pool.submit(task).is_ok())
}

/// So many tasks are accepted, and no more.
fn takes(pool: &AnyPool, gate: &Gate, most: usize) {
    for taken in 0..=most {
        assert_eq!(pool.try_submit(gate.task()).is_ok(), taken < most, "{taken} of {most}");
    }
}

fn queue(tasks: usize) -> Reconfigure {
    Reconfigure::new().queue(tasks)
}

#[test]
fn a_higher_bound_lets_the_blocked_in_at_once() {
    for_each_elastic(|variant| {
        let (pool, gate) = held(variant, Setup::new(1, 0));
        let submitters: Vec<_> = (0..5).map(|_| blocked(&pool, &gate)).collect();
        await_waiting(&*pool, 5);
        pool.reconfigure(&queue(3)).unwrap();
        await_waiting(&*pool, 2);
        assert_eq!((pool.queued(), pool.stats().queue_bound), (3, Some(3)));
        pool.reconfigure(&Reconfigure::new().unbounded_queue()).unwrap();
        await_waiting(&*pool, 0);
        takes_any(&pool, &gate);
        assert_eq!(pool.stats().queue_bound, None);
        gate.open();
        assert!(submitters.into_iter().all(|submitter| submitter.join().unwrap()));
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    });
}

fn takes_any(pool: &AnyPool, gate: &Gate) {
    for _ in 0..3000 {
        pool.try_submit(gate.task()).unwrap();
    }
}

#[test]
fn a_lower_bound_holds_for_newcomers_and_turns_no_waiter_away() {
    for_each_elastic(|variant| {
        let (pool, gate) = held(variant, Setup::new(1, 10));
        takes(&pool, &gate, 10);
        let waits = blocked(&pool, &gate);
        await_waiting(&*pool, 1);
        pool.reconfigure(&queue(4)).unwrap();
        assert_eq!((pool.queued(), pool.waiting(), pool.stats().queue_bound), (10, 1, Some(4)));
        // No submitter gets in until fewer than the new bound are left.
        for ended in 1..=6 {
            gate.pass(1);
            gate.await_arrivals(ended + 1);
            assert_eq!((pool.queued(), pool.waiting()), (10 - ended, 1));
            assert!(pool.try_submit(gate.task()).is_err());
        }
        gate.pass(1);
        await_waiting(&*pool, 0);
        gate.open();
        assert!(waits.join().unwrap());
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().completed, 12);
        assert_conserved(&*pool);

        // And from none to one.
        let (pool, gate) = held(variant, Setup::unbounded(1));
        takes_any(&pool, &gate);
        pool.reconfigure(&queue(4)).unwrap();
        assert!(pool.try_submit(gate.task()).unwrap_err().is_full());
        gate.open();
        assert!(pool.wait_idle());
        let gate = Gate::new();
        takes(&pool, &gate, 5);
        gate.open();
    });
}

/// The bound and the number of workers change concurrently: the last value of each stays.
#[test]
fn the_bound_and_the_capacity_are_both_heeded() {
    for_each_elastic(|variant| {
        let pool = variant.build(Setup::new(2, 2));
        together(2, |n| {
            for round in 0..200 {
                match n {
                    0 => pool.reconfigure(&queue(2 + round % 5)).unwrap(),
                    _ => pool.tune(2 + round % 3).unwrap(),
                }
            }
        });
        // 199 % 5 == 4 and 199 % 3 == 1
        let gate = Gate::new();
        takes(&pool, &gate, 3 + 6);
        assert_eq!((pool.capacity(), pool.stats().queue_bound), (3, Some(6)));
        gate.open();
        pool.shutdown();
        pool.restart().unwrap();
        let gate = Gate::new();
        takes(&pool, &gate, 3 + 6);
        gate.open();
    });
}

#[test]
fn changes_under_load_lose_nothing() {
    for_each_elastic(|variant| {
        let (pool, count) = (variant.build(Setup::new(2, 4)), Count::new());
        let stop = AtomicBool::new(false);
        together(3, |n| {
            if n == 0 {
                for round in 0..400 {
                    let change = queue(round % 7).expiry(Duration::from_millis(round as u64 % 2));
                    pool.reconfigure(&change).unwrap();
                    let before = count.get();
                    eventually("it goes on", || count.get() > before);
                }
                stop.store(true, SeqCst);
            }
            while n > 0 && !stop.load(SeqCst) {
                pool.submit(count.task()).unwrap();
            }
        });
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().completed, count.get() as u64);
        assert_conserved(&*pool);
    });
}

/// A ring gives the reason, and then nothing else has changed either.
#[test]
fn a_bound_that_cannot_be_had_changes_nothing() {
    for_each(|variant| {
        if variant.preallocates {
            let (pool, gate) = held(variant, Setup::new(1, 1));
            for change in [queue(10), queue(0), Reconfigure::new().unbounded_queue()] {
                let error = pool.reconfigure(&change.nonblocking(true)).unwrap_err();
                assert!(matches!(error, BuildError::Queue { dispatch: "Ring", .. }), "{error}");
                assert!(error.to_string().contains("allocated once"));
            }
            takes(&pool, &gate, 1);
            let waits = blocked(&pool, &gate);
            await_waiting(&*pool, 1);
            assert_eq!(pool.stats().queue_bound, Some(1));
            gate.open();
            assert!(waits.join().unwrap());
        }
    });
    let pool = Pool::builder().workers(1).queue(3).dispatch::<Sharded>().shards(4).build().unwrap();
    let error = pool.reconfigure(&queue(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "dispatch Sharded: `shards` is 4, above `workers` and `queue` together, 3: some could hold no task"
    );
    assert_eq!(pool.stats().queue_bound, Some(3));
}

#[test]
fn refusing_where_it_would_block_can_be_changed() {
    for_each(|variant| {
        let (pool, gate) = held(variant, Setup::new(1, 0));
        let waits = blocked(&pool, &gate);
        await_waiting(&*pool, 1);
        pool.reconfigure(&Reconfigure::new().nonblocking(true)).unwrap();
        assert_eq!(pool.submit(gate.task()).unwrap_err().kind(), SubmitErrorKind::Full);
        assert_eq!(pool.waiting(), 1, "a waiting submitter goes on");
        pool.reconfigure(&Reconfigure::new().nonblocking(false)).unwrap();
        let also_waits = blocked(&pool, &gate);
        await_waiting(&*pool, 2);
        // As many may wait as wait already, and fewer.
        for most in [2, 1, 0] {
            pool.reconfigure(&Reconfigure::new().max_blocking(most)).unwrap();
            assert_eq!(pool.submit(gate.task()).unwrap_err().kind(), SubmitErrorKind::Overloaded);
        }
        pool.reconfigure(&Reconfigure::new().max_blocking(3)).unwrap();
        let third = blocked(&pool, &gate);
        await_waiting(&*pool, 3);
        gate.open();
        assert!([waits, also_waits, third].into_iter().all(|submitter| submitter.join().unwrap()));
    });
}

/// Also for workers that have been parked for long, or are about to park.
#[test]
fn another_expiry_holds_for_those_who_sleep() {
    for_each(|variant| {
        for round in 0..40 {
            let setup = Setup { min_workers: Some(1), expiry: Some(None), ..Setup::roomy(3) };
            let (pool, gate) = (variant.build(setup), Gate::new());
            for _ in 0..3 {
                pool.submit(gate.task()).unwrap();
            }
            gate.await_arrivals(3);
            gate.open();
            if round % 2 == 0 {
                eventually("all are idle", || pool.stats().idle == 3);
            }
            pool.reconfigure(&Reconfigure::new().expiry(Duration::ZERO)).unwrap();
            eventually("all above the minimum have gone", || pool.stats().live == 1);
            // And none any more.
            pool.reconfigure(&Reconfigure::new().expiry(None)).unwrap();
            let gate = Gate::new();
            for _ in 0..3 {
                pool.submit(gate.task()).unwrap();
            }
            gate.await_arrivals(3);
            gate.open();
            assert!(pool.wait_idle());
            assert_eq!(pool.stats().live, 3);
        }
    });
}

/// From a task of the pool itself, also one that all others wait for.
#[test]
fn a_task_changes_its_own_pool() {
    for_each_elastic(|variant| {
        let pool = variant.build(Setup::new(1, 0));
        let inner = Arc::downgrade(&pool);
        let change = move || inner.upgrade().unwrap().reconfigure(&queue(5).expiry(None)).unwrap();
        pool.submit(Task::new(change)).unwrap();
        eventually("it has", || pool.stats().queue_bound == Some(5));
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().panicked, 0);
    });
}
