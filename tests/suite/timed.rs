//! Timed calls of workers with state: what times out where, interrupts, readiness.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Count, Gate, LIMIT, eventually, within};
use formicary::{CallError, Context, Interrupter, StatefulPool, SubmitErrorKind, Task, Worker};

/// A worker that does what it is told.
struct Obeys;

impl Worker for Obeys {
    type Input = Box<dyn Fn(&Context<'_>) -> u32 + Send>;
    type Output = u32;

    fn process(&mut self, input: Self::Input, cx: &Context<'_>) -> u32 {
        input(cx)
    }
}

fn limited<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    within(LIMIT, "this test", body)
}

/// A15: with a time limit that is not reached.
#[test]
fn a15_a_time_limit_that_is_not_hit_changes_nothing() {
    limited(|| {
        let pool = StatefulPool::new(2, |_| Ok(Obeys)).unwrap();
        for n in 0..10 {
            let limit = if n % 2 == 0 { LIMIT } else { Duration::MAX };
            assert_eq!(pool.with().timeout(limit).run(Box::new(move |_| n * n)).unwrap(), n * n);
            assert_eq!(pool.run(Box::new(move |_| n)).unwrap(), n);
        }
    });
}

#[test]
fn a_call_that_times_out_in_the_queue_has_its_input_back_and_never_runs() {
    limited(|| {
        let pool = Arc::new(StatefulPool::builder(|_| Ok(Obeys)).workers(1).queue(1).build().unwrap());
        let (gate, ran) = (Gate::new(), Count::new());
        let held = gate.clone();
        let running = pool.spawn(Box::new(move |_| held.arrived() as u32)).unwrap();
        assert_eq!(running.join().unwrap(), 0);
        let held = gate.clone();
        let running = pool
            .spawn(Box::new(move |_| {
                held.wait();
                0
            }))
            .unwrap();
        gate.await_arrivals(1);
        let refused = |limit: Duration| {
            let counter = ran.clone();
            match pool.with().timeout(limit).run(Box::new(move |_| counter.up() as u32)).unwrap_err() {
                CallError::Refused(refused) => refused,
                other => panic!("{other}"),
            }
        };
        // The first has room in the queue. D18: it leaves that to another, so the second waits for room.
        assert_eq!(refused(Duration::from_millis(1)).kind(), SubmitErrorKind::TimedOut);
        let other = pool.try_spawn(Box::new(|_| 0)).unwrap();
        assert_eq!(refused(Duration::ZERO).kind(), SubmitErrorKind::TimedOut);
        gate.open();
        other.join().unwrap();
        running.join().unwrap();
        pool.wait_idle();
        let stats = pool.stats();
        assert_eq!((ran.get(), stats.completed, stats.cancelled, stats.rejected), (0, 3, 1, 1));
        assert_eq!(stats.submitted, 4);
    });
}

/// Works until it is interrupted; is ready when its gate lets it.
struct Stubborn {
    ready: Gate,
    stop: Arc<AtomicBool>,
    terminated: Count,
}

impl Worker for Stubborn {
    type Input = bool;
    type Output = bool;

    fn process(&mut self, for_ever: bool, _cx: &Context<'_>) -> bool {
        // Only taking the mark off ends it, so no mark is left for the next task.
        while for_ever && !self.stop.swap(false, SeqCst) {
            thread::yield_now();
        }
        for_ever
    }

    fn ready(&mut self) {
        self.ready.wait();
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let stop = self.stop.clone();
        Some(Interrupter::new(move || stop.store(true, SeqCst)))
    }

    fn terminate(self) {
        self.terminated.up();
    }
}

