//! The meeting point of one task and whoever waits for its result.
//!
//! A slot holds the input until the task starts and the result afterwards. The worker's side is a
//! [`Ticket`] in the queue and then a [`Reply`]; the waiter's side is a [`Handle`](crate::Handle) or a
//! synchronous call. All of it is behind one lock that is held for a few instructions, but for an
//! interrupt (see [`Slot::give_up`]).

use std::sync::Arc;
use std::time::Instant;

use crate::engine::nested;
use crate::error::{CallError, Cause, JoinError, Payload, SubmitError, SubmitErrorKind};
use crate::interrupter::Interrupter;
use crate::sync::{AtomicBool, Mutex, Ordering, Thread, current, park};

/// What a worker did with what it took from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ran it to its end.
    Ran,
    /// It had been cancelled.
    Cancelled,
    /// Somebody else has started it, and counts it.
    Elsewhere,
}

enum Cell<I, O> {
    Queued(I),
    /// With what can interrupt it.
    Running(Option<Interrupter>),
    /// The task has ended and left its output; it is not announced yet.
    Produced(O),
    Done(Result<O, JoinError>),
    /// Given back unstarted, for the waiting caller to fetch, with the reason.
    Returned(I, SubmitErrorKind),
    /// What was here has been taken.
    Empty,
}

struct State<I, O> {
    cell: Cell<I, O>,
    /// What a ticket for a task that is no longer queued stands for.
    fate: Verdict,
    waiter: Option<Thread>,
    /// Nobody will ask for the result.
    detached: bool,
}

/// One task's input, then its result.
pub(crate) struct Slot<I, O> {
    state: Mutex<State<I, O>>,
    terms: Terms<I, O>,
    given_up: AtomicBool,
}

/// What was agreed on when the task was submitted.
pub(crate) struct Terms<I, O> {
    /// The pool that runs the task.
    pub(crate) pool: nested::PoolId,
    /// Whether a caller waits who wants the input back if the task does not start.
    pub(crate) is_call: bool,
    pub(crate) deadline: Option<Instant>,
    /// How to run the task without a worker's state, if it can be.
    pub(crate) run_here: Option<fn(I) -> O>,
}

/// How a wait ended.
pub(crate) enum Outcome<I, O> {
    Done(Result<O, JoinError>),
    /// The task did not start; its input is back.
    Returned(I, SubmitErrorKind),
    /// A worker of the pool would have waited for itself.
    WouldDeadlock,
    TimedOut,
}

impl<I, O> Outcome<I, O> {
    /// The end of a synchronous call.
    pub(crate) fn into_result(self) -> Result<O, CallError<I>> {
        match self {
            Outcome::Done(Ok(output)) => Ok(output),
            Outcome::Done(Err(error)) => Err(CallError::Failed(error)),
            Outcome::Returned(input, kind) => Err(SubmitError::new(kind, input).into()),
            Outcome::WouldDeadlock => Err(JoinError::new(Cause::WouldDeadlock).into()),
            Outcome::TimedOut => Err(JoinError::new(Cause::TimedOut).into()),
        }
    }
}

/// What became of a task that was called back from the queue.
pub(crate) enum Recalled<I> {
    Here(I),
    /// The caller who waits for it has it.
    ToCaller,
    /// It was not there any more.
    Gone(Verdict),
}

impl<I, O> State<I, O> {
    /// Puts the last word into the cell and tells the waiter.
    fn conclude(&mut self, cell: Cell<I, O>) {
        self.cell = cell;
        if let Some(waiter) = self.waiter.take() {
            waiter.unpark();
        }
    }
}

impl<I, O> Slot<I, O> {
    pub(crate) fn new(input: I, terms: Terms<I, O>) -> Arc<Self> {
        Arc::new(Slot {
            state: Mutex::new(State {
                cell: Cell::Queued(input),
                fate: Verdict::Elsewhere,
                waiter: None,
                detached: false,
            }),
            terms,
            given_up: AtomicBool::new(false),
        })
    }

