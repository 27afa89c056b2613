//! The budget from which tasks take their weights, and the submitters that wait for it.

use super::{Engine, Runner};
use crate::queue::Dispatch;
use crate::semaphore::Semaphore;
use crate::sync::waiter::Waiter;
use crate::sync::waiter_list::Registration;

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// The pool's budget, if it has one.
    pub(crate) fn budget(&self) -> Option<&Semaphore> {
        self.options.budget.as_ref()
    }

    /// Wakes a submitter that waits for a weight when the pool, or a view of it, is closed. It checks that after this call.
    pub(crate) fn await_budget(&self, waiter: Waiter) -> Registration<'_> {
        self.budget_waiters.register(waiter)
    }

    /// The pool or a view was closed.
    pub(crate) fn wake_budget_waiters(&self) {
        let mut woken = Vec::new();
        self.budget_waiters.take_to_recheck(&mut woken);
        woken.into_iter().for_each(|(_, waiter)| waiter.wake());
    }
}
