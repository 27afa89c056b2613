//! Order per key: the tasks of a key run one at a time, in the order in which they were accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::races::{quiet_panic, together};
use crate::support::random::Random;
use crate::support::verbs::{assert_each_verb_refuses, each_verb_with_each_option};
use crate::support::waking::block_on;
use crate::support::{Count, Gate, RunTask, eventually, on_every_dispatch, quiet_panics};
use formicary::{
    Accepts, Builder, CancelToken, Dispatch, Limited, Nested, OnDrop, Overflow, Pool, PoolControl, PoolWithFunc,
    StatefulPool, SubmitErrorKind, Task, as_completed, wait_any,
};
use parking_lot::Mutex;

const LONG: Duration = Duration::from_secs(30);

/// What ran, in its order.
type Log = Arc<Mutex<Vec<usize>>>;

fn notes(log: &Log, n: usize) -> Task {
    let log = Arc::clone(log);
    Task::new(move || log.lock().push(n))
}

fn noting(log: &Log, n: usize) -> impl FnOnce() + Send + 'static + use<> {
    let log = Arc::clone(log);
    move || log.lock().push(n)
}

/// Runs a check on each kind of pool of a dispatch, with its control and whether its workers can run a task in the middle of another.
macro_rules! on_kinds {
    ($dispatch:ty, $workers:expr, $queue:expr, $check:ident $(, $more:expr)*) => {{
        let pool = Pool::builder().workers($workers).queue($queue).dispatch::<$dispatch>().build().unwrap();
        $check(&pool, &pool, true $(, $more)*);
        let pool = PoolWithFunc::builder(Task::run).workers($workers).queue($queue);
        let pool = pool.dispatch::<$dispatch>().build().unwrap();
        $check(&pool, &pool, true $(, $more)*);
        let pool = StatefulPool::builder(|_| Ok(RunTask)).workers($workers).queue($queue);
        let pool = pool.dispatch::<$dispatch>().build().unwrap();
        $check(&pool, &pool, false $(, $more)*);
    }};
}

/// What the views of kinds and the kinds have: options.
trait Options: Accepts<Task, Output = ()> + Sized {
    fn options(&self) -> formicary::With<'_, Self>;
}

macro_rules! options {
    ($([$($generics:tt)*] $pool:ty),*) => {
        $(impl<$($generics)*> Options for $pool {
            fn options(&self) -> formicary::With<'_, Self> {
                self.with()
            }
        })*
    };
}
options!([D: Dispatch] Pool<D>, [D: Dispatch] PoolWithFunc<Task, D, ()>, [D: Dispatch] StatefulPool<RunTask, D>);
options!([D: Dispatch] Limited<Pool<D>>);

fn assert_conserved(control: &PoolControl<Task>) {
    assert!(control.wait_idle());
    let stats = control.stats();
    assert_eq!((stats.queued, stats.running), (0, 0), "{stats:?}");
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled + stats.returned, "{stats:?}");
}

/// Several submitters to several keys: one task of a key at a time, and each submitter's in its order.
fn keeps_order(pool: &impl Options, control: &PoolControl<Task>, _helps: bool) {
    const KEYS: usize = 3;
    const SUBMITTERS: usize = 4;
    const EACH: usize = 60;
    let logs: Vec<Log> = (0..KEYS).map(|_| Log::default()).collect();
    let running: Vec<Count> = (0..KEYS).map(|_| Count::new()).collect();
    let submit = |submitter: usize| {
        for n in 0..EACH {
            let key = (n + submitter) % KEYS;
            let (log, count) = (Arc::clone(&logs[key]), running[key].clone());
            let task = Task::new(move || {
                count.up();
                thread::yield_now();
                log.lock().push(submitter * EACH + n);
                count.down();
            });
            let lane = pool.options().in_order(key);
            match n % 3 {
                0 => lane.submit(task).unwrap(),
                1 => block_on(lane.submit_async(task)).unwrap(),
                _ => drop(lane.spawn(task).unwrap()),
            }
        }
    };
    together(SUBMITTERS, submit);
    assert_conserved(control);
    assert!(running.iter().all(|count| count.peak() == 1));
    for submitter in 0..SUBMITTERS {
        for log in &logs {
            let own: Vec<_> = log.lock().iter().copied().filter(|n| n / EACH == submitter).collect();
            assert_eq!(own.len(), EACH / KEYS);
            assert!(own.is_sorted(), "{own:?}");
        }
    }
}

