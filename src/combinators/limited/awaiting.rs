//! Workers that await tasks without a place.

use std::collections::BTreeMap;

use crate::sync::waiter::Waiter;

/// What wakes the workers of the pool that have polled a task of the view in vain, since it waits for a place: one of each, for a
/// worker sleeps in one poll. They look again when a task has got a place, which they may have to run. Nothing is dropped here: a
/// waker is somebody else's code, and this is under a lock.
#[derive(Default)]
pub(super) struct Awaiting(BTreeMap<usize, (u64, Waiter)>);

impl Awaiting {
    /// A worker has polled this task. What it has left before comes back.
    pub(super) fn enter(&mut self, worker: usize, task: u64, waiter: Waiter) -> Option<Waiter> {
        self.0.insert(worker, (task, waiter)).map(|(_, before)| before)
    }

    /// Those who are to look again.
    #[inline]
    pub(super) fn take(&mut self) -> Vec<Waiter> {
        if self.0.is_empty() { Vec::new() } else { self.take_all() }
    }

    #[cold]
    fn take_all(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.0).into_values().map(|(_, waiter)| waiter).collect()
    }

    /// This worker does not await this task any more.
    pub(super) fn leave_by(&mut self, worker: usize, task: u64) -> Option<Waiter> {
        let is_this = self.0.get(&worker).is_some_and(|(awaited, _)| *awaited == task);
        if is_this { self.0.remove(&worker).map(|(_, waiter)| waiter) } else { None }
    }

    /// Nobody awaits this task any more.
    pub(super) fn leave(&mut self, task: u64) -> Vec<Waiter> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (gone, others) = std::mem::take(&mut self.0).into_iter().partition(|(_, (awaited, _))| *awaited == task);
        self.0 = others;
        Awaiting(gone).take()
    }
}
