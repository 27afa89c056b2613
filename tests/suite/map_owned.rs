//! Maps and streams that have a share in their pool.

use std::sync::Arc;
use std::thread;

use crate::support::maps::Marked;
use crate::support::{Count, Gate, eventually, on_every_dispatch, threads_named};
use formicary::{Context, Dispatch, Map, Pool, PoolWithFunc, StatefulPool, Worker};

struct Double;

impl Worker for Double {
    type Input = u64;
    type Output = u64;

    fn process(&mut self, n: u64, _: &Context<'_>) -> u64 {
        2 * n
    }
}

type Doubles = Box<dyn Iterator<Item = u64> + Send>;

/// A map of each kind, ordered and unordered, of a pool without another owner.
fn doubles<D: Dispatch>(is_ordered: bool) -> [Doubles; 3] {
    let pool = Arc::new(Pool::builder().workers(2).dispatch::<D>().build().unwrap());
    let func = Arc::new(PoolWithFunc::builder(|n: u64| 2 * n).workers(2).dispatch::<D>().build().unwrap());
    let states = Arc::new(StatefulPool::builder(|_| Ok(Double)).workers(2).dispatch::<D>().build().unwrap());
    if is_ordered {
        [Box::new(pool.map_owned(0.., |n| 2 * n)), Box::new(func.map_owned(0..)), Box::new(states.map_owned(0..))]
    } else {
        [
            Box::new(pool.map_unordered_owned(0..50, |n| 2 * n)),
            Box::new(func.map_unordered_owned(0..50)),
            Box::new(states.map_unordered_owned(0..50)),
        ]
    }
}

fn returned<D: Dispatch>() {
    for mut map in doubles::<D>(true) {
        assert!(map.by_ref().take(50).eq((0..50).map(|n| 2 * n)));
        // It goes on on another thread.
        let sum = thread::spawn(move || map.take(3).sum::<u64>());
        assert_eq!(sum.join().unwrap(), 100 + 102 + 104);
    }
    for map in doubles::<D>(false) {
        assert_eq!(map.sum::<u64>(), 49 * 50);
    }
}

#[test]
fn a_map_can_be_returned_without_its_pool() {
    on_every_dispatch!(returned);
}

/// The pool lives as long as the map, and ends with it: what has not started is dropped, what runs is waited for, the threads are gone.
fn last_share<D: Dispatch>() {
    let name = format!("own-{}", D::NAME);
    let (gate, pulled, living, dropped) = (Gate::new(), Count::new(), Count::new(), Count::new());
    let pool = Pool::builder().workers(1).queue(10).thread_name(&name).dispatch::<D>().build().unwrap();
    let pool = Arc::new(pool);
    let (held, seen) = (gate.clone(), pulled.clone());
    let marks = living.clone();
    let items = (0..5).map(move |n| {
        pulled.up();
        Marked::new(n, &marks)
    });
    let map: Map<'static, _, _> = pool.map_owned(items, move |mark| {
        if mark.0 == 0 {
            eventually("the window is full", || seen.get() == 3);
        } else {
            held.wait();
        }
        mark.0
    });
    let mut map = map.window(3);
    drop(pool);
    assert_eq!(map.next(), Some(0));
    gate.await_arrivals(1);
    assert_eq!(living.get(), 2);
    eventually("its thread is listed", || threads_named(&name) == 1);
    let (ends, drops) = (gate.clone(), dropped.clone());
    thread::scope(|scope| {
        scope.spawn(move || {
            drop(map);
            drops.up();
        });
        eventually("what has not started is dropped", || living.get() == 1);
        assert_eq!(dropped.get(), 0);
        ends.open();
    });
    assert_eq!((living.get(), threads_named(&name)), (0, 0));
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "counts threads in /proc")]
fn the_pool_ends_with_the_map_that_has_the_last_share() {
    on_every_dispatch!(last_share);
}

/// The pool's last owner may be dropped on its own worker, which does not wait for itself.
fn last_share_inside<D: Dispatch>() {
    let name = format!("in-{}", D::NAME);
    let pool = Arc::new(Pool::builder().workers(1).thread_name(&name).dispatch::<D>().build().unwrap());
    let mut map = pool.map_owned(0..10_u64, |n| n);
    assert_eq!(map.next(), Some(0));
    let task = pool.spawn(move || map.sum::<u64>()).unwrap();
    drop(pool);
    assert_eq!(task.join().unwrap(), 45);
    eventually("the thread ends", || threads_named(&name) == 0);
}

#[test]
fn the_last_share_may_go_on_a_worker() {
    on_every_dispatch!(last_share_inside);
}

/// As a stream, from a stream, and on a full pool.
#[cfg(feature = "stream")]
mod streams {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::{Context as Poller, Poll};

    use crate::support::waking::block_on;
    use futures_core::Stream;

    use super::*;

    /// So many numbers, each ready at the second poll.
    struct Numbers(u64, u64, bool);

    impl Stream for Numbers {
        type Item = u64;

        fn poll_next(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Option<u64>> {
            self.2 = !self.2;
            if self.2 {
                poller.waker().wake_by_ref();
                return Poll::Pending;
            }
            let next = self.0;
            self.0 += 1;
            Poll::Ready((next < self.1).then_some(next))
        }
    }

    fn sum<S: Stream<Item = Result<u64, E>> + Unpin + Send + 'static, E: std::fmt::Debug>(mut stream: S) -> u64 {
        let sum = thread::spawn(move || {
            let mut sum = 0;
            while let Some(n) = block_on(poll_fn(|poller| Pin::new(&mut stream).poll_next(poller))) {
                sum += n.unwrap();
            }
            sum
        });
        sum.join().unwrap()
    }

    fn all_kinds<D: Dispatch>() {
        let pool = Arc::new(Pool::builder().workers(1).queue(0).dispatch::<D>().build().unwrap());
        let func = Arc::new(PoolWithFunc::builder(|n: u64| 2 * n).workers(1).queue(0).dispatch::<D>().build().unwrap());
        let states = StatefulPool::builder(|_| Ok(Double)).workers(1).queue(0).dispatch::<D>().build();
        let states = Arc::new(states.unwrap());
        assert_eq!(sum(pool.map_owned(0..20, |n: u64| 2 * n).into_stream()), 380);
        let numbers = || Numbers(0, 20, false);
        // On a full pool the stream waits for room, and owns a share of the pool there, too.
        let gate = crate::support::closures::occupy(&pool);
        let mut waits = pool.map_stream_owned(numbers(), |n| 2 * n);
        let poll = |stream: &mut formicary::MapStream<'static, _, _>| {
            let mut poller = Poller::from_waker(std::task::Waker::noop());
            assert!(Pin::new(stream).poll_next(&mut poller).is_pending());
        };
        (0..3).for_each(|_| poll(&mut waits));
        crate::support::await_waiting(&*pool, 1);
        drop(pool);
        gate.open();
        assert_eq!(sum(waits), 380);
        assert_eq!(sum(func.map_stream_owned(numbers())), 380);
        assert_eq!(sum(states.map_stream_owned(numbers())), 380);
    }

    #[test]
    fn streams_have_a_share_too() {
        on_every_dispatch!(all_kinds);
    }
}
