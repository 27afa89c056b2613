//! Items through stages, each with a pool or view of its own.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;

use crate::support::closures::{assert_quiet, pool};
use crate::support::waking::{CountingWaker, block_on, poll_with};
use crate::support::{Count, Gate, eventually, on_every_dispatch, quiet_panics};
use formicary::{
    Bottleneck, CancelToken, Context, Dispatch, DropReason, JoinError, OnError, Overflow, Pipeline, PipelineError,
    Pool, PoolWithFunc, StatefulPool, Worker,
};

/// A value whose life is counted.
struct Marked(u32, Count);

impl Marked {
    fn new(n: u32, living: &Count) -> Self {
        living.up();
        Marked(n, living.clone())
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        self.1.down();
    }
}

struct Echo;

impl Worker for Echo {
    type Input = u32;
    type Output = u32;

    fn process(&mut self, n: u32, _: &Context<'_>) -> u32 {
        n
    }
}

fn of_all_kinds<D: Dispatch>() {
    let pool = pool::<D>(3, 10);
    let func = PoolWithFunc::builder(|n: u32| n + 1).workers(2).dispatch::<D>().build().unwrap();
    let states = StatefulPool::builder(|_| Ok(Echo)).workers(2).dispatch::<D>().build().unwrap();
    let (view, small) = (pool.limited(1), func.limited(1));
    let pipeline = Pipeline::from(0..200)
        .stage(&*pool, |n: u32| n + 1)
        .through(&func)
        .stage(&view, |n| n + 1)
        .through(&states)
        .through(&small)
        .try_stage(&*pool, |n| if n < 1000 { Ok(n) } else { Err("too large") });
    assert!(pipeline.collect::<Vec<_>>().unwrap().into_iter().eq(4..204));
    assert_quiet(&pool);
    assert_eq!((view.stats().peak_running, view.stats().completed), (1, 200));
    assert_eq!((pool.stats().submitted, func.stats().submitted, states.stats().submitted), (600, 400, 200));
    // Without stages, and without items.
    assert!(Pipeline::from(0..3).collect::<Vec<_>>().unwrap().into_iter().eq(0..3));
    assert_eq!(Pipeline::from(0..0).stage(&*pool, |n: u32| n).collect::<Vec<_>>().unwrap(), [0_u32; 0]);
}

#[test]
fn stages_of_any_kind() {
    on_every_dispatch!(of_all_kinds);
}

/// No worker waits for room: all stages share one worker, and a queue without places.
fn one_worker<D: Dispatch>() {
    for nested in [formicary::Nested::Any, formicary::Nested::Bounded] {
        let pool = Pool::builder().workers(1).queue(0).nested(nested).dispatch::<D>().build().unwrap();
        for buffer in [1, 3] {
            let view = pool.limited(1);
            let pipeline = Pipeline::from(0..100)
                .stage(&pool, |n: u32| n + 1)
                .buffer(buffer)
                .stage(&view, |n| n + 1)
                .unordered()
                .buffer(buffer)
                .stage(&pool, |n| n + 1)
                .buffer(buffer);
            assert!(pipeline.collect::<BTreeSet<_>>().unwrap().into_iter().eq(3..103));
        }
        assert_quiet(&pool);
    }
}

#[test]
fn stages_that_share_one_worker_do_not_deadlock() {
    on_every_dispatch!(one_worker);
}

fn in_order<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let gate = Gate::new();
    let held = gate.clone();
    let mut results = Pipeline::from(0..4)
        .stage(&*pool, move |n| {
            if n == 0 {
                held.wait();
            }
            n
        })
        .buffer(4)
        .into_iter();
    // The others are done, and wait for the first.
    eventually("three wait", || results.stats().stages[0].waiting_for_room == 3);
    assert_eq!((results.stats().stages[0].running, results.stats().stages[0].left), (1, 0));
    gate.open();
    assert!(results.by_ref().map(Result::unwrap).eq(0..4));
    assert!(results.next().is_none());
    // Unordered: they do not wait.
    let gate = Gate::new();
    let held = gate.clone();
    let mut results = Pipeline::from(0..4)
        .stage(&*pool, move |n| {
            if n == 0 {
                held.wait();
            }
            n
        })
        .unordered()
        .into_iter();
    assert!(results.by_ref().take(3).map(Result::unwrap).collect::<BTreeSet<_>>().into_iter().eq(1..4));
    gate.open();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    assert!(results.next().is_none());
}

