//! Submitters, workers and owners of a pool, of any kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use formicary::{Context, Dispatch, OnDrop, Ring, Sharded, Stack, StatefulPool, SubmitErrorKind, Worker};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};

use crate::explore::{draw, explore, is_even, stumble};
use crate::support::{AnyPool, Setup, Variant, variants};
use crate::tasks::{Ledger, check_threads};

const AT_ONCE: Duration = Duration::ZERO;
/// The most workers, at any time.
const MOST: usize = 3;

/// Runs a scenario on every kind of pool and every dispatch.
fn on_each(name: &str, scenario: fn(Variant)) {
    for variant in variants() {
        explore(&format!("{name}/{}", variant.name), move || scenario(variant));
    }
}

/// A setup that says all that a schedule must not leave to the clock.
fn setup(workers: usize, queue: usize) -> Setup {
    Setup { expiry: Some(None), spin: Some(AT_ONCE), ..Setup::new(workers, queue) }
}

/// A pool as the schedule draws it: also without workers at first, with workers that expire at once, and with no room to wait.
fn any_setup() -> Setup {
    let workers = 1 + draw(2);
    let expiry = if is_even() && draw(2) == 0 { Some(AT_ONCE) } else { None };
    Setup { min_workers: Some(draw(workers + 1)), expiry: Some(expiry), ..setup(workers, draw(3)) }
}

fn spawn(body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(body)
}

fn join(threads: Vec<JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// One submission by any method that does not wait for this thread. A task may panic, take its time, or submit another.
fn submit_something(pool: &AnyPool, ledger: &Ledger) {
    let make = {
        let (pool, ledger) = (Arc::downgrade(pool), ledger.clone());
        move || match draw(4) {
            0 => ledger.panicking_task(),
            1 => ledger.task(stumble),
            2 => {
                let (pool, inner) = (pool.clone(), ledger.clone());
                ledger.task(move || {
                    let Some(pool) = pool.upgrade() else { return };
                    let (task, number) = inner.task(|| ());
                    note(&inner, number, pool.try_submit(task).map_err(|refusal| refusal.kind()));
                })
            }
            _ => ledger.task(|| ()),
        }
    };
    if draw(4) == 0 {
        let mut numbers = Vec::new();
        let mut tasks = std::iter::repeat_with(|| {
            let (task, number) = make();
            numbers.push(number);
            task
        })
        .take(2);
        let result = pool.submit_all(&mut tasks);
        let taken = *result.as_ref().unwrap_or_else(|(taken, _)| taken);
        numbers[..taken].iter().for_each(|number| ledger.accepted(*number));
        if let Err((_, refusal)) = result {
            note(ledger, numbers[taken], Err(refusal.kind()));
        }
        return;
    }
    let (task, number) = make();
    let result = match draw(3) {
        0 => pool.try_submit(task),
        1 => pool.submit_timeout(task, AT_ONCE),
        _ => pool.submit(task),
    };
    note(ledger, number, result.map_err(|refusal| refusal.kind()));
}

fn note(ledger: &Ledger, number: usize, result: Result<(), SubmitErrorKind>) {
    match result {
        Ok(()) => ledger.accepted(number),
        Err(SubmitErrorKind::Closed | SubmitErrorKind::Full | SubmitErrorKind::TimedOut) => ledger.refused(number),
        // Where this must not be, `check_threads` says that no thread was refused.
        Err(SubmitErrorKind::Spawn) => ledger.refused(number),
        Err(other) => panic!("refused as {other}"),
    }
}

/// Something that an owner does to a running pool.
fn do_something(pool: &AnyPool, ledger: &Ledger) {
    match draw(4) {
        0 => pool.tune(1 + draw(MOST)).unwrap(),
        1 => {
            let pause = pool.pause();
            if draw(2) == 0 {
                assert!(pause.wait_quiet());
                let started = ledger.started();
                stumble();
                // The end overrides a pause.
                assert!(ledger.started() == started || pool.is_closed(), "a task started during a pause");
            }
            stumble();
        }
        2 => _ = pool.wait_idle_timeout(AT_ONCE),
        _ => {
            let stats = pool.stats();
            assert!(stats.peak_running <= MOST && stats.running <= MOST, "{stats:?}");
        }
    }
}

/// One of the ways to end a pool; returns how many tasks were given back.
fn end(pool: &AnyPool, ledger: &Ledger) -> u64 {
    match draw(4) {
        0 => {
            assert!(pool.shutdown().is_complete());
            0
        }
        1 => ledger.take_back(pool.shutdown_now()),
        2 => {
            let _ = pool.shutdown_timeout(AT_ONCE);
            0
        }
        _ => ledger.take_back(pool.shutdown_graceful(AT_ONCE).0),
    }
}

/// Two submitters, an owner, and a thread that may close the pool, all at once. Each accepted task has run or came back, exactly
/// once, and the ledger agrees with the pool's figures.
fn everything_at_once(variant: Variant) {
    let (pool, ledger) = (variant.build(any_setup()), Ledger::default());
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        threads.push(spawn(move || (0..2).for_each(|_| submit_something(&pool, &ledger))));
    }
    let (owned, notes) = (Arc::clone(&pool), ledger.clone());
    threads.push(spawn(move || (0..2).for_each(|_| do_something(&owned, &notes))));
    let mut given_back = 0;
    let closes_early = draw(2) == 0;
    if closes_early {
        stumble();
        given_back += end(&pool, &ledger);
    }
    join(threads);
    if !closes_early {
        assert!(pool.wait_idle());
        let stats = pool.stats();
        ledger.check(&stats, given_back);
        given_back += end(&pool, &ledger);
    }
    assert!(pool.shutdown().is_complete());
    ledger.check(&pool.stats(), given_back);
    check_threads(&pool.stats());
    assert!(ledger.peak() <= MOST);
    if draw(4) == 0 {
        // And once more.
        pool.restart().unwrap();
        let (task, number) = ledger.task(|| ());
        note(&ledger, number, pool.submit(task).map_err(|refusal| refusal.kind()));
        assert!(pool.shutdown().is_complete());
        ledger.check(&pool.stats(), given_back);
        check_threads(&pool.stats());
    }
}

