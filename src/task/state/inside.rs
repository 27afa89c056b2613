//! A worker that waits for a task of its own pool: whether it has to see to the task itself.

use super::TaskState;
use crate::sync::waiter::Waiter;
use crate::task::current_worker;
use crate::task::in_view::InView;

impl<I, O> TaskState<I, O> {
    /// The view of the task, if the calling thread is in none of its tasks and so has no place for this one.
    pub(crate) fn other_view(&self) -> Option<&InView> {
        self.meta.view().filter(|view| !view.is_inside())
    }

    /// Whether the calling thread is a worker of the task's pool, nobody has started the task, and no other worker is free to. If it
    /// is not up to the caller now, the waiter may be woken when it is.
    pub(crate) fn is_up_to_caller(&self, waiter: impl FnOnce() -> Waiter) -> bool {
        let are_free = || current_worker::has_free_workers(self.meta.pool);
        self.meta.run_here.is_some()
            && current_worker::is_inside(self.meta.pool)
            && !self.has_started()
            && self.meta.view().map_or_else(|| !are_free(), |view| view.is_up_to_caller(are_free, waiter))
    }

    /// Runs what keeps the task from a place in a view that the caller is not in, and then the task, where that is up to the caller.
    #[cold]
    pub(crate) fn run_those_before(&self, waiter: impl Fn() -> Waiter) {
        if let Some(view) = self.other_view() {
            while self.is_up_to_caller(&waiter) && view.run_next() {}
        }
    }
}
