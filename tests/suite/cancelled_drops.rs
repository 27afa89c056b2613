//! A cancelled task is dropped, on a worker or by the thread that ends its owner, and what it captured panics in its drop: it
//! counts as cancelled all the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crate::support::races::quiet_panic;
use crate::support::{Count, Gate, on_every_dispatch};
use formicary::{
    Builder, CancelToken, Context, Dispatch, Handle, Pool, PoolWithFunc, StatefulPool, Task, Worker, WorkerPool,
};

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            quiet_panic();
        }
    }
}

/// Defuses what was given to it.
struct Careful;

impl Worker for Careful {
    type Input = Bomb;
    type Output = ();

    fn process(&mut self, bomb: Bomb, _: &Context<'_>) {
        std::mem::forget(bomb);
    }
}

/// A pool of one worker that counts the calls of its panic handler.
fn with<K, D: Dispatch>(builder: Builder<K>, told: &Count) -> Builder<K, D> {
    let told = told.clone();
    builder.workers(1).min_workers(1).dispatch::<D>().panic_handler(move |_| {
        told.up();
    })
}

fn is_cancelled(handle: Handle<()>) -> bool {
    handle.join().unwrap_err().is_cancelled()
}

/// `enter` submits a bomb and says how to ask whether it was cancelled.
fn check<I, A: FnOnce() -> bool>(pool: &dyn WorkerPool<I>, told: &Count, enter: impl FnOnce(&CancelToken) -> A) {
    let (before, told_before, token) = (pool.stats(), told.get(), CancelToken::new());
    let pause = pool.pause();
    let is_cancelled = enter(&token);
    token.cancel();
    drop(pause);
    assert!(pool.wait_idle());
    assert!(is_cancelled());
    let stats = pool.stats();
    let ended = (stats.completed - before.completed, stats.panicked, stats.cancelled - before.cancelled);
    assert_eq!((stats.submitted - before.submitted, ended), (1, (0, 0, 1)), "{stats:?}");
    assert_eq!((stats.handler_panics - before.handler_panics, told.get() - told_before), (1, 1), "{stats:?}");
}

fn kinds<D: Dispatch>() {
    let told = Count::new();
    let pool: Pool<D> = with(Pool::builder(), &told).build().unwrap();
    check(&pool, &told, |token| {
        let bomb = Bomb;
        pool.with().token(token).submit(move || std::mem::forget(bomb)).unwrap();
        || true
    });
    check(&pool, &told, |token| {
        let bomb = Bomb;
        let handle = pool.with().token(token).spawn(move || std::mem::forget(bomb)).unwrap();
        || is_cancelled(handle)
    });
    check(&pool, &told, |token| {
        let (group, bomb) = (pool.group_with::<(), ()>(token), Bomb);
        let defuse = move |_: &CancelToken| {
            std::mem::forget(bomb);
            Ok(())
        };
        group.spawn(defuse).unwrap();
        move || group.collect()[0].is_err()
    });

    let told = Count::new();
    let pool: PoolWithFunc<Bomb, D> = with(PoolWithFunc::builder(std::mem::forget), &told).build().unwrap();
    check(&pool, &told, |token| {
        pool.with().token(token).submit(Bomb).unwrap();
        || true
    });

    let (told, made) = (Count::new(), Count::new());
    let counts = made.clone();
    let builder = StatefulPool::builder(move |_| {
        counts.up();
        Ok(Careful)
    });
    let pool: StatefulPool<Careful, D> = with(builder, &told).build().unwrap();
    check(&pool, &told, |token| {
        let handle = pool.with().token(token).spawn(Bomb).unwrap();
        || is_cancelled(handle)
    });
    pool.run(Bomb).unwrap();
    assert_eq!(made.get(), 1, "the state had no part in it");
}

#[test]
fn a21_a_capture_whose_drop_panics_does_not_unsay_a_cancel() {
    on_every_dispatch!(kinds);
}

