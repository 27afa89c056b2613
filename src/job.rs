//! A payload on its way to a function: what `PoolWithFunc` and `StatefulPool` queue.

use std::sync::Arc;
use std::time::Instant;

use crate::cancel::CancelToken;
use crate::dispatch::Dispatch;
use crate::engine::nested::PoolId;
use crate::engine::{Engine, Patience, Prospect, Runner, Way};
use crate::error::{CallError, Cause, SubmitError, SubmitErrorKind};
use crate::interrupter::Interrupter;
use crate::slot::{Caller, Desk, Recalled, Reply, Slot, Terms, Ticket, Verdict};

/// A payload that nobody waits for, or a ticket to one with an answer expected.
pub(crate) enum Job<I, O> {
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

    /// See [`Runner::prospect`].
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

/// A slot for a payload, and its entry into the pool.
pub(crate) fn enter<'t, I, O, R, D>(
    engine: &Arc<Engine<R, D>>,
    slot: &Arc<Slot<I, O>>,
    way: impl Into<Way<'t>>,
) -> Result<(), SubmitError<I>>
where
    I: Send + 'static,
    O: Send + 'static,
    R: Runner<Item = Job<I, O>>,
    D: Dispatch,
{
    engine.submit_slot(slot, Job::Answered(Ticket::new(slot)), way)
}

/// The terms of a task that needs a worker's function or state.
pub(crate) fn terms<I, O>(pool: PoolId, is_call: bool, deadline: Option<Instant>) -> Terms<I, O> {
    Terms { pool, is_call, deadline, token: None, run_here: None, view: None, permit: None }
}

/// Puts a payload into the pool, to be cancelled with `token`, which also makes its submitter give up.
pub(crate) fn enter_cancellable<I, O, R, D>(
    engine: &Arc<Engine<R, D>>,
    input: I,
    token: &CancelToken,
    is_call: bool,
) -> Result<Arc<Slot<I, O>>, SubmitError<I>>
where
    I: Send + 'static,
    O: Send + 'static,
    R: Runner<Item = Job<I, O>>,
    D: Dispatch,
{
    let slot = Slot::new(input, Terms { token: Some(token.clone()), ..terms(engine.id(), is_call, None) });
    enter(engine, &slot, Way::from(engine.default_patience()).unless(Some(token)))?;
    Ok(slot)
}

/// The same without blocking the thread, and the token is optional.
pub(crate) fn enter_async<'p, I, O, R, D>(
    engine: &'p Arc<Engine<R, D>>,
    input: I,
    token: Option<&'p CancelToken>,
) -> impl Future<Output = Result<Arc<Slot<I, O>>, SubmitError<I>>> + Send
where
    I: Send + 'static,
    O: Send + 'static,
    R: Runner<Item = Job<I, O>>,
    D: Dispatch,
{
    let slot = Slot::new(input, Terms { token: token.cloned(), ..terms(engine.id(), false, None) });
    let task = Job::Answered(Ticket::new(&slot));
    engine.submit_slot_async(slot, task, Way::from(Patience::Forever).unless(token))
}

/// Submits a payload, perhaps with a key, and waits for its output; a deadline is for both together.
pub(crate) fn call<I, O, R, D>(
    engine: &Arc<Engine<R, D>>,
    input: I,
    deadline: Option<Instant>,
    key: Option<u64>,
) -> Result<O, CallError<I>>
where
    I: Send + 'static,
    O: Send + 'static,
    R: Runner<Item = Job<I, O>>,
    D: Dispatch,
{
    let patience = deadline.map_or(engine.default_patience(), Patience::Until);
    let way = engine.way(key, patience);
    // Who has a deadline may leave before the answer is there, and a worker of the pool may have to run the task itself.
    if deadline.is_none() && !engine.is_inside() {
        return Desk::call(|caller| engine.submit(input, |input| Job::Called(input, caller), way))?.into_result();
    }
    let slot = Slot::new(input, terms(engine.id(), true, deadline));
    enter(engine, &slot, way)?;
    slot.call().into_result()
}
