//! Cancelling a task: through its handle, through its token, or because its queue entry is dropped.
//!
//! A task that has not started never will. A running task is only told: through its token, and through its interrupter
//! (`interrupts.rs`).

use std::time::Instant;

use super::packed::Packed;
use super::{Completion, Retracted, RunOutcome, Stage, State, Taker, TaskState};
use crate::cancel::{CancelReason, CancelToken, earlier};
use crate::error::{Cause, JoinError, SubmitError, SubmitErrorKind};
use crate::sync::{MutexGuard, Ordering};
use crate::task::liveness::Liveness;
use crate::task::running_tasks::Stop;
use crate::task::withdrawn::Withdrawn;

/// A task that can be told to stop, whatever its types.
pub trait Cancellable {
    /// Whether the task must not start, or should stop if it runs.
    fn is_cancelled(&self) -> bool;
    /// The task's own token, a child of the one that it was submitted with. It is created by the first call.
    fn token(&self) -> &CancelToken;
    /// When the task should have ended.
    fn deadline(&self) -> Option<Instant> {
        None
    }
    /// The name that the user gave the task.
    fn name(&self) -> Option<&str> {
        None
    }
}

impl<I, O> Cancellable for TaskState<I, O> {
    fn is_cancelled(&self) -> bool {
        self.is_stop_requested() || self.current_token().is_some_and(CancelToken::is_cancelled)
    }

