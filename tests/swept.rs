//! D18: what was cancelled, or run by whoever waited for it, holds no place in the queue.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use formicary::{CancelToken, Context, Dispatch, Nested, Pool, PoolWithFunc, Sharded, StatefulPool, Worker};
use parking_lot::Mutex;
use support::closures::{assert_quiet, occupy, pool};
use support::races::quiet_panic;
use support::waking::block_on;
use support::{Count, Gate, LIMIT, assert_conserved, await_waiting, eventually, on_every_dispatch, within};

/// Counts when it is dropped.
struct Captured(Count);

impl Drop for Captured {
    fn drop(&mut self) {
        self.0.up();
    }
}

/// Fills a queue of ten with tasks that are cancelled then, in any of the ways; says how many of them there are.
type Fill<D> = fn(&Pool<D>, &Count);

fn by_token<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let token = CancelToken::new();
    for _ in 0..10 {
        let captured = Captured(dropped.clone());
        pool.with().token(&token.child()).submit(move || drop(captured)).unwrap();
    }
    token.cancel();
}

fn by_the_token_of_a_spawn<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let token = CancelToken::new();
    for _ in 0..10 {
        let captured = Captured(dropped.clone());
        drop(block_on(pool.with().token(&token).spawn_async(move || drop(captured))).unwrap());
    }
    token.cancel();
}

fn by_deadline<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let token = CancelToken::new();
    token.cancel_after(Duration::from_millis(20));
    for _ in 0..10 {
        let captured = Captured(dropped.clone());
        // Too late on a machine that is busy.
        _ = pool.with().token(&token).submit(move || drop(captured));
    }
    // Somebody else has had a look meanwhile.
    _ = pool.try_submit(|| ());
    token.wait();
}

fn by_handle<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let spawn = || {
        let captured = Captured(dropped.clone());
        pool.spawn(move || drop(captured)).unwrap()
    };
    let handles: Vec<_> = std::iter::repeat_with(spawn).take(10).collect();
    assert_eq!(pool.queued(), 10);
    assert!(handles.iter().all(formicary::Handle::cancel));
    // At once, and not when their turn comes.
    assert_eq!((pool.queued(), pool.stats().cancelled, dropped.get()), (0, 10, 10));
}

fn by_the_handles_token<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    for _ in 0..10 {
        let captured = Captured(dropped.clone());
        pool.spawn(move || drop(captured)).unwrap().token().cancel();
    }
}

fn by_their_group<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let (parent, group) = (CancelToken::new(), pool.group::<(), ()>());
    let other = pool.group_with::<(), ()>(&parent);
    for _ in 0..5 {
        let captured = [(); 2].map(|()| Captured(dropped.clone()));
        let [one, two] = captured;
        group
            .spawn(move |_| {
                drop(one);
                Ok(())
            })
            .unwrap();
        other
            .spawn(move |_| {
                drop(two);
                Ok(())
            })
            .unwrap();
    }
    // One is dropped, the other is only told.
    drop(group);
    parent.cancel();
    std::mem::forget(other);
}

fn by_their_view<D: Dispatch>(pool: &Pool<D>, dropped: &Count) {
    let view = pool.limited(10);
    let spawn = || {
        let captured = Captured(dropped.clone());
        view.spawn(move || drop(captured)).unwrap()
    };
    let handles: Vec<_> = std::iter::repeat_with(spawn).take(10).collect();
    assert!(handles.iter().all(formicary::Handle::cancel));
}

/// D18: ten cancelled tasks never keep a queue of ten full, whoever wants in; and they are counted and dropped once.
fn cancelled<D: Dispatch>() {
    let ways: [Fill<D>; 7] = [
        by_token,
        by_the_token_of_a_spawn,
        by_deadline,
        by_handle,
        by_the_handles_token,
        by_their_group,
        by_their_view,
    ];
    for (number, fill) in ways.into_iter().enumerate() {
        for is_paused in [false, true] {
            let (pool, dropped, ran) = (pool::<D>(1, 10), Count::new(), Count::new());
            let gate = occupy(&pool);
            let pause = is_paused.then(|| pool.pause());
            fill(&pool, &dropped);
            let submit = |verb: usize| {
                let ran = ran.clone();
                let f = move || _ = ran.up();
                match verb {
                    0 => pool.try_submit(f).map_err(|refusal| refusal.kind()),
                    1 => pool.submit(f).map_err(|refusal| refusal.kind()),
                    2 => pool.with().room_timeout(Duration::ZERO).submit(f).map_err(|refusal| refusal.kind()),
                    3 => pool.spawn(f).map(drop).map_err(|refusal| refusal.kind()),
                    _ => block_on(pool.submit_async(f)).map_err(|refusal| refusal.kind()),
                }
            };
            // The way by deadline has had somebody in.
            let others = pool.stats().submitted as usize - 11;
            for verb in 0..10 - others.min(1) {
                assert_eq!(submit((verb + number) % 5), Ok(()), "way {number}, {verb}");
            }
            assert!(pool.try_submit(|| ()).unwrap_err().is_full());
            assert_eq!((pool.queued(), dropped.get()), (10, 10), "way {number}");
            assert_eq!(pool.stats().cancelled, 10, "way {number}");
            drop(pause);
            gate.open();
            assert_quiet(&pool);
            assert_eq!(ran.get() + others.min(1), 10);
        }
    }
}

