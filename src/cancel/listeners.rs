//! The waiters of one token.

use std::collections::BTreeMap;

use crate::sync::Mutex;
use crate::sync::waiter::Waiter;

/// Waiters by number. Numbers grow in the order of arrival over the token's whole tree.
#[derive(Default)]
pub(super) struct Listeners(Mutex<BTreeMap<u64, Waiter>>);

// Waiters move in and out under the lock. User wakers are cloned, woken and dropped without it.
impl Listeners {
    pub(super) fn enter(&self, number: u64, waiter: Waiter) {
        self.0.lock().insert(number, waiter);
    }

    pub(super) fn leave(&self, number: u64) -> Option<Waiter> {
        self.0.lock().remove(&number)
    }

    /// Removes all waiters, for a cancellation.
    pub(super) fn take(&self) -> BTreeMap<u64, Waiter> {
        std::mem::take(&mut *self.0.lock())
    }

    /// Appends all waiters to `woken`, for a new deadline. A future registers again when it is polled, so its entry is removed;
    /// the other entries stay.
    pub(super) fn take_for_a_change(&self, woken: &mut Vec<(u64, Waiter)>) {
        let mut listeners = self.0.lock();
        for (number, waiter) in std::mem::take(&mut *listeners) {
            if !matches!(waiter, Waiter::Task(_)) {
                listeners.insert(number, waiter.clone());
            }
            woken.push((number, waiter));
        }
    }
}

/// Wakes the waiters in the order of their numbers.
pub(super) fn wake(mut woken: Vec<(u64, Waiter)>) {
    woken.sort_unstable_by_key(|(number, _)| *number);
    woken.into_iter().for_each(|(_, waiter)| waiter.wake());
}
