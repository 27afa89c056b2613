//! What a task costs in allocations once a pool has run for a while: nothing on a ring, next to nothing elsewhere, and one
//! where its result is wanted.
//!
//! All of it is one test: the count is that of the whole process, and the harness allocates between tests.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

use formicary::{
    Builder, CancelToken, Context, Dispatch, Fair, Pool, PoolWithFunc, Priority, Ring, Sharded, Stack, StatefulPool,
    Task, Worker, WorkerPool,
};
use support::allocator::{Counting, allocations, bytes};
use support::{Gate, LIMIT, within};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Few enough to be done before the harness says that a test takes long, for which it allocates, even where other processes keep
/// all processors busy.
const TASKS: usize = 1_000;
const WORKERS: usize = 2;

/// What the tasks do.
static SUM: AtomicU64 = AtomicU64::new(0);

fn add(n: u64) {
    SUM.fetch_add(n, Relaxed);
}

/// Makes the calling thread allocate what is allocated once for each thread.
fn warm_up_thread() {
    let lock = parking_lot::Mutex::new(());
    parking_lot::Condvar::new().wait_for(&mut lock.lock(), Duration::from_millis(1));
    // What it parks with when it waits for a pool.
    assert!(!CancelToken::new().wait_timeout(Duration::from_millis(1)));
    add(0);
}

/// The most tasks that are queued at a time.
const BURST: usize = 400;

/// Warms up all workers, each of which gets one of the tasks: a call of [`warm_up_thread`] before it waits at the gate. Meanwhile the queue
/// grows to what it ever needs. `task` makes the task of a number.
fn warm_up<T>(pool: &dyn WorkerPool<T>, gate: &Gate, task: impl Fn(u64) -> T) {
    (0..WORKERS).for_each(|_| assert!(pool.submit(task(WARM)).is_ok()));
    gate.await_arrivals(WORKERS);
    (0..BURST).for_each(|_| assert!(pool.submit(task(0)).is_ok()));
    gate.open();
    assert!(pool.wait_idle());
    warm_up_thread();
}

/// The number that is the task to warm up.
const WARM: u64 = u64::MAX;

/// Adds numbers.
fn adder(gate: &Gate) -> impl Fn(u64) + Send + Sync + 'static {
    let gate = gate.clone();
    move |n| {
        if n == WARM {
            warm_up_thread();
            gate.wait();
        } else {
            add(n);
        }
    }
}

/// A pool of closures, warmed up.
fn closures<D: Dispatch>() -> Pool<D> {
    let (pool, gate) = (settled(Pool::builder()).dispatch::<D>().build().unwrap(), Gate::new());
    warm_up(&pool, &gate, |n| {
        let adds = adder(&gate);
        Task::new(move || adds(n))
    });
    pool
}

/// How many allocations `TASKS` tasks take: in bursts that fill the queue, and one by one, each time with workers that are parked
/// or about to park.
fn count(submit: impl Fn(u64), wait_idle: impl Fn() -> bool) -> [usize; 2] {
    [BURST, 1].map(|burst| {
        let run = |tasks| {
            let before = allocations();
            for n in 0..tasks {
                submit(n as u64);
                if n % burst == burst - 1 {
                    assert!(wait_idle());
                }
            }
            assert!(wait_idle());
            allocations() - before
        };
        run(TASKS / 10);
        run(TASKS)
    })
}

/// All that the workers need is there from the start.
fn settled<K, D: Dispatch>(builder: Builder<K, D>) -> Builder<K, D> {
    builder.workers(WORKERS).min_workers(WORKERS).queue(510).expiry(None)
}

/// The closures, or payloads, that need no memory of their own; at most so many of 10,000 tasks may allocate.
fn small_tasks<D: Dispatch>(most: usize) {
    let assert_few = |counted: [usize; 2], what: &str| {
        assert!(counted.iter().all(|n| *n <= most), "{counted:?} allocations for {TASKS} of {what}, {}", D::NAME);
    };

    let gate = Gate::new();
    let pool = settled(PoolWithFunc::builder(adder(&gate))).dispatch::<D>().build().unwrap();
    warm_up(&pool, &gate, |n| n);
    assert_few(count(|n| pool.submit(n).unwrap(), || pool.wait_idle()), "invoke");

    let pool = closures::<D>();
    assert_few(count(|n| pool.submit(move || add(n)).unwrap(), || pool.wait_idle()), "submit");
    let large = |n| {
        let captured = [n; 6];
        move || add(black_box(captured)[5])
    };
    assert_eq!(size_of_val(&large(0)), 48);
    assert_few(count(|n| pool.submit(large(n)).unwrap(), || pool.wait_idle()), "submit of 48 bytes");

    // Control: the count sees allocations.
    let larger = |n| {
        let captured = [n; 7];
        move || add(black_box(captured)[6])
    };
    let counted = count(|n| pool.submit(larger(n)).unwrap(), || pool.wait_idle());
    assert!(counted.iter().all(|n| (TASKS..=TASKS + most).contains(n)), "{counted:?} for 56 bytes, {}", D::NAME);
}

struct Adder(Gate);

impl Worker for Adder {
    type Input = u64;
    type Output = u64;

    fn process(&mut self, n: u64, _: &Context<'_>) -> u64 {
        adder(&self.0)(n);
        n
    }
}

