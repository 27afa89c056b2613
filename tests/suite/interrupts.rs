//! B16: an interrupt reaches the task that it is meant for, or none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::support::races::{quiet_panic, together};
use crate::support::{Count, Gate, on_every_dispatch};
use formicary::{Context, Dispatch, Interrupter, SharedHandle, StatefulPool, Worker};

/// Works until it is interrupted or its time has passed, and clears the mark when it begins, as a worker must.
struct Interruptible {
    mark: Arc<AtomicBool>,
    strays: Arc<AtomicUsize>,
}

impl Worker for Interruptible {
    /// How long to work, and whether an interrupt may come.
    type Input = (Duration, bool);
    type Output = ();

    fn process(&mut self, (time, expected): (Duration, bool), _: &Context<'_>) {
        self.mark.store(false, SeqCst);
        let start = Instant::now();
        while start.elapsed() < time {
            if self.mark.load(SeqCst) {
                self.strays.fetch_add(usize::from(!expected), SeqCst);
                return;
            }
            std::hint::spin_loop();
        }
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let mark = Arc::clone(&self.mark);
        Some(Interrupter::new(move || mark.store(true, SeqCst)))
    }
}

/// B16: time limits that end just when the work does, by the hundred; every second task has no limit, and
/// sees no interrupt.
fn limits_at_the_last_moment<D: Dispatch>() {
    let strays = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&strays);
    let pool = StatefulPool::builder(move |_| Ok(Interruptible { mark: Arc::default(), strays: Arc::clone(&count) }));
    let pool = pool.workers(1).queue(8).dispatch::<D>().build().unwrap();
    let work = Duration::from_micros(100);
    for round in 0..1500 {
        let limit = Duration::from_micros(90 + round % 60);
        std::thread::scope(|scope| {
            scope.spawn(|| drop(pool.with().timeout(limit).run((work, true))));
            drop(pool.spawn((work, false)).unwrap());
        });
    }
    assert!(pool.wait_idle());
    assert_eq!(strays.load(SeqCst), 0, "interrupts that hit another task");
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.cancelled);
}

#[test]
fn b16_an_interrupt_at_the_last_moment_hits_no_other_task() {
    on_every_dispatch!(limits_at_the_last_moment);
}

/// Ends as soon as it is given up, while its interrupt is still under way.
struct Hasty {
    started: Arc<AtomicUsize>,
    interrupting: Gate,
    too_early: Arc<AtomicBool>,
}

impl Worker for Hasty {
    type Input = ();
    type Output = ();

    fn process(&mut self, (): (), cx: &Context<'_>) {
        let first = self.started.fetch_add(1, SeqCst) == 0;
        while first && !cx.is_cancelled() {
            std::thread::yield_now();
        }
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let started = Arc::clone(&self.started);
        let (interrupting, too_early) = (self.interrupting.clone(), Arc::clone(&self.too_early));
        Some(Interrupter::new(move || {
            // Returns some time after the next task is queued, so that it could begin.
            interrupting.wait();
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(50) {
                std::thread::yield_now();
            }
            too_early.store(started.load(SeqCst) > 1, SeqCst);
        }))
    }
}

/// B16: the task has ended while the call that interrupts it takes its time: the next one does not begin before that
/// call has returned.
fn the_next_task_waits_for_the_interrupt<D: Dispatch>() {
    let (started, too_early) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let interrupting = Gate::new();
    let parts = (Arc::clone(&started), interrupting.clone(), Arc::clone(&too_early));
    let builder = StatefulPool::builder(move |_| {
        let (started, interrupting, too_early) = parts.clone();
        Ok(Hasty { started, interrupting, too_early })
    });
    let pool = builder.workers(1).queue(8).dispatch::<D>().build().unwrap();
    std::thread::scope(|scope| {
        let timed = scope.spawn(|| pool.with().timeout(Duration::from_millis(200)).run(()));
        let mut next = None;
        let error = loop {
            if interrupting.arrived() == 1 && next.is_none() {
                next = Some(pool.spawn(()).unwrap());
                interrupting.open();
            }
            if timed.is_finished() {
                break timed.join().unwrap().unwrap_err();
            }
            std::thread::yield_now();
        };
        // A task that did not start in time is not interrupted: on a very busy machine this shows nothing.
        if error.into_input().is_none() {
            next.expect("the task was interrupted").join().unwrap();
        }
    });
    assert!(!too_early.load(SeqCst), "the next task began while the interrupt was under way");
}

#[test]
fn b16_the_next_task_waits_for_the_interrupt() {
    on_every_dispatch!(the_next_task_waits_for_the_interrupt);
}

/// Runs to its end whatever it is told. Its interrupter panics.
struct Deaf {
    gate: Gate,
    interrupts: Count,
}

impl Worker for Deaf {
    type Input = u32;
    type Output = u32;

    fn process(&mut self, input: u32, _: &Context<'_>) -> u32 {
        self.gate.wait();
        input
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let interrupts = self.interrupts.clone();
        Some(Interrupter::new(move || {
            interrupts.up();
            quiet_panic();
        }))
    }
}

