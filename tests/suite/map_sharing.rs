//! A41: maps on pools that are full, shared with others, or in the middle of a task that maps itself.

use std::sync::{Arc, OnceLock, Weak};
use std::thread;

use crate::support::maps::{items, on_all, work};
use crate::support::races::together;
use crate::support::{Gate, on_every_dispatch};
use formicary::{CallError, Context, Dispatch, Pool, PoolWithFunc, StatefulPool, Worker};

/// With both workers taken by its own tasks, `next` hands out what is ready.
#[test]
fn a41_a_full_pool_does_not_hold_back_what_is_ready() {
    on_all(2, 0, |pool| {
        let gate = Gate::new();
        let held = gate.clone();
        let works = (0..6).map(move |n| {
            let held = held.clone();
            work(move || {
                if n > 0 {
                    held.wait();
                }
                n
            })
        });
        let mut results = pool.map_unordered(items(works)).window(6);
        assert_eq!(results.next(), Some(0));
        gate.open();
        assert_eq!(results.sum::<u64>(), 15);
        assert_eq!(pool.stats().rejected, 0, "asking is not being refused");
    });
}

/// While the oldest is at work, those behind it go through the other worker, though there is no queue.
#[test]
fn a41_a_slow_item_does_not_leave_workers_idle() {
    on_all(2, 0, |pool| {
        let gate = Gate::new();
        let works = (0..6).map(move |n| {
            let gate = gate.clone();
            work(move || {
                match n {
                    0 => gate.wait(),
                    5 => gate.open(),
                    _ => {}
                }
                n
            })
        });
        assert!(pool.map(items(works)).window(6).eq(0..6));
    });
}

/// Other submitters fill the pool, and the map has no task under way: it waits for room.
#[test]
fn a41_it_waits_where_others_fill_the_pool() {
    on_every_dispatch!(waits);
}

fn waits<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(0).dispatch::<D>().build().unwrap();
    let gate = Gate::new();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    thread::scope(|scope| {
        let all = scope.spawn(|| pool.map(0..5, |n| n).collect::<Vec<_>>());
        crate::support::eventually("it waits for room", || pool.waiting() == 1);
        gate.open();
        assert_eq!(all.join().unwrap(), [0, 1, 2, 3, 4]);
    });
}

/// A nonblocking pool refuses at once and hands the item back.
#[test]
fn a41_a_nonblocking_pool_refuses_only_where_nothing_is_under_way() {
    let pool = Pool::builder().workers(1).queue(0).nonblocking(true).build().unwrap();
    assert!(pool.map(0..50, |n| n).eq(0..50));
    let pause = pool.pause();
    pool.submit(|| ()).unwrap();
    let mut results = pool.map(0..50, |n| n).results();
    assert!(matches!(results.next(), Some(Err(CallError::Refused(refusal))) if refusal.is_full()));
    drop(pause);
    assert!(pool.wait_idle());
    assert!(results.map(Result::unwrap).eq(1..50));
}

fn crowd<D: Dispatch>() {
    let pool = Pool::builder().workers(2).queue(3).dispatch::<D>().build().unwrap();
    together(4, |n| {
        let n = n as u64;
        for round in 0..30 {
            let input = 0..50 + round;
            if n == 0 {
                (0..20).for_each(|_| pool.submit(|| ()).unwrap());
            } else if n == 1 {
                let mut results: Vec<_> = pool.map_unordered(input.clone(), |m| m).collect();
                results.sort_unstable();
                assert!(results.into_iter().eq(input));
            } else {
                assert!(pool.map(input.clone(), move |m| m * n).window(1 + round as usize).eq(input.map(|m| m * n)));
            }
        }
    });
    assert!(pool.wait_idle());
    assert_eq!(pool.stats().rejected, 0);
}

#[test]
fn a41_several_maps_and_submitters_share_a_small_pool() {
    on_every_dispatch!(crowd);
}

fn nested<D: Dispatch>() {
    for (workers, queue) in [(1, 0), (1, 20), (2, 0), (3, 2)] {
        let pool = Arc::new(Pool::builder().workers(workers).queue(queue).dispatch::<D>().build().unwrap());
        let inner = pool.clone();
        let sum = pool.run(move || {
            let outer = inner.clone();
            let sums = inner.map(1..=4, move |n| outer.map_unordered(0..=n, |m| m).sum::<u64>());
            assert_eq!(sums.collect::<Vec<_>>(), [1, 3, 6, 10]);
            let mut count = 0;
            inner.for_each(0..10, |_| ());
            inner.map_unordered(0..100_u64, |n| n).for_each(|n| count += n);
            count
        });
        assert_eq!(sum.unwrap(), 4950);

        let lazy: Lazy<PoolWithFunc<u64, D, u64>> = Arc::default();
        let inner = lazy.clone();
        let sums = PoolWithFunc::builder(move |n: u64| match n {
            0 => inner.get().unwrap().upgrade().unwrap().map(1..=9).sum(),
            n => n,
        });
        let sums = Arc::new(sums.workers(workers).queue(queue).dispatch::<D>().build().unwrap());
        lazy.set(Arc::downgrade(&sums)).unwrap();
        assert!(sums.map([0, 0, 5, 0]).eq([45, 45, 5, 45]));
    }
}

#[test]
fn a41_a_map_inside_a_task_of_its_own_pool() {
    on_every_dispatch!(nested);
}

/// A pool that its own tasks will know.
type Lazy<P> = Arc<OnceLock<Weak<P>>>;

/// Maps inside its own pool.
struct Inner<D: Dispatch>(Lazy<StatefulPool<Inner<D>, D>>);

impl<D: Dispatch> Worker for Inner<D> {
    type Input = u64;
    type Output = Vec<Result<u64, String>>;

    fn process(&mut self, n: u64, _: &Context<'_>) -> Self::Output {
        if n > 0 {
            return vec![Ok(n)];
        }
        let pool = self.0.get().unwrap().upgrade().unwrap();
        let answers = pool.map(1..=3).results();
        answers.map(|a| a.map(|mut v| v.remove(0).unwrap()).map_err(|e| e.to_string())).collect()
    }
}

fn nested_states<D: Dispatch>() {
    for (workers, queue) in [(1, 0), (1, 9), (2, 0), (2, 9)] {
        let lazy = Arc::new(OnceLock::new());
        let inner = lazy.clone();
        let builder = StatefulPool::builder(move |_| Ok(Inner(inner.clone())));
        let pool = Arc::new(builder.workers(workers).queue(queue).dispatch::<D>().build().unwrap());
        lazy.set(Arc::downgrade(&pool)).unwrap();
        let answers = pool.run(0).unwrap();
        if workers == 1 {
            for answer in &answers {
                assert_eq!(answer.as_ref().unwrap_err(), "waiting would deadlock: the caller is a worker of the pool");
            }
            assert_eq!(answers.len(), 3);
        } else {
            assert_eq!(answers, [Ok(1), Ok(2), Ok(3)]);
        }
        assert!(pool.wait_idle());
        let stats = pool.stats();
        assert_eq!(stats.completed as usize, if workers == 1 { 1 } else { 4 }, "what was reported so never runs");
    }
}

#[test]
fn a41_a_state_that_would_wait_for_itself_is_told_so() {
    on_every_dispatch!(nested_states);
}
