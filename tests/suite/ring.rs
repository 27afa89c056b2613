//! What the ring dispatch promises beyond the others: one memory for all laps, an exact bound at any size of it, and values
//! that are neither lost nor doubled on their way through.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::races::{quiet_panic, together};
use crate::support::{
    Count, Gate, LIMIT, Setup, Variant, assert_conserved, await_waiting, eventually, for_each, within,
};
use formicary::{Context, Pool, PoolWithFunc, Ring, StatefulPool, Task, Worker};
use parking_lot::Mutex;

/// The test for each kind of pool on `Ring`.
fn for_each_ring(test: impl Fn(Variant) + Send + Clone + 'static) {
    for_each(move |variant| {
        if variant.name.starts_with("Ring/") {
            test(variant);
        }
    });
}

/// Each way to divide the room into workers and queue, for rooms of one to nine.
fn shapes() -> impl Iterator<Item = (usize, usize)> {
    (1..=9).flat_map(|room| [1, 2, room].into_iter().filter(move |w| *w <= room).map(move |w| (w, room - w)))
}

/// The bound is exact at any size, also where the ring has more slots; in every lap, wherever it begins.
#[test]
fn the_bound_is_exact_at_any_size_in_every_lap() {
    for_each_ring(|variant| {
        for (workers, queue) in shapes() {
            let (pool, ran, room) = (variant.build(Setup::new(workers, queue)), Count::new(), workers + queue);
            let mut submitted = 0;
            for lap in 0..20 {
                let pause = pool.pause();
                for n in 0..room {
                    assert!(pool.try_submit(ran.task()).is_ok(), "{n} of {room} in lap {lap}");
                }
                assert!(pool.try_submit(ran.task()).unwrap_err().is_full(), "{room} and one more in lap {lap}");
                assert_eq!(pool.queued(), room);
                drop(pause);
                submitted += room;
                assert!(pool.wait_idle());
                if lap % 2 == 1 {
                    // The next lap begins at another slot.
                    pool.submit(ran.task()).unwrap();
                    submitted += 1;
                    assert!(pool.wait_idle());
                }
                assert_eq!(ran.get(), submitted);
            }
            assert_conserved(&*pool);
        }
    });
}

/// Through a ring of a few slots, each used hundreds of times: each value comes out once, from any submitter.
#[test]
fn each_value_comes_out_once_over_many_laps() {
    const VALUES: usize = 4000;
    for (workers, queue) in [(1, 0), (2, 0), (2, 1), (2, 2), (2, 3), (2, 5), (2, 6), (2, 7), (3, 6)] {
        within(LIMIT, "many laps", move || {
            let seen: Arc<Vec<AtomicUsize>> = Arc::new((0..VALUES).map(|_| AtomicUsize::new(0)).collect());
            let (counts, sum) = (Arc::clone(&seen), Arc::new(AtomicUsize::new(0)));
            let adds = Arc::clone(&sum);
            let builder = PoolWithFunc::builder(move |n: usize| {
                counts[n].fetch_add(1, SeqCst);
                adds.fetch_add(n, SeqCst);
            });
            let pool = builder.workers(workers).min_workers(workers).queue(queue).dispatch::<Ring>().build().unwrap();
            together(2, |first| (first..VALUES).step_by(2).for_each(|n| pool.submit(n).unwrap()));
            assert!(pool.wait_idle());
            assert!(seen.iter().all(|count| count.load(SeqCst) == 1));
            assert_eq!(sum.load(SeqCst), VALUES * (VALUES - 1) / 2);
        });
    }
}

/// One worker pops the values in the order in which they went in, and so also in the order of each of two submitters.
#[test]
fn many_laps_are_first_in_first_out() {
    for queue in 0..=8 {
        for submitters in [1, 2] {
            within(LIMIT, "first in, first out", move || {
                let order = Arc::new(Mutex::new(vec![Vec::new(); submitters]));
                let log = Arc::clone(&order);
                let builder = PoolWithFunc::builder(move |(from, n): (usize, usize)| log.lock()[from].push(n));
                let pool = builder.workers(1).queue(queue).dispatch::<Ring>().build().unwrap();
                together(submitters, |from| (0..1500).for_each(|n| pool.submit((from, n)).unwrap()));
                assert!(pool.wait_idle());
                assert!(order.lock().iter().all(|own| own.iter().copied().eq(0..1500)));
            });
        }
    }
}

