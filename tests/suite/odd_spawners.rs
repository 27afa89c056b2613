//! Odd spawn handlers. A handler that misbehaves costs the pool a worker, never its end.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::time::Duration;

use crate::support::*;
use formicary::{BuildError, Pool, SubmitErrorKind, Task, WorkerPool, WorkerThread};

/// A pool whose handler starts the first `good` threads and does `odd` with the rest.
fn setup(workers: usize, good: usize, odd: fn(WorkerThread) -> io::Result<()>) -> Setup {
    let calls = AtomicUsize::new(0);
    let handler = move |thread: WorkerThread| {
        if calls.fetch_add(1, SeqCst) < good {
            std::thread::Builder::new().spawn(|| thread.run()).map(drop)
        } else {
            odd(thread)
        }
    };
    Setup { spawn_handler: Some(Arc::new(handler)), ..Setup::new(workers, 8) }
}

fn drops(thread: WorkerThread) -> io::Result<()> {
    drop(thread);
    Ok(())
}

fn panics(_thread: WorkerThread) -> io::Result<()> {
    panic!("a test's panic, in a spawn handler")
}

fn ends_at_once(_thread: WorkerThread) -> io::Result<()> {
    Err(io::Error::other("no"))
}

/// A worker that never runs is not counted as alive, so build says so instead of waiting for it.
#[test]
fn a_first_worker_that_never_runs_is_an_error_at_build() {
    for odd in [drops, panics, ends_at_once] {
        for_each(move |variant| {
            let error = variant.try_build(setup(2, 0, odd)).err();
            assert!(matches!(error, Some(BuildError::Spawn(_))), "{error:?}");
        });
    }
}

/// The living worker goes on alone, and the shutdown waits for no other.
#[test]
fn a_later_worker_that_never_runs_costs_nothing_else() {
    for odd in [drops, panics, ends_at_once] {
        for_each(move |variant| {
            let pool = variant.build(setup(4, 1, odd));
            let (gate, count) = (Gate::new(), Count::new());
            pool.submit(gate.task()).unwrap();
            for _ in 0..8 {
                pool.submit(count.task()).unwrap();
            }
            gate.open();
            pool.wait_idle();
            assert_eq!(count.get(), 8);
            assert!(pool.shutdown().is_complete());
            let stats = pool.stats();
            assert_eq!((stats.live, stats.spawned), (0, 1), "{stats:?}");
            assert_conserved(&*pool);
        });
    }
}

/// A promised worker that is dropped later may have been counted on. The thread that drops it runs what is queued, until another
/// worker is promised.
#[test]
fn b20_a_promised_worker_that_is_dropped_later_leaves_no_task() {
    for_each(|variant| {
        let (promised, threads) = mpsc::channel();
        let handler = move |thread| promised.send(thread).map_err(|_| io::Error::other("no"));
        let fleeting = Setup::fleeting(1, 8, Duration::from_secs(600));
        let pool = variant.build(Setup { spawn_handler: Some(Arc::new(handler)), ..fleeting });
        let count = Count::new();
        for _ in 0..3 {
            pool.submit(count.task()).unwrap();
        }
        drop(threads.recv().unwrap());
        assert_eq!((count.get(), pool.stats().failed_starts), (1, 1), "{:?}", pool.stats());
        drop(threads.recv().unwrap());
        assert_eq!((count.get(), pool.stats().failed_starts), (2, 2), "{:?}", pool.stats());
        let worker: WorkerThread = threads.recv().unwrap();
        let thread = std::thread::spawn(|| worker.run());
        pool.wait_idle();
        assert_eq!(count.get(), 3);
        assert!(pool.shutdown().is_complete());
        thread.join().unwrap();
        assert_conserved(&*pool);
    });
}

/// A pool's worker may be a task of another pool: when it has ended, the thread is that pool's worker as before, which does not wait
/// for itself.
#[test]
fn a_worker_that_is_a_task_of_another_pool_goes_back_to_it() {
    for_each(|variant| {
        let lender = Arc::new(Pool::new(1).unwrap());
        let (back, backs) = mpsc::channel();
        let lends = Arc::clone(&lender);
        let handler = move |thread: WorkerThread| {
            let (lender, back) = (Arc::clone(&lends), back.clone());
            let lent = move || {
                thread.run();
                back.send(lender.wait_idle()).unwrap();
            };
            lends.submit(lent).map_err(|_| io::Error::other("no worker to lend"))
        };
        let pool = variant.build(Setup { spawn_handler: Some(Arc::new(handler)), ..Setup::new(1, 8) });
        let count = Count::new();
        pool.submit(count.task()).unwrap();
        assert!(pool.shutdown().is_complete());
        assert_eq!(count.get(), 1);
        assert!(!backs.recv().unwrap(), "it waited for itself");
        assert!(lender.wait_idle());
    });
}

/// The pool whose spawn handler has this.
#[derive(Clone, Default)]
struct Own(Arc<OnceLock<Weak<dyn WorkerPool<Task>>>>);

