//! Nothing outlives its use: no thread its pool, no captured value its task.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use crate::support::on_every_dispatch;
use crate::support::{Count, Gate, Setup, eventually, for_each, threads_named};
use formicary::{Context, Dispatch, Pool, PoolWithFunc, StatefulPool, Task, Worker};

/// A task that carries `value` and does nothing with it.
fn carries<T: Send + Sync + 'static>(value: &Arc<T>) -> Task {
    let value = Arc::clone(value);
    Task::new(move || assert!(Arc::strong_count(&value) > 1))
}

/// B04: a dropped pool leaves no thread behind, and runs what it had accepted.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "counts threads in /proc")]
fn b04_a_dropped_pool_leaves_no_thread() {
    for_each(|variant| {
        let mut setup = Setup::roomy(4);
        setup.thread_name = Some("b04drop".into());
        setup.min_workers = Some(4);
        setup.expiry = Some(None);
        let (pool, gate, ran) = (variant.build(setup), Gate::new(), Count::new());
        eventually("four threads", || threads_named("b04drop") == 4);
        (0..4).for_each(|_| pool.submit(gate.task()).unwrap());
        (0..20).for_each(|_| pool.submit(ran.task()).unwrap());
        gate.await_arrivals(4);
        let opener = std::thread::spawn(move || gate.open());
        drop(pool);
        assert_eq!(ran.get(), 20);
        opener.join().unwrap();
        eventually("no thread", || threads_named("b04drop") == 0);
    });
}

/// B04: what the pool itself holds (its function, its hooks) is gone with it, and so is an idle pool's thread.
#[test]
fn b04_a_dropped_pool_keeps_nothing() {
    for_each(|variant| {
        let held = Arc::new(());
        let mut setup = Setup::new(2, 4);
        setup.thread_name = Some("b04idle".into());
        let (start, stop) = (Arc::clone(&held), Arc::clone(&held));
        setup.on_thread_start = Some(Arc::new(move |_| assert!(Arc::strong_count(&start) > 1)));
        setup.on_thread_stop = Some(Arc::new(move |_| assert!(Arc::strong_count(&stop) > 1)));
        let pool = variant.build(setup);
        assert!(Arc::strong_count(&held) > 1);
        drop(pool);
        assert_eq!(Arc::strong_count(&held), 1);
        eventually("no thread", || threads_named("b04idle") == 0);
    });
}

/// B07: when the pool is idle, the tasks' captures are gone: from the queue's slots, from the workers, from the wait queue; after a
/// panic, too.
#[test]
fn b07_an_idle_pool_holds_no_captured_value() {
    for_each(|variant| {
        for (workers, queue) in [(1, 0), (1, 16), (3, 4)] {
            let pool = variant.build(Setup::new(workers, queue));
            let value = Arc::new([0_u8; 1000]);
            for n in 0..100 {
                let captured = Arc::clone(&value);
                let task = match n % 3 {
                    0 => carries(&value),
                    1 => Task::new(move || resume_unwind(Box::new(captured.len()))),
                    // Too large to be stored inline.
                    _ => {
                        let large = [0_u64; 64];
                        Task::new(move || assert!(large.len() < captured.len()))
                    }
                };
                pool.submit(task).unwrap();
            }
            assert!(pool.wait_idle());
            assert_eq!(Arc::strong_count(&value), 1);
        }
    });
}

/// B07: a panic may carry a captured value away; it is gone with the task all the same.
#[test]
fn b07_what_a_panic_carries_is_dropped_with_the_task() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(1, 4));
        for _ in 0..200 {
            let value = Arc::new(());
            let captured = Arc::clone(&value);
            pool.submit(Task::new(move || resume_unwind(Box::new(captured)))).unwrap();
            assert!(pool.wait_idle());
            assert_eq!(Arc::strong_count(&value), 1);
        }
    });
}

/// Waits at a gate when it is dropped.
struct SlowToDrop(Gate);

