//! A41: parallel maps over iterators, in order and as they come.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::{Arc, Barrier, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use formicary::{CallError, Context, Dispatch, Map, Pool, PoolWithFunc, StatefulPool, Stats, Worker};
use support::races::{quiet_panic, shift, together};
use support::{Count, Gate, LIMIT, Setup, on_every_dispatch, within};

/// An item that is its own work.
type Work = Box<dyn FnOnce() -> u64 + Send>;
type Items = Box<dyn Iterator<Item = Work> + Send>;

fn work(f: impl FnOnce() -> u64 + Send + 'static) -> Work {
    Box::new(f)
}

fn items(works: impl IntoIterator<Item = Work, IntoIter: Send + 'static>) -> Items {
    Box::new(works.into_iter())
}

/// A pool of any kind, as far as maps need it.
trait Maps: Send + Sync {
    fn map(&self, items: Items) -> Map<'_, Items, u64>;
    fn map_unordered(&self, items: Items) -> Map<'_, Items, u64>;
    fn stats(&self) -> Stats;
    fn wait_idle(&self);
    fn shutdown(&self);
    /// How many were given back.
    fn shutdown_now(&self) -> usize;
}

struct DoWork;

impl Worker for DoWork {
    type Input = Work;
    type Output = u64;

    fn process(&mut self, work: Work, _: &Context<'_>) -> u64 {
        work()
    }
}

macro_rules! maps {
    ($pool:ty $(, $f:expr)?) => {
        impl<D: Dispatch> Maps for $pool {
            fn map(&self, items: Items) -> Map<'_, Items, u64> {
                self.map(items $(, $f)?)
            }
            fn map_unordered(&self, items: Items) -> Map<'_, Items, u64> {
                self.map_unordered(items $(, $f)?)
            }
            fn stats(&self) -> Stats {
                self.stats()
            }
            fn wait_idle(&self) {
                assert!(self.wait_idle());
            }
            fn shutdown(&self) {
                self.shutdown();
            }
            fn shutdown_now(&self) -> usize {
                self.shutdown_now().len()
            }
        }
    };
}
maps!(Pool<D>, |work: Work| work());
maps!(PoolWithFunc<Work, D, u64>);
maps!(StatefulPool<DoWork, D>);

/// Runs a test on all nine variants.
fn on_all(workers: usize, queue: usize, test: impl Fn(Arc<dyn Maps>) + Send + Sync + Clone + 'static) {
    fn kinds<D: Dispatch>(setup: &Setup) -> [Arc<dyn Maps>; 3] {
        let setup = || setup.clone();
        [
            Arc::new(setup().on(Pool::builder()).dispatch::<D>().build().unwrap()),
            Arc::new(setup().on(PoolWithFunc::builder(|work: Work| work())).dispatch::<D>().build().unwrap()),
            Arc::new(setup().on(StatefulPool::builder(|_| Ok(DoWork))).dispatch::<D>().build().unwrap()),
        ]
    }
    let setup = Setup::new(workers, queue);
    macro_rules! run {
        ($dispatch:ty, $name:literal) => {
            for (pool, kind) in kinds::<$dispatch>(&setup).into_iter().zip(["Pool", "PoolWithFunc", "StatefulPool"]) {
                let test = test.clone();
                within(LIMIT, &format!("{}/{kind}", $name), move || test(pool));
            }
        };
    }
    support::each_dispatch!(run);
}

/// The numbers from 0, counted as they are pulled.
fn counted(pulls: &Count) -> Items {
    let pulls = pulls.clone();
    items((0_u64..).map(move |n| {
        pulls.up();
        work(move || n)
    }))
}

fn gates(count: usize) -> Vec<Gate> {
    (0..count).map(|_| Gate::new()).collect()
}

/// Counts the living ones.
struct Marked(u64, Count);

impl Marked {
    fn new(n: u64, living: &Count) -> Self {
        living.up();
        Marked(n, living.clone())
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        self.1.down();
    }
}

/// A41: each item waits for the one behind it, and the results still come from the front.
#[test]
fn a41_ordered_stream_runs_in_parallel_and_hands_out_in_order() {
    on_all(4, 4, |pool| {
        let gates = gates(5);
        gates[4].open();
        let chain: Vec<_> = (0..4)
            .map(|n| {
                let gates = gates.clone();
                work(move || {
                    gates[n + 1].wait();
                    gates[n].open();
                    n as u64
                })
            })
            .collect();
        assert!(pool.map(items(chain)).eq(0..4));
    });
}

