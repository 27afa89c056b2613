//! The one door to the synchronisation primitives.
//!
//! Only this file knows whether the real primitives are underneath, or those of a checker that takes the threads' turns
//! into its own hands: loom (cfg `formicary_loom`), which tries every order of events in a small model, or shuttle (cfg
//! `formicary_shuttle`), which runs whole pools in orders drawn at random. So what is checked is the code that ships and not a
//! copy of it.

/// Whether a checker is underneath. Each look for something is then a step in its books, so few are made, and no time passes.
pub(crate) const IS_CHECKED: bool = cfg!(any(formicary_loom, formicary_shuttle));

#[cfg(not(any(formicary_loom, formicary_shuttle)))]
mod real {
    pub(crate) use crossbeam_utils::Backoff;
    /// Wakes the thread that it was made for by [`current`].
    pub(crate) use crossbeam_utils::sync::Unparker as Thread;
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::OnceLock;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, fence};
    pub(crate) use std::sync::mpsc;
    pub(crate) use std::thread::{Builder, JoinHandle, yield_now};
    pub(crate) use std::thread_local;

    use std::cell::{OnceCell, RefCell};
    use std::mem::ManuallyDrop;
    use std::time::Instant;

    use crossbeam_utils::sync::Parker;

    thread_local! {
        /// What the thread sleeps with. Not the standard library's handle, which cannot be had in the destructors that run last on
        /// a thread, where `std::thread::current` panics. This has no destructor and so never goes out of use.
        static PARKER: RefCell<ManuallyDrop<OnceCell<Parker>>> = const { RefCell::new(ManuallyDrop::new(OnceCell::new())) };
        static AT_THREAD_END: DropsParker = const { DropsParker };
    }

    /// Frees the thread's parker. A thread that waits again after that makes another one, which is not freed: there is no later
    /// moment for it.
    struct DropsParker;

    impl Drop for DropsParker {
        fn drop(&mut self) {
            let parker = PARKER.with(|parker| parker.borrow_mut().take());
            drop(parker);
        }
    }

    /// Never panics, wherever in a thread's life.
    fn with_parker<O>(f: impl FnOnce(&Parker) -> O) -> O {
        let make = || {
            // Fails only where it is too late.
            let _ = AT_THREAD_END.try_with(|_| ());
            Parker::new()
        };
        PARKER.with(|parker| f(parker.borrow().get_or_init(make)))
    }

    /// What wakes the calling thread from [`park`].
    pub(crate) fn current() -> Thread {
        with_parker(|parker| parker.unparker().clone())
    }

    /// Sleeps until `unpark` or until `deadline`; may also wake for no reason.
    pub(crate) fn park(deadline: Option<Instant>) {
        with_parker(|parker| match deadline {
            None => parker.park(),
            Some(deadline) => parker.park_deadline(deadline),
        });
    }

    /// A sequentially consistent fence for a thread whose last step in what the fence is about was a read-modify-write; leaving a
    /// lock is one.
    #[inline]
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

#[cfg(any(formicary_loom, formicary_shuttle))]
mod checked {
    #[cfg(formicary_loom)]
    use loom as checker;
    #[cfg(formicary_shuttle)]
    use shuttle as checker;

    pub(crate) use checker::hint::spin_loop;
    pub(crate) use checker::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, fence};
    pub(crate) use checker::thread::yield_now;

    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;
    use std::time::Instant;

    /// Waiting for another thread: the checker must run that one, and needs no time to pass.
    pub(crate) struct Backoff;

    impl Backoff {
        pub(crate) fn new() -> Self {
            Backoff
        }

        pub(crate) fn spin(&self) {}

        pub(crate) fn snooze(&self) {
            yield_now();
        }
    }

    /// The checker's mutex with the interface of parking_lot's: no poisoning.
    pub struct Mutex<T>(checker::sync::Mutex<T>);

    /// The guard is an option only so that `wait` can hand it to the checker's condvar and take it back.
    pub(crate) struct MutexGuard<'a, T>(Option<checker::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(checker::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
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

    pub(crate) struct Condvar(checker::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Condvar(checker::sync::Condvar::new())
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// A checker has no clock: nobody may rely on a deadline that is not over before the wait.
    pub(crate) fn wait<T>(condvar: &Condvar, guard: &mut MutexGuard<'_, T>, _deadline: Option<Instant>) {
        let inner = guard.0.take().expect("a model's guard is held");
        guard.0 = Some(condvar.0.wait(inner).unwrap_or_else(PoisonError::into_inner));
    }

    /// A checker knows fences only.
    pub(crate) fn fence_after_rmw() {
        fence(std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(formicary_loom)]
mod model {
    pub(crate) use loom::cell::UnsafeCell;
    // No model builds a whole pool.
    pub(crate) use std::sync::mpsc;
    pub(crate) use std::thread::{Builder, JoinHandle};
    pub(crate) use std::thread_local;

    use std::time::Instant;

    use super::{AtomicBool, Ordering};

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
            match self.is_set.load(Ordering::Acquire) {
                true => self.value.get(),
                false => None,
            }
        }

        /// In a model `init` must not let another thread run: it would not wait for this one.
        pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
            let value = self.value.get_or_init(init);
            self.is_set.store(true, Ordering::Release);
            value
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

    /// As for [`wait`](super::wait), a deadline never comes.
    pub(crate) fn park(_deadline: Option<Instant>) {
        current().0.wait();
    }
}

/// shuttle's threads take turns on one thread of the system, so whatever belongs to a thread, or blocks one, must be shuttle's.
#[cfg(formicary_shuttle)]
mod model {
    pub(crate) use shuttle::sync::mpsc;
    pub(crate) use shuttle::thread::{Builder, JoinHandle, Thread, current};
    pub(crate) use shuttle::thread_local;

    use std::time::Instant;

    /// The standard library's, but for waiting: that is for one of shuttle's threads here.
    pub(crate) struct OnceLock<T> {
        once: shuttle::sync::Once,
        value: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            OnceLock { once: shuttle::sync::Once::new(), value: std::sync::OnceLock::new() }
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

    /// As for [`wait`](super::wait), a deadline never comes.
    pub(crate) fn park(_deadline: Option<Instant>) {
        shuttle::thread::park();
    }
}

/// The standard library's cell with the interface of loom's.
#[cfg(not(formicary_loom))]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(formicary_loom))]
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

#[cfg(not(any(formicary_loom, formicary_shuttle)))]
pub(crate) use real::*;

#[cfg(any(formicary_loom, formicary_shuttle))]
pub(crate) use {checked::*, model::*};

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering;
