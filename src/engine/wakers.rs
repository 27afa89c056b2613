//! Futures that wait for the pool, until whoever changes it tells them.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::sync::Mutex;
use crate::sync::waiter::Waiter;

/// The wakers of those who wait for one thing. Whoever brings it about calls [`wake_all`](Self::wake_all) after that; who waits
/// lists its waker first, and looks then. So one of the two sees the other.
///
/// Wakers are user code: they are cloned, woken and dropped outside of the lock.
#[derive(Default)]
pub(crate) struct Wakers(Mutex<Listed>);

#[derive(Default)]
struct Listed {
    last: u64,
    /// By number, in the order in which they came.
    wakers: BTreeMap<u64, Waiter>,
}

impl Wakers {
    /// Lists a waker until the answer is dropped, or it is woken.
    pub(crate) fn list(&self, waker: &Waker) -> Listing<'_> {
        let waiter = Waiter::Task(waker.clone());
        let mut listed = self.0.lock();
        listed.last += 1;
        let number = listed.last;
        listed.wakers.insert(number, waiter);
        Listing { wakers: self, number }
    }

    /// Wakes all of them and empties the list. Runs executors' code: not to be called under a lock.
    pub(crate) fn wake_all(&self) {
        let woken = std::mem::take(&mut self.0.lock().wakers);
        woken.into_values().for_each(Waiter::wake);
    }
}

/// An entry in a list of wakers.
pub(crate) struct Listing<'w> {
    wakers: &'w Wakers,
    number: u64,
}

impl Listing<'_> {
    /// Has another waker woken from now on.
    pub(crate) fn renew(&self, waker: &Waker) {
        let waiter = Waiter::Task(waker.clone());
        let before = self.wakers.0.lock().wakers.insert(self.number, waiter);
        before.into_iter().for_each(Waiter::discard);
    }
}

impl Drop for Listing<'_> {
    fn drop(&mut self) {
        let waiter = self.wakers.0.lock().wakers.remove(&self.number);
        waiter.into_iter().for_each(Waiter::discard);
    }
}
