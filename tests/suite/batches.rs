//! `submit_all` of items that are at hand, which go in batches: what it promises is what it promises for any iterator.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use crate::support::races::together;
use crate::support::{Count, Gate, LIMIT, RunTask, Setup, assert_conserved, await_waiting, on_every_dispatch, within};
use formicary::{Accepts, Dispatch, Pool, PoolWithFunc, StatefulPool, SubmitErrorKind, Task, With, WorkerPool};
use parking_lot::Mutex;

/// A pool of tasks of any kind, with the verbs of [`With`].
trait AnyTaskPool: WorkerPool<Task> + Accepts<Task> + Sized + 'static {
    fn verbs(&self) -> With<'_, Self>;
}

impl<D: Dispatch> AnyTaskPool for Pool<D> {
    fn verbs(&self) -> With<'_, Self> {
        self.with()
    }
}

impl<D: Dispatch> AnyTaskPool for PoolWithFunc<Task, D> {
    fn verbs(&self) -> With<'_, Self> {
        self.with()
    }
}

impl<D: Dispatch> AnyTaskPool for StatefulPool<RunTask, D> {
    fn verbs(&self) -> With<'_, Self> {
        self.with()
    }
}

/// Runs the test on every kind of pool and every dispatch. The test gets a function that builds the pool.
macro_rules! on_every_pool {
    ($test:ident) => {{
        fn on_every_kind<D: Dispatch>() {
            $test(|setup| setup.on(Pool::builder()).dispatch::<D>().build().unwrap());
            $test(|setup| setup.on(PoolWithFunc::builder(Task::run)).dispatch::<D>().build().unwrap());
            $test(|setup| setup.on(StatefulPool::builder(|_| Ok(RunTask))).dispatch::<D>().build().unwrap());
        }
        on_every_dispatch!(on_every_kind);
    }};
}

/// A list that tasks write their numbers to.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<usize>>>);

impl Order {
    fn task(&self, n: usize) -> Task {
        let order = Arc::clone(&self.0);
        Task::new(move || order.lock().push(n))
    }

    fn tasks(&self, numbers: impl Iterator<Item = usize>) -> Vec<Task> {
        numbers.map(|n| self.task(n)).collect()
    }

    fn get(&self) -> Vec<usize> {
        self.0.lock().clone()
    }
}

/// The bound is exact, and what does not fit comes back: the first of it as the refused task, the rest in order.
fn the_rest_comes_back_in_order<P: AnyTaskPool>(build: impl Fn(Setup) -> P) {
    // Less than a batch, and more than one.
    for (room, all) in [(5, 12), (100, 300)] {
        let pool = build(Setup { nonblocking: true, ..Setup::new(1, room - 1) });
        let (order, pause) = (Order::default(), pool.pause());
        let stopped = pool.verbs().submit_all(order.tasks(0..all)).unwrap_err();
        assert_eq!((stopped.accepted(), stopped.kind()), (room, SubmitErrorKind::Full));
        assert_eq!((pool.queued(), pool.stats().submitted), (room, room as u64));
        let (refusal, rest) = stopped.into_parts();
        assert_eq!(rest.len(), all - room - 1);
        drop(pause);
        assert!(pool.wait_idle());
        refusal.into_task().run();
        let mut rest: VecDeque<Task> = rest.collect();
        while !rest.is_empty() {
            let few: Vec<Task> = rest.drain(..rest.len().min(room)).collect();
            let count = few.len();
            assert_eq!(pool.verbs().submit_all(few).unwrap(), count);
            assert!(pool.wait_idle());
        }
        assert!(order.get().into_iter().eq(0..all));
        assert_conserved(&pool);
    }
}

#[test]
fn the_rest_of_a_batch_comes_back_in_order() {
    on_every_pool!(the_rest_comes_back_in_order);
}