#[test]
fn p03_everything_at_once() {
    on_each("everything_at_once", everything_at_once);
}

/// Workers expire at once, and threads are refused, also when a submitter found a worker alive that has exited when its task is in.
/// Every accepted task runs without a further submission, or is cancelled where states cannot be made.
fn what_was_accepted_runs_without_threads(variant: Variant) {
    let fails = draw(2) == 0;
    let factory = move |_| if fails && draw(2) == 0 { Err("a test's failure".into()) } else { Ok(()) };
    let spawn_handler = |thread: formicary::WorkerThread| {
        if draw(2) == 0 {
            return Err(std::io::Error::other("a test's refusal"));
        }
        thread::Builder::new().spawn(|| thread.run()).map(drop)
    };
    let expiry = Some(is_even().then_some(AT_ONCE));
    let (spawn_handler, factory) = (Some(Arc::new(spawn_handler) as _), Some(Arc::new(factory) as _));
    let setup = Setup { min_workers: Some(0), expiry, spawn_handler, factory, ..any_setup() };
    let (pool, ledger) = (variant.build(setup), Ledger::default());
    let submitters = (0..2).map(|_| {
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        spawn(move || (0..2).for_each(|_| submit_something(&pool, &ledger)))
    });
    let mut threads: Vec<_> = submitters.collect();
    let (owned, notes) = (Arc::clone(&pool), ledger.clone());
    threads.push(spawn(move || do_something(&owned, &notes)));
    join(threads);
    assert!(pool.wait_idle());
    if fails {
        ledger.note_cancelled();
    }
    ledger.check(&pool.stats(), 0);
    assert!(pool.shutdown().is_complete());
    ledger.check(&pool.stats(), 0);
}

#[test]
fn b05_p03_what_was_accepted_runs_without_threads() {
    on_each("what_was_accepted_runs_without_threads", what_was_accepted_runs_without_threads);
}

/// One worker is alive and no other can start: no submitter is refused for that, not even while another one tries to start a
/// thread.
fn a_live_worker_is_enough(variant: Variant) {
    let first = AtomicBool::new(true);
    let spawn_handler = move |thread: formicary::WorkerThread| {
        if first.swap(false, SeqCst) {
            return thread::Builder::new().spawn(|| thread.run()).map(drop);
        }
        stumble();
        Err(std::io::Error::other("a test's refusal"))
    };
    let pool = variant.build(Setup { spawn_handler: Some(Arc::new(spawn_handler)), ..setup(MOST, 4) });
    let ledger = Ledger::default();
    let submitters = (0..2).map(|_| {
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        spawn(move || {
            for _ in 0..2 {
                let (task, number) = ledger.task(stumble);
                assert_eq!(pool.submit(task).map_err(|refusal| refusal.kind()), Ok(()));
                ledger.accepted(number);
            }
        })
    });
    join(submitters.collect());
    assert!(pool.wait_idle());
    ledger.check(&pool.stats(), 0);
    assert!(pool.shutdown().is_complete());
}

