//! Waiting for room: what a future that is not polled may hold up, what user code in wakers may do, and what a long wait queue
//! costs.

use std::collections::VecDeque;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context as Poller, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::waking::{CountingWaker, block_on, poll_with};
use crate::support::{Gate, LIMIT, await_waiting, eventually, on_every_dispatch, within};
use formicary::{Context, Dispatch, Pool, Sharded, StatefulPool, SubmitErrorKind, Worker};
use parking_lot::Mutex;

/// D10: a future that was polled once and is kept: the idle pool takes tasks from later submitters of every kind, and then the
/// future's own.
fn kept<D: Dispatch>() {
    for kept in [1, 2, 40] {
        let pool = pool::<D>(1, 1);
        let gate = occupy(&pool);
        pool.submit(|| ()).unwrap();
        let waker = CountingWaker::new();
        let mut futures: Vec<_> = (0..kept).map(|_| Box::pin(pool.submit_async(|| ()))).collect();
        assert!(futures.iter_mut().all(|future| poll_with(future.as_mut(), &waker).is_pending()));
        gate.open();
        eventually("the first is notified", || waker.wakes() > 0);
        assert!(pool.wait_idle());
        pool.try_submit(|| ()).unwrap();
        assert!(pool.wait_idle());
        pool.submit(|| ()).unwrap();
        pool.with().room_timeout(LIMIT).submit(|| ()).unwrap();
        block_on(pool.submit_async(|| ())).unwrap();
        assert_eq!(pool.run(|| 7).unwrap(), 7);
        assert_eq!(pool.waiting(), kept);
        futures.into_iter().for_each(|future| block_on(future).unwrap());
        assert_quiet(&pool);
        assert_eq!((pool.stats().submitted, pool.waiting()), (7 + kept as u64, 0));
    }
}

#[test]
fn d10_an_idle_pool_accepts_tasks_past_an_unpolled_future() {
    on_every_dispatch!(kept);
}

/// D10: the same for threads and futures behind it in the wait queue: all of them enter, threads in their order.
fn behind_an_unpolled_future<D: Dispatch>() {
    for (kept, queue) in [(1, 0), (3, 0), (100, 0), (1, 1), (20, 3)] {
        let pool = pool::<D>(1, queue);
        let gate = occupy(&pool);
        (0..queue).for_each(|_| pool.submit(|| ()).unwrap());
        let waker = CountingWaker::new();
        let mut futures: Vec<_> = (0..kept).map(|_| Box::pin(pool.submit_async(|| ()))).collect();
        assert!(futures.iter_mut().all(|future| poll_with(future.as_mut(), &waker).is_pending()));
        let order = Arc::new(Mutex::new(Vec::new()));
        let behind: Vec<_> = (0..6)
            .map(|n| {
                let (waits, order) = (Arc::clone(&pool), Arc::clone(&order));
                let thread = thread::spawn(move || match n % 3 {
                    0 => block_on(waits.submit_async(|| ())).unwrap(),
                    1 => waits.submit(move || order.lock().push(n)).unwrap(),
                    _ => waits.with().room_timeout(LIMIT).submit(move || order.lock().push(n)).unwrap(),
                });
                await_waiting(&*pool, kept + n + 1);
                thread
            })
            .collect();
        gate.open();
        behind.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(pool.waiting(), kept);
        assert!(pool.wait_idle());
        assert_eq!(*order.lock(), [1, 2, 4, 5]);
        // Half of them are dropped, at any position in the queue, and the others enter after all.
        let others: Vec<_> = futures.into_iter().enumerate().filter(|(n, _)| n % 2 == 0).collect();
        let admitted = others.len();
        others.into_iter().for_each(|(_, future)| block_on(future).unwrap());
        assert_quiet(&pool);
        assert_eq!((pool.stats().submitted, pool.waiting()), ((1 + queue + 6 + admitted) as u64, 0));
    }
}

#[test]
fn d10_submitters_behind_an_unpolled_future_enter() {
    on_every_dispatch!(behind_an_unpolled_future);
}

