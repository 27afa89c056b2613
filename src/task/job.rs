//! A payload on its way to a function: what `PoolWithFunc` and `StatefulPool` queue.

use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::task::interrupter::Interrupter;
use crate::task::prospect::Prospect;
use crate::task::slot::{Caller, Recalled, Reply, Slot, Ticket, Verdict};

/// A payload that nobody waits for, or a ticket to one with an answer expected.
pub enum Job<I, O> {
    /// The payload itself; its output is dropped.
    Plain(I),
    /// The payload is in the slot.
    Answered(Ticket<I, O>),
    /// The payload of a call, and where its answer goes.
    Called(I, Caller<I, O>),
}

static_assertions::const_assert!(std::mem::size_of::<Job<u64, u64>>() <= 8 + 16);

impl<I: Send + 'static, O: Send + 'static> Job<I, O> {
    /// Runs `f` on the payload. The slot, if there is one, tells the deadline.
    pub(crate) fn run(
        self,
        reply: &mut Reply,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, Option<&Slot<I, O>>) -> O,
    ) -> Verdict {
        match self {
            Job::Plain(input) => {
                drop(f(input, None));
                Verdict::Ran
            }
            Job::Answered(ticket) => ticket.run(reply, interrupter, |input, slot| f(input, Some(slot))),
            Job::Called(input, caller) => {
                caller.run(reply, || f(input, None));
                Verdict::Ran
            }
        }
    }

    /// See [`Runner::prospect`](crate::engine::Runner::prospect).
    pub(crate) fn prospect(&self) -> Prospect {
        match self {
            Job::Plain(_) | Job::Called(..) => Prospect::Runs,
            Job::Answered(ticket) => ticket.prospect(),
        }
    }

    /// The payload of a job that will not run; a caller who waits for the job gets it first.
    pub(crate) fn recall(self, kind: SubmitErrorKind, cause: Cause) -> Recalled<I> {
        match self {
            Job::Plain(input) => Recalled::Here(input),
            Job::Answered(ticket) => ticket.recall(kind, cause),
            Job::Called(input, caller) => {
                caller.give_back(SubmitError::new(kind, input).because(cause));
                Recalled::ToCaller
            }
        }
    }

    /// The payload of a job that was refused, and so is still as it was made.
    pub(crate) fn into_payload(self) -> I {
        match self {
            Job::Plain(input) => input,
            Job::Answered(_) | Job::Called(..) => unreachable!("a job with an answer comes back through its slot"),
        }
    }
}
