//! What the loom and shuttle builds share: the checkers' primitives with the interface of the real ones.

#[cfg(formicary_loom)]
use ::loom as checker;
#[cfg(formicary_shuttle)]
use ::shuttle as checker;

pub(crate) use checker::hint::spin_loop;
pub(crate) use checker::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, fence};
pub(crate) use checker::thread::yield_now;

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Instant;

/// Waiting for another thread yields to the checker, which must run that thread. No time has to pass.
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

/// The checker's mutex with the interface of parking_lot's, which has no poisoning.
pub struct Mutex<T>(checker::sync::Mutex<T>);

/// The guard is an `Option` so that `wait` can pass it to the checker's condvar.
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

/// Ignores the deadline, because a checker has no clock: no model may rely on a deadline that passes during a wait.
pub(crate) fn wait<T>(condvar: &Condvar, guard: &mut MutexGuard<'_, T>, _deadline: Option<Instant>) {
    let inner = guard.0.take().expect("a model's guard is held");
    guard.0 = Some(condvar.0.wait(inner).unwrap_or_else(PoisonError::into_inner));
}

/// Checkers know only real fences.
pub(crate) fn fence_after_rmw() {
    fence(std::sync::atomic::Ordering::SeqCst);
}
