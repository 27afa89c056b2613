//! Workers that were given up because their tasks do not end: what the pool does without them, and what becomes of them.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use crate::support::{Gate, LIMIT, eventually, on_every_dispatch, within};
use formicary::observe::RunningTask;
use formicary::{
    Builder, Closures, Context, Dispatch, Handle, Pool, PoolControl, PoolWithFunc, Reconfigure, StatefulPool, Task,
    Worker,
};

fn listed<D: Dispatch>(workers: usize) -> Builder<Closures, D> {
    Pool::builder().workers(workers).running_tasks().dispatch::<D>()
}

/// The only running task of a worker that was not given up.
fn only<X>(pool: &PoolControl<X>) -> RunningTask {
    let mut tasks = pool.running_tasks().unwrap();
    tasks.retain(|task| !task.is_given_up);
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    tasks.remove(0)
}

/// A task that waits at the gate, which it has reached.
fn hanging<D: Dispatch>(pool: &Pool<D>, gate: &Gate) -> Handle<u8> {
    let (waits, before) = (gate.clone(), gate.arrived());
    let hangs = pool.spawn(move || {
        waits.wait();
        7
    });
    gate.await_arrivals(before + 1);
    hangs.unwrap()
}

fn does_without<D: Dispatch>() {
    let pool = listed::<D>(1).queue(0).build().unwrap();
    let gate = Gate::new();
    let hangs = hanging(&pool, &gate);
    assert!(pool.try_submit(|| ()).unwrap_err().is_full());

    let task = only(&pool);
    assert!(pool.replace(&task));
    assert!(!pool.replace(&task), "twice");
    assert!(pool.running_tasks().unwrap()[0].is_given_up);
    let stats = pool.stats();
    assert_eq!((stats.running, stats.given_up, stats.capacity), (0, 1, 1), "{stats}");
    assert!(stats.to_string().contains("1 given up"));

    // The whole capacity, and no more.
    assert_eq!(pool.run(|| 1).unwrap(), 1);
    let second = hanging(&pool, &gate);
    assert_eq!((pool.running(), pool.stats().live), (1, 1));
    assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    assert!(!pool.wait_idle_timeout(Duration::from_millis(5)));
    gate.pass(2);
    assert_eq!((hangs.join().unwrap(), second.join().unwrap()), (7, 7));
    assert!(pool.wait_idle());
    eventually("its thread ends", || pool.stats().given_up == 0);
    let stats = pool.stats();
    assert_eq!(
        (stats.submitted, stats.completed, stats.live, stats.spawned, stats.retired),
        (3, 3, 1, 2, 1),
        "{stats}"
    );
    assert!(pool.try_submit(|| ()).is_ok());
}

#[test]
fn a_pool_does_without_a_worker_that_was_given_up() {
    on_every_dispatch!(does_without);
}

fn ends_without<D: Dispatch>() {
    let gate = Gate::new();
    let pool = listed::<D>(2).min_workers(2).build().unwrap();
    let hangs = hanging(&pool, &gate);
    assert!(pool.replace(&only(&pool)));
    assert!(pool.wait_idle());
    let report = pool.shutdown();
    assert!(report.is_complete() && pool.is_closed(), "{report:?}");
    pool.restart().unwrap();
    assert_eq!(pool.run(|| 2).unwrap(), 2);
    assert_eq!(pool.stats().given_up, 1);

    // Neither does a drop wait.
    let other = hanging(&pool, &gate);
    assert!(pool.replace(&only(&pool)));
    within(LIMIT, "the drop", move || drop(pool));
    gate.open();
    assert_eq!((hangs.join().unwrap(), other.join().unwrap()), (7, 7));
}

#[test]
fn a_pool_ends_without_a_worker_that_was_given_up() {
    on_every_dispatch!(ends_without);
}

fn only_the_task_meant<D: Dispatch>() {
    let (pool, other) = (listed::<D>(1).build().unwrap(), listed::<D>(1).build().unwrap());
    let gate = Gate::new();
    let first = hanging(&pool, &gate);
    let ended = only(&pool);
    assert!(!other.replace(&ended), "a task of another pool");
    assert!(!Pool::new(1).unwrap().replace(&ended), "a pool without a list");
    gate.pass(1);
    first.join().unwrap();
    let second = hanging(&pool, &gate);
    assert!(!pool.replace(&ended), "it has ended");
    gate.open();
    second.join().unwrap();
    assert_eq!(pool.stats().given_up, 0);
}