/// Says of each value how often it was dropped, and of some that their drop shall panic.
#[derive(Clone)]
struct Drops {
    counts: Arc<Vec<AtomicUsize>>,
    panics: fn(usize) -> bool,
}

impl Drops {
    fn new(values: usize, panics: fn(usize) -> bool) -> Self {
        Drops { counts: Arc::new((0..values).map(|_| AtomicUsize::new(0)).collect()), panics }
    }

    fn value(&self, n: usize) -> Value {
        Value(self.clone(), n)
    }

    /// All were dropped, and none of them twice.
    fn assert_once(&self) {
        let counts: Vec<usize> = self.counts.iter().map(|count| count.load(SeqCst)).collect();
        assert!(counts.iter().all(|count| *count == 1), "{counts:?}");
    }
}

struct Value(Drops, usize);

impl Drop for Value {
    fn drop(&mut self) {
        self.0.counts[self.1].fetch_add(1, SeqCst);
        if (self.0.panics)(self.1) && !std::thread::panicking() {
            quiet_panic();
        }
    }
}

/// No drop panics; each third one does; all do.
const PANICS: [fn(usize) -> bool; 3] = [|_| false, |n| n % 3 == 1, |_| true];

fn panics_quietly<T>(body: impl FnOnce() -> T) {
    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(body()))));
}

/// Values that a task is given: run, refused by a full pool, run at the end of a paused pool, or left to a pool that is
/// dropped. The ring is filled from each of its slots on.
#[test]
fn a_value_is_dropped_once_by_the_task_that_gets_it() {
    for_each_ring(|variant| {
        for panics in PANICS {
            for (laps, queued) in (0..6).flat_map(|laps| (0..=5).map(move |queued| (laps, queued))) {
                let pool = variant.build(Setup::new(2, 3));
                let drops = Drops::new(laps + queued, panics);
                let task = |n| {
                    let value = drops.value(n);
                    Task::new(move || drop(value))
                };
                for n in 0..laps {
                    pool.submit(task(n)).unwrap();
                    assert!(pool.wait_idle());
                }
                let pause = pool.pause();
                (laps..laps + queued).for_each(|n| pool.submit(task(n)).unwrap());
                if queued == 5 {
                    let surplus = Drops::new(1, panics);
                    let value = surplus.value(0);
                    let refusal = pool.try_submit(Task::new(move || drop(value))).unwrap_err();
                    assert_eq!(surplus.counts[0].load(SeqCst), 0, "refused, and not dropped");
                    panics_quietly(|| refusal);
                    surplus.assert_once();
                }
                drop(pool);
                drops.assert_once();
                drop(pause);
            }
        }
    });
}

/// Values that `shutdown_now` gives back, from each place that they may have in the ring: all of them, and a drop of one
/// that panics harms no other.
#[test]
fn a_value_given_back_is_dropped_once() {
    for panics in PANICS {
        for (laps, queued) in (0..6).flat_map(|laps| (0..=4).map(move |queued| (laps, queued))) {
            within(LIMIT, "shutdown_now", move || {
                let (gate, drops) = (Gate::new(), Drops::new(laps + 1 + queued, panics));
                let hold = gate.clone();
                let builder = PoolWithFunc::builder(move |value: Value| {
                    hold.wait();
                    drop(value);
                });
                let pool = builder.workers(1).queue(4).dispatch::<Ring>().build().unwrap();
                for n in 0..laps {
                    gate.pass(1);
                    pool.submit(drops.value(n)).unwrap();
                    assert!(pool.wait_idle());
                }
                pool.submit(drops.value(laps)).unwrap();
                gate.await_arrivals(laps + 1);
                (0..queued).for_each(|n| pool.submit(drops.value(laps + 1 + n)).unwrap());
                let back = std::thread::scope(|scope| {
                    let shutdown = scope.spawn(|| pool.shutdown_now());
                    eventually("all is taken out", || pool.is_closed() && pool.stats().returned == queued as u64);
                    gate.open();
                    shutdown.join().unwrap()
                });
                assert!(back.iter().map(|value| value.1).eq(laps + 1..laps + 1 + queued));
                panics_quietly(|| back);
                drop(pool);
                drops.assert_once();
            });
        }
    }
}

struct Holds(Gate);

