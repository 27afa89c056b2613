//! What comes back into a pool at the moment its shutdown ends: the pool does not begin again, and it is known what became of each task.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::closures::pool;
use crate::support::races::{shift, together};
use crate::support::random::Random;
use crate::support::waking::block_on;
use crate::support::{Gate, LIMIT, assert_conserved, eventually, on_every_dispatch};
use formicary::observe::{Observer, TaskEnd, TaskInfo};
use formicary::{DeadLetters, Dispatch, GaveUp, Handle, OnClose, Pipeline, Pool, Retry, Semaphore, SubmitErrorKind};
use parking_lot::Mutex;

const ROUNDS: u64 = if cfg!(miri) { 2 } else { 200 };

/// Whether a task of which this counts the runs has run once if its handle has a result, and never otherwise.
struct Runs(Arc<AtomicUsize>);

impl Runs {
    fn new() -> Self {
        Runs(Arc::default())
    }

    fn task(&self) -> impl FnOnce() + Send + 'static + use<> {
        let runs = Arc::clone(&self.0);
        move || _ = runs.fetch_add(1, SeqCst)
    }

    fn check(&self, handles: impl IntoIterator<Item = Handle<()>>) {
        let has_run = |handle: Handle<()>| match handle.join() {
            Ok(()) => 1,
            Err(error) => {
                assert!(error.is_cancelled() || error.refusal() == Some(SubmitErrorKind::Closed), "{error}");
                0
            }
        };
        assert_eq!(handles.into_iter().map(has_run).sum::<usize>(), self.0.load(SeqCst));
    }
}

/// Shuts the pool down while `other` happens, and checks that it has ended.
fn against_the_end<D: Dispatch>(pool: &Pool<D>, shift_by: Duration, other: impl Fn() + Sync) {
    together(2, |thread| match thread {
        0 => other(),
        _ => {
            shift(shift_by);
            assert!(pool.shutdown().is_complete());
        }
    });
}

fn assert_ended<D: Dispatch>(pool: &Pool<D>) {
    eventually("no thread is about to let something enter", || {
        let stats = pool.stats();
        (stats.scheduled, stats.waiting) == (0, 0)
    });
    assert_eq!(pool.stats().live, 0, "{:?}", pool.stats());
    assert_conserved(pool);
}

/// Opens a gate at the first cancelled task, on the thread that has cancelled it, and lets the workers go on for a moment.
struct SlowCancel(Gate);

impl Observer for SlowCancel {
    fn ended(&self, _task: &TaskInfo<'_>, end: TaskEnd) {
        if end == TaskEnd::Cancelled {
            self.0.open();
            shift(Duration::from_millis(2));
        }
    }
}

/// The queued task of a key is cancelled. The next of the key is on its way to the queue when a worker finds nothing there.
fn successor<D: Dispatch>() {
    let gate = Gate::new();
    let builder = Pool::builder().workers(1).queue(9).observer(SlowCancel(gate.clone()));
    let pool = builder.dispatch::<D>().build().unwrap();
    pool.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let runs = Runs::new();
    let first = pool.with().in_order(7).spawn(runs.task()).unwrap();
    let others = [(); 2].map(|()| pool.with().in_order(7).spawn(runs.task()).unwrap());
    against_the_end(&pool, Duration::ZERO, || {
        eventually("it is closed", || pool.is_closed());
        assert!(first.cancel());
    });
    assert_ended(&pool);
    assert!(first.is_finished());
    assert!(others.into_iter().all(|handle| handle.join().is_ok()));
    assert_eq!((pool.stats().completed, pool.stats().cancelled), (3, 1));
}

#[test]
fn the_successor_of_a_cancelled_task_of_its_key_runs_before_the_end() {
    on_every_dispatch!(successor);
}

