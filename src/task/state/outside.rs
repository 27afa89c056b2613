//! Tasks that are not in a queue yet: their handles exist, and they enter a pool later, or never.
//!
//! Until such a task enters, nobody counts it. So it is cancelled without the pool's counters of withdrawn tasks, and an entry that comes
//! to the queue after all is counted by the worker that pops it.

use super::{RunOutcome, Stage, TaskState};
use crate::error::{Cause, JoinError};
use crate::sync::Ordering;
use crate::sync::waiter::Waiter;

impl<I, O> TaskState<I, O> {
    pub(super) fn note_failed(&self) {
        // ORDERING: Relaxed. Who reads it has seen under the lock that the task is over.
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Registers `waiter` for the end of the task, beside those who wait for its result: neither a poll nor the drop of the handle takes its
    /// place. Returns its entry, or `None` if the task has ended.
    pub(crate) fn listen_beside(&self, waiter: Waiter) -> Option<u64> {
        let mut state = self.state.lock();
        if state.is_over() {
            drop(state);
            waiter.discard();
            return None;
        }
        Some(state.more_waiters.get_or_insert_default().push(waiter))
    }

    /// Why the task has no output, if it has ended without: `Some(None)` where the error was taken.
    pub(crate) fn failure(&self) -> Option<Option<JoinError>> {
        let state = self.state.lock();
        // ORDERING: Relaxed, see `note_failed`.
        let has_failed = state.is_over() && self.failed.load(Ordering::Relaxed);
        has_failed.then(|| match &state.stage {
            Stage::Done(Err(error)) => Some(error.share()),
            _ => None,
        })
    }

    /// Whether the task has neither started nor ended.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.state.lock().stage, Stage::Queued(_))
    }

    /// Cancels a task that is outside. Returns whether it had not started.
    pub(crate) fn cancel_outside(&self) -> bool {
        let mut state = self.state.lock();
        let Some(input) = state.take_queued() else { return false };
        state.withdrawn_outcome = RunOutcome::Cancelled;
        self.request_stop();
        self.finish(state, Stage::Done(Err(JoinError::new(Cause::Cancelled))));
        self.leave_view();
        self.cancel_token();
        // Last, because it may panic.
        drop(input);
        true
    }

    /// Ends a task that is outside and has not started. `discard` drops what it has captured, and catches a panic, before the end is
    /// announced. Returns whether the task had not started.
    pub(crate) fn fail_outside(&self, error: JoinError, discard: impl FnOnce(I)) -> bool {
        let Some(input) = self.take_outside(RunOutcome::Cancelled) else { return false };
        discard(input);
        self.end_outside(Err(error));
        true
    }

    /// Takes the input of a task that is outside, to process it elsewhere. [`end_outside`](Self::end_outside) must follow. `outcome` is what
    /// a worker reports for a queue entry, if there is one.
    pub(crate) fn take_outside(&self, outcome: RunOutcome) -> Option<I> {
        let mut state = self.state.lock();
        let input = state.take_queued()?;
        state.withdrawn_outcome = outcome;
        state.stage = Stage::Running(None);
        drop(state);
        Some(input.into_inner())
    }

    /// Stores the result of a task whose input was taken, and wakes the waiters.
    pub(crate) fn end_outside(&self, result: Result<O, JoinError>) {
        let result = result.map(super::Packed::new);
        let mut state = self.state.lock();
        // It has no interrupter, so this drops no user's value.
        state.stage = Stage::Empty;
        match state.detached {
            false => self.finish(state, Stage::Done(result)),
            true => {
                if result.is_err() {
                    self.note_failed();
                }
                let more = state.more_waiters.take();
                drop(state);
                drop(result);
                more.into_iter().for_each(|more| more.wake_all());
            }
        }
    }

    /// Whether a waiter has taken the task, which the pool has not counted as submitted, and counts as ended.
    pub(crate) fn was_taken_outside(&self) -> bool {
        self.state.lock().is_withdrawn
    }
}