#[test]
fn a_stage_keeps_the_order_unless_it_is_unordered() {
    on_every_dispatch!(in_order);
}

/// What must happen in order needs no other lock.
fn one_after_the_other<D: Dispatch>() {
    let (pool, next) = (pool::<D>(2, 10), AtomicUsize::new(0));
    let writer = PoolWithFunc::builder(move |n: usize| next.swap(n + 1, SeqCst) == n).workers(2).dispatch::<D>();
    let writer = writer.build().unwrap();
    let pipeline = Pipeline::from(0..1000).stage(&*pool, |n| n).stage(&*pool, |n| n).through(&writer).buffer(1);
    assert!(pipeline.collect::<Vec<_>>().unwrap().into_iter().all(|in_order| in_order));
    assert_quiet(&pool);
}

#[test]
fn a_stage_with_one_place_processes_in_order() {
    on_every_dispatch!(one_after_the_other);
}

/// So many items are pulled as there is room for, and no more.
fn bounded<D: Dispatch>() {
    let (first, pool) = (pool::<D>(1, 100), pool::<D>(2, 100));
    let (pulled, gate) = (Count::new(), Gate::new());
    let (seen, held) = (pulled.clone(), gate.clone());
    let source = (0..).inspect(move |_| _ = seen.up());
    let mut results = Pipeline::from(source)
        .stage(&*first, |n: u32| n)
        .buffer(3)
        .stage(&*pool, move |n| {
            held.wait();
            n
        })
        .buffer(2)
        .unordered()
        .name("slow")
        .into_iter();
    gate.await_arrivals(2);
    eventually("the first stage is full", || {
        let stats = results.stats();
        (stats.stages[0].waiting_for_room, stats.stages[1].running) == (3, 2)
    });
    assert_eq!((pulled.get(), results.stats().pulled), (5, 5));
    eventually("most waits are for it", || results.stats().bottleneck() == Bottleneck::Stage(1));
    // One goes through.
    gate.pass(1);
    gate.await_arrivals(3);
    eventually("one more is pulled", || pulled.get() == 6);
    gate.open();
    assert_eq!(results.by_ref().take(10).filter_map(Result::ok).count(), 10);
    // Now the consumer holds everything up: the buffers are full, and one result waits for it.
    eventually("all is full", || {
        let stats = results.stats();
        (stats.stages[0].waiting_for_room, stats.stages[1].waiting_for_room) == (3, 2)
    });
    assert_eq!(pulled.get(), 10 + 3 + 2 + 1);
    drop(results);
    assert_quiet(&pool);
    assert_eq!(pulled.get(), 16);
}

#[test]
fn back_pressure_reaches_the_source() {
    on_every_dispatch!(bounded);
}

/// A source that blocks does not hold back what is done.
fn slow_source<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let (sender, receiver) = mpsc::channel::<u32>();
    let mut results = Pipeline::from(receiver).stage(&*pool, |n| n + 1).stage(&*pool, |n| n + 1).into_iter();
    for n in 0..3 {
        sender.send(n).unwrap();
        assert_eq!(results.next().unwrap().unwrap(), n + 2);
    }
    assert_eq!(results.stats().bottleneck(), Bottleneck::Source);
    drop(sender);
    assert!(results.next().is_none());
}

#[test]
fn results_come_out_while_the_source_blocks() {
    on_every_dispatch!(slow_source);
}

