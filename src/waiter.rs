//! Somebody who waits: a thread that sleeps, or a future whose executor wants to be told.

use std::task::Waker;

use crate::sync::Thread;

#[derive(Clone)]
pub(crate) enum Waiter {
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    /// Wakes it, perhaps for nothing. May run an executor's code: not to be called under a lock.
    pub(crate) fn wake(self) {
        match self {
            Waiter::Thread(thread) => thread.unpark(),
            Waiter::Task(waker) => waker.wake(),
        }
    }
}
