//! Waking futures one after the other, where waking one can make another be woken.
//!
//! An executor may poll the future that it is to wake at once, on the same thread; the future enters, leaves its line, and so has the
//! next woken. Each of these wake-ups is put into a list of the thread, which the outermost works off: the stack stays as it is,
//! however many there are.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::{ManuallyDrop, take};

use crate::contain::contain;
use crate::sync::thread_local;
use crate::waiter::Waiter;

type Afterwards = Box<dyn FnOnce()>;

struct Round {
    /// Somebody below works off the wake-ups.
    is_on: bool,
    /// Somebody below is at what is to be done afterwards.
    is_over: bool,
    wakes: VecDeque<Waiter>,
    afterwards: VecDeque<Afterwards>,
}

impl Round {
    const NEW: Self = Round { is_on: false, is_over: false, wakes: VecDeque::new(), afterwards: VecDeque::new() };
}

thread_local! {
    /// Never dropped, so that it is there in the destructors of other thread-locals too. It owns nothing after a round.
    static ROUND: RefCell<ManuallyDrop<Round>> = const { RefCell::new(ManuallyDrop::new(Round::NEW)) };
}

fn with<O>(f: impl FnOnce(&mut Round) -> O) -> O {
    ROUND.with(|round| f(&mut round.borrow_mut()))
}

/// Wakes it now, or, in the middle of another's wake-up, right after that. May run an executor's code: not to be called under a
/// lock.
pub(crate) fn wake(waiter: Waiter) {
    match waiter {
        Waiter::Thread(thread) => thread.unpark(),
        other => run(|round| round.wakes.push_back(other)),
    }
}

/// Runs `f` when nobody is left to be woken by this thread: it may take long, or wait.
pub(crate) fn afterwards(f: impl FnOnce() + 'static) {
    run(|round| round.afterwards.push_back(Box::new(f)));
}

/// Adds to the round, and works it off unless this is in the middle of one.
fn run(add: impl FnOnce(&mut Round)) {
    let is_outermost = with(|round| {
        add(round);
        !std::mem::replace(&mut round.is_on, true)
    });
    if !is_outermost {
        return;
    }
    loop {
        // A waiter's panic ends in `wake`.
        while let Some(waiter) = with(|round| round.wakes.pop_front()) {
            waiter.wake();
        }
        let Some(f) = with(end) else { return };
        // Not in the round: whatever it waits for must not wait for the end of that.
        let _ = contain(f);
        with(|round| (round.is_on, round.is_over) = (true, false));
    }
}

/// Ends a round of wake-ups; what is to be done after it, unless there is nothing, or somebody below is at that.
fn end(round: &mut Round) -> Option<Afterwards> {
    round.is_on = false;
    if round.is_over {
        return None;
    }
    let next = round.afterwards.pop_front();
    round.is_over = next.is_some();
    if next.is_none() {
        // Their memory would never be given back.
        drop((take(&mut round.wakes), take(&mut round.afterwards)));
    }
    next
}
