//! What only shuttle needs. Its threads take turns on one thread of the system, so whatever belongs to a thread, or blocks one, must be
//! shuttle's.

pub(crate) use ::shuttle::sync::mpsc;
pub(crate) use ::shuttle::thread::{Builder, JoinHandle, Thread, current};
pub(crate) use ::shuttle::thread_local;

use std::time::Instant;

/// The standard library's, but for waiting: that is for one of shuttle's threads here.
pub(crate) struct OnceLock<T> {
    once: ::shuttle::sync::Once,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        OnceLock { once: ::shuttle::sync::Once::new(), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.once.is_completed() { self.value.get() } else { None }
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        // By force: a panic under way in another of shuttle's threads looks to its `Once` as if this one had panicked.
        self.once.call_once_force(|_| drop(self.value.set(init())));
        self.value.get().expect("it is set once")
    }
}

/// As for `wait`, a deadline never comes.
pub(crate) fn park(_deadline: Option<Instant>) {
    ::shuttle::thread::park();
}
