//! The worker's side of a task's state: the queue entry, and the announcement of the result.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::interrupts::WaitForInterrupt;
use super::stack_oneshot::ErasedSender;
use super::{Cancellable, Running, Stage, Taker, TaskState};
use crate::cancel::CancelToken;
use crate::error::{Cause, JoinError, Payload, SubmitErrorKind};
use crate::task::current_worker;
use crate::task::interrupter::Interrupter;
use crate::task::liveness::Liveness;
use crate::task::propagated::Propagated;
use crate::task::watch;

/// What a worker did with a queue entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// It ran the task to its end.
    Ran,
    /// The task was cancelled before it started.
    Cancelled,
    /// The task had waited too long, and was dropped before it started. [`Completion::take_late`] has what came back, if no caller has it.
    Dropped,
    /// Another thread has taken the task, and counts it.
    Elsewhere,
    /// Another thread has cancelled the task before, and has counted it.
    CancelledBefore,
}

/// What became of a task that was taken back from the queue.
pub enum Retracted<I> {
    Here(I),
    /// The waiting caller has the input.
    ToCaller,
    /// The task was no longer queued.
    Gone(RunOutcome),
}

/// A queue entry of a task that has a [`TaskState`]. Dropping an unused entry cancels the task.
pub struct TaskRef<I, O>(Option<Arc<TaskState<I, O>>>);

impl<I, O> TaskRef<I, O> {
    pub(crate) fn new(task_state: &Arc<TaskState<I, O>>) -> Self {
        TaskRef(Some(Arc::clone(task_state)))
    }

    /// The token that the task was submitted with.
    pub(crate) fn token(&self) -> Option<CancelToken> {
        self.0.as_ref().and_then(|task_state| task_state.meta.token.clone())
    }

    /// Whether the queued task will run.
    pub(crate) fn liveness(&self) -> Liveness {
        self.0.as_ref().map_or(Liveness::Dead, |task_state| task_state.liveness())
    }

    /// Whether the task has waited for longer than it may.
    #[inline]
    pub(crate) fn is_late(&self) -> bool {
        self.0.as_ref().is_some_and(|task_state| task_state.meta.is_late())
    }

    /// Takes the task back. `kind` is for a waiting caller, `cause` for a handle.
    pub(crate) fn retract(mut self, kind: SubmitErrorKind, cause: Cause) -> Retracted<I> {
        match self.0.take() {
            Some(task_state) => task_state.retract(Taker::Queue, kind, cause),
            None => Retracted::Gone(RunOutcome::Elsewhere),
        }
    }
}

impl<I: Send + 'static, O: Send + 'static> TaskRef<I, O> {
    /// Runs the task with `f` and stores its output. Sets `completion` first.
    pub(crate) fn run(
        self,
        completion: &mut Completion,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, &TaskState<I, O>) -> O,
    ) -> RunOutcome {
        self.run_as(Taker::Queue, completion, interrupter, f)
    }

    /// The same for a thread that waits for the task; the queue entry stays in the queue. A task that is cancelled is counted as cancelled.
    pub(crate) fn run_withdrawn(
        self,
        completion: &mut Completion,
        f: impl FnOnce(I, &TaskState<I, O>) -> O,
    ) -> RunOutcome {
        self.run_as(Taker::Waiter, completion, None, f)
    }

    #[inline]
    fn run_as(
        mut self,
        taker: Taker,
        completion: &mut Completion,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, &TaskState<I, O>) -> O,
    ) -> RunOutcome {
        let Some(task_state) = self.0.take() else { return RunOutcome::Elsewhere };
        match task_state.start(taker, interrupter, completion) {
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
                let entered = task_state.meta.propagated().map(Propagated::enter);
                let output = f(input, &task_state);
                drop(entered);
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
            drop(task_state.retract(Taker::Queue, SubmitErrorKind::Cancelled, Cause::Cancelled));
        }
    }
}

/// A running task's permit of a concurrency limit. It is released after the end of the task was counted, so that no figure shows more
/// running tasks than the limit allows, and before the waiters are woken.
pub(crate) trait Permit: Send + Sync {
    fn release(self: Arc<Self>);
}

/// What a task came back as, of any type.
pub(crate) type Late = Box<dyn Any + Send>;

/// The end of a task: wakes the waiters.
pub(crate) trait Complete: Send + Sync {
    /// Announces the stored output, or the panic.
    fn complete(&self, panic: Option<Payload>);
    /// The name that the user gave the task.
    fn name(&self) -> Option<&str> {
        None
    }
    /// The task, if it can be asked for its options.
    fn cancellable(&self) -> Option<&dyn Cancellable> {
        None
    }
}

