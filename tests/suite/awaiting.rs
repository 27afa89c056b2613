//! Waiting without a thread: for results, for room in the pool, and for tokens.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use crate::support::closures::{occupy, pool};
use crate::support::races::{quiet_panic, together};
use crate::support::waking::{Bell, block_on, poll_with};
use crate::support::{
    Gate, LIMIT, assert_conserved, await_waiting, eventually, on_every_dispatch, quiet_panics, within,
};
use formicary::{CancelToken, Context, Dispatch, Pool, PoolWithFunc, StatefulPool, SubmitErrorKind, Worker};
use parking_lot::Mutex;

/// A pool of one worker, which is occupied until the gate opens, and no queue.
fn full<D: Dispatch>() -> (Arc<Pool<D>>, Gate) {
    let pool = pool::<D>(1, 0);
    let gate = occupy(&pool);
    (pool, gate)
}

struct Doubles;

impl Worker for Doubles {
    type Input = u32;
    type Output = u32;

    fn process(&mut self, n: u32, _: &Context<'_>) -> u32 {
        2 * n
    }
}

/// A20, A33: results by `.await`, before and after the task's end, with every outcome of a task.
fn results<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(2, 100);
    let gate = Gate::new();
    let held = gate.clone();
    let late = pool.spawn(move || held.wait()).unwrap();
    let early = pool.spawn(|| 7).unwrap();
    assert_eq!(block_on(early).unwrap(), 7);
    let failed = pool.spawn(|| Err::<(), _>("burnt")).unwrap();
    assert_eq!(block_on(failed).unwrap(), Err("burnt"));
    let panics = pool.spawn(|| -> u32 { std::panic::panic_any(42_u8) }).unwrap();
    let payload = block_on(panics).unwrap_err().into_panic().unwrap();
    assert_eq!(payload.downcast_ref(), Some(&42_u8));
    let opener = thread::spawn(move || gate.open());
    block_on(late).unwrap();
    opener.join().unwrap();

    let pause = pool.pause();
    let cancelled = pool.spawn(|| 7).unwrap();
    let taken_out = pool.spawn(|| 7).unwrap();
    assert!(cancelled.cancel());
    assert!(block_on(cancelled).unwrap_err().is_cancelled());
    assert_eq!(pool.shutdown_now().len(), 1);
    assert!(block_on(taken_out).unwrap_err().is_cancelled());
    drop(pause);
    assert_conserved(&*pool);
}

#[test]
fn a20_awaiting_gives_what_joining_gives() {
    on_every_dispatch!(results);
}

/// All three kinds of pool, submitted to and joined without a thread that waits.
fn kinds<D: Dispatch>() {
    let closures = pool::<D>(1, 1);
    let sum = Arc::new(AtomicUsize::new(0));
    let adds = Arc::clone(&sum);
    let builder = PoolWithFunc::builder(move |n: usize| adds.fetch_add(n, SeqCst));
    let function = builder.workers(1).queue(1).dispatch::<D>().build().unwrap();
    let states = StatefulPool::builder(|_| Ok(Doubles)).workers(1).queue(1).dispatch::<D>().build().unwrap();
    block_on(async {
        for n in 0..200 {
            closures.submit_async(|| ()).await.unwrap();
            assert_eq!(closures.spawn_async(move || n).await.unwrap().await.unwrap(), n);
            function.submit_async(1).await.unwrap();
            assert_eq!(states.spawn_async(n).await.unwrap().await.unwrap(), 2 * n);
        }
    });
    assert!(function.wait_idle());
    assert_eq!((sum.load(SeqCst), closures.stats().completed, states.stats().completed), (200, 400, 200));
}

#[test]
fn all_kinds_are_used_without_blocking() {
    on_every_dispatch!(kinds);
}