impl Drop for SlowToDrop {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// B07: a task counts as completed, and its worker as free, only when what it had captured is dropped.
#[test]
fn b07_captured_values_are_dropped_before_the_task_counts() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(1, 4)), Gate::new());
        let captured = SlowToDrop(gate.clone());
        pool.submit(Task::new(move || assert_eq!(captured.0.arrived(), 0))).unwrap();
        gate.await_arrivals(1);
        let stats = pool.stats();
        assert_eq!((stats.completed, stats.running), (0, 1));
        assert!(!pool.wait_idle_timeout(Duration::from_millis(1)));
        gate.open();
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().completed, 1);
    });
}

/// B07: a result without a receiver is dropped on the worker, before the task counts.
fn a_detached_result<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(4).dispatch::<D>().build().unwrap();
    let (start, dropping) = (Gate::new(), Gate::new());
    let (wait, result) = (start.clone(), SlowToDrop(dropping.clone()));
    drop(pool.spawn(move || {
        wait.wait();
        result
    }));
    start.open();
    dropping.await_arrivals(1);
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.running), (0, 1));
    dropping.open();
    assert!(pool.wait_idle());
    assert_eq!(pool.stats().completed, 1);
}

#[test]
fn b07_a_detached_result_is_dropped_before_the_task_counts() {
    on_every_dispatch!(a_detached_result);
}

struct Takes;

impl Worker for Takes {
    type Input = Arc<()>;
    type Output = Arc<()>;

    fn process(&mut self, input: Arc<()>, _: &Context<'_>) -> Arc<()> {
        Arc::clone(&input)
    }
}

/// B07: a handle holds the result and not the input; once it is joined or dropped nothing is held, even by the pool's
/// queue, through which no more task comes.
fn handles_hold_no_input<D: Dispatch>() {
    let stateful = StatefulPool::builder(|_| Ok(Takes)).workers(1).queue(16).dispatch::<D>().build().unwrap();
    let closures = Pool::builder().workers(1).queue(16).dispatch::<D>().build().unwrap();
    let func = PoolWithFunc::builder(|value: Arc<()>| Arc::strong_count(&value));
    let func = func.workers(1).queue(16).dispatch::<D>().build().unwrap();
    let value = Arc::new(());
    for _ in 0..50 {
        let captured = Arc::clone(&value);
        let handle = closures.spawn(move || Arc::clone(&captured)).unwrap();
        let other = stateful.spawn(Arc::clone(&value)).unwrap();
        assert!(closures.wait_idle() && stateful.wait_idle());
        assert_eq!(Arc::strong_count(&value), 3, "the two results");
        drop(handle);
        assert!(Arc::ptr_eq(&other.join().unwrap(), &value));
        assert_eq!(Arc::strong_count(&value), 1);
        assert!(func.run(Arc::clone(&value)).unwrap() >= 2);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}

#[test]
fn b07_handles_hold_no_input() {
    on_every_dispatch!(handles_hold_no_input);
}

/// B07: tasks that never run are dropped with the list that gives them back, and not kept.
#[test]
fn b07_tasks_given_back_are_not_kept() {
    for_each(|variant| {
        let (pool, gate, value) = (variant.build(Setup::new(1, 16)), Gate::new(), Arc::new(()));
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        (0..16).for_each(|_| pool.submit(carries(&value)).unwrap());
        assert_eq!(Arc::strong_count(&value), 17);
        let returned = std::thread::scope(|scope| {
            let end = scope.spawn(|| pool.shutdown_now());
            eventually("closed", || pool.is_closed() && pool.queued() == 0);
            gate.open();
            end.join().unwrap()
        });
        assert_eq!((returned.len(), Arc::strong_count(&value)), (16, 17));
        drop(returned);
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

/// B07: a timed call that gave up leaves nothing behind, wherever its input was at that moment.
fn calls_that_gave_up<D: Dispatch>() {
    let pool = StatefulPool::builder(|_| Ok(Takes)).workers(1).queue(2).dispatch::<D>().build().unwrap();
    let value = Arc::new(());
    for round in 0..300 {
        drop(pool.with().timeout(Duration::from_micros(round % 50)).run(Arc::clone(&value)));
    }
    assert!(pool.wait_idle());
    // A queued reference to a retracted task is consumed when its turn comes.
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn b07_calls_that_gave_up_leave_nothing() {
    on_every_dispatch!(calls_that_gave_up);
}
