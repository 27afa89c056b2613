//! Who waits for one token.

use std::collections::BTreeMap;

use crate::sync::Mutex;
use crate::sync::waiter::Waiter;

/// Waiters with their numbers, which grow in the order in which they came, over the whole tree of the token.
#[derive(Default)]
pub(super) struct Listeners(Mutex<BTreeMap<u64, Waiter>>);

// Waiters move in and out under the lock. They are cloned, woken and dropped outside of it, for a waker is user code.
impl Listeners {
    pub(super) fn enter(&self, number: u64, waiter: Waiter) {
        self.0.lock().insert(number, waiter);
    }

    pub(super) fn leave(&self, number: u64) -> Option<Waiter> {
        self.0.lock().remove(&number)
    }

    /// The token is cancelled: all are to be woken, for the last time.
    pub(super) fn take(&self) -> BTreeMap<u64, Waiter> {
        std::mem::take(&mut *self.0.lock())
    }

    /// The deadline has changed: adds all to `woken`. A future comes again when it is woken, and listens anew; the others stay.
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

/// Wakes them in the order in which they came.
pub(super) fn wake(mut woken: Vec<(u64, Waiter)>) {
    woken.sort_unstable_by_key(|(number, _)| *number);
    woken.into_iter().for_each(|(_, waiter)| waiter.wake());
}