#[test]
fn d18_cancelled_tasks_never_keep_a_queue_full() {
    on_every_dispatch!(cancelled);
}

struct Forgetful;

impl Worker for Forgetful {
    type Input = Option<Gate>;
    type Output = ();

    fn process(&mut self, gate: Option<Gate>, _: &Context<'_>) {
        gate.inspect(Gate::wait);
    }
}

/// D18: the same on the other kinds of pool: payloads with a token, and inputs with a handle.
fn payloads<D: Dispatch>() {
    let (token, gate) = (CancelToken::new(), Gate::new());
    let func = |gate: Option<Gate>| _ = gate.inspect(Gate::wait);
    let pool = PoolWithFunc::builder(func).workers(1).queue(10).dispatch::<D>().build().unwrap();
    pool.submit(Some(gate.clone())).unwrap();
    gate.await_arrivals(1);
    (0..10).for_each(|_| pool.with().token(&token).submit(None).unwrap());
    assert!(pool.try_submit(None).unwrap_err().is_full());
    token.cancel();
    (0..10).for_each(|_| pool.try_submit(None).unwrap());
    assert!(pool.try_submit(None).unwrap_err().is_full());
    gate.open();
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed, stats.cancelled), (21, 11, 10));

    let gate = Gate::new();
    let pool = StatefulPool::builder(|_| Ok(Forgetful)).workers(1).queue(10).dispatch::<D>().build().unwrap();
    let first = pool.spawn(Some(gate.clone())).unwrap();
    gate.await_arrivals(1);
    let handles: Vec<_> = (0..10).map(|_| pool.spawn(None).unwrap()).collect();
    assert!(pool.try_spawn(None).unwrap_err().is_full());
    assert!(handles.iter().all(formicary::Handle::cancel));
    assert_eq!((pool.queued(), pool.stats().cancelled), (0, 10));
    let handles: Vec<_> = (0..10).map(|_| pool.try_spawn(None).unwrap()).collect();
    // Callers who have given up hold no place either.
    drop(handles.iter().map(formicary::Handle::cancel).collect::<Vec<_>>());
    for _ in 0..30 {
        assert!(pool.with().timeout(Duration::ZERO).run(None).unwrap_err().is_timed_out());
    }
    assert_eq!(pool.queued(), 0);
    gate.open();
    first.join().unwrap();
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.cancelled);
}

#[test]
fn d18_cancelled_payloads_never_keep_a_queue_full() {
    on_every_dispatch!(payloads);
}

/// D18: the live ones keep their order and are not lost, however often the others are swept out from among them.
fn order<D: Dispatch>() {
    for is_drained in [false, true] {
        // One worker, so one shard and one order.
        let pool = pool::<D>(1, 31);
        let (pause, log) = (pool.pause(), Arc::new(Mutex::new(Vec::new())));
        let note = |number: usize| {
            let log = Arc::clone(&log);
            move || log.lock().push(number)
        };
        let (mut number, mut live, mut cancelled) = (0, Vec::new(), 0);
        for _ in 0..4 {
            // Every second one of those that find room.
            let token = CancelToken::new();
            while pool.try_submit(note(number)).is_ok() {
                live.push(number);
                if pool.queued() < 32 {
                    pool.with().token(&token).submit(note(number + 1)).unwrap();
                    cancelled += 1;
                }
                number += 2;
            }
            token.cancel();
        }
        if is_drained {
            pool.shutdown_now().into_iter().for_each(formicary::Task::run);
            drop(pause);
        } else {
            drop(pause);
            assert!(pool.wait_idle());
            pool.submit(note(number)).unwrap();
            live.push(number);
            assert!(pool.wait_idle());
        }
        assert_eq!(*log.lock(), live);
        // All but the last round's were in the way.
        assert!(pool.stats().cancelled >= cancelled - 4, "{:?}", pool.stats());
        assert_conserved(&*pool);
    }
}

#[test]
fn d18_what_is_left_keeps_its_order() {
    on_every_dispatch!(order);
}

