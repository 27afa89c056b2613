//! A queue entry for a task that is kept elsewhere until it starts.

use crate::error::{Cause, SubmitErrorKind};
use crate::sync::Arc;
use crate::task::closure::{Body, Task};
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, Retracted, RunOutcome};

/// Keeps tasks, each under a number, for which a pool queues [`Deferred`] entries. `T` is what the pool queues, `X` what its user gets
/// back.
pub(crate) trait DeferredTasks<T, X>: Send + Sync {
    /// Runs the task with `run`, unless it has been taken before.
    fn run(
        self: Arc<Self>,
        task: u64,
        completion: &mut Completion,
        run: &mut dyn FnMut(T, &mut Completion) -> RunOutcome,
    ) -> RunOutcome;

    /// Retracts the task, which the pool will not run.
    fn retract(self: Arc<Self>, task: u64, kind: SubmitErrorKind, cause: Cause) -> Retracted<X>;

    /// What the task can expect. Called under the queue's locks.
    fn liveness(&self, task: u64) -> Liveness;

    /// The pool dropped the entry, or never took it in.
    fn abandon(self: Arc<Self>, task: u64);
}

/// A queue entry for a task that a limited view keeps until it starts.
pub struct Deferred<T, X> {
    /// `None` once the entry has been used.
    tasks: Option<Arc<dyn DeferredTasks<T, X>>>,
    task: u64,
}

impl<T, X> Deferred<T, X> {
    pub(crate) fn new(tasks: Arc<dyn DeferredTasks<T, X>>, task: u64) -> Self {
        Deferred { tasks: Some(tasks), task }
    }

    pub(crate) fn run(
        mut self,
        completion: &mut Completion,
        run: &mut dyn FnMut(T, &mut Completion) -> RunOutcome,
    ) -> RunOutcome {
        match self.tasks.take() {
            Some(tasks) => tasks.run(self.task, completion, run),
            None => RunOutcome::Elsewhere,
        }
    }

    pub(crate) fn retract(mut self, kind: SubmitErrorKind, cause: Cause) -> Retracted<X> {
        match self.tasks.take() {
            Some(tasks) => tasks.retract(self.task, kind, cause),
            None => Retracted::Gone(RunOutcome::Elsewhere),
        }
    }

    pub(crate) fn liveness(&self) -> Liveness {
        self.tasks.as_ref().map_or(Liveness::Dead, |tasks| tasks.liveness(self.task))
    }
}

impl<T, X> Drop for Deferred<T, X> {
    fn drop(&mut self) {
        if let Some(tasks) = self.tasks.take() {
            tasks.abandon(self.task);
        }
    }
}

impl Body for Deferred<Task, Task> {
    fn call(self, completion: &mut Completion) -> RunOutcome {
        self.run(completion, &mut |task, completion| task.call(completion))
    }

    fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        Deferred::retract(self, kind, cause)
    }

    fn liveness(&self) -> Liveness {
        Deferred::liveness(self)
    }
}
