//! What workers submit to their own pool waits in lists of their own: the order in them, who else finds it, and what ends and limits do to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::{Count, Gate, Setup, assert_conserved, eventually, for_each, on_every_dispatch};
use formicary::{CancelToken, Dispatch, Pool, Task};
use parking_lot::Mutex;

/// One worker starts its tasks' submissions in order.
#[test]
fn first_in_first_out_on_one_worker() {
    for_each(|variant| {
        let (pool, order) = (variant.build(Setup::roomy(1)), Arc::new(Mutex::new(Vec::new())));
        let (inner, list) = (Arc::downgrade(&pool), Arc::clone(&order));
        let submit_all = move || {
            for number in 0..200 {
                let list = Arc::clone(&list);
                let task = Task::new(move || list.lock().push(number));
                inner.upgrade().unwrap().submit(task).unwrap();
            }
        };
        pool.submit(Task::new(submit_all)).unwrap();
        assert!(pool.wait_idle());
        assert!(order.lock().iter().copied().eq(0..200));
    });
}

fn respawn<D: Dispatch>(pool: &Weak<Pool<D>>, end: &Arc<AtomicBool>, rounds: &Arc<AtomicUsize>) {
    rounds.fetch_add(1, SeqCst);
    let Some(owner) = pool.upgrade().filter(|_| !end.load(SeqCst)) else { return };
    let (pool, end, rounds) = (Weak::clone(pool), Arc::clone(end), Arc::clone(rounds));
    owner.submit(move || respawn(&pool, &end, &rounds)).unwrap();
}

/// A long task's submissions do not wait for it, although the other worker is busy with tasks that submit themselves again.
fn behind_a_long_task<D: Dispatch>() {
    let (pool, end, rounds) = (pool::<D>(2, 10), Arc::new(AtomicBool::new(false)), Arc::default());
    let (gate, ran) = (Gate::new(), Count::new());
    let (inner, held, counted) = (Arc::downgrade(&pool), gate.clone(), ran.clone());
    pool.submit(move || {
        for _ in 0..100 {
            let counted = counted.clone();
            inner.upgrade().unwrap().submit(move || _ = counted.up()).unwrap();
        }
        held.wait();
    })
    .unwrap();
    gate.await_arrivals(1);
    let (inner, stop, count) = (Arc::downgrade(&pool), Arc::clone(&end), Arc::clone(&rounds));
    pool.submit(move || respawn(&inner, &stop, &count)).unwrap();
    eventually("the other worker runs them all", || ran.get() == 100);
    end.store(true, SeqCst);
    gate.open();
    assert_quiet(&pool);
}

#[test]
fn nothing_waits_behind_a_long_task() {
    on_every_dispatch!(behind_a_long_task);
}

/// The same where outsiders keep the other worker busy.
fn beside_outsiders<D: Dispatch>() {
    let pool = pool::<D>(2, 1000);
    let (gate, ran, end) = (Gate::new(), Count::new(), Arc::new(AtomicBool::new(false)));
    let (inner, held, counted) = (Arc::downgrade(&pool), gate.clone(), ran.clone());
    let long = move || {
        for _ in 0..20 {
            let counted = counted.clone();
            inner.upgrade().unwrap().submit(move || _ = counted.up()).unwrap();
        }
        held.wait();
    };
    pool.submit(long).unwrap();
    gate.await_arrivals(1);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !end.load(SeqCst) {
                pool.submit(|| ()).unwrap();
            }
        });
        eventually("they run among the others", || ran.get() == 20);
        end.store(true, SeqCst);
        gate.open();
    });
    assert_quiet(&pool);
}

#[test]
fn outsiders_leave_time_for_nested_tasks() {
    on_every_dispatch!(beside_outsiders);
}

