//! What the sharded dispatch promises beyond the others: even shares of tasks, workers and room; stealing; no shard that is
//! passed over for ever; order within a shard. Tasks with a key are in keyed.rs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::support::races::together;
use crate::support::sharded::{BALANCES, ShardedPool, for_each_kind, hold_workers_of, key_of_each, shares};
use crate::support::{Count, Gate, LIMIT, Setup, assert_conserved, eventually, within};
use formicary::{Balance, PoolWithFunc, Sharded, Task};
use parking_lot::Mutex;

/// So many workers from the start, none of which expires: each has its shard for good.
fn settled(workers: usize, queue: usize) -> Setup {
    Setup { min_workers: Some(workers), expiry: Some(None), ..Setup::new(workers, queue) }
}

/// A13: fifty long tasks on fifty workers in ten shards: five in each, and five workers that belong there. With a queue,
/// too, when there would be room for six.
#[test]
fn a13_fifty_long_tasks_fill_ten_shards_evenly() {
    for_each_kind(|kind| {
        for balance in [Balance::RoundRobin, Balance::LeastLoaded] {
            for queue in [0, 10] {
                let (pool, gate) = (kind(Setup::new(50, queue), 10, balance).unwrap(), Gate::new());
                (0..50).for_each(|_| pool.pool.submit(gate.task()).unwrap());
                gate.await_arrivals(50);
                let figures = pool.each(|shard| (shard.submitted, shard.running, shard.queued, shard.workers));
                assert_eq!(figures, [(5, 5, 0, 5); 10], "{balance:?}, {queue}");
                gate.open();
            }
        }
    });
}

/// If the shards are uneven, the least loaded one is filled first, until they are even.
#[test]
fn least_loaded_levels_out() {
    for_each_kind(|kind| {
        let pool = kind(Setup::new(1, 11), 3, Balance::LeastLoaded).unwrap();
        let (keys, pause) = (pool.key_of_each(), pool.pool.pause());
        for (shard, tasks) in [(0, 3), (1, 1)] {
            (0..tasks).for_each(|_| pool.submit_keyed(keys[shard], Task::new(|| ())).unwrap());
        }
        (0..5).for_each(|_| pool.pool.submit(Task::new(|| ())).unwrap());
        assert_eq!(pool.each(|shard| shard.queued), [3, 3, 3]);
        drop(pause);
    });
}

/// The less loaded of two is nearly as even: of 10,000 tasks in 100 shards none gets ten more than its share. (With one
/// choice at random every sixth would.)
#[test]
fn two_choices_are_nearly_even() {
    for_each_kind(|kind| {
        let pool = kind(Setup::new(1, 100_000), 100, Balance::TwoChoices).unwrap();
        let pause = pool.pool.pause();
        (0..10_000).for_each(|_| pool.pool.submit(Task::new(|| ())).unwrap());
        let queued = pool.each(|shard| shard.queued);
        assert!(queued.iter().all(|n| (80..110).contains(n)), "{queued:?}");
        drop(pause);
    });
}

/// A thread has its shard, until that is full.
#[test]
fn a_thread_has_its_shard_until_it_is_full() {
    for_each_kind(|kind| {
        let pool = kind(Setup::new(1, 11), 3, Balance::Thread).unwrap();
        let pause = pool.pool.pause();
        (0..4).for_each(|_| pool.pool.submit(Task::new(|| ())).unwrap());
        let mut queued = pool.each(|shard| shard.queued);
        queued.sort_unstable();
        assert_eq!(queued, [0, 0, 4]);
        pool.pool.submit(Task::new(|| ())).unwrap();
        assert_eq!(pool.pool.queued(), 5);
        drop(pause);
    });
}

/// Threads have different shards. (Other tests take thread numbers meanwhile, so any two of many may have the same.)
#[test]
fn many_threads_have_several_shards() {
    for_each_kind(|kind| {
        let pool = kind(Setup::new(1, 95), 3, Balance::Thread).unwrap();
        let pause = pool.pool.pause();
        std::thread::scope(|scope| {
            (0..16).for_each(|_| _ = scope.spawn(|| pool.pool.submit(Task::new(|| ())).unwrap()));
        });
        let queued = pool.each(|shard| shard.queued);
        assert!(queued.iter().all(|n| *n < 16), "{queued:?}");
        drop(pause);
    });
}

