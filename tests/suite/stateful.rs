//! Workers with state: where it is made and ends, what a panic does to it, a factory that fails.

use std::cell::Cell;
use std::collections::HashSet;
use std::error::Error;
use std::panic::panic_any;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::support::{Count, Gate, LIMIT, eventually, quiet_panics, within};
use formicary::{BuildError, Context, PanicPolicy, StatefulPool, Worker, WorkerPool};
use parking_lot::Mutex;

type Process = dyn Fn(&Context<'_>) -> u32 + Send;

/// A worker that does what its input says, and counts its tasks in a cell that only its own thread may read.
struct Obeys {
    tasks: Rc<Cell<u32>>,
    home: ThreadId,
    log: Log,
}

/// What became of the states: numbers of workers, and on which thread.
type Log = Arc<Mutex<Vec<(&'static str, bool)>>>;

impl Obeys {
    fn new(log: &Log) -> Self {
        let state = Obeys { tasks: Rc::default(), home: thread::current().id(), log: log.clone() };
        state.note("made");
        state
    }

    /// Notes an event, and whether it is on the thread that made the state.
    fn note(&self, what: &'static str) {
        let at_home = thread::current().id() == self.home;
        self.log.lock().push((what, at_home));
    }
}

impl Worker for Obeys {
    type Input = Box<Process>;
    type Output = (u32, u32);

    fn process(&mut self, input: Box<Process>, cx: &Context<'_>) -> (u32, u32) {
        self.tasks.set(self.tasks.get() + 1);
        (self.tasks.get(), input(cx))
    }

    fn terminate(self) {
        self.note("terminated");
    }
}

impl Drop for Obeys {
    fn drop(&mut self) {
        self.note("dropped");
    }
}

fn count(log: &Log, what: &str) -> usize {
    let log = log.lock();
    assert!(log.iter().all(|(_, at_home)| *at_home), "{log:?}");
    log.iter().filter(|(event, _)| *event == what).count()
}

fn limited<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    within(LIMIT, "this test", body)
}

/// A14
#[test]
fn a14_process_works_through_resizes() {
    limited(|| {
        let pool = Arc::new(StatefulPool::new(10, |_| Ok(Obeys::new(&Log::default()))).unwrap());
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || (0..200).map(|n| pool.run(Box::new(move |_| n)).unwrap().1).sum::<u32>())
            })
            .collect();
        for workers in (1..=10).rev().chain(1..=10) {
            pool.tune(workers).unwrap();
            assert_eq!(pool.run(Box::new(|_| 7)).unwrap().1, 7);
        }
        assert!(callers.into_iter().all(|caller| caller.join().unwrap() == 19_900));
    });
}

#[test]
fn a_state_is_made_used_and_ended_on_its_own_thread() {
    limited(|| {
        let (log, gate) = (Log::default(), Gate::new());
        let made = log.clone();
        let pool = StatefulPool::builder(move |_| Ok(Obeys::new(&made))).workers(3).expiry(None).build().unwrap();
        let handles: Vec<_> = (0..3)
            .map(|_| {
                let held = gate.clone();
                pool.spawn(Box::new(move |cx: &Context<'_>| {
                    held.wait();
                    cx.worker() as u32
                }))
                .unwrap()
            })
            .collect();
        gate.await_arrivals(3);
        gate.open();
        let workers: HashSet<_> = handles.into_iter().map(|handle| handle.join().unwrap().1).collect();
        assert_eq!(workers, HashSet::from([0, 1, 2]));
        assert_eq!((count(&log, "made"), count(&log, "terminated")), (3, 0));
        pool.tune(2).unwrap();
        eventually("one state has ended", || count(&log, "dropped") == 1);
        drop(pool);
        assert_eq!((count(&log, "made"), count(&log, "terminated"), count(&log, "dropped")), (3, 3, 3));
    });
}

#[test]
fn a_state_ends_when_its_worker_expires() {
    limited(|| {
        let log = Log::default();
        let made = log.clone();
        let builder = StatefulPool::builder(move |_| Ok(Obeys::new(&made))).workers(2).min_workers(0);
        let pool = builder.expiry(Duration::from_millis(1)).build().unwrap();
        for round in 1..=3 {
            // Each time a new state: the first task it sees.
            assert_eq!(pool.run(Box::new(|_| 7)).unwrap(), (1, 7));
            eventually("it has ended", || pool.stats().live == 0);
            // A worker may have expired before the task came.
            let made = count(&log, "made");
            assert!(made >= round);
            assert_eq!((count(&log, "terminated"), count(&log, "dropped")), (made, made));
        }
    });
}