#[test]
fn a41_unordered_results_come_as_they_end() {
    on_all(4, 4, |pool| {
        let gates = gates(4);
        let held: Vec<_> = (0..4)
            .map(|n| {
                let gate = gates[n].clone();
                work(move || {
                    gate.wait();
                    n as u64
                })
            })
            .collect();
        let mut results = pool.map_unordered(items(held));
        for n in [2, 0, 3, 1] {
            gates[n].open();
            assert_eq!(results.next(), Some(n as u64));
        }
        assert_eq!((results.next(), results.next()), (None, None));
    });
}

/// Four numbers, the second of which is a panic.
fn with_a_panic(after: &Count) -> Items {
    let after = after.clone();
    items((0..4).map(move |n| {
        let after = after.clone();
        work(move || {
            if n == 1 {
                panic_any("a test's panic");
            }
            after.up();
            n
        })
    }))
}

#[test]
fn a41_a_panic_surfaces_at_its_items_place_and_blocks_nobody() {
    support::quiet_panics();
    on_all(2, 8, |pool| {
        let after = Count::new();
        let mut results = pool.map(with_a_panic(&after));
        assert_eq!(results.next(), Some(0));
        let panic = catch_unwind(AssertUnwindSafe(|| results.next())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a test's panic"));
        assert_eq!(results.next(), None);
        pool.wait_idle();
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.panicked), (stats.completed + stats.panicked + stats.cancelled, 1));

        // As errors it touches no other.
        let answers: Vec<_> = pool.map(with_a_panic(&after)).results().map(|answer| answer.ok()).collect();
        assert_eq!(answers, [Some(0), None, Some(2), Some(3)]);
        // Not in order, it still comes once.
        let mut answers: Vec<_> = pool.map_unordered(with_a_panic(&after)).results().map(|a| a.ok()).collect();
        answers.sort_unstable();
        assert_eq!(answers, [None, Some(0), Some(2), Some(3)]);
        assert!(pool.map(items([work(|| 7)])).eq([7]), "the pool goes on");
    });
}

#[test]
fn a41_nothing_is_pulled_before_it_is_asked_for_and_then_a_window() {
    on_all(3, 20, |pool| {
        let pulls = Count::new();
        for unordered in [false, true] {
            let map = |items| if unordered { pool.map_unordered(items) } else { pool.map(items) };
            pool.wait_idle();
            let before = pulls.get();
            let mut by_default = map(counted(&pulls));
            assert_eq!((pulls.get() - before, pool.stats().running), (0, 0));
            for handed_out in 1..50 {
                assert!(by_default.next().is_some());
                assert_eq!(pulls.get() - before, 6 + handed_out - 1, "twice the capacity");
            }
            drop(by_default);
            for (window, most) in [(0, 1), (1, 1), (5, 5)] {
                let before = pulls.get();
                assert_eq!(map(counted(&pulls)).window(window).take(20).count(), 20);
                assert_eq!(pulls.get() - before, most + 19);
            }
        }
        map_ends(&*pool);
    });
}

/// An infinite input, and the end of a finite one.
fn map_ends(pool: &dyn Maps) {
    assert!(pool.map(counted(&Count::new())).take(10).eq(0..10));
    let mut three = pool.map(items((0..3).map(|n| work(move || n)))).window(2);
    assert_eq!(three.size_hint(), (3, Some(3)));
    assert_eq!(three.next(), Some(0));
    assert_eq!(three.size_hint(), (2, Some(2)));
    assert_eq!((three.next(), three.next(), three.next(), three.next()), (Some(1), Some(2), None, None));
}

/// Never more tasks started and not handed out than the window has.
#[test]
fn a41_a_slow_consumer_bounds_the_work() {
    on_all(2, 100, |pool| {
        let (made, slow) = (Count::new(), Gate::new());
        let (count, gate) = (made.clone(), slow.clone());
        let works = (0_u64..).map(move |n| {
            let (count, gate) = (count.clone(), gate.clone());
            work(move || {
                count.up();
                if n == 0 {
                    gate.wait();
                }
                n
            })
        });
        let mut results = pool.map(items(works)).window(7);
        thread::scope(|scope| {
            let first = scope.spawn(|| results.next());
            support::eventually("the other worker does the rest", || made.get() == 7);
            assert_eq!(pool.stats().submitted, 7);
            slow.open();
            assert_eq!(first.join().unwrap(), Some(0));
        });
        assert_eq!((made.get(), pool.stats().submitted), (7, 7));
    });
}

#[test]
fn a41_dropping_it_cancels_what_has_not_started_and_does_not_wait() {
    on_all(1, 20, |pool| {
        let (living, ran, gate) = (Count::new(), Count::new(), Gate::new());
        let (marks, runs, held) = (living.clone(), ran.clone(), gate.clone());
        let works = (0_u64..).map(move |n| {
            let (mark, runs, held) = (Marked::new(n, &marks), runs.clone(), held.clone());
            work(move || {
                let mark = mark; // all of it
                runs.up();
                if mark.0 == 1 {
                    held.wait();
                }
                mark.0
            })
        });
        let mut results = pool.map(items(works)).window(5);
        assert_eq!(results.next(), Some(0));
        gate.await_arrivals(1);
        drop(results);
        assert_eq!(living.get(), 1, "what will not run is dropped at once");
        gate.open();
        pool.wait_idle();
        assert_eq!((ran.get(), living.get()), (2, 0));
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.completed, stats.cancelled), (5, 2, 3));
    });
}