/// D18: whoever waited in line when the tasks were cancelled gets in, at the latest when its time is up.
fn waiting<D: Dispatch>() {
    let (pool, token) = (pool::<D>(1, 2), CancelToken::new());
    let gate = occupy(&pool);
    (0..2).for_each(|_| pool.with().token(&token).submit(|| ()).unwrap());
    thread::scope(|scope| {
        let waiter =
            scope.spawn(|| pool.with().room_timeout(Duration::from_millis(200)).submit(|| ()).map_err(|e| e.kind()));
        await_waiting(&*pool, 1);
        token.cancel();
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
    gate.open();
    assert_quiet(&pool);
}

#[test]
fn d18_a_submitter_in_line_gets_in() {
    on_every_dispatch!(waiting);
}

/// D18: the drop of what a cancelled task had captured panics: the submitter that sweeps it out has nothing of it.
fn bombs<D: Dispatch>() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            quiet_panic();
        }
    }
    let (pool, token) = (pool::<D>(1, 2), CancelToken::new());
    let gate = occupy(&pool);
    for _ in 0..2 {
        let bomb = Bomb;
        pool.with().token(&token).submit(move || std::mem::forget(bomb)).unwrap();
    }
    token.cancel();
    (0..2).for_each(|_| pool.try_submit(|| ()).unwrap());
    assert_eq!((pool.stats().handler_panics, pool.stats().cancelled), (2, 2));
    gate.open();
    assert_quiet(&pool);
}

#[test]
fn d18_a_capture_that_panics_does_not_reach_the_submitter() {
    on_every_dispatch!(bombs);
}

/// D18: a task that joins what it spawns, or waits for its scopes and groups, needs no room for what is over, and leaves it to
/// outsiders.
fn joined_inside<D: Dispatch>() {
    for nested in [Nested::Any, Nested::AtMost(3), Nested::Bounded] {
        let builder = Pool::builder().workers(1).queue(10).nonblocking(true).nested(nested);
        let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
        let (gate, inner) = (Gate::new(), Arc::downgrade(&pool));
        let wait = gate.clone();
        let parent = pool.spawn(move || {
            let pool = inner.upgrade().unwrap();
            for n in 0..50 {
                assert_eq!(pool.spawn(move || n).unwrap().join().unwrap(), n);
                assert_eq!((pool.queued(), pool.stats().overcommitted), (0, 0));
            }
            for _ in 0..5 {
                let group = pool.group::<_, ()>();
                (0..5).for_each(|n| group.spawn(move |_| Ok(n)).unwrap());
                assert_eq!(group.wait().unwrap(), [0, 1, 2, 3, 4]);
                let count = Count::new();
                pool.scope(|s| (0..5).for_each(|_| s.spawn(|| count.up())));
                assert_eq!((count.get(), pool.queued(), pool.stats().overcommitted), (5, 0, 0));
            }
            wait.wait();
        });
        gate.await_arrivals(1);
        // One task is there, and it runs.
        assert_eq!((pool.queued(), pool.stats().running), (0, 1));
        for _ in 0..10 {
            pool.submit(|| ()).unwrap();
        }
        assert!(pool.submit(|| ()).unwrap_err().is_full());
        gate.open();
        parent.unwrap().join().unwrap();
        assert_quiet(&pool);
        assert_eq!((pool.stats().completed, pool.stats().rejected), (111, 1));
    }
}

#[test]
fn d18_what_its_waiter_has_run_holds_no_place() {
    on_every_dispatch!(joined_inside);
}

/// D18: nor do tasks with a key that are cancelled keep their shard full.
#[test]
fn d18_a_shard_is_swept_for_its_key() {
    within(LIMIT, "Sharded", || {
        let pool = Pool::builder().workers(1).queue(3).dispatch::<Sharded>().shards(2).build().unwrap();
        let pause = pool.pause();
        let fill = || {
            let (mut count, token) = (0, CancelToken::new());
            // Only those of the key's shard count against it.
            while pool.with().key(7).try_submit(|| ()).is_ok() {
                count += 1;
            }
            drop(token);
            count
        };
        assert_eq!(fill(), 2);
        let handles: Vec<_> = (0..2).map(|_| pool.spawn(|| ()).unwrap()).collect();
        assert!(pool.try_submit(|| ()).unwrap_err().is_full());
        assert!(handles.iter().all(formicary::Handle::cancel));
        assert!(pool.with().key(7).try_submit(|| ()).unwrap_err().is_full());
        (0..2).for_each(|_| pool.try_submit(|| ()).unwrap());
        drop(pause);
        assert!(pool.wait_idle());
        assert_conserved(&pool);
        eventually("it is quiet", || pool.stats().running == 0);
    });
}
