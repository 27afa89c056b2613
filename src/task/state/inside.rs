//! A worker that waits for a task of its own pool: whether it must run the task itself.

use super::TaskState;
use crate::sync::waiter::Waiter;
use crate::task::current_worker;

impl<I, O> TaskState<I, O> {
    /// Whether the calling thread is a worker of the task's pool, the task has not started, and no other worker is free to start it. If
    /// this is false, `waiter` may be woken when it becomes true.
    pub(crate) fn is_up_to_caller(&self, waiter: impl FnOnce() -> Waiter) -> bool {
        let are_free = || current_worker::has_free_workers(self.meta.pool);
        if !current_worker::is_inside(self.meta.pool) || self.has_started() {
            return false;
        }
        match self.meta.view() {
            Some(view) => view.is_up_to_caller(are_free, waiter),
            None => self.meta.run_here.is_some() && !are_free(),
        }
    }

    /// For a worker that blocks until the task has ended: whether it can run the task of a view, or one that keeps it from its permits. It
    /// does not leave that to others, which are free now and may wait for this one next.
    pub(crate) fn can_be_run(&self, waiter: impl FnOnce() -> Waiter) -> bool {
        current_worker::is_inside(self.meta.pool)
            && !self.has_started()
            && self.meta.view().is_some_and(|view| view.is_up_to_caller(|| false, waiter))
    }

    /// While it is up to the caller: runs the tasks that keep the task of a view from its permits, and then the task.
    #[cold]
    pub(crate) fn run_predecessors(&self, waiter: impl Fn() -> Waiter) {
        if let Some(view) = self.meta.view() {
            while self.can_be_run(&waiter) && view.run_next() {}
        }
    }
}
