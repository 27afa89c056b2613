//! Broadcasts to workers without a state of their own, and broadcasts with a limit to those of any kind.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::support::notes::all;
use crate::support::races::{quiet_panic, together};
use crate::support::{Gate, LIMIT, Setup, eventually, on_every_dispatch, start_thread};
use formicary::{
    Answers, Context, Dispatch, Pool, PoolControl, PoolWithFunc, StatefulPool, SubmitErrorKind, Task, Worker,
    WorkerThread,
};

const SOON: Duration = Duration::from_millis(2);

type Told = Arc<dyn Fn() -> usize + Send + Sync>;

/// A pool of any kind, as far as these tests need it.
trait Tells: Send + Sync {
    fn control(&self) -> &PoolControl<Task>;
    fn submit(&self, task: Task);
    fn tell(&self, f: Told, limit: Option<Duration>) -> Result<Answers<usize>, SubmitErrorKind>;
}

struct RunTask;

impl Worker for RunTask {
    type Input = Task;
    type Output = ();

    fn process(&mut self, task: Task, _: &Context<'_>) {
        task.run();
    }
}

macro_rules! tells {
    ($pool:ty, |$f:ident $(, $state:ident)?|) => {
        impl<D: Dispatch> Tells for $pool {
            fn control(&self) -> &PoolControl<Task> {
                self
            }
            fn submit(&self, task: Task) {
                self.with().submit(task).unwrap();
            }
            fn tell(&self, $f: Told, limit: Option<Duration>) -> Result<Answers<usize>, SubmitErrorKind> {
                let given = Arc::clone(&$f);
                let call = move |$($state: &mut RunTask)?| {
                    $(let _ = &$state;)?
                    given()
                };
                let told = match limit {
                    None => self.broadcast(call),
                    Some(limit) => self.broadcast_timeout(call, limit),
                };
                // It is dropped before this returns, or given back.
                assert!(limit.is_some() || Arc::strong_count(&$f) == 1 + usize::from(told.is_err()));
                told.map_err(|refusal| refusal.kind())
            }
        }
    };
}

tells!(Pool<D>, |f|);
tells!(PoolWithFunc<Task, D>, |f|);
tells!(StatefulPool<RunTask, D>, |f, state|);

/// The three kinds on one dispatch.
fn kinds<D: Dispatch>(setup: &Setup) -> [Arc<dyn Tells>; 3] {
    let setup = || setup.clone();
    [
        Arc::new(setup().on(Pool::builder()).dispatch::<D>().build().unwrap()),
        Arc::new(setup().on(PoolWithFunc::builder(Task::run)).dispatch::<D>().build().unwrap()),
        Arc::new(setup().on(StatefulPool::builder(|_| Ok(RunTask))).dispatch::<D>().build().unwrap()),
    ]
}

fn full(workers: usize) -> Setup {
    Setup { min_workers: Some(workers), ..Setup::new(workers, 100) }
}

fn told(f: impl Fn() -> usize + Send + Sync + 'static) -> Told {
    Arc::new(f)
}

/// Each worker of the minimum runs it once, on its own thread, also in a pool that was built a moment ago.
fn everyone<D: Dispatch>() {
    for round in 0..50 {
        for pool in kinds::<D>(&full(4)) {
            let threads = Arc::new(parking_lot::Mutex::new(Vec::<ThreadId>::new()));
            let seen = Arc::clone(&threads);
            let answers = pool.tell(
                told(move || {
                    seen.lock().push(thread::current().id());
                    7
                }),
                (round % 2 == 0).then_some(LIMIT),
            );
            assert_eq!(all(answers.unwrap()), (0..4).map(|worker| (worker, 7)).collect::<Vec<_>>());
            let threads = threads.lock();
            assert!(threads.len() == 4 && threads.iter().collect::<HashSet<_>>().len() == 4);
            assert!(!threads.contains(&thread::current().id()));
            let stats = pool.control().stats();
            assert_eq!((stats.submitted, stats.completed, stats.running, stats.peak_running), (0, 0, 0, 0));
        }
    }
}

#[test]
fn every_worker_does_it_once_on_its_own_thread() {
    on_every_dispatch!(everyone);
}

