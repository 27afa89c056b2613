//! Those who wait for one task.

use super::State;
use crate::sync::waiter::Waiter;

/// The number of the waiter whose place costs no allocation. Those of [`WaiterList`](crate::sync::waiter_list::WaiterList) are above.
const FIRST: u64 = 0;

impl<I, O> State<I, O> {
    /// Lists one of several waiters for a task that has not ended.
    pub(super) fn list(&mut self, waiter: Waiter) -> u64 {
        if self.waiter.is_none() {
            self.waiter = Some(waiter);
            return FIRST;
        }
        self.more_waiters.get_or_insert_default().push(waiter)
    }

    /// Takes a waiter off the list; it is to be dropped without the lock.
    pub(super) fn remove(&mut self, place: u64) -> Option<Waiter> {
        if place == FIRST {
            return self.waiter.take();
        }
        self.more_waiters.as_mut()?.remove(place)
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sync::current;
    use crate::task::state::{TaskMeta, TaskState};

    /// D15: a waiter leaves without a walk along the list.
    #[test]
    fn d15_leaving_costs_the_same_however_many_wait() {
        let task_state = TaskState::<(), ()>::new((), TaskMeta::of_no_pool());
        let begun = Instant::now();
        let list = |_| task_state.state.lock().list(Waiter::Thread(current()));
        let places: Vec<_> = (0..200_000).map(list).collect();
        assert_eq!(places.len(), 200_000);
        for place in places.into_iter().rev().step_by(2) {
            assert!(task_state.state.lock().remove(place).is_some());
        }
        // A walk for each would take minutes.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
