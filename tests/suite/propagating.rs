//! What tasks take along from the threads that submit them: by every verb, on every kind of pool, whatever becomes of the task.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use crate::support::verbs::each_verb;
use crate::support::{Count, Gate, RunTask, on_every_dispatch, quiet_panics};
use formicary::{
    Accepts, Builder, CancelToken, Closures, Dispatch, Pool, PoolControl, PoolWithFunc, StatefulPool, Task, With,
};

thread_local!(static REQUEST: Cell<u32> = const { Cell::new(0) });

/// Restores the thread's request.
struct Leave(u32);

impl Drop for Leave {
    fn drop(&mut self) {
        REQUEST.set(self.0);
    }
}

/// A value on its way, which counts itself.
struct OnItsWay(u32, Arc<AtomicUsize>);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

/// The builder of a pool that passes the request on, and how many values there are that were neither entered nor dropped.
fn propagating<K, D: Dispatch>(builder: Builder<K, D>) -> (Builder<K, D>, Arc<AtomicUsize>) {
    let values = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&values);
    let capture = move || {
        counted.fetch_add(1, SeqCst);
        OnItsWay(REQUEST.get(), Arc::clone(&counted))
    };
    (builder.propagate(capture, |value| Leave(REQUEST.replace(value.0))), values)
}

fn roomy<D: Dispatch>() -> (Builder<Closures, D>, Arc<AtomicUsize>) {
    propagating(Pool::builder().workers(2).queue(10).dispatch::<D>())
}

/// By each verb, and by each verb with a name.
fn by_each_verb<P: Accepts<Task, Output = ()>>(with: &With<'_, P>, control: &PoolControl<impl Sized>) {
    for request in 1..=2 {
        let with = if request == 1 { with.clone() } else { with.clone().name("named") };
        REQUEST.set(request);
        let ran = Count::new();
        let task = || {
            let ran = ran.clone();
            Task::new(move || {
                assert_eq!(REQUEST.replace(77), request);
                ran.up();
            })
        };
        each_verb(&with, task, || control.wait_idle());
        assert_eq!(ran.get(), 11);
    }
    assert_eq!(control.stats().panicked, 0);
}

fn every_verb<D: Dispatch>() {
    let (builder, values) = roomy::<D>();
    let pool = builder.build().unwrap();
    by_each_verb(&pool.with(), &pool);
    by_each_verb(&pool.limited(1).with(), &pool);
    assert_eq!(values.load(SeqCst), 0);

    let (builder, values) = propagating(PoolWithFunc::builder(Task::run).workers(2).queue(10).dispatch::<D>());
    let pool = builder.build().unwrap();
    by_each_verb(&pool.with(), &pool);
    by_each_verb(&pool.limited(1).with(), &pool);
    assert_eq!(values.load(SeqCst), 0);

    let (builder, values) = propagating(StatefulPool::builder(|_| Ok(RunTask)).workers(2).queue(10).dispatch::<D>());
    let pool = builder.build().unwrap();
    by_each_verb(&pool.with(), &pool);
    by_each_verb(&pool.limited(1).with(), &pool);
    assert_eq!(values.load(SeqCst), 0);
}
#[test]
fn every_verb_takes_values_along() {
    on_every_dispatch!(every_verb);
}

/// The request is that of the submitter, and the worker's own is in force again afterwards.
fn combinators<D: Dispatch>() {
    let (builder, values) = roomy::<D>();
    let pool = builder.build().unwrap();
    for request in 1..=50 {
        REQUEST.set(request);
        let ask = || REQUEST.replace(77);
        assert_eq!(pool.map(0..3, move |_| ask()).collect::<Vec<_>>(), [request; 3]);
        assert_eq!(pool.race([move |_: &CancelToken| Ok::<_, ()>(ask())]).unwrap(), request);
        let group = pool.group::<u32, ()>();
        group.spawn(move |_| Ok(ask())).unwrap();
        assert_eq!(group.wait().unwrap(), [request]);
        assert_eq!(pool.install(ask), request);
        assert_eq!(pool.install(|| pool.join(|| REQUEST.get(), || REQUEST.get())), (request, request));
        assert_eq!(pool.join_all([|| REQUEST.get(); 5]), [request; 5]);
        let seen = AtomicUsize::new(0);
        pool.scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    s.spawn(|| seen.fetch_add(REQUEST.get() as usize, SeqCst));
                    seen.fetch_add(REQUEST.get() as usize, SeqCst);
                });
            }
        });
        assert_eq!(seen.into_inner(), 8 * request as usize);
        // What the workers have of their own.
        let own = pool.broadcast(|| REQUEST.get()).unwrap();
        assert!(own.into_iter().all(|(_, own)| own.unwrap() == 0));
    }
    pool.wait_idle();
    assert_eq!((values.load(SeqCst), pool.stats().handler_panics), (0, 0));
}
#[test]
fn combinators_take_values_along() {
    on_every_dispatch!(combinators);
}