/// The bound is exact over all shards and in each, also where the room cannot be divided evenly, in every balance, and when
/// submitters race for the last place.
#[test]
fn the_bound_is_exact_over_all_shards() {
    for_each_kind(|kind| {
        for balance in BALANCES {
            for (workers, queue, shards) in [(1, 0, 1), (1, 9, 3), (2, 9, 4), (3, 0, 3), (4, 13, 5), (1, 6, 7)] {
                for submitters in [1, 4] {
                    let pool = kind(Setup::new(workers, queue), shards, balance).unwrap();
                    let (pause, ran, accepted) = (pool.pool.pause(), Count::new(), Count::new());
                    together(submitters, |_| {
                        while pool.pool.try_submit(ran.task()).is_ok() {
                            accepted.up();
                        }
                    });
                    let room = workers + queue;
                    assert_eq!((accepted.get(), pool.pool.queued()), (room, room), "{balance:?} {shards}");
                    assert_eq!(pool.each(|shard| shard.queued), shares(room, shards), "{balance:?}");
                    drop(pause);
                    assert!(pool.pool.wait_idle());
                    assert_eq!(ran.get(), room);
                    assert_conserved(&*pool.pool);
                }
            }
        }
    });
}

/// B11: one key has taken all that its shard can hold, and the workers that run it. A submitter without a key is let in at once
/// while there is room anywhere, and its task runs on the other workers.
#[test]
fn b11_a_full_shard_holds_up_no_submitter_without_a_key() {
    for_each_kind(|kind| {
        for balance in BALANCES {
            for (workers, queue, shards) in [(4, 0, 2), (4, 2, 2), (6, 3, 3)] {
                let pool = kind(Setup::new(workers, queue), shards, balance).unwrap();
                let share = (workers + queue) / shards;
                for key in pool.key_of_each() {
                    let (greedy, ran) = (Gate::new(), Count::new());
                    (0..share).for_each(|_| pool.submit_keyed(key, greedy.task()).unwrap());
                    greedy.await_arrivals(share);
                    // More than the others can hold: they must come and go.
                    (0..50).for_each(|_| pool.pool.submit(ran.task()).unwrap());
                    eventually("all but the greedy have run", || ran.get() == 50);
                    assert_eq!(pool.pool.running(), share);
                    greedy.open();
                    assert!(pool.pool.wait_idle());
                }
            }
        }
    });
}

/// The only worker that belongs to a shard is busy: the others take what is queued there, and `stolen` counts those and no
/// others.
#[test]
fn idle_workers_steal_what_waits_for_a_busy_one() {
    for_each_kind(|kind| {
        for shard in 0..3 {
            let pool = kind(settled(3, 300), 3, Balance::default()).unwrap();
            let keys = pool.key_of_each();
            let held = hold_workers_of(&pool, shard, keys[shard]);
            let before = pool.each(|shard| shard.stolen);
            assert_eq!(before.iter().sum::<u64>(), 2, "all but the one that belongs there");
            let ran = Count::new();
            (0..90).for_each(|_| pool.submit_keyed(keys[shard], ran.task()).unwrap());
            eventually("all is stolen", || ran.get() == 90);
            let mut expected = [0; 3];
            expected[shard] = 92;
            assert_eq!(pool.each(|shard| shard.stolen), expected);
            held.iter().for_each(Gate::open);
        }
    });
}

/// A worker that pops from its own shard steals nothing; what it pops from another is stolen, also if that has no workers.
#[test]
fn what_a_worker_takes_of_its_own_shard_is_not_stolen() {
    for_each_kind(|kind| {
        let pool = kind(settled(1, 99), 2, Balance::default()).unwrap();
        assert_eq!(pool.each(|shard| shard.workers), [1, 0]);
        let keys = pool.key_of_each();
        for (key, tasks) in [(keys[0], 20), (keys[1], 30)] {
            (0..tasks).for_each(|_| pool.submit_keyed(key, Task::new(|| ())).unwrap());
        }
        assert!(pool.pool.wait_idle());
        assert_eq!(pool.each(|shard| (shard.submitted, shard.stolen)), [(20, 0), (30, 30)]);
    });
}

