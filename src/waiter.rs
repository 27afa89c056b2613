//! Somebody who waits: a thread that sleeps, or a future whose executor wants to be told.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Waker;

use crate::cancel::CancelToken;
use crate::contain::contain;
use crate::engine::nested::Leave;
use crate::notifier::Notifier;
use crate::sync::{Arc, IS_CHECKED, Thread, thread_local};

#[derive(Clone)]
pub(crate) enum Waiter {
    Thread(Thread),
    /// A worker that has leave to wait for its own pool, for one thing that ends its wait for good.
    Worker(Arc<Leave>),
    Task(Waker),
    /// A future of the crate's own, which is polled where it is woken: so it comes as surely as a thread.
    Inline(Waker),
    /// Cancelling the token wakes whoever listens to it.
    Token(CancelToken),
    /// One of several things that somebody waits for, by its number.
    Listed(Arc<Notifier>, u64),
}

impl Waiter {
    /// Wakes it, perhaps for nothing. May run an executor's code: not to be called under a lock. A panic of that code ends here,
    /// for it must not keep others from being woken. Where that code wakes others in turn, the innermost ones are woken before
    /// the outermost call returns.
    pub(crate) fn wake(self) {
        match self {
            Waiter::Thread(thread) => thread.unpark(),
            Waiter::Worker(leave) => leave.end(),
            Waiter::Listed(notifier, number) => notifier.notify(number),
            Waiter::Task(_) | Waiter::Inline(_) | Waiter::Token(_) => wake_nested(self),
        }
    }

    fn wake_here(self) {
        match self {
            Waiter::Task(waker) | Waiter::Inline(waker) => drop(contain(|| waker.wake())),
            Waiter::Token(token) => token.cancel(),
            Waiter::Thread(_) | Waiter::Worker(_) | Waiter::Listed(..) => self.wake(),
        }
    }

    /// Whether what is woken certainly looks at what it was woken for. A future may never be polled again.
    pub(crate) fn is_prompt(&self) -> bool {
        !matches!(self, Waiter::Task(_))
    }

    /// Drops it, with the same care.
    pub(crate) fn dismiss(self) {
        contain(|| drop(self));
    }
}

/// How many wake-ups may be under way on one thread, each within the one before. Further ones wait until the first of them has
/// returned: a chain of wakers that wake does not use the stack in proportion.
const MOST_NESTED: usize = 16;

struct Nest {
    depth: Cell<usize>,
    postponed: RefCell<VecDeque<Waiter>>,
}

thread_local! {
    static NEST: Nest = const { Nest { depth: Cell::new(0), postponed: RefCell::new(VecDeque::new()) } };
}

fn wake_nested(waiter: Waiter) {
    let mut waiter = Some(waiter);
    // A checker's threads may share the locals of one thread; their chains are short.
    if !IS_CHECKED {
        // A thread whose locals are gone counts nothing.
        let _ = NEST.try_with(|nest| waiter.take().map(|waiter| nest.wake(waiter)));
    }
    waiter.into_iter().for_each(Waiter::wake_here);
}

impl Nest {
    fn wake(&self, waiter: Waiter) {
        let depth = self.depth.get();
        if depth == MOST_NESTED {
            self.postponed.borrow_mut().push_back(waiter);
            return;
        }
        let mut next = Some(waiter);
        while let Some(waiter) = next {
            self.depth.set(depth + 1);
            waiter.wake_here();
            self.depth.set(depth);
            next = if depth == 0 { self.postponed.borrow_mut().pop_front() } else { None };
        }
    }
}
