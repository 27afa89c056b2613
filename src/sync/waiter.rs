//! Somebody who waits: a thread that sleeps, or a future whose executor wants to be told.

use std::task::Waker;

use crate::sync::notifier::Notifier;
use crate::sync::user_code::catch_user_panic;
use crate::sync::waking;
use crate::sync::{Arc, Thread};

#[derive(Clone)]
pub(crate) enum Waiter {
    Thread(Thread),
    /// A worker that waits for its own pool with a permit, for one thing that ends its wait for good: the waker ends the permit. It
    /// runs no other code.
    Worker(Waker),
    Task(Waker),
    /// A future of the crate's own, which is polled where it is woken: so it comes as surely as a thread.
    Inline(Waker),
    /// One of several things that somebody waits for, by its number.
    Listed(Arc<Notifier>, u64),
}

impl Waiter {
    /// Wakes it, perhaps for nothing. May run an executor's code: not to be called under a lock. A panic of that code ends here,
    /// for it must not keep others from being woken. Where that code wakes others in turn, they are woken before the outermost
    /// call returns (`waking.rs`).
    pub(crate) fn wake(self) {
        match self {
            Waiter::Thread(_) | Waiter::Worker(_) | Waiter::Listed(..) => self.wake_at_once(),
            Waiter::Task(_) | Waiter::Inline(_) => waking::wake(self),
        }
    }

    /// The same, however many wake-ups are under way on this thread.
    pub(crate) fn wake_at_once(self) {
        match self {
            Waiter::Thread(thread) => thread.unpark(),
            Waiter::Worker(waker) => waker.wake(),
            Waiter::Task(waker) | Waiter::Inline(waker) => drop(catch_user_panic(|| waker.wake())),
            Waiter::Listed(notifier, number) => notifier.notify(number),
        }
    }

    /// Whether what is woken certainly looks at what it was woken for. A future may never be polled again.
    pub(crate) fn is_prompt(&self) -> bool {
        !matches!(self, Waiter::Task(_))
    }

    /// Drops it, with the same care.
    pub(crate) fn discard(self) {
        catch_user_panic(|| drop(self));
    }
}
