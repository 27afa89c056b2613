//! Futures on the workers: polls, wake-ups, cancels, panics, and the end of the pool.
#![cfg(feature = "async")]

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as Poller, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::support::races::{quiet_panic, together};
use crate::support::waking::block_on;
use crate::support::{Count, Gate, LIMIT, eventually, on_every_dispatch, quiet_panics};
use formicary::{Context, Dispatch, Handle, Nested, OnDrop, Pool};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

fn pool<D: Dispatch>(workers: usize, queue: usize) -> Pool<D> {
    Pool::builder().workers(workers).queue(queue).dispatch::<D>().build().unwrap()
}

fn assert_conserved<D: Dispatch>(pool: &Pool<D>) {
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.running), (0, 0), "{stats:?}");
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled + stats.returned, "{stats:?}");
}

/// Pending once, woken by itself.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|poller| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        poller.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Wakers of futures that wait.
#[derive(Clone, Default)]
struct Parked(Arc<Mutex<Vec<Waker>>>);

impl Parked {
    /// Pending for ever; each poll leaves a waker.
    fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let wakers = Arc::clone(&self.0);
        poll_fn(move |poller| {
            wakers.lock().push(poller.waker().clone());
            Poll::Pending
        })
    }

    fn await_polls(&self, polls: usize) {
        eventually("polled", || self.0.lock().len() == polls);
    }
}

/// Tells when it is dropped, and on which thread.
struct TellsDrop(Arc<Mutex<Vec<thread::ThreadId>>>);

impl Drop for TellsDrop {
    fn drop(&mut self) {
        self.0.lock().push(thread::current().id());
    }
}

fn outputs<D: Dispatch>() {
    quiet_panics();
    for queue in [0, 10] {
        let pool = pool::<D>(2, queue);
        assert_eq!(pool.spawn_future(async { 7 }).unwrap().join().unwrap(), 7);
        let slow = pool.spawn_future(async {
            yield_once().await;
            yield_once().await;
            8
        });
        assert_eq!(block_on(slow.unwrap()).unwrap(), 8);
        let panics = pool.spawn_future(async {
            yield_once().await;
            quiet_panic();
        });
        assert!(panics.unwrap().join().unwrap_err().is_panic());
        assert_conserved(&pool);
        let stats = pool.stats();
        // Each poll is a task.
        assert_eq!((stats.submitted, stats.panicked, stats.overcommitted), (6, 1, 0), "{stats:?}");
    }
}

#[test]
fn a_handle_has_the_output() {
    on_every_dispatch!(outputs);
}

/// A pending future holds no worker and no room; a wake-up needs none, and polls on a worker.
fn pending_futures<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let (parked, gate) = (Parked::default(), Gate::new());
    let handles: Vec<Handle<()>> = (0..20)
        .map(|n| {
            let handle = pool.spawn_future(parked.wait()).unwrap();
            parked.await_polls(n + 1);
            assert!(pool.wait_idle());
            handle
        })
        .collect();
    pool.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    let refused = pool.try_spawn_future(async { 7 }).unwrap_err();
    assert!(refused.is_full());
    assert_eq!(block_on(refused.into_task()), 7);
    let wakers = std::mem::take(&mut *parked.0.lock());
    wakers.iter().for_each(Waker::wake_by_ref);
    // Once more, while the polls are queued.
    wakers.into_iter().for_each(Waker::wake);
    assert_eq!((parked.0.lock().len(), pool.queued()), (0, 20));
    gate.open();
    assert!(pool.wait_idle());
    assert_eq!(parked.0.lock().len(), 20);
    assert!(handles.iter().all(|handle| !handle.is_finished()));
    handles.iter().for_each(|handle| assert!(!handle.cancel()));
    assert!(handles.into_iter().all(|handle| handle.join().unwrap_err().is_cancelled()));
    assert_conserved(&pool);
}

#[test]
fn a_wake_up_needs_no_room() {
    on_every_dispatch!(pending_futures);
}

