//! What the slot of a view's task knows of the view.

use std::cell::RefCell;
use std::sync::Weak;

use crate::sync::waiter::Waiter;
use crate::sync::{Arc, thread_local};
use crate::task::state::RunOutcome;

thread_local! {
    /// The views whose places the tasks on this thread's stack have, by address.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Marks the calling thread as one in a task of the view at an address, until it is dropped. Dropped in the reverse order.
pub(crate) struct HoldsPlace(());

impl HoldsPlace {
    pub(crate) fn of(view: usize) -> Self {
        // Fails on a thread whose locals are gone, which can be a guest: it does without.
        let _ = HELD.try_with(|held| held.borrow_mut().push(view));
        HoldsPlace(())
    }
}

impl Drop for HoldsPlace {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| held.borrow_mut().pop());
    }
}

/// Whether the calling thread is in a task of the view at this address.
pub(crate) fn holds_place(view: usize) -> bool {
    HELD.try_with(|held| held.borrow().contains(&view)).unwrap_or(false)
}

/// A view, whatever its pool.
pub(crate) trait ViewOps: Send + Sync {
    /// A task was taken from its ticket, which may be there; `withdrawn_outcome` is what becomes of it.
    fn withdraw(self: Arc<Self>, task: u64, withdrawn_outcome: RunOutcome);
    /// Whether there is anything for [`run_next`](Self::run_next).
    fn can_run_next(&self, task: u64) -> bool;
    /// Whether a worker of the pool would find the task.
    fn is_queued(&self, task: u64) -> bool;
    /// Whether there is anything for [`run_next`](Self::run_next) that none of the workers who `are_free` would find. If the task waits
    /// for a place, the calling worker is woken when there may be.
    fn has_next(&self, task: u64, are_free: &dyn Fn() -> bool, waiter: Waiter) -> bool;
    /// Nobody awaits the task any more.
    fn forget(&self, task: u64);
    /// The calling worker does not await the task any more.
    fn forget_caller(&self, task: u64);
    /// Runs the task on this worker, in the place that it has, if it has not started.
    fn run(self: Arc<Self>, task: u64);
    /// The same, or, if the task waits for a place, runs what keeps it from one: says whether there was anything.
    fn run_next(self: Arc<Self>, task: u64) -> bool;
}

/// A task of a view. Does not keep the view, which is there as long as the task has not started.
pub(crate) struct InView {
    view: Weak<dyn ViewOps>,
    task: u64,
}

impl InView {
    pub(crate) fn new(view: Weak<dyn ViewOps>, task: u64) -> Self {
        InView { view, task }
    }

    /// The task was taken from its ticket: that needs no room and no place any more. Not to be called under a lock.
    pub(crate) fn withdraw(&self, withdrawn_outcome: RunOutcome) {
        if let Some(view) = self.view.upgrade() {
            view.withdraw(self.task, withdrawn_outcome);
        }
    }

    /// Whether the calling thread is in a task of the same view, in whose place this one can run.
    pub(crate) fn is_inside(&self) -> bool {
        holds_place(self.view.as_ptr().addr())
    }

    /// Whether there is a place in which the calling worker can run the task, perhaps after others.
    pub(crate) fn can_run(&self) -> bool {
        self.is_inside() || self.view.upgrade().is_some_and(|view| view.can_run_next(self.task))
    }

    /// Whether the calling worker, which awaits the task, has to see to it that it is run, since none of the workers who `are_free` can.
    /// If it has not, the waiter may be woken when it has.
    pub(crate) fn is_up_to_caller(&self, are_free: impl Fn() -> bool, waiter: impl FnOnce() -> Waiter) -> bool {
        self.view.upgrade().is_some_and(|view| match self.is_inside() {
            true => !view.is_queued(self.task) || !are_free(),
            false => view.has_next(self.task, &are_free, waiter()),
        })
    }

    /// Who has polled the task does not await it any more.
    pub(crate) fn forget(&self) {
        if let Some(view) = self.view.upgrade() {
            view.forget(self.task);
        }
    }

    /// The same of the calling worker alone.
    pub(crate) fn forget_caller(&self) {
        if let Some(view) = self.view.upgrade() {
            view.forget_caller(self.task);
        }
    }

    /// Runs the task on this worker in its own place, if it has one and has not started.
    pub(crate) fn run(&self) {
        if let Some(view) = self.view.upgrade() {
            view.run(self.task);
        }
    }

    /// Runs the task in the same way, or one that is in its way; says whether there was any.
    pub(crate) fn run_next(&self) -> bool {
        self.view.upgrade().is_some_and(|view| view.run_next(self.task))
    }
}
