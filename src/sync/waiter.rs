//! A waiter: a parked thread, or a future with the waker of its executor.

use std::task::Waker;

use crate::sync::notifier::Notifier;
use crate::sync::user_code::catch_user_panic;
use crate::sync::waking;
use crate::sync::{Arc, Thread};

#[derive(Clone)]
pub(crate) enum Waiter {
    Thread(Thread),
    /// A worker that is counted as blocked on its own pool, and waits for one event that ends the wait for good. The waker stops counting
    /// it, and runs no user code.
    Worker(Waker),
    Task(Waker),
    /// A future of the crate itself, which its waker polls at once: it reacts as surely as a thread.
    Inline(Waker),
    /// One of several tasks that a [`Notifier`]'s waiter waits for, by its number.
    Listed(Arc<Notifier>, u64),
}

impl Waiter {
    /// Wakes the waiter, which may find nothing changed. May run an executor's code: do not call under a lock. Catches a panic
    /// of that code, so that other waiters are still woken. Wake-ups that this code makes in turn happen before the outermost
    /// call returns (`waking.rs`).
    pub(crate) fn wake(self) {
        match self {
            Waiter::Thread(_) | Waiter::Worker(_) | Waiter::Listed(..) => self.wake_at_once(),
            Waiter::Task(_) | Waiter::Inline(_) => waking::wake(self),
        }
    }

    /// Like [`wake`](Self::wake), without a limit on nested wake-ups.
    pub(crate) fn wake_at_once(self) {
        match self {
            Waiter::Thread(thread) => thread.unpark(),
            Waiter::Worker(waker) => waker.wake(),
            Waiter::Task(waker) | Waiter::Inline(waker) => drop(catch_user_panic(|| waker.wake())),
            Waiter::Listed(notifier, number) => notifier.notify(number),
        }
    }

    /// Whether the woken waiter is sure to react. A user's future may never be polled again.
    pub(crate) fn is_prompt(&self) -> bool {
        !matches!(self, Waiter::Task(_))
    }

    /// Drops the waiter and catches a panic of the waker's drop. Do not call under a lock.
    pub(crate) fn discard(self) {
        catch_user_panic(|| drop(self));
    }
}