fn failing<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(3, 10);
    for is_panic in [false, true] {
        let (pulled, later) = (Count::new(), Count::new());
        let (seen, came) = (pulled.clone(), later.clone());
        let results = Pipeline::from((0..10_000).inspect(move |_| _ = seen.up()))
            .try_stage(&*pool, move |n: u32| match n {
                50 if is_panic => std::panic::panic_any("fifty"),
                50 => Err("fifty"),
                n => Ok(n),
            })
            .name("picky")
            .stage(&*pool, move |n| {
                came.up();
                n
            });
        let mut good = Vec::new();
        let error = results.for_each(|n| good.push(n)).unwrap_err();
        assert!(good.into_iter().eq(0..50));
        assert_eq!((error.stage(), error.stage_name(), error.is_panic()), (Some(0), Some("picky"), is_panic));
        assert_eq!(later.get(), 50, "nothing after the failure reaches the next stage");
        assert!(pulled.get() <= 50 + 6 + 6 + 2);
        match is_panic {
            false => assert_eq!(error.into_failure().unwrap().to_string(), "fifty"),
            true => assert_eq!(error.into_panic().unwrap().downcast_ref(), Some(&"fifty")),
        }
        assert_quiet(&pool);
    }
}

#[test]
fn the_first_failure_comes_after_what_is_before_it() {
    on_every_dispatch!(failing);
}

/// The first failure is the first in order, also if a later item fails before.
fn first_in_order<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let gate = Gate::new();
    let held = gate.clone();
    let failed = Count::new();
    let fails = failed.clone();
    let results = Pipeline::from(0..4)
        .try_stage(&*pool, move |n: u32| match n {
            0 => Ok(n),
            1 => {
                held.wait();
                Err(format!("{n}"))
            }
            n => {
                fails.up();
                Err(format!("{n}"))
            }
        })
        .into_iter();
    let results = thread::spawn(move || results.collect::<Vec<_>>());
    eventually("a later one has failed", || failed.get() > 0);
    gate.open();
    let mut results = results.join().unwrap();
    let error = results.pop().unwrap().unwrap_err();
    assert_eq!(error.into_failure().unwrap().to_string(), "1");
    assert!(matches!(results[..], [Ok(0)]));
}

#[test]
fn the_first_failure_is_the_first_in_order() {
    on_every_dispatch!(first_in_order);
}

fn cancelling_at_once<D: Dispatch>() {
    let (pool, other) = (pool::<D>(2, 10), pool::<D>(1, 10));
    let (gate, living) = (Gate::new(), Count::new());
    let (held, marks) = (gate.clone(), living.clone());
    let mut results = Pipeline::from((0..).map(move |n| Marked::new(n, &marks)))
        .try_stage(&*pool, |mark| if mark.0 == 3 { Err("three") } else { Ok(mark) })
        .stage(&*other, move |mark| {
            held.wait();
            mark
        })
        .on_error(OnError::Cancel)
        .into_iter();
    let error = results.next().unwrap().err().unwrap();
    assert_eq!(error.stage(), Some(0));
    assert!(results.next().is_none());
    // One runs at the gate.
    eventually("the rest is gone", || living.get() <= 1);
    gate.open();
    assert_quiet(&pool);
    assert_quiet(&other);
    assert_eq!(living.get(), 0);
}

#[test]
fn a_failure_may_cancel_everything_at_once() {
    on_every_dispatch!(cancelling_at_once);
}

fn dropped<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let (gate, living, source) = (Gate::new(), Count::new(), Arc::new(()));
    let (held, marks, kept) = (gate.clone(), living.clone(), Arc::clone(&source));
    let items = (0..).map(move |n| {
        let _ = &kept;
        Marked::new(n, &marks)
    });
    let results = Pipeline::from(items)
        .stage(&*pool, move |mark| {
            held.wait();
            mark
        })
        .buffer(5)
        .into_iter();
    gate.await_arrivals(1);
    eventually("the stage is full", || results.stats().stages[0].queued == 4);
    drop(results);
    assert_eq!((living.get(), pool.waiting()), (1, 0), "what has not started is dropped at once");
    eventually("the source is gone", || Arc::strong_count(&source) == 1);
    gate.open();
    assert_quiet(&pool);
    eventually("the last is gone", || living.get() == 0);
    assert_eq!(gate.arrived(), 1);
}

