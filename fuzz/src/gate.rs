//! A gate at which jobs wait for the plan.

use std::sync::{Condvar, Mutex};

/// Jobs wait at it until it is opened next.
#[derive(Default)]
pub(crate) struct Gate {
    openings: Mutex<u64>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn now(&self) -> u64 {
        *self.openings.lock().unwrap()
    }

    /// Lets all jobs pass that were made until now.
    pub(crate) fn open(&self) {
        *self.openings.lock().unwrap() += 1;
        self.opened.notify_all();
    }

    /// Waits until it is opened after `since`.
    pub(crate) fn wait(&self, since: u64) {
        let openings = self.openings.lock().unwrap();
        drop(self.opened.wait_while(openings, |openings| *openings <= since).unwrap());
    }
}
