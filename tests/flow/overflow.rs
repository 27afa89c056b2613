//! What a full pool does with a task: it drops the oldest or the newest, or lets the submitter run it; and tasks that have waited too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::support::closures::{assert_quiet, occupy};
use crate::support::waking::{CountingWaker, block_on, poll_with};
use crate::support::{Gate, RunTask, eventually, on_every_dispatch};
use formicary::observe::{Observer, TaskEnd, TaskInfo};
use formicary::{
    BuildError, Context, Dispatch, DropReason, Dropped, Overflow, Pool, PoolWithFunc, StatefulPool, SubmitErrorKind,
    Task,
};
use parking_lot::Mutex;

/// What the handler of a pool was given.
type DroppedInputs = Arc<Mutex<Vec<(usize, DropReason)>>>;
/// What it has run.
type Ran = Arc<Mutex<Vec<usize>>>;

/// A pool of one worker with this policy, which adds up its inputs.
fn function_pool<D: Dispatch>(
    queue: usize,
    overflow: Overflow,
) -> (PoolWithFunc<usize, D, ()>, Gate, Ran, DroppedInputs) {
    let (gate, ran, dropped) = (Gate::new(), Arc::new(Mutex::new(Vec::new())), DroppedInputs::default());
    let (holds, runs, drops) = (gate.clone(), Arc::clone(&ran), Arc::clone(&dropped));
    let pool = PoolWithFunc::builder(move |n: usize| {
        holds.wait();
        runs.lock().push(n);
    })
    .workers(1)
    .queue(queue)
    .dispatch::<D>()
    .overflow(overflow)
    .dropped_handler(move |task: Dropped<usize>| {
        let reason = task.reason();
        drops.lock().push((task.into_task(), reason));
    })
    .build()
    .unwrap();
    pool.submit(0).unwrap();
    gate.await_arrivals(1);
    (pool, gate, ran, dropped)
}

/// Each new task takes the place of the oldest that waits, whichever verb brings it, also while the pool is paused.
fn oldest<D: Dispatch>() {
    for is_paused in [false, true] {
        let (pool, gate, ran, dropped) = function_pool::<D>(3, Overflow::DropOldest);
        let pause = is_paused.then(|| pool.pause());
        (1..=6).for_each(|n| pool.submit(n).unwrap());
        pool.try_submit(7).unwrap();
        block_on(pool.submit_async(8)).unwrap();
        let handle = pool.with().room_timeout(Duration::from_secs(60)).spawn(9).unwrap();
        assert_eq!(pool.submit_all(10..=12).unwrap(), 3);
        assert_eq!(*dropped.lock(), (1..=9).map(|n| (n, DropReason::Oldest)).collect::<Vec<_>>());
        assert!(handle.join().unwrap_err().is_dropped());
        let stats = pool.stats();
        assert_eq!(
            (stats.submitted, stats.queued, stats.waiting, stats.drops.oldest, stats.rejected),
            (13, 3, 0, 9, 0)
        );
        drop(pause);
        gate.open();
        assert!(pool.wait_idle());
        assert_eq!(*ran.lock(), [0, 10, 11, 12]);
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.completed, stats.dropped), (13, 4, 9));
    }
}

#[test]
fn a_new_task_replaces_the_oldest() {
    on_every_dispatch!(oldest);
}

/// Where nothing waits that could be replaced, the new task is dropped.
fn nothing_to_replace<D: Dispatch>() {
    let (pool, gate, ran, dropped) = function_pool::<D>(0, Overflow::DropOldest);
    pool.submit(1).unwrap();
    assert_eq!(*dropped.lock(), [(1, DropReason::Newest)]);
    gate.open();
    assert!(pool.wait_idle());
    assert_eq!((&*ran.lock(), pool.stats().drops.newest), (&vec![0], 1));
}

#[test]
fn running_tasks_are_not_replaced() {
    on_every_dispatch!(nothing_to_replace);
}

fn newest<D: Dispatch>() {
    let (pool, gate, ran, dropped) = function_pool::<D>(2, Overflow::DropNewest);
    (1..=4).for_each(|n| pool.submit(n).unwrap());
    pool.try_submit(5).unwrap();
    block_on(pool.submit_async(6)).unwrap();
    assert!(pool.spawn(7).unwrap().join().unwrap_err().is_dropped());
    let refused = pool.run(8).unwrap_err();
    assert!(refused.is_dropped());
    assert_eq!(refused.into_input(), Some(8));
    assert_eq!(*dropped.lock(), [3, 4, 5, 6, 7].map(|n| (n, DropReason::Newest)));
    gate.open();
    assert!(pool.wait_idle());
    assert_eq!(*ran.lock(), [0, 1, 2]);
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed, stats.drops.newest, stats.dropped), (9, 3, 6, 6));
}

