//! A payload for a function: what `PoolWithFunc` and `StatefulPool` queue.

use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::task::deferred::Deferred;
use crate::task::interrupter::Interrupter;
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, ReplySender, Retracted, RunOutcome, TaskRef, TaskState};

/// A payload, with or without a receiver for the output.
pub enum Job<I, O> {
    /// The payload. Its output is dropped.
    Plain(I),
    /// The payload is in the task's state.
    Answered(TaskRef<I, O>),
    /// The payload of a synchronous call, and the sender of its answer.
    Called(I, ReplySender<I, O>),
    /// A limited view keeps the job until it starts.
    Deferred(Box<Deferred<Job<I, O>, I>>),
}

static_assertions::const_assert!(std::mem::size_of::<Job<u64, u64>>() <= 8 + 16);

impl<I: Send + 'static, O: Send + 'static> Job<I, O> {
    /// Runs `f` on the payload, with the task's state if there is one.
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

    /// Takes back the payload of a job that will not run. A waiting caller gets it instead.
    pub(crate) fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<I> {
        match self {
            Job::Plain(input) => Retracted::Here(input),
            Job::Answered(task_ref) => task_ref.retract(kind, cause),
            Job::Deferred(deferred) => deferred.retract(kind, cause),
            Job::Called(input, sender) => {
                sender.give_back(SubmitError::new(kind, input).with_cause(cause));
                Retracted::ToCaller
            }
        }
    }

    /// Unwraps the payload of a job that was refused, and so is as it was made.
    pub(crate) fn into_payload(self) -> I {
        match self {
            Job::Plain(input) => input,
            Job::Answered(_) | Job::Called(..) | Job::Deferred(_) => {
                unreachable!("the payload of a job with a receiver comes back through its state")
            }
        }
    }
}