fn busy<D: Dispatch>() {
    for pool in kinds::<D>(&full(2)) {
        let (gate, at, runs) = (Gate::new(), Gate::new(), Arc::new(AtomicUsize::new(0)));
        at.open();
        pool.submit(gate.task());
        gate.await_arrivals(1);
        thread::scope(|scope| {
            let (arrive, counts) = (at.clone(), Arc::clone(&runs));
            let answers = scope.spawn(|| {
                pool.tell(
                    told(move || {
                        arrive.wait();
                        counts.fetch_add(1, SeqCst)
                    }),
                    None,
                )
            });
            // The idle worker has run it. The busy one runs it after its task, and before what is queued behind that.
            at.await_arrivals(1);
            assert!(!answers.is_finished());
            let pause = pool.control().pause();
            let counts = Arc::clone(&runs);
            pool.submit(Task::new(move || assert_eq!(counts.load(SeqCst), 2)));
            gate.open();
            assert_eq!(all(answers.join().unwrap().unwrap()).len(), 2);
            drop(pause);
        });
        assert!(pool.control().wait_idle());
        assert_eq!(pool.control().stats().panicked, 0);
    }
}

#[test]
fn a_busy_worker_does_it_after_its_task() {
    on_every_dispatch!(busy);
}

/// Workers that are late, or do not exist, do not block the broadcaster.
fn not_there<D: Dispatch>() {
    let call = || told(|| 1);
    for pool in kinds::<D>(&full(2)) {
        let pause = pool.control().pause();
        pool.submit(Task::new(|| ()));
        assert_eq!(all(pool.tell(call(), None).unwrap()).len(), 2);
        assert_eq!(pool.control().queued(), 1);
        drop(pause);
    }
    // Not started yet, and expired.
    for pool in kinds::<D>(&Setup::fleeting(2, 10, Duration::from_millis(1))) {
        assert!(pool.tell(call(), None).unwrap().is_empty());
        pool.submit(Task::new(|| ()));
        eventually("it expires", || pool.control().stats().live == 0);
        assert!(pool.tell(call(), None).unwrap().is_empty());
    }
    // One worker has its thread, the others are refused; and a spawn handler keeps one for later.
    let kept = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let keeps = Arc::clone(&kept);
    let handler = move |thread: WorkerThread| {
        if thread.name().ends_with("-1") {
            keeps.lock().push(thread);
            return Ok(());
        }
        start_thread(thread.name().ends_with("-0"), thread)
    };
    let setup = Setup { spawn_handler: Some(Arc::new(handler)), min_workers: Some(1), ..Setup::new(3, 10) };
    for pool in kinds::<D>(&setup) {
        let gate = Gate::new();
        (0..3).for_each(|_| pool.submit(gate.task()));
        gate.await_arrivals(1);
        gate.open();
        assert_eq!(all(pool.tell(call(), None).unwrap()).len(), 1);
        drop(std::mem::take(&mut *kept.lock()));
        assert!(pool.control().wait_idle());
    }
}

#[test]
fn workers_that_are_not_there_keep_no_caller_waiting() {
    on_every_dispatch!(not_there);
}

fn refused<D: Dispatch>() {
    for pool in kinds::<D>(&full(2)) {
        let weak = Arc::downgrade(&pool);
        let inside = move || {
            let pool = weak.upgrade().unwrap();
            for limit in [None, Some(SOON)] {
                assert_eq!(pool.tell(told(|| 1), limit).unwrap_err(), SubmitErrorKind::WouldDeadlock);
            }
            1
        };
        pool.submit(Task::new({
            let inside = inside.clone();
            move || assert_eq!(inside(), 1)
        }));
        assert!(pool.control().wait_idle());
        // The closure of a broadcast runs inside the pool, too.
        assert_eq!(all(pool.tell(told(inside), None).unwrap()), [(0, 1), (1, 1)]);
        assert_eq!(pool.control().stats().panicked, 0);
        pool.control().shutdown();
        for limit in [None, Some(SOON)] {
            assert_eq!(pool.tell(told(|| 1), limit).unwrap_err(), SubmitErrorKind::Closed);
        }
        pool.control().restart().unwrap();
        assert_eq!(all(pool.tell(told(|| 1), None).unwrap()).len(), 2);
    }
}

#[test]
fn from_inside_and_after_the_end_it_is_refused() {
    on_every_dispatch!(refused);
}