/// Threads and futures wait in one FIFO queue. A future that the scheduler keeps from being polled for long may be overtaken, so
/// not every round needs to show the order. Threads among themselves are always in order.
fn one_queue<D: Dispatch>() {
    let round = || {
        let (pool, gate) = full::<D>();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiters = Vec::new();
        for n in 0..10 {
            let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
            waiters.push(thread::spawn({
                let pool = Arc::clone(&pool);
                move || {
                    let task = move || order.lock().push(n);
                    if n % 2 == 0 { pool.submit(task).unwrap() } else { block_on(pool.submit_async(task)).unwrap() }
                }
            }));
            await_waiting(&*pool, n + 1);
        }
        gate.open();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert!(pool.wait_idle());
        let order = order.lock();
        assert_eq!(order.len(), 10);
        assert!(order.iter().filter(|n| *n % 2 == 0).is_sorted());
        order.is_sorted()
    };
    assert!((0..50).any(|_| round()));
}

#[test]
fn a27_futures_and_threads_wait_in_one_queue() {
    on_every_dispatch!(one_queue);
}

/// A waiting future is dropped, at any place in the wait queue, also when it has just been notified: those behind it get in.
fn dropped_while_waiting<D: Dispatch>() {
    for round in 0..30 {
        let (pool, gate) = full::<D>();
        let (bell, captured) = (Bell::new(), Arc::new(()));
        let held = Arc::clone(&captured);
        let mut first = Box::pin(pool.submit_async(move || drop(held)));
        assert!(poll_with(first.as_mut(), &bell).is_pending());
        let others: Vec<_> = (0..2)
            .map(|n| {
                let waits = Arc::clone(&pool);
                let thread = thread::spawn(move || match n {
                    0 => waits.submit(|| ()).unwrap(),
                    _ => block_on(waits.submit_async(|| ())).unwrap(),
                });
                await_waiting(&*pool, n + 2);
                thread
            })
            .collect();
        match round % 3 {
            0 => {
                drop(first);
                gate.open();
            }
            1 => {
                gate.open();
                // Notified, and not polled again.
                eventually("the first is notified", || bell.rung() > 0);
                drop(first);
            }
            _ => {
                let first = Mutex::new(Some(first));
                together(2, |n| if n == 0 { drop(first.lock().take()) } else { gate.open() });
            }
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!((Arc::strong_count(&captured), pool.waiting()), (1, 0));
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().submitted, 3);
        assert_conserved(&*pool);
    }
}

#[test]
fn a_future_that_is_dropped_while_it_waits_strands_no_submitter() {
    on_every_dispatch!(dropped_while_waiting);
}

/// Every poll with another waker: the last one is woken, and no other.
fn wakers_change<D: Dispatch>() {
    let (pool, gate) = full::<D>();
    let mut entering = Box::pin(pool.spawn_async(|| 7));
    let bells: Vec<_> = (0..5).map(|_| Bell::new()).collect();
    assert!(bells.iter().all(|bell| poll_with(entering.as_mut(), bell).is_pending()));
    assert_eq!(pool.waiting(), 1);
    gate.open();
    eventually("the last is woken", || bells[4].rung() > 0);
    assert_eq!(bells[..4].iter().map(|bell| bell.rung()).sum::<usize>(), 0);
    eventually("all wakers are gone", || bells.iter().all(|bell| Arc::strong_count(bell) == 1));
    // Polled to its end on another thread.
    let handle = within(LIMIT, "moved", {
        let handle = block_on(entering).unwrap();
        move || block_on(handle).unwrap()
    });
    assert_eq!(handle, 7);

    let gate = Gate::new();
    let held = gate.clone();
    let mut handle = pool.spawn(move || held.wait()).unwrap();
    let bells: Vec<_> = (0..5).map(|_| Bell::new()).collect();
    assert!(bells.iter().all(|bell| poll_with(Pin::new(&mut handle), bell).is_pending()));
    gate.open();
    eventually("the last is woken", || bells[4].rung() > 0);
    assert_eq!(bells.iter().map(|bell| bell.rung()).sum::<usize>(), 1);
    assert!(bells.iter().all(|bell| Arc::strong_count(bell) == 1));
    assert!(poll_with(Pin::new(&mut handle), &bells[0]).is_ready());
    let Poll::Ready(Err(taken)) = poll_with(Pin::new(&mut handle), &bells[0]) else { panic!("taken") };
    assert!(taken.to_string().contains("taken"));

    let token = CancelToken::new();
    let mut cancelled = Box::pin(token.cancelled());
    let bells: Vec<_> = (0..5).map(|_| Bell::new()).collect();
    assert!(bells.iter().all(|bell| poll_with(cancelled.as_mut(), bell).is_pending()));
    token.cancel();
    assert_eq!(bells.iter().map(|bell| bell.rung()).collect::<Vec<_>>(), [0, 0, 0, 0, 1]);
    assert!(poll_with(cancelled.as_mut(), &bells[0]).is_ready());
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    on_every_dispatch!(wakers_change);
}

