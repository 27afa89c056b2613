//! Tasks with a key: the same key goes to the same shard, takes no more than that shard's share, and waits in that shard's lane.

use std::hash::Hash;

use crate::support::sharded::{ShardedPool, for_each_kind, shares};
use crate::support::{Count, Gate, LIMIT, Setup, assert_conserved, await_waiting, eventually, within};
use formicary::{Balance, Context, Pool, PoolWithFunc, Sharded, StatefulPool, SubmitErrorKind, Task, Worker};

/// A thread that submits `task` with a key and returns the result.
fn submitter(pool: &ShardedPool, key: u64, task: Task) -> std::thread::JoinHandle<Result<(), SubmitErrorKind>> {
    let pool = pool.clone();
    std::thread::spawn(move || pool.submit_keyed(key, task).map_err(|refusal| refusal.kind()))
}

/// How many tasks each shard has ever taken in.
fn submitted(pool: &ShardedPool) -> Vec<u64> {
    pool.each(|shard| shard.submitted)
}

/// A key goes to one shard, from any submitter and by any method; a thousand keys leave no shard empty.
#[test]
fn a_key_always_goes_to_the_same_shard() {
    for_each_kind(|kind| {
        let pool = kind(Setup::roomy(2), 8, Balance::default()).unwrap();
        for key in 0..1000 {
            let before = submitted(&pool);
            let nothing = || Task::new(|| ());
            (0..2).for_each(|_| pool.submit_keyed(key, nothing()).unwrap());
            assert!(pool.try_submit_keyed(key, nothing()).is_ok());
            std::thread::scope(|scope| {
                scope.spawn(|| pool.submit_keyed(key, nothing()).unwrap());
            });
            let gained: Vec<u64> = submitted(&pool).iter().zip(before).map(|(now, before)| now - before).collect();
            assert_eq!(gained.iter().filter(|n| **n > 0).count(), 1, "{gained:?}");
            assert_eq!(gained.iter().sum::<u64>(), 4);
        }
        assert!(submitted(&pool).iter().all(|n| *n > 0));
        assert!(pool.pool.wait_idle());
        assert_conserved(&*pool.pool);
    });
}

/// D25: each pool has a seed of its own: keys that share a shard in one pool are apart in another, so keys cannot be chosen to
/// always collide. That two pools agree on all of 64 keys and 8 shards, or put all of them into one, has a chance of less than one
/// in 10^50.
#[test]
fn d25_each_pool_spreads_keys_in_its_own_way() {
    for_each_kind(|kind| {
        let pools: Vec<_> = (0..3).map(|_| kind(Setup::roomy(1), 8, Balance::default()).unwrap()).collect();
        let spread = |pool: &ShardedPool| (0..64).map(|key| pool.shard_of(key)).collect::<Vec<_>>();
        let spreads: Vec<_> = pools.iter().map(spread).collect();
        assert!(spreads[0] != spreads[1] && spreads[1] != spreads[2] && spreads[0] != spreads[2], "{spreads:?}");
        for (pool, spread_before) in pools.iter().zip(&spreads) {
            assert!(spread_before.iter().any(|shard| *shard != spread_before[0]), "not all in one");
            assert!(pool.pool.shutdown().is_complete());
            pool.pool.restart().unwrap();
            assert_eq!(spread(pool), *spread_before, "the seed is the pool's, as long as it lives");
        }
    });
}

