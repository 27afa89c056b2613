//! The meeting point of one task and whoever waits for its result.
//!
//! A slot holds the input until the task starts and the result afterwards. The worker's side is a
//! [`TaskRef`] in the queue and then a [`Completion`]; the waiter's side is a [`Handle`](crate::Handle) or a
//! synchronous call. All of it is behind one lock that is held for a few instructions, and never while user code runs: not the
//! task, nor an interrupter, a waker (its clone and drop included), or the drop of an input or a result.
//!
//! Here is what a slot goes through, and how it is told to stop.

mod current;
mod inside;
mod interrupts;
mod packed;
mod reply_spin;
mod stack_oneshot;
mod task_ref;
mod wait;
mod waiters;

use std::sync::Arc;
use std::time::Instant;

use crate::cancel::{CancelReason, CancelToken, earlier};
use crate::error::{Cause, JoinError, SubmitError, SubmitErrorKind};
use crate::sync::waiter::Waiter;
use crate::sync::{AtomicBool, Mutex, MutexGuard, OnceLock, Ordering};
use crate::task::current_worker;
use crate::task::in_view::InView;
use crate::task::interrupter::Interrupter;
use crate::task::liveness::Liveness;
use crate::task::running_tasks::Stop;
use crate::task::withdrawn::Withdrawn;

use interrupts::Interrupt;
use packed::Packed;
use waiters::MoreWaiters;

use current::Running;
pub(crate) use current::{SuspendedTask, with_current};
pub(crate) use stack_oneshot::{ReplySender, StackOneshot};
pub(crate) use task_ref::{Complete, Completion, Permit, Retracted, RunOutcome, TaskRef};
pub(crate) use wait::{AwaitedEnd, Outcome};

enum Stage<I, O> {
    Queued(Packed<I>),
    /// With what can interrupt it, until that is done.
    Running(Option<Interrupter>),
    /// The task has ended and left its output; it is not announced yet.
    Produced(Packed<O>),
    Done(Result<Packed<O>, JoinError>),
    /// Given back unstarted, for the waiting caller to fetch, with the reason.
    Returned(SubmitError<Packed<I>>),
    /// What was here has been taken.
    Empty,
}

/// Whose turn it is with a task that may be queued.
#[derive(Clone, Copy, PartialEq)]
enum Turn {
    /// The ticket's, which has left the queue.
    OfTicket,
    /// Of somebody who waits, while the ticket is still in the queue.
    OfWaiter,
}

struct State<I, O> {
    stage: Stage<I, O>,
    /// What a ticket for a task that is no longer queued stands for.
    withdrawn_outcome: RunOutcome,
    /// The pool has counted that its ticket stands for nothing any more.
    is_withdrawn: bool,
    /// Who waits; the first one's place costs no allocation.
    waiter: Option<Waiter>,
    more_waiters: Option<Box<MoreWaiters>>,
    interrupt: Interrupt,
    /// Nobody will ask for the result.
    detached: bool,
}

impl<I, O> State<I, O> {
    /// The input of a task that has not started.
    fn take_queued(&mut self) -> Option<Packed<I>> {
        match std::mem::replace(&mut self.stage, Stage::Empty) {
            Stage::Queued(input) => Some(input),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// Whether a wait would return at once.
    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Done(_) | Stage::Returned(..) | Stage::Empty)
    }
}

/// One task's input, then its result.
pub struct TaskState<I, O> {
    state: Mutex<State<I, O>>,
    /// Whether [`State::is_over`], for those who look before they sleep.
    over: AtomicBool,
    meta: TaskMeta<I, O>,
    given_up: AtomicBool,
    /// The task's own token, if anyone has asked for it.
    token: OnceLock<CancelToken>,
}

/// Runs a task that needs nothing of its worker.
pub(crate) type Run<I, O> = fn(I, &dyn Cancellable) -> O;

