//! Holds jobs until it is opened.

use std::sync::{Arc, Condvar, Mutex};

use super::LIMIT;

#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    /// Arrives, and waits until the gate is open.
    pub(crate) fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.0 += 1;
        changed.notify_all();
        let (state, wait) = changed.wait_timeout_while(state, LIMIT, |(_, open)| !*open).unwrap();
        drop(state);
        assert!(!wait.timed_out(), "nobody opened the gate");
    }

    /// How many have arrived.
    pub(crate) fn arrivals(&self) -> usize {
        self.0.0.lock().unwrap().0
    }

    pub(crate) fn await_arrivals(&self, n: usize) {
        let (state, changed) = &*self.0;
        let (state, wait) =
            changed.wait_timeout_while(state.lock().unwrap(), LIMIT, |(arrived, _)| *arrived < n).unwrap();
        drop(state);
        assert!(!wait.timed_out(), "waited for {n} arrivals");
    }

    pub(crate) fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap().1 = true;
        changed.notify_all();
    }
}

/// Opens a gate also when its test fails, so that what waits at the gate does not hold up the failure.
pub(crate) struct OpenAtEnd(pub(crate) Gate);

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}