/// A future that wakes itself does not starve tasks, with room and without.
fn fairness<D: Dispatch>() {
    for queue in [1, 100] {
        let pool = pool::<D>(1, queue);
        let polls = Count::new();
        let (counted, stopped) = (polls.clone(), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&stopped);
        let busy = pool.spawn_future(async move {
            while seen.load(SeqCst) == 0 {
                counted.up();
                yield_once().await;
            }
        });
        eventually("it runs", || polls.get() > 10);
        for _ in 0..10 {
            pool.run(|| ()).unwrap();
        }
        stopped.store(1, SeqCst);
        busy.unwrap().join().unwrap();
        assert_conserved(&pool);
    }
}

#[test]
fn a_future_that_wakes_itself_does_not_starve_others() {
    on_every_dispatch!(fairness);
}

fn cancels<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let worker = pool.run(|| thread::current().id()).unwrap();
    // While it waits: by the handle, by its token, and from a poll.
    for by_token in [false, true] {
        let (parked, tells) = (Parked::default(), TellsDrop(Arc::clone(&dropped)));
        let waiting = parked.wait();
        let handle = pool.spawn_future(async move {
            let _tells = tells;
            waiting.await;
        });
        let handle = handle.unwrap();
        parked.await_polls(1);
        if by_token {
            handle.token().cancel()
        } else {
            _ = handle.cancel()
        }
        assert!(handle.join().unwrap_err().is_cancelled());
        assert_eq!(dropped.lock().pop(), Some(worker));
    }
    // Before its first poll.
    let pause = pool.pause();
    let ran = Count::new();
    let (count, tells) = (ran.clone(), TellsDrop(Arc::clone(&dropped)));
    let handle = pool.spawn_future(async move {
        let _tells = tells;
        count.up();
    });
    let handle = handle.unwrap();
    handle.cancel();
    drop(pause);
    assert!(handle.join().unwrap_err().is_cancelled());
    assert_eq!((ran.get(), dropped.lock().pop()), (0, Some(worker)));
    // A task learns it from its context.
    let handle = pool.spawn_future(async {
        yield_once().await;
        Context::with(|cx| cx.token().map(|token| token.cancel())).is_some()
    });
    assert!(handle.unwrap().join().unwrap());
    assert_conserved(&pool);
    assert_eq!(pool.stats().cancelled, 3);
}

#[test]
fn a_cancel_drops_the_future_on_a_worker() {
    on_every_dispatch!(cancels);
}

/// What is parked is dropped at the close, what is queued runs, or is taken out; handles know.
fn closes<D: Dispatch>() {
    for end in 0..5 {
        let on_drop = [OnDrop::Drain, OnDrop::Cancel, OnDrop::Detach][end % 3];
        let pool = Pool::builder().workers(1).queue(10).on_drop(on_drop).dispatch::<D>().build().unwrap();
        let dropped = Arc::new(Mutex::new(Vec::new()));
        let parked = Parked::default();
        let spawn = |future: Pin<Box<dyn Future<Output = ()> + Send>>| {
            let tells = TellsDrop(Arc::clone(&dropped));
            pool.spawn_future(async move {
                let _tells = tells;
                future.await;
            })
            .unwrap()
        };
        let mut handles = vec![spawn(Box::pin(parked.wait())), spawn(Box::pin(parked.wait()))];
        parked.await_polls(2);
        assert!(pool.wait_idle());
        let pause = pool.pause();
        // One that is woken, and one that was not polled.
        parked.0.lock().remove(0).wake();
        handles.push(spawn(Box::pin(parked.wait())));
        match end {
            0 => assert!(pool.shutdown().is_complete()),
            1 => assert!(pool.shutdown_now().is_empty()),
            _ => {}
        }
        drop(pause);
        let stats = (end < 2).then(|| pool.stats());
        drop(pool);
        for handle in handles {
            assert!(handle.join().unwrap_err().is_cancelled());
        }
        eventually("dropped", || dropped.lock().len() == 3);
        if let Some(stats) = stats {
            assert_eq!(stats.submitted, stats.completed + stats.cancelled, "{stats:?}");
        }
        // Nothing comes of a wake-up after the end.
        std::mem::take(&mut *parked.0.lock()).into_iter().for_each(Waker::wake);
    }
}

#[test]
fn a_close_drops_what_waits() {
    on_every_dispatch!(closes);
}