/// What was agreed on when the task was submitted.
pub(crate) struct TaskMeta<I, O> {
    /// The pool that runs the task.
    pub(crate) pool: current_worker::PoolId,
    /// Whether a caller waits who wants the input back if the task does not start.
    pub(crate) is_call: bool,
    /// Cancels the task, and the call, if it is one.
    pub(crate) token: Option<CancelToken>,
    /// What few tasks have.
    pub(crate) extra: Option<Box<Extra>>,
    /// How to run the task without a worker's state, if it can be.
    pub(crate) run_here: Option<Run<I, O>>,
    /// What it has of a limit from its start on.
    pub(crate) permit: Option<Arc<dyn Permit>>,
}

pub(crate) struct Extra {
    /// When the caller gives up, if it is a call with a deadline. (Other tasks have theirs in their token.)
    pub(crate) deadline: Option<Instant>,
    /// What the user calls the task.
    pub(crate) name: Option<Arc<str>>,
    /// The view that keeps the task until it starts, and whose permit it needs.
    pub(crate) view: Option<InView>,
}

impl<I, O> TaskMeta<I, O> {
    /// When the caller gives up.
    fn deadline(&self) -> Option<Instant> {
        self.extra.as_ref()?.deadline
    }

    /// The task as one of a view.
    #[inline]
    pub(crate) fn view(&self) -> Option<&InView> {
        self.extra.as_ref()?.view.as_ref()
    }

    /// Of a task of `pool` without options.
    pub(crate) fn new(pool: current_worker::PoolId) -> Self {
        TaskMeta { pool, is_call: false, token: None, extra: None, run_here: None, permit: None }
    }
}

#[cfg(test)]
impl<I, O> TaskMeta<I, O> {
    /// Of a task without anything.
    pub(crate) fn of_no_pool() -> Self {
        let pool = current_worker::PoolId::none();
        TaskMeta::new(pool)
    }
}

impl<I, O> TaskState<I, O> {
    /// Puts the last word into the cell and tells those who wait; not under the lock, for a waker is somebody else's code.
    fn finish(&self, mut state: MutexGuard<'_, State<I, O>>, stage: Stage<I, O>) {
        debug_assert!(matches!(state.stage, Stage::Empty), "a value would be dropped under the lock");
        state.stage = stage;
        let (waiter, more) = (state.waiter.take(), state.more_waiters.take());
        // ORDERING: Relaxed. Who sees it takes the lock.
        self.over.store(true, Ordering::Relaxed);
        drop(state);
        waiter.into_iter().for_each(Waiter::wake);
        if let Some(more) = more {
            more.wake();
        }
    }

    pub(crate) fn new(input: I, meta: TaskMeta<I, O>) -> Arc<Self> {
        Arc::new(TaskState {
            state: Mutex::new(State {
                stage: Stage::Queued(Packed::new(input)),
                withdrawn_outcome: RunOutcome::Elsewhere,
                is_withdrawn: false,
                waiter: None,
                more_waiters: None,
                interrupt: Interrupt::default(),
                detached: false,
            }),
            over: AtomicBool::new(false),
            meta,
            given_up: AtomicBool::new(false),
            token: OnceLock::new(),
        })
    }

    pub(crate) fn meta(&self) -> &TaskMeta<I, O> {
        &self.meta
    }

    fn has_given_up(&self) -> bool {
        // ORDERING: Acquire, so that who has seen an interrupter's mark sees this too.
        self.given_up.load(Ordering::Acquire)
    }