/// D10: there is room in the queue, and the only worker runs a long task, so that nothing else happens: a thread behind a kept
/// future enters all the same.
fn behind_an_unpolled_future_and_busy<D: Dispatch>() {
    let pool = pool::<D>(1, 1);
    let (gate, next) = (occupy(&pool), Gate::new());
    let held = next.clone();
    pool.submit(move || held.wait()).unwrap();
    let waker = CountingWaker::new();
    let mut futures: Vec<_> = (0..5).map(|_| Box::pin(pool.submit_async(|| ()))).collect();
    assert!(futures.iter_mut().all(|future| poll_with(future.as_mut(), &waker).is_pending()));
    let waits = Arc::clone(&pool);
    let behind = thread::spawn(move || waits.submit(|| ()).unwrap());
    await_waiting(&*pool, 6);
    gate.open();
    next.await_arrivals(1);
    behind.join().unwrap();
    next.open();
    drop(futures);
    assert_quiet(&pool);
}

#[test]
fn d10_a_thread_behind_an_unpolled_future_does_not_wait_for_a_long_task() {
    on_every_dispatch!(behind_an_unpolled_future_and_busy);
}

/// D10: another submitter has taken the room that a future was notified of: the future keeps its position in the wait queue, and is
/// notified again.
fn notified_again<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let (gate, waker) = (occupy(&pool), CountingWaker::new());
    let mut first = Box::pin(pool.submit_async(|| ()));
    assert!(poll_with(first.as_mut(), &waker).is_pending());
    let mut second = Box::pin(pool.submit_async(|| ()));
    assert!(poll_with(second.as_mut(), &CountingWaker::new()).is_pending());
    for round in 0..3 {
        let wakes = waker.wakes();
        let gate = if round == 0 { gate.clone() } else { occupy(&pool) };
        if round > 0 {
            assert!(poll_with(first.as_mut(), &waker).is_pending(), "the room is gone");
            assert_eq!(waker.wakes(), wakes);
        }
        gate.open();
        eventually("it is notified", || waker.wakes() > wakes);
        assert!(pool.wait_idle());
    }
    assert!(poll_with(first.as_mut(), &waker).is_ready());
    assert!(pool.wait_idle());
    block_on(second).unwrap();
    assert_quiet(&pool);
}

#[test]
fn d10_a_future_whose_room_was_taken_is_notified_again() {
    on_every_dispatch!(notified_again);
}

/// D10: futures that are polled when they are woken enter in their order. One that the scheduler keeps from being polled for long
/// may be overtaken, so not every round needs to show it.
fn in_order<D: Dispatch>() {
    let round = || {
        let pool = pool::<D>(1, 2);
        let gate = occupy(&pool);
        let order = Arc::new(Mutex::new(Vec::new()));
        let task = |n: usize| {
            let order = Arc::clone(&order);
            move || order.lock().push(n)
        };
        (0..2).for_each(|n| pool.submit(task(n)).unwrap());
        let futures = (2..200).map(|n| Box::pin(pool.submit_async(task(n))) as _).collect();
        let executor = Executor::new(futures);
        assert_eq!(pool.waiting(), 198);
        gate.open();
        executor.finish();
        assert_quiet(&pool);
        let order = order.lock();
        assert_eq!(order.len(), 200);
        order.is_sorted()
    };
    assert!((0..50).any(|_| round()));
}

#[test]
fn d10_futures_that_are_polled_enter_in_order() {
    on_every_dispatch!(in_order);
}

/// D10, for the lanes of keys: a kept future waits in the default lane, threads in those of shards.
#[test]
fn d10_an_unpolled_future_holds_up_no_key() {
    within(LIMIT, "keys", || {
        let pool = Arc::new(Pool::builder().workers(2).queue(2).dispatch::<Sharded>().shards(2).build().unwrap());
        let (gate, waker) = (Gate::new(), CountingWaker::new());
        for _ in 0..4 {
            let held = gate.clone();
            pool.submit(move || held.wait()).unwrap();
        }
        let mut kept: Vec<_> = (0..3).map(|_| Box::pin(pool.submit_async(|| ()))).collect();
        assert!(kept.iter_mut().all(|future| poll_with(future.as_mut(), &waker).is_pending()));
        let behind: Vec<_> = (0..6)
            .map(|key| {
                let waits = Arc::clone(&pool);
                thread::spawn(move || waits.with().key(key).submit(|| ()).unwrap())
            })
            .collect();
        await_waiting(&*pool, 9);
        let waits = Arc::clone(&pool);
        let main = thread::spawn(move || waits.submit(|| ()).unwrap());
        await_waiting(&*pool, 10);
        gate.open();
        behind.into_iter().chain([main]).for_each(|thread| thread.join().unwrap());
        assert!(pool.wait_idle());
        for key in 0..6 {
            pool.with().key(key).try_submit(|| ()).unwrap();
            assert!(pool.wait_idle());
        }
        kept.into_iter().for_each(|future| block_on(future).unwrap());
        assert_quiet(&pool);
    });
}