#[test]
fn a41_a_closed_pool_gives_every_item_back() {
    on_all(2, 4, |pool| {
        pool.shutdown();
        let pulls = Count::new();
        for unordered in [false, true] {
            let map = |items| if unordered { pool.map_unordered(items) } else { pool.map(items) };
            let before = pulls.get();
            let mut results = map(counted(&pulls)).results();
            for n in 0..3 {
                let error = results.next().unwrap().unwrap_err();
                assert!(matches!(&error, CallError::Refused(refusal) if refusal.is_closed()));
                assert_eq!(error.into_input().unwrap()(), n, "it still can be run");
                assert_eq!((pulls.get() - before) as u64, n + 1, "nothing is pulled ahead of a refusal");
            }
            drop(results);
            let mut results = map(counted(&pulls));
            let panic = catch_unwind(AssertUnwindSafe(|| results.next())).unwrap_err();
            assert_eq!(panic.downcast_ref::<String>().unwrap(), "an item was refused: the pool has been shut down");
            assert_eq!(results.next(), None);
        }
    });
}

/// What the pool gives back in the middle is an error at its place, in either order.
#[test]
fn a41_what_shutdown_now_gives_back_is_told() {
    for unordered in [false, true] {
        on_all(1, 20, move |pool| {
            let gate = Gate::new();
            let held = gate.clone();
            let works = (0..4).map(move |n| {
                let held = held.clone();
                work(move || {
                    held.wait();
                    n
                })
            });
            let map = if unordered { pool.map_unordered(items(works)) } else { pool.map(items(works)) };
            let mut results = map.window(4).results();
            let (first, returned) = thread::scope(|scope| {
                let first = scope.spawn(|| results.next().unwrap());
                gate.await_arrivals(1);
                support::eventually("all are in", || pool.stats().submitted == 4);
                let ender = scope.spawn(|| pool.shutdown_now());
                support::eventually("it is emptied", || pool.stats().queued == 0);
                gate.open();
                (first.join().unwrap(), ender.join().unwrap())
            });
            assert_eq!(returned, 3);
            let all: Vec<_> = [first].into_iter().chain(results).collect();
            assert_eq!(all.iter().filter(|answer| answer.is_ok()).count(), 1);
            let told = all.iter().filter(|a| matches!(a, Err(CallError::Failed(error)) if error.is_cancelled()));
            assert_eq!(told.count(), 3);
        });
    }
}

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

/// Others fill the pool, and nothing of its own is under way: it stands in line.
#[test]
fn a41_it_stands_in_line_where_others_fill_the_pool() {
    on_every_dispatch!(stands_in_line);
}

fn stands_in_line<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(0).dispatch::<D>().build().unwrap();
    let gate = Gate::new();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    thread::scope(|scope| {
        let all = scope.spawn(|| pool.map(0..5, |n| n).collect::<Vec<_>>());
        support::eventually("it waits at the door", || pool.waiting() == 1);
        gate.open();
        assert_eq!(all.join().unwrap(), [0, 1, 2, 3, 4]);
    });
}

