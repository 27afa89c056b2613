//! A41: maps as streams, on an executor of a dozen lines.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use formicary::{CallError, Context as Cx, Dispatch, Pool, PoolWithFunc, StatefulPool, Worker};
use futures_core::Stream;
use futures_core::stream::FusedStream;
use parking_lot::Mutex;
use support::races::{quiet_panic, together};
use support::waking::block_on;
use support::{Count, Gate, eventually, on_every_dispatch};

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|poller| Pin::new(&mut *stream).poll_next(poller)).await
}

fn collect<S: Stream + Unpin>(mut stream: S) -> Vec<S::Item> {
    let mut all = Vec::new();
    block_on(async {
        while let Some(item) = next(&mut stream).await {
            all.push(item);
        }
    });
    all
}

fn values<S: Stream<Item = Result<R, CallError<T>>> + Unpin, R, T>(stream: S) -> Vec<R> {
    collect(stream).into_iter().map(Result::unwrap).collect()
}

/// A stream that somebody else feeds.
struct Fed<T>(mpsc::Receiver<T>, Arc<Mutex<Option<Waker>>>);

struct Feeder<T>(Option<mpsc::Sender<T>>, Arc<Mutex<Option<Waker>>>);

fn feed<T>() -> (Feeder<T>, Fed<T>) {
    let (sender, receiver) = mpsc::channel();
    let waker = Arc::default();
    (Feeder(Some(sender), Arc::clone(&waker)), Fed(receiver, waker))
}

impl<T> Feeder<T> {
    fn send(&self, item: T) {
        self.0.as_ref().unwrap().send(item).unwrap();
        self.wake();
    }

    fn wake(&self) {
        let waker = self.1.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Feeder<T> {
    fn drop(&mut self) {
        self.0 = None;
        self.wake();
    }
}

impl<T> Stream for Fed<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Option<T>> {
        *self.1.lock() = Some(poller.waker().clone());
        match self.0.try_recv() {
            Ok(item) => Poll::Ready(Some(item)),
            Err(mpsc::TryRecvError::Disconnected) => Poll::Ready(None),
            Err(mpsc::TryRecvError::Empty) => Poll::Pending,
        }
    }
}

struct Double;

impl Worker for Double {
    type Input = u64;
    type Output = u64;

    fn process(&mut self, n: u64, _: &Cx<'_>) -> u64 {
        2 * n
    }
}

fn kinds<D: Dispatch>() {
    for queue in [0, 1, 50] {
        let pool = Pool::builder().workers(2).queue(queue).dispatch::<D>().build().unwrap();
        let func = PoolWithFunc::builder(|n: u64| 2 * n).workers(2).queue(queue).dispatch::<D>().build().unwrap();
        let states = StatefulPool::builder(|_| Ok(Double)).workers(2).queue(queue).dispatch::<D>().build().unwrap();
        let want: Vec<_> = (0..100).map(|n| 2 * n).collect();
        assert_eq!(values(pool.map(0..100, |n| 2 * n).into_stream()), want);
        assert_eq!(values(func.map(0..100).into_stream().window(7)), want);
        assert_eq!(values(states.map(0..100).window(1).into_stream()), want);
        let mut sorted = values(states.map_unordered(0..100).into_stream());
        sorted.sort_unstable();
        assert_eq!(sorted, want);
        let streams = |n| {
            let (feeder, fed) = feed();
            let thread = thread::spawn(move || (0..100).for_each(|n| feeder.send(n)));
            let doubled = match n {
                0 => values(pool.map_stream(fed, |n| 2 * n)),
                1 => values(func.map_stream(fed)),
                _ => values(states.map_stream(fed)),
            };
            thread.join().unwrap();
            assert_eq!(doubled, want);
        };
        together(3, streams);
        assert_eq!(pool.stats().rejected, 0);
    }
}

#[test]
fn a41_streams_of_every_kind_keep_the_order() {
    on_every_dispatch!(kinds);
}

fn chain<D: Dispatch>() {
    let pool = Pool::builder().workers(4).queue(0).dispatch::<D>().build().unwrap();
    let gates: Vec<_> = (0..5).map(|_| Gate::new()).collect();
    gates[4].open();
    let chain = pool.map(0..4, move |n: usize| {
        gates[n + 1].wait();
        gates[n].open();
        n
    });
    assert_eq!(values(chain.into_stream()), [0, 1, 2, 3]);
}

#[test]
fn a41_a_streams_tasks_run_in_parallel() {
    on_every_dispatch!(chain);
}

fn failures<D: Dispatch>() {
    let pool = Pool::builder().workers(2).queue(4).dispatch::<D>().build().unwrap();
    let stream = pool
        .map(0..5, |n| {
            if n == 2 {
                quiet_panic()
            }
        })
        .into_stream();
    let panicked: Vec<_> = collect(stream).into_iter().map(|answer| answer.is_err_and(|e| e.is_panic())).collect();
    assert_eq!(panicked, [false, false, true, false, false]);
    pool.shutdown();
    let refused: Vec<_> = collect(pool.map(0..5, |n| n).into_stream());
    assert!(refused.into_iter().map(|answer| answer.unwrap_err().into_input().unwrap()).eq(0..5));
}

#[test]
fn a41_a_streams_failures_come_at_their_places() {
    on_every_dispatch!(failures);
}

/// Others fill the pool: the stream stands in line, its thread does not.
fn in_line<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(0).dispatch::<D>().build().unwrap();
    let (gate, pulls) = (Gate::new(), Count::new());
    let (held, puller) = (gate.clone(), pulls.clone());
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    let input = (0..3).inspect(|_| {
        puller.up();
    });
    let mut stream = pool.map(input, |n| n).into_stream();
    assert_eq!(pulls.get(), 0, "nothing before the first poll");
    let mut idle = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert!(Pin::new(&mut stream).poll_next(&mut idle).is_pending());
        assert_eq!((pulls.get(), pool.waiting()), (1, 1));
    }
    assert_eq!(stream.size_hint(), (3, Some(3)));
    drop(stream);
    assert_eq!(pool.waiting(), 0, "it has left the line");

    let mut stream = pool.map(0..3, |n| n).into_stream();
    assert!(Pin::new(&mut stream).poll_next(&mut idle).is_pending());
    thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(move || {
            eventually("it waits", || pool.waiting() == 1);
            gate.open();
        });
        block_on(async {
            for n in 0..3 {
                assert_eq!(next(&mut stream).await.unwrap().unwrap(), n);
            }
            assert!(next(&mut stream).await.is_none() && stream.is_terminated());
        });
    });
}

#[test]
fn a41_a_stream_waits_at_the_door_without_a_thread() {
    on_every_dispatch!(in_line);
}

fn dropped<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(20).dispatch::<D>().build().unwrap();
    let (gate, ran) = (Gate::new(), Count::new());
    let (held, runs) = (gate.clone(), ran.clone());
    let mut stream = pool
        .map(0.., move |n| {
            if n == 1 {
                held.wait();
            }
            runs.up();
            n
        })
        .into_stream()
        .window(5);
    assert_eq!(block_on(next(&mut stream)).unwrap().unwrap(), 0);
    gate.await_arrivals(1);
    drop(stream);
    gate.open();
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!((ran.get(), stats.submitted, stats.completed, stats.cancelled), (2, 5, 2, 3));
}

#[test]
fn a41_dropping_a_stream_cancels_what_has_not_started() {
    on_every_dispatch!(dropped);
}