/// A future that was notified and is not polled keeps its place in the wait queue, but no room: a later submitter may take that.
fn head_of_the_queue<D: Dispatch>() {
    let (pool, gate) = full::<D>();
    let bell = Bell::new();
    let mut first = Box::pin(pool.submit_async(|| ()));
    assert!(poll_with(first.as_mut(), &bell).is_pending());
    gate.open();
    eventually("it is notified", || bell.rung() > 0);
    assert!(pool.wait_idle());
    pool.with().room_timeout(LIMIT).submit(|| ()).unwrap();
    assert!(pool.wait_idle());
    assert_eq!(pool.waiting(), 1);
    assert!(matches!(poll_with(first.as_mut(), &bell), Poll::Ready(Ok(()))));
    assert!(pool.wait_idle());
}

#[test]
fn a28_the_head_of_the_queue_keeps_its_place_but_no_room() {
    on_every_dispatch!(head_of_the_queue);
}

/// A future is polled once on this thread and then awaited on another.
fn moved<D: Dispatch>() {
    let (pool, gate) = full::<D>();
    let here = Bell::new();
    let owner = Arc::clone(&pool);
    let mut entering: Pin<Box<dyn Future<Output = u32> + Send>> =
        Box::pin(async move { owner.spawn_async(|| 7).await.unwrap().await.unwrap() });
    assert!(poll_with(entering.as_mut(), &here).is_pending());
    let there = thread::spawn(move || block_on(entering));
    gate.open();
    assert_eq!(there.join().unwrap(), 7);
}

#[test]
fn a_future_is_polled_here_and_awaited_there() {
    on_every_dispatch!(moved);
}

/// The end of the pool refuses all waiting futures, and each gets its task back.
fn closing<D: Dispatch>() {
    let (pool, gate) = full::<D>();
    let waiters: Vec<_> = (0..6)
        .map(|n| {
            let waits = Arc::clone(&pool);
            let thread = thread::spawn(move || {
                let refusal = block_on(waits.spawn_async(move || n)).map(drop).unwrap_err();
                (refusal.kind(), refusal.into_task()())
            });
            await_waiting(&*pool, n + 1);
            thread
        })
        .collect();
    let closes = Arc::clone(&pool);
    let closer = thread::spawn(move || closes.shutdown());
    for (n, waiter) in waiters.into_iter().enumerate() {
        assert_eq!(waiter.join().unwrap(), (SubmitErrorKind::Closed, n));
    }
    gate.open();
    assert!(closer.join().unwrap().is_complete());
    assert_eq!(block_on(pool.submit_async(|| ())).unwrap_err().kind(), SubmitErrorKind::Closed);
    assert_eq!(pool.stats().rejected, 7);
    assert_conserved(&*pool);
}

#[test]
fn a28_closing_ends_waiting_futures() {
    on_every_dispatch!(closing);
}