fn panicking<D: Dispatch>() {
    for pool in kinds::<D>(&full(2)).into_iter().take(2) {
        for round in 1..=3 {
            let answers = pool.tell(
                told(|| {
                    quiet_panic();
                    1
                }),
                None,
            );
            let answers = answers.unwrap();
            assert!(
                answers.len() == 2 && answers.iter().all(|(_, answer)| answer.as_ref().is_err_and(|e| e.is_panic()))
            );
            let stats = pool.control().stats();
            assert_eq!((stats.handler_panics, stats.panicked, stats.live), (2 * round, 0, 2));
        }
        assert_eq!(all(pool.tell(told(|| 1), None).unwrap()).len(), 2);
    }
}

#[test]
fn a_panic_is_an_answer_and_the_worker_goes_on() {
    on_every_dispatch!(panicking);
}

/// When the time is up, one worker runs a task, one runs the closure, one has answered. The first never runs the closure, the
/// second runs it to its end.
fn late<D: Dispatch>() {
    for kind in 0..3 {
        let limits = (0..8).map(|n| Duration::from_millis(20 << n));
        // On a busy machine the limit may be too short for the third.
        assert!(limits.into_iter().any(|limit| late_in(&*kinds::<D>(&full(3))[kind], limit)));
    }
}

/// Returns whether one has answered within the limit.
fn late_in(pool: &dyn Tells, limit: Duration) -> bool {
    let (task, at, first) = (Gate::new(), Gate::new(), Arc::new(AtomicBool::new(true)));
    pool.submit(task.task());
    task.await_arrivals(1);
    let (arrive, is_first) = (at.clone(), Arc::clone(&first));
    let call = told(move || {
        if is_first.swap(false, SeqCst) {
            arrive.wait();
        }
        7
    });
    let answers = pool.tell(Arc::clone(&call), Some(limit)).unwrap();
    let arrived = at.arrived();
    let has_answered = arrived == 1 && answers.iter().any(|(_, answer)| answer.is_ok());
    if has_answered {
        assert_eq!(answers.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [0, 1, 2]);
        let (done, missing): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.is_ok());
        assert!(matches!(done[..], [(_, Ok(7))]), "{done:?}");
        let missing: Vec<_> = missing.into_iter().map(|(_, answer)| answer.unwrap_err()).collect();
        assert!(missing.iter().all(|error| error.is_timed_out()), "{missing:?}");
        assert_eq!(missing.iter().filter(|error| error.is_cancelled()).count(), 1, "{missing:?}");
        // The worker that runs the closure still holds it; the one that runs its task does not.
        assert!(Arc::strong_count(&call) > 1);
        first.store(true, SeqCst);
    }
    task.open();
    assert!(pool.control().wait_idle());
    at.open();
    // Behind it on every worker.
    assert_eq!(all(pool.tell(told(|| 8), None).unwrap()).len(), 3);
    eventually("the closure is dropped", || Arc::strong_count(&call) == 1);
    assert!(!has_answered || first.load(SeqCst), "the late worker did it all the same");
    has_answered
}

#[test]
fn a_limit_leaves_out_workers_that_have_not_begun() {
    on_every_dispatch!(late);
}

/// Broadcasts, with and without a limit, while workers come and go and the pool ends: each returns.
fn against_changes<D: Dispatch>() {
    for pool in kinds::<D>(&Setup::fleeting(4, 100, Duration::from_millis(1))) {
        together(3, |role| match role {
            0 => {
                for n in 0..150 {
                    pool.submit(Task::new(|| ()));
                    pool.control().tune(n % 4 + 1).unwrap();
                }
                pool.control().shutdown();
            }
            _ => {
                let limit = (role == 1).then_some(Duration::from_micros(20));
                while let Ok(answers) = pool.tell(told(|| 1), limit) {
                    assert!(answers.len() <= 4);
                    let is_well = |answer: &Result<usize, formicary::JoinError>| match answer {
                        Ok(_) => true,
                        Err(error) => limit.is_some() && error.is_timed_out(),
                    };
                    assert!(answers.iter().all(|(_, answer)| is_well(answer)), "{answers:?}");
                }
            }
        });
    }
}

#[test]
fn no_change_of_the_pool_leaves_a_submitter_waiting() {
    on_every_dispatch!(against_changes);
}