/// B16: a panic of the interrupter does not come out, and changes nothing: a task that has run has its result, and counts as run.
fn an_interrupter_that_panics<D: Dispatch>() {
    let (gate, interrupts) = (Gate::new(), Count::new());
    let parts = (gate.clone(), interrupts.clone());
    let builder = StatefulPool::builder(move |_| {
        let (gate, interrupts) = parts.clone();
        Ok(Deaf { gate, interrupts })
    });
    let pool = builder.workers(1).dispatch::<D>().build().unwrap();
    let handle = pool.spawn(7).unwrap();
    gate.await_arrivals(1);
    let cancelling = catch_unwind(AssertUnwindSafe(|| handle.cancel()));
    gate.pass(1);
    // Whether it panicked is checked last: the task's end cannot be seen otherwise.
    assert_eq!(handle.join().unwrap(), 7);
    assert_eq!(cancelling.ok(), Some(false), "the panic came out");

    let error = pool.with().timeout(Duration::from_millis(20)).run(7).unwrap_err();
    assert!(error.is_timed_out());
    // Otherwise it has not started: the machine is very busy.
    let interrupted = u64::from(error.into_input().is_none());
    gate.open();
    assert!(pool.wait_idle());
    let stats = pool.stats();
    assert_eq!(interrupts.get() as u64, 1 + interrupted);
    assert_eq!((stats.completed, stats.cancelled, stats.panicked), (1 + interrupted, 1 - interrupted, 0), "{stats:?}");
    assert_eq!((stats.submitted, stats.handler_panics), (2, 0), "{stats:?}");
}

#[test]
fn b16_an_interrupter_that_panics_changes_nothing() {
    on_every_dispatch!(an_interrupter_that_panics);
}

/// Runs until the gate is open. Its interrupter asks the handle of its own task everything.
struct Asked {
    gate: Gate,
    own: Arc<OnceLock<SharedHandle<()>>>,
    interrupts: Count,
}

impl Worker for Asked {
    type Input = ();
    type Output = ();

    fn process(&mut self, (): (), _: &Context<'_>) {
        self.gate.wait();
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let (own, interrupts) = (Arc::clone(&self.own), self.interrupts.clone());
        Some(Interrupter::new(move || {
            interrupts.up();
            let own = own.get().unwrap();
            assert!(!own.is_finished());
            assert!(!own.cancel(), "it has started");
            assert!(own.join_timeout(Duration::from_millis(1)).is_none());
            assert!(format!("{own:?}").contains("false"));
        }))
    }
}

/// D11: an interrupter may ask its own handle anything. It is called once, however often its task is cancelled.
fn an_interrupter_that_asks<D: Dispatch>() {
    let (gate, interrupts, own) = (Gate::new(), Count::new(), Arc::new(OnceLock::new()));
    let parts = (gate.clone(), interrupts.clone(), Arc::clone(&own));
    let builder = StatefulPool::builder(move |_| {
        let (gate, interrupts, own) = parts.clone();
        Ok(Asked { gate, own, interrupts })
    });
    let pool = builder.workers(1).dispatch::<D>().build().unwrap();
    let handle = pool.spawn(()).unwrap().shared();
    assert!(own.set(handle.clone()).is_ok());
    gate.await_arrivals(1);
    together(4, |_| assert!(!handle.cancel()));
    gate.open();
    handle.join().unwrap();
    assert!(!handle.cancel());
    assert_eq!(interrupts.get(), 1);
}

#[test]
fn d11_an_interrupter_asks_its_own_handle() {
    on_every_dispatch!(an_interrupter_that_asks);
}

/// Ends when it is interrupted.
struct Ends {
    told: Gate,
    runs: Arc<AtomicUsize>,
    own: Arc<OnceLock<SharedHandle<()>>>,
    too_early: Arc<AtomicBool>,
}

impl Worker for Ends {
    type Input = ();
    type Output = ();

    fn process(&mut self, (): (), _: &Context<'_>) {
        self.runs.fetch_add(1, SeqCst);
        self.told.wait();
    }

    fn interrupter(&self) -> Option<Interrupter> {
        let (told, runs) = (self.told.clone(), Arc::clone(&self.runs));
        let (own, too_early) = (Arc::clone(&self.own), Arc::clone(&self.too_early));
        Some(Interrupter::new(move || {
            told.open();
            // The task ends now, and is known to have ended; the worker goes on only when this has returned.
            own.get().unwrap().join().unwrap();
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(20) {
                std::thread::yield_now();
            }
            too_early.store(runs.load(SeqCst) > 1, SeqCst);
        }))
    }
}

/// D11: the interrupter waits for its own task, which has ended before the worker waits for the interrupter.
fn an_interrupter_that_waits<D: Dispatch>() {
    let (told, runs, own) = (Gate::new(), Arc::new(AtomicUsize::new(0)), Arc::new(OnceLock::new()));
    let too_early = Arc::new(AtomicBool::new(false));
    let parts = (told.clone(), Arc::clone(&runs), Arc::clone(&own), Arc::clone(&too_early));
    let builder = StatefulPool::builder(move |_| {
        let (told, runs, own, too_early) = parts.clone();
        Ok(Ends { told, runs, own, too_early })
    });
    let pool = builder.workers(1).queue(4).dispatch::<D>().build().unwrap();
    let handle = pool.spawn(()).unwrap().shared();
    assert!(own.set(handle.clone()).is_ok());
    told.await_arrivals(1);
    let next = pool.spawn(()).unwrap();
    assert!(!handle.cancel());
    next.join().unwrap();
    assert!(!too_early.load(SeqCst), "the next task began while the interrupt was under way");
    assert!(pool.wait_idle());
}

#[test]
fn d11_an_interrupter_waits_for_its_own_task() {
    on_every_dispatch!(an_interrupter_that_waits);
}
