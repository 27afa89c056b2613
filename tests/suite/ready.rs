//! No worker runs a task with a state that has not got ready.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::support::races::quiet_panic;
use crate::support::{Gate, on_every_dispatch};
use formicary::{Context, Dispatch, PanicPolicy, StatefulPool, Worker};
use parking_lot::Mutex;

#[derive(Clone, Default)]
struct Log {
    events: Arc<Mutex<Vec<&'static str>>>,
    ready_panics: Arc<AtomicBool>,
}

impl Log {
    fn note(&self, event: &'static str) {
        self.events.lock().push(event);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.events.lock())
    }
}

struct Notes(Log);

impl Worker for Notes {
    type Input = bool;
    type Output = ();

    fn ready(&mut self) {
        self.0.note("ready");
        if self.0.ready_panics.load(SeqCst) {
            quiet_panic();
        }
    }

    fn process(&mut self, panics: bool, _: &Context<'_>) {
        self.0.note("process");
        if panics {
            quiet_panic();
        }
    }
}

fn pool<D: Dispatch>(policy: PanicPolicy) -> (StatefulPool<Notes, D>, Log) {
    let log = Log::default();
    let notes = log.clone();
    let builder = StatefulPool::builder(move |_| {
        notes.note("made");
        Ok(Notes(notes.clone()))
    });
    let pool = builder.workers(1).min_workers(1).panic_policy(policy).dispatch::<D>().build().unwrap();
    (pool, log)
}

fn after_a_panic<D: Dispatch>() {
    for (policy, anew) in [(PanicPolicy::Rebuild, &["made"][..]), (PanicPolicy::Keep, &[])] {
        let (pool, log) = pool::<D>(policy);
        assert!(pool.run(true).unwrap_err().is_panic());
        assert!(pool.run(false).is_ok());
        pool.shutdown();
        let expected = [&["made", "ready", "process"], anew, &["ready", "process", "ready"]].concat();
        assert_eq!(log.take(), expected, "{policy:?}");
    }
}

#[test]
fn a_state_that_is_made_anew_after_a_panic_gets_ready_before_its_first_task() {
    on_every_dispatch!(after_a_panic);
}

/// A popped task is not lost with a state that does not get ready.
fn never_ready<D: Dispatch>() {
    let (pool, log) = pool::<D>(PanicPolicy::Rebuild);
    assert!(pool.run(false).is_ok());
    log.ready_panics.store(true, SeqCst);
    // Ready before this one; not after it.
    drop(pool.run(false));
    log.take();
    let error = pool.spawn(false).unwrap().join().unwrap_err();
    assert!(error.is_no_state() && error.source().unwrap().to_string().contains("ready"), "{error:?}");
    assert_eq!(pool.run(false).unwrap_err().into_input(), Some(false));
    pool.wait_idle();
    assert!(!log.take().contains(&"process"));
    log.ready_panics.store(false, SeqCst);
    assert!(pool.run(false).is_ok());
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.cancelled, "{stats:?}");
    assert_eq!(stats.panicked, 0);
}

#[test]
fn a_task_whose_worker_does_not_get_ready_is_cancelled_with_the_reason() {
    on_every_dispatch!(never_ready);
}

/// The first worker gets ready when the gate opens. Each answers with its number.
struct Slow(usize, Gate);

impl Worker for Slow {
    type Input = ();
    type Output = usize;

    const READY_BLOCKS: bool = true;

    fn ready(&mut self) {
        if self.0 == 0 {
            self.1.wait();
        }
    }

    fn process(&mut self, (): (), _: &Context<'_>) -> usize {
        self.0
    }
}

/// No task relies on a worker that is getting ready: another one is started for the task.
fn slow<D: Dispatch>() {
    let gate = Gate::new();
    let waits = gate.clone();
    let builder = StatefulPool::builder(move |worker| Ok(Slow(worker, waits.clone())));
    let pool = builder.workers(2).min_workers(1).dispatch::<D>().build().unwrap();
    gate.await_arrivals(1);
    assert_eq!(pool.run(()).unwrap(), 1);
    gate.open();
}

#[test]
fn a18_another_worker_sees_to_what_comes_while_one_gets_ready() {
    on_every_dispatch!(slow);
}
