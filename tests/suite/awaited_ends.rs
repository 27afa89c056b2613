//! Waiting without a thread for a pool to be idle, and for its end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context as Poller, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::support::closures::{occupy, pool};
use crate::support::races::together;
use crate::support::waking::{Bell, block_on, poll_with};
use crate::support::{
    AnyPool, Count, Gate, Setup, assert_conserved, await_waiting, eventually, for_each, on_every_dispatch, start_thread,
};
use formicary::{BuildError, Dispatch, Pool, Task};

#[test]
fn an_idle_pool_is_awaited() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::roomy(2)), Gate::new());
        assert!(block_on(pool.wait_idle_async()));
        for _ in 0..5 {
            pool.submit(gate.task()).unwrap();
        }
        let (bell, mut idle) = (Bell::new(), pin!(pool.wait_idle_async()));
        for passed in 0..5 {
            gate.await_arrivals((passed + 2).min(5));
            assert_eq!(poll_with(idle.as_mut(), &bell), Poll::Pending);
            assert_eq!(bell.rung(), 0, "not before it is idle");
            gate.pass(1);
            eventually("one has ended", || pool.stats().completed == passed as u64 + 1);
        }
        eventually("it is told", || bell.rung() == 1);
        // It was idle, whatever was submitted after that.
        pool.submit(gate.task()).unwrap();
        assert_eq!(poll_with(idle.as_mut(), &bell), Poll::Ready(true));
        gate.open();
        assert!(block_on(pool.wait_idle_async()));
        assert_conserved(&*pool);
    });
}

/// Threads and futures that wait for the same moment, and tasks that are submitted anew: every waiter is woken.
#[test]
fn threads_and_futures_wait_for_the_same_idle_moment() {
    for_each(|variant| {
        let (pool, count) = (variant.build(Setup::roomy(2)), Count::new());
        together(4, |n| {
            for _ in 0..200 {
                pool.submit(count.task()).unwrap();
                assert!(if n % 2 == 0 { block_on(pool.wait_idle_async()) } else { pool.wait_idle() });
            }
        });
        assert_eq!(count.get(), 800);
    });
}

#[test]
fn on_its_own_thread_neither_waits() {
    for_each(|variant| {
        let pool = variant.build(Setup::roomy(2));
        let (inner, done) = (Arc::downgrade(&pool), Arc::new(AtomicBool::new(false)));
        let is_done = Arc::clone(&done);
        pool.submit(Task::new(move || {
            let pool = inner.upgrade().unwrap();
            assert!(!block_on(pool.wait_idle_async()));
            let report = block_on(pool.shutdown_async());
            assert!(!report.is_complete() && report.running == 1 && pool.is_closed());
            is_done.store(true, SeqCst);
        }))
        .unwrap();
        assert!(pool.shutdown().is_complete());
        assert!(done.load(SeqCst), "{}", pool.stats());
    });
}

#[test]
fn the_end_is_awaited() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup { min_workers: Some(2), ..Setup::new(2, 2) }), Gate::new());
        for _ in 0..4 {
            pool.submit(gate.task()).unwrap();
        }
        gate.await_arrivals(2);
        let (bell, mut end) = (Bell::new(), pin!(pool.shutdown_async()));
        assert!(!pool.is_closed(), "it has not been polled");
        let (blocked, task) = (pool.clone(), gate.task());
        let blocked = thread::spawn(move || blocked.submit(task).unwrap_err().is_closed());
        await_waiting(&*pool, 1);
        assert!(poll_with(end.as_mut(), &bell).is_pending());
        assert!(pool.is_closed() && blocked.join().unwrap());
        assert!(poll_with(end.as_mut(), &bell).is_pending());
        assert_eq!(bell.rung(), 0, "not before the end");
        gate.open();
        let report = block_on(end);
        assert!(report.is_complete() && report.ran == 4, "{report:?}");
        assert_eq!((report.workers, report.queued, report.running, pool.stats().live), (0, 0, 0, 0));
        assert_conserved(&*pool);
        // As after any other end.
        assert!(block_on(pool.shutdown_async()).is_complete());
        pool.restart().unwrap();
        pool.submit(Task::new(|| ())).unwrap();
        assert!(block_on(pool.wait_idle_async()));
    });
}

/// The destructor of a worker's thread-local has run when the future is ready: its thread was joined.
fn joined<D: Dispatch>() {
    struct Counts(Count);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.up();
        }
    }
    thread_local!(static LAST: std::cell::RefCell<Option<Counts>> = const { std::cell::RefCell::new(None) });
    for _ in 0..50 {
        let (pool, count) = (pool::<D>(1, 10), Count::new());
        let inner = count.clone();
        pool.submit(move || LAST.with(|last| drop(last.replace(Some(Counts(inner)))))).unwrap();
        assert!(block_on(pool.shutdown_async()).is_complete());
        assert_eq!(count.get(), 1);
    }
}

#[test]
fn its_threads_are_joined() {
    on_every_dispatch!(joined);
}

#[test]
fn a_dropped_future_leaves_no_waker_and_the_shutdown_goes_on() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::roomy(1)), Gate::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        let (one, other) = (Bell::new(), Bell::new());
        let mut idle = Box::pin(pool.wait_idle_async());
        let mut end = Box::pin(pool.shutdown_async());
        for bell in [&one, &other, &one] {
            assert!(poll_with(idle.as_mut(), bell).is_pending());
            assert!(poll_with(end.as_mut(), bell).is_pending());
            let held = if Arc::ptr_eq(bell, &one) { (3, 1) } else { (1, 3) };
            assert_eq!((Arc::strong_count(&one), Arc::strong_count(&other)), held, "the waker of the last poll only");
        }
        drop((idle, end));
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&other)), (1, 1));
        gate.open();
        eventually("it has ended", || pool.stats().live == 0);
        assert_eq!((one.rung(), other.rung()), (0, 0));
        assert!(block_on(pool.shutdown_async()).is_complete());
    });
}