#[test]
fn after_a_panic_the_state_is_rebuilt_or_kept() {
    quiet_panics();
    limited(|| {
        for policy in [PanicPolicy::Rebuild, PanicPolicy::Keep] {
            let log = Log::default();
            let made = log.clone();
            let builder = StatefulPool::builder(move |_| Ok(Obeys::new(&made))).workers(1).panic_policy(policy);
            let pool = builder.build().unwrap();
            for round in 1..=3 {
                assert!(pool.run(Box::new(|_| panic_any("a test's panic"))).unwrap_err().is_panic());
                let tasks = if policy == PanicPolicy::Keep { 2 * round } else { 1 };
                assert_eq!(pool.run(Box::new(|_| 0)).unwrap().0, tasks);
            }
            pool.shutdown();
            let states = if policy == PanicPolicy::Keep { 1 } else { 4 };
            assert_eq!((count(&log, "made"), count(&log, "dropped")), (states, states));
            assert_eq!(count(&log, "terminated"), 1, "not those that a panic has left");
            assert_eq!((pool.stats().panicked, pool.stats().spawned), (3, 1));
        }
    });
}

#[test]
fn the_first_failure_of_the_factory_is_the_error_of_build() {
    quiet_panics();
    limited(|| {
        let failing = |worker| if worker == 1 { Err("no such host".into()) } else { Ok(Obeys::new(&Log::default())) };
        let error = StatefulPool::builder(failing).workers(3).min_workers(2).build().err().unwrap();
        assert!(matches!(&error, BuildError::Factory { worker: 1, source } if source.to_string() == "no such host"));

        let panicking = |_| -> Result<Obeys, _> { panic!("a test's panic") };
        let error = StatefulPool::builder(panicking).workers(1).build().err().unwrap();
        assert!(error.source().unwrap().to_string().contains("a test's panic"), "{error:?}");
    });
}

#[test]
fn a_later_failure_of_the_factory_leaves_the_tasks_to_the_others() {
    limited(|| {
        let made = Count::new();
        let failing = move |_| if made.up() > 1 { Err("no more".into()) } else { Ok(Obeys::new(&Log::default())) };
        let pool = StatefulPool::builder(failing).workers(4).build().unwrap();
        let gate = Gate::new();
        let handles: Vec<_> = (0..8)
            .map(|n| {
                let held = gate.clone();
                pool.spawn(Box::new(move |_: &Context<'_>| {
                    held.wait();
                    n
                }))
                .unwrap()
            })
            .collect();
        gate.open();
        let answers: Vec<_> = handles.into_iter().map(|handle| handle.join().map(|(_, n)| n).ok()).collect();
        assert_eq!(answers, (0..8).map(Some).collect::<Vec<_>>());
        eventually("the failed have gone", || pool.stats().live == 1);
        assert!(pool.stats().failed_starts >= 1);
    });
}

/// A worker that has lost its state and gets no other leaves its tasks to the others, and no other is started instead.
#[test]
fn a_worker_without_a_state_is_not_replaced_by_another() {
    limited(|| {
        quiet_panics();
        let (made, broken, gate) = (Count::new(), Gate::new(), Gate::new());
        let (breaks, held) = (broken.clone(), gate.clone());
        let factory = move |_| {
            if made.up() <= 2 {
                return Ok(Obeys::new(&Log::default()));
            }
            breaks.wait();
            Err("no more".into())
        };
        let pool = StatefulPool::builder(factory).workers(2).min_workers(2).build().unwrap();
        let first = pool.spawn(Box::new(move |_: &Context<'_>| {
            held.wait();
            1
        }));
        gate.await_arrivals(1);
        pool.run(Box::new(|_| panic!("a test's panic: the state goes"))).unwrap_err();
        let [second, third] = [2, 3].map(|n| pool.spawn(Box::new(move |_: &Context<'_>| n)).unwrap());
        broken.await_arrivals(1);
        broken.open();
        assert!(second.join().is_err());
        eventually("the worker has gone", || pool.stats().live == 1);
        gate.open();
        assert_eq!((first.unwrap().join().unwrap().1, third.join().unwrap().1), (1, 3));
        let stats = pool.stats();
        assert_eq!((stats.spawned, stats.failed_starts, stats.live), (2, 1, 1), "{stats}");
    });
}

/// What is dropped because there is no state to process it with may panic in its drop. The next one has a state again.
#[test]
fn an_input_without_a_state_may_panic_in_its_drop() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("a test's panic, in a drop");
        }
    }
    limited(|| {
        quiet_panics();
        let is_broken = Arc::new(AtomicBool::new(false));
        let breaks = is_broken.clone();
        let factory = move |_| if breaks.load(SeqCst) { Err("broken".into()) } else { Ok(Obeys::new(&Log::default())) };
        let pool = StatefulPool::builder(factory).workers(1).build().unwrap();
        is_broken.store(true, SeqCst);
        WorkerPool::submit(&pool, Box::new(|_| panic!("a test's panic: the state goes"))).unwrap();
        let input = Panics;
        WorkerPool::submit(&pool, Box::new(move |_| std::mem::size_of_val(&input) as u32)).unwrap();
        assert!(pool.wait_idle());
        let stats = pool.stats();
        assert_eq!((stats.panicked, stats.cancelled, stats.handler_panics), (1, 1, 1), "{stats}");
        is_broken.store(false, SeqCst);
        assert_eq!(pool.run(Box::new(|_| 7)).unwrap().1, 7);
    });
}