impl Own {
    /// A pool without a worker, which keeps those that it will have.
    fn build(
        &self,
        variant: Variant,
        workers: usize,
        handler: impl Fn(WorkerThread) -> io::Result<()> + Send + Sync + 'static,
    ) -> AnyPool {
        let setup = Setup { min_workers: Some(0), expiry: Some(None), ..Setup::new(workers, 8) };
        let pool = variant.build(Setup { spawn_handler: Some(Arc::new(handler)), ..setup });
        self.0.set(Arc::downgrade(&pool)).unwrap();
        pool
    }

    fn get(&self) -> AnyPool {
        self.0.get().and_then(Weak::upgrade).expect("it is asked for a thread when the pool is used")
    }
}

/// How often the system refuses a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Refuses {
    None,
    First,
    All,
}

/// The thread that submits while the first one is asked for.
#[derive(Clone, Copy, Debug)]
enum By {
    Handler,
    Other,
}

/// What the handler waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    Submitted,
    HasRun,
}

/// What waits longer for another thread than this hangs.
const LONG: Duration = Duration::from_secs(10);

/// A pool without a worker, whose handler waits, at its first call, until a task has been submitted to the pool or has run.
#[derive(Clone, Copy, Debug)]
struct Case {
    workers: usize,
    refuses: Refuses,
    by: By,
    until: Until,
}

impl Case {
    fn all() -> Vec<Case> {
        let mut all = Vec::new();
        for workers in [1, 2] {
            for refuses in [Refuses::None, Refuses::First, Refuses::All] {
                for by in [By::Handler, By::Other] {
                    all.push(Case { workers, refuses, by, until: Until::Submitted });
                    if workers > 1 && refuses != Refuses::All {
                        // There is another worker that can run it.
                        all.push(Case { workers, refuses, by, until: Until::HasRun });
                    }
                }
            }
        }
        all
    }

    /// Submits and waits; says whether the task was accepted.
    fn submit_and_wait(self, pool: AnyPool, task: Task) -> bool {
        let (ran, has_run) = mpsc::channel();
        let (submitted, is_submitted) = mpsc::channel();
        let submit = move || {
            let task = Task::new(move || {
                task.run();
                _ = ran.send(());
            });
            _ = submitted.send(pool.submit(task).is_ok());
        };
        match self.by {
            By::Handler => submit(),
            By::Other => drop(std::thread::spawn(submit)),
        }
        let is_accepted = is_submitted.recv_timeout(LONG).expect("it submits");
        if self.until == Until::HasRun {
            has_run.recv_timeout(LONG).expect("it runs");
        }
        is_accepted
    }

    fn test(self, variant: Variant) {
        let (own, ran, calls) = (Own::default(), Count::new(), AtomicUsize::new(0));
        let (pool, count, (tell, told)) = (own.clone(), ran.clone(), mpsc::channel());
        let handler = move |thread: WorkerThread| {
            let is_first = calls.fetch_add(1, SeqCst) == 0;
            if is_first {
                tell.send(self.submit_and_wait(pool.get(), count.task())).unwrap();
            }
            start_thread(self.refuses == Refuses::None || self.refuses == Refuses::First && !is_first, thread)
        };
        let pool = own.build(variant, self.workers, handler);
        let outer = pool.submit(ran.task()).map_err(|refusal| refusal.kind());
        // If one of the two tasks gets a thread, that runs both. If neither does, the inner one, which counted on the outer one's
        // thread, has run on the outer submitter.
        let inner = self.workers == 1 || self.refuses != Refuses::All;
        assert_eq!(told.try_recv(), Ok(inner), "{self:?}");
        assert_eq!(outer.is_ok(), self.refuses != Refuses::All, "{self:?}: {outer:?}");
        assert!(outer.is_ok() || outer == Err(SubmitErrorKind::Spawn), "{self:?}: {outer:?}");
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), usize::from(inner) + usize::from(outer.is_ok()), "{self:?}");
        assert_conserved(&*pool);
    }
}

/// D11, B20: while a handler starts the first worker of a pool, it and other threads may use that pool. What is accepted meanwhile
/// runs, also if threads are refused then.
#[test]
fn d11_b20_a_spawn_handler_waits_for_a_submitter() {
    for_each(|variant| Case::all().into_iter().for_each(|case| case.test(variant)));
}

/// D11: a handler that submits in every call is called once for each worker that there may be, and no more often.
#[test]
fn d11_a_spawn_handler_submits_in_every_call() {
    for_each(|variant| {
        let (own, ran, calls) = (Own::default(), Count::new(), Count::new());
        let (pool, count, called) = (own.clone(), ran.clone(), calls.clone());
        let handler = move |thread: WorkerThread| {
            called.up();
            pool.get().submit(count.task()).unwrap();
            start_thread(true, thread)
        };
        let pool = own.build(variant, 4, handler);
        pool.submit(ran.task()).unwrap();
        assert!(pool.wait_idle());
        assert_eq!((calls.get(), ran.get()), (4, 5));
    });
}