impl Worker for Holds {
    type Input = Value;
    type Output = Value;

    fn process(&mut self, value: Value, _: &Context<'_>) -> Value {
        self.0.wait();
        value
    }
}

/// Values whose caller gave up while they were queued: the caller has them back, and nothing of them is left in the ring. Values of
/// handles without a joiner are dropped with the result.
#[test]
fn a_value_without_a_receiver_is_dropped_once() {
    for panics in PANICS {
        within(LIMIT, "cancelled", move || {
            let (gate, drops) = (Gate::new(), Drops::new(9, panics));
            let hold = gate.clone();
            let builder = StatefulPool::builder(move |_| Ok(Holds(hold.clone()))).workers(1).queue(7);
            let pool = builder.dispatch::<Ring>().build().unwrap();
            let first = pool.spawn(drops.value(0)).unwrap();
            gate.await_arrivals(1);
            for n in 1..4 {
                let error = pool.with().timeout(Duration::from_millis(1)).run(drops.value(n)).map(drop).unwrap_err();
                let back = error.into_input().expect("it had not started");
                assert_eq!(drops.counts[n].load(SeqCst), 0);
                panics_quietly(|| back);
            }
            // They were cancelled, but their places are taken until a worker has come by.
            (4..8).for_each(|n| drop(pool.spawn(drops.value(n)).unwrap()));
            gate.open();
            panics_quietly(|| first.join().unwrap());
            assert!(pool.wait_idle());
            assert_eq!(pool.stats().cancelled, 3);
            panics_quietly(|| pool.run(drops.value(8)).map_err(drop));
            drop(pool);
            drops.assert_once();
        });
    }
}

/// A ring that was built for two tasks, in a pool that has grown to eight workers: a waiting submitter is let in when a worker has
/// popped a task, not only when that task has ended.
#[test]
fn a_pool_that_outgrew_its_ring_runs_as_many_as_it_has_workers() {
    for_each_ring(|variant| {
        for _ in 0..20 {
            let (pool, gate) = (variant.build(Setup::new(1, 1)), Gate::new());
            pool.tune(8).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| pool.submit(gate.task()).unwrap());
                }
                gate.await_arrivals(8);
                assert_eq!(pool.running(), 8);
                gate.open();
            });
            assert!(pool.wait_idle());
            assert_conserved(&*pool);
        }
    });
}

/// The same for submitters that waited before the pool grew; and back at its first size the bound is exact again.
#[test]
fn submitters_that_waited_before_the_pool_grew_are_let_in() {
    for_each_ring(|variant| {
        let (pool, gate, ran) = (variant.build(Setup::new(1, 1)), Gate::new(), Count::new());
        std::thread::scope(|scope| {
            for waiting in 0..8_usize {
                scope.spawn(|| pool.submit(gate.task()).unwrap());
                // One runs, one is queued, the others wait.
                eventually("it is in or waits", || {
                    let stats = pool.stats();
                    stats.running + stats.queued + stats.waiting > waiting
                });
            }
            await_waiting(&*pool, 6);
            pool.tune(8).unwrap();
            gate.await_arrivals(8);
            gate.open();
        });
        assert!(pool.wait_idle());
        pool.tune(1).unwrap();
        let pause = pool.pause();
        (0..2).for_each(|_| assert!(pool.try_submit(ran.task()).is_ok()));
        assert!(pool.try_submit(ran.task()).unwrap_err().is_full());
        drop(pause);
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 2);
    });
}

/// Memory that cannot be had is an error of the build that says so.
#[test]
fn memory_that_cannot_be_had_is_a_build_error() {
    for_each_ring(|variant| {
        for queue in [usize::MAX, usize::MAX - 1, usize::MAX / 2, usize::MAX / 2 + 1, usize::MAX / 64] {
            let error = variant.try_build(Setup::new(1, queue)).map(drop).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("dispatch Ring: cannot allocate slots for 1 `workers` and a `queue` of {queue}")
            );
        }
        let error = variant.try_build(Setup::unbounded(1)).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "dispatch Ring: a ring needs a bounded queue: set `queue` to a number");
    });
    within(LIMIT, "a pool of one slot", || {
        let pool = Pool::builder().workers(1).queue(0).dispatch::<Ring>().build().unwrap();
        assert_eq!(pool.run(|| 7).unwrap(), 7);
    });
}
