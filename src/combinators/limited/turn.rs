//! A task's turn in the pool.

use super::place::{Place, run_in_place};
use super::view::View;
use crate::error::{Cause, SubmitErrorKind};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::closure::{Body, Task};
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, Retracted, RunOutcome};

/// What the pool has of a task that has a place in its view. The task stays with the view until its turn comes, or until somebody
/// takes it out of turn: whoever waits for it, or cancels it.
pub(super) struct Turn<D: Dispatch> {
    /// `None` when it has come.
    view: Option<Arc<View<D>>>,
    task: u64,
}

impl<D: Dispatch> Turn<D> {
    pub(super) fn of(task: u64, view: &Arc<View<D>>) -> Self {
        Turn { view: Some(Arc::clone(view)), task }
    }

    /// With a place that is the task's from now on.
    pub(super) fn in_place(place: Place<D>, task: u64) -> Self {
        Turn { view: place.leave(), task }
    }
}

impl<D: Dispatch> Body for Turn<D> {
    fn call(mut self, completion: &mut Completion) -> RunOutcome {
        let Some(view) = self.view.take() else { return RunOutcome::Elsewhere };
        match view.take_turn(self.task, true) {
            Some(task) => run_in_place(&view, task, completion),
            None => RunOutcome::Elsewhere,
        }
    }

    fn retract(mut self, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        let Some(view) = self.view.take() else { return Retracted::Gone(RunOutcome::Elsewhere) };
        let Some(task) = view.take_turn(self.task, false) else { return Retracted::Gone(RunOutcome::Elsewhere) };
        // Free when the task is recalled.
        let _place = Place::of(&view);
        task.retract(kind, cause)
    }

    fn liveness(&self) -> Liveness {
        self.view.as_ref().map_or(Liveness::Dead, |view| view.liveness(self.task))
    }
}

/// One that the pool has not taken in never comes.
impl<D: Dispatch> Drop for Turn<D> {
    fn drop(&mut self) {
        if let Some(view) = self.view.take() {
            view.lose_turn(self.task);
        }
    }
}
