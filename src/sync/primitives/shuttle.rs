//! What only the shuttle build needs. Its threads take turns on one thread of the system, so everything that belongs to a
//! thread, or blocks one, must be shuttle's.

pub(crate) use ::crossbeam_deque as deque;
pub(crate) use ::shuttle::sync::mpsc;
pub(crate) use ::shuttle::thread::{Builder, JoinHandle, Thread, current};
pub(crate) use ::shuttle::thread_local;

use std::time::Instant;

/// The standard library's `OnceLock`, except that waiting blocks one of shuttle's threads.
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
        // By force: shuttle's `Once` takes a panic in progress on another of its threads for a panic of this one.
        self.once.call_once_force(|_| drop(self.value.set(init())));
        self.value.get().expect("it is set once")
    }
}

/// Ignores the deadline, like `wait`.
pub(crate) fn park(_deadline: Option<Instant>) {
    ::shuttle::thread::park();
}