/// A factory that fails is not asked again and again for the same backlog.
#[test]
fn a_failing_factory_costs_a_bounded_number_of_threads() {
    limited(|| {
        let (made, gate) = (Count::new(), Gate::new());
        let failing = move |worker: usize| match made.up() {
            1 => Ok(Obeys::new(&Log::default())),
            _ => Err(format!("no state for worker {worker}").into()),
        };
        let pool = StatefulPool::builder(failing).workers(4).build().unwrap();
        let handles: Vec<_> = (0..8)
            .map(|_| {
                let held = gate.clone();
                pool.spawn(Box::new(move |_: &Context<'_>| {
                    held.wait();
                    0
                }))
                .unwrap()
            })
            .collect();
        gate.await_arrivals(1);
        // Time for starts that nothing asked for.
        assert!(!pool.wait_idle_timeout(Duration::from_millis(100)));
        let failed = pool.stats().failed_starts;
        gate.open();
        handles.into_iter().for_each(|handle| assert!(handle.join().is_ok()));
        assert!(failed <= 8 * 4, "{failed} starts for eight submits");
    });
}

#[test]
fn a_state_that_cannot_be_rebuilt_cancels_the_task_and_is_tried_again() {
    quiet_panics();
    limited(|| {
        let works = Arc::new(AtomicBool::new(true));
        let flag = works.clone();
        let factory =
            move |_| if flag.load(SeqCst) { Ok(Obeys::new(&Log::default())) } else { Err("out of order".into()) };
        let pool = StatefulPool::new(1, factory).unwrap();
        works.store(false, SeqCst);
        assert!(pool.run(Box::new(|_| panic_any("a test's panic"))).unwrap_err().is_panic());
        let error = pool.spawn(Box::new(|_| 0)).unwrap().join().unwrap_err();
        assert!(error.is_cancelled() && error.source().unwrap().to_string() == "out of order", "{error:?}");
        let back = pool.run(Box::new(|_| 5)).unwrap_err();
        assert!(back.into_input().is_some());
        works.store(true, SeqCst);
        assert_eq!(pool.run(Box::new(|_| 5)).unwrap(), (1, 5));
        pool.wait_idle();
        let stats = pool.stats();
        assert_eq!((stats.cancelled, stats.panicked, stats.completed, stats.submitted), (2, 1, 1, 4));
    });
}

/// A state in use cannot run another task: the last free worker is refused, and gets its input back.
#[test]
fn a_worker_that_would_wait_for_itself_is_refused() {
    type Own = Arc<std::sync::OnceLock<StatefulPool<Obeys>>>;
    limited(|| {
        for workers in 1..=2 {
            let own = Own::default();
            let pool = StatefulPool::builder(|_| Ok(Obeys::new(&Log::default()))).workers(workers).build().unwrap();
            assert!(own.set(pool).is_ok());
            let weak = Arc::downgrade(&own);
            let nested = move |_: &Context<'_>| {
                let pool = weak.upgrade().unwrap();
                match pool.get().unwrap().run(Box::new(|_| 7)) {
                    Ok((_, seven)) => seven,
                    Err(error) => {
                        assert!(error.is_would_deadlock());
                        let joined = pool.get().unwrap().spawn(Box::new(|_| 8)).unwrap().join();
                        assert!(joined.unwrap_err().is_would_deadlock());
                        assert!(error.into_input().is_some());
                        0
                    }
                }
            };
            let expected = if workers == 1 { 0 } else { 7 };
            assert_eq!(own.get().unwrap().run(Box::new(nested)).unwrap().1, expected);
            own.get().unwrap().wait_idle();
        }
    });
}