#[test]
fn dropping_the_results_stops_the_source_and_cancels_the_rest() {
    on_every_dispatch!(dropped);
}

fn by_token<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let token = CancelToken::new();
    let (sender, receiver) = mpsc::channel::<u32>();
    let mut results = Pipeline::from(receiver).stage(&*pool, |n| n).token(&token).into_iter();
    sender.send(1).unwrap();
    assert_eq!(results.next().unwrap().unwrap(), 1);
    // The consumer waits, and so does the source.
    let canceller = thread::spawn(move || token.cancel());
    let error = results.next().unwrap().unwrap_err();
    canceller.join().unwrap();
    assert!(error.is_cancelled() && error.stage().is_none());
    assert!(results.next().is_none());
    assert_quiet(&pool);
}

#[test]
fn a_token_ends_it() {
    on_every_dispatch!(by_token);
}

fn source_panics<D: Dispatch>() {
    quiet_panics();
    let pool = pool::<D>(2, 10);
    let items = (0..).inspect(|n| {
        if *n == 5 {
            std::panic::resume_unwind(Box::new("five"));
        }
    });
    let results: Vec<_> = Pipeline::from(items).stage(&*pool, |n: u32| n).into_iter().collect();
    assert_eq!(results.len(), 6);
    let error = results.into_iter().find_map(Result::err).unwrap();
    assert!(error.is_panic() && error.stage().is_none());
    assert_eq!(error.into_panic().unwrap().downcast_ref(), Some(&"five"));
}

#[test]
fn a_panic_of_the_source_comes_after_what_it_gave() {
    on_every_dispatch!(source_panics);
}

fn closed<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let gate = Gate::new();
    let held = gate.clone();
    let mut results = Pipeline::from(0..)
        .stage(&*pool, move |n: u32| {
            held.wait();
            n
        })
        .into_iter();
    gate.await_arrivals(1);
    gate.pass(1);
    assert_eq!(results.next().unwrap().unwrap(), 0);
    let ending = Arc::clone(&pool);
    let ends = thread::spawn(move || ending.shutdown_now());
    eventually("it is closed", || pool.is_closed());
    gate.open();
    drop(ends.join().unwrap());
    let error = results.find_map(Result::err).unwrap();
    assert!(error.is_cancelled() && error.stage() == Some(0));
}

#[test]
fn a_pool_that_is_closed_is_a_failure() {
    on_every_dispatch!(closed);
}

