//! A41: maps as streams, on an executor of a dozen lines.
#![cfg(feature = "stream")]

use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;

use crate::support::races::{quiet_panic, together};
use crate::support::waking::{Bell, block_on};
use crate::support::{Count, Gate, eventually, on_every_dispatch};
use formicary::{CallError, Context as Cx, Dispatch, MapStream, Pool, PoolWithFunc, StatefulPool, Worker};
use futures_core::Stream;
use futures_core::stream::FusedStream;
use parking_lot::Mutex;

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

/// A stream that another thread feeds.
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

/// Other submitters fill the pool: the stream waits for room, its thread does not.
fn in_the_queue<D: Dispatch>() {
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
    assert_eq!(pool.waiting(), 0, "it has left the wait queue");

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
fn a41_a_stream_waits_for_room_without_a_thread() {
    on_every_dispatch!(in_the_queue);
}

fn dropped<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(20).dispatch::<D>().build().unwrap();
    let (gate, full, ran) = (Gate::new(), Gate::new(), Count::new());
    let (held, fills, runs) = (gate.clone(), full.clone(), ran.clone());
    let input = (0..).inspect(move |n| {
        if *n == 4 {
            fills.open();
        }
    });
    let mut stream = pool
        .map(input, move |n| {
            match n {
                0 => full.wait(),
                1 => held.wait(),
                _ => {}
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

/// An input that always has more. Each poll but the first waits until all results of those before are ready, and fails if one
/// that was ready at the last poll has not been handed out.
struct Eager<'p> {
    next: u64,
    handed_out: &'p Count,
    wait_idle: &'p (dyn Fn() -> bool + Sync),
}

impl Stream for Eager<'_> {
    type Item = u64;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<u64>> {
        assert!(self.handed_out.get() as u64 + 1 >= self.next, "poll {}, {} out", self.next, self.handed_out.get());
        assert!((self.wait_idle)());
        self.next += 1;
        Poll::Ready((self.next <= 20).then(|| self.next - 1))
    }
}

fn ready_first<D: Dispatch>() {
    fn check<'p, R>(
        wait_idle: &'p (dyn Fn() -> bool + Sync),
        handed_out: &'p Count,
        map: impl FnOnce(Eager<'p>) -> MapStream<'p, Eager<'p>, R>,
    ) where
        R: Send + PartialEq<u64> + std::fmt::Debug + 'static,
    {
        let mut stream = map(Eager { next: 0, handed_out, wait_idle });
        for n in 0..20 {
            assert_eq!(block_on(next(&mut stream)).unwrap().unwrap(), 2 * n);
            handed_out.up();
        }
        assert!(block_on(next(&mut stream)).is_none());
    }
    let pool = Pool::builder().workers(2).queue(50).dispatch::<D>().build().unwrap();
    let func = PoolWithFunc::builder(|n: u64| 2 * n).workers(2).queue(50).dispatch::<D>().build().unwrap();
    let states = StatefulPool::builder(|_| Ok(Double)).workers(2).queue(50).dispatch::<D>().build().unwrap();
    check(&|| pool.wait_idle(), &Count::new(), |input| pool.map_stream(input, |n| 2 * n));
    check(&|| func.wait_idle(), &Count::new(), |input| func.map_stream(input));
    check(&|| states.wait_idle(), &Count::new(), |input| states.map_stream(input));
}

/// D27: as with maps, a result that is ready is handed out before the input is polled; and the input gets its turn all the same.
#[test]
fn d27_a_stream_hands_out_what_is_ready_before_it_polls_its_input() {
    on_every_dispatch!(ready_first);
}

/// A stream of one task that waits at the gate, polled once.
fn held<'p, D: Dispatch>(
    pool: &'p Pool<D>,
    gate: &Gate,
    waker: &Waker,
) -> impl Stream<Item: Send> + Unpin + use<'p, D> {
    let held = gate.clone();
    let mut stream = pool.map(0..1, move |_| held.wait()).into_stream();
    assert!(Pin::new(&mut stream).poll_next(&mut Context::from_waker(waker)).is_pending());
    stream
}

fn keeps_no_waker<D: Dispatch>() {
    let pool = Pool::builder().workers(1).dispatch::<D>().build().unwrap();
    let (gate, bell) = (Gate::new(), Bell::new());
    let stream = held(&pool, &gate, &Waker::from(Arc::clone(&bell)));
    gate.await_arrivals(1);
    assert!(Arc::strong_count(&bell) > 1, "it listens");
    drop(stream);
    assert_eq!(Arc::strong_count(&bell), 1, "and not any more, though its task runs");
    gate.open();
    assert!(pool.wait_idle());
}

/// D19: a dropped stream keeps no waker, however long what it started goes on.
#[test]
fn d19_a_dropped_stream_keeps_no_waker() {
    on_every_dispatch!(keeps_no_waker);
}

/// A waker whose clone does something.
fn waker_with_clone(on_clone: impl Fn() + Send + Sync + 'static) -> Waker {
    type OnClone = Arc<dyn Fn() + Send + Sync>;
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: the data of these wakers is a leaked `Arc<OnClone>`, which this waker still has a share of.
            let on_clone = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<OnClone>()) });
            on_clone();
            RawWaker::new(Arc::into_raw(Arc::clone(&on_clone)).cast(), &VTABLE)
        },
        // SAFETY: as above; the waker's share goes with it.
        |data| drop(unsafe { Arc::from_raw(data.cast::<OnClone>()) }),
        |_| (),
        // SAFETY: as above.
        |data| drop(unsafe { Arc::from_raw(data.cast::<OnClone>()) }),
    );
    let data: Arc<OnClone> = Arc::new(Arc::new(on_clone));
    // SAFETY: the functions above keep the contract: each waker has one share, and `Fn() + Send + Sync` may be called by any thread.
    unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(data).cast(), &VTABLE)) }
}

fn clones_in_the_open<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(1).dispatch::<D>().build().unwrap());
    let gate = Gate::new();
    let (opens, waits) = (gate.clone(), pool.clone());
    // The task's end updates the stream's own state.
    let waker = waker_with_clone(move || {
        opens.open();
        assert!(waits.wait_idle());
    });
    let held = gate.clone();
    let mut stream = pool.map(0..1, move |_| held.wait()).into_stream();
    let polled = Pin::new(&mut stream).poll_next(&mut Context::from_waker(&waker));
    assert!(matches!(polled, Poll::Ready(Some(Ok(())))), "it had ended by then");
}

/// D11: a poller's waker is cloned under no lock of the stream: it may wait for a task of it.
#[test]
fn d11_a_waker_is_cloned_under_no_lock_of_the_stream() {
    on_every_dispatch!(clones_in_the_open);
}

/// D23
#[test]
fn d23_a_streams_window_of_zero_panics_and_names_it() {
    let pool = Pool::new(1).unwrap();
    let stream = pool.map(0..3, |n: u8| n).into_stream();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(stream.window(0))));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"window is 0: a map needs at least 1"));
}
