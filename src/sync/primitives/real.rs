//! The primitives of a normal build.

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
