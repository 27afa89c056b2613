//! A payload for a function: what `PoolWithFunc` and `StatefulPool` queue.

use super::packed_job::JobKind;
use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::task::deferred::Deferred;
use crate::task::interrupter::Interrupter;
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, ReplySender, Retracted, RunOutcome, TaskRef, TaskState};

pub(crate) use super::packed_job::Job;

impl<I, O> Job<I, O> {
    /// A payload whose output is dropped.
    #[inline]
    pub(crate) fn plain(input: I) -> Self {
        Job::pack(JobKind::Plain(input))
    }

    /// A payload in the state of its task.
    pub(crate) fn answered(task_ref: TaskRef<I, O>) -> Self {
        Job::pack(JobKind::Answered(task_ref))
    }

    /// The payload of a synchronous call, and the sender of its answer.
    pub(crate) fn called(input: I, sender: ReplySender<I, O>) -> Self {
        Job::pack(JobKind::Called(input, sender))
    }

    /// A job that a limited view keeps until it starts.
    pub(crate) fn deferred(deferred: Deferred<Job<I, O>, I>) -> Self {
        Job::pack(JobKind::Deferred(Box::new(deferred)))
    }
}

impl<I: Send + 'static, O: Send + 'static> Job<I, O> {
    /// Runs `f` on the payload, with the task's state if there is one.
    pub(crate) fn run(
        self,
        completion: &mut Completion,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, Option<&TaskState<I, O>>) -> O,
    ) -> RunOutcome {
        match self.unpack() {
            JobKind::Plain(input) => {
                drop(f(input, None));
                RunOutcome::Ran
            }
            JobKind::Answered(task_ref) => {
                if task_ref.is_late() {
                    return completion.drop_late(task_ref.retract(SubmitErrorKind::Dropped, Cause::Dropped));
                }
                task_ref.run(completion, interrupter, |input, task_state| f(input, Some(task_state)))
            }
            JobKind::Called(input, sender) => {
                sender.run(completion, || f(input, None));
                RunOutcome::Ran
            }
            JobKind::Deferred(deferred) => {
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
        match (self.task_ref(), self.deferred_entry()) {
            (Some(task_ref), _) => task_ref.liveness(),
            (_, Some(deferred)) => deferred.liveness(),
            _ => Liveness::Runs,
        }
    }

    /// Takes back the payload of a job that will not run. A waiting caller gets it instead.
    pub(crate) fn retract(self, kind: SubmitErrorKind, cause: Cause) -> Retracted<I> {
        match self.unpack() {
            JobKind::Plain(input) => Retracted::Here(input),
            JobKind::Answered(task_ref) => task_ref.retract(kind, cause),
            JobKind::Deferred(deferred) => deferred.retract(kind, cause),
            JobKind::Called(input, sender) => {
                sender.give_back(SubmitError::new(kind, input).with_cause(cause));
                Retracted::ToCaller
            }
        }
    }

    /// Unwraps the payload of a job that was refused, and so is as it was made.
    pub(crate) fn into_payload(self) -> I {
        match self.unpack() {
            JobKind::Plain(input) => input,
            JobKind::Answered(_) | JobKind::Called(..) | JobKind::Deferred(_) => {
                unreachable!("the payload of a job with a receiver comes back through its state")
            }
        }
    }
}
