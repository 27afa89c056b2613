//! The waiter's side of a task's state: asking for the result, waiting for it, and giving up.

use std::time::Instant;

use super::packed::Packed;
use super::reply_spin::spin_for_reply;
use super::{RunOutcome, Stage, TaskState};
use crate::cancel::{CancelReason, CancelToken, earlier};
use crate::error::{CallError, Cause, JoinError, SubmitError, SubmitErrorKind};
use crate::sync::clock;
use crate::sync::waiter::Waiter;
use crate::sync::{Ordering, current, park};
use crate::task::blocked_workers::{self, BlockGuard, WouldDeadlock};
use crate::task::current_worker;

/// How a wait for the result ended.
pub(crate) enum Outcome<I, O> {
    Done(Result<O, JoinError>),
    /// The task did not start. This is its input.
    Returned(SubmitError<I>),
    /// A worker of the pool would have waited for itself.
    WouldDeadlock,
    TimedOut,
    /// The token of the call was cancelled.
    Cancelled,
}

impl<I, O> Outcome<I, O> {
    /// The result of a synchronous call.
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

/// How a wait for the end of a task, without its result, ended.
pub(crate) enum AwaitedEnd {
    Over,
    TimedOut,
    /// The token of the wait was cancelled.
    Cancelled,
    WouldDeadlock,
}

/// What limits a wait, and what a waiting worker may do.
struct Limits<'a> {
    deadline: Option<Instant>,
    /// Ends the wait. The caller has registered the calling thread with it.
    token: Option<&'a CancelToken>,
    /// A worker that waits with a deadline can run the task itself. The wait ends with `WouldDeadlock` where this is the last worker
    /// that could make progress, and the caller runs the task.
    can_run: bool,
    /// The task is younger than the one that waits for it.
    is_younger: bool,
}

/// How a wait ended. `T` is what it was for.
enum WaitEnd<T> {
    Ready(T),
    TimedOut,
    Cancelled(CancelReason),
    WouldDeadlock,
}

/// What a wait is for.
trait WaitFor {
    type Output;
    /// Whether it is there.
    fn check(&mut self) -> Option<Self::Output>;
    /// The same; if it is not there, `waiter` is woken when it is.
    fn check_or_listen(&mut self, waiter: &Waiter) -> Option<Self::Output>;
    /// Ends a wait that `check_or_listen` has begun.
    fn stop_listening(&mut self);
}

/// Waits for the result, and takes it. The task keeps one such waiter.
struct ForResult<'a, I, O>(&'a TaskState<I, O>);

impl<I, O> WaitFor for ForResult<'_, I, O> {
    type Output = Outcome<I, O>;

    fn check(&mut self) -> Option<Outcome<I, O>> {
        self.0.poll(None)
    }

    fn check_or_listen(&mut self, waiter: &Waiter) -> Option<Outcome<I, O>> {
        self.0.poll(Some(waiter.clone()))
    }

    fn stop_listening(&mut self) {}
}

/// Waits for the end of the task, as one of several that do.
struct ForEnd<'a, I, O> {
    task: &'a TaskState<I, O>,
    /// The entry of this wait in the list of waiters.
    entry: Option<u64>,
}

impl<I, O> WaitFor for ForEnd<'_, I, O> {
    type Output = ();

    fn check(&mut self) -> Option<()> {
        self.task.is_finished().then_some(())
    }

    fn check_or_listen(&mut self, waiter: &Waiter) -> Option<()> {
        if self.entry.is_some() {
            return self.check();
        }
        self.entry = self.task.listen(waiter.clone());
        self.entry.is_none().then_some(())
    }

    fn stop_listening(&mut self) {
        self.entry.take().into_iter().for_each(|entry| self.task.stop_listening(entry));
    }
}

