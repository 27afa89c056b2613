//! A worker that waits for a task of its own pool: whether it must run the task itself.

use std::cell::Cell;

use super::TaskState;
use crate::sync::waiter::Waiter;
use crate::task::current_worker;
use crate::task::in_view::InView;

/// What a poll on a worker of the task's pool does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollAction {
    /// It runs the task, or one that keeps the task from its permits: no other worker is free to start it.
    Run,
    /// The task, or that other one, is queued, and other workers are free to start it. They may take other tasks first.
    LeaveToOthers,
    /// The task has started, or cannot be run here, or waits for a permit. In the last case the waiter is woken when there may be one.
    Wait,
}

impl<I, O> TaskState<I, O> {
    /// What a poll of the task on the calling thread does.
    pub(crate) fn poll_action(&self, waiter: impl FnOnce() -> Waiter) -> PollAction {
        if !current_worker::is_inside(self.meta.pool) || self.has_started() {
            return PollAction::Wait;
        }
        let left_to_others = Cell::new(false);
        let are_free = || {
            left_to_others.set(current_worker::has_free_workers(self.meta.pool));
            left_to_others.get()
        };
        let is_up_to_caller = match self.meta.view() {
            Some(view) => view.is_up_to_caller(are_free, waiter),
            None => self.meta.run_here.is_some() && !are_free(),
        };
        match (is_up_to_caller, left_to_others.get()) {
            (true, _) => PollAction::Run,
            (false, true) => PollAction::LeaveToOthers,
            (false, false) => PollAction::Wait,
        }
    }

    /// For a worker that blocks until the task has ended: whether it can run the task of a view, or one that keeps it from its permits. It
    /// does not leave that to others, which are free now and may wait for this one next. If the task waits for a permit, `waiter` is woken when
    /// there may be one.
    pub(crate) fn can_be_run(&self, waiter: impl FnOnce() -> Waiter) -> bool {
        let Some(view) = self.meta.view() else { return false };
        current_worker::is_inside(self.meta.pool) && !self.has_started() && view.is_up_to_caller(|| false, waiter)
    }

    /// Whether the task has not started and cannot, before the one that the calling worker is in has ended.
    pub(crate) fn is_behind_caller(&self) -> bool {
        self.meta.view().is_some_and(InView::is_behind_caller) && !self.has_started()
    }

    /// While `has_next`: runs the tasks that keep the task of a view from its permits, and then the task.
    #[cold]
    pub(crate) fn run_predecessors(&self, has_next: impl Fn() -> bool) {
        if let Some(view) = self.meta.view() {
            while has_next() && view.run_next() {}
        }
    }
}
