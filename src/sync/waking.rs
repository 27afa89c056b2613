//! Nested wake-ups without unbounded recursion.
//!
//! An executor may poll the future that it is to wake at once. The polled future may leave a wait queue, which wakes the next
//! waiter, or cancel a token, which wakes others. So wake-ups nest without a bound. The first sixteen levels run nested: a
//! waiter woken inside another's wake-up need not wait for the end of that one. Deeper ones go to a list of the thread, which
//! the outermost wake-up works off, so the stack does not grow further.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::{ManuallyDrop, take};

use crate::sync::thread_local;
use crate::sync::user_code::catch_user_panic;
use crate::sync::waiter::Waiter;

/// How many wake-ups may be nested on one thread.
const MOST_NESTED: usize = 16;

type Deferred = Box<dyn FnOnce()>;

/// The wake-ups in progress on one thread.
struct WakeUps {
    /// How many are nested.
    depth: usize,
    postponed: VecDeque<Waiter>,
    deferred: VecDeque<Deferred>,
    /// Whether a frame further down the stack is running `deferred`.
    runs_deferred: bool,
}

impl WakeUps {
    const NEW: Self = WakeUps { depth: 0, postponed: VecDeque::new(), deferred: VecDeque::new(), runs_deferred: false };

    /// Starts a wake-up, or postpones it.
    fn begin(&mut self, waiter: Waiter) -> Option<Waiter> {
        if self.depth == MOST_NESTED {
            self.postponed.push_back(waiter);
            return None;
        }
        self.depth += 1;
        Some(waiter)
    }

    /// Ends a wake-up. The outermost one continues with a postponed one.
    fn next(&mut self) -> Option<Waiter> {
        let next = if self.depth == 1 { self.postponed.pop_front() } else { None };
        self.depth -= usize::from(next.is_none());
        next
    }

    /// The next deferred call, if no wake-up is in progress and no frame further down the stack runs deferred calls.
    fn next_deferred(&mut self) -> Option<Deferred> {
        if self.depth > 0 || self.runs_deferred {
            return None;
        }
        let next = self.deferred.pop_front();
        self.runs_deferred = next.is_some();
        if next.is_none() {
            // Frees their memory, which the thread-local would keep.
            drop((take(&mut self.postponed), take(&mut self.deferred)));
        }
        next
    }
}

thread_local! {
    /// Never dropped, so that the destructors of other thread-locals can use it. It owns no memory while no wake-up is in
    /// progress.
    static WAKE_UPS: RefCell<ManuallyDrop<WakeUps>> = const { RefCell::new(ManuallyDrop::new(WakeUps::NEW)) };
}

fn with<O>(f: impl FnOnce(&mut WakeUps) -> O) -> O {
    WAKE_UPS.with(|wake_ups| f(&mut wake_ups.borrow_mut()))
}

/// Wakes the waiter now or, if too many wake-ups are nested, right after those. May run an executor's code: do not call under a
/// lock.
pub(crate) fn wake(waiter: Waiter) {
    // In loom's models all threads share the locals of one. Their chains are short.
    if cfg!(formicary_loom) {
        return waiter.wake_at_once();
    }
    let mut next = with(|wake_ups| wake_ups.begin(waiter));
    while let Some(waiter) = next {
        waiter.wake_at_once();
        next = with(WakeUps::next);
    }
    finish();
}

/// Runs `f` once no wake-up is in progress on this thread: `f` may take long, or block.
pub(crate) fn defer(f: impl FnOnce() + 'static) {
    with(|wake_ups| wake_ups.deferred.push_back(Box::new(f)));
    finish();
}

fn finish() {
    while let Some(f) = with(WakeUps::next_deferred) {
        // What `f` wakes is woken inside `f`, and does not wait for the end of it.
        let _ = catch_user_panic(f);
        with(|wake_ups| wake_ups.runs_deferred = false);
    }
}