fn several_submitters<D: Dispatch>() {
    for queue in [0, 3, 1_000] {
        on_kinds!(D, 3, queue, keeps_order);
        let pool = Pool::builder().workers(3).queue(queue).dispatch::<D>().build().unwrap();
        keeps_order(&pool.limited(2), &pool, true);
        let pool = Pool::builder().workers(3).queue(queue).nested(Nested::Bounded).dispatch::<D>().build().unwrap();
        keeps_order(&pool, &pool, true);
    }
}

#[test]
fn tasks_of_a_key_run_one_at_a_time_in_their_order() {
    on_every_dispatch!(several_submitters);
}

fn meet_at_two_keys(pool: &impl Options, control: &PoolControl<Task>, _helps: bool) {
    let gates = [Gate::new(), Gate::new()];
    for (key, gate) in gates.iter().enumerate() {
        pool.options().in_order(key).submit(gate.task()).unwrap();
        pool.options().in_order(key).submit(gate.task()).unwrap();
    }
    gates.iter().for_each(|gate| gate.await_arrivals(1));
    // A task without an order is not held up, and waiting tasks occupy no worker.
    let free = Gate::new();
    pool.options().submit(free.task()).unwrap();
    free.await_arrivals(1);
    let stats = control.stats();
    assert_eq!((stats.running, stats.queued, control.queued()), (3, 2, 2), "{stats:?}");
    free.open();
    gates.iter().for_each(Gate::open);
    assert_conserved(control);
}

fn keys_are_independent<D: Dispatch>() {
    on_kinds!(D, 3, 10, meet_at_two_keys);
}

#[test]
fn different_keys_run_side_by_side() {
    on_every_dispatch!(keys_are_independent);
}

/// A key with many tasks: a task that comes later waits for one of them, and the stack is not used in proportion.
fn a_hot_key<D: Dispatch>() {
    let tasks = if cfg!(miri) { 100 } else { 100_000 };
    let pool = Pool::builder().workers(1).unbounded_queue().dispatch::<D>();
    let pool = if D::NAME == formicary::Ring::NAME { pool.queue(tasks + 10) } else { pool };
    let pool = pool.build().unwrap();
    let gate = Gate::new();
    pool.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let done = Arc::new(AtomicUsize::new(0));
    let hot = pool.with().in_order("hot");
    for n in 0..tasks {
        let done = Arc::clone(&done);
        hot.submit(move || assert_eq!(done.fetch_add(1, SeqCst), n)).unwrap();
    }
    assert_eq!(pool.queued(), tasks);
    let seen = Arc::clone(&done);
    let other = pool.spawn(move || seen.load(SeqCst)).unwrap();
    gate.open();
    assert!(other.join().unwrap() <= 2);
    assert!(pool.wait_idle());
    assert_eq!((done.load(SeqCst), pool.stats().panicked), (tasks, 0));
}

#[test]
fn a_key_with_many_tasks_does_not_starve_others() {
    on_every_dispatch!(a_hot_key);
}

/// Two workers, two in the queue: of one key one is next and two wait.
fn fills(pool: &impl Options, control: &PoolControl<Task>, _helps: bool) {
    let gate = Gate::new();
    let lane = pool.options().in_order(7);
    lane.try_submit(gate.task()).unwrap();
    gate.await_arrivals(1);
    let log = Log::default();
    lane.try_submit(notes(&log, 0)).unwrap();
    lane.try_submit(notes(&log, 1)).unwrap();
    let refusal = lane.try_submit(notes(&log, 9)).unwrap_err();
    assert_eq!(refusal.kind(), SubmitErrorKind::Full);
    assert!(lane.clone().room_timeout(Duration::from_millis(1)).submit(notes(&log, 9)).unwrap_err().is_timed_out());
    let token = CancelToken::new();
    token.cancel();
    assert_each_verb_refuses(&lane.clone().token(&token), SubmitErrorKind::Cancelled, &Count::new());
    // A thread and a future wait for room.
    together(3, |thread| match thread {
        0 => gate.open(),
        1 => lane.submit(notes(&log, 2)).unwrap(),
        _ => block_on(lane.run_async(notes(&log, 3))).unwrap(),
    });
    assert_conserved(control);
    let log = log.lock();
    assert_eq!((&log[..2], log.len()), (&[0, 1][..], 4));
}