#[test]
fn a_new_task_is_accepted_and_dropped() {
    on_every_dispatch!(newest);
}

/// A caller that waits for a task in `run` gets its input back when the task is dropped for a newer one.
fn waiting_caller<D: Dispatch>() {
    let (pool, gate, _, dropped) = function_pool::<D>(1, Overflow::DropOldest);
    let pool = Arc::new(pool);
    let calls = Arc::clone(&pool);
    let caller = thread::spawn(move || calls.run(1).unwrap_err());
    eventually("the call is queued", || pool.stats().queued == 1);
    pool.submit(2).unwrap();
    let refused = caller.join().unwrap();
    assert!(refused.is_dropped());
    assert_eq!(refused.into_input(), Some(1));
    assert!(dropped.lock().is_empty());
    gate.open();
    assert!(pool.wait_idle());
    assert_eq!((pool.stats().completed, pool.stats().dropped), (2, 1));
}

#[test]
fn a_dropped_call_returns_its_input() {
    on_every_dispatch!(waiting_caller);
}

/// Views have the policy of their pool, for what waits in them.
fn views<D: Dispatch>() {
    for (overflow, dropped_ones) in [(Overflow::DropOldest, [1, 2]), (Overflow::DropNewest, [3, 4])] {
        let (pool, gate, ran, dropped) = function_pool::<D>(2, overflow);
        // The permit is taken by a task that waits in the pool.
        let view = pool.limited(1);
        (1..=4).for_each(|n| view.submit(n).unwrap());
        let left = (1..=4).filter(|n| !dropped_ones.contains(n)).collect::<Vec<_>>();
        match overflow {
            // The first has the permit, and is in the queue of the pool.
            Overflow::DropOldest => assert_eq!(dropped.lock().len(), 2),
            _ => assert_eq!(*dropped.lock(), dropped_ones.map(|n| (n, DropReason::Newest))),
        }
        gate.open();
        assert!(view.wait_idle() && pool.wait_idle());
        let ran = ran.lock();
        assert_eq!((ran.len(), ran[0]), (3, 0));
        if overflow == Overflow::DropNewest {
            assert_eq!(ran[1..], left);
        }
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.completed, stats.dropped), (5, 3, 2));
        let stats = view.stats();
        assert_eq!(stats.submitted, stats.completed + stats.dropped);
    }
}

#[test]
fn views_have_the_policy_of_their_pool() {
    on_every_dispatch!(views);
}

#[derive(Default)]
struct Ends {
    accepted: AtomicUsize,
    dropped: AtomicUsize,
    all: AtomicUsize,
}

impl Observer for Ends {
    fn accepted(&self) {
        self.accepted.fetch_add(1, SeqCst);
    }

    fn ended(&self, _task: &TaskInfo<'_>, end: TaskEnd) {
        self.all.fetch_add(1, SeqCst);
        self.dropped.fetch_add(usize::from(end == TaskEnd::Dropped), SeqCst);
    }
}

/// The handler may panic, and use the pool. Observers are told of each dropped task.
fn observed<D: Dispatch>() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        let ends = Arc::new(Ends::default());
        let builder =
            Pool::builder().workers(1).queue(1).dispatch::<D>().overflow(overflow).observer(Arc::clone(&ends));
        let pool = Arc::new(builder.dropped_handler(|_: Dropped<Task>| panic!("a test's panic")).build().unwrap());
        let gate = occupy(&pool);
        (0..10).for_each(|_| pool.submit(|| ()).unwrap());
        let late = pool.with().max_queue_time(Duration::ZERO).spawn(|| ()).unwrap();
        gate.open();
        assert!(late.join().unwrap_err().is_dropped());
        assert!(pool.wait_idle());
        // The late one has replaced another, or has been dropped at once.
        let dropped = if overflow == Overflow::DropOldest { 11 } else { 10 };
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.dropped, stats.handler_panics), (12, dropped, dropped));
        let counts = [&ends.accepted, &ends.all, &ends.dropped].map(|count| count.load(SeqCst));
        assert_eq!(counts, [12, 12, dropped as usize]);
    }
}

#[test]
fn observers_are_told_of_dropped_tasks() {
    on_every_dispatch!(observed);
}

