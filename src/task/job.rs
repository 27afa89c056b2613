//! A payload on its way to a function: what `PoolWithFunc` and `StatefulPool` queue.

use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::task::deferred::Deferred;
use crate::task::interrupter::Interrupter;
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, ReplySender, Retracted, RunOutcome, TaskRef, TaskState};

/// A payload that nobody waits for, or a ticket to one with an answer expected.
pub enum Job<I, O> {
    /// The payload itself; its output is dropped.
    Plain(I),
    /// The payload is in the slot.
    Answered(TaskRef<I, O>),
    /// The payload of a call, and where its answer goes.
    Called(I, ReplySender<I, O>),
    /// The job is kept by a limited view until it starts.
    Deferred(Box<Deferred<Job<I, O>, I>>),
}

static_assertions::const_assert!(std::mem::size_of::<Job<u64, u64>>() <= 8 + 16);

impl<I: Send + 'static, O: Send + 'static> Job<I, O> {
    /// Runs `f` on the payload. The slot, if there is one, tells the deadline.
    pub(crate) fn run(
        self,
        completion: &mut Completion,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, Option<&TaskState<I, O>>) -> O,
    ) -> RunOutcome {
        match self {
            Job::Plain(input) => {
                drop(f(input, None));
                RunOutcome::Ran
            }
            Job::Answered(task_ref) => {
                task_ref.run(completion, interrupter, |input, task_state| f(input, Some(task_state)))
            }
            Job::Called(input, sender) => {
                sender.run(completion, || f(input, None));
                RunOutcome::Ran
            }
            Job::Deferred(deferred) => {
                let mut f = Some(f);
                deferred.run(completion, &mut |job, completion| match f.take() {
                    Some(f) => job.run(completion, interrupter, f),
                    None => RunOutcome::Elsewhere,
                })
            }
        }
    }

    /// See [`Runner::liveness`](crate::engine::Runner::liveness).
    pub(crate) fn liveness(&self) -> Liveness {
        match self {
            Job::Plain(_) | Job::Called(..) => Liveness::Runs,
            Job::Answered(task_ref) => task_ref.liveness(),
            Job::Deferred(deferred) => deferred.liveness(),
        }
    }

    /// The payload of a job that will not run; a caller who waits for the job gets it first.
    pub(crate) fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<I> {
        match self {
            Job::Plain(input) => Retracted::Here(input),
            Job::Answered(task_ref) => task_ref.retract(kind, cause),
            Job::Deferred(deferred) => deferred.retract(kind, cause),
            Job::Called(input, sender) => {
                sender.give_back(SubmitError::new(kind, input).because(cause));
                Retracted::ToCaller
            }
        }
    }

    /// The payload of a job that was refused, and so is still as it was made.
    pub(crate) fn into_payload(self) -> I {
        match self {
            Job::Plain(input) => input,
            Job::Answered(_) | Job::Called(..) | Job::Deferred(_) => {
                unreachable!("a job with an answer comes back through its task_state")
            }
        }
    }
}