/// A18
#[test]
fn a18_a_worker_that_is_not_ready_is_given_nothing() {
    limited(|| {
        let (ready, terminated) = (Gate::new(), Count::new());
        let (gate, ended) = (ready.clone(), terminated.clone());
        let factory = move |_| Ok(Stubborn { ready: gate.clone(), stop: Arc::default(), terminated: ended.clone() });
        let pool = StatefulPool::builder(factory).workers(1).build().unwrap();
        ready.await_arrivals(1);
        let handle = pool.spawn(false).unwrap();
        match pool.with().timeout(Duration::from_millis(5)).run(true) {
            Err(CallError::Refused(refused)) => assert_eq!(refused.into_parts(), (SubmitErrorKind::TimedOut, true)),
            other => panic!("{other:?}"),
        }
        assert_eq!((pool.running(), handle.is_finished()), (0, false));
        ready.pass(1);
        assert!(!handle.join().unwrap());
        // Asked again before the next task.
        let handle = pool.spawn(false).unwrap();
        ready.await_arrivals(2);
        assert_eq!((pool.running(), handle.is_finished()), (0, false));
        ready.open();
        assert!(!handle.join().unwrap());
        assert_eq!(terminated.get(), 0);
        drop(pool);
        assert_eq!(terminated.get(), 1);
    });
}

/// Runs tasks when its gate says that it is ready.
struct Readies(Gate);

impl Worker for Readies {
    type Input = Task;
    type Output = ();

    fn process(&mut self, task: Task, _cx: &Context<'_>) {
        task.run();
    }

    fn ready(&mut self) {
        self.0.wait();
    }
}

/// The worker is past every check of the capacity when the pool shrinks: it is getting ready.
#[test]
fn a_worker_that_gets_ready_while_the_pool_shrinks_starts_nothing() {
    limited(|| {
        let (ready, work, count) = (Gate::new(), Gate::new(), Count::new());
        let gate = ready.clone();
        let factory = move |_| Ok(Readies(gate.clone()));
        let pool = StatefulPool::builder(factory).workers(2).min_workers(2).expiry(None).build().unwrap();
        ready.await_arrivals(2);
        drop(pool.spawn(work.task()).unwrap());
        drop(pool.spawn(count.task()).unwrap());
        ready.pass(1);
        work.await_arrivals(1);
        pool.tune(1).unwrap();
        ready.open();
        eventually("the other has gone", || pool.stats().live == 1);
        assert_eq!((count.get(), pool.running(), pool.queued()), (0, 1, 1));
        work.open();
        pool.wait_idle();
        assert_eq!(count.get(), 1);
    });
}

/// A18
#[test]
fn a18_a_timed_call_interrupts_and_the_worker_is_usable_afterwards() {
    limited(|| {
        let (ready, terminated) = (Gate::new(), Count::new());
        ready.open();
        let (gate, ended) = (ready.clone(), terminated.clone());
        let factory = move |_| Ok(Stubborn { ready: gate.clone(), stop: Arc::default(), terminated: ended.clone() });
        let pool = StatefulPool::builder(factory).workers(1).build().unwrap();
        for round in 1..=5 {
            // The limit holds for waiting and working together; one that ran out in the queue is tried again.
            let error = loop {
                match pool.with().timeout(Duration::from_millis(5)).run(true).unwrap_err() {
                    CallError::Refused(refused) => assert_eq!(refused.kind(), SubmitErrorKind::TimedOut),
                    failed => break failed,
                }
            };
            assert!(error.is_timed_out() && !error.is_panic());
            assert!(!pool.run(false).unwrap());
            assert!(pool.wait_idle());
            assert_eq!(pool.stats().completed, 2 * round);
        }
        drop(pool);
        assert_eq!(terminated.get(), 1);
    });
}

#[test]
fn a_timed_calls_context_tells_deadline_and_cancellation() {
    limited(|| {
        let pool = StatefulPool::builder(|_| Ok(Obeys)).workers(1).build().unwrap();
        let none = pool.run(Box::new(|cx| u32::from(cx.deadline().is_none() && !cx.is_cancelled())));
        assert_eq!(none.unwrap(), 1);
        let latest = Instant::now() + 2 * LIMIT;
        let some = move |cx: &Context<'_>| u32::from(cx.deadline().is_some_and(|d| d > Instant::now() && d < latest));
        assert_eq!(pool.with().timeout(LIMIT).run(Box::new(some)).unwrap(), 1);
        let (gate, cancelled) = (Gate::new(), Count::new());
        loop {
            let (held, counter) = (gate.clone(), cancelled.clone());
            let until_cancelled = move |cx: &Context<'_>| {
                held.open();
                while !cx.is_cancelled() {
                    thread::yield_now();
                }
                counter.up() as u32
            };
            let error = pool.with().timeout(Duration::from_millis(5)).run(Box::new(until_cancelled)).unwrap_err();
            assert!(error.is_timed_out());
            if let CallError::Failed(_) = error {
                break;
            }
        }
        pool.wait_idle();
        assert_eq!(cancelled.get(), 1);
    });
}