/// The first task of a key does not end. Its worker is given up, before the shutdown or during it.
fn behind_a_lost_worker<D: Dispatch>() {
    for is_late in [false, true] {
        let pool = Pool::builder().workers(1).queue(9).running_tasks().dispatch::<D>().build().unwrap();
        let gate = Gate::new();
        let hangs = pool.with().in_order(7).spawn(gate.closure()).unwrap();
        gate.await_arrivals(1);
        let runs = Runs::new();
        let behind = [(); 3].map(|()| pool.with().in_order(7).spawn(runs.task()).unwrap());
        let replace = || assert!(pool.replace(&pool.running_tasks().unwrap()[0]));
        if !is_late {
            replace();
        }
        thread::scope(|scope| {
            // What waits for that task cannot run.
            let shutdown = scope.spawn(|| assert_eq!(pool.shutdown_timeout(LIMIT).queued, 3));
            if is_late {
                eventually("it is closed", || pool.is_closed());
                replace();
            }
            shutdown.join().unwrap();
        });
        gate.open();
        hangs.join().unwrap();
        runs.check(behind);
        eventually("its thread ends", || pool.stats().given_up == 0);
        assert_ended(&pool);
        assert_eq!((pool.stats().completed, pool.stats().cancelled), (1, 3));
        pool.restart().unwrap();
        pool.with().in_order(7).run(|| ()).unwrap();
    }
}

#[test]
fn what_waits_for_the_task_of_a_lost_worker_does_not_begin_the_pool_again() {
    on_every_dispatch!(behind_a_lost_worker);
}

/// Threads cancel tasks of keys, and of views, that others wait for.
fn cancels<D: Dispatch>() {
    let mut random = Random(7);
    for _ in 0..ROUNDS {
        let (pool, runs) = (pool::<D>(2, 2), Runs::new());
        let view = pool.limited(1).queue(9);
        let handles: Vec<_> = (0..12)
            .map(|n| match n % 3 {
                0 => view.with().spawn(runs.task()).unwrap(),
                _ => pool.with().in_order(n % 2).spawn(runs.task()).unwrap(),
            })
            .collect();
        against_the_end(&pool, random.micros(20), || {
            handles.iter().step_by(2).for_each(|handle| _ = handle.cancel());
        });
        runs.check(handles);
        assert_ended(&pool);
    }
}

#[test]
fn cancels_against_the_end() {
    on_every_dispatch!(cancels);
}

/// Another pool ends what tasks of this one depend on.
fn dependents<D: Dispatch>() {
    let other = pool::<D>(1, 9);
    let mut random = Random(8);
    for _ in 0..ROUNDS {
        let (pool, gate, runs) = (pool::<D>(1, 0), Gate::new(), Runs::new());
        let first = other.spawn(gate.closure()).unwrap();
        let after = (0..3).map(|_| pool.spawn_after([first.dependency()], runs.task()));
        let after: Vec<_> = after.collect();
        let chained = pool.spawn(|| ()).unwrap().then(&*pool, {
            let task = runs.task();
            move |_| task()
        });
        against_the_end(&pool, random.micros(40), || gate.open());
        runs.check(after.into_iter().chain([chained]));
        assert_ended(&pool);
    }
}

#[test]
fn dependent_tasks_against_the_end() {
    on_every_dispatch!(dependents);
}

/// Attempts that fail at once are made again, with or without a delay.
fn attempts<D: Dispatch>() {
    let mut random = Random(9);
    for round in 0..ROUNDS {
        let pool = pool::<D>(1, 0);
        let letters = DeadLetters::queue(9);
        let delay = Duration::from_micros(if round % 2 == 0 { 0 } else { 20 });
        let retrying = pool.retrying(Retry::fixed(delay).attempts(u32::MAX)).dead_letters(&letters);
        let handles: Vec<_> = (0..2).map(|_| retrying.spawn(|| Err::<(), _>("no")).unwrap()).collect();
        against_the_end(&pool, random.micros(100), || ());
        for handle in handles {
            let gave_up = handle.join().unwrap().unwrap_err();
            assert_eq!(gave_up.reason(), GaveUp::Closed);
        }
        assert_eq!(letters.len(), 2);
        assert_ended(&pool);
    }
}

#[test]
fn attempts_against_the_end() {
    on_every_dispatch!(attempts);
}

