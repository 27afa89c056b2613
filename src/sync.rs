//! The one door to the synchronisation primitives.
//!
//! Only this file knows whether the real primitives or the model checker's are underneath (cfg
//! `formicary_loom`), so that what loom explores is the code that ships and not a copy of it.

#[cfg(not(formicary_loom))]
mod real {
    pub(crate) use crossbeam_utils::Backoff;
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::OnceLock;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, fence};
    pub(crate) use std::thread::{Thread, current, yield_now};

    /// The standard library's cell with the interface of loom's.
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        /// Runs `f` with a pointer to the value, which is not written meanwhile.
        pub(crate) fn with<O>(&self, f: impl FnOnce(*const T) -> O) -> O {
            f(self.0.get())
        }

        /// Runs `f` with a pointer to the value, which nobody else uses meanwhile.
        pub(crate) fn with_mut<O>(&self, f: impl FnOnce(*mut T) -> O) -> O {
            f(self.0.get())
        }
    }

    use std::time::Instant;

    /// Sleeps until `unpark` or until `deadline`; may also wake for no reason.
    pub(crate) fn park(deadline: Option<Instant>) {
        match deadline {
            None => std::thread::park(),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    std::thread::park_timeout(left);
                }
            }
        }
    }

    /// A sequentially consistent fence for a thread whose last step in what the fence is about was a read-modify-write; leaving a
    /// lock is one.
    pub(crate) fn fence_after_rmw() {
        // On x86 such an instruction lets no load pass it: only the compiler must be kept from moving one. The fence of its own
        // that it would be otherwise waits for every store before it, to whichever processor's line. (crossbeam-epoch
        // rests on the same.)
        #[cfg(target_arch = "x86_64")]
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        #[cfg(not(target_arch = "x86_64"))]
        fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// Waits for a notification, at most until `deadline`.
    pub(crate) fn wait<T>(condvar: &Condvar, guard: &mut MutexGuard<'_, T>, deadline: Option<Instant>) {
        match deadline {
            None => condvar.wait(guard),
            Some(deadline) => {
                condvar.wait_until(guard, deadline);
            }
        }
    }
}

#[cfg(formicary_loom)]
mod model {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, fence};
    pub(crate) use loom::thread::yield_now;

    use std::ops::{Deref, DerefMut};
    use std::time::Instant;

    /// Waiting for another thread: loom must run that one, and needs no time to pass.
    pub(crate) struct Backoff;

    impl Backoff {
        pub(crate) fn new() -> Self {
            Backoff
        }

        pub(crate) fn spin(&self) {}

        pub(crate) fn snooze(&self) {
            loom::thread::yield_now();
        }
    }

    /// loom's mutex with the interface of parking_lot's: no poisoning.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    /// The guard is an option only so that `wait` can hand it to loom's condvar and take it back.
    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(self.0.lock().ok())
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner().expect("a model's lock is not poisoned")
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Mutex::new(T::default())
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().expect("a model's guard is held")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("a model's guard is held")
        }
    }

    /// The standard library's, with what it synchronises told to loom.
    pub(crate) struct OnceLock<T> {
        value: std::sync::OnceLock<T>,
        is_set: AtomicBool,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            OnceLock { value: std::sync::OnceLock::new(), is_set: AtomicBool::new(false) }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            match self.is_set.load(std::sync::atomic::Ordering::Acquire) {
                true => self.value.get(),
                false => None,
            }
        }

        /// In a model `init` must not let another thread run: it would not wait for this one.
        pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
            let value = self.value.get_or_init(init);
            self.is_set.store(true, std::sync::atomic::Ordering::Release);
            value
        }
    }

    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Condvar(loom::sync::Condvar::new())
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// A thread's park token. Not loom's own: its `unpark` also wakes a thread that waits for a mutex.
    #[derive(Clone)]
    pub(crate) struct Thread(std::sync::Arc<loom::sync::Notify>);

    loom::thread_local! {
        static CURRENT: Thread = Thread(std::sync::Arc::new(loom::sync::Notify::new()));
    }

    impl Thread {
        pub(crate) fn unpark(&self) {
            self.0.notify();
        }
    }

    pub(crate) fn current() -> Thread {
        CURRENT.with(Thread::clone)
    }

    /// loom knows fences only.
    pub(crate) fn fence_after_rmw() {
        fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// loom has no clock: a model must not rely on a deadline.
    pub(crate) fn park(_deadline: Option<Instant>) {
        current().0.wait();
    }

    pub(crate) fn wait<T>(condvar: &Condvar, guard: &mut MutexGuard<'_, T>, _deadline: Option<Instant>) {
        let inner = guard.0.take().expect("a model's guard is held");
        guard.0 = condvar.0.wait(inner).ok();
    }
}

#[cfg(not(formicary_loom))]
pub(crate) use real::*;

#[cfg(formicary_loom)]
pub(crate) use model::*;

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering;
