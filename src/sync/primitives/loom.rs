//! What only the loom build needs.

pub(crate) use ::loom::cell::UnsafeCell;

// No model builds a whole pool.
pub(crate) use std::sync::mpsc;
pub(crate) use std::thread::{Builder, JoinHandle};
pub(crate) use std::thread_local;

use std::time::Instant;

use ::loom::lazy_static::Lazy;

pub(crate) use super::MutexGuard as StaticMutexGuard;
use super::{AtomicBool, Mutex, Ordering};

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

/// A lock that can be in a static. Each run of a model begins with its first value.
pub(crate) struct StaticMutex<T: 'static>(Lazy<Mutex<T>>);

impl<T> StaticMutex<T> {
    pub(crate) const fn new(init: fn() -> Mutex<T>) -> Self {
        StaticMutex(Lazy { init, _p: std::marker::PhantomData })
    }

    pub(crate) fn lock(&'static self) -> StaticMutexGuard<'static, T> {
        self.0.get().lock()
    }
}

macro_rules! static_mutex {
    ($value:expr) => {
        $crate::sync::StaticMutex::new(|| $crate::sync::Mutex::new($value))
    };
}
pub(crate) use static_mutex;

/// A thread's park token. Not loom's own, whose `unpark` also wakes a thread that waits for a mutex.
#[derive(Clone)]
pub(crate) struct Thread(std::sync::Arc<::loom::sync::Notify>);

::loom::thread_local! {
    static CURRENT: Thread = Thread::new();
}

pub(crate) type Unparker = Thread;

impl Thread {
    fn new() -> Self {
        Thread(std::sync::Arc::new(::loom::sync::Notify::new()))
    }

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

/// A park token that a thread is started with.
pub(crate) struct Parker(Thread);

impl Parker {
    pub(crate) fn new() -> Self {
        Parker(Thread::new())
    }

    pub(crate) fn unparker(&self) -> &Unparker {
        &self.0
    }

    pub(crate) fn park(&self) {
        self.0.0.wait();
    }

    /// Ignores the deadline, like `wait`.
    pub(crate) fn park_deadline(&self, _deadline: Instant) {
        self.park();
    }
}