#[test]
fn only_the_task_that_was_meant_is_given_up() {
    on_every_dispatch!(only_the_task_meant);
}

/// A worker that hangs in a task within a task.
fn nested<D: Dispatch>() {
    let pool = Arc::new(listed::<D>(1).build().unwrap());
    let (gate, inner) = (Gate::new(), Arc::clone(&pool));
    let waits = gate.clone();
    let outer = pool.spawn(move || inner.run(move || waits.wait()).is_ok()).unwrap();
    gate.await_arrivals(1);
    let tasks = pool.running_tasks().unwrap();
    assert_eq!(tasks.iter().map(|task| task.depth).collect::<Vec<_>>(), [0, 1]);
    assert!(pool.replace(&tasks[1]) && !pool.replace(&tasks[0]), "it is one worker");
    assert_eq!(pool.run(|| Context::with(|cx| cx.worker())).unwrap(), Some(1));
    assert!(pool.wait_idle());
    gate.open();
    assert!(outer.join().unwrap());
    eventually("its thread ends", || pool.stats().given_up == 0);
    assert!(pool.wait_idle());
    assert_eq!(pool.stats().completed, 3);
}

#[test]
fn the_worker_of_a_nested_task_is_given_up_whole() {
    on_every_dispatch!(nested);
}

/// The end of a task races with the look that gives its worker up.
fn races<D: Dispatch>() {
    let pool = listed::<D>(2).queue(1).build().unwrap();
    let mut given_up = 0;
    for round in 0..200_u64 {
        let (gate, barrier) = (Gate::new(), Barrier::new(2));
        let hangs = hanging(&pool, &gate);
        let task = only(&pool);
        thread::scope(|s| {
            let opens = s.spawn(|| {
                barrier.wait();
                gate.open();
            });
            barrier.wait();
            given_up += u64::from(pool.replace(&task));
            opens.join().unwrap();
        });
        hangs.join().unwrap();
        assert!(pool.wait_idle());
        let stats = pool.stats();
        assert_eq!((stats.completed, stats.running, stats.queued), (round + 1, 0, 0), "{stats}");
    }
    eventually("its thread ends", || pool.stats().given_up == 0);
    // It is as it was: two run, and one more waits.
    let gate = Gate::new();
    let _both = [hanging(&pool, &gate), hanging(&pool, &gate)];
    pool.try_submit(|| ()).unwrap();
    assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    assert_eq!(pool.stats().live, 2);
    gate.open();
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!(stats.spawned, stats.retired, "{given_up} were given up: {stats}");
}

#[test]
fn an_end_races_with_giving_up() {
    on_every_dispatch!(races);
}

/// A state that reports the thread on which it ends.
struct Reports(std::sync::mpsc::Sender<thread::ThreadId>, Gate);

impl Worker for Reports {
    type Input = bool;
    type Output = thread::ThreadId;
    fn process(&mut self, hangs: bool, _cx: &Context<'_>) -> thread::ThreadId {
        if hangs {
            self.1.wait();
        }
        thread::current().id()
    }
    fn terminate(self) {
        self.0.send(thread::current().id()).unwrap();
    }
}

/// A broadcast does not wait for the worker, and the worker ends its own state.
fn states<D: Dispatch>() {
    let ((sender, ended), gate) = (channel(), Gate::new());
    let held = gate.clone();
    let builder = StatefulPool::builder(move |_| Ok(Reports(sender.clone(), held.clone())));
    let pool = builder.workers(1).running_tasks().dispatch::<D>().build().unwrap();
    let hangs = pool.spawn(true).unwrap();
    gate.await_arrivals(1);
    let task = only(&pool);
    let answers = thread::scope(|s| {
        let asks = s.spawn(|| pool.broadcast(|_| ()).unwrap());
        // It waits for the worker, or will find it gone.
        assert!(pool.replace(&task));
        asks.join().unwrap()
    });
    for (worker, answer) in answers {
        assert_eq!(answer.is_ok(), worker == 1, "worker {worker}");
    }
    let replacement = pool.run(false).unwrap();
    gate.open();
    let own = hangs.join().unwrap();
    assert_ne!(own, replacement);
    assert_eq!(ended.recv_timeout(LIMIT).unwrap(), own);
    pool.shutdown();
    assert_eq!(ended.recv_timeout(LIMIT).unwrap(), replacement);
}

#[test]
fn states_and_broadcasts_survive_a_replacement() {
    on_every_dispatch!(states);
}

