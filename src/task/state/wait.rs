//! The waiter's side of a slot: those who ask for the result, wait for it, and give up.

use std::time::Instant;

use super::packed::Packed;
use super::reply_spin::spin_for_reply;
use super::{RunOutcome, Stage, TaskState};
use crate::cancel::{CancelReason, CancelToken, earlier};
use crate::error::{CallError, Cause, JoinError, SubmitError, SubmitErrorKind};
use crate::sync::waiter::Waiter;
use crate::sync::{Ordering, current, park};
use crate::task::block_permits::{self, BlockGuard, WouldDeadlock};
use crate::task::current_worker;

/// How a wait ended.
pub(crate) enum Outcome<I, O> {
    Done(Result<O, JoinError>),
    /// The task did not start; its input is back.
    Returned(SubmitError<I>),
    /// A worker of the pool would have waited for itself.
    WouldDeadlock,
    TimedOut,
    /// The token of the call was cancelled.
    Cancelled,
}

impl<I, O> Outcome<I, O> {
    /// The end of a synchronous call.
    pub(crate) fn into_result(self) -> Result<O, CallError<I>> {
        match self {
            Outcome::Done(Ok(output)) => Ok(output),
            Outcome::Done(Err(error)) => Err(CallError::Failed(error)),
            Outcome::Returned(refusal) => Err(refusal.into()),
            Outcome::WouldDeadlock => Err(JoinError::new(Cause::WouldDeadlock).into()),
            Outcome::TimedOut => Err(JoinError::new(Cause::TimedOut).into()),
            Outcome::Cancelled => Err(JoinError::new(Cause::Stopped).into()),
        }
    }
}

/// How one of several waits for the same task ended.
pub(crate) enum AwaitedEnd {
    Over,
    TimedOut,
    /// The token of the wait was cancelled.
    Cancelled,
    WouldDeadlock,
}