/// D25: `shard_of` says where a key goes.
#[test]
fn d25_shard_of_agrees_with_where_tasks_go() {
    for_each_kind(|kind| {
        let pool = kind(Setup::roomy(2), 8, Balance::default()).unwrap();
        for key in 0..200 {
            let before = submitted(&pool);
            pool.submit_keyed(key, Task::new(|| ())).unwrap();
            assert!(pool.try_submit_keyed(key, Task::new(|| ())).is_ok());
            let mut expected = before;
            expected[pool.shard_of(key)] += 2;
            assert_eq!(submitted(&pool), expected);
        }
        assert!(pool.pool.wait_idle());
    });
    // Also while shards stand in for others.
    for_each_kind(|kind| {
        let pool = kind(Setup::new(4, 0), 4, Balance::default()).unwrap();
        pool.pool.tune(2).unwrap();
        for key in 0..50 {
            let before = submitted(&pool)[pool.shard_of(key)];
            pool.submit_keyed(key, Task::new(|| ())).unwrap();
            assert!(pool.pool.wait_idle());
            assert_eq!(submitted(&pool)[pool.shard_of(key)], before + 1);
        }
    });
    within(LIMIT, "each way of a state", || {
        let builder = StatefulPool::builder(|_| Ok(Length)).workers(1).dispatch::<Sharded>();
        let pool = builder.shards(5).build().unwrap();
        for n in 0..50 {
            let key = format!("tenant {n}");
            let submitted = || pool.stats().shards[pool.shard_of(&key)].submitted;
            let before = submitted();
            assert_eq!(pool.with().key(key.as_str()).run("four".into()).unwrap(), 4);
            assert_eq!(pool.with().key(key.clone()).spawn("four".into()).unwrap().join().unwrap(), 4);
            assert_eq!(submitted(), before + 2, "a reference is as good as the key");
        }
    });
}

/// The key may be of any type that can be hashed.
#[test]
fn a_key_is_anything_that_can_be_hashed() {
    fn one_shard(key: impl Hash) {
        let pool = Pool::builder().workers(3).queue(60).dispatch::<Sharded>().shards(7).build().unwrap();
        (0..5).for_each(|_| pool.with().key(&key).submit(|| ()).unwrap());
        let mut submitted: Vec<u64> = pool.stats().shards.iter().map(|shard| shard.submitted).collect();
        submitted.sort_unstable();
        assert_eq!(submitted, [0, 0, 0, 0, 0, 0, 5]);
    }
    within(LIMIT, "keys of several types", || {
        one_shard("tenant");
        one_shard(String::from("tenant"));
        one_shard(("tenant", 7, [1_u8; 40]));
        one_shard(());
    });
}

/// One key takes its shard's share of the room and no more; the keys of all shards together take all of it.
#[test]
fn a_greedy_key_takes_no_more_than_its_shards_share() {
    for_each_kind(|kind| {
        for (workers, queue, shards) in [(1, 0, 1), (1, 9, 2), (2, 9, 4), (4, 0, 4), (4, 13, 5)] {
            let pool = kind(Setup::new(workers, queue), shards, Balance::default()).unwrap();
            let (pause, ran) = (pool.pool.pause(), Count::new());
            let take_all = |key: &u64| (0..).take_while(|_| pool.try_submit_keyed(*key, ran.task()).is_ok()).count();
            let taken: Vec<usize> = pool.key_of_each().iter().map(take_all).collect();
            assert_eq!(taken, shares(workers + queue, shards));
            assert_eq!(pool.each(|shard| shard.queued), taken);
            assert!(pool.pool.try_submit(ran.task()).unwrap_err().is_full());
            drop(pause);
            assert!(pool.pool.wait_idle());
            assert_eq!(ran.get(), workers + queue);
        }
    });
}

/// At a full shard a submitter with the key waits, while those without a key overtake it and run. The end of other tasks does not
/// let it in; the end of one of its shard does.
#[test]
fn a_full_shard_lets_its_waiter_in_when_a_task_of_it_ends() {
    for_each_kind(|kind| {
        for shard in 0..2 {
            let pool = kind(Setup::new(3, 1), 2, Balance::default()).unwrap();
            let key = pool.key_of_each()[shard];
            let (greedy, ran) = (Gate::new(), Count::new());
            (0..2).for_each(|_| pool.submit_keyed(key, greedy.task()).unwrap());
            greedy.await_arrivals(2);
            let waiter = submitter(&pool, key, greedy.task());
            await_waiting(&*pool.pool, 1);
            for passed in 1..=20 {
                pool.pool.submit(ran.task()).unwrap();
                eventually("the task without a key has ended", || pool.pool.stats().completed == passed);
                assert_eq!((pool.pool.waiting(), greedy.arrived()), (1, 2));
            }
            greedy.pass(1);
            waiter.join().unwrap().unwrap();
            greedy.await_arrivals(3);
            greedy.open();
            assert!(pool.pool.wait_idle());
            assert_conserved(&*pool.pool);
        }
    });
}