/// The workers of each shard; at no moment has one shard two more than another.
fn evenly(pool: &ShardedPool) -> Vec<usize> {
    let workers = pool.each(|shard| shard.workers);
    assert!(workers.iter().max().unwrap() - workers.iter().min().unwrap() <= 1, "{workers:?}");
    workers
}

/// Waits until all of `live` workers belong to a shard and no others do.
fn await_workers(pool: &ShardedPool, live: usize) {
    eventually("every worker is counted once", || {
        evenly(pool).iter().sum::<usize>() == live && pool.pool.stats().live == live
    });
}

/// Whatever the pool is tuned to, and whether its workers are idle or busy, the shards have equally many.
#[test]
fn tune_spreads_workers_evenly() {
    for_each_kind(|kind| {
        for shards in [2, 3, 4] {
            for is_busy in [false, true] {
                let pool = kind(settled(8, 20), shards, Balance::default()).unwrap();
                await_workers(&pool, 8);
                for workers in [3, 7, 1, 10, 2, 9, 8, 4, 5] {
                    let gate = Gate::new();
                    let busy = if is_busy { pool.pool.stats().live } else { 0 };
                    (0..busy).for_each(|_| pool.pool.submit(gate.task()).unwrap());
                    gate.await_arrivals(busy);
                    pool.pool.tune(workers).unwrap();
                    for ended in 0..busy {
                        // Those above the new capacity leave one at a time.
                        gate.pass(1);
                        eventually("one more has ended", || {
                            evenly(&pool);
                            pool.pool.running() < busy - ended
                        });
                    }
                    gate.open();
                    assert!(pool.pool.wait_idle());
                    // Those below it start for tasks.
                    let fill = Gate::new();
                    (0..workers).for_each(|_| pool.pool.submit(fill.task()).unwrap());
                    fill.await_arrivals(workers);
                    await_workers(&pool, workers);
                    fill.open();
                    assert!(pool.pool.wait_idle());
                }
            }
        }
    });
}

/// A task that submits itself again with the same key, until it is told to stop.
fn endless(pool: &ShardedPool, key: u64, stop: Arc<AtomicBool>, rounds: Count) -> Task {
    let pool = pool.clone();
    Task::new(move || {
        rounds.up();
        if !stop.load(SeqCst) {
            let again = endless(&pool, key, stop, rounds);
            assert!(pool.try_submit_keyed(key, again).is_ok(), "there is room");
        }
    })
}

/// More shards than workers: a shard without a worker of its own is served though the worker's own shard never runs dry.
#[test]
fn a_shard_without_workers_is_not_starved() {
    for_each_kind(|kind| {
        for (workers, shards) in [(1, 2), (1, 5), (2, 3)] {
            for busy in 0..shards {
                let pool = kind(settled(workers, 100), shards, Balance::default()).unwrap();
                let keys = pool.key_of_each();
                let (stop, rounds, ran) = (Arc::new(AtomicBool::new(false)), Count::new(), Count::new());
                for _ in 0..2 * workers {
                    let supply = endless(&pool, keys[busy], Arc::clone(&stop), rounds.clone());
                    pool.submit_keyed(keys[busy], supply).unwrap();
                }
                eventually("the supply runs", || rounds.get() > 100);
                for key in &keys {
                    (0..3).for_each(|_| pool.submit_keyed(*key, ran.task()).unwrap());
                }
                eventually("the others run as well", || ran.get() == 3 * shards);
                stop.store(true, SeqCst);
                assert!(pool.pool.wait_idle());
            }
        }
    });
}