fn bounds<D: Dispatch>() {
    on_kinds!(D, 2, 2, fills);
}

#[test]
fn waiting_tasks_keep_to_the_bound() {
    on_every_dispatch!(bounds);
}

fn takes_each_option(pool: &impl Options, control: &PoolControl<Task>, _helps: bool) {
    each_verb_with_each_option(&pool.options().in_order("key"), || control.wait_idle());
    assert_conserved(control);
}

fn each_option<D: Dispatch>() {
    on_kinds!(D, 2, 1, takes_each_option);
    let pool = Pool::builder().workers(2).queue(1).dispatch::<D>().build().unwrap();
    takes_each_option(&pool.limited(1), &pool, true);
}

#[test]
fn each_verb_takes_each_option() {
    on_every_dispatch!(each_option);
}

/// A task that waits for one of its own key is refused, also behind others, also while other workers are free.
fn own_key<D: Dispatch>() {
    for workers in [1, 3] {
        let pool = Arc::new(Pool::builder().workers(workers).queue(100).dispatch::<D>().build().unwrap());
        let own = Arc::clone(&pool);
        let log = Log::default();
        let (first, second) = (notes(&log, 1), notes(&log, 2));
        let outer = pool.with().in_order(1).spawn(move || {
            let lane = own.with().in_order(1);
            let handle = lane.spawn(first).unwrap();
            assert!(handle.join().unwrap_err().is_would_deadlock());
            let mut behind = lane.spawn(second).unwrap();
            assert!(behind.join_timeout(LONG).unwrap().unwrap_err().is_would_deadlock());
            assert!(lane.run(|| ()).unwrap_err().is_would_deadlock());
            let handles = [lane.spawn(|| 1).unwrap(), lane.spawn(|| 2).unwrap()];
            assert!(as_completed(handles).next().unwrap().1.unwrap_err().is_would_deadlock());
            let mut handles = [lane.spawn(|| 1).unwrap(), own.with().in_order(2).spawn(|| 2).unwrap()];
            assert_eq!(wait_any(&mut handles), Some(1));
            // A task of another key, on the same worker.
            let inner = Arc::clone(&own);
            let refused =
                move || inner.with().in_order(1).spawn(|| ()).unwrap().join().unwrap_err().is_would_deadlock();
            assert!(workers > 1 || own.with().in_order(2).run(refused).unwrap());
        });
        outer.unwrap().join().unwrap();
        assert!(pool.wait_idle());
        assert_eq!(*log.lock(), [1, 2]);
    }
}

#[test]
fn a_task_that_waits_for_its_own_key_is_refused() {
    on_every_dispatch!(own_key);
}

/// The only worker waits for the last task of another key: those before it run first, in their order.
fn runs_what_is_before<D: Dispatch>() {
    for queue in [0, 100] {
        let pool = Arc::new(Pool::builder().workers(1).queue(queue).dispatch::<D>().build().unwrap());
        let log = Log::default();
        let (own, noted) = (Arc::clone(&pool), Arc::clone(&log));
        let in_view = move || {
            let lane = own.with().in_order("other");
            (0..20).for_each(|n| lane.submit(notes(&noted, n)).unwrap());
            lane.spawn(notes(&noted, 20)).unwrap().join().unwrap();
            block_on(lane.spawn(notes(&noted, 21)).unwrap()).unwrap();
            lane.run(notes(&noted, 22)).unwrap();
        };
        pool.with().in_order("one").run(in_view).unwrap();
        assert!(log.lock().iter().copied().eq(0..23), "{:?}", log.lock());
        assert!(pool.wait_idle());
    }
}

