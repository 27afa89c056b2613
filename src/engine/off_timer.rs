//! User code that comes up on the timer thread, which must not run it: it is left to a thread that may block.

use std::collections::VecDeque;
use std::thread;

use super::{Engine, Runner};
use crate::queue::Dispatch;
use crate::sync::timer::is_timer_thread;
use crate::sync::{Arc, Mutex, waking};

type Call<R, D> = Box<dyn FnOnce(&Engine<R, D>) + Send>;

/// What a thread of its own is to call.
pub(super) struct OffTimer<R: Runner, D: Dispatch>(Mutex<Calls<R, D>>);

struct Calls<R: Runner, D: Dispatch> {
    waiting: VecDeque<Call<R, D>>,
    /// Whether there is a thread that makes them.
    are_made: bool,
}

impl<R: Runner, D: Dispatch> Default for OffTimer<R, D> {
    fn default() -> Self {
        OffTimer(Mutex::new(Calls { waiting: VecDeque::new(), are_made: false }))
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Runs user code, whose panic is caught and counted: now or, on the timer thread, on one of its own, if the system gives one.
    pub(super) fn call_off_timer(&self, call: impl FnOnce(&Self) + Send + 'static) {
        match self.shared().filter(|_| is_timer_thread()) {
            Some(engine) => engine.leave_to_thread(Box::new(call)),
            None => _ = self.catch_user_panic(|| call(self)),
        }
    }

    fn leave_to_thread(self: Arc<Self>, call: Call<R, D>) {
        let mut calls = self.off_timer.0.lock();
        calls.waiting.push_back(call);
        if std::mem::replace(&mut calls.are_made, true) {
            return;
        }
        drop(calls);
        let engine = Arc::clone(&self);
        let thread = thread::Builder::new().name("formicary-dropped".into());
        if thread.spawn(move || engine.make_calls()).is_err() {
            waking::defer(move || self.make_calls());
        }
    }

    fn make_calls(&self) {
        while let Some(call) = self.next_call() {
            self.catch_user_panic(|| call(self));
        }
    }

    /// The next call to make. `None` ends the thread.
    fn next_call(&self) -> Option<Call<R, D>> {
        let mut calls = self.off_timer.0.lock();
        let call = calls.waiting.pop_front();
        calls.are_made = call.is_some();
        call
    }
}