    pub(crate) fn terms(&self) -> &Terms<I, O> {
        &self.terms
    }

    /// Set when a timed caller has stopped waiting for the running task.
    pub(crate) fn given_up(&self) -> &AtomicBool {
        &self.given_up
    }

    /// The turn of the task has come: takes the input.
    fn start(&self, interrupter: Option<&Interrupter>) -> Result<I, Verdict> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.cell, Cell::Empty) {
            Cell::Queued(input) => {
                state.cell = Cell::Running(interrupter.cloned());
                Ok(input)
            }
            other => {
                state.cell = other;
                Err(state.fate)
            }
        }
    }

    /// Leaves the output, to be announced by [`Settle::settle`]. If nobody wants it, it is dropped here: on the
    /// worker, before the task counts as ended.
    fn produce(&self, output: O) {
        let mut state = self.state.lock();
        if state.detached {
            drop(state);
            drop(output);
        } else {
            state.cell = Cell::Produced(output);
        }
    }

    /// A task that has not started never will.
    fn recall(&self, kind: SubmitErrorKind, cause: Cause) -> Recalled<I> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.cell, Cell::Empty) {
            Cell::Queued(input) => {
                state.fate = Verdict::Cancelled;
                if self.terms.is_call {
                    state.conclude(Cell::Returned(input, kind));
                    Recalled::ToCaller
                } else {
                    state.conclude(Cell::Done(Err(JoinError::new(cause))));
                    Recalled::Here(input)
                }
            }
            other => {
                state.cell = other;
                Recalled::Gone(state.fate)
            }
        }
    }

    /// Nobody will ask for the result any more. One that is there already is dropped here, so that the worker need not
    /// do it on its way to the next task.
    pub(crate) fn detach(&self) {
        let mut state = self.state.lock();
        state.detached = true;
        let unwanted = match std::mem::replace(&mut state.cell, Cell::Empty) {
            found @ (Cell::Done(_) | Cell::Produced(_)) => Some(found),
            other => {
                state.cell = other;
                None
            }
        };
        drop(state);
        drop(unwanted);
    }

    /// The timed caller stops waiting. What runs is interrupted: under the lock that the worker needs to
    /// end the task, so that the interrupt cannot reach the task after it.
    pub(crate) fn give_up(&self) -> Outcome<I, O> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.cell, Cell::Empty) {
            Cell::Queued(input) => {
                state.fate = Verdict::Cancelled;
                Outcome::Returned(input, SubmitErrorKind::TimedOut)
            }
            Cell::Returned(input, kind) => Outcome::Returned(input, kind),
            Cell::Done(result) => Outcome::Done(result),
            // Just in time; there is nothing left to announce.
            Cell::Produced(output) => {
                state.detached = true;
                Outcome::Done(Ok(output))
            }
            other => {
                state.detached = true;
                // ORDERING: Release, see `Context::is_cancelled`.
                self.given_up.store(true, Ordering::Release);
                if let Cell::Running(Some(interrupter)) = &other {
                    interrupter.interrupt();
                }
                state.cell = other;
                Outcome::TimedOut
            }
        }
    }

    /// The synchronous call: waits for the result, and gives up at the task's deadline.
    pub(crate) fn call(&self) -> Outcome<I, O> {
        match self.wait(self.terms.deadline) {
            Outcome::TimedOut => self.give_up(),
            Outcome::WouldDeadlock => match self.give_up() {
                Outcome::Returned(input, _) => Outcome::Returned(input, SubmitErrorKind::WouldDeadlock),
                Outcome::TimedOut => Outcome::WouldDeadlock,
                done => done,
            },
            other => other,
        }
    }

    /// Waits for the result, at most until `deadline`.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Outcome<I, O> {
        if let Some(outcome) = self.poll() {
            return outcome;
        }
        let Ok(guard) = nested::enter_wait(self.terms.pool, deadline) else {
            return Outcome::WouldDeadlock;
        };
        loop {
            if let Some(outcome) = self.poll() {
                return outcome;
            }
            if guard.is_doomed() {
                return Outcome::WouldDeadlock;
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                return Outcome::TimedOut;
            }
            park(deadline);
        }
    }

    /// Takes the result if it is there; otherwise leaves word to be woken.
    fn poll(&self) -> Option<Outcome<I, O>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.cell, Cell::Empty) {
            Cell::Done(result) => Some(Outcome::Done(result)),
            Cell::Returned(input, kind) => Some(Outcome::Returned(input, kind)),
            Cell::Empty => Some(Outcome::Done(Err(JoinError::new(Cause::Taken)))),
            other => {
                state.cell = other;
                state.waiter = Some(current());
                None
            }
        }
    }

    /// Whether a wait would return at once.
    pub(crate) fn is_finished(&self) -> bool {
        let state = self.state.lock();
        matches!(state.cell, Cell::Done(_) | Cell::Returned(..) | Cell::Empty)
    }
}