/// Reads the pool's figures and reconfigures the pool, on the thread that wakes it.
struct Meddles {
    pool: AnyPool,
    woken: AtomicUsize,
}

impl Wake for Meddles {
    fn wake(self: Arc<Self>) {
        let Meddles { pool, woken } = &*self;
        drop(pool.stats());
        drop(pool.pause());
        pool.tune(2).unwrap();
        // On a worker of the pool they do not wait; elsewhere there is nothing left to wait for.
        let _ = pool.wait_idle_timeout(Duration::ZERO);
        let _ = pool.try_submit(Task::new(|| ()));
        woken.fetch_add(1, SeqCst);
    }
}

#[test]
fn wakers_are_woken_outside_of_locks() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::roomy(2)), Gate::new());
        let meddles = || Arc::new(Meddles { pool: pool.clone(), woken: AtomicUsize::new(0) });
        let (on_idle, on_end) = (meddles(), meddles());
        pool.submit(gate.task()).unwrap();
        {
            let mut idle = pin!(pool.wait_idle_async());
            let waker = Waker::from(Arc::clone(&on_idle));
            assert!(idle.as_mut().poll(&mut Poller::from_waker(&waker)).is_pending());
            gate.pass(1);
            eventually("the first is woken", || on_idle.woken.load(SeqCst) == 1);
            assert!(idle.as_mut().poll(&mut Poller::from_waker(&waker)).is_ready());
        }
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(2);
        let mut end = pin!(pool.shutdown_async());
        let waker = Waker::from(Arc::clone(&on_end));
        assert!(end.as_mut().poll(&mut Poller::from_waker(&waker)).is_pending());
        gate.open();
        eventually("the second is woken", || on_end.woken.load(SeqCst) == 1);
        assert!(end.as_mut().poll(&mut Poller::from_waker(&waker)).is_ready());
        drop(waker);
        // Each holds the pool.
        assert_eq!((Arc::strong_count(&on_idle), Arc::strong_count(&on_end)), (1, 1));
    });
}

#[test]
fn several_wait_for_one_end() {
    for_each(|variant| {
        for round in 0..40 {
            let pool = variant.build(Setup { min_workers: Some(round % 3), ..Setup::roomy(2) });
            for _ in 0..round {
                pool.submit(Task::new(|| ())).unwrap();
            }
            together(4, |n| match n {
                0 => assert!(pool.shutdown().is_complete()),
                1 => assert!(pool.shutdown_timeout(crate::support::LIMIT).is_complete()),
                _ => assert!(block_on(pool.shutdown_async()).is_complete()),
            });
            assert_eq!(pool.stats().completed, round as u64);
        }
    });
}

/// Tasks of two pools that each wait for the other's end.
fn circle<D: Dispatch>() {
    for _ in 0..20 {
        let pools = [pool::<D>(1, 10), pool::<D>(1, 10)];
        let both = Gate::new();
        for (mine, other) in [(0, 1), (1, 0)] {
            let (other, both) = (Arc::clone(&pools[other]), both.clone());
            let wait = move || {
                both.wait();
                block_on(other.shutdown_async());
            };
            pools[mine].submit(wait).unwrap();
        }
        both.await_arrivals(2);
        both.open();
        for pool in &pools {
            assert!(block_on(pool.shutdown_async()).is_complete());
        }
    }
}

#[test]
fn a_circle_of_ends_is_not_waited_for() {
    on_every_dispatch!(circle);
}

/// If no thread can be had for queued tasks, the future does not wait for the end, and the next shutdown runs them.
#[test]
fn what_no_thread_is_left_for_is_in_the_report() {
    for_each(|variant| {
        let refuses = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&refuses);
        let spawn_handler = move |thread| start_thread(!asked.load(SeqCst), thread);
        let setup = Setup { spawn_handler: Some(Arc::new(spawn_handler)), ..Setup::fleeting(1, 10, Duration::ZERO) };
        let pool = variant.build(setup);
        let (ran, pause) = (Count::new(), pool.pause());
        pool.submit(ran.task()).unwrap();
        refuses.store(true, SeqCst);
        // The worker that was started for it is alive, or has exited and cannot be replaced.
        let report = block_on(pool.shutdown_async());
        assert_eq!((report.workers, report.running), (0, 0));
        assert_eq!(report.queued + ran.get(), 1, "{report:?}");
        assert!(pool.shutdown().is_complete());
        assert_eq!(ran.get(), 1);
        drop(pause);
        refuses.store(false, SeqCst);
        let restarted: Result<(), BuildError> = pool.restart();
        restarted.unwrap();
    });
}

/// A runtime waits for a pool while its only thread has other things to do.
#[test]
fn a_runtime_goes_on_meanwhile() {
    let pool = Pool::new(1).unwrap();
    let gate = occupy(&pool);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let opens = async {
            tokio::task::yield_now().await;
            gate.open();
        };
        let (is_idle, ()) = tokio::join!(pool.wait_idle_async(), opens);
        assert!(is_idle && pool.shutdown_async().await.is_complete());
    });
}

/// The futures may be moved between threads.
#[test]
fn the_futures_are_send() {
    fn is_send(_: &impl Send) {}
    let pool = Pool::new(1).unwrap();
    is_send(&pool.wait_idle_async());
    is_send(&pool.shutdown_async());
}
