//! What a task and the schedule of its pool know of each other while the time of the task has not come.

use std::sync::Weak;
use std::time::Instant;

use crate::cancel::CancelToken;
use crate::error::SubmitErrorKind;
use crate::sync::Arc;
use crate::task::in_view::InView;
use crate::task::pending_polls::PendingPoll;

/// Where a task is in a schedule: its time, and a number that makes it unique.
pub(crate) type Place = (Instant, u64);

/// The schedule of a pool, whatever the types of its engine.
pub(crate) trait Schedules: Send + Sync {
    /// The task there was cancelled. Returns whether it was still in the schedule: then it has left it, and is counted. Not to be called
    /// under a lock.
    fn withdraw(self: Arc<Self>, place: Place) -> bool;
    /// Repeats a poll when a task has entered the pool.
    fn register_poll(&self, poll: Arc<PendingPoll>);
}

/// What the state of a scheduled task knows. Does not keep the pool.
pub(crate) struct InSchedule {
    schedule: Weak<dyn Schedules>,
    place: Place,
}

impl InSchedule {
    pub(crate) fn new(schedule: Weak<dyn Schedules>, place: Place) -> Self {
        InSchedule { schedule, place }
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// See [`Schedules::withdraw`].
    pub(crate) fn withdraw(&self) -> bool {
        self.schedule.upgrade().is_some_and(|schedule| schedule.withdraw(self.place))
    }

    /// See [`Schedules::register_poll`].
    pub(crate) fn register_poll(&self, poll: Arc<PendingPoll>) {
        if let Some(schedule) = self.schedule.upgrade() {
            schedule.register_poll(poll);
        }
    }
}

/// The state of a scheduled task, whatever its types.
pub(crate) trait ScheduledTask: Send + Sync {
    /// The task enters the pool, and is from here on as any other. Called under the queue's locks.
    fn enters(&self);
    /// Why it must not enter any more, if it must not.
    fn end(&self) -> Option<SubmitErrorKind>;
    /// What it knows of the view that it is for.
    fn in_view(&self) -> Option<&InView>;
    /// The token that it was submitted with.
    fn given_token(&self) -> Option<&CancelToken>;
    /// The task's own token.
    fn own_token(&self) -> &CancelToken;
}
