//! D12: what a pool does with its tasks when it is dropped, and dropping it without waiting for a stuck task.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::support::tokens::own_token;
use crate::support::{AnyPool, Count, Gate, Setup, eventually, for_each, on_every_dispatch, threads_named};
use formicary::{CancelToken, Context, Dispatch, OnDrop, Pool, StatefulPool, Task, Worker};

/// A prefix that no other pool of this process has.
fn fresh_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("drop{}x", NEXT.fetch_add(1, SeqCst))
}

fn named(name: &str, on_drop: OnDrop) -> Setup {
    Setup { thread_name: Some(name.to_owned()), on_drop, ..Setup::roomy(2) }
}

/// Both workers are held at the gate, and the task is queued three times.
fn stuck(pool: &AnyPool, queued: &Count) -> Gate {
    let gate = Gate::new();
    (0..2).for_each(|_| pool.submit(gate.task()).unwrap());
    gate.await_arrivals(2);
    (0..3).for_each(|_| pool.submit(queued.task()).unwrap());
    gate
}

/// D12: a pool that detaches is dropped while its tasks are stuck. They own what they need: what is queued runs when they go
/// on, and then the threads end.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "counts threads in /proc")]
fn d12_dropping_a_pool_that_detaches_waits_for_nothing() {
    for_each(|variant| {
        let (name, ran) = (fresh_name(), Count::new());
        let pool = variant.build(named(&name, OnDrop::Detach));
        let gate = stuck(&pool, &ran);
        drop(pool);
        assert_eq!((threads_named(&name), ran.get()), (2, 0));
        gate.open();
        eventually("the threads end", || threads_named(&name) == 0);
        assert_eq!(ran.get(), 3);
    });
}

/// D12: the same for any pool that is set to detach, after each end that timed out.
#[test]
fn d12_a_pool_detaches_after_a_shutdown_that_timed_out() {
    type Way = (usize, fn(&AnyPool));
    let ways: [Way; 3] = [
        (3, |_| ()),
        (3, |pool| assert!(!pool.shutdown_timeout(Duration::from_millis(1)).is_complete())),
        (0, |pool| assert_eq!(pool.shutdown_graceful(Duration::from_millis(1)).0.len(), 3)),
    ];
    for (left, give_up) in ways {
        for_each(move |variant| {
            let (name, ran) = (fresh_name(), Count::new());
            let pool = variant.build(named(&name, OnDrop::Drain));
            let gate = stuck(&pool, &ran);
            give_up(&pool);
            pool.detach();
            assert!(pool.is_closed() && pool.submit(Task::new(|| ())).unwrap_err().is_closed());
            assert_eq!((pool.running(), pool.queued()), (2, left));
            drop(pool);
            gate.open();
            eventually("the threads end", || threads_named(&name) == 0);
            assert_eq!(ran.get(), left);
        });
    }
}

/// D12: a restart revokes the detaching: dropping the pool waits as before.
#[test]
fn d12_a_restarted_pool_is_waited_for_again() {
    for_each(|variant| {
        let (name, ran) = (fresh_name(), Count::new());
        let pool = variant.build(named(&name, OnDrop::Drain));
        pool.detach();
        pool.shutdown();
        pool.restart().unwrap();
        (0..20).for_each(|_| pool.submit(ran.task()).unwrap());
        drop(pool);
        assert_eq!(ran.get(), 20);
        // A thread that was joined may still be listed for a moment.
        eventually("the threads are gone", || threads_named(&name) == 0);
    });
}

/// D12: another crate's pool interface on top of ours: tasks that never end, and a pool that is simply dropped.
#[test]
fn d12_a_program_can_end_beside_tasks_that_do_not() {
    struct ThreadPool(Pool);
    impl ThreadPool {
        fn new(threads: usize) -> Self {
            ThreadPool(Pool::builder().workers(threads).unbounded_queue().on_drop(OnDrop::Detach).build().unwrap())
        }
        fn execute(&self, job: impl FnOnce() + Send + 'static) {
            self.0.submit(job).unwrap();
        }
    }
    crate::support::within(crate::support::LIMIT, "a pool is dropped", || {
        let pool = ThreadPool::new(4);
        let (sender, receiver) = mpsc::channel();
        for n in 0..4 {
            let sender = sender.clone();
            pool.execute(move || {
                sender.send(n).unwrap();
                loop {
                    std::thread::park();
                }
            });
        }
        assert_eq!(receiver.iter().take(4).sum::<i32>(), 6);
    });
}

/// D12: a pool that cancels drops what is queued, and waits for what runs.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "counts threads in /proc")]
fn d12_dropping_a_pool_that_cancels_drops_what_is_queued() {
    for_each(|variant| {
        let (name, ran) = (fresh_name(), Count::new());
        let pool = variant.build(named(&name, OnDrop::Cancel));
        let gate = stuck(&pool, &ran);
        let captured = Arc::new(());
        let held = Arc::clone(&captured);
        pool.submit(Task::new(move || drop(held))).unwrap();
        let dropping = std::thread::spawn(move || drop(pool));
        eventually("the queue is dropped", || Arc::strong_count(&captured) == 1);
        eventually("both threads are listed", || threads_named(&name) == 2);
        gate.open();
        dropping.join().unwrap();
        assert_eq!(ran.get(), 0);
        eventually("the threads are gone", || threads_named(&name) == 0);
    });
}

/// D12: running tasks are told to stop: by their token, and a worker with state by its context; the others are cancelled.
#[test]
fn d12_dropping_a_pool_that_cancels_tells_running_tasks_to_stop() {
    fn test<D: Dispatch>() {
        let (token, gate) = (CancelToken::new(), Gate::new());
        let pool = Pool::builder().workers(1).on_drop(OnDrop::Cancel).dispatch::<D>().build().unwrap();
        let at = gate.clone();
        let until_told = move || {
            at.wait();
            assert!(own_token().wait_timeout(crate::support::LIMIT));
        };
        let running = pool.with().token(&token).spawn(until_told).unwrap();
        let queued = pool.spawn(|| 7).unwrap();
        gate.open();
        gate.await_arrivals(1);
        drop(pool);
        assert!(running.join().is_ok());
        assert!(queued.join().unwrap_err().is_cancelled());
    }
    on_every_dispatch!(test);
}

/// Works until it is told to stop.
struct UntilTold(Gate);

impl Worker for UntilTold {
    type Input = ();
    type Output = ();

    fn process(&mut self, _: (), cx: &Context<'_>) {
        self.0.wait();
        while !cx.is_cancelled() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn d12_dropping_a_pool_that_cancels_stops_its_states() {
    fn test<D: Dispatch>() {
        let gate = Gate::new();
        let at = gate.clone();
        let builder = StatefulPool::builder(move |_| Ok(UntilTold(at.clone()))).workers(1);
        let pool = Arc::new(builder.on_drop(OnDrop::Cancel).dispatch::<D>().build().unwrap());
        let running = pool.spawn(()).unwrap();
        gate.open();
        gate.await_arrivals(1);
        let queued = pool.spawn(()).unwrap();
        drop(pool);
        assert!(running.join().is_ok());
        assert!(queued.join().unwrap_err().is_cancelled());
    }
    on_every_dispatch!(test);
}
