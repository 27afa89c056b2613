//! Batches and pipelines whose pool, or whose consumer, ends midway: each item has one end, and nothing is submitted afterwards.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::support::closures::{assert_quiet, pool};
use crate::support::{Count, Gate, LIMIT, Living, eventually, on_every_dispatch, within};
use formicary::observe::Observer;
use formicary::{Dispatch, Pipeline, PipelineResults, Pool, SubmitErrorKind};

/// No test lasts as long as this.
const HOUR: Duration = Duration::from_secs(3600);

/// A batch runs, one is queued, and items wait for more: `shutdown_now` gives the queued batch back, and each item has one end.
fn batches<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let (gate, ran) = (Gate::new(), Count::new());
    let (waits, counts) = (gate.clone(), ran.clone());
    let batched = pool.batched(2, HOUR, move |items: Vec<u32>| {
        waits.wait();
        items.iter().for_each(|_| _ = counts.up());
        items
    });
    let mut handles: Vec<_> = (0..5).map(|n| batched.spawn(n).unwrap()).collect();
    gate.await_arrivals(1);
    assert_eq!((batched.stats().running, batched.stats().waiting, pool.stats().queued), (2, 3, 1));
    let closing = Arc::clone(&pool);
    let ends = thread::spawn(move || closing.shutdown_now().len());
    // The batch is out of the queue before the gate opens, so no worker runs it.
    eventually("the batch is taken out", || handles[2].is_finished() && handles[3].is_finished());
    gate.open();
    assert_eq!(ends.join().unwrap(), 1);
    let last = handles.split_off(4);
    let ended: Vec<_> = handles.into_iter().map(|handle| handle.join().map_err(|error| error.is_cancelled())).collect();
    assert_eq!(ended, [Ok(0), Ok(1), Err(true), Err(true)]);
    assert!(batched.submit(6).unwrap_err().is_closed());
    batched.flush();
    for handle in last {
        assert_eq!(handle.join().unwrap_err().refusal(), Some(SubmitErrorKind::Closed));
    }
    let stats = batched.stats();
    assert_eq!((stats.submitted, stats.completed, stats.failed, stats.cancelled), (5, 2, 0, 3));
    assert_eq!((stats.waiting, stats.running, ran.get()), (0, 0, 2));
    assert_quiet(&pool);
}

#[test]
fn a_shutdown_gives_a_queued_batch_back() {
    on_every_dispatch!(batches);
}

/// The pool of the second stage ends while items are in all stages: the results end with an error, and no pool has lost any.
fn closed_stage<D: Dispatch>() {
    for ends_now in [false, true] {
        let (first, second) = (pool::<D>(2, 10), pool::<D>(1, 10));
        let (gate, living) = (Gate::new(), Count::new());
        let waits = gate.clone();
        let made = living.clone();
        let mut results = Pipeline::from(0..)
            .stage(&*first, move |n: u32| (n, Living::new(&made)))
            .buffer(2)
            .stage(&*second, move |item| {
                waits.wait();
                item
            })
            .buffer(3)
            .into_iter();
        gate.await_arrivals(1);
        eventually("the second stage is full", || second.stats().queued == 2);
        let closing = Arc::clone(&second);
        let end = thread::spawn(move || {
            let returned = if ends_now { closing.shutdown_now().len() } else { 0 };
            assert!(closing.shutdown().is_complete());
            returned
        });
        eventually("it is closed", || second.is_closed());
        if ends_now {
            eventually("it is empty", || second.stats().queued == 0);
        }
        gate.open();
        // Results, in order, and one error.
        let mut taken = 0;
        let error = loop {
            match results.next().unwrap() {
                Ok((n, _)) => {
                    assert_eq!(n, taken);
                    taken += 1;
                }
                Err(error) => break error,
            }
        };
        assert!(results.next().is_none());
        assert_eq!(error.stage(), Some(1), "{error}");
        // The first that is given back is a failure, which cancels what comes after it.
        assert_eq!(end.join().unwrap() > 0, ends_now);
        assert!(taken >= 1);
        drop(results);
        assert_quiet(&second);
        // Nothing more is submitted, so the first one is quiet, too.
        assert_quiet(&first);
        eventually("no item is kept", || living.get() == 0);
    }
}

#[test]
fn a_pipeline_ends_with_the_pool_of_a_stage() {
    on_every_dispatch!(closed_stage);
}

/// Blocks whoever tells it of an accepted task, while the gate is closed.
struct HoldsSubmitters(Gate);

impl Observer for HoldsSubmitters {
    fn accepted(&self) {
        self.0.wait();
    }
}

/// Nothing is submitted after the drop of a pipeline's results: it waits for what other threads have begun to submit.
fn dropped_early<D: Dispatch>() {
    let gate = Gate::new();
    let builder = Pool::builder().workers(1).observer(HoldsSubmitters(gate.clone())).dispatch::<D>();
    let pool = Arc::new(builder.build().unwrap());
    let results = Pipeline::from(0..).stage(&*pool, |n: u32| n).into_iter();
    gate.await_arrivals(1);
    let (sender, dropped) = channel();
    let dropper = thread::spawn(move || {
        drop(results);
        sender.send(()).unwrap();
    });
    assert!(dropped.recv_timeout(Duration::from_millis(20)).is_err(), "a submission is under way");
    gate.open();
    dropper.join().unwrap();
    assert_quiet(&pool);
    let submitted = pool.stats().submitted;
    // The law holds at once, wherever the source and the stages are.
    for taken in 0..200 {
        let stages = Pipeline::from(0..).stage(&*pool, |n: u32| n).buffer(3).stage(&*pool, |n| n).buffer(2);
        assert_eq!(stages.into_iter().take(taken % 3).map(Result::unwrap).count(), taken % 3);
        assert_quiet(&pool);
    }
    assert!(pool.stats().submitted > submitted);
}

#[test]
fn a_dropped_pipeline_submits_nothing_more() {
    on_every_dispatch!(dropped_early);
}

/// An observer drops the results of the pipeline whose task it is told of.
#[test]
fn an_observer_may_drop_the_pipeline_that_submits() {
    #[derive(Default)]
    struct Drops(Mutex<Option<PipelineResults<u32>>>, Gate);
    impl Observer for Drops {
        fn accepted(&self) {
            self.1.wait();
            drop(self.0.lock().take());
        }
    }
    let drops = Arc::new(Drops::default());
    let pool = Pool::builder().workers(1).observer(Arc::clone(&drops)).build().unwrap();
    let results = Pipeline::from(0..).stage(&pool, |n: u32| n).into_iter();
    drops.1.await_arrivals(1);
    *drops.0.lock() = Some(results);
    drops.1.open();
    within(LIMIT, "the drop", move || eventually("it is dropped", || drops.0.lock().is_none()));
    assert!(pool.wait_idle());
}
