//! The worker's side of a slot: a ticket in the queue, and then the way of the answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::interrupts::AwaitsInterrupt;
use super::stack_oneshot::ErasedSender;
use super::{Cancellable, Running, Stage, TaskState, Turn};
use crate::cancel::CancelToken;
use crate::error::{Cause, JoinError, Payload, SubmitErrorKind};
use crate::task::current_worker;
use crate::task::interrupter::Interrupter;
use crate::task::liveness::Liveness;

/// What a worker did with what it took from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Ran it to its end.
    Ran,
    /// It had been cancelled.
    Cancelled,
    /// Somebody else has started it, and counts it.
    Elsewhere,
}

/// What became of a task that was called back from the queue.
pub enum Retracted<I> {
    Here(I),
    /// The caller who waits for it has it.
    ToCaller,
    /// It was not there any more.
    Gone(RunOutcome),
}

/// The queue's side of a slot. Dropping a ticket that was not used cancels the task.
pub struct TaskRef<I, O>(Option<Arc<TaskState<I, O>>>);

impl<I, O> TaskRef<I, O> {
    pub(crate) fn new(task_state: &Arc<TaskState<I, O>>) -> Self {
        TaskRef(Some(Arc::clone(task_state)))
    }

    /// What cancels the task, besides its handle.
    pub(crate) fn token(&self) -> Option<CancelToken> {
        self.0.as_ref().and_then(|task_state| task_state.meta.token.clone())
    }

    /// What the queued task can expect.
    pub(crate) fn liveness(&self) -> Liveness {
        self.0.as_ref().map_or(Liveness::Dead, |task_state| task_state.liveness())
    }

    /// Calls the task back; `kind` is for a caller who waits, `cause` for a handle.
    pub(crate) fn retract(mut self, kind: SubmitErrorKind, cause: Cause) -> Retracted<I> {
        match self.0.take() {
            Some(task_state) => task_state.retract(Turn::OfTicket, kind, cause),
            None => Retracted::Gone(RunOutcome::Elsewhere),
        }
    }
}

impl<I: Send + 'static, O: Send + 'static> TaskRef<I, O> {
    /// Runs the task with `f` and leaves its output; `completion` is set first.
    pub(crate) fn run(
        self,
        completion: &mut Completion,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, &TaskState<I, O>) -> O,
    ) -> RunOutcome {
        self.run_as(Turn::OfTicket, completion, interrupter, f)
    }

    /// The same for whoever waits for the task, whose ticket stays in the queue. A task that is cancelled is counted as that.
    pub(crate) fn run_withdrawn(
        self,
        completion: &mut Completion,
        f: impl FnOnce(I, &TaskState<I, O>) -> O,
    ) -> RunOutcome {
        self.run_as(Turn::OfWaiter, completion, None, f)
    }

    fn run_as(
        mut self,
        turn: Turn,
        completion: &mut Completion,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, &TaskState<I, O>) -> O,
    ) -> RunOutcome {
        let Some(task_state) = self.0.take() else { return RunOutcome::Elsewhere };
        match task_state.start(turn, interrupter, completion) {
            Err(outcome) => outcome,
            Ok(input) => {
                completion.set(Arc::clone(&task_state) as _);
                if let Some(permit) = &task_state.meta.permit {
                    completion.hold(Arc::clone(permit));
                }
                let pool = task_state.meta.pool;
                let stop = || current_worker::stoppable(pool, Arc::clone(&task_state) as _);
                let stoppable = task_state.meta.token.as_ref().map(|_| stop());
                let running = Running::new(&*task_state);
                let output = f(input, &task_state);
                drop(running);
                drop(stoppable);
                task_state.produce(output);
                RunOutcome::Ran
            }
        }
    }
}

impl<I, O> Drop for TaskRef<I, O> {
    fn drop(&mut self) {
        if let Some(task_state) = self.0.take() {
            drop(task_state.retract(Turn::OfTicket, SubmitErrorKind::Cancelled, Cause::Cancelled));
        }
    }
}

/// What a running task has of a limit. It is given back when the end of the task has been accounted, so that the figures never
/// show more at work than the limit allows, and before whoever waits for the task is told.
pub(crate) trait Permit: Send + Sync {
    fn release(self: Arc<Self>);
}