/// A submitter that gives up in one lane leaves the only waiting one in another lane: that one is notified when there is room.
#[test]
fn d15_an_empty_lane_hides_no_other() {
    within(LIMIT, "lanes", || {
        let pool = Arc::new(Pool::builder().workers(1).queue(0).dispatch::<Sharded>().shards(1).build().unwrap());
        for _ in 0..20 {
            let gate = occupy(&pool);
            let waits = Arc::clone(&pool);
            let keyed = thread::spawn(move || waits.with().key(7).submit(|| ()).unwrap());
            await_waiting(&*pool, 1);
            let late = pool.with().room_timeout(Duration::from_millis(1)).submit(|| ()).unwrap_err();
            assert_eq!(late.kind(), SubmitErrorKind::TimedOut);
            gate.open();
            keyed.join().unwrap();
            assert!(pool.wait_idle());
        }
    });
}

/// D10: the last worker cannot wait for a kept future.
#[test]
fn d10_the_last_worker_does_not_count_on_an_unpolled_future() {
    struct Runs;
    impl Worker for Runs {
        type Input = Box<dyn FnOnce() + Send>;
        type Output = ();

        fn process(&mut self, task: Self::Input, _: &Context<'_>) {
            task();
        }
    }
    fn on<D: Dispatch>() {
        let build = StatefulPool::builder(|_| Ok(Runs)).workers(1).queue(1).dispatch::<D>().build();
        let pool = Arc::new(build.unwrap());
        let (gate, waker) = (Gate::new(), CountingWaker::new());
        let (held, inner) = (gate.clone(), Arc::clone(&pool));
        let first = pool.spawn(Box::new(move || held.wait())).unwrap();
        gate.await_arrivals(1);
        let last = pool.spawn(Box::new(move || {
            let queued = inner.spawn(Box::new(|| ())).unwrap();
            assert!(queued.join().unwrap_err().is_would_deadlock());
        }));
        let mut kept = Box::pin(pool.spawn_async(Box::new(|| ())));
        assert!(poll_with(kept.as_mut(), &waker).is_pending());
        gate.open();
        first.join().unwrap();
        last.unwrap().join().unwrap();
        block_on(kept).unwrap().join().unwrap();
    }
    on_every_dispatch!(on);
}

/// D10: a waiter is counted, also while it is overtaken, and the pool's end finds it.
fn unpolled_and_counted<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(0).max_blocking(2).dispatch::<D>().build().unwrap();
    let (gate, waker) = (occupy(&pool), CountingWaker::new());
    let mut kept: Vec<_> = (0..2).map(|_| Box::pin(pool.submit_async(|| ()))).collect();
    assert!(kept.iter_mut().all(|future| poll_with(future.as_mut(), &waker).is_pending()));
    gate.open();
    eventually("both were notified", || waker.wakes() == 2);
    let gate = occupy(&pool);
    assert_eq!((pool.waiting(), pool.submit(|| ()).unwrap_err().kind()), (2, SubmitErrorKind::Overloaded));
    drop(kept.pop());
    assert_eq!(pool.waiting(), 1);
    thread::scope(|scope| {
        let waits = scope.spawn(|| pool.submit(|| ()).unwrap());
        await_waiting(&pool, 2);
        gate.open();
        waits.join().unwrap();
    });
    assert!(pool.shutdown().is_complete());
    let refusal = block_on(kept.pop().unwrap()).unwrap_err();
    assert_eq!((refusal.kind(), pool.waiting()), (SubmitErrorKind::Closed, 0));
}

