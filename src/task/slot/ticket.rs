//! The worker's side of a slot: a ticket in the queue, and then the way of the answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::desk::AnyCaller;
use super::interrupts::AwaitsInterrupt;
use super::{Cancellable, Cell, Running, Slot, Turn};
use crate::cancel::CancelToken;
use crate::error::{Cause, JoinError, Payload, SubmitErrorKind};
use crate::task::current_worker;
use crate::task::interrupter::Interrupter;
use crate::task::prospect::Prospect;

/// What a worker did with what it took from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ran it to its end.
    Ran,
    /// It had been cancelled.
    Cancelled,
    /// Somebody else has started it, and counts it.
    Elsewhere,
}

/// What became of a task that was called back from the queue.
pub enum Recalled<I> {
    Here(I),
    /// The caller who waits for it has it.
    ToCaller,
    /// It was not there any more.
    Gone(Verdict),
}

/// The queue's side of a slot. Dropping a ticket that was not used cancels the task.
pub struct Ticket<I, O>(Option<Arc<Slot<I, O>>>);

impl<I, O> Ticket<I, O> {
    pub(crate) fn new(slot: &Arc<Slot<I, O>>) -> Self {
        Ticket(Some(Arc::clone(slot)))
    }

    /// What cancels the task, besides its handle.
    pub(crate) fn token(&self) -> Option<CancelToken> {
        self.0.as_ref().and_then(|slot| slot.terms.token.clone())
    }

    /// What the queued task can expect.
    pub(crate) fn prospect(&self) -> Prospect {
        self.0.as_ref().map_or(Prospect::Dead, |slot| slot.prospect())
    }

    /// Calls the task back; `kind` is for a caller who waits, `cause` for a handle.
    pub(crate) fn recall(mut self, kind: SubmitErrorKind, cause: Cause) -> Recalled<I> {
        match self.0.take() {
            Some(slot) => slot.recall(Turn::OfTicket, kind, cause),
            None => Recalled::Gone(Verdict::Elsewhere),
        }
    }
}

impl<I: Send + 'static, O: Send + 'static> Ticket<I, O> {
    /// Runs the task with `f` and leaves its output; `reply` is set first.
    pub(crate) fn run(
        self,
        reply: &mut Reply,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, &Slot<I, O>) -> O,
    ) -> Verdict {
        self.run_as(Turn::OfTicket, reply, interrupter, f)
    }

    /// The same for whoever waits for the task, whose ticket stays in the queue. A task that is cancelled is counted as that.
    pub(crate) fn run_withdrawn(self, reply: &mut Reply, f: impl FnOnce(I, &Slot<I, O>) -> O) -> Verdict {
        self.run_as(Turn::OfWaiter, reply, None, f)
    }

    fn run_as(
        mut self,
        turn: Turn,
        reply: &mut Reply,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, &Slot<I, O>) -> O,
    ) -> Verdict {
        let Some(slot) = self.0.take() else { return Verdict::Elsewhere };
        match slot.start(turn, interrupter, reply) {
            Err(verdict) => verdict,
            Ok(input) => {
                reply.set(Arc::clone(&slot) as _);
                if let Some(permit) = &slot.terms.permit {
                    reply.hold(Arc::clone(permit));
                }
                let pool = slot.terms.pool;
                let stop = || current_worker::stoppable(pool, Arc::clone(&slot) as _);
                let stoppable = slot.terms.token.as_ref().map(|_| stop());
                let running = Running::new(&*slot);
                let output = f(input, &slot);
                drop(running);
                drop(stoppable);
                slot.produce(output);
                Verdict::Ran
            }
        }
    }
}

impl<I, O> Drop for Ticket<I, O> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            drop(slot.recall(Turn::OfTicket, SubmitErrorKind::Cancelled, Cause::Cancelled));
        }
    }
}

/// What a running task has of a limit. It is given back when the end of the task has been accounted, so that the figures never
/// show more at work than the limit allows, and before whoever waits for the task is told.
pub(crate) trait Permit: Send + Sync {
    fn release(self: Arc<Self>);
}

/// The end of a task's way: tells whoever waits.
pub(crate) trait Settle: Send + Sync {
    /// Announces the output that was left, or the panic.
    fn settle(&self, panic: Option<Payload>);
    /// What the user calls the task.
    fn name(&self) -> Option<&str> {
        None
    }
}

impl<I: Send, O: Send> Settle for Slot<I, O> {
    fn settle(&self, panic: Option<Payload>) {
        let mut state = self.state.lock();
        let (result, unwanted) = match (std::mem::replace(&mut state.cell, Cell::Empty), panic) {
            (Cell::Produced(output), None) => (Ok(output), None),
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
            self.conclude(state, Cell::Done(result));
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
pub struct Reply {
    due: Option<Due>,
    /// A panic that is not the task's.
    stray: Option<Payload>,
}

struct Due {
    to: Recipient,
    permit: Option<Arc<dyn Permit>>,
}

enum Recipient {
    Nobody,
    Slot(Arc<dyn Settle>),
    Caller(AnyCaller),
}

impl Reply {
    /// From now on the answer goes to `settle`.
    #[inline]
    pub(crate) fn set(&mut self, settle: Arc<dyn Settle>) {
        self.due = Some(Due { to: Recipient::Slot(settle), permit: None });
    }

    /// From now on the answer goes to `caller`.
    #[inline]
    pub(super) fn set_caller(&mut self, caller: AnyCaller) {
        self.due = Some(Due { to: Recipient::Caller(caller), permit: None });
    }

    /// The task has a permit, too. To be called after the answer's way was set, if it is.
    pub(crate) fn hold(&mut self, permit: Arc<dyn Permit>) {
        self.due.get_or_insert(Due { to: Recipient::Nobody, permit: None }).permit = Some(permit);
    }

    /// Whether anything is to be done when the task has been accounted.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// What the user calls the task, if it has a slot.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.due.as_ref()?.to {
            Recipient::Slot(slot) => slot.name(),
            _ => None,
        }
    }

    /// Whether somebody waits for the answer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.due.as_ref().is_some_and(|due| !matches!(due.to, Recipient::Nobody))
    }

    /// Drops, on the worker, what a cancelled task would have run with. A panic of that is nobody's answer: the task was
    /// cancelled all the same.
    pub(crate) fn drop_cancelled<T>(&mut self, captured: T) -> Verdict {
        self.stray = catch_unwind(AssertUnwindSafe(|| drop(captured))).err();
        Verdict::Cancelled
    }

    /// The panic of a drop, if there was one.
    #[inline]
    pub(crate) fn take_stray(&mut self) -> Option<Payload> {
        self.stray.take()
    }

    /// Announces the end of the task. A panic that nobody waits for comes back.
    pub(crate) fn send(&mut self, panic: Option<Payload>) -> Option<Payload> {
        let Some(Due { to, permit }) = self.due.take() else { return panic.or(self.stray.take()) };
        if let Some(permit) = permit {
            permit.release();
        }
        match (to, panic) {
            (Recipient::Slot(slot), panic) => slot.settle(panic),
            (Recipient::Caller(caller), Some(payload)) => caller.panicked(payload),
            (Recipient::Caller(caller), None) => drop(caller),
            (Recipient::Nobody, panic) => return panic.or(self.stray.take()),
        }
        None
    }
}