/// A submitter that waits at one shard is overtaken by those that go to another, and by later waiters there.
#[test]
fn waiters_of_one_shard_do_not_hold_up_those_of_another() {
    for_each_kind(|kind| {
        let pool = kind(Setup::new(4, 0), 2, Balance::default()).unwrap();
        let (keys, gates) = (pool.key_of_each(), [Gate::new(), Gate::new()]);
        (0..2).for_each(|_| pool.submit_keyed(keys[0], gates[0].task()).unwrap());
        let first = submitter(&pool, keys[0], gates[0].task());
        await_waiting(&*pool.pool, 1);
        // There is room at the other: in at once, past the one that waits.
        assert!(pool.try_submit_keyed(keys[1], gates[1].task()).is_ok());
        pool.submit_keyed(keys[1], gates[1].task()).unwrap();
        gates[1].await_arrivals(2);
        let second = submitter(&pool, keys[1], gates[1].task());
        await_waiting(&*pool.pool, 2);
        gates[1].pass(1);
        second.join().unwrap().unwrap();
        gates[1].await_arrivals(3);
        assert_eq!((pool.pool.waiting(), submitted(&pool)), (1, vec![2, 3]));
        gates[0].open();
        first.join().unwrap().unwrap();
        gates[1].open();
        assert!(pool.pool.wait_idle());
    });
}

/// Closing refuses submitters that wait with a key: the reason is closed, and the task comes back.
#[test]
fn shutdown_sends_keyed_waiters_away_with_their_tasks() {
    for_each_kind(|kind| {
        let (pool, gate, ran) = (kind(Setup::new(2, 0), 2, Balance::default()).unwrap(), Gate::new(), Count::new());
        let keys = pool.key_of_each();
        keys.iter().for_each(|key| pool.submit_keyed(*key, gate.task()).unwrap());
        gate.await_arrivals(2);
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..4)
                .map(|n| {
                    let (pool, key, task) = (&pool, keys[n % 2], ran.task());
                    scope.spawn(move || pool.submit_keyed(key, task).unwrap_err())
                })
                .collect();
            await_waiting(&*pool.pool, 4);
            let closer = scope.spawn(|| pool.pool.shutdown());
            for waiter in waiters {
                let refusal = waiter.join().unwrap();
                assert_eq!(refusal.kind(), SubmitErrorKind::Closed);
                refusal.into_task().run();
            }
            gate.open();
            assert!(closer.join().unwrap().is_complete());
        });
        assert_eq!(ran.get(), 4, "the tasks came back whole");
        assert!(pool.submit_keyed(keys[0], ran.task()).unwrap_err().is_closed());
        assert!(pool.try_submit_keyed(keys[1], ran.task()).unwrap_err().is_closed());
    });
}

struct Length;

impl Worker for Length {
    type Input = String;
    type Output = usize;

    fn process(&mut self, input: String, _: &Context<'_>) -> usize {
        input.len()
    }
}