    fn token(&self) -> &CancelToken {
        if let Some(token) = self.token.get() {
            return token;
        }
        let token = self.token.get_or_init(|| match &self.meta.token {
            Some(parent) => parent.child(),
            None => CancelToken::new(),
        });
        // A cancel sets `stop_requested` under the lock and looks for the token afterwards. Either this sees the flag, or that sees the token.
        let state = self.state.lock();
        if self.is_stop_requested() {
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

/// A task of which only the token is known.
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

impl<I, O> TaskState<I, O> {
    /// Cancels the task. Returns whether it had not started: then it never will.
    pub(crate) fn cancel(&self) -> bool {
        let mut state = self.state.lock();
        let Some(input) = state.take_queued() else {
            self.tell_to_stop(state);
            self.cancel_token();
            return false;
        };
        self.withdraw(&mut state, RunOutcome::Cancelled);
        self.request_stop();
        if self.meta.weight().is_some() {
            self.end_weighted(state, input);
            self.cancel_token();
            return true;
        }
        self.finish(state, Stage::Done(Err(JoinError::new(Cause::Cancelled))));
        // The order matters. The input is dropped first, which may panic; after that the view may reuse the permit.
        let _leaves = LeavesView(self);
        let _input = input;
        self.cancel_token();
        true
    }

    /// Ends a cancelled task with a weight. Its input is dropped first, which may panic, and then the weight is given back, before the end is
    /// announced.
    #[cold]
    fn end_weighted(&self, mut state: MutexGuard<'_, State<I, O>>, input: Packed<I>) {
        // Meanwhile it is as one that has started.
        state.stage = Stage::Running(None);
        drop(state);
        let _ends = EndsWeighted(self);
        drop(input);
    }

    /// Gives back the weight of a task that was found queued, without the lock.
    fn release_weight<'s>(&'s self, mut state: MutexGuard<'s, State<I, O>>) -> MutexGuard<'s, State<I, O>> {
        if self.meta.weight().is_none() {
            return state;
        }
        // Meanwhile it is as one that has started.
        state.stage = Stage::Running(None);
        drop(state);
        self.meta.release_weight();
        let mut state = self.state.lock();
        state.stage = Stage::Empty;
        state
    }

    /// Prevents a task that has not started from starting. `kind` is for a waiting caller, `cause` for a handle. One that is taken out
    /// because it is cancelled knows better whether it is late.
    pub(super) fn retract(&self, taker: Taker, kind: SubmitErrorKind, cause: Cause) -> Retracted<I> {
        let (kind, cause) = match kind {
            SubmitErrorKind::Cancelled => self.why_cancelled(),
            kind => (kind, cause),
        };
        let mut state = self.state.lock();
        let Some(input) = state.take_queued() else { return Retracted::Gone(self.withdrawn_outcome(&state, taker)) };
        self.note_retracted(&mut state, taker);
        let state = self.release_weight(state);
        let retracted = if self.meta.is_call {
            self.finish(state, Stage::Returned(SubmitError::new(kind, input).with_cause(cause)));
            Retracted::ToCaller
        } else {
            self.finish(state, Stage::Done(Err(JoinError::new(cause))));
            Retracted::Here(input.into_inner())
        };
        if taker == Taker::Waiter {
            self.leave_view();
        }
        retracted
    }

    /// Ends a task that a worker was about to start, and that is cancelled. What it has captured is dropped before its end is announced, so
    /// a thread that waits for a group finds nothing of its tasks alive.
    pub(super) fn end_cancelled(
        &self,
        taker: Taker,
        kind: SubmitErrorKind,
        cause: Cause,
        completion: &mut Completion,
    ) -> RunOutcome {
        if self.meta.is_call {
            return match self.retract(taker, kind, cause) {
                Retracted::Here(input) => completion.drop_cancelled(input),
                Retracted::ToCaller => RunOutcome::Cancelled,
                Retracted::Gone(outcome) => outcome,
            };
        }
        let mut state = self.state.lock();
        let Some(input) = state.take_queued() else { return self.withdrawn_outcome(&state, taker) };
        self.note_retracted(&mut state, taker);
        // Meanwhile it is as one that has started.
        state.stage = Stage::Running(None);
        drop(state);
        let outcome = completion.drop_cancelled(input.into_inner());
        self.meta.release_weight();
        let mut state = self.state.lock();
        state.stage = Stage::Empty;
        self.finish(state, Stage::Done(Err(JoinError::new(cause))));
        if taker == Taker::Waiter {
            self.leave_view();
        }
        outcome
    }

    fn note_retracted(&self, state: &mut State<I, O>, taker: Taker) {
        match taker {
            Taker::Queue => state.withdrawn_outcome = RunOutcome::Cancelled,
            Taker::Waiter => self.withdraw(state, RunOutcome::Cancelled),
        }
    }

    pub(super) fn is_stop_requested(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `request_stop`: a task that sees the flag of its interrupter sees this one too.
        self.stop_requested.load(Ordering::Acquire)
    }

    /// The task's own token if it has been asked for, or else the one that it was submitted with.
    fn current_token(&self) -> Option<&CancelToken> {
        self.token.get().or(self.meta.token.as_ref())
    }

    /// Why the token cancels the task. `None` if the token does not, or if the task was cancelled by its handle.
    pub(super) fn cancel_reason(&self) -> Option<CancelReason> {
        if self.is_stop_requested() {
            return None;
        }
        self.current_token().and_then(CancelToken::reason)
    }

    /// Why a task that is cancelled does not start: for a waiting caller, and for a handle.
    pub(super) fn why_cancelled(&self) -> (SubmitErrorKind, Cause) {
        match self.cancel_reason() {
            Some(CancelReason::Deadline) => (SubmitErrorKind::TimedOut, Cause::Expired),
            _ => (SubmitErrorKind::Cancelled, Cause::Cancelled),
        }
    }

    /// Whether the task, if it is queued, will run.
    pub(super) fn liveness(&self) -> Liveness {
        if !matches!(self.state.lock().stage, Stage::Queued(_)) || self.is_stop_requested() {
            return Liveness::Dead;
        }
        self.current_token().map_or(Liveness::Cancellable(None), Liveness::of)
    }

    /// Cancels the task's own token, after the task was told to stop. It must not be called under the lock, because it runs wakers.
    pub(super) fn cancel_token(&self) {
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    /// The counters of the pool for withdrawn tasks. `None` for a task of a view, whose queue entries the view counts.
    fn withdrawn(&self) -> Option<&'static Withdrawn> {
        self.meta.pool.withdrawn().filter(|_| self.meta.view().is_none())
    }

    /// Records that a task which was just found queued no longer belongs to its queue entry. `outcome` is what a worker reports for that
    /// entry. It is called under the lock, so that a worker that finds the entry stale finds it counted. After it, without the lock,
    /// the caller calls [`leave_view`](Self::leave_view).
    pub(super) fn withdraw(&self, state: &mut State<I, O>, outcome: RunOutcome) {
        match self.withdrawn().filter(|_| !state.is_scheduled()) {
            Some(withdrawn) => {
                let is_cancelled = outcome == RunOutcome::Cancelled;
                withdrawn.add(is_cancelled);
                state.is_withdrawn = true;
                state.withdrawn_outcome = if is_cancelled { RunOutcome::CancelledBefore } else { outcome };
            }
            None => state.withdrawn_outcome = outcome,
        }
    }

    /// Tells the schedule that the task is in, or else its view, if there is one, that the task was cancelled before it started.
    pub(super) fn leave_view(&self) {
        if self.leave_schedule() {
            return;
        }
        if let Some(view) = self.meta.view() {
            view.withdraw();
        }
    }

    /// What `taker` reports for a task that is no longer queued.
    pub(super) fn withdrawn_outcome(&self, state: &State<I, O>, taker: Taker) -> RunOutcome {
        if let (true, Taker::Queue, Some(withdrawn)) = (state.is_withdrawn, taker, self.withdrawn()) {
            withdrawn.clear();
        }
        match state.withdrawn_outcome {
            // The queue entry reports it.
            RunOutcome::CancelledBefore if taker == Taker::Waiter => RunOutcome::Elsewhere,
            outcome => outcome,
        }
    }
}

/// Gives back the weight of a cancelled task and announces its end when it is dropped.
struct EndsWeighted<'a, I, O>(&'a TaskState<I, O>);

impl<I, O> Drop for EndsWeighted<'_, I, O> {
    fn drop(&mut self) {
        let task_state = self.0;
        task_state.meta.release_weight();
        let mut state = task_state.state.lock();
        state.stage = Stage::Empty;
        task_state.finish(state, Stage::Done(Err(JoinError::new(Cause::Cancelled))));
        task_state.leave_view();
    }
}

/// Takes a cancelled task out of its view when it is dropped.
struct LeavesView<'a, I, O>(&'a TaskState<I, O>);

impl<I, O> Drop for LeavesView<'_, I, O> {
    fn drop(&mut self) {
        self.0.leave_view();
    }
}
