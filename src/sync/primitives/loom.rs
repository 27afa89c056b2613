//! What only the loom build needs.

pub(crate) use ::loom::cell::UnsafeCell;

// No model builds a whole pool.
pub(crate) use std::sync::mpsc;
pub(crate) use std::thread::{Builder, JoinHandle};
pub(crate) use std::thread_local;

use std::time::Instant;

use super::{AtomicBool, Ordering};

/// The standard library's `OnceLock`, with its synchronisation made visible to loom.
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    is_set: AtomicBool,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        OnceLock { value: std::sync::OnceLock::new(), is_set: AtomicBool::new(false) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        match self.is_set.load(Ordering::Acquire) {
            true => self.value.get(),
            false => None,
        }
    }

    /// `init` must not yield to another thread of the model, which would not wait for this one.
    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        let value = self.value.get_or_init(init);
        self.is_set.store(true, Ordering::Release);
        value
    }
}

/// A thread's park token. Not loom's own, whose `unpark` also wakes a thread that waits for a mutex.
#[derive(Clone)]
pub(crate) struct Thread(std::sync::Arc<::loom::sync::Notify>);

::loom::thread_local! {
    static CURRENT: Thread = Thread(std::sync::Arc::new(::loom::sync::Notify::new()));
}

impl Thread {
    pub(crate) fn unpark(&self) {
        self.0.notify();
    }
}

pub(crate) fn current() -> Thread {
    CURRENT.with(Thread::clone)
}

/// Ignores the deadline, like `wait`.
pub(crate) fn park(_deadline: Option<Instant>) {
    current().0.wait();
}