/// The worker of one shard is held up by a long task, and the others' own shards never run dry: the tasks behind the long one
/// run among the others', not after them. When half of all have run, at least a quarter of those have.
#[test]
fn tasks_behind_a_long_one_run_among_the_others() {
    const EACH: usize = 2000;
    for_each_kind(|kind| {
        for shards in [2, 3, 4] {
            let pool = kind(settled(shards, 20_000), shards, Balance::default()).unwrap();
            let keys = pool.key_of_each();
            let held = hold_workers_of(&pool, 0, keys[0]);
            // The others begin when all tasks are there.
            let start = Gate::new();
            keys[1..].iter().for_each(|key| pool.submit_keyed(*key, start.task()).unwrap());
            start.await_arrivals(shards - 1);
            let order = Arc::new(Mutex::new(Vec::new()));
            for n in 0..EACH * shards {
                let order = Arc::clone(&order);
                let task = Task::new(move || order.lock().push(n % shards));
                pool.submit_keyed(keys[n % shards], task).unwrap();
            }
            start.open();
            eventually("all have run", || order.lock().len() == EACH * shards);
            let early = order.lock()[..EACH * shards / 2].iter().filter(|shard| **shard == 0).count();
            assert!(early >= EACH / 4, "{early} of {EACH}, one of {shards} held");
            held.iter().for_each(Gate::open);
        }
    });
}

/// One worker runs the tasks of one shard in the order in which they came, whether or not it is its own.
#[test]
fn a_shard_is_first_in_first_out() {
    for_each_kind(|kind| {
        let pool = kind(Setup::roomy(1), 3, Balance::default()).unwrap();
        let keys = pool.key_of_each();
        let order = Arc::new(Mutex::new(vec![Vec::new(); 3]));
        for n in 0..3000 {
            let order = Arc::clone(&order);
            let task = Task::new(move || order.lock()[n % 3].push(n));
            pool.submit_keyed(keys[n % 3], task).unwrap();
        }
        assert!(pool.pool.wait_idle());
        for (shard, order) in order.lock().iter().enumerate() {
            assert_eq!(*order, (shard..3000).step_by(3).collect::<Vec<_>>());
        }
    });
}

/// What `shutdown_now` gives back is in order within each shard, and all of it, one shard after the other.
#[test]
fn shutdown_now_gives_back_each_shard_in_order() {
    within(LIMIT, "shutdown_now", || {
        let gate = Gate::new();
        let hold = gate.clone();
        let builder = PoolWithFunc::builder(move |_: usize| hold.wait()).workers(2).queue(1000).dispatch::<Sharded>();
        let pool = builder.shards(3).build().unwrap();
        (0..2).for_each(|_| pool.submit(0).unwrap());
        gate.await_arrivals(2);
        let keys = key_of_each(3, |key| pool.shard_of(key));
        // Not in the order of the shards.
        let shard_of = |n: usize| (n / 2) * 2 % 3;
        (0..900).for_each(|n| pool.with().key(keys[shard_of(n)]).submit(n).unwrap());
        let back = std::thread::scope(|scope| {
            let shutdown = scope.spawn(|| pool.shutdown_now());
            eventually("what is queued is taken out", || pool.stats().returned == 900);
            gate.open();
            shutdown.join().unwrap()
        });
        let expected: Vec<_> = (0..3).flat_map(|shard| (0..900).filter(move |n| shard_of(*n) == shard)).collect();
        assert_eq!(back, expected);
        assert_eq!(pool.stats().completed, 2);
    });
}

/// A number of shards that cannot be is an error that names it.
#[test]
fn a_bad_number_of_shards_is_named() {
    for_each_kind(|kind| {
        let error = |setup, shards| kind(setup, shards, Balance::default()).map(drop).unwrap_err().to_string();
        assert_eq!(error(Setup::new(2, 2), 0), "dispatch Sharded: `shards` is 0: a pool needs at least one");
        assert!(error(Setup::new(2, 2), 5).contains("`shards` is 5, above `workers` and `queue` together, 4"));
        assert!(error(Setup::unbounded(2), 65_536).contains("`shards` is 65536: 65535 is the most"));
        assert!(kind(Setup::new(2, 2), 4, Balance::default()).is_ok());
        assert!(kind(Setup::unbounded(2), 4, Balance::default()).is_ok());
    });
}
