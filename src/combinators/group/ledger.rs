//! The results of a group's tasks, and the tasks that have not ended.

use std::collections::BTreeMap;

use super::member::address;
use super::{Collected, Joined};
use crate::error::TaskFailure;
use crate::sync::Thread;

/// The least number of ended tasks after which the list is searched for them.
const STALE: usize = 32;

/// The tasks of a group. When a task has ended, its result is moved here and its state is dropped.
pub(super) struct Ledger<T, E> {
    /// In the order in which the tasks were accepted; `None` for open ones.
    results: Vec<Option<Result<T, TaskFailure<E>>>>,
    /// The tasks whose results have not been taken, in the same order, each with its index.
    open: Vec<(usize, Joined<T, E>)>,
    /// The first index that a worker has not tried to run inline.
    tried: usize,
    /// How many tasks have ended since `open` was last searched.
    stale: usize,
    /// The index of the first task that failed, once its result has been taken.
    first_failed: Option<usize>,
    /// The permits in use.
    pub(super) taken: usize,
    /// Workers that wait for a permit and can run a task meanwhile, by ticket.
    helpers: BTreeMap<u64, Thread>,
    next_ticket: u64,
}

impl<T, E> Default for Ledger<T, E> {
    fn default() -> Self {
        Ledger {
            results: Vec::new(),
            open: Vec::new(),
            tried: 0,
            stale: 0,
            first_failed: None,
            taken: 0,
            helpers: BTreeMap::new(),
            next_ticket: 0,
        }
    }
}

impl<T, E> Ledger<T, E> {
    /// Adds an accepted task, which may have ended already. Returns a helper to wake for it.
    pub(super) fn enter(&mut self, task: Joined<T, E>) -> Option<Thread> {
        self.open.push((self.results.len(), task));
        self.results.push(None);
        self.helpers.pop_last().map(|(_, helper)| helper)
    }

    /// The number of accepted tasks.
    pub(super) fn len(&self) -> usize {
        self.results.len()
    }

    /// The oldest open task with an index of at least `from`.
    pub(super) fn first_open(&self, from: usize) -> Option<(usize, Joined<T, E>)> {
        self.open.get(self.open.partition_point(|(index, _)| *index < from)).cloned()
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Joined<T, E>> {
        self.open.iter().map(|(_, task)| task)
    }

    /// The oldest task that no worker has tried to run inline.
    pub(super) fn next_to_try(&mut self) -> Option<Joined<T, E>> {
        let (index, task) = self.first_open(self.tried)?;
        self.tried = index + 1;
        Some(task)
    }

    pub(super) fn has_task_to_try(&self) -> bool {
        self.open.last().is_some_and(|(index, _)| *index >= self.tried)
    }

    pub(super) fn try_all_again(&mut self) {
        self.tried = 0;
    }

    /// Registers `me` to be woken when there is a task to try, until [`remove`](Self::remove) of the ticket. `None` if there is one
    /// already.
    pub(super) fn await_task(&mut self, me: &Thread) -> Option<u64> {
        if self.has_task_to_try() {
            return None;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.helpers.insert(ticket, me.clone());
        Some(ticket)
    }

    pub(super) fn remove(&mut self, helper: u64) {
        self.helpers.remove(&helper);
    }

    /// Records that a task has ended or is about to. When half of the open tasks may have ended, takes their results. So a state does not
    /// outlive its task for long, and the cost is constant per task on the average. The caller drops what is returned after it has released
    /// the lock.
    pub(super) fn record_end(&mut self, first_failure: Option<usize>) -> Vec<Joined<T, E>> {
        self.stale += 1;
        if self.stale < STALE.max(self.open.len() / 2) {
            return Vec::new();
        }
        self.sweep(first_failure)
    }

    /// Takes the results of the tasks that have ended. `first_failure` is the address of the state of the task that failed first.
    fn sweep(&mut self, first_failure: Option<usize>) -> Vec<Joined<T, E>> {
        self.stale = 0;
        let mut ended = Vec::new();
        for (index, task) in std::mem::take(&mut self.open) {
            // Only once: when this state has been freed, another one may have its address.
            if self.first_failed.is_none() && first_failure == Some(address(&*task)) {
                self.first_failed = Some(index);
            }
            match task.poll(None) {
                Some(result) => {
                    self.results[index] = Some(match result {
                        Ok(Ok(value)) => Ok(value),
                        Ok(Err(error)) => Err(TaskFailure::Failed(error)),
                        Err(error) => Err(TaskFailure::of(error)),
                    });
                    ended.push(task);
                }
                None => self.open.push((index, task)),
            }
        }
        ended
    }

    /// Ends the group.
    pub(super) fn close(&mut self, first_failure: Option<usize>) -> Closed<T, E> {
        let ended = self.sweep(first_failure);
        let open = std::mem::take(&mut self.open).into_iter().map(|(_, task)| task).collect();
        Closed { results: std::mem::take(&mut self.results), first_failed: self.first_failed, open, _ended: ended }
    }
}

/// The ledger of a group that has ended.
pub(super) struct Closed<T, E> {
    results: Vec<Option<Result<T, TaskFailure<E>>>>,
    pub(super) first_failed: Option<usize>,
    /// Tasks that have not ended.
    pub(super) open: Vec<Joined<T, E>>,
    /// The states of those that have, to be dropped after the lock is released.
    _ended: Vec<Joined<T, E>>,
}

impl<T, E> Closed<T, E> {
    /// The result of each task. Those that have not ended could not be waited for.
    pub(super) fn results(self) -> Collected<T, E> {
        self.results.into_iter().map(|result| result.unwrap_or(Err(TaskFailure::WouldDeadlock))).collect()
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sync::current;

    /// D15: a worker that stops waiting for a permit does not search the list of the others.
    #[test]
    fn d15_leaving_a_groups_limit_costs_the_same_however_many_wait() {
        const MANY: usize = 200_000;
        let mut ledger = Ledger::<(), ()>::default();
        let begun = Instant::now();
        let tickets: Vec<_> = (0..MANY).filter_map(|_| ledger.await_task(&current())).collect();
        assert_eq!(tickets.len(), MANY);
        for ticket in tickets.into_iter().step_by(2) {
            ledger.remove(ticket);
        }
        assert_eq!(ledger.helpers.len(), MANY / 2);
        // A walk for each would take minutes.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