/// A result with a handle takes one allocation; one that its caller blocks for takes none.
fn tasks_with_results() {
    let exactly = [TASKS; 2];
    let pool = closures::<Ring>();
    let joined = |n| assert_eq!(pool.spawn(move || n).unwrap().join().unwrap(), n);
    assert_eq!(count(joined, || pool.wait_idle()), exactly, "spawn and join");
    assert_eq!(count(|n| drop(pool.spawn(move || n).unwrap()), || pool.wait_idle()), exactly, "spawn");
    assert_eq!(count(|n| assert_eq!(pool.run(move || n).unwrap(), n), || pool.wait_idle()), [0; 2], "run");

    let gate = Gate::new();
    let states = gate.clone();
    let pool = settled(StatefulPool::builder(move |_| Ok(Adder(states.clone())))).dispatch::<Ring>().build().unwrap();
    warm_up(&pool, &gate, |n| n);
    let joined = |n| assert_eq!(pool.spawn(n).unwrap().join().unwrap(), n);
    assert_eq!(count(joined, || pool.wait_idle()), exactly, "submit and join");
    let processed = |n| assert_eq!(pool.run(n).map_err(drop), Ok(n));
    assert_eq!(count(processed, || pool.wait_idle()), [0; 2], "process");
    let called = |n| {
        let awaited = ready(pool.spawn_async(n)).unwrap();
        assert_eq!(awaited.join().unwrap(), n);
    };
    assert_eq!(count(called, || pool.wait_idle()), exactly, "submit_async and join, with state");

    let gate = Gate::new();
    let adds = adder(&gate);
    let twice = move |n| {
        adds(n);
        n
    };
    let pool = settled(PoolWithFunc::builder(twice)).dispatch::<Ring>().build().unwrap();
    warm_up(&pool, &gate, |n| n);
    assert_eq!(count(|n| assert_eq!(pool.run(n).unwrap(), n), || pool.wait_idle()), [0; 2], "call");
}

/// The output of a future that is ready at once.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Poller::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is room"),
    }
}

/// A token costs the task state that a task with options has, and nothing more until the task asks for a token of its own.
/// Submitting as a future costs nothing. Shared state costs one more allocation.
fn tokens_and_futures() {
    let (none, one) = ([0; 2], [TASKS; 2]);
    let (pool, token) = (closures::<Ring>(), CancelToken::new());
    let counted = |submit: &dyn Fn(u64)| count(submit, || pool.wait_idle());
    assert_eq!(counted(&|n| pool.with().token(&token).submit(move || add(n)).unwrap()), one, "submit with a token");
    assert_eq!(counted(&|n| ready(pool.submit_async(move || add(n))).unwrap()), none, "submit_async");
    let spawned = |n| assert_eq!(ready(pool.spawn_async(move || n)).unwrap().join().unwrap(), n);
    assert_eq!(counted(&spawned), one, "spawn_async and join");
    let shared = |n| assert_eq!(pool.spawn(move || n).unwrap().shared().join().unwrap(), &n);
    // The list of waiters is one more allocation while the result is not there yet.
    let counts = counted(&shared);
    assert!(counts.iter().all(|n| (2 * TASKS..=3 * TASKS).contains(n)), "{counts:?} for shared handles");
    let cancellable = |n| assert_eq!(pool.with().token(&token).spawn(move || n).unwrap().join().unwrap(), n);
    assert_eq!(counted(&cancellable), one, "spawn_cancellable and join");

    let gate = Gate::new();
    let pool = settled(PoolWithFunc::builder(adder(&gate))).dispatch::<Ring>().build().unwrap();
    warm_up(&pool, &gate, |n| n);
    let counted = |submit: &dyn Fn(u64)| count(submit, || pool.wait_idle());
    assert_eq!(counted(&|n| pool.with().token(&token).submit(n).unwrap()), one, "invoke_cancellable");
    assert_eq!(counted(&|n| ready(pool.submit_async(n)).unwrap()), none, "invoke_async");
}

/// Asking a shared handle again and again leaves nothing behind.
fn waiting_again_and_again() {
    let (pool, gate) = (closures::<Ring>(), Gate::new());
    let held = gate.clone();
    let shared = pool.spawn(move || held.wait()).unwrap().shared();
    gate.await_arrivals(1);
    let ask = |times| (0..times).for_each(|_| assert!(shared.join_timeout(Duration::from_nanos(1)).is_none()));
    ask(10);
    let before = bytes();
    ask(1000);
    assert_eq!(bytes(), before);
    gate.open();
    shared.join().unwrap();
}

#[test]
fn a_warm_pool_allocates_no_more_than_promised() {
    within(LIMIT, "Ring", || small_tasks::<Ring>(0));
    // A block for some sixty tasks that wait.
    within(LIMIT, "Sharded", || small_tasks::<Sharded>(TASKS / 50));
    within(LIMIT, "Priority", || small_tasks::<Priority>(TASKS / 50));
    within(LIMIT, "Fair", || small_tasks::<Fair>(TASKS / 50));
    within(LIMIT, "Stack", || small_tasks::<Stack>(TASKS / 50));
    within(LIMIT, "results", tasks_with_results);
    within(LIMIT, "tokens and futures", tokens_and_futures);
    within(LIMIT, "shared handles", waiting_again_and_again);
}
