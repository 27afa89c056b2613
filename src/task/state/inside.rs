//! A worker that waits for a task of its own pool: whether it must run the task itself.

use super::TaskState;
use crate::sync::waiter::Waiter;
use crate::task::current_worker;
use crate::task::in_view::InView;

impl<I, O> TaskState<I, O> {
    /// The view of the task, unless the calling thread already runs a task of that view and so holds a permit that this one can use.
    pub(crate) fn other_view(&self) -> Option<&InView> {
        self.meta.view().filter(|view| !view.is_inside())
    }

    /// Whether the calling thread is a worker of the task's pool, the task has not started, and no other worker is free to start it. If
    /// this is false, `waiter` may be woken when it becomes true.
    pub(crate) fn is_up_to_caller(&self, waiter: impl FnOnce() -> Waiter) -> bool {
        let are_free = || current_worker::has_free_workers(self.meta.pool);
        self.meta.run_here.is_some()
            && current_worker::is_inside(self.meta.pool)
            && !self.has_started()
            && self.meta.view().map_or_else(|| !are_free(), |view| view.is_up_to_caller(are_free, waiter))
    }

    /// While it is up to the caller: runs the tasks that keep the task from a permit of its view, and then the task. For a caller that
    /// holds no permit of that view.
    #[cold]
    pub(crate) fn run_predecessors(&self, waiter: impl Fn() -> Waiter) {
        if let Some(view) = self.other_view() {
            while self.is_up_to_caller(&waiter) && view.run_next() {}
        }
    }
}