/// A watchdog that replaces what is stuck, until all threads hang; the limits can change meanwhile.
fn watchdog<D: Dispatch>() {
    let pool = Arc::new(OnceLock::<Weak<PoolWithFunc<Task, D, ()>>>::new());
    let seen = Arc::clone(&pool);
    let builder = PoolWithFunc::builder(Task::run).workers(1).queue(4).dispatch::<D>();
    let owner = builder
        .stuck_after(Duration::from_millis(5), move |task| {
            let pool = seen.get().and_then(Weak::upgrade);
            // One that ends meanwhile is not replaced.
            _ = pool.map(|pool| pool.replace(task));
        })
        .build()
        .unwrap();
    let owner = Arc::new(owner);
    pool.set(Arc::downgrade(&owner)).unwrap();
    let gate = Gate::new();
    for _ in 0..3 {
        let waits = gate.clone();
        owner.submit(Task::new(move || waits.wait())).unwrap();
    }
    // One after the other.
    gate.await_arrivals(3);
    eventually("all are given up", || owner.stats().given_up == 3);
    owner.tune(2).unwrap();
    owner.tune(1).unwrap();
    _ = owner.reconfigure(&Reconfigure::new().nonblocking(true));
    assert!(owner.run(Task::new(|| ())).is_ok() && owner.wait_idle());
    gate.open();
    eventually("its thread ends", || owner.stats().given_up == 0);
    assert_eq!((owner.stats().completed, owner.stats().handler_panics), (4, 0));
}

#[test]
fn a_watchdog_replaces_what_is_stuck() {
    on_every_dispatch!(watchdog);
}

/// What a hook runs is not in the queue's counts, so its worker is not given up.
fn hooks<D: Dispatch>() {
    let own = Arc::new(OnceLock::<Weak<Pool<D>>>::new());
    let (gate, seen) = (Gate::new(), Arc::clone(&own));
    let waits = gate.clone();
    let builder = listed::<D>(2).on_thread_stop(move |_| {
        let pool = seen.get().and_then(Weak::upgrade);
        let waits = waits.clone();
        if let Some(pool) = pool.filter(|pool| !pool.is_closed()) {
            pool.run(move || waits.wait()).unwrap();
        }
    });
    let pool = Arc::new(builder.min_workers(2).build().unwrap());
    own.set(Arc::downgrade(&pool)).unwrap();
    let others = Gate::new();
    let both = [hanging(&pool, &others), hanging(&pool, &others)];
    pool.tune(1).unwrap();
    others.open();
    both.into_iter().for_each(|task| assert!(task.join().is_ok()));
    gate.await_arrivals(1);
    assert!(!pool.replace(&only(&pool)), "it runs in a hook");
    gate.open();
    eventually("the worker ends", || pool.stats().live == 1);
    assert!(pool.wait_idle());
    assert_eq!(pool.stats().given_up, 0);
    assert_eq!(pool.run(|| 1).unwrap(), 1);
}

#[test]
fn a_worker_in_a_hook_is_not_given_up() {
    on_every_dispatch!(hooks);
}

/// A worker that was given up while it waits for its own pool does not count among those that must not all wait.
fn blocked<D: Dispatch>() {
    let pool = Arc::new(listed::<D>(2).build().unwrap());
    let gate = Gate::new();
    let held = hanging(&pool, &gate);
    let (inner, outer) = (Arc::clone(&pool), Arc::clone(&pool));
    let waits = pool.spawn(move || {
        // One that is blocked for as long as the other runs.
        held.join().unwrap();
        drop(inner);
        1
    });
    eventually("it waits", || outer.running() == 2 && outer.running_tasks().unwrap().len() == 2);
    let tasks = pool.running_tasks().unwrap();
    assert!(tasks.iter().all(|task| pool.replace(task)));
    let (release, blocks) = (Gate::new(), Arc::clone(&pool));
    let first = hanging(&pool, &release);
    // The second of two workers waits for the first: not the last one.
    let second = pool.spawn(move || (first.join().unwrap(), drop(blocks)).0).unwrap();
    eventually("it runs", || pool.running() == 2);
    release.open();
    assert_eq!(second.join().unwrap(), 7);
    gate.open();
    assert_eq!(waits.unwrap().join().unwrap(), 1);
    eventually("both end", || pool.stats().given_up == 0);
}

#[test]
fn given_up_workers_do_not_count_as_blocked() {
    on_every_dispatch!(blocked);
}