/// The same in a view whose only permit the waiting task has: the tasks of the key run with that.
fn runs_with_the_permit_of_the_view<D: Dispatch>() {
    for workers in [1, 3] {
        let pool = builder::<D>(workers, 100).build().unwrap();
        let (view, log) = (Arc::new(pool.limited(1)), Log::default());
        let (own, noted) = (Arc::clone(&view), Arc::clone(&log));
        let waits = move || {
            let lane = own.with().in_order(1);
            (0..5).for_each(|n| lane.submit(noting(&noted, n)).unwrap());
            lane.spawn(noting(&noted, 5)).unwrap().join().unwrap();
            lane.submit(noting(&noted, 6)).unwrap();
            lane.run(noting(&noted, 7)).unwrap();
        };
        view.run(waits).unwrap();
        assert!(log.lock().iter().copied().eq(0..8), "{:?}", log.lock());
        assert!(view.wait_idle() && pool.wait_idle());
        let stats = view.stats();
        assert_eq!((stats.submitted, stats.completed, stats.peak_running), (9, 9, 1), "{stats:?}");
    }
}

#[test]
fn a_worker_that_waits_for_another_key_runs_what_is_before() {
    on_every_dispatch!(runs_what_is_before);
    on_every_dispatch!(runs_with_the_permit_of_the_view);
}

/// The end of a task, whatever it is, lets the next start.
fn ends(pool: &impl Options, control: &PoolControl<Task>, _helps: bool) {
    let (log, gate) = (Log::default(), Gate::new());
    let lane = pool.options().in_order(3);
    let first = lane.spawn(gate.task()).unwrap();
    gate.await_arrivals(1);
    let token = CancelToken::new();
    let panics = lane.spawn(Task::new(quiet_panic)).unwrap();
    let cancelled = lane.spawn(notes(&log, 9)).unwrap();
    lane.submit(notes(&log, 1)).unwrap();
    let by_token = lane.clone().token(&token).spawn(notes(&log, 9)).unwrap();
    lane.submit(notes(&log, 2)).unwrap();
    assert!(cancelled.cancel());
    token.cancel();
    gate.open();
    first.join().unwrap();
    assert!(panics.join().unwrap_err().is_panic());
    assert!(cancelled.join().unwrap_err().is_cancelled());
    assert!(by_token.join().unwrap_err().is_cancelled());
    lane.run(notes(&log, 3)).unwrap();
    assert_conserved(control);
    assert_eq!(*log.lock(), [1, 2, 3]);
    let stats = control.stats();
    assert_eq!((stats.completed, stats.panicked, stats.cancelled), (4, 1, 2), "{stats:?}");
    // One that is next, while the pool is paused.
    let pause = control.pause();
    let next = lane.spawn(notes(&log, 9)).unwrap();
    lane.submit(notes(&log, 4)).unwrap();
    assert_eq!(control.queued(), 2);
    assert!(next.cancel());
    drop(pause);
    assert_conserved(control);
    assert_eq!(*log.lock(), [1, 2, 3, 4]);
}

fn each_end<D: Dispatch>() {
    on_kinds!(D, 2, 100, ends);
}

#[test]
fn the_next_task_starts_however_one_ends() {
    quiet_panics();
    on_every_dispatch!(each_end);
}

fn builder<D: Dispatch>(workers: usize, queue: usize) -> Builder<formicary::Closures, D> {
    Pool::builder().workers(workers).queue(queue).dispatch::<D>()
}