#[test]
fn d10_an_unpolled_future_counts_as_waiting() {
    on_every_dispatch!(unpolled_and_counted);
}

/// A waker whose every clone, wake and drop does something, once that is armed.
struct Hooked {
    is_armed: AtomicBool,
    hook: Box<dyn Fn() + Send + Sync>,
    /// Counted after the hook has been called.
    wakes: AtomicUsize,
}

impl Hooked {
    fn call(&self) {
        if self.is_armed.load(SeqCst) {
            (self.hook)();
        }
    }

    fn waker(self: &Arc<Self>) -> Waker {
        // SAFETY: the table below treats the pointer as the `Arc` that it is made of, and the type is `Send + Sync`.
        unsafe { Waker::from_raw(raw(Arc::clone(self))) }
    }
}

fn raw(hooked: Arc<Hooked>) -> RawWaker {
    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: the waker that is cloned owns the `Arc`, and keeps it.
            let hooked = unsafe { ManuallyDrop::new(Arc::from_raw(data.cast::<Hooked>())) };
            hooked.call();
            raw(Arc::clone(&hooked))
        },
        |data| {
            // SAFETY: a waker that is used up gives its `Arc` away.
            let hooked = unsafe { Arc::from_raw(data.cast::<Hooked>()) };
            hooked.call();
            hooked.wakes.fetch_add(1, SeqCst);
        },
        |data| {
            // SAFETY: the waker owns the `Arc`, and keeps it.
            let hooked = unsafe { ManuallyDrop::new(Arc::from_raw(data.cast::<Hooked>())) };
            hooked.call();
            hooked.wakes.fetch_add(1, SeqCst);
        },
        |data| {
            // SAFETY: a waker that is dropped gives its `Arc` away.
            unsafe { Arc::from_raw(data.cast::<Hooked>()) }.call();
        },
    );
    RawWaker::new(Arc::into_raw(hooked).cast(), &TABLE)
}

/// D11: a waker may use the pool whenever it is cloned, woken or dropped: it is never called under a lock.
fn hooked<D: Dispatch>() {
    for ends_by_drop in [false, true] {
        let pool = pool::<D>(1, 0);
        let gate = occupy(&pool);
        let asks = Arc::clone(&pool);
        let hook = Box::new(move || {
            assert!(asks.waiting() <= 2 && asks.stats().rejected < 1000);
            drop(asks.try_submit(|| ()));
            _ = asks.shutdown_timeout(Duration::ZERO);
        });
        let hooked = Arc::new(Hooked { is_armed: AtomicBool::new(false), hook, wakes: AtomicUsize::new(0) });
        let mut futures: Vec<_> = (0..2).map(|_| Box::pin(pool.submit_async(|| ()))).collect();
        for future in &mut futures {
            assert!(future.as_mut().poll(&mut Poller::from_waker(&hooked.waker())).is_pending());
        }
        hooked.is_armed.store(true, SeqCst);
        if ends_by_drop {
            futures.clear();
        } else {
            // Replaced by another, and so dropped; then notified.
            assert!(futures[0].as_mut().poll(&mut Poller::from_waker(&hooked.waker())).is_ready());
        }
        gate.open();
        if !ends_by_drop {
            eventually("it is woken", || hooked.wakes.load(SeqCst) > 0);
        }
        drop(futures);
        assert!(pool.shutdown().is_complete());
        hooked.is_armed.store(false, SeqCst);
    }
}

#[test]
fn d11_a_waker_may_ask_the_pool_anything() {
    on_every_dispatch!(hooked);
}

/// D11: the same where the wake-up comes from a worker that has made room, and the waker's clone ends the pool.
fn hooked_by_a_worker<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let gate = occupy(&pool);
    let asks = Arc::clone(&pool);
    let hook = Box::new(move || _ = asks.shutdown_timeout(Duration::ZERO));
    let hooked = Arc::new(Hooked { is_armed: AtomicBool::new(false), hook, wakes: AtomicUsize::new(0) });
    let mut future = Box::pin(pool.submit_async(|| ()));
    assert!(future.as_mut().poll(&mut Poller::from_waker(&hooked.waker())).is_pending());
    hooked.is_armed.store(true, SeqCst);
    gate.open();
    eventually("it is woken", || hooked.wakes.load(SeqCst) > 0);
    assert_eq!(block_on(future).unwrap_err().kind(), SubmitErrorKind::Closed);
    assert!(pool.shutdown().is_complete());
    hooked.is_armed.store(false, SeqCst);
}

