//! B14: queued work that never runs, and the callers that wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::races::quiet_panic;
use crate::support::waking::block_on;
use crate::support::{Gate, LIMIT, eventually, on_every_dispatch};
use formicary::{
    CancelToken, Context, Dispatch, Handle, JoinError, Pool, PoolWithFunc, StatefulPool, Task, Worker, WorkerPool,
};

/// How a wait for a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ran,
    /// It did not run. A call gets its input back.
    Never,
}

fn end<T>(result: Result<T, impl std::borrow::Borrow<JoinError>>) -> End {
    match result {
        Ok(_) => End::Ran,
        Err(error) => {
            assert!(error.borrow().is_cancelled(), "{}", error.borrow());
            End::Never
        }
    }
}

type Waiters = Vec<JoinHandle<End>>;

/// Every way to wait for a handle.
fn wait_for(submit: impl Fn() -> Handle<()>) -> Waiters {
    let (join, mut timed, awaited) = (submit(), submit(), submit());
    let mut waiters = vec![
        thread::spawn(|| end(join.join())),
        thread::spawn(move || end(timed.join_timeout(2 * LIMIT).unwrap())),
        thread::spawn(|| end(block_on(awaited))),
    ];
    let shared = submit().shared();
    for _ in 0..3 {
        let shared = shared.clone();
        waiters.push(thread::spawn(move || end(shared.join())));
    }
    waiters
}

/// The callers, and how many tasks they wait for.
struct Bench<P> {
    pool: P,
    gate: Gate,
    waiters: Waiters,
    tasks: usize,
}

/// A stateful worker that runs tasks.
struct Runs;

impl Worker for Runs {
    type Input = Task;
    type Output = ();

    fn process(&mut self, task: Task, _: &Context<'_>) {
        task.run();
    }
}

/// The only worker is held at the gate, and all callers wait for what is queued behind.
fn stateful<D: Dispatch>(
    held: impl FnOnce() + Send + 'static,
    works: Arc<AtomicBool>,
) -> Bench<Arc<StatefulPool<Runs, D>>> {
    let factory = move |_| if works.load(SeqCst) { Ok(Runs) } else { Err("out of order".into()) };
    let builder = StatefulPool::builder(factory).workers(1).queue(64);
    let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
    let gate = Gate::new();
    let at = gate.clone();
    let task = Task::new(move || {
        at.wait();
        held();
    });
    drop(pool.spawn(task).unwrap());
    gate.await_arrivals(1);
    let mut waiters = wait_for(|| pool.spawn(Task::new(|| ())).unwrap());
    for way in 0..3 {
        let pool = Arc::clone(&pool);
        waiters.push(thread::spawn(move || {
            let task = Task::new(|| ());
            let result = match way {
                0 => pool.run(task),
                1 => pool.with().timeout(2 * LIMIT).run(task),
                _ => pool.with().token(&CancelToken::new()).run(task),
            };
            match result {
                Ok(()) => End::Ran,
                Err(error) => {
                    assert!(error.into_input().is_some());
                    End::Never
                }
            }
        }));
    }
    await_bench(&*pool, 7);
    Bench { pool, gate, waiters, tasks: 7 }
}

fn closures<D: Dispatch>() -> Bench<Arc<Pool<D>>> {
    let pool = Arc::new(Pool::builder().workers(1).queue(64).dispatch::<D>().build().unwrap());
    let gate = Gate::new();
    let at = gate.clone();
    pool.submit(move || at.wait()).unwrap();
    gate.await_arrivals(1);
    let mut waiters = wait_for(|| pool.spawn(|| ()).unwrap());
    let other = Arc::clone(&pool);
    waiters.push(thread::spawn(move || if other.run(|| ()).is_ok() { End::Ran } else { End::Never }));
    await_bench(&*pool, 5);
    Bench { pool, gate, waiters, tasks: 5 }
}

fn function<D: Dispatch>() -> Bench<Arc<PoolWithFunc<Task, D>>> {
    let builder = PoolWithFunc::builder(Task::run).workers(1).queue(64);
    let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
    let gate = Gate::new();
    pool.submit(gate.task()).unwrap();
    gate.await_arrivals(1);
    let waiters: Waiters = (0..3)
        .map(|_| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || match pool.run(Task::new(|| ())) {
                Ok(()) => End::Ran,
                Err(error) => {
                    assert!(error.into_input().is_some());
                    End::Never
                }
            })
        })
        .collect();
    await_bench(&*pool, 3);
    Bench { pool, gate, waiters, tasks: 3 }
}

