//! Tasks of a scope in the pool's queue.
//!
//! The queue takes only `'static` tasks. So the closure stays in a cell ([`ScopedJob`]), and a [`ScopedRef`] to the cell, with the lifetime
//! erased, is queued. A `ScopedRef` can only move the closure out of its cell and call it. It may outlive the scope, in the queue; its cell is
//! empty then, and an empty cell has no lifetime.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::state::State;
use crate::error::{Cause, SubmitErrorKind};
use crate::sync::Mutex;
use crate::task::closure::{Body, Task};
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, Retracted, RunOutcome};

/// A closure that borrows, in a cell, with its lifetime erased.
pub(super) trait ScopedJob: Send + Sync {
    /// Whether the closure can still be run from the queue.
    fn is_queued(&self) -> bool;
    /// Calls the closure if it is still queued. `from_queue` if a worker calls it by its `ScopedRef`. Sets `completion` before the call.
    fn run_queued(&self, completion: &mut Completion, state: &Arc<State>, from_queue: bool) -> RunOutcome;
    /// Takes the closure back from the queue; returns whether it was queued.
    fn return_ref(&self) -> bool;
    /// Whether the owner has called the closure in place of a worker.
    fn is_withdrawn(&self) -> bool;
    /// Calls the closure if it was taken back.
    fn run_returned(&self);
}

pub(super) enum Stage<F> {
    Queued(F),
    Returned(F),
    /// The owner has called it. Its `ScopedRef` refers to nothing any more.
    Withdrawn,
    Empty,
}

impl<F> Stage<F> {
    /// Takes the closure out if `take` says so.
    fn take_if(&mut self, take: impl FnOnce(Stage<F>) -> Result<F, Stage<F>>) -> Option<F> {
        match take(mem::replace(self, Stage::Empty)) {
            Ok(f) => Some(f),
            Err(other) => {
                *self = other;
                None
            }
        }
    }

    fn take_queued(&mut self) -> Option<F> {
        self.take_if(|stage| if let Stage::Queued(f) = stage { Ok(f) } else { Err(stage) })
    }
}

impl<F: FnOnce() + Send> ScopedJob for Mutex<Stage<F>> {
    fn is_queued(&self) -> bool {
        matches!(*self.lock(), Stage::Queued(_))
    }

    fn run_queued(&self, completion: &mut Completion, state: &Arc<State>, from_queue: bool) -> RunOutcome {
        let mut stage = self.lock();
        let Some(f) = stage.take_queued() else { return RunOutcome::Elsewhere };
        if !from_queue {
            *stage = Stage::Withdrawn;
            state.pool.withdrawn().inspect(|withdrawn| withdrawn.add(false));
        }
        drop(stage);
        completion.set(Arc::clone(state) as _);
        f();
        RunOutcome::Ran
    }

    fn return_ref(&self) -> bool {
        let mut stage = self.lock();
        let queued = stage.take_queued();
        let is_queued = queued.is_some();
        if let Some(f) = queued {
            *stage = Stage::Returned(f);
        }
        is_queued
    }

    fn is_withdrawn(&self) -> bool {
        matches!(*self.lock(), Stage::Withdrawn)
    }

    fn run_returned(&self) {
        let returned = self.lock().take_if(|stage| if let Stage::Returned(f) = stage { Ok(f) } else { Err(stage) });
        if let Some(f) = returned {
            f();
        }
    }
}

/// Closures in the queue that the owner may run in place of a worker. Some may have started since.
#[derive(Default)]
pub(super) struct Queued {
    jobs: VecDeque<Arc<dyn ScopedJob>>,
    /// How many were added since those that have started were last removed.
    added: usize,
}

/// The least number of additions after which the list is searched for closures that have started.
const SEARCH_INTERVAL: usize = 32;

impl Queued {
    pub(super) fn pop(&mut self) -> Option<Arc<dyn ScopedJob>> {
        self.jobs.pop_front()
    }

    /// Adds a closure. From time to time it removes those that have started, so that a cell does not outlive its closure for long: the cost is
    /// constant per closure on the average. The caller drops what is returned after it has released the lock.
    pub(super) fn add(&mut self, job: Arc<dyn ScopedJob>) -> VecDeque<Arc<dyn ScopedJob>> {
        self.jobs.push_back(job);
        self.added += 1;
        if self.added < SEARCH_INTERVAL.max(self.jobs.len() / 2) {
            return VecDeque::new();
        }
        self.added = 0;
        let (queued, started) = mem::take(&mut self.jobs).into_iter().partition(|job| job.is_queued());
        self.jobs = queued;
        started
    }
}

/// A task of a scope, as the pool's queue holds it.
pub(super) struct ScopedRef {
    pub(super) job: Arc<dyn ScopedJob>,
    pub(super) state: Arc<State>,
}

impl ScopedRef {
    fn return_job(&self) -> bool {
        let is_returned = self.job.return_ref();
        if is_returned {
            self.state.add_to_lists(|lists| lists.returned.push(Arc::clone(&self.job)));
        }
        is_returned
    }
}

impl Body for ScopedRef {
    fn call(self, completion: &mut Completion) -> RunOutcome {
        self.job.run_queued(completion, &self.state, true)
    }

    /// Returns the closure to the scope's thread, and never to the caller of `shutdown_now`.
    fn retract(self, _kind: SubmitErrorKind, _cause: Cause) -> Retracted<Task> {
        if self.return_job() { Retracted::ToCaller } else { Retracted::Gone(RunOutcome::Elsewhere) }
    }

    fn liveness(&self) -> Liveness {
        if self.job.is_withdrawn() { Liveness::Dead } else { Liveness::RunsUnlessTaken }
    }
}

impl Drop for ScopedRef {
    fn drop(&mut self) {
        // Whatever happens to a `ScopedRef`, the scope must end.
        if !self.return_job() && self.job.is_withdrawn() {
            self.state.pool.withdrawn().inspect(|withdrawn| withdrawn.clear());
        }
    }
}