/// A shutdown runs what waits; the other one returns it, each key's tasks in their order; and the pool can be opened again.
fn shutdowns<D: Dispatch>() {
    for in_view in [false, true] {
        let (log, gate) = (Log::default(), Gate::new());
        let mut pool = builder::<D>(2, 100).build().unwrap();
        let lane = |pool: &Pool<D>, key: usize, task: Task| pool.with().in_order(key).submit(task).unwrap();
        for round in 0..2 {
            lane(&pool, 1, gate.task());
            gate.await_arrivals(round + 1);
            (0..10).for_each(|n| lane(&pool, 1, notes(&log, n)));
            gate.pass(1);
            assert!(pool.shutdown().is_complete());
            assert!(log.lock().drain(..).eq(0..10));
            pool.restart().unwrap();
        }
        let gate = Gate::new();
        lane(&pool, 1, gate.task());
        gate.await_arrivals(1);
        let pause = pool.pause();
        for n in 0..10 {
            lane(&pool, 1, notes(&log, n));
            lane(&pool, 2, notes(&log, 100 + n));
            if in_view {
                pool.submit(noting(&log, 50)).unwrap();
            }
        }
        let returned = Mutex::new(Vec::new());
        together(2, |thread| match thread {
            0 => *returned.lock() = pool.shutdown_now(),
            _ => {
                eventually("taken out", || pool.is_closed() && pool.queued() == 0);
                gate.open();
            }
        });
        let returned = returned.into_inner();
        drop(pause);
        assert!(log.lock().is_empty());
        returned.into_iter().for_each(Task::run);
        let ran = std::mem::take(&mut *log.lock());
        assert!(ran.iter().copied().filter(|n| *n < 10).eq(0..10), "{ran:?}");
        assert!(ran.iter().copied().filter(|n| *n >= 100).eq(100..110), "{ran:?}");
        let stats = pool.stats();
        assert_eq!(stats.submitted, stats.completed + stats.returned, "{stats:?}");
        pool.restart().unwrap();
        (0..5).for_each(|n| lane(&pool, 1, notes(&log, n)));
        drop(std::mem::replace(&mut pool, builder::<D>(1, 1).build().unwrap()));
        assert!(log.lock().iter().copied().eq(0..5));
    }
}

#[test]
fn a_shutdown_runs_or_returns_what_waits() {
    on_every_dispatch!(shutdowns);
}

/// The queue is full when the pool is closed: the next task of the key waits for room, and runs or comes back all the same.
fn a_full_queue<D: Dispatch>() {
    for now in [false, true] {
        let (log, gate, next) = (Log::default(), Gate::new(), Gate::new());
        let pool = builder::<D>(1, 2).build().unwrap();
        pool.with().in_order(1).submit(gate.closure()).unwrap();
        gate.await_arrivals(1);
        pool.with().in_order(1).submit(notes(&log, 0)).unwrap();
        pool.submit(next.closure()).unwrap();
        while pool.try_submit(noting(&log, 7)).is_ok() {}
        gate.open();
        next.await_arrivals(1);
        // What waits in the pool's queue is as much as fits.
        let filled = pool.try_submit(noting(&log, 7)).is_ok();
        assert!(pool.queued() >= 2, "{filled}");
        if now {
            let returned = Mutex::new(Vec::new());
            together(2, |thread| match thread {
                0 => *returned.lock() = pool.shutdown_now(),
                _ => {
                    eventually("taken out", || pool.is_closed() && pool.queued() == 0);
                    next.open();
                }
            });
            returned.into_inner().into_iter().for_each(Task::run);
        } else {
            next.open();
            assert!(pool.shutdown().is_complete());
        }
        assert_eq!(log.lock().iter().filter(|n| **n == 0).count(), 1);
        let stats = pool.stats();
        assert_eq!((stats.queued, stats.cancelled), (0, 0), "{stats:?}");
        assert_eq!(stats.submitted, stats.completed + stats.returned, "{stats:?}");
    }
}

#[test]
fn a_task_whose_turn_comes_at_a_full_queue_is_not_lost() {
    on_every_dispatch!(a_full_queue);
}