/// A worker that joins a task runs it with the values of the thread that has submitted it.
fn joined_on_the_spot<D: Dispatch>() {
    let (builder, _) = propagating(Pool::builder().workers(1).dispatch::<D>());
    let pool = Arc::new(builder.build().unwrap());
    let (gate, inner) = (Gate::new(), Arc::clone(&pool));
    let waits = gate.clone();
    REQUEST.set(1);
    let (sender, receiver) = std::sync::mpsc::channel::<formicary::Handle<u32>>();
    let outer = pool
        .spawn(move || {
            waits.wait();
            let other = receiver.recv().unwrap();
            let own = inner.spawn(|| REQUEST.get()).unwrap();
            (other.join().unwrap(), own.join().unwrap(), REQUEST.get())
        })
        .unwrap();
    REQUEST.set(2);
    sender.send(pool.spawn(|| REQUEST.get()).unwrap()).unwrap();
    gate.open();
    assert_eq!(outer.join().unwrap(), (2, 1, 1));
}
#[test]
fn a_task_that_is_joined_on_the_spot_has_its_own_values() {
    on_every_dispatch!(joined_on_the_spot);
}

/// A value whose task does not run is dropped with it.
fn without_a_run<D: Dispatch>() {
    let (builder, values) = propagating(Pool::builder().workers(1).queue(2).dispatch::<D>());
    let pool = builder.build().unwrap();
    let pause = pool.pause();
    let cancelled = pool.spawn(|| ()).unwrap();
    pool.submit(|| ()).unwrap();
    pool.submit(|| ()).unwrap();
    assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    assert!(cancelled.cancel());
    drop(cancelled);
    let returned = pool.shutdown_now();
    assert_eq!(returned.len(), 2);
    drop((returned, pause));
    drop(pool);
    assert_eq!(values.load(SeqCst), 0);
}
#[test]
fn values_of_tasks_that_do_not_run_are_dropped() {
    on_every_dispatch!(without_a_run);
}

/// Panics of the program's closures are counted, and the tasks run. A task's own panic leaves what was entered.
fn panics<D: Dispatch>() {
    quiet_panics();
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            resume_unwind(Box::new("a test's panic"));
        }
    }
    fn panics<T>() -> T {
        resume_unwind(Box::new("a test's panic"))
    }
    let (builder, _) = propagating(Pool::builder().workers(1).dispatch::<D>());
    let pool = builder
        .propagate(panics::<u8>, |_| ())
        .propagate(|| 7, |_| panics::<u8>())
        .propagate(|| (), |()| Bad)
        .build()
        .unwrap();
    REQUEST.set(3);
    assert_eq!(pool.run(|| REQUEST.get()).unwrap(), 3);
    assert_eq!(pool.stats().handler_panics, 3);
    assert!(pool.run(panics::<u8>).is_err());
    assert_eq!(pool.stats().handler_panics, 6);
    let own = pool.broadcast(|| REQUEST.get()).unwrap();
    assert!(own.into_iter().all(|(_, own)| own.unwrap() == 0));
}
#[test]
fn panics_are_counted_and_tasks_run() {
    on_every_dispatch!(panics);
}

/// A submitter that waits for room has captured before: what it changes afterwards is its own.
fn captured_before_the_wait<D: Dispatch>() {
    let (builder, _) = propagating(Pool::builder().workers(1).queue(0).dispatch::<D>());
    let pool = builder.build().unwrap();
    let (gate, view) = (Gate::new(), pool.limited(1));
    let waits = gate.clone();
    view.submit(move || waits.wait()).unwrap();
    thread::scope(|s| {
        let other = s.spawn(|| {
            REQUEST.set(9);
            view.run(|| REQUEST.get()).unwrap()
        });
        while view.waiting() == 0 {
            thread::yield_now();
        }
        gate.open();
        assert_eq!(other.join().unwrap(), 9);
    });
}
#[test]
fn values_are_captured_before_the_wait() {
    on_every_dispatch!(captured_before_the_wait);
}