/// Another submitter's task takes the room of one of a stage.
fn dropped_for_another<D: Dispatch>() {
    let (keep, kept) = mpsc::channel();
    let pool = Pool::builder()
        .workers(1)
        .queue(1)
        .overflow(Overflow::DropOldest)
        .dropped_handler(move |dropped| keep.send((dropped.reason(), dropped.into_task())).unwrap())
        .dispatch::<D>()
        .build()
        .unwrap();
    let (pause, ran) = (pool.pause(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&ran);
    let count = move |n: u32| {
        counted.fetch_add(1, SeqCst);
        n
    };
    let mut results = Pipeline::from(0..9).stage(&pool, count).buffer(2).into_iter();
    eventually("the pool is full", || pool.queued() == 2);
    pool.submit(|| ()).unwrap();
    let (reason, task) = kept.recv().unwrap();
    assert_eq!(reason, DropReason::Oldest);
    let error = results.next().unwrap().unwrap_err();
    assert_eq!((error.stage(), error.is_cancelled()), (Some(0), false));
    let reason = error.into_failure().map(|_| ()).unwrap_err();
    assert!(reason.source().unwrap().downcast_ref::<JoinError>().unwrap().is_dropped());
    // What the handler does with it does not come out. What is cancelled after the failure does not come to the handler.
    task.run();
    assert_eq!(ran.load(SeqCst), 1);
    assert!(results.next().is_none());
    drop(pause);
    assert!(pool.wait_idle());
    assert!(kept.try_recv().is_err());
    assert_eq!((pool.stats().dropped, pool.stats().completed), (1, 1));
}

#[test]
fn a_task_that_is_dropped_for_another_is_a_failure() {
    on_every_dispatch!(dropped_for_another);
}

fn awaited<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let mut sum = 0;
    block_on(Pipeline::from(0..100).stage(&*pool, |n: u32| n).for_each_async(|n| sum += n)).unwrap();
    assert_eq!(sum, 99 * 50);
    let (sender, receiver) = mpsc::channel::<u32>();
    let mut results = Pipeline::from(receiver).stage(&*pool, |n| n).into_iter();
    let waker = CountingWaker::new();
    assert!(poll_with(std::pin::pin!(results.next_async()), &waker).is_pending());
    sender.send(7).unwrap();
    eventually("it is woken", || waker.wakes() == 1);
    assert_eq!(block_on(results.next_async()).unwrap().unwrap(), 7);
    #[cfg(feature = "stream")]
    {
        use futures_core::Stream;
        sender.send(8).unwrap();
        let next = std::future::poll_fn(|poller| std::pin::Pin::new(&mut results).poll_next(poller));
        assert_eq!(block_on(next).unwrap().unwrap(), 8);
    }
    drop(sender);
    assert!(block_on(results.next_async()).is_none());
}

#[test]
fn results_can_be_awaited() {
    on_every_dispatch!(awaited);
}

/// The only worker of the pool runs the pipeline's tasks while it waits for results.
fn inside<D: Dispatch>() {
    for queue in [0, 10] {
        let pool = pool::<D>(1, queue);
        let inner = Arc::clone(&pool);
        let sum = pool.run(move || -> Result<u32, PipelineError> {
            let pipeline = Pipeline::from(0..50).stage(&*inner, |n: u32| n + 1).stage(&*inner, |n| n + 1).unordered();
            Ok(pipeline.collect::<Vec<_>>()?.into_iter().sum())
        });
        assert_eq!(sum.unwrap().unwrap(), 49 * 25 + 100);
        assert_quiet(&pool);
    }
}

#[test]
fn a_worker_that_takes_results_runs_the_tasks() {
    on_every_dispatch!(inside);
}

/// Many pipelines on one small pool, in several shapes, at the same time.
fn many<D: Dispatch>() {
    let pool = pool::<D>(2, 1);
    let ran = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4_usize)
        .map(|shape| {
            let (pool, ran) = (Arc::clone(&pool), Arc::clone(&ran));
            thread::spawn(move || {
                let view = pool.limited(1);
                let mut pipeline = Pipeline::from(0..300_u32);
                for stage in 0..=shape {
                    let ran = Arc::clone(&ran);
                    let f = move |n| {
                        ran.fetch_add(1, SeqCst);
                        n + 1
                    };
                    pipeline = match stage % 2 {
                        0 => pipeline.stage(&*pool, f).buffer(1 + stage),
                        _ => pipeline.stage(&view, f).unordered(),
                    };
                }
                let first = shape as u32 + 1;
                let results = pipeline.collect::<Vec<_>>().unwrap();
                assert_eq!(results.len(), 300);
                assert!(results.into_iter().collect::<BTreeSet<_>>().into_iter().eq(first..300 + first));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(ran.load(SeqCst), 300 * (1 + 2 + 3 + 4));
    assert_quiet(&pool);
}

#[test]
fn several_pipelines_share_a_pool() {
    on_every_dispatch!(many);
}

#[test]
#[should_panic(expected = "`items` is 0")]
fn a_stage_without_room_panics() {
    let pool = Pool::new(1).unwrap();
    drop(Pipeline::from(0..3).stage(&pool, |n: u32| n).buffer(0));
}
