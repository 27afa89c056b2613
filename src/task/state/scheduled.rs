//! The state of a task that enters its pool at a time.
//!
//! Until then its queue entry is in the pool's schedule and not in the queue, so a task that is cancelled is not counted as an entry of the
//! queue that is stale ([`withdraw`](TaskState::withdraw)), and a worker that waits for the task does not run it.

use super::{State, TaskState};
use crate::cancel::CancelToken;
use crate::error::SubmitErrorKind;
use crate::task::in_schedule::{InSchedule, ScheduledTask};
use crate::task::in_view::InView;
use crate::task::state::Cancellable;

impl<I, O> State<I, O> {
    pub(super) fn is_scheduled(&self) -> bool {
        self.is_scheduled
    }
}

impl<I, O> TaskState<I, O> {
    /// Whether the task has not entered the pool yet.
    #[inline]
    pub(crate) fn is_scheduled(&self) -> bool {
        self.meta.schedule().is_some() && self.state.lock().is_scheduled()
    }

    /// Takes a cancelled task out of the schedule. Returns whether it was there.
    pub(super) fn leave_schedule(&self) -> bool {
        self.meta.schedule().is_some_and(InSchedule::withdraw)
    }
}

impl<I: Send, O: Send> ScheduledTask for TaskState<I, O> {
    fn enters(&self) {
        self.state.lock().is_scheduled = false;
    }

    fn end(&self) -> Option<SubmitErrorKind> {
        self.is_cancelled().then(|| self.why_cancelled().0)
    }

    fn in_view(&self) -> Option<&InView> {
        self.meta.view()
    }

    fn given_token(&self) -> Option<&CancelToken> {
        self.meta.token.as_ref()
    }

    fn own_token(&self) -> &CancelToken {
        self.token()
    }
}