/// A future that wakes itself in every poll does not hold up the end of its pool.
fn wakes_itself<D: Dispatch>() {
    for end in 0..2 {
        let pool = pool::<D>(1, 1);
        let restless = poll_fn(|poller: &mut Poller<'_>| {
            poller.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        let handle = pool.spawn_future(restless).unwrap();
        pool.run(|| ()).unwrap();
        match end {
            0 => assert!(pool.shutdown().is_complete()),
            _ => drop(pool),
        }
        assert!(handle.join().unwrap_err().is_cancelled());
    }
}

#[test]
fn a_future_that_wakes_itself_ends_with_its_pool() {
    on_every_dispatch!(wakes_itself);
}

/// Tasks spawn futures, futures spawn futures, and a worker that waits for one lets others poll it.
fn nested<D: Dispatch>() {
    for nested in [Nested::Any, Nested::Bounded] {
        let pool = Pool::builder().workers(2).queue(10).nested(nested).dispatch::<D>().build().unwrap();
        let pool = Arc::new(pool);
        let own = Arc::clone(&pool);
        let sum = pool.run(move || {
            let inner = Arc::clone(&own);
            let future = own.spawn_future(async move {
                yield_once().await;
                let ten = inner.spawn_future(async { 10 }).unwrap().await.unwrap();
                ten + inner.spawn(|| 1).unwrap().await.unwrap()
            });
            future.unwrap().join().unwrap()
        });
        assert_eq!(sum.unwrap(), 11);
        assert_conserved(&pool);
    }
    // The only worker waits for a future that nobody else could poll.
    let pool = Arc::new(pool::<D>(1, 10));
    let own = Arc::clone(&pool);
    let error = pool.run(move || own.spawn_future(pending::<()>()).unwrap().join().unwrap_err()).unwrap();
    assert!(error.is_would_deadlock());
    let own = Arc::clone(&pool);
    assert_eq!(pool.run(move || own.spawn_future(async { 3 }).unwrap().join().unwrap()).unwrap(), 3);
}

#[test]
fn futures_are_spawned_and_awaited_inside() {
    on_every_dispatch!(nested);
}

/// Polls need a permit of the view, and pending futures hold none.
fn in_views<D: Dispatch>() {
    let pool = pool::<D>(3, 2);
    let view = pool.limited(1);
    let at_once = Count::new();
    let handles: Vec<_> = (0..30)
        .map(|_| {
            let at_once = at_once.clone();
            let future = async move {
                for _ in 0..5 {
                    at_once.up();
                    thread::yield_now();
                    at_once.down();
                    yield_once().await;
                }
            };
            view.spawn_future(future).unwrap()
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert_eq!((at_once.peak(), view.stats().peak_running), (1, 1));
    let parked = Parked::default();
    let handle = view.spawn_future(parked.wait()).unwrap();
    parked.await_polls(1);
    assert!(view.wait_idle());
    assert_eq!(view.run(|| 7).unwrap(), 7);
    drop(view);
    parked.0.lock().remove(0).wake();
    assert!(handle.join().unwrap_err().is_cancelled());
    assert_conserved(&pool);
}

#[test]
fn a_view_limits_polls() {
    on_every_dispatch!(in_views);
}

/// Many wake-ups from other threads, at any moment of a poll: none is lost, and no future is polled twice at a time.
fn many_wake_ups<D: Dispatch>() {
    const FUTURES: usize = 20;
    let wakes = if cfg!(miri) { 20 } else { 3_000 };
    for queue in [0, 100] {
        let pool = pool::<D>(3, queue);
        let (senders, handles): (Vec<_>, Vec<_>) = (0..FUTURES)
            .map(|_| {
                let (sender, mut receiver) = mpsc::channel::<usize>(2);
                let polling = Count::new();
                let sum = async move {
                    let mut sum = 0;
                    let mut next = receiving(polling);
                    while let Some(n) = next(&mut receiver).await {
                        sum += n;
                    }
                    sum
                };
                (sender, pool.spawn_future(sum).unwrap())
            })
            .unzip();
        together(3, |_| {
            for n in 0..wakes {
                block_on(senders[n % FUTURES].send(1)).unwrap();
            }
        });
        drop(senders);
        let sum: usize = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
        assert_eq!(sum, 3 * wakes);
        assert_conserved(&pool);
    }
}

/// Receives, and checks that one poll runs at a time.
fn receiving(
    polling: Count,
) -> impl FnMut(&mut mpsc::Receiver<usize>) -> Pin<Box<dyn Future<Output = Option<usize>> + Send + '_>> {
    move |receiver| {
        let polling = polling.clone();
        Box::pin(poll_fn(move |poller: &mut Poller<'_>| {
            assert_eq!(polling.up(), 1);
            let polled = receiver.poll_recv(poller);
            polling.down();
            polled
        }))
    }
}

#[test]
fn no_wake_up_is_lost() {
    on_every_dispatch!(many_wake_ups);
}

/// Wake-ups against cancels and the close: each future is dropped once, and each handle gets an answer.
fn races<D: Dispatch>() {
    for round in 0..if cfg!(miri) { 2 } else { 100 } {
        let pool = Pool::builder().workers(2).queue(2).on_drop(OnDrop::Cancel).dispatch::<D>().build().unwrap();
        let (parked, dropped) = (Parked::default(), Arc::new(Mutex::new(Vec::new())));
        let handles: Vec<_> = (0..6)
            .map(|_| {
                let (waiting, tells) = (parked.wait(), TellsDrop(Arc::clone(&dropped)));
                let future = async move {
                    let _tells = tells;
                    waiting.await;
                };
                pool.spawn_future(future).unwrap()
            })
            .collect();
        let pool = Mutex::new(Some(pool));
        together(3, |thread| match thread {
            0 => (0..20).for_each(|_| std::mem::take(&mut *parked.0.lock()).into_iter().for_each(Waker::wake)),
            1 => handles.iter().take(round % 7).for_each(|handle| _ = handle.cancel()),
            _ => {
                let pool = pool.lock().take();
                let is_complete = |pool: Pool<D>| pool.shutdown_timeout(LIMIT).is_complete();
                assert!(pool.is_none_or(|pool| round % 3 == 0 || is_complete(pool)));
            }
        });
        for handle in handles {
            assert!(handle.join().unwrap_err().is_cancelled());
        }
        eventually("dropped", || dropped.lock().len() == 6);
    }
}

#[test]
fn each_future_has_one_end() {
    on_every_dispatch!(races);
}

/// Wake-ups against the end of the pool: it does not begin again.
fn late_wake_ups<D: Dispatch>() {
    for _ in 0..if cfg!(miri) { 2 } else { 60 } {
        let (pool, parked) = (pool::<D>(1, 0), Parked::default());
        let handles: Vec<_> = (0..4).map(|_| pool.spawn_future(parked.wait()).unwrap()).collect();
        parked.await_polls(4);
        let wakers = std::mem::take(&mut *parked.0.lock());
        together(2, |thread| match thread {
            0 => wakers.iter().for_each(Waker::wake_by_ref),
            _ => assert!(pool.shutdown().is_complete()),
        });
        assert!(handles.into_iter().all(|handle| handle.join().unwrap_err().is_cancelled()));
        let stats = pool.stats();
        assert_eq!((stats.live, stats.queued), (0, 0), "{stats:?}");
    }
}

#[test]
fn a_pool_that_has_ended_stays_so() {
    on_every_dispatch!(late_wake_ups);
}

/// Timers and channels of another runtime.
fn with_tokio<D: Dispatch>() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let pool = pool::<D>(2, 4);
    let reactor = runtime.handle().clone();
    let handles: Vec<_> = (0..50)
        .map(|n| {
            let (sender, receiver) = oneshot::channel();
            let sleep = {
                let _entered = reactor.enter();
                tokio::time::sleep(Duration::from_micros(n * 100))
            };
            let send = pool.spawn_future(async move {
                sleep.await;
                sender.send(n).unwrap();
            });
            (send.unwrap(), pool.spawn_future(receiver).unwrap())
        })
        .collect();
    for (n, (sent, received)) in (0..).zip(handles) {
        runtime.block_on(sent).unwrap();
        assert_eq!(received.join().unwrap(), Ok(n));
    }
    assert_conserved(&pool);
}

#[test]
fn timers_and_channels_of_a_runtime_wake_futures() {
    on_every_dispatch!(with_tokio);
}
