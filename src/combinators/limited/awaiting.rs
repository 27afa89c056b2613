//! Workers that poll tasks which wait for a permit.

use std::collections::BTreeMap;

use crate::sync::waiter::Waiter;

/// The wakers of the pool's workers that have polled a task which waits for a permit: one for each worker, since a worker sleeps in one
/// poll. They are woken when a permit is given or released, for the worker may have to run a task then. Nothing is dropped here, since this
/// is under a lock and a waker is user code.
#[derive(Default)]
pub(super) struct Awaiting(BTreeMap<usize, (u64, Waiter)>);

impl Awaiting {
    /// A worker has polled this task. Returns the waiter that it left before.
    pub(super) fn enter(&mut self, worker: usize, task: u64, waiter: Waiter) -> Option<Waiter> {
        self.0.insert(worker, (task, waiter)).map(|(_, before)| before)
    }

    /// Those that are to poll again.
    #[inline]
    pub(super) fn take(&mut self) -> Vec<Waiter> {
        if self.0.is_empty() { Vec::new() } else { self.take_all() }
    }

    #[cold]
    fn take_all(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.0).into_values().map(|(_, waiter)| waiter).collect()
    }

    /// This worker does not poll this task any more.
    pub(super) fn leave_by(&mut self, worker: usize, task: u64) -> Option<Waiter> {
        let is_this = self.0.get(&worker).is_some_and(|(awaited, _)| *awaited == task);
        if is_this { self.0.remove(&worker).map(|(_, waiter)| waiter) } else { None }
    }

    /// Nobody polls this task any more.
    pub(super) fn leave(&mut self, task: u64) -> Vec<Waiter> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (gone, others) = std::mem::take(&mut self.0).into_iter().partition(|(_, (awaited, _))| *awaited == task);
        self.0 = others;
        Awaiting(gone).take()
    }
}