    /// The turn of the task has come: takes the input.
    fn start(
        &self,
        turn: Turn,
        interrupter: Option<&Interrupter>,
        completion: &mut Completion,
    ) -> Result<I, RunOutcome> {
        if self.is_cancelled() {
            let (kind, cause) = match self.reason() {
                Some(CancelReason::Deadline) => (SubmitErrorKind::TimedOut, Cause::Expired),
                _ => (SubmitErrorKind::Cancelled, Cause::Cancelled),
            };
            return match self.retract(turn, kind, cause) {
                Retracted::Here(input) => Err(completion.drop_cancelled(input)),
                Retracted::ToCaller => Err(RunOutcome::Cancelled),
                Retracted::Gone(outcome) => Err(outcome),
            };
        }
        let mut state = self.state.lock();
        match state.take_queued() {
            Some(input) => {
                if turn == Turn::OfWaiter {
                    self.withdraw(&mut state, RunOutcome::Elsewhere);
                }
                state.stage = Stage::Running(interrupter.cloned());
                drop(state);
                Ok(input.into_inner())
            }
            None => Err(self.withdrawn_outcome(&state, turn)),
        }
    }

    /// Leaves the output, to be announced by [`Complete::complete`]. If nobody wants it, it is dropped here: on the
    /// worker, before the task counts as ended.
    fn produce(&self, output: O) {
        let output = Packed::new(output);
        let mut state = self.state.lock();
        if state.detached {
            drop(state);
            drop(output);
        } else {
            // What was there can be an interrupter, of which the worker has a clone: nothing of the user's is dropped.
            state.stage = Stage::Produced(output);
        }
    }

    /// Where the pool counts what is taken from its queued tickets. (A view's tickets are not in the pool's queue.)
    fn withdrawn(&self) -> Option<&'static Withdrawn> {
        self.meta.pool.withdrawn().filter(|_| self.meta.view().is_none())
    }

    /// The task, which has just been found queued, is taken from its ticket; `withdrawn_outcome` is what becomes of it. Under the lock, so that
    /// whoever finds the ticket void finds it counted. Without it the task has to [`leave_view`](Self::leave_view), then.
    fn withdraw(&self, state: &mut State<I, O>, withdrawn_outcome: RunOutcome) {
        match self.withdrawn() {
            Some(withdrawn) => {
                withdrawn.add(withdrawn_outcome == RunOutcome::Cancelled);
                state.is_withdrawn = true;
            }
            None => state.withdrawn_outcome = withdrawn_outcome,
        }
    }

    /// Tells the view, if the task is of one, that it was cancelled before it started.
    fn leave_view(&self) {
        if let Some(view) = self.meta.view() {
            view.withdraw();
        }
    }

    /// What whoever has its turn is to make of a task that is not queued any more.
    fn withdrawn_outcome(&self, state: &State<I, O>, turn: Turn) -> RunOutcome {
        if let (true, Turn::OfTicket, Some(withdrawn)) = (state.is_withdrawn, turn, self.withdrawn()) {
            withdrawn.clear();
        }
        state.withdrawn_outcome
    }

    /// Why the task should not start, if that is for its token.
    fn reason(&self) -> Option<CancelReason> {
        if self.has_given_up() {
            return None;
        }
        self.token.get().or(self.meta.token.as_ref()).and_then(CancelToken::reason)
    }

    /// What the task can expect, if it is queued.
    fn liveness(&self) -> Liveness {
        if !matches!(self.state.lock().stage, Stage::Queued(_)) || self.has_given_up() {
            return Liveness::Dead;
        }
        let token = self.token.get().or(self.meta.token.as_ref());
        token.map_or(Liveness::Cancellable(None), Liveness::of)
    }

    /// A task that has not started never will.
    fn retract(&self, turn: Turn, kind: SubmitErrorKind, cause: Cause) -> Retracted<I> {
        let mut state = self.state.lock();
        let Some(input) = state.take_queued() else { return Retracted::Gone(self.withdrawn_outcome(&state, turn)) };
        match turn {
            Turn::OfTicket => state.withdrawn_outcome = RunOutcome::Cancelled,
            Turn::OfWaiter => self.withdraw(&mut state, RunOutcome::Cancelled),
        }
        let retracted = if self.meta.is_call {
            self.finish(state, Stage::Returned(SubmitError::new(kind, input).because(cause)));
            Retracted::ToCaller
        } else {
            self.finish(state, Stage::Done(Err(JoinError::new(cause))));
            Retracted::Here(input.into_inner())
        };
        if turn == Turn::OfWaiter {
            self.leave_view();
        }
        retracted
    }

    /// Nobody will ask for the result any more. One that is there already is dropped here, so that the worker need not
    /// do it on its way to the next task; and so is a waker that was left here.
    pub(crate) fn detach(&self) {
        let mut state = self.state.lock();
        state.detached = true;
        let waiter = state.waiter.take();
        let has_result = matches!(state.stage, Stage::Done(_) | Stage::Produced(_));
        let unwanted = has_result.then(|| std::mem::replace(&mut state.stage, Stage::Empty));
        drop(state);
        if let (Some(_), Some(view)) = (&waiter, self.meta.view()) {
            view.forget();
        }
        waiter.into_iter().for_each(Waiter::discard);
        drop(unwanted);
    }

    /// The task should stop. One that has not started never will: says whether that is so.
    pub(crate) fn cancel(&self) -> bool {
        let mut state = self.state.lock();
        let Some(input) = state.take_queued() else {
            self.tell_to_stop(state);
            self.cancel_token();
            return false;
        };
        self.withdraw(&mut state, RunOutcome::Cancelled);
        self.note_given_up();
        self.finish(state, Stage::Done(Err(JoinError::new(Cause::Cancelled))));
        // In this order: what it captured is dropped, which may panic, before its permit of a view is free.
        let _leaves = LeavesView(self);
        let _input = input;
        self.cancel_token();
        true
    }

    /// After the task was told to stop. Not under the lock: a waker is somebody else's code.
    fn cancel_token(&self) {
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }
}