/// More than fits, again and again, from two submitters: each waits where it must, every task runs once, and those of a submitter in order.
fn many_batches_block<P: AnyTaskPool>(build: impl Fn(Setup) -> P) {
    const EACH: usize = 1000;
    for queue in [0, 1, 7] {
        let pool = build(Setup::new(1, queue));
        let orders = [Order::default(), Order::default()];
        together(2, |from| {
            let tasks = orders[from].tasks(0..EACH);
            assert_eq!(pool.verbs().submit_all(tasks).unwrap(), EACH);
        });
        assert!(pool.wait_idle());
        assert!(orders.iter().all(|order| order.get().into_iter().eq(0..EACH)));
        assert_conserved(&pool);
    }
}

#[test]
fn batches_block_where_they_must() {
    on_every_pool!(many_batches_block);
}

/// Batches that race for the room: as many tasks as fit are accepted.
fn batches_race_for_the_room<P: AnyTaskPool>(build: impl Fn(Setup) -> P) {
    for room in [1, 2, 5, 70] {
        let (pool, ran) = (build(Setup { nonblocking: true, ..Setup::new(1, room - 1) }), Count::new());
        for _ in 0..20 {
            let (pause, accepted, before) = (pool.pause(), AtomicUsize::new(0), ran.get());
            together(3, |_| {
                let tasks: Vec<Task> = (0..room).map(|_| ran.task()).collect();
                let count = pool.verbs().submit_all(tasks).unwrap_or_else(|stopped| stopped.accepted());
                accepted.fetch_add(count, SeqCst);
            });
            assert_eq!((accepted.load(SeqCst), pool.queued()), (room, room));
            drop(pause);
            assert!(pool.wait_idle());
            assert_eq!(ran.get(), before + room);
        }
        assert_conserved(&pool);
    }
}

#[test]
fn the_bound_is_exact_for_batches() {
    on_every_pool!(batches_race_for_the_room);
}

/// A submitter that waits already comes first.
fn a_batch_queues_up<P: AnyTaskPool>(build: impl Fn(Setup) -> P) {
    let (pool, gate, order) = (build(Setup::new(1, 1)), Gate::new(), Order::default());
    pool.submit(gate.task()).unwrap();
    gate.await_arrivals(1);
    pool.submit(order.task(0)).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| pool.submit(order.task(1)).is_ok());
        await_waiting(&pool, 1);
        let batch = scope.spawn(|| pool.verbs().submit_all(order.tasks(2..7)).unwrap());
        await_waiting(&pool, 2);
        gate.open();
        assert!(first.join().unwrap());
        assert_eq!(batch.join().unwrap(), 5);
    });
    assert!(pool.wait_idle());
    assert!(order.get().into_iter().eq(0..7));
}

#[test]
fn a_batch_does_not_overtake_a_submitter_that_waits() {
    on_every_pool!(a_batch_queues_up);
}

/// All workers that a batch needs come, whether they sleep or are yet to be started.
fn a_batch_gets_its_workers<P: AnyTaskPool>(build: impl Fn(Setup) -> P) {
    const WORKERS: usize = 4;
    for min in [0, WORKERS] {
        let pool = build(Setup { min_workers: Some(min), ..Setup::new(WORKERS, 10) });
        for _ in 0..20 {
            let gate = Gate::new();
            let tasks: Vec<Task> = (0..WORKERS).map(|_| gate.task()).collect();
            assert_eq!(pool.verbs().submit_all(tasks).unwrap(), WORKERS);
            gate.await_arrivals(WORKERS);
            gate.open();
            assert!(pool.wait_idle());
        }
    }
}

#[test]
fn a_batch_wakes_the_workers_that_it_needs() {
    on_every_pool!(a_batch_gets_its_workers);
}

/// An iterator over a `Vec` that may block is no batch: each task is announced before the next is pulled.
fn an_adaptor_is_no_batch<P: AnyTaskPool>(build: impl Fn(Setup) -> P) {
    let (pool, gate) = (build(Setup::new(2, 8)), Gate::new());
    gate.open();
    let tasks: Vec<Task> = (0..3).map(|_| gate.task()).collect();
    let one_by_one = tasks.into_iter().enumerate().map(|(n, task)| {
        gate.await_arrivals(n);
        task
    });
    assert_eq!(pool.verbs().submit_all(one_by_one).unwrap(), 3);
    assert!(pool.wait_idle());
}