impl<I, O> TaskState<I, O> {
    /// The caller stops waiting, because of its deadline or of its token. What runs is interrupted.
    pub(crate) fn give_up(&self, kind: SubmitErrorKind) -> Outcome<I, O> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.stage, Stage::Empty) {
            Stage::Queued(input) => {
                self.withdraw(&mut state, RunOutcome::Cancelled);
                drop(state);
                self.leave_view();
                Outcome::Returned(SubmitError::new(kind, input.into_inner()))
            }
            Stage::Returned(refusal) => Outcome::Returned(refusal.map(Packed::into_inner)),
            Stage::Done(result) => Outcome::Done(result.map(Packed::into_inner)),
            // Just in time; there is nothing left to announce.
            Stage::Produced(output) => {
                state.detached = true;
                Outcome::Done(Ok(output.into_inner()))
            }
            other => {
                state.detached = true;
                state.stage = other;
                self.tell_to_stop(state);
                if self.has_given_up() {
                    self.cancel_token();
                }
                match kind {
                    SubmitErrorKind::WouldDeadlock => Outcome::WouldDeadlock,
                    SubmitErrorKind::Cancelled => Outcome::Cancelled,
                    _ => Outcome::TimedOut,
                }
            }
        }
    }

    /// The synchronous call: waits for the result, and gives up at the task's deadline.
    pub(crate) fn call(&self) -> Outcome<I, O> {
        let is_bounded = self.meta.deadline().is_some() || self.meta.token.is_some();
        if let Some(view) = self.meta.view().filter(|_| !is_bounded && current_worker::is_inside(self.meta.pool)) {
            view.run();
        }
        match self.wait(self.meta.deadline(), self.meta.token.as_ref(), false) {
            Outcome::TimedOut => self.give_up(SubmitErrorKind::TimedOut),
            Outcome::Cancelled => self.give_up(SubmitErrorKind::Cancelled),
            Outcome::WouldDeadlock => self.give_up(SubmitErrorKind::WouldDeadlock),
            other => other,
        }
    }

    /// The task was not let in, for this reason: the input comes back.
    pub(crate) fn refused(&self, kind: SubmitErrorKind) -> SubmitError<I> {
        match self.state.lock().take_queued() {
            Some(input) => SubmitError::new(kind, input.into_inner()),
            _ => unreachable!("a refused task has not started"),
        }
    }

    /// Waits for the result, at most until `deadline` or until `token` is cancelled. If it has a deadline and `can_run` the task,
    /// a worker does not wait as the last one that could: it is told `WouldDeadlock`, and to run the task.
    pub(crate) fn wait(&self, deadline: Option<Instant>, token: Option<&CancelToken>, can_run: bool) -> Outcome<I, O> {
        // A worker of the pool has better things to do than to look; and who looks does not hear of its token.
        if token.is_none() && deadline.is_none() && !current_worker::is_inside(self.meta.pool) {
            // ORDERING: Relaxed, see `finish`.
            spin_for_reply(|| self.over.load(Ordering::Relaxed));
        }
        if let Some(outcome) = self.poll(None) {
            return outcome;
        }
        let _listening = token.map(|token| token.listen(Waiter::Thread(current())));
        let looks_on = self.looks_on(deadline);
        loop {
            if looks_on {
                self.run_those_before(|| Waiter::Thread(current()));
            }
            let has_fallback = self.has_fallback(deadline, can_run);
            let Ok(guard) = self.enter_wait(deadline, has_fallback) else {
                // Nobody else can make progress, so this worker does what is queued. Others may have by the time it has.
                match self.poll(None) {
                    Some(outcome) => return outcome,
                    None if !has_fallback && current_worker::help(self.meta.pool) => continue,
                    None => return Outcome::WouldDeadlock,
                }
            };
            let me = guard.waiter();
            while !(guard.is_revoked() || looks_on && self.has_to_look_again()) {
                if let Some(outcome) = self.poll(Some(me.clone())) {
                    return outcome;
                }
                if deadline.is_some_and(|d| Instant::now() >= d) {
                    return Outcome::TimedOut;
                }
                match token.and_then(CancelToken::reason) {
                    Some(CancelReason::Deadline) => return Outcome::TimedOut,
                    Some(_) => return Outcome::Cancelled,
                    None => park(earlier(deadline, token.and_then(CancelToken::deadline))),
                }
            }
        }
    }

    /// Whether the task of a view may get its permits, or another in its way may, while a worker waits for it that can run them: not
    /// with a limit, which could not be kept.
    fn looks_on(&self, deadline: Option<Instant>) -> bool {
        self.meta.view().is_some() && deadline.is_none()
    }

    /// Whether that is so now; otherwise the worker is woken when it may be.
    #[cold]
    fn has_to_look_again(&self) -> bool {
        self.meta.view().is_some() && self.is_up_to_caller(|| Waiter::Thread(current()))
    }

    /// Whether a wait with a deadline can also end with the caller's running the task.
    fn has_fallback(&self, deadline: Option<Instant>, can_run: bool) -> bool {
        can_run && deadline.is_some() && !self.has_started()
    }

    /// A permit to wait. A wait with a deadline is counted only while it has a way out, which it may have to take.
    fn enter_wait(&self, deadline: Option<Instant>, has_fallback: bool) -> Result<BlockGuard, WouldDeadlock> {
        match has_fallback {
            true => block_permits::enter_wait_for_room(self.meta.pool, None, true),
            false => block_permits::enter_wait(self.meta.pool, deadline),
        }
    }

    /// Takes the result if it is there; otherwise leaves word to have `waiter` woken.
    pub(crate) fn poll(&self, waiter: Option<Waiter>) -> Option<Outcome<I, O>> {
        let mut state = self.state.lock();
        let outcome = match std::mem::replace(&mut state.stage, Stage::Empty) {
            Stage::Done(result) => Outcome::Done(result.map(Packed::into_inner)),
            Stage::Returned(refusal) => Outcome::Returned(refusal.map(Packed::into_inner)),
            Stage::Empty => Outcome::Done(Err(JoinError::new(Cause::Taken))),
            other => {
                state.stage = other;
                let replaced = waiter.and_then(|waiter| state.waiter.replace(waiter));
                drop(state);
                replaced.into_iter().for_each(Waiter::discard);
                return None;
            }
        };
        drop(state);
        waiter.into_iter().for_each(Waiter::discard);
        Some(outcome)
    }

    /// Waits until a [`poll`](Self::poll) would have an answer, as one of several who do, or until `token` is cancelled, which
    /// the caller has listened to. If the task `is_younger` than the one that waits for it, and has started, no circle of waits
    /// is possible and none is looked for: that would be careful beyond need, for it counts who has only just been woken.
    /// `can_run` as for [`wait`](Self::wait).
    pub(crate) fn await_end(
        &self,
        deadline: Option<Instant>,
        token: Option<&CancelToken>,
        is_younger: bool,
        can_run: bool,
    ) -> AwaitedEnd {
        let is_cancelled = || token.is_some_and(CancelToken::is_cancelled);
        let looks_on = self.looks_on(deadline);
        loop {
            if looks_on {
                self.run_those_before(|| Waiter::Thread(current()));
            }
            let has_fallback = self.has_fallback(deadline, can_run);
            let guard = match self.enter_wait(deadline, has_fallback) {
                Ok(guard) => guard,
                Err(_) if self.is_finished() => return AwaitedEnd::Over,
                Err(_) if is_cancelled() => return AwaitedEnd::Cancelled,
                Err(_) if has_fallback => return AwaitedEnd::WouldDeadlock,
                Err(_) if is_younger && self.has_started() => block_permits::enter_wait_regardless(self.meta.pool),
                // As in `wait`.
                Err(_) if current_worker::help(self.meta.pool) => continue,
                Err(_) => return AwaitedEnd::WouldDeadlock,
            };
            let me = guard.waiter();
            let Some(place) = self.listen(me) else { return AwaitedEnd::Over };
            let end = loop {
                if self.is_finished() {
                    return AwaitedEnd::Over;
                } else if is_cancelled() {
                    break Some(AwaitedEnd::Cancelled);
                } else if deadline.is_some_and(|d| Instant::now() >= d) {
                    break Some(AwaitedEnd::TimedOut);
                } else if guard.is_revoked() || looks_on && self.has_to_look_again() {
                    break None;
                }
                park(earlier(deadline, token.and_then(CancelToken::deadline)));
            };
            // Whoever asks again and again must not leave more and more entries.
            self.stop_listening(place);
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Has `waiter` woken by the end, as one of several; its place among them, or `None` if the task has ended.
    pub(crate) fn listen(&self, waiter: Waiter) -> Option<u64> {
        let mut state = self.state.lock();
        if state.is_over() {
            drop(state);
            waiter.discard();
            return None;
        }
        Some(state.list(waiter))
    }

    /// The waiter with this place leaves.
    pub(crate) fn stop_listening(&self, place: u64) {
        let left = self.state.lock().remove(place);
        left.into_iter().for_each(Waiter::discard);
        if let Some(view) = self.meta.view() {
            view.forget_caller();
        }
    }

    /// Whether the task is not queued any more.
    pub(crate) fn has_started(&self) -> bool {
        !matches!(self.state.lock().stage, Stage::Queued(_))
    }

    /// Whether a wait would return at once.
    pub(crate) fn is_finished(&self) -> bool {
        self.state.lock().is_over()
    }
}