/// The worker that waits for the task finds it cancelled, before it pops it from the queue.
fn inside<D: Dispatch>() {
    let told = Count::new();
    let pool: Arc<Pool<D>> = Arc::new(with(Pool::builder(), &told).build().unwrap());
    let own = Arc::downgrade(&pool);
    let outer = move || {
        let (pool, token, bomb) = (own.upgrade().unwrap(), CancelToken::new(), Bomb);
        let inner = pool.with().token(&token).spawn(move || std::mem::forget(bomb)).unwrap();
        token.cancel();
        is_cancelled(inner)
    };
    assert!(pool.run(outer).unwrap());
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed, stats.cancelled, stats.panicked), (2, 1, 1, 0), "{stats:?}");
    assert_eq!((stats.handler_panics, told.get()), (1, 1));
}

#[test]
fn a21_a_cancelled_task_that_its_waiter_drops_is_counted_once() {
    on_every_dispatch!(inside);
}

/// `leave` submits to a pool whose worker is held, and ends `bombs` tasks that wait there, on this thread: each of their panics is counted.
fn left<D: Dispatch>(bombs: u64, leave: impl FnOnce(&Pool<D>)) {
    let (told, gate) = (Count::new(), Gate::new());
    let pool: Pool<D> = with(Pool::builder(), &told).build().unwrap();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    leave(&pool);
    let stats = pool.stats();
    assert_eq!((stats.handler_panics, stats.panicked, told.get()), (bombs, 0, 0), "{stats:?}");
    gate.open();
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.cancelled, "{stats:?}");
    assert_eq!((stats.handler_panics, told.get()), (bombs, 0), "{stats:?}");
}

fn on_the_owners_thread<D: Dispatch>() {
    left::<D>(3, |pool| {
        let group = pool.group::<(), ()>();
        for bomb in [Bomb, Bomb, Bomb] {
            let defuse = move |_: &CancelToken| {
                std::mem::forget(bomb);
                Ok(())
            };
            group.spawn(defuse).unwrap();
        }
    });
    left::<D>(2, |pool| {
        let items = (0..3).map(|n| {
            if n == 2 {
                quiet_panic();
            }
            Bomb
        });
        let mut map = pool.map(items, std::mem::forget).window(3);
        assert!(catch_unwind(AssertUnwindSafe(|| map.next())).is_err());
    });
    left::<D>(2, |pool| {
        let view = pool.limited(1);
        view.submit(|| ()).unwrap();
        for bomb in [Bomb, Bomb] {
            view.submit(move || std::mem::forget(bomb)).unwrap();
        }
    });
}

#[test]
fn a21_a_capture_whose_drop_panics_on_its_owners_thread_is_counted() {
    on_every_dispatch!(on_the_owners_thread);
}

/// A task that was given back belongs to the caller that runs it, and so does its panic, also one in a drop that takes the place of
/// a run.
fn a_task_in_hand_panics_for_its_holder<D: Dispatch>() {
    let pool: Pool<D> = Pool::builder().workers(1).queue(4).dispatch().build().unwrap();
    let (pause, token) = (pool.pause(), CancelToken::new());
    let bomb = Bomb;
    pool.with().token(&token).submit(move || std::mem::forget(bomb)).unwrap();
    let handle = pool.spawn(quiet_panic).unwrap();
    let returned = pool.shutdown_now();
    token.cancel();
    assert!(is_cancelled(handle));
    let panicked = |task: Task| catch_unwind(AssertUnwindSafe(|| task.run())).is_err();
    assert_eq!(returned.into_iter().map(panicked).collect::<Vec<_>>(), [true, true]);
    assert_eq!((pool.stats().returned, pool.stats().panicked), (2, 0));
    drop(pause);
}

#[test]
fn tasks_in_hand_panic_for_their_holders() {
    on_every_dispatch!(a_task_in_hand_panics_for_its_holder);
}
