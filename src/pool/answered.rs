//! Closures with an answer, as a [`Pool`](crate::Pool) queues them.

use crate::cancel::CancelToken;
use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::sync::Arc;
use crate::task::closure::{Body, Task};
use crate::task::prospect::Prospect;
use crate::task::slot::{Caller, Recalled, Reply, Run, Slot, Terms, Ticket, Verdict};

/// A slot for a task that is run by `run`, and the task that stands for it.
pub(crate) fn answered<F, T>(f: F, run: Run<F, T>, terms: Terms<F, T>) -> (Arc<Slot<F, T>>, Task)
where
    F: Send + 'static,
    T: Send + 'static,
{
    let slot = Slot::new(f, terms);
    let task = Task::from_body(Answered(Ticket::new(&slot), run));
    (slot, task)
}

/// A task whose input and result are in a slot.
pub(super) struct Answered<F, T>(pub(super) Ticket<F, T>, pub(super) Run<F, T>);

impl<F, T> Body for Answered<F, T>
where
    F: Send + 'static,
    T: Send + 'static,
{
    fn call(self, reply: &mut Reply) -> Verdict {
        self.0.run(reply, None, |f, slot| self.1(f, slot))
    }

    fn recall(self, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        let token = self.0.token();
        match self.0.recall(kind, cause) {
            // Its handle has been told; whoever gets the task may still run it, as long as its token allows.
            Recalled::Here(f) => Recalled::Here(Task::new(move || match token {
                Some(token) if token.is_cancelled() => drop(f),
                _ => drop(self.1(f, &CancelToken::new())),
            })),
            Recalled::ToCaller => Recalled::ToCaller,
            Recalled::Gone(verdict) => Recalled::Gone(verdict),
        }
    }

    fn prospect(&self) -> Prospect {
        self.0.prospect()
    }
}

/// A task whose caller waits for its end.
pub(super) struct CalledTask(pub(super) Task, pub(super) Caller<Task, ()>);

impl Body for CalledTask {
    fn call(self, reply: &mut Reply) -> Verdict {
        self.1.run(reply, || self.0.run());
        Verdict::Ran
    }

    fn recall(self, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        self.1.give_back(SubmitError::new(kind, self.0).because(cause));
        Recalled::ToCaller
    }
}

/// A closure whose caller waits for its result.
pub(super) struct Called<F, T>(pub(super) F, pub(super) Caller<F, T>);

impl<F, T> Body for Called<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn call(self, reply: &mut Reply) -> Verdict {
        self.1.run(reply, self.0);
        Verdict::Ran
    }

    fn recall(self, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        self.1.give_back(SubmitError::new(kind, self.0).because(cause));
        Recalled::ToCaller
    }
}