#[test]
fn b20_p03_a_live_worker_is_enough() {
    on_each("a_live_worker_is_enough", a_live_worker_is_enough);
}

/// A spawn handler that starts a pool's first worker waits for another thread that submits. Threads are refused: accepted tasks
/// run.
fn a_spawn_handler_waits_for_a_submitter(variant: Variant) {
    let (asked, submitted) = (Gate::default(), Gate::default());
    let (comes, goes, first) = (asked.clone(), submitted.clone(), AtomicBool::new(true));
    let spawn_handler = move |thread: formicary::WorkerThread| {
        if first.swap(false, SeqCst) {
            comes.open();
            goes.wait();
        }
        if draw(2) == 0 {
            return Err(std::io::Error::other("a test's refusal"));
        }
        thread::Builder::new().spawn(|| thread.run()).map(drop)
    };
    let expiry = Some(is_even().then_some(AT_ONCE));
    let setup = Setup { min_workers: Some(0), expiry, spawn_handler: Some(Arc::new(spawn_handler)), ..any_setup() };
    let (pool, ledger) = (variant.build(setup), Ledger::default());
    let submit = |pool: &AnyPool, ledger: &Ledger| {
        let (task, number) = ledger.task(stumble);
        note(ledger, number, pool.try_submit(task).map_err(|refusal| refusal.kind()));
    };
    let other = {
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        spawn(move || {
            asked.wait();
            submit(&pool, &ledger);
            submitted.open();
        })
    };
    submit(&pool, &ledger);
    join(vec![other]);
    assert!(pool.wait_idle());
    ledger.check(&pool.stats(), 0);
    assert!(pool.shutdown().is_complete());
    ledger.check(&pool.stats(), 0);
}

#[test]
fn d11_p03_a_spawn_handler_waits_for_a_submitter() {
    on_each("a_spawn_handler_waits_for_a_submitter", a_spawn_handler_waits_for_a_submitter);
}

/// A late submitter that found the pool open starts no thread after the pool has ended.
fn no_thread_is_started_after_the_end(variant: Variant) {
    let (has_ended, is_late) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (ended, late) = (Arc::clone(&has_ended), Arc::clone(&is_late));
    let spawn_handler = move |thread: formicary::WorkerThread| {
        late.fetch_or(ended.load(SeqCst), SeqCst);
        thread::Builder::new().spawn(|| thread.run()).map(drop)
    };
    let setup = Setup { min_workers: Some(0), spawn_handler: Some(Arc::new(spawn_handler)), ..any_setup() };
    let (pool, ledger) = (variant.build(setup), Ledger::default());
    let submitter = {
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        spawn(move || {
            let (task, number) = ledger.task(stumble);
            note(&ledger, number, pool.submit(task).map_err(|refusal| refusal.kind()));
        })
    };
    assert!(pool.shutdown().is_complete());
    has_ended.store(true, SeqCst);
    submitter.join().unwrap();
    assert!(!is_late.load(SeqCst), "no thread was wanted any more");
    ledger.check(&pool.stats(), 0);
}

#[test]
fn b04_p03_no_thread_is_started_after_the_end() {
    on_each("no_thread_is_started_after_the_end", no_thread_is_started_after_the_end);
}

/// The last owner drops the pool while other threads may still use it: accepted tasks run.
fn dropping_runs_what_was_accepted(variant: Variant) {
    let (pool, ledger) = (variant.build(any_setup()), Ledger::default());
    let submit = |pool: &AnyPool, ledger: &Ledger| {
        let (task, number) = if draw(4) == 0 { ledger.panicking_task() } else { ledger.task(stumble) };
        note(ledger, number, pool.submit(task).map_err(|refusal| refusal.kind()));
    };
    let submitter = {
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        spawn(move || (0..2).for_each(|_| submit(&pool, &ledger)))
    };
    submit(&pool, &ledger);
    drop(pool);
    submitter.join().unwrap();
    assert_eq!(ledger.count(|record| record.accepted && record.ran == 1 && record.dropped == 1), 3);
}

