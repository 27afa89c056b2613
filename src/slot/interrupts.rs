//! Stopping the task of a slot while it runs.
//!
//! An interrupter is the user's code and runs without the slot's lock, so that it may ask its own handle anything. It must not reach
//! the task after its own: so the slot lists those who are at it, and the worker, when it has ended the task and nobody can begin
//! to interrupt it any more, waits for the last of them before it goes on.

use super::{Cell, Slot, State};
use crate::contain::contain;
use crate::interrupter::Interrupter;
use crate::sync::{MutexGuard, Ordering, Thread, ThreadKey, current, park, thread_key};

/// The calls of one task's interrupter.
#[derive(Default)]
pub(super) struct Interrupts {
    /// The threads that are in one.
    by: Vec<ThreadKey>,
    /// The worker, when it waits for the last to return.
    worker: Option<Thread>,
}

impl<I, O> State<I, O> {
    /// The interrupter of the running task, if it has one and the calling thread is not in it already.
    fn begin_interrupt(&mut self) -> Option<Interrupter> {
        let Cell::Running(Some(interrupter)) = &self.cell else { return None };
        let (interrupts, me) = (self.interrupts.get_or_insert_default(), thread_key());
        if interrupts.by.contains(&me) {
            return None;
        }
        interrupts.by.push(me);
        Some(interrupter.clone())
    }

    /// The calling thread has called it: the worker to wake, if this was the last.
    fn end_interrupt(&mut self) -> Option<Thread> {
        let interrupts = self.interrupts.as_mut()?;
        let me = thread_key();
        interrupts.by.retain(|thread| *thread != me);
        if interrupts.by.is_empty() { interrupts.worker.take() } else { None }
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupts.as_ref().is_some_and(|interrupts| !interrupts.by.is_empty())
    }
}

impl<I, O> Slot<I, O> {
    /// Tells the task to stop if it runs, and interrupts it. A panic of the interrupter ends here.
    pub(super) fn tell_to_stop(&self, mut state: MutexGuard<'_, State<I, O>>) {
        if !matches!(state.cell, Cell::Running(_)) {
            return;
        }
        self.note_given_up();
        let Some(interrupter) = state.begin_interrupt() else { return };
        drop(state);
        contain(move || interrupter.interrupt());
        let worker = self.state.lock().end_interrupt();
        if let Some(worker) = worker {
            worker.unpark();
        }
    }

    /// The task should stop. Under the lock, so that a token that is made at the same time hears of it.
    pub(super) fn note_given_up(&self) {
        // ORDERING: Release, see `has_given_up`.
        self.given_up.store(true, Ordering::Release);
    }

    /// For the worker, when the task does not run any more.
    #[cold]
    fn await_interrupts(&self) {
        let me = current();
        loop {
            let mut state = self.state.lock();
            if !state.is_interrupted() {
                return;
            }
            if let Some(interrupts) = &mut state.interrupts {
                interrupts.worker = Some(me.clone());
            }
            drop(state);
            park(None);
        }
    }
}

/// When it is dropped, the worker waits until nobody interrupts the task that it has ended.
pub(super) struct AwaitsInterrupts<'a, I, O>(pub(super) &'a Slot<I, O>);

impl<I, O> Drop for AwaitsInterrupts<'_, I, O> {
    fn drop(&mut self) {
        self.0.await_interrupts();
    }
}