/// Knows which task it runs while an interrupt may come.
struct Marked {
    current: Arc<AtomicUsize>,
    strays: Count,
    hits: Count,
}

thread_local! {
    /// The task that the calling thread waits for.
    static WAITS_FOR: Cell<usize> = const { Cell::new(0) };
}

impl Worker for Marked {
    type Input = usize;
    type Output = usize;

    fn process(&mut self, task: usize, cx: &Context<'_>) -> usize {
        self.current.store(task, SeqCst);
        for _ in 0..task % 64 {
            if cx.is_cancelled() {
                break;
            }
            thread::yield_now();
        }
        self.current.store(0, SeqCst);
        task
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let (current, strays, hits) = (self.current.clone(), self.strays.clone(), self.hits.clone());
        Some(Interrupter::new(move || {
            hits.up();
            let (before, mine) = (current.load(SeqCst), WAITS_FOR.get());
            // Long enough for the worker to go on to its next task, were it not held.
            thread::yield_now();
            for task in [before, current.load(SeqCst)] {
                if task != 0 && task != mine {
                    strays.up();
                }
            }
        }))
    }
}

/// Calls that give up just as their task ends, with the next task right behind it.
#[test]
fn an_interrupt_never_reaches_a_later_task() {
    limited(|| {
        let (strays, hits) = (Count::new(), Count::new());
        let (out, all) = (strays.clone(), hits.clone());
        let factory = move |_| Ok(Marked { current: Arc::default(), strays: out.clone(), hits: all.clone() });
        let pool = Arc::new(StatefulPool::builder(factory).workers(2).queue(16).build().unwrap());
        let callers: Vec<_> = (0..4_usize)
            .map(|caller| {
                let (pool, hits) = (pool.clone(), hits.clone());
                thread::spawn(move || {
                    let mut call = 0;
                    while call < 300 || hits.get() < 50 {
                        let task = 1 + caller + 4 * call;
                        WAITS_FOR.set(task);
                        let limit = Duration::from_micros(10 * (call as u64 % 40));
                        match pool.with().timeout(limit).run(task) {
                            Ok(answer) => assert_eq!(answer, task),
                            Err(error) => assert!(error.is_timed_out(), "{error}"),
                        }
                        call += 1;
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(strays.get(), 0);
        pool.wait_idle();
        let stats = pool.stats();
        assert_eq!(stats.submitted, stats.completed + stats.cancelled, "{stats:?}");
    });
}

/// A worker that runs a task when a graceful shutdown's time is over is told to stop, and after a restart no more.
#[test]
fn a_graceful_shutdown_tells_what_runs_to_stop() {
    struct Asks;
    impl Worker for Asks {
        type Input = bool;
        type Output = bool;

        fn process(&mut self, until_told: bool, cx: &Context<'_>) -> bool {
            while until_told && !cx.is_cancelled() {
                std::thread::yield_now();
            }
            cx.is_cancelled()
        }
    }
    limited(|| {
        let pool = StatefulPool::new(1, |_| Ok(Asks)).unwrap();
        let told = pool.spawn(true).unwrap();
        let (returned, _) = pool.shutdown_graceful(Duration::from_millis(10));
        assert_eq!(returned.len() as u64, pool.stats().returned);
        if returned.is_empty() {
            assert!(told.join().unwrap());
        }
        assert!(pool.shutdown().is_complete());
        pool.restart().unwrap();
        assert!(!pool.run(false).unwrap());
    });
}