/// A worker that takes a task too late gives it to the handler and does not run it, whatever the kind of pool.
fn late<D: Dispatch>() {
    let (pool, gate, ran, dropped) = function_pool::<D>(20, Overflow::Block);
    let (at_once, patient) = (pool.with().max_queue_time(Duration::ZERO), pool.with().max_queue_time(Duration::MAX));
    at_once.submit(1).unwrap();
    patient.submit(2).unwrap();
    let (late, in_time) = (at_once.spawn(3).unwrap(), patient.spawn(4).unwrap());
    let view = pool.limited(1);
    view.with().max_queue_time(Duration::ZERO).submit(5).unwrap();
    view.submit(6).unwrap();
    gate.open();
    assert!(late.join().unwrap_err().is_dropped());
    in_time.join().unwrap();
    assert!(
        at_once.run(7).is_err_and(|error| error.is_dropped() && error.into_input() == Some(7))
            || ran.lock().contains(&7)
    );
    assert!(pool.wait_idle() && view.wait_idle());
    assert_eq!(
        dropped.lock().iter().filter(|(_, reason)| *reason == DropReason::Late).map(|(n, _)| *n).collect::<Vec<_>>(),
        [1, 3, 5]
    );
    assert_eq!((view.stats().dropped, view.stats().completed), (1, 1));
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.dropped);
    assert_eq!(stats.drops.late, stats.dropped);
}

#[test]
fn a_late_task_is_not_run() {
    on_every_dispatch!(late);
}

fn caller_runs<D: Dispatch>(queue: usize) -> Arc<Pool<D>> {
    Arc::new(Pool::builder().workers(1).queue(queue).dispatch::<D>().overflow(Overflow::CallerRuns).build().unwrap())
}

/// The submitter runs what finds no room, as a worker would: with a context, and with its panics caught.
fn submitters<D: Dispatch>() {
    let pool = caller_runs::<D>(1);
    let gate = occupy(&pool);
    pool.submit(|| ()).unwrap();
    let me = thread::current().id();
    let place = || (thread::current().id(), Context::with(|cx| cx.worker()));
    let (id, worker) = pool.spawn(place).unwrap().join().unwrap();
    assert_eq!((id, worker.is_some_and(|worker| worker > 0)), (me, true));
    assert_eq!(pool.run(place).unwrap().0, me);
    assert!(pool.run(|| -> () { panic!("a test's panic") }).unwrap_err().is_panic());
    assert!(Context::with(|cx| cx.worker()).is_none());
    // What does not block, or runs on an executor, or has set a limit.
    assert!(pool.try_submit(|| ()).unwrap_err().is_full());
    let waiting = CountingWaker::new();
    let mut future = Box::pin(pool.submit_async(move || assert_ne!(thread::current().id(), me)));
    assert!(poll_with(future.as_mut(), &waiting).is_pending());
    assert!(pool.with().room_timeout(Duration::ZERO).submit(|| ()).unwrap_err().is_timed_out());
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed, stats.panicked, stats.running, stats.live), (5, 2, 1, 1, 1));
    gate.open();
    block_on(future).unwrap();
    assert_quiet(&pool);
}

#[test]
fn submitters_run_what_finds_no_room() {
    on_every_dispatch!(submitters);
}

/// A chain of tasks, each of which submits the next, uses no stack in proportion, and nor does one through two pools.
fn chains<D: Dispatch>() {
    fn next<D: Dispatch>(pools: [Arc<Pool<D>>; 2], left: usize, done: Gate) {
        match left {
            0 => done.wait(),
            _ => {
                let [this, other] = pools;
                let pools = [Arc::clone(&other), Arc::clone(&this)];
                other.submit(move || next(pools, left - 1, done)).unwrap();
            }
        }
    }
    let pools = [caller_runs::<D>(0), caller_runs::<D>(0)];
    for is_one in [true, false] {
        let pair = if is_one { [Arc::clone(&pools[0]), Arc::clone(&pools[0])] } else { pools.clone() };
        let (gates, done) = ([occupy(&pair[0]), occupy(&pools[1])], Gate::new());
        let ended = done.clone();
        // Each link would take more than 100 bytes of the submitter's stack, and several times that of a worker's.
        let starts = move || next(pair, 20_000, ended);
        let submitter = thread::Builder::new().stack_size(256 << 10).spawn(starts).unwrap();
        gates.iter().for_each(Gate::open);
        done.await_arrivals(1);
        done.open();
        submitter.join().unwrap();
        pools.iter().for_each(|pool| assert!(pool.wait_idle()));
    }
    pools.iter().for_each(|pool| assert_quiet(pool));
}

#[test]
fn caller_runs_does_not_recurse_in_proportion() {
    on_every_dispatch!(chains);
}

