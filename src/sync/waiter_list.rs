//! Lists of waiters, from which one can leave without a walk along the list.

use std::collections::BTreeMap;
use std::mem;

use crate::sync::Mutex;
use crate::sync::waiter::Waiter;

/// Waiters by number. They are woken in the order of their numbers.
///
/// The owner keeps the list under a lock. User wakers must be cloned, woken and dropped without it.
#[derive(Default)]
pub(crate) struct WaiterList {
    waiters: BTreeMap<u64, Waiter>,
    last: u64,
}

impl WaiterList {
    /// Adds a waiter with the next number of this list, from 1. Returns the number.
    pub(crate) fn push(&mut self, waiter: Waiter) -> u64 {
        self.last += 1;
        self.waiters.insert(self.last, waiter);
        self.last
    }

    /// Removes a waiter, unless it has been taken.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Waiter> {
        self.waiters.remove(&number)
    }

    /// Wakes all waiters. May run executors' code: do not call under a lock.
    pub(crate) fn wake_all(self) {
        self.waiters.into_values().for_each(Waiter::wake);
    }
}

/// A [`WaiterList`] with its own lock.
///
/// A waiter registers first and then checks its condition; the other side changes the condition first and then wakes the list. So
/// one of the two sees the other.
#[derive(Default)]
pub(crate) struct SharedWaiterList(Mutex<WaiterList>);

impl SharedWaiterList {
    /// Adds a waiter until the returned guard is dropped, or the list is woken.
    pub(crate) fn register(&self, waiter: Waiter) -> Registration<'_> {
        let number = self.0.lock().push(waiter);
        Registration { list: self, number }
    }

    /// Like [`register`](Self::register), with a number that orders the waiters of several lists. A list has numbers either from
    /// here or from there.
    pub(crate) fn register_as(&self, number: u64, waiter: Waiter) -> Registration<'_> {
        self.0.lock().waiters.insert(number, waiter);
        Registration { list: self, number }
    }

    /// Removes and wakes all waiters. May run executors' code: do not call under a lock.
    pub(crate) fn wake_all(&self) {
        self.take_all().into_values().for_each(Waiter::wake);
    }

    /// Removes all waiters.
    pub(crate) fn take_all(&self) -> BTreeMap<u64, Waiter> {
        mem::take(&mut self.0.lock().waiters)
    }

    /// Appends all waiters to `woken`, to check their condition again. A user's future registers again when it is polled, so its
    /// entry is removed; the others stay.
    pub(crate) fn take_to_recheck(&self, woken: &mut Vec<(u64, Waiter)>) {
        let mut list = self.0.lock();
        for (number, waiter) in mem::take(&mut list.waiters) {
            if !matches!(waiter, Waiter::Task(_)) {
                list.waiters.insert(number, waiter.clone());
            }
            woken.push((number, waiter));
        }
    }
}

/// A registered waiter. Dropping it removes the waiter from the list.
pub(crate) struct Registration<'l> {
    list: &'l SharedWaiterList,
    number: u64,
}

impl Registration<'_> {
    /// Registers another waiter in place of this one.
    pub(crate) fn replace(&self, waiter: Waiter) {
        let replaced = self.list.0.lock().waiters.insert(self.number, waiter);
        replaced.into_iter().for_each(Waiter::discard);
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let removed = self.list.0.lock().remove(self.number);
        removed.into_iter().for_each(Waiter::discard);
    }
}

/// Wakes the waiters of several lists in the order of their numbers. May run executors' code: do not call under a lock.
pub(crate) fn wake_in_order(mut woken: Vec<(u64, Waiter)>) {
    woken.sort_unstable_by_key(|(number, _)| *number);
    woken.into_iter().for_each(|(_, waiter)| waiter.wake());
}