impl<I, O> TaskState<I, O> {
    /// Waits for the result, at most until `deadline` or until `token` is cancelled. For `can_run` see [`Limits::can_run`].
    pub(crate) fn wait(&self, deadline: Option<Instant>, token: Option<&CancelToken>, can_run: bool) -> Outcome<I, O> {
        // A worker of the pool can run tasks instead of spinning. A spinning thread would not see that its token is cancelled.
        if token.is_none() && deadline.is_none() && !current_worker::is_inside(self.meta.pool) {
            // ORDERING: Relaxed, see `finish`.
            spin_for_reply(|| self.over.load(Ordering::Relaxed));
        }
        if let Some(outcome) = self.poll(None) {
            return outcome;
        }
        let _listening = token.map(|token| token.listen(Waiter::Thread(current())));
        match self.block(&Limits { deadline, token, can_run, is_younger: false }, ForResult(self)) {
            WaitEnd::Ready(outcome) => outcome,
            WaitEnd::TimedOut | WaitEnd::Cancelled(CancelReason::Deadline) => Outcome::TimedOut,
            WaitEnd::Cancelled(_) => Outcome::Cancelled,
            WaitEnd::WouldDeadlock => Outcome::WouldDeadlock,
        }
    }

    /// Waits until a [`poll`](Self::poll) would return a result, as one of several waiters, or until `token` is cancelled; the caller
    /// has registered the calling thread with the token.
    ///
    /// If the task `is_younger` than the one that waits for it and has started, the wait is always granted: waits for younger tasks
    /// cannot form a cycle. The check for a deadlock would be too strict here, because it counts a worker as waiting that was woken a
    /// moment ago. For `can_run` see [`Limits::can_run`].
    pub(crate) fn await_end(
        &self,
        deadline: Option<Instant>,
        token: Option<&CancelToken>,
        is_younger: bool,
        can_run: bool,
    ) -> AwaitedEnd {
        match self.block(&Limits { deadline, token, can_run, is_younger }, ForEnd { task: self, entry: None }) {
            WaitEnd::Ready(()) => AwaitedEnd::Over,
            WaitEnd::TimedOut => AwaitedEnd::TimedOut,
            WaitEnd::Cancelled(_) => AwaitedEnd::Cancelled,
            WaitEnd::WouldDeadlock => AwaitedEnd::WouldDeadlock,
        }
    }