/// Tasks and series whose time comes.
fn scheduled<D: Dispatch>() {
    let mut random = Random(10);
    for round in 0..ROUNDS {
        let on_close = [OnClose::Return, OnClose::RunNow, OnClose::Drop][round as usize % 3];
        let builder = Pool::builder().workers(1).queue(0).on_close(on_close);
        let (pool, runs) = (builder.dispatch::<D>().build().unwrap(), Runs::new());
        let view = pool.limited(1);
        let handles: Vec<_> = (0..6)
            .map(|n| match n % 3 {
                0 => view.with().after(random.micros(200)).spawn(runs.task()).unwrap(),
                1 => pool.with().in_order(1).after(random.micros(200)).spawn(runs.task()).unwrap(),
                _ => pool.with().after(random.micros(200)).spawn(runs.task()).unwrap(),
            })
            .collect();
        let series = pool.submit_every(Duration::from_micros(50), || ()).unwrap();
        against_the_end(&pool, random.micros(300), || ());
        runs.check(handles);
        eventually("the series is over", || series.is_over());
        assert_ended(&pool);
    }
}

#[test]
fn scheduled_tasks_against_the_end() {
    on_every_dispatch!(scheduled);
}

/// Batches that are sent, by a thread or by their time, and items of a pipeline that come to the second stage.
fn batches_and_stages<D: Dispatch>() {
    let mut random = Random(11);
    for _ in 0..ROUNDS {
        let pool = pool::<D>(1, 1);
        let ran = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&ran);
        let batches = pool.batched(3, random.micros(100), move |items: Vec<u32>| {
            counts.fetch_add(items.len(), SeqCst);
            items
        });
        let items: Vec<_> = (0..4).filter_map(|n| batches.spawn(n).ok()).collect();
        let mut results = Pipeline::from(0..9).stage(&*pool, |n: u32| n).stage(&*pool, |n| n).into_iter();
        against_the_end(&pool, random.micros(200), || batches.flush());
        let came_out = results.by_ref().take_while(Result::is_ok).count();
        assert!(came_out <= 9 && results.next().is_none());
        drop((results, batches));
        let has_run = |item: Handle<u32>| match item.join() {
            Ok(_) => 1,
            Err(error) => {
                assert!(error.is_cancelled() || error.refusal() == Some(SubmitErrorKind::Closed), "{error}");
                0
            }
        };
        assert_eq!(items.into_iter().map(has_run).sum::<usize>(), ran.load(SeqCst));
        assert_ended(&pool);
    }
}

#[test]
fn batches_and_stages_against_the_end() {
    on_every_dispatch!(batches_and_stages);
}

/// Another pool's task gives back what submitters of this one wait for.
fn budgets<D: Dispatch>() {
    let other = pool::<D>(1, 9);
    let mut random = Random(12);
    for _ in 0..ROUNDS {
        let (budget, gate, runs) = (Semaphore::new(2), Gate::new(), Runs::new());
        let pool = Pool::builder().workers(1).queue(0).budget(&budget).dispatch::<D>().build().unwrap();
        let permit = Mutex::new(Some(budget.acquire(2).unwrap()));
        let ends = other.spawn(gate.closure()).unwrap();
        let (accepted, shift_by) = (Mutex::new(Vec::new()), random.micros(100));
        together(4, |thread| match thread {
            0 => {
                shift(shift_by);
                drop(permit.lock().take());
                gate.open();
            }
            1 => accepted.lock().extend(pool.with().weight(1).spawn(runs.task()).ok()),
            2 => {
                let handle = block_on(pool.with().weight(2).spawn_async(runs.task()));
                accepted.lock().extend(handle.ok());
            }
            _ => {
                shift(shift_by);
                assert!(pool.shutdown().is_complete());
            }
        });
        ends.join().unwrap();
        runs.check(accepted.into_inner());
        assert_ended(&pool);
        assert_eq!(budget.available(), 2);
    }
}

#[test]
fn a_budget_that_pools_share_against_the_end() {
    on_every_dispatch!(budgets);
}