/// The end of a task's way: tells whoever waits.
pub(crate) trait Settle: Send + Sync {
    /// Announces the output that was left, or the panic.
    fn settle(&self, panic: Option<Payload>);
}

impl<I: Send, O: Send> Settle for Slot<I, O> {
    fn settle(&self, panic: Option<Payload>) {
        let mut state = self.state.lock();
        let result = match (std::mem::replace(&mut state.cell, Cell::Empty), panic) {
            (Cell::Produced(output), None) => Ok(output),
            (_, panic) => Err(JoinError::new(panic.map_or(Cause::Cancelled, Cause::Panic))),
        };
        if state.detached {
            drop(state);
            drop(result);
        } else {
            state.conclude(Cell::Done(result));
        }
    }
}

/// Where the answer to a task goes, if anywhere. The task sets it before any user code runs.
#[derive(Default)]
pub(crate) struct Reply(Option<Arc<dyn Settle>>);

impl Reply {
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Announces the end of the task. A panic that nobody waits for comes back.
    pub(crate) fn send(self, panic: Option<Payload>) -> Option<Payload> {
        match self.0 {
            None => panic,
            Some(to) => {
                to.settle(panic);
                None
            }
        }
    }
}

/// The queue's side of a slot. Dropping a ticket that was not used cancels the task.
pub(crate) struct Ticket<I, O>(Option<Arc<Slot<I, O>>>);

impl<I, O> Ticket<I, O> {
    pub(crate) fn new(slot: &Arc<Slot<I, O>>) -> Self {
        Ticket(Some(Arc::clone(slot)))
    }

    /// Calls the task back; `kind` is for a caller who waits, `cause` for a handle.
    pub(crate) fn recall(mut self, kind: SubmitErrorKind, cause: Cause) -> Recalled<I> {
        match self.0.take() {
            Some(slot) => slot.recall(kind, cause),
            None => Recalled::Gone(Verdict::Elsewhere),
        }
    }
}

impl<I: Send + 'static, O: Send + 'static> Ticket<I, O> {
    /// Runs the task with `f` and leaves its output; `reply` is set first.
    pub(crate) fn run(
        mut self,
        reply: &mut Reply,
        interrupter: Option<&Interrupter>,
        f: impl FnOnce(I, &Slot<I, O>) -> O,
    ) -> Verdict {
        let Some(slot) = self.0.take() else { return Verdict::Elsewhere };
        match slot.start(interrupter) {
            Err(verdict) => verdict,
            Ok(input) => {
                reply.0 = Some(Arc::clone(&slot) as Arc<dyn Settle>);
                let output = f(input, &slot);
                slot.produce(output);
                Verdict::Ran
            }
        }
    }
}

impl<I, O> Drop for Ticket<I, O> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            drop(slot.recall(SubmitErrorKind::Cancelled, Cause::Cancelled));
        }
    }
}
