//! Waking where waking one can make another be woken, on the same thread.
//!
//! An executor may poll the future that it is to wake at once; the future leaves its line, and so has the next woken; or it cancels a
//! token that others listen to. So wake-ups nest, and their number is not bounded. Some may: whoever is woken in the middle of
//! another's wake-up need not wait for the end of that. Further ones are put into a list of the thread, which the outermost works
//! off: the stack does not grow with their number.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::{ManuallyDrop, take};

use crate::sync::thread_local;
use crate::sync::user_code::catch_user_panic;
use crate::sync::waiter::Waiter;

/// How many wake-ups may be under way on one thread, each within the one before.
const MOST_NESTED: usize = 16;

type Afterwards = Box<dyn FnOnce()>;

/// The wake-ups of one thread.
struct WakeUps {
    /// How many are under way.
    depth: usize,
    postponed: VecDeque<Waiter>,
    afterwards: VecDeque<Afterwards>,
    /// Somebody below is at what is to be done afterwards.
    is_afterwards: bool,
}

impl WakeUps {
    const NEW: Self =
        WakeUps { depth: 0, postponed: VecDeque::new(), afterwards: VecDeque::new(), is_afterwards: false };

    /// Begins a wake-up, or puts it off.
    fn begin(&mut self, waiter: Waiter) -> Option<Waiter> {
        if self.depth == MOST_NESTED {
            self.postponed.push_back(waiter);
            return None;
        }
        self.depth += 1;
        Some(waiter)
    }

    /// Ends a wake-up. The outermost goes on with one that was put off.
    fn next(&mut self) -> Option<Waiter> {
        let next = if self.depth == 1 { self.postponed.pop_front() } else { None };
        self.depth -= usize::from(next.is_none());
        next
    }

    /// What is to be done when no wake-up is under way, unless somebody below is at that.
    fn next_afterwards(&mut self) -> Option<Afterwards> {
        if self.depth > 0 || self.is_afterwards {
            return None;
        }
        let next = self.afterwards.pop_front();
        self.is_afterwards = next.is_some();
        if next.is_none() {
            // Their memory would never be given back.
            drop((take(&mut self.postponed), take(&mut self.afterwards)));
        }
        next
    }
}

thread_local! {
    /// Never dropped, so that it is there in the destructors of other thread-locals too. It owns nothing when no wake-up is under way.
    static WAKE_UPS: RefCell<ManuallyDrop<WakeUps>> = const { RefCell::new(ManuallyDrop::new(WakeUps::NEW)) };
}

fn with<O>(f: impl FnOnce(&mut WakeUps) -> O) -> O {
    WAKE_UPS.with(|wake_ups| f(&mut wake_ups.borrow_mut()))
}

/// Wakes it now or, deep in the middle of others' wake-ups, right after those. May run an executor's code: not to be called under a
/// lock.
pub(crate) fn wake(waiter: Waiter) {
    // loom's threads share the locals of one thread. Their chains are short.
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

/// Runs `f` when no wake-up is under way on this thread: it may take long, or wait.
pub(crate) fn afterwards(f: impl FnOnce() + 'static) {
    with(|wake_ups| wake_ups.afterwards.push_back(Box::new(f)));
    finish();
}

fn finish() {
    while let Some(f) = with(WakeUps::next_afterwards) {
        // Those that it wakes are woken by itself, and do not wait for its end.
        let _ = catch_user_panic(f);
        with(|wake_ups| wake_ups.is_afterwards = false);
    }
}