#[test]
fn p03_dropping_runs_what_was_accepted() {
    on_each("dropping_runs_what_was_accepted", dropping_runs_what_was_accepted);
}

/// A gate that tasks wait at until another task opens it.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// No task waits while a worker could run it: one task ends only when another has run. Pauses end, and the pool has two or three
/// workers in the end.
fn no_task_waits_for_a_long_one(variant: Variant) {
    let workers = 1 + draw(2);
    let setup = Setup { min_workers: Some(draw(workers + 1)), ..setup(workers, draw(2)) };
    let (pool, ledger) = (variant.build(setup), Ledger::default());
    let gate = Gate::default();
    let mut threads = Vec::new();
    for opens in [false, true] {
        let (pool, ledger, gate) = (Arc::clone(&pool), ledger.clone(), gate.clone());
        threads.push(spawn(move || {
            let (task, number) = ledger.task(move || if opens { gate.open() } else { gate.wait() });
            note(&ledger, number, pool.submit(task).map_err(|refusal| refusal.kind()));
        }));
    }
    let owned = Arc::clone(&pool);
    threads.push(spawn(move || {
        for _ in 0..2 {
            match draw(2) {
                0 => owned.tune(1 + draw(MOST)).unwrap(),
                _ => drop(owned.pause()),
            }
        }
        owned.tune(2 + draw(2)).unwrap();
    }));
    join(threads);
    assert!(pool.wait_idle());
    ledger.check(&pool.stats(), 0);
    assert!(pool.shutdown().is_complete());
    check_threads(&pool.stats());
}

#[test]
fn p03_no_task_waits_for_a_long_one() {
    on_each("no_task_waits_for_a_long_one", no_task_waits_for_a_long_one);
}

/// The bound is exact: on a paused pool, after a `tune`, two submitters that submit until it is full submit exactly as many tasks as
/// there is room for, and then no more tasks run at a time than there may be workers.
fn the_bound_is_exact(variant: Variant) {
    let queue = draw(3);
    let (pool, ledger) = (variant.build(setup(MOST, queue)), Ledger::default());
    let before = spawn({
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        move || submit_something(&pool, &ledger)
    });
    before.join().unwrap();
    assert!(pool.wait_idle());
    let capacity = 1 + draw(MOST);
    pool.tune(capacity).unwrap();
    let pause = pool.pause();
    let had = ledger.count(|record| record.accepted);
    let fillers = (0..2).map(|_| {
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        spawn(move || {
            loop {
                let (task, number) = ledger.task(stumble);
                let result = pool.try_submit(task).map_err(|refusal| refusal.kind());
                note(&ledger, number, result);
                if result.is_err() {
                    break;
                }
            }
        })
    });
    join(fillers.collect());
    assert_eq!(ledger.count(|record| record.accepted) - had, capacity + queue);
    let mut waiter = None;
    if draw(2) == 0 {
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        waiter = Some(spawn(move || {
            let (task, number) = ledger.task(|| ());
            note(&ledger, number, pool.submit(task).map_err(|refusal| refusal.kind()));
        }));
    }
    drop(pause);
    join(waiter.into_iter().collect());
    assert!(pool.wait_idle());
    assert!(pool.shutdown().is_complete());
    ledger.check(&pool.stats(), 0);
    check_threads(&pool.stats());
}

#[test]
fn p03_the_bound_is_exact() {
    on_each("the_bound_is_exact", the_bound_is_exact);
}

/// Once `tune` has returned, fewer tasks start: when the running ones have ended, no more than the new capacity run at a time.
fn fewer_run_after_a_tune(variant: Variant) {
    let (pool, ledger) = (variant.build(setup(3, 3)), Ledger::default());
    let submitter = {
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        spawn(move || {
            for _ in 0..4 {
                let (task, number) = ledger.task(stumble);
                note(&ledger, number, pool.submit(task).map_err(|refusal| refusal.kind()));
            }
        })
    };
    stumble();
    let capacity = 1 + draw(2);
    pool.tune(capacity).unwrap();
    // Tasks that run now may run on; they have ended when the pause is quiet.
    let pause = pool.pause();
    assert!(pause.wait_quiet());
    ledger.forget_peak();
    drop(pause);
    submitter.join().unwrap();
    assert!(pool.wait_idle());
    assert!(ledger.peak() <= capacity, "{} ran at a time", ledger.peak());
    assert!(pool.shutdown().is_complete());
    ledger.check(&pool.stats(), 0);
    check_threads(&pool.stats());
}