#[test]
fn d11_a_worker_that_calls_a_waker_holds_no_lock() {
    on_every_dispatch!(hooked_by_a_worker);
}

/// A future that is polled on the thread that wakes it, as some executors do; again if it is woken meanwhile.
struct Inline {
    future: Mutex<Option<Entering<'static, ()>>>,
    calls: AtomicUsize,
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        if self.calls.fetch_add(1, SeqCst) > 0 {
            return;
        }
        let waker = Waker::from(Arc::clone(&self));
        let mut seen = 1;
        loop {
            let mut future = self.future.lock().take();
            if future.as_mut().is_some_and(|future| future.as_mut().poll(&mut Poller::from_waker(&waker)).is_pending())
            {
                *self.future.lock() = future;
            }
            let before = self.calls.fetch_sub(seen, SeqCst);
            if before == seen {
                return;
            }
            seen = before - seen;
        }
    }
}

/// D03: thousands of futures that are polled where they are woken: each leaves the wait queue and so wakes the next, and the stack
/// does not grow with their number.
fn polled_inline<D: Dispatch>() {
    // Where there is room for all at once, there is a worker for each meanwhile.
    for (closes, count) in [(true, 5_000), (false, 1_000)] {
        let pool = pool::<D>(1, 0);
        let (gate, ran, refused) = (occupy(&pool), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..count {
            let (owner, ran, refused) = (Arc::clone(&pool), Arc::clone(&ran), Arc::clone(&refused));
            let future = async move {
                if owner.submit_async(move || _ = ran.fetch_add(1, SeqCst)).await.is_err() {
                    refused.fetch_add(1, SeqCst);
                }
                Ok(())
            };
            let future = Mutex::new(Some(Box::pin(future) as _));
            Arc::new(Inline { future, calls: AtomicUsize::new(0) }).wake();
        }
        assert_eq!(pool.waiting(), count);
        let (ends, opens) = (Arc::clone(&pool), gate.clone());
        let turn = move || match closes {
            true => assert!(!ends.shutdown_timeout(Duration::ZERO).is_complete()),
            // There is room for all of them at once, where there can be.
            false => ends.tune(2 * count).unwrap(),
        };
        thread::Builder::new().stack_size(256 << 10).spawn(turn).unwrap().join().unwrap();
        opens.open();
        eventually("all have left", || ran.load(SeqCst) + refused.load(SeqCst) == count);
        assert_eq!(refused.load(SeqCst), if closes { count } else { 0 });
        // A task may run before its future has left the wait queue.
        eventually("the wait queue is empty", || pool.waiting() == 0);
    }
}

#[test]
fn d03_futures_that_are_polled_where_they_are_woken_use_no_stack() {
    on_every_dispatch!(polled_inline);
}

/// Polls its future where it is woken, and then waits until the next one has been woken.
struct Slow {
    future: Mutex<Option<Entering<'static, ()>>>,
    next: Arc<CountingWaker>,
    is_over: AtomicBool,
}

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        let mut future = self.future.lock().take();
        let mut poller = Poller::from_waker(Waker::noop());
        assert!(future.as_mut().is_some_and(|future| future.as_mut().poll(&mut poller).is_ready()));
        eventually("the next is woken", || self.next.wakes() > 0);
        self.is_over.store(true, SeqCst);
    }
}

/// An executor whose waker takes long holds up no other: the next waiter is woken when the first has left the wait queue.
fn woken_meanwhile<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let gate = occupy(&pool);
    let (owner, waker) = (Arc::clone(&pool), CountingWaker::new());
    let first = async move {
        assert!(owner.submit_async(|| ()).await.is_err());
        Ok(())
    };
    let slow = Slow { future: Mutex::new(None), next: Arc::clone(&waker), is_over: AtomicBool::new(false) };
    let (mut first, slow): (Entering<'static, ()>, _) = (Box::pin(first), Arc::new(slow));
    assert!(first.as_mut().poll(&mut Poller::from_waker(&Waker::from(Arc::clone(&slow)))).is_pending());
    *slow.future.lock() = Some(first);
    let mut next = Box::pin(pool.submit_async(|| ()));
    assert!(poll_with(next.as_mut(), &waker).is_pending());
    // The first is refused, and leaves the wait queue.
    assert!(!pool.shutdown_timeout(Duration::ZERO).is_complete());
    assert!(slow.is_over.load(SeqCst), "the next was not woken");
    assert!(block_on(next).unwrap_err().is_closed());
    gate.open();
}