/// A pool that never waits refuses at the door, and hands the item back.
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
        let answers = pool.process(0).unwrap();
        if workers == 1 {
            for answer in &answers {
                assert_eq!(answer.as_ref().unwrap_err(), "a worker of the pool would have waited for itself");
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

#[test]
fn a41_it_can_go_on_on_another_thread() {
    on_all(2, 4, |pool| {
        let mut results = pool.map(counted(&Count::new()));
        assert_eq!(results.next(), Some(0));
        thread::scope(|scope| assert!(scope.spawn(|| results.take(8).eq(1..9)).join().unwrap()));
    });
}

fn dropped_once<D: Dispatch>() {
    let living = Count::new();
    for round in 0..200_u64 {
        let pool = Pool::builder().workers(2).queue((round % 4) as usize).dispatch::<D>().build().unwrap();
        let (marks, count) = (living.clone(), living.clone());
        let input = (0..20).map(move |n| Marked::new(n, &marks));
        let f = move |mark: Marked| {
            if mark.0 == 13 && round % 3 == 0 {
                quiet_panic();
            }
            Marked::new(mark.0 + 1, &count)
        };
        let map = if round % 2 == 0 { pool.map(input, f) } else { pool.map_unordered(input, f) };
        let map = map.window(1 + (round % 7) as usize);
        match round % 5 {
            0 => drop(map.results().collect::<Vec<_>>()),
            1 => drop(map.take((round % 11) as usize).collect::<Vec<_>>()),
            2 => {
                let mut map = map.results();
                drop(map.next());
                thread::scope(|scope| {
                    scope.spawn(|| pool.shutdown_now());
                    assert_eq!(map.by_ref().count(), 19);
                });
            }
            3 => drop(catch_unwind(AssertUnwindSafe(|| map.map(drop).count()))),
            _ => drop(pool.map(map.results().take(5), |mark| mark).results().count()),
        }
        assert!(pool.wait_idle());
        drop(pool);
        assert_eq!(living.get(), 0, "round {round}");
    }
}

#[test]
fn a41_every_value_is_dropped_once() {
    on_every_dispatch!(dropped_once);
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

fn each<D: Dispatch>() {
    let pool = Pool::builder().workers(4).queue(2).dispatch::<D>().build().unwrap();
    let (count, start) = (Count::new(), Arc::new(Barrier::new(4)));
    let counter = count.clone();
    pool.for_each(0..100, move |n| {
        if n < 4 {
            start.wait();
        }
        counter.up();
    });
    assert_eq!(count.get(), 100, "all are done when it returns");
}

#[test]
fn a41_for_each_runs_all_in_parallel() {
    on_every_dispatch!(each);
}

/// On one worker nothing can start between the failure and its being seen.
fn stops<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(50).dispatch::<D>().build().unwrap();
    for panics in [false, true] {
        let (count, pulls) = (Count::new(), Count::new());
        let (counter, puller) = (count.clone(), pulls.clone());
        let input = (0..50).inspect(move |_| {
            puller.up();
        });
        let stopped = catch_unwind(AssertUnwindSafe(|| {
            pool.try_for_each(input, move |n| {
                counter.up();
                match n {
                    3 if panics => quiet_panic(),
                    3 => return Err(n),
                    _ => {}
                }
                Ok(())
            })
        }));
        match stopped {
            Ok(result) => assert!(!panics && result == Err(3)),
            Err(panic) => assert!(panics && panic.downcast_ref() == Some(&"a test's panic")),
        }
        assert!(pool.wait_idle());
        assert_eq!(count.get(), 4, "nothing starts after it");
        assert!(pulls.get() < 8, "nothing is pulled after it: {}", pulls.get());
    }
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled);
}

#[test]
fn a41_try_for_each_stops_at_the_first_failure() {
    on_every_dispatch!(stops);
}

fn waits<D: Dispatch>() {
    let pool = Pool::builder().workers(2).queue(4).dispatch::<D>().build().unwrap();
    for how in 0..3 {
        let (done, started) = (Count::new(), Gate::new());
        let (counter, gate, failing) = (done.clone(), started.clone(), started.clone());
        let input = (0..9).inspect(move |n| {
            if *n == 4 && how == 2 {
                gate.await_arrivals(1);
                quiet_panic();
            }
        });
        started.open();
        let stopped = catch_unwind(AssertUnwindSafe(|| {
            pool.try_for_each(input, move |n| {
                if n == 0 {
                    failing.wait();
                    shift(Duration::from_millis(20));
                    counter.up();
                } else if how < 2 {
                    failing.await_arrivals(1);
                    if how == 0 {
                        quiet_panic();
                    }
                    return Err(n);
                }
                Ok(())
            })
        }));
        assert_eq!(done.get(), 1, "what runs is waited for");
        assert_eq!(matches!(stopped, Ok(Err(_))), how == 1);
        assert_eq!(stopped.is_err(), how != 1);
    }
}

#[test]
fn a41_for_each_waits_for_what_runs_when_it_fails() {
    on_every_dispatch!(waits);
}

/// Also while the caller is busy with the input, and sees the failure only later.
fn stops_unseen<D: Dispatch>() {
    let pool = Pool::builder().workers(2).queue(50).dispatch::<D>().build().unwrap();
    let (other, first, count) = (Gate::new(), Gate::new(), Count::new());
    let (held, failing, counter) = (other.clone(), first.clone(), count.clone());
    pool.submit(move || held.wait()).unwrap();
    other.await_arrivals(1);
    let input = (0..50).inspect(|n| {
        if *n == 3 {
            first.open();
            support::eventually("all before it are done with", || (pool.queued(), pool.running()) == (0, 1));
        }
    });
    let failed = pool.try_for_each(input, move |n| {
        counter.up();
        failing.wait();
        Err::<(), _>(n)
    });
    assert_eq!((failed, count.get()), (Err(0), 1));
    other.open();
}

#[test]
fn a41_try_for_each_stops_before_its_caller_knows() {
    on_every_dispatch!(stops_unseen);
}