/// The end of a task's way: tells whoever waits.
pub(crate) trait Complete: Send + Sync {
    /// Announces the output that was left, or the panic.
    fn complete(&self, panic: Option<Payload>);
    /// What the user calls the task.
    fn name(&self) -> Option<&str> {
        None
    }
}

impl<I: Send, O: Send> Complete for TaskState<I, O> {
    fn complete(&self, panic: Option<Payload>) {
        let mut state = self.state.lock();
        let (result, unwanted) = match (std::mem::replace(&mut state.stage, Stage::Empty), panic) {
            (Stage::Produced(output), None) => (Ok(output), None),
            // It may have produced an output before it panicked.
            (found, Some(payload)) => (Err(JoinError::panic(payload)), Some(found)),
            (found, None) => (Err(JoinError::new(Cause::Cancelled)), Some(found)),
        };
        // Nobody begins to interrupt a task that has ended. Whoever is at it may wait for its end: so that is announced first.
        let _interrupt = state.is_interrupting().then(|| AwaitsInterrupt(self));
        if state.detached {
            drop(state);
            drop(result);
        } else {
            self.finish(state, Stage::Done(result));
        }
        drop(unwanted);
    }

    fn name(&self) -> Option<&str> {
        Cancellable::name(self)
    }
}

/// What is to be done when a task has been accounted: its answer has to go somewhere, if anywhere. The task sets it before any
/// user code runs.
#[derive(Default)]
pub struct Completion {
    pending: Option<Pending>,
    /// A panic that is not the task's.
    drop_panic: Option<Payload>,
}

struct Pending {
    to: Recipient,
    permit: Option<Arc<dyn Permit>>,
}

enum Recipient {
    Nobody,
    TaskState(Arc<dyn Complete>),
    ReplySender(ErasedSender),
}

impl Completion {
    /// From now on the answer goes to `complete`.
    #[inline]
    pub(crate) fn set(&mut self, complete: Arc<dyn Complete>) {
        self.pending = Some(Pending { to: Recipient::TaskState(complete), permit: None });
    }

    /// From now on the answer goes to `sender`.
    #[inline]
    pub(super) fn set_caller(&mut self, sender: ErasedSender) {
        self.pending = Some(Pending { to: Recipient::ReplySender(sender), permit: None });
    }

    /// The task has a permit, too. To be called after the answer's way was set, if it is.
    pub(crate) fn hold(&mut self, permit: Arc<dyn Permit>) {
        self.pending.get_or_insert(Pending { to: Recipient::Nobody, permit: None }).permit = Some(permit);
    }

    /// Whether anything is to be done when the task has been accounted.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// What the user calls the task, if it has a slot.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.pending.as_ref()?.to {
            Recipient::TaskState(task_state) => task_state.name(),
            _ => None,
        }
    }

    /// Whether somebody waits for the answer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !matches!(pending.to, Recipient::Nobody))
    }

    /// Drops, on the worker, what a cancelled task would have run with. A panic of that is nobody's answer: the task was
    /// cancelled all the same.
    pub(crate) fn drop_cancelled<T>(&mut self, captured: T) -> RunOutcome {
        self.drop_panic = catch_unwind(AssertUnwindSafe(|| drop(captured))).err();
        RunOutcome::Cancelled
    }

    /// The panic of a drop, if there was one.
    #[inline]
    pub(crate) fn take_drop_panic(&mut self) -> Option<Payload> {
        self.drop_panic.take()
    }

    /// Announces the end of the task. A panic that nobody waits for comes back.
    pub(crate) fn send(&mut self, panic: Option<Payload>) -> Option<Payload> {
        let Some(Pending { to, permit }) = self.pending.take() else { return panic.or(self.drop_panic.take()) };
        if let Some(permit) = permit {
            permit.release();
        }
        match (to, panic) {
            (Recipient::TaskState(task_state), panic) => task_state.complete(panic),
            (Recipient::ReplySender(sender), Some(payload)) => sender.panicked(payload),
            (Recipient::ReplySender(sender), None) => drop(sender),
            (Recipient::Nobody, panic) => return panic.or(self.drop_panic.take()),
        }
        None
    }
}
