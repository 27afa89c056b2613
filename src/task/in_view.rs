//! What a task's state knows of the limited view that the task belongs to.

use std::cell::RefCell;
use std::sync::Weak;

use crate::sync::waiter::Waiter;
use crate::sync::{Arc, thread_local};
use crate::task::state::RunOutcome;

thread_local! {
    /// The views whose permits the tasks on this thread's stack hold, by address.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Marks that the calling thread runs a task of the view at an address, until it is dropped. Guards are dropped in reverse order.
pub(crate) struct HoldsPlace(());

impl HoldsPlace {
    pub(crate) fn of(view: usize) -> Self {
        // An inline worker can be a thread whose thread-locals are destroyed. It goes without the mark.
        let _ = HELD.try_with(|held| held.borrow_mut().push(view));
        HoldsPlace(())
    }
}

impl Drop for HoldsPlace {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| held.borrow_mut().pop());
    }
}

/// Whether the calling thread runs a task of the view at this address.
pub(crate) fn holds_place(view: usize) -> bool {
    HELD.try_with(|held| held.borrow().contains(&view)).unwrap_or(false)
}

/// A view, whatever its pool.
pub(crate) trait ViewOps: Send + Sync {
    /// Records that a task was withdrawn from its queue entry. A worker that takes the entry reports `withdrawn_outcome`.
    fn withdraw(self: Arc<Self>, task: u64, withdrawn_outcome: RunOutcome);
    /// Whether [`run_next`](Self::run_next) would find a task.
    fn can_run_next(&self, task: u64) -> bool;
    /// Whether a worker of the pool would find the task.
    fn is_queued(&self, task: u64) -> bool;
    /// Whether [`run_next`](Self::run_next) would find a task that none of the workers that `are_free` would find. If the task waits
    /// for a permit, `waiter` is woken when this may have changed.
    fn has_next(&self, task: u64, are_free: &dyn Fn() -> bool, waiter: Waiter) -> bool;
    /// The poller no longer waits for the task.
    fn forget(&self, task: u64);
    /// The calling worker no longer waits for the task.
    fn forget_caller(&self, task: u64);
    /// Runs the task on this worker, under the permit that it has, if it has not started.
    fn run(self: Arc<Self>, task: u64);
    /// The same; or, if the task waits for a permit, runs a task that keeps it from one. Returns whether there was any.
    fn run_next(self: Arc<Self>, task: u64) -> bool;
}

/// A task's view. It does not keep the view alive; the view lives at least until the task has started.
pub(crate) struct InView {
    view: Weak<dyn ViewOps>,
    task: u64,
}

impl InView {
    pub(crate) fn new(view: Weak<dyn ViewOps>, task: u64) -> Self {
        InView { view, task }
    }

    /// Records that the task was withdrawn from its queue entry, so that it no longer needs room or a permit. It must not be called under
    /// a lock.
    pub(crate) fn withdraw(&self, withdrawn_outcome: RunOutcome) {
        if let Some(view) = self.view.upgrade() {
            view.withdraw(self.task, withdrawn_outcome);
        }
    }

    /// Whether the calling thread runs a task of the same view, under whose permit this one can run.
    pub(crate) fn is_inside(&self) -> bool {
        holds_place(self.view.as_ptr().addr())
    }

    /// Whether the calling worker could run the task under some permit, perhaps after other tasks.
    pub(crate) fn can_run(&self) -> bool {
        self.is_inside() || self.view.upgrade().is_some_and(|view| view.can_run_next(self.task))
    }

    /// Whether the calling worker, which waits for the task, must get it run, because none of the workers that `are_free` can. If this is
    /// false, `waiter` may be woken when it becomes true.
    pub(crate) fn is_up_to_caller(&self, are_free: impl Fn() -> bool, waiter: impl FnOnce() -> Waiter) -> bool {
        self.view.upgrade().is_some_and(|view| match self.is_inside() {
            true => !view.is_queued(self.task) || !are_free(),
            false => view.has_next(self.task, &are_free, waiter()),
        })
    }

    /// The poller no longer waits for the task.
    pub(crate) fn forget(&self) {
        if let Some(view) = self.view.upgrade() {
            view.forget(self.task);
        }
    }

    /// The calling worker no longer waits for the task.
    pub(crate) fn forget_caller(&self) {
        if let Some(view) = self.view.upgrade() {
            view.forget_caller(self.task);
        }
    }

    /// Runs the task on this worker under its own permit, if it has one and has not started.
    pub(crate) fn run(&self) {
        if let Some(view) = self.view.upgrade() {
            view.run(self.task);
        }
    }

    /// Runs the task in the same way, or one that keeps it from a permit. Returns whether there was any.
    pub(crate) fn run_next(&self) -> bool {
        self.view.upgrade().is_some_and(|view| view.run_next(self.task))
    }
}