/// A worker ends while its list has tasks: others run them.
#[test]
fn a_worker_that_ends_leaves_its_list() {
    for_each(|variant| {
        let (pool, ran) = (variant.build(Setup::roomy(2)), Count::new());
        let gate = Gate::new();
        for _ in 0..2 {
            let (inner, held, ran) = (Arc::downgrade(&pool), gate.clone(), ran.clone());
            let submit_ten = move || {
                held.wait();
                (0..10).for_each(|_| inner.upgrade().unwrap().submit(ran.task()).unwrap());
            };
            pool.submit(Task::new(submit_ten)).unwrap();
        }
        gate.await_arrivals(2);
        let pause = pool.pause();
        gate.open();
        assert!(pause.wait_quiet());
        pool.tune(1).unwrap();
        eventually("one worker has ended", || pool.stats().live == 1);
        assert_eq!((pool.stats().queued, pool.stats().overcommitted), (20, 20));
        drop(pause);
        assert!(pool.wait_idle());
        assert_eq!((ran.get(), pool.stats().peak_running), (20, 2));
        assert_conserved(&*pool);
    });
}

/// What is cancelled while it waits in a worker's list is counted at once, and gone when it has been swept.
fn cancelled<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let token = CancelToken::new();
    let (inner, own, gate) = (Arc::downgrade(&pool), token.clone(), Gate::new());
    let held = gate.clone();
    let submit_ten = move || {
        let pool = inner.upgrade().unwrap();
        (0..10).for_each(|_| pool.with().token(&own).submit(|| unreachable!("it is cancelled")).unwrap());
        held.wait();
    };
    pool.submit(submit_ten).unwrap();
    gate.await_arrivals(1);
    assert_eq!(pool.stats().overcommitted, 10);
    token.cancel();
    gate.open();
    assert_quiet(&pool);
    let stats = pool.stats();
    assert_eq!((stats.cancelled, stats.completed, stats.overcommitted), (10, 1, 0), "{stats:?}");
}

#[test]
fn tasks_are_cancelled_in_a_list() {
    on_every_dispatch!(cancelled);
}

/// `shutdown_now` gives back what waits in the workers' lists.
#[test]
fn what_waits_in_lists_is_given_back() {
    for_each(|variant| {
        let (pool, ran) = (variant.build(Setup::roomy(2)), Count::new());
        let (begin, end) = (Gate::new(), Gate::new());
        for _ in 0..2 {
            let (inner, begun, held, ran) = (Arc::downgrade(&pool), begin.clone(), end.clone(), ran.clone());
            let submit_ten = move || {
                begun.wait();
                (0..10).for_each(|_| inner.upgrade().unwrap().submit(ran.task()).unwrap());
                held.wait();
            };
            pool.submit(Task::new(submit_ten)).unwrap();
        }
        begin.await_arrivals(2);
        begin.open();
        end.await_arrivals(2);
        assert_eq!(pool.stats().overcommitted, 20);
        let ender = Arc::clone(&pool);
        let ending = std::thread::spawn(move || ender.shutdown_now().len());
        eventually("it has begun", || pool.is_closed() && pool.stats().queued == 0);
        end.open();
        assert_eq!((ending.join().unwrap(), ran.get()), (20, 0));
        assert_conserved(&*pool);
    });
}

/// A worker that helps itself while it waits runs its own submissions.
fn helps_itself<D: Dispatch>() {
    let pool = pool::<D>(1, 0);
    let (inner, gate) = (Arc::downgrade(&pool), occupy(&pool));
    let waits = move || {
        let pool = inner.upgrade().unwrap();
        let handles: Vec<_> = (0..10).map(|n| pool.spawn(move || n).unwrap()).collect();
        handles.into_iter().rev().map(|handle| handle.join().unwrap()).sum::<u32>()
    };
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| pool.run(waits).unwrap());
        gate.open();
        assert_eq!(waiting.join().unwrap(), 45);
    });
    assert_quiet(&pool);
}

#[test]
fn a_waiting_worker_runs_its_own_list() {
    on_every_dispatch!(helps_itself);
}
