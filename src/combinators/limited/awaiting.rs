//! Workers that poll tasks which wait for a permit.

use std::collections::BTreeMap;

use crate::sync::waiter::Waiter;

/// The waiters of the pool's workers that wait for, or have polled, tasks which wait for a permit: one for each worker and task. They are
/// woken when a permit is given or released, for the worker may have to run a task then. Nothing is dropped here, since this is under a lock
/// and a waker is user code.
#[derive(Default)]
pub(super) struct Awaiting(BTreeMap<(usize, u64), Waiter>);

impl Awaiting {
    /// A worker waits for this task. Returns the waiter that it left for the task before.
    pub(super) fn enter(&mut self, worker: usize, task: u64, waiter: Waiter) -> Option<Waiter> {
        self.0.insert((worker, task), waiter)
    }

    /// Those that are to poll again.
    #[inline]
    pub(super) fn take(&mut self) -> Vec<Waiter> {
        if self.0.is_empty() { Vec::new() } else { self.take_all() }
    }

    #[cold]
    fn take_all(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.0).into_values().collect()
    }

    /// This worker does not wait for this task any more.
    pub(super) fn leave_by(&mut self, worker: usize, task: u64) -> Option<Waiter> {
        self.0.remove(&(worker, task))
    }

    /// Nobody polls this task any more.
    pub(super) fn leave(&mut self, task: u64) -> Vec<Waiter> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (gone, others) = std::mem::take(&mut self.0).into_iter().partition(|((_, awaited), _)| *awaited == task);
        self.0 = others;
        Awaiting(gone).take()
    }
}