#[test]
fn a_long_wake_up_does_not_hold_up_the_next_waiter() {
    on_every_dispatch!(woken_meanwhile);
}

type Entering<'p, E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send + 'p>>;

/// An executor of many futures on one thread: polls what is woken, in that order.
struct Executor<'p, E> {
    futures: Vec<Option<Entering<'p, E>>>,
    /// How many are not ready.
    left: usize,
    woken: Arc<Woken>,
}

struct Woken {
    list: Mutex<VecDeque<usize>>,
    thread: thread::Thread,
}

struct Wakes(usize, Arc<Woken>);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.1.list.lock().push_back(self.0);
        self.1.thread.unpark();
    }
}

impl<'p, E> Executor<'p, E> {
    /// Polls each of them once.
    fn new(futures: Vec<Entering<'p, E>>) -> Self {
        let woken = Arc::new(Woken { list: Mutex::new(VecDeque::new()), thread: thread::current() });
        let mut executor = Executor { left: futures.len(), futures: futures.into_iter().map(Some).collect(), woken };
        (0..executor.futures.len()).for_each(|n| executor.poll(n));
        executor
    }

    fn poll(&mut self, n: usize) {
        let Some(future) = &mut self.futures[n] else { return };
        let waker = Waker::from(Arc::new(Wakes(n, Arc::clone(&self.woken))));
        if let std::task::Poll::Ready(result) = future.as_mut().poll(&mut Poller::from_waker(&waker)) {
            assert!(result.is_ok());
            self.futures[n] = None;
            self.left -= 1;
        }
    }

    /// Polls until all are ready.
    fn finish(mut self) {
        while self.left > 0 {
            let next = self.woken.list.lock().pop_front();
            match next {
                Some(n) => self.poll(n),
                None => thread::park(),
            }
        }
    }
}

/// So many wait that a pass over all of them for each would take minutes.
const CROWD: usize = 100_000;

/// D15: many submissions wait, and are dropped again: from the back, from the front, from the middle.
fn many_leave<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let gate = occupy(&pool);
    let waker = CountingWaker::new();
    for from in ["behind", "the front", "the middle"] {
        let mut futures: Vec<_> = (0..CROWD).map(|_| Some(Box::pin(pool.submit_async(|| ())))).collect();
        for future in futures.iter_mut().flatten() {
            assert!(poll_with(future.as_mut(), &waker).is_pending());
        }
        assert_eq!(pool.waiting(), CROWD);
        let leave = |n: usize| futures[n] = None;
        match from {
            "behind" => (0..CROWD).rev().for_each(leave),
            "the front" => (0..CROWD).for_each(leave),
            _ => (CROWD / 2..CROWD).chain((0..CROWD / 2).rev()).for_each(leave),
        }
        assert_eq!(pool.waiting(), 0, "from {from}");
    }
    gate.open();
    assert_quiet(&pool);
}

#[test]
fn d15_leaving_a_long_wait_queue_does_not_take_long() {
    on_every_dispatch!(many_leave);
}

/// D15: many waiting submissions enter.
fn many_enter<D: Dispatch>() {
    let pool = pool::<D>(1, 1000);
    let gate = occupy(&pool);
    (0..1000).for_each(|_| pool.submit(|| ()).unwrap());
    let executor = Executor::new((0..CROWD).map(|_| Box::pin(pool.submit_async(|| ())) as _).collect());
    assert_eq!(pool.waiting(), CROWD);
    gate.open();
    executor.finish();
    assert_quiet(&pool);
    assert_eq!(pool.stats().completed, 1001 + CROWD as u64);
}

#[test]
fn d15_entering_from_a_long_wait_queue_does_not_take_long() {
    on_every_dispatch!(many_enter);
}