/// Random submissions, cancels, pauses and ends: each task runs once, or is cancelled, or comes back, and is counted as that.
fn at_random<D: Dispatch>() {
    let rounds = if cfg!(miri) { 2 } else { 60 };
    for seed in 0..rounds {
        let queue = [1, 5, 200][seed as usize % 3];
        let on_drop = [OnDrop::Drain, OnDrop::Cancel][seed as usize % 2];
        let pool = builder::<D>(1 + seed as usize % 3, queue).on_drop(on_drop).build().unwrap();
        let (ran, accepted, cancelled) = (Count::new(), Count::new(), Count::new());
        let is_running: [_; 3] = std::array::from_fn(|_| Arc::new(AtomicBool::new(false)));
        together(3, |thread| {
            let mut random = Random(1 + seed * 8 + thread as u64);
            for _ in 0..40 {
                let key = random.below(3);
                let (flag, ran) = (Arc::clone(&is_running[key]), ran.clone());
                let task = move || {
                    assert!(!flag.swap(true, SeqCst), "two tasks of a key at a time");
                    thread::yield_now();
                    flag.store(false, SeqCst);
                    ran.up();
                };
                match pool.with().in_order(key).try_spawn(task) {
                    Ok(handle) => {
                        accepted.up();
                        if random.below(4) == 0 && handle.cancel() {
                            cancelled.up();
                        }
                    }
                    Err(refusal) => assert!(refusal.is_full() || refusal.is_closed(), "{refusal}"),
                }
                if thread == 0 && random.below(10) == 0 {
                    drop(pool.pause());
                    pool.tune(1 + random.below(4)).unwrap();
                }
            }
        });
        let returned = if seed % 4 == 3 { pool.shutdown_now().len() } else { 0 };
        pool.shutdown();
        let stats = pool.stats();
        assert_eq!(stats.panicked, 0, "{stats:?}");
        assert_eq!(accepted.get(), ran.get() + cancelled.get() + returned, "{seed}: {stats:?}");
        assert_eq!(stats.submitted as usize, accepted.get(), "{seed}: {stats:?}");
        assert_eq!(stats.submitted, stats.completed + stats.cancelled + stats.returned, "{seed}: {stats:?}");
        assert_eq!((stats.queued, stats.running), (0, 0), "{seed}: {stats:?}");
    }
}

#[test]
fn each_task_has_one_end() {
    on_every_dispatch!(at_random);
}

/// The policies of a full pool, and tasks that wait for too long: what is dropped is counted, and the rest keeps its order.
fn policies<D: Dispatch>() {
    for policy in [Overflow::DropOldest, Overflow::DropNewest, Overflow::CallerRuns] {
        let (log, gate) = (Log::default(), Gate::new());
        let pool = builder::<D>(1, 3).overflow(policy).build().unwrap();
        let lane = pool.with().in_order(1);
        lane.submit(gate.closure()).unwrap();
        gate.await_arrivals(1);
        lane.clone().max_queue_time(Duration::ZERO).submit(noting(&log, 9)).unwrap();
        (0..2).for_each(|n| lane.submit(noting(&log, n)).unwrap());
        // The key has as many as it may have: the caller of this one waits, or one is dropped.
        together(2, |thread| match thread {
            0 => lane.submit(noting(&log, 2)).unwrap(),
            _ => {
                eventually("it waits, or one is dropped", || {
                    pool.stats().dropped > 0 || policy == Overflow::CallerRuns
                });
                gate.open();
            }
        });
        assert!(pool.wait_idle());
        let ran = std::mem::take(&mut *log.lock());
        let expected: &[usize] = if policy == Overflow::DropNewest { &[0, 1] } else { &[0, 1, 2] };
        assert_eq!(ran, expected, "{policy:?}");
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.completed), (stats.completed + stats.dropped, 1 + ran.len() as u64));
        assert_eq!((stats.queued, stats.running), (0, 0), "{stats:?}");
    }
}

#[test]
fn what_is_dropped_leaves_the_order() {
    on_every_dispatch!(policies);
}

/// A future is in the order from when it is accepted, not from when it was made.
fn futures_in_order<D: Dispatch>() {
    let (log, gate) = (Log::default(), Gate::new());
    let pool = builder::<D>(2, 10).build().unwrap();
    let lane = pool.with().in_order(1);
    lane.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let made_first = lane.spawn_async(noting(&log, 2));
    let made_last = lane.spawn_async(noting(&log, 1));
    let handles = [block_on(made_last).unwrap(), block_on(made_first).unwrap()];
    lane.submit(noting(&log, 3)).unwrap();
    gate.open();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert!(pool.wait_idle());
    assert_eq!(*log.lock(), [1, 2, 3]);
}

#[test]
fn acceptance_makes_the_order() {
    on_every_dispatch!(futures_in_order);
}
