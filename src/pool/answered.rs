//! The tasks of a [`Pool`](crate::Pool) whose results are delivered: to a task state, or to the stack of a waiting caller.

use crate::cancel::CancelToken;
use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::sync::Arc;
use crate::task::closure::{Body, Task};
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, ReplySender, Retracted, Run, RunOutcome, TaskMeta, TaskRef, TaskState};

/// A task state for `f`, which `run` will run, and the task that refers to it.
pub(crate) fn answered<F, T>(f: F, run: Run<F, T>, meta: TaskMeta<F, T>) -> (Arc<TaskState<F, T>>, Task)
where
    F: Send + 'static,
    T: Send + 'static,
{
    let task_state = TaskState::new(f, meta);
    let task = Task::from_body(Answered(TaskRef::new(&task_state), run));
    (task_state, task)
}

/// A task whose input and result are in a task state.
pub(super) struct Answered<F, T>(pub(super) TaskRef<F, T>, pub(super) Run<F, T>);

impl<F, T> Body for Answered<F, T>
where
    F: Send + 'static,
    T: Send + 'static,
{
    fn call(self, completion: &mut Completion) -> RunOutcome {
        if self.0.is_late() {
            return completion.drop_late(self.retract(SubmitErrorKind::Dropped, Cause::Dropped));
        }
        self.0.run(completion, None, |f, task_state| self.1(f, task_state))
    }

    fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        let token = self.0.token();
        match self.0.retract(kind, cause) {
            // Its handle reports that it was cancelled. The returned task can still be run, unless its token is cancelled.
            Retracted::Here(f) => Retracted::Here(Task::new(move || match token {
                Some(token) if token.is_cancelled() => drop(f),
                _ => drop(self.1(f, &CancelToken::new())),
            })),
            Retracted::ToCaller => Retracted::ToCaller,
            Retracted::Gone(outcome) => Retracted::Gone(outcome),
        }
    }

    fn liveness(&self) -> Liveness {
        self.0.liveness()
    }
}

/// A [`Task`] whose caller waits for its end.
pub(super) struct CalledTask(pub(super) Task, pub(super) ReplySender<Task, ()>);

impl Body for CalledTask {
    fn call(self, completion: &mut Completion) -> RunOutcome {
        self.1.run(completion, || self.0.run());
        RunOutcome::Ran
    }

    fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        self.1.give_back(SubmitError::new(kind, self.0).with_cause(cause));
        Retracted::ToCaller
    }
}

/// A closure whose caller waits for its result.
pub(super) struct Called<F, T>(pub(super) F, pub(super) ReplySender<F, T>);

impl<F, T> Body for Called<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn call(self, completion: &mut Completion) -> RunOutcome {
        self.1.run(completion, self.0);
        RunOutcome::Ran
    }

    fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<Task> {
        self.1.give_back(SubmitError::new(kind, self.0).with_cause(cause));
        Retracted::ToCaller
    }
}