/// A pause and a shutdown hold also for submitters: one that runs a task is waited for, and none starts one.
fn pauses_and_ends<D: Dispatch>() {
    let pool = caller_runs::<D>(0);
    let (gate, in_caller) = (occupy(&pool), Gate::new());
    let (submits, holds) = (Arc::clone(&pool), in_caller.clone());
    let submitter = thread::spawn(move || submits.submit(move || holds.wait()).unwrap());
    in_caller.await_arrivals(1);
    gate.open();
    // The worker is done, the submitter is not.
    eventually("the worker is idle", || pool.stats().running == 0);
    assert!(!pool.wait_idle_timeout(Duration::from_millis(5)));
    assert!(!pool.shutdown_timeout(Duration::from_millis(5)).is_complete());
    let ends = Arc::clone(&pool);
    let ended = Arc::new(AtomicUsize::new(0));
    let notes = Arc::clone(&ended);
    let ender = thread::spawn(move || {
        ends.shutdown();
        notes.store(1, SeqCst);
    });
    thread::yield_now();
    assert_eq!(ended.load(SeqCst), 0);
    in_caller.open();
    submitter.join().unwrap();
    ender.join().unwrap();
    assert_quiet(&pool);

    let pool = caller_runs::<D>(0);
    let pause = pool.pause();
    pool.submit(|| ()).unwrap();
    let (submits, ran_by) = (Arc::clone(&pool), Arc::new(Mutex::new(None::<ThreadId>)));
    let notes = Arc::clone(&ran_by);
    let submitter =
        thread::spawn(move || submits.submit(move || *notes.lock() = Some(thread::current().id())).unwrap());
    eventually("it waits", || pool.waiting() == 1);
    assert!(ran_by.lock().is_none());
    drop(pause);
    submitter.join().unwrap();
    assert!(pool.wait_idle() && ran_by.lock().is_some());
}

#[test]
fn pauses_and_shutdowns_hold_for_submitters() {
    on_every_dispatch!(pauses_and_ends);
}

/// What a task may do with its own pool, it may do also on its submitter's thread: it does not wait for itself.
fn uses_its_pool<D: Dispatch>() {
    let pool = caller_runs::<D>(0);
    let gate = occupy(&pool);
    let inner = Arc::clone(&pool);
    let sum = pool.run(move || {
        let handles: Vec<_> = (0..100).map(|n| inner.spawn(move || n).unwrap()).collect();
        let sum = handles.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>();
        let (a, b) = inner.join(|| 1, || 2);
        assert!(!inner.wait_idle());
        sum + a + b
    });
    assert_eq!(sum.unwrap(), 4953);
    let inner = Arc::clone(&pool);
    pool.submit(move || (0..50).for_each(|_| inner.submit(|| ()).unwrap())).unwrap();
    gate.open();
    assert!(pool.wait_idle());
    assert_quiet(&pool);
    let (gate, inner) = (occupy(&pool), Arc::clone(&pool));
    let report = pool.run(move || inner.shutdown()).unwrap();
    assert!(!report.is_complete());
    gate.open();
    assert!(pool.shutdown().is_complete());
}

#[test]
fn a_task_on_its_submitters_thread_uses_its_pool() {
    on_every_dispatch!(uses_its_pool);
}

/// A view keeps its limit: its submitters wait.
fn view_waits<D: Dispatch>() {
    let pool = caller_runs::<D>(0);
    let view = Arc::new(pool.limited(1));
    let gate = Gate::new();
    let holds = gate.clone();
    view.submit(move || holds.wait()).unwrap();
    gate.await_arrivals(1);
    let (submits, me) = (Arc::clone(&pool), thread::current().id());
    let submitter = thread::spawn(move || {
        let view = submits.limited(1);
        view.run(move || assert_ne!(thread::current().id(), me)).unwrap();
    });
    eventually("it waits", || pool.waiting() + pool.stats().waiting > 0 || view.waiting() > 0);
    gate.open();
    submitter.join().unwrap();
    drop(view);
    assert_quiet(&pool);
}

#[test]
fn submitters_of_a_view_wait() {
    on_every_dispatch!(view_waits);
}

#[test]
fn states_are_for_workers() {
    let builder = StatefulPool::builder(|_| Ok(RunTask)).workers(1).overflow(Overflow::CallerRuns);
    assert!(matches!(builder.build(), Err(BuildError::CallerRuns)));
    let pool =
        StatefulPool::builder(|_| Ok(RunTask)).workers(1).queue(0).overflow(Overflow::DropOldest).build().unwrap();
    let pause = pool.pause();
    pool.submit(Task::new(|| ())).unwrap();
    let dropped = pool.spawn(Task::new(|| ())).unwrap();
    assert!(pool.spawn(Task::new(|| ())).is_ok());
    assert_eq!(pool.stats().dropped, 2);
    drop((pause, dropped));
    let pool = Pool::builder().workers(1).overflow(Overflow::Refuse).queue(0).build().unwrap();
    let pause = pool.pause();
    pool.submit(|| ()).unwrap();
    assert_eq!(pool.submit(|| ()).unwrap_err().kind(), SubmitErrorKind::Full);
    drop(pause);
}