impl<I: Send, O: Send> Complete for TaskState<I, O> {
    fn complete(&self, panic: Option<Payload>) {
        self.meta.release_weight();
        let mut state = self.state.lock();
        let has_panicked = panic.is_some();
        let (result, unwanted) = match (std::mem::replace(&mut state.stage, Stage::Empty), panic) {
            (Stage::Produced(output), None) => (Ok(output), None),
            // The task may have stored an output before it panicked.
            (found, Some(payload)) => (Err(JoinError::panic(payload)), Some(found)),
            (found, None) => (Err(JoinError::new(Cause::Cancelled)), Some(found)),
        };
        // The stage is no longer `Running`, so no interrupt can begin. One that has begun may wait for the task's end, so the end is
        // announced before the worker waits for it.
        let _interrupt = state.is_interrupting().then(|| WaitForInterrupt(self));
        if state.detached {
            // The output of a task that has not panicked was dropped before.
            if has_panicked {
                self.note_failed();
            }
            let more = state.more_waiters.take();
            drop(state);
            drop(result);
            // Tasks that depend on this one.
            more.into_iter().for_each(|more| more.wake_all());
        } else {
            self.finish(state, Stage::Done(result));
        }
        drop(unwanted);
    }

    fn name(&self) -> Option<&str> {
        Cancellable::name(self)
    }

    fn cancellable(&self) -> Option<&dyn Cancellable> {
        Some(self)
    }
}

/// What is left to do when the end of a task has been counted: to announce its result, if there is a receiver, and to release its
/// permit. The task sets it before user code runs.
#[derive(Default)]
pub struct Completion {
    pending: Option<Pending>,
    /// The panic of a drop, which is not the task's.
    drop_panic: Option<Payload>,
    /// What a task came back as that had waited too long.
    late: Option<Late>,
}

struct Pending {
    to: Recipient,
    permit: Option<Arc<dyn Permit>>,
}

enum Recipient {
    None,
    TaskState(Arc<dyn Complete>),
    ReplySender(ErasedSender),
}

impl Completion {
    /// Sends the result to `complete`.
    #[inline]
    pub(crate) fn set(&mut self, complete: Arc<dyn Complete>) {
        if watch::is_watched() {
            _ = watch::edit(|watch| watch.start_task(&complete));
        }
        self.pending = Some(Pending { to: Recipient::TaskState(complete), permit: None });
    }

    /// Sends the result to `sender`.
    #[inline]
    pub(super) fn set_caller(&mut self, sender: ErasedSender) {
        if watch::is_watched() {
            _ = watch::edit(|watch| watch.start(None));
        }
        self.pending = Some(Pending { to: Recipient::ReplySender(sender), permit: None });
    }

    /// Adds a permit to release. Call it after the receiver of the result is set, if there is one.
    pub(crate) fn hold(&mut self, permit: Arc<dyn Permit>) {
        self.pending.get_or_insert(Pending { to: Recipient::None, permit: None }).permit = Some(permit);
    }

    /// Whether anything is left to do when the end of the task has been counted.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The name that the user gave the task, if it has a [`TaskState`].
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.pending.as_ref()?.to {
            Recipient::TaskState(task_state) => task_state.name(),
            _ => None,
        }
    }

    /// Whether the result has a receiver.
    pub(crate) fn is_wanted(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !matches!(pending.to, Recipient::None))
    }

    /// Drops, on the worker, the input of a cancelled task. A panic of that drop is not the task's result: the task stays cancelled.
    pub(crate) fn drop_cancelled<T>(&mut self, captured: T) -> RunOutcome {
        self.drop_panic = catch_unwind(AssertUnwindSafe(|| drop(captured))).err();
        RunOutcome::Cancelled
    }

    /// Keeps what a task came back as that had waited too long.
    #[cold]
    pub(crate) fn drop_late<T: Send + 'static>(&mut self, retracted: Retracted<T>) -> RunOutcome {
        match retracted {
            Retracted::Here(task) => self.late = Some(Box::new(task)),
            Retracted::ToCaller => {}
            Retracted::Gone(outcome) => return outcome,
        }
        RunOutcome::Dropped
    }

    /// Takes what [`drop_late`](Self::drop_late) has kept.
    pub(crate) fn take_late(&mut self) -> Option<Late> {
        self.late.take()
    }

    /// Takes the panic of a drop, if there was one.
    #[inline]
    pub(crate) fn take_drop_panic(&mut self) -> Option<Payload> {
        self.drop_panic.take()
    }

    /// Announces the end of the task. Returns a panic that has no receiver.
    pub(crate) fn send(&mut self, panic: Option<Payload>) -> Option<Payload> {
        let Some(Pending { to, permit }) = self.pending.take() else { return panic.or(self.drop_panic.take()) };
        if let Some(permit) = permit {
            permit.release();
        }
        match (to, panic) {
            (Recipient::TaskState(task_state), panic) => task_state.complete(panic),
            (Recipient::ReplySender(sender), Some(payload)) => sender.panicked(payload),
            (Recipient::ReplySender(sender), None) => drop(sender),
            (Recipient::None, panic) => return panic.or(self.drop_panic.take()),
        }
        None
    }
}