#[test]
fn p03_fewer_run_after_a_tune() {
    on_each("fewer_run_after_a_tune", fewer_run_after_a_tune);
}

/// A task that submits two others, `levels` deep. Each of these is beyond the bound, so only the close refuses them.
fn tree(pool: &std::sync::Weak<dyn formicary::WorkerPool<formicary::Task>>, ledger: &Ledger, levels: usize) {
    stumble();
    let children = if levels > 1 { 2 } else { 0 };
    for _ in 0..children {
        let Some(pool) = pool.upgrade() else { return };
        let (weak, inner) = (Arc::downgrade(&pool), ledger.clone());
        let (task, number) = ledger.task(move || tree(&weak, &inner, levels - 1));
        let result = pool.submit(task).map_err(|refusal| refusal.kind());
        assert!(matches!(result, Ok(()) | Err(SubmitErrorKind::Closed)), "{result:?}");
        note(ledger, number, result);
    }
}

/// Trees of tasks against pauses, changes of the capacity and every end: nothing starts in a pause, no more tasks run than may, and
/// the ledger agrees with the pool's figures.
fn nested_tasks_obey_the_owner(variant: Variant) {
    let (pool, ledger) = (variant.build(any_setup()), Ledger::default());
    let submitter = {
        let (pool, ledger) = (Arc::clone(&pool), ledger.clone());
        spawn(move || {
            for _ in 0..2 {
                let (weak, inner) = (Arc::downgrade(&pool), ledger.clone());
                let (task, number) = ledger.task(move || tree(&weak, &inner, 3));
                note(&ledger, number, pool.submit(task).map_err(|refusal| refusal.kind()));
            }
        })
    };
    stumble();
    do_something(&pool, &ledger);
    let mut given_back = 0;
    if draw(2) == 0 {
        given_back += end(&pool, &ledger);
    } else {
        let capacity = 1 + draw(2);
        pool.tune(capacity).unwrap();
        let pause = pool.pause();
        assert!(pause.wait_quiet());
        let started = ledger.started();
        stumble();
        assert_eq!(ledger.started(), started, "a task started during a pause");
        ledger.forget_peak();
        drop(pause);
        submitter.join().unwrap();
        assert!(pool.wait_idle());
        assert!(ledger.peak() <= capacity, "{} ran at a time", ledger.peak());
        assert_eq!(pool.stats().overcommitted, 0);
        ledger.check(&pool.stats(), 0);
        assert_eq!(ledger.count(|record| record.ran == 1), 14);
        return assert!(pool.shutdown().is_complete());
    }
    submitter.join().unwrap();
    assert!(pool.shutdown().is_complete());
    ledger.check(&pool.stats(), given_back);
    check_threads(&pool.stats());
}

#[test]
fn d09_p03_nested_tasks_obey_the_owner() {
    on_each("nested_tasks_obey_the_owner", nested_tasks_obey_the_owner);
}

/// Works until it is told to stop, and tells when it has begun.
struct UntilTold(Gate);

impl Worker for UntilTold {
    type Input = ();
    type Output = ();

    fn process(&mut self, (): (), cx: &Context<'_>) {
        self.0.open();
        while !cx.is_cancelled() {
            thread::yield_now();
        }
    }
}

/// A pool that is told to stop starts nothing: one task runs, and a second one waits when the pool is dropped.
fn stopping_starts_nothing<D: Dispatch>() {
    let begun = Gate::default();
    let worker = begun.clone();
    let pool = StatefulPool::builder(move |_| Ok(UntilTold(worker.clone()))).workers(1).spin(AT_ONCE);
    let pool = pool.on_drop(OnDrop::Cancel).dispatch::<D>().build().unwrap();
    let running = pool.spawn(()).unwrap();
    begun.wait();
    let queued = pool.spawn(()).unwrap();
    if is_even() {
        drop(pool);
    } else {
        // The time is over at once.
        drop(pool.shutdown_graceful(AT_ONCE));
    }
    assert!(running.join().is_ok());
    assert!(queued.join().is_err());
}

#[test]
fn p03_stopping_starts_nothing() {
    explore("stopping_starts_nothing/Stack", stopping_starts_nothing::<Stack>);
    explore("stopping_starts_nothing/Ring", stopping_starts_nothing::<Ring>);
    explore("stopping_starts_nothing/Sharded", stopping_starts_nothing::<Sharded>);
}