#[test]
fn a_list_behind_an_adaptor_may_block() {
    on_every_pool!(an_adaptor_is_no_batch);
}

/// Inside the pool a batch goes beyond the bound, and to a closed pool it comes back as it was.
fn inside_and_closed<P: AnyTaskPool>(build: impl Fn(Setup) -> P) {
    let (pool, ran) = (Arc::new(build(Setup::new(1, 0))), Count::new());
    let (inside, children) = (Arc::downgrade(&pool), ran.clone());
    pool.submit(Task::new(move || {
        let pool = inside.upgrade().expect("the test holds it");
        let tasks: Vec<Task> = (0..100).map(|_| children.task()).collect();
        assert_eq!(pool.verbs().submit_all(tasks).unwrap(), 100);
    }))
    .unwrap();
    assert!(pool.wait_idle());
    assert_eq!((ran.get(), pool.stats().panicked), (100, 0));
    pool.shutdown();
    let stopped = pool.verbs().submit_all([ran.task(), ran.task(), ran.task()]).unwrap_err();
    assert_eq!((stopped.accepted(), stopped.kind()), (0, SubmitErrorKind::Closed));
    assert_eq!(stopped.into_parts().1.len(), 2);
}

#[test]
fn a_batch_inside_the_pool_and_one_to_a_closed_pool() {
    on_every_pool!(inside_and_closed);
}

/// A pool is closed while batches come: each task runs, or comes back.
fn a_close_meets_batches<P: AnyTaskPool>(build: impl Fn(Setup) -> P) {
    for _ in 0..30 {
        let (pool, ran, accepted) = (build(Setup::new(2, 20)), Count::new(), AtomicUsize::new(0));
        together(3, |n| {
            if n == 0 {
                pool.shutdown();
                return;
            }
            let tasks: Vec<Task> = (0..50).map(|_| ran.task()).collect();
            let count = pool.verbs().submit_all(tasks).unwrap_or_else(|stopped| {
                assert!(stopped.kind() == SubmitErrorKind::Closed);
                let accepted = stopped.accepted();
                assert_eq!(accepted + 1 + stopped.into_parts().1.len(), 50);
                accepted
            });
            accepted.fetch_add(count, SeqCst);
        });
        pool.shutdown();
        assert_eq!(ran.get(), accepted.load(SeqCst));
    }
}

#[test]
fn a_batch_is_accepted_or_comes_back_when_the_pool_closes() {
    on_every_pool!(a_close_meets_batches);
}

/// Payloads of every kind of iterator that is a batch, through an own method of the pool.
fn numbers<D: Dispatch>() {
    let sum = Arc::new(AtomicUsize::new(0));
    let adds = Arc::clone(&sum);
    let builder = PoolWithFunc::builder(move |n: usize| adds.fetch_add(n, SeqCst));
    let pool = builder.workers(2).queue(10).dispatch::<D>().build().unwrap();
    let mut list: Vec<usize> = (0..100).collect();
    assert_eq!(pool.submit_all(0..100).unwrap(), 100);
    assert_eq!(pool.submit_all(0..=99).unwrap(), 100);
    assert_eq!(pool.submit_all(list.iter().copied()).unwrap(), 100);
    assert_eq!(pool.submit_all(VecDeque::from(list.clone())).unwrap(), 100);
    assert_eq!(pool.submit_all(list.clone().into_boxed_slice()).unwrap(), 100);
    assert_eq!(pool.submit_all(list.drain(..)).unwrap(), 100);
    assert_eq!(pool.submit_all([4950; 3]).unwrap(), 3);
    assert!(pool.wait_idle());
    assert_eq!(sum.load(SeqCst), 9 * 4950);
}

#[test]
fn every_kind_of_batch_is_submitted_once() {
    within(LIMIT, "numbers", || on_every_dispatch!(numbers));
}
