//! What became of a group's tasks, and which of them it is not known of yet.

use std::collections::BTreeMap;

use super::member::address;
use super::{Collected, Joined};
use crate::error::TaskFailure;
use crate::sync::Thread;

/// So many tasks end before the list is looked through for them.
const STALE: usize = 32;

/// The tasks of a group. One that has ended leaves its result, and its slot goes.
pub(super) struct Ledger<T, E> {
    /// In the order in which the tasks were accepted; `None` for those that are open.
    results: Vec<Option<Result<T, TaskFailure<E>>>>,
    /// In the same order, each with its index.
    open: Vec<(usize, Joined<T, E>)>,
    /// Those before this one are not worth trying to start.
    tried: usize,
    /// How many tasks have ended since the open ones were last looked through.
    stale: usize,
    /// Which of those that were found to have ended was the first to fail.
    first_failed: Option<usize>,
    /// How many count against the limit.
    pub(super) taken: usize,
    /// Workers that wait for a place, and would rather run a task, by ticket.
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
    /// A task was accepted; it may have ended since. Says whom to wake for it.
    pub(super) fn enter(&mut self, task: Joined<T, E>) -> Option<Thread> {
        self.open.push((self.results.len(), task));
        self.results.push(None);
        self.helpers.pop_last().map(|(_, helper)| helper)
    }

    /// How many were accepted.
    pub(super) fn len(&self) -> usize {
        self.results.len()
    }

    /// The oldest open task from this one on.
    pub(super) fn first_open(&self, from: usize) -> Option<(usize, Joined<T, E>)> {
        self.open.get(self.open.partition_point(|(index, _)| *index < from)).cloned()
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Joined<T, E>> {
        self.open.iter().map(|(_, task)| task)
    }

    /// The oldest task that nobody has tried to start in this way.
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

    /// Has `me` woken when there is a task to try, until its ticket is given back; `None` if there is one already.
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

    /// A task has ended, or is about to. When half of the open ones may have, their results are taken: so a slot outlives its task
    /// for a while only, and each costs one look or two. What comes back is for the caller to drop when the lock is free.
    pub(super) fn note_end(&mut self, first_failure: Option<usize>) -> Vec<Joined<T, E>> {
        self.stale += 1;
        if self.stale < STALE.max(self.open.len() / 2) {
            return Vec::new();
        }
        self.sweep(first_failure)
    }

    /// Takes the results that are there. `first_failure` is the address of the slot that failed first.
    fn sweep(&mut self, first_failure: Option<usize>) -> Vec<Joined<T, E>> {
        self.stale = 0;
        let mut ended = Vec::new();
        for (index, task) in std::mem::take(&mut self.open) {
            // Once, for the address may be that of another slot when this one is gone.
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

    /// The group is over.
    pub(super) fn close(&mut self, first_failure: Option<usize>) -> Closed<T, E> {
        let ended = self.sweep(first_failure);
        let open = std::mem::take(&mut self.open).into_iter().map(|(_, task)| task).collect();
        Closed { results: std::mem::take(&mut self.results), first_failed: self.first_failed, open, _ended: ended }
    }
}

/// A group's ledger when the group is over.
pub(super) struct Closed<T, E> {
    results: Vec<Option<Result<T, TaskFailure<E>>>>,
    pub(super) first_failed: Option<usize>,
    /// Tasks that have not ended.
    pub(super) open: Vec<Joined<T, E>>,
    /// Slots, to be dropped when the lock is free.
    _ended: Vec<Joined<T, E>>,
}

impl<T, E> Closed<T, E> {
    /// What became of each. Those that have not ended were not waited for.
    pub(super) fn results(self) -> Collected<T, E> {
        self.results.into_iter().map(|result| result.unwrap_or(Err(TaskFailure::WouldDeadlock))).collect()
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sync::current;

    /// D15: a worker that waits for a place leaves without a walk along the others.
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