/// A cancelled task that leaves its view when this is dropped.
struct LeavesView<'a, I, O>(&'a TaskState<I, O>);

impl<I, O> Drop for LeavesView<'_, I, O> {
    fn drop(&mut self) {
        self.0.leave_view();
    }
}

/// A task that can be told to stop, whatever its types.
pub trait Cancellable {
    /// Whether it should not start, or stop if it has.
    fn is_cancelled(&self) -> bool;
    /// Its own token, below the one that it was submitted with. LazyWith when it is first asked for.
    fn token(&self) -> &CancelToken;
    /// When it should be over.
    fn deadline(&self) -> Option<Instant> {
        None
    }
    /// What the user calls it.
    fn name(&self) -> Option<&str> {
        None
    }
}

impl<I, O> Cancellable for TaskState<I, O> {
    fn is_cancelled(&self) -> bool {
        self.has_given_up() || self.token.get().or(self.meta.token.as_ref()).is_some_and(CancelToken::is_cancelled)
    }

    fn token(&self) -> &CancelToken {
        if let Some(token) = self.token.get() {
            return token;
        }
        let token = self.token.get_or_init(|| match &self.meta.token {
            Some(parent) => parent.child(),
            None => CancelToken::new(),
        });
        // It may have been made just after the task was told to stop, which is done under the lock; whoever does so later
        // finds it.
        let state = self.state.lock();
        if self.has_given_up() {
            drop(state);
            token.cancel();
        }
        token
    }

    fn deadline(&self) -> Option<Instant> {
        earlier(self.meta.deadline(), self.meta.token.as_ref().and_then(CancelToken::deadline))
    }

    fn name(&self) -> Option<&str> {
        self.meta.extra.as_ref()?.name.as_deref()
    }
}

/// A task that has only its token left.
impl Cancellable for CancelToken {
    fn is_cancelled(&self) -> bool {
        CancelToken::is_cancelled(self)
    }

    fn token(&self) -> &CancelToken {
        self
    }
}

impl<I: Send, O: Send> Stop for TaskState<I, O> {
    fn stop(&self) {
        self.cancel();
    }
}