/// A refusal is of the kind that it should be and gives back what was handed in, by each of the keyed methods.
#[test]
fn a_keyed_refusal_gives_back_what_was_handed_in() {
    within(LIMIT, "PoolWithFunc", || {
        let builder = PoolWithFunc::builder(|word: String| word.len()).workers(1).queue(1).dispatch::<Sharded>();
        let pool = builder.shards(2).build().unwrap();
        let pause = pool.pause();
        pool.with().key(7).submit("first".into()).unwrap();
        let refusal = pool.with().key(7).try_submit("second".into()).unwrap_err();
        assert_eq!((refusal.kind(), &*refusal.into_task()), (SubmitErrorKind::Full, "second"));
        drop(pause);
        pool.shutdown();
        assert_eq!(pool.with().key(7).submit("third".into()).unwrap_err().into_task(), "third");
    });
    within(LIMIT, "StatefulPool", || {
        let builder = StatefulPool::builder(|_| Ok(Length)).workers(1).queue(1).dispatch::<Sharded>();
        let pool = builder.shards(2).build().unwrap();
        assert_eq!(pool.with().key("key").run("four".into()).unwrap(), 4);
        let pause = pool.pause();
        let first = pool.with().key("key").spawn("first".into()).unwrap();
        let refusal = pool.with().key("key").try_spawn("second".into()).unwrap_err();
        assert_eq!((refusal.kind(), &*refusal.into_task()), (SubmitErrorKind::Full, "second"));
        drop(pause);
        assert_eq!(first.join().unwrap(), 5);
        pool.shutdown();
        assert_eq!(pool.with().key("key").spawn("third".into()).unwrap_err().into_task(), "third");
        let refused = pool.with().key("key").run("fourth".into()).unwrap_err();
        assert_eq!(refused.into_input().as_deref(), Some("fourth"));
    });
    within(LIMIT, "Pool", || {
        let pool = Pool::builder().workers(1).queue(1).dispatch::<Sharded>().shards(2).build().unwrap();
        let (pause, ran) = (pool.pause(), Count::new());
        pool.with().key("key").submit(|| ()).unwrap();
        let counted = ran.clone();
        let refusal = pool.with().key("key").try_submit(move || _ = counted.up()).unwrap_err();
        assert!(refusal.is_full());
        refusal.into_task()();
        assert_eq!(ran.get(), 1);
        drop(pause);
    });
}

/// With less room than shards some have none, and others stand in: a task of any key gets in and runs. The bound holds, and
/// with more room each key is back in its own shard.
#[test]
fn a_key_whose_shard_has_no_room_left_gets_in_elsewhere() {
    for_each_kind(|kind| {
        let pool = kind(Setup::new(4, 0), 4, Balance::default()).unwrap();
        let keys = pool.key_of_each();
        for room in [1, 3, 2, 1] {
            pool.pool.tune(room).unwrap();
            let ran = Count::new();
            for key in &keys {
                pool.submit_keyed(*key, ran.task()).unwrap();
                assert!(pool.pool.wait_idle());
                assert!(pool.try_submit_keyed(*key, ran.task()).is_ok());
                assert!(pool.pool.wait_idle());
            }
            assert_eq!(ran.get(), 8);
            let pause = pool.pool.pause();
            let taken = keys.iter().cycle().take(12).filter(|key| pool.try_submit_keyed(**key, ran.task()).is_ok());
            assert_eq!(taken.count(), room);
            drop(pause);
            assert!(pool.pool.wait_idle());
        }
        pool.pool.tune(4).unwrap();
        let before = submitted(&pool);
        for (shard, key) in keys.iter().enumerate() {
            pool.submit_keyed(*key, Task::new(|| ())).unwrap();
            assert_eq!(submitted(&pool)[shard], before[shard] + 1);
        }
    });
}

/// A submitter that waits for room in a shard that loses all of it is let in elsewhere.
#[test]
fn a_waiter_whose_shard_loses_its_room_gets_in_elsewhere() {
    for_each_kind(|kind| {
        for _ in 0..20 {
            let pool = kind(Setup::new(4, 0), 4, Balance::default()).unwrap();
            let keys = pool.key_of_each();
            let (gate, ran) = (Gate::new(), Count::new());
            keys.iter().for_each(|key| pool.submit_keyed(*key, gate.task()).unwrap());
            gate.await_arrivals(4);
            let waiters: Vec<_> = keys.iter().map(|key| submitter(&pool, *key, ran.task())).collect();
            await_waiting(&*pool.pool, 4);
            pool.pool.tune(1).unwrap();
            gate.open();
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap().unwrap());
            assert!(pool.pool.wait_idle());
            assert_eq!(ran.get(), 4);
        }
    });
}