/// A future in the wait queue counts as waiting; one that was not polled does not.
fn counted<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(0).max_blocking(2).dispatch::<D>().build().unwrap();
    let gate = Gate::new();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    let bell = Bell::new();
    let mut futures: Vec<_> = (0..2).map(|_| Box::pin(pool.submit_async(|| ()))).collect();
    assert_eq!(pool.waiting(), 0);
    assert!(futures.iter_mut().all(|future| poll_with(future.as_mut(), &bell).is_pending()));
    assert_eq!(pool.waiting(), 2);
    assert_eq!(block_on(pool.submit_async(|| ())).unwrap_err().kind(), SubmitErrorKind::Overloaded);
    assert_eq!(pool.submit(|| ()).unwrap_err().kind(), SubmitErrorKind::Overloaded);
    futures.pop();
    assert_eq!(pool.waiting(), 1);
    gate.open();
    futures.into_iter().for_each(|future| block_on(future).unwrap());
    assert!(pool.wait_idle());
    assert_eq!((pool.stats().submitted, pool.stats().rejected), (2, 2));
}

#[test]
fn max_blocking_counts_futures_too() {
    on_every_dispatch!(counted);
}

/// Many futures and threads submit to a small pool, and some futures are dropped after a poll: all others get in, and all results
/// arrive.
fn crowd<D: Dispatch>() {
    let pool = pool::<D>(2, 1);
    let entered = AtomicUsize::new(0);
    together(4, |n| {
        for i in 0..500_usize {
            match (n + i) % 4 {
                0 => drop(pool.submit(|| ()).map(|()| entered.fetch_add(1, SeqCst))),
                1 => {
                    let mut future = Box::pin(pool.submit_async(|| ()));
                    if poll_with(future.as_mut(), &Bell::new()).is_ready() {
                        entered.fetch_add(1, SeqCst);
                    }
                }
                2 => {
                    let work = move || {
                        if i % 7 == 0 {
                            quiet_panic();
                        }
                        i
                    };
                    let handle = block_on(pool.spawn_async(work));
                    entered.fetch_add(1, SeqCst);
                    assert_eq!(block_on(handle.unwrap()).unwrap_or(7 * i), if i % 7 == 0 { 7 * i } else { i });
                }
                _ => {
                    entered.fetch_add(1, SeqCst);
                    assert_eq!(pool.run(move || i).unwrap(), i);
                }
            }
        }
    });
    assert!(pool.wait_idle());
    assert_eq!((pool.stats().submitted, pool.waiting()), (entered.into_inner() as u64, 0));
    assert_conserved(&*pool);
}

#[test]
fn b21_many_futures_and_threads_wait_for_room() {
    on_every_dispatch!(crowd);
}

/// On a runtime of several threads, with its timers and its dropping of late futures.
fn on_tokio<D: Dispatch>() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let pool = pool::<D>(2, 2);
    runtime.block_on(async {
        let tasks: Vec<_> = (0..300_u64)
            .map(|n| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.spawn_async(move || n * n).await.unwrap().await.unwrap() })
            })
            .collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.await.unwrap(), n * n);
        }

        // A full pool, and futures that the runtime's timer drops.
        let gate = Gate::new();
        for _ in 0..4 {
            let held = gate.clone();
            pool.submit_async(move || held.wait()).await.unwrap();
        }
        let limit = Duration::from_millis(10);
        assert!(tokio::time::timeout(limit, pool.submit_async(|| ())).await.is_err());
        let token = CancelToken::new();
        token.cancel_after(limit);
        tokio::select! {
            _ = pool.submit_async(|| ()) => panic!("there is no room"),
            () = token.cancelled() => {}
        }
        assert_eq!(pool.waiting(), 0);
        gate.open();
        let mut panics = pool.spawn_async(quiet_panic).await.unwrap();
        let result = tokio::time::timeout(LIMIT, &mut panics).await.expect("it ends");
        assert!(result.unwrap_err().is_panic());
    });
    assert!(pool.wait_idle());
    assert_conserved(&*pool);
}

#[test]
fn tokio_awaits_tasks_and_room() {
    on_every_dispatch!(on_tokio);
}