    /// Blocks the calling thread. A worker of the task's pool is counted as blocked. The last one must not block, and makes progress itself.
    fn block<W: WaitFor>(&self, limits: &Limits<'_>, mut awaited: W) -> WaitEnd<W::Output> {
        if self.is_behind_caller() {
            return awaited.check().map_or(WaitEnd::WouldDeadlock, WaitEnd::Ready);
        }
        let runs_what_it_awaits = self.runs_what_it_awaits(limits.deadline);
        loop {
            if runs_what_it_awaits {
                self.run_predecessors(|| self.must_run_again());
            }
            let has_fallback = limits.can_run && limits.deadline.is_some() && !self.has_started();
            let guard = match self.enter_wait(limits.deadline, has_fallback) {
                Ok(guard) => guard,
                // This is the last worker that could make progress. The task may have ended since the last check.
                Err(WouldDeadlock) => {
                    if let Some(output) = awaited.check() {
                        return WaitEnd::Ready(output);
                    } else if let Some(reason) = limits.token.and_then(CancelToken::reason) {
                        return WaitEnd::Cancelled(reason);
                    } else if has_fallback {
                        return WaitEnd::WouldDeadlock;
                    } else if limits.is_younger && self.has_started() {
                        blocked_workers::enter_wait_regardless(self.meta.pool)
                    } else if current_worker::help(self.meta.pool) || blocked_workers::recheck(self.meta.pool) {
                        continue;
                    } else {
                        return WaitEnd::WouldDeadlock;
                    }
                }
            };
            let waiter = guard.waiter();
            let end = loop {
                if let Some(output) = awaited.check_or_listen(&waiter) {
                    return WaitEnd::Ready(output);
                } else if let Some(reason) = limits.token.and_then(CancelToken::reason) {
                    break Some(WaitEnd::Cancelled(reason));
                } else if limits.deadline.is_some_and(|deadline| clock::now() >= deadline) {
                    break Some(WaitEnd::TimedOut);
                } else if guard.is_evicted() || runs_what_it_awaits && self.must_run_again() {
                    break None;
                }
                guard.park(|| park(earlier(limits.deadline, limits.token.and_then(CancelToken::deadline))));
            };
            // A caller that waits again and again must not leave more and more entries.
            awaited.stop_listening();
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Whether a waiting worker runs tasks of the awaited task's view meanwhile: the awaited one when it gets a permit, and those that
    /// hold the permits. Not with a deadline, which could not be kept.
    fn runs_what_it_awaits(&self, deadline: Option<Instant>) -> bool {
        self.meta.view().is_some() && deadline.is_none()
    }

    /// Whether there is such a task now. Otherwise the calling worker is woken when there may be one.
    #[cold]
    fn must_run_again(&self) -> bool {
        self.can_be_run(|| Waiter::Thread(current()))
    }

    /// Counts the calling worker as blocked. A wait with a deadline is counted only while the worker has a fallback, which it takes when it
    /// is evicted.
    fn enter_wait(&self, deadline: Option<Instant>, has_fallback: bool) -> Result<BlockGuard, WouldDeadlock> {
        match has_fallback {
            true => blocked_workers::enter_wait_for_room(self.meta.pool, None, true),
            false => blocked_workers::enter_wait(self.meta.pool, deadline),
        }
    }

    /// The synchronous call: waits for the result, and gives up at the task's deadline or when its token is cancelled.
    pub(crate) fn call(&self) -> Outcome<I, O> {
        let is_bounded = self.meta.deadline().is_some() || self.meta.token.is_some();
        if let Some(view) = self
            .meta
            .view()
            .filter(|_| !is_bounded && !self.is_scheduled() && current_worker::is_inside(self.meta.pool))
        {
            view.run();
        }
        match self.wait(self.meta.deadline(), self.meta.token.as_ref(), false) {
            Outcome::TimedOut => self.give_up(SubmitErrorKind::TimedOut),
            Outcome::Cancelled => self.give_up(SubmitErrorKind::Cancelled),
            Outcome::WouldDeadlock => self.give_up(SubmitErrorKind::WouldDeadlock),
            other => other,
        }
    }

    /// Ends the wait of a caller, because of its deadline or its token. A running task is interrupted.
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
            // The output is there in time. There is nothing left for the worker to announce.
            Stage::Produced(output) => {
                state.detached = true;
                Outcome::Done(Ok(output.into_inner()))
            }
            other => {
                state.detached = true;
                state.stage = other;
                self.tell_to_stop(state);
                if self.is_stop_requested() {
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

    /// Takes the input back from a task that the pool refused.
    pub(crate) fn refused(&self, kind: SubmitErrorKind) -> SubmitError<I> {
        self.meta.release_weight();
        match self.state.lock().take_queued() {
            Some(input) => SubmitError::new(kind, input.into_inner()),
            _ => unreachable!("a refused task has not started"),
        }
    }

    /// Takes the result if it is there. Otherwise registers `waiter`, in place of the one before.
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

    /// Registers `waiter` as one of several that the end of the task wakes. Returns its entry, or `None` if the task has ended.
    pub(crate) fn listen(&self, waiter: Waiter) -> Option<u64> {
        let mut state = self.state.lock();
        if state.is_over() {
            drop(state);
            waiter.discard();
            return None;
        }
        Some(state.list(waiter))
    }

    /// The same in place of the waiter with the entry `before`.
    pub(crate) fn relisten(&self, before: Option<u64>, waiter: Waiter) -> Option<u64> {
        before.into_iter().for_each(|entry| self.remove_waiter(entry));
        self.listen(waiter)
    }

    fn remove_waiter(&self, entry: u64) {
        let removed = self.state.lock().remove(entry);
        removed.into_iter().for_each(Waiter::discard);
    }

    /// Removes the waiter with this entry. The calling worker does not wait for a permit of the task's view any more.
    pub(crate) fn stop_listening(&self, entry: u64) {
        self.remove_waiter(entry);
        if let Some(view) = self.meta.view() {
            view.forget_caller();
        }
    }

    /// Whether the task is no longer queued.
    pub(crate) fn has_started(&self) -> bool {
        !matches!(self.state.lock().stage, Stage::Queued(_))
    }

    /// Whether a wait would return at once.
    pub(crate) fn is_finished(&self) -> bool {
        self.state.lock().is_over()
    }
}
