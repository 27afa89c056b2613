//! A broadcast to workers that have just been told to exit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::support::{Gate, on_every_dispatch};
use formicary::{Context, Dispatch, StatefulPool, Worker};

/// Counts the broadcasts that it has run.
struct Told(Arc<AtomicUsize>);

impl Worker for Told {
    type Input = ();
    type Output = ();

    fn process(&mut self, (): (), _: &Context<'_>) {}
}

/// Parked workers are told to exit, and a broadcast comes before they have woken up. A worker that still has its state runs the
/// broadcast. The broadcaster does not wait for the worker's thread, which here ends only after the broadcast.
fn exiting<D: Dispatch>() {
    let mut told_late = 0;
    for _ in 0..200 {
        let (runs, ended) = (Arc::new(AtomicUsize::new(0)), Gate::new());
        let (factory_runs, held) = (Arc::clone(&runs), ended.clone());
        let builder = StatefulPool::builder(move |_| Ok(Told(Arc::clone(&factory_runs)))).workers(4).min_workers(4);
        let pool = builder.on_thread_stop(move |_| held.wait()).dispatch::<D>().build().unwrap();
        pool.tune(1).unwrap();
        let answers = pool.broadcast(|told: &mut Told| told.0.fetch_add(1, SeqCst)).unwrap();
        assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
        assert!((1..=4).contains(&answers.len()));
        assert_eq!(runs.load(SeqCst), answers.len());
        told_late += answers.len() - 1;
        ended.open();
        assert!(pool.shutdown().is_complete());
    }
    assert!(told_late > 0, "no worker got a broadcast while it exited: nothing was tested");
}

#[test]
fn a_worker_that_was_told_to_leave_still_does_what_it_was_given() {
    on_every_dispatch!(exiting);
}