fn await_bench(pool: &dyn WorkerPool<Task>, tasks: usize) {
    eventually("all of it is queued", || pool.queued() == tasks);
}

impl<P> Bench<Arc<P>>
where
    P: WorkerPool<Task> + 'static,
{
    /// Ends the pool by `stop`, and lets the worker go on; then the queued tasks run, or never do.
    fn stop(self, expected: End, stop: impl FnOnce(&P) + Send) {
        let Bench { pool, gate, waiters, tasks } = self;
        thread::scope(|scope| {
            let stopping = scope.spawn(|| stop(&pool));
            if expected == End::Never {
                // At once, and not only when the running task has ended.
                for waiter in waiters {
                    assert_eq!(waiter.join().unwrap(), End::Never);
                }
                gate.open();
            } else {
                gate.open();
                waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), End::Ran));
            }
            stopping.join().unwrap();
        });
        assert!(pool.shutdown().is_complete());
        let stats = pool.stats();
        let ran = if expected == End::Ran { tasks as u64 } else { 0 };
        assert_eq!((stats.submitted, stats.completed), (1 + tasks as u64, 1 + ran));
        assert_eq!(stats.submitted, stats.completed + stats.cancelled + stats.returned, "{stats:?}");
    }
}

fn always() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

fn given_back<D: Dispatch>() {
    stateful::<D>(|| (), always()).stop(End::Never, |pool| drop(pool.shutdown_now()));
    closures::<D>().stop(End::Never, |pool| drop(pool.shutdown_now()));
    function::<D>().stop(End::Never, |pool| drop(pool.shutdown_now()));
    let hasty = Duration::from_millis(1);
    stateful::<D>(|| (), always()).stop(End::Never, |pool| drop(pool.shutdown_graceful(hasty)));
    closures::<D>().stop(End::Never, |pool| drop(pool.shutdown_graceful(hasty)));
    function::<D>().stop(End::Never, |pool| drop(pool.shutdown_graceful(hasty)));
}

#[test]
fn b14_work_given_back_at_the_end_leaves_no_caller_waiting() {
    on_every_dispatch!(given_back);
}

fn run_to_the_end<D: Dispatch>() {
    let tune = |pool: &dyn WorkerPool<Task>| {
        pool.tune(4).unwrap();
        pool.tune(1).unwrap();
    };
    stateful::<D>(|| (), always()).stop(End::Ran, |pool| assert!(pool.shutdown().is_complete()));
    closures::<D>().stop(End::Ran, |pool| assert!(pool.shutdown().is_complete()));
    function::<D>().stop(End::Ran, |pool| assert!(pool.shutdown().is_complete()));
    stateful::<D>(|| (), always()).stop(End::Ran, |pool| tune(pool));
    closures::<D>().stop(End::Ran, |pool| tune(pool));
    function::<D>().stop(End::Ran, |pool| tune(pool));
}

#[test]
fn b14_a_shutdown_and_a_change_of_size_leave_no_caller_waiting() {
    on_every_dispatch!(run_to_the_end);
}

/// The pool goes out of scope with work queued: that runs.
fn dropped<D: Dispatch>() {
    let builder = StatefulPool::builder(|_| Ok(Runs)).workers(1).queue(64);
    let pool = builder.dispatch::<D>().build().unwrap();
    let gate = Gate::new();
    drop(pool.spawn(gate.task()).unwrap());
    gate.await_arrivals(1);
    let waiters = wait_for(|| pool.spawn(Task::new(|| ())).unwrap());
    let end = thread::spawn(move || drop(pool));
    gate.open();
    waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), End::Ran));
    end.join().unwrap();
}

#[test]
fn b14_a_dropped_pool_leaves_no_caller_waiting() {
    on_every_dispatch!(dropped);
}

/// The state is lost and cannot be made again: each task in turn is refused.
fn no_state<D: Dispatch>() {
    let works = always();
    let bench = stateful::<D>(quiet_panic, Arc::clone(&works));
    works.store(false, SeqCst);
    bench.gate.open();
    bench.waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), End::Never));
    assert!(bench.pool.wait_idle());
    let stats = bench.pool.stats();
    assert_eq!((stats.panicked, stats.completed, stats.cancelled), (1, 0, bench.tasks as u64));
    works.store(true, SeqCst);
    bench.pool.run(Task::new(|| ())).unwrap();
}

#[test]
fn b14_a_factory_that_fails_leaves_no_caller_waiting() {
    on_every_dispatch!(no_state);
}
