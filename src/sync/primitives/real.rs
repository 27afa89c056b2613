//! The primitives of a normal build.

pub(crate) use crossbeam_deque as deque;
pub(crate) use crossbeam_utils::Backoff;
/// Unparks the thread whose [`current`] returned it.
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

use crate::sync::clock;

thread_local! {
    /// The thread's parker. Not `std::thread::current`, which panics in the destructors that run last on a thread. This
    /// thread-local has no destructor, so it remains usable.
    static PARKER: RefCell<ManuallyDrop<OnceCell<Parker>>> = const { RefCell::new(ManuallyDrop::new(OnceCell::new())) };
    static AT_THREAD_END: DropsParker = const { DropsParker };
}

/// Frees the thread's parker when the thread ends. A thread that waits again after that makes another one, which leaks: no later
/// destructor could free it.
struct DropsParker;

impl Drop for DropsParker {
    fn drop(&mut self) {
        let parker = PARKER.with(|parker| parker.borrow_mut().take());
        drop(parker);
    }
}

/// Never panics, at any point in a thread's life.
fn with_parker<O>(f: impl FnOnce(&Parker) -> O) -> O {
    let make = || {
        // Fails only when it is too late to register the destructor.
        let _ = AT_THREAD_END.try_with(|_| ());
        Parker::new()
    };
    PARKER.with(|parker| f(parker.borrow().get_or_init(make)))
}

/// A handle that wakes the calling thread from [`park`].
pub(crate) fn current() -> Thread {
    with_parker(|parker| parker.unparker().clone())
}

/// Blocks until `unpark` or until `deadline`. May return spuriously.
pub(crate) fn park(deadline: Option<Instant>) {
    with_parker(|parker| match deadline {
        None => parker.park(),
        Some(deadline) => parker.park_deadline(clock::sleep_until(deadline)),
    });
}

/// A sequentially consistent fence, for a thread whose last relevant operation before it was an atomic read-modify-write, such as
/// releasing a lock.
///
/// On x86-64 this is a compiler fence, which the Rust memory model does not promise to be enough. It is assumed that
///
/// 1. each atomic read-modify-write that may succeed is compiled to one instruction with a `lock` prefix (or an `xchg`), and is not
///    removed. That holds for every ordering; the release of a parking_lot lock is a compare-exchange.
/// 2. such an instruction is a full barrier: no later load is performed before it, and its store is visible before any later load
///    (Intel's and AMD's manuals, on memory ordering: loads and stores are not reordered with locked instructions).
/// 3. the compiler moves no memory access across a `compiler_fence(SeqCst)`.
///
/// A separate fence instruction would also wait until all earlier stores have reached the cache. crossbeam-epoch rests on the same
/// assumptions when it pins a thread on x86. Loom, shuttle and Miri do not check them: there, and on every other processor, this is a real
/// fence, so a missing read-modify-write before a call is not found by the models. Every caller states which one precedes it.
#[inline]
pub(crate) fn fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    fence(std::sync::atomic::Ordering::SeqCst);
}

/// Blocks until a notification, at most until `deadline`.
pub(crate) fn wait<T>(condvar: &Condvar, guard: &mut MutexGuard<'_, T>, deadline: Option<Instant>) {
    match deadline {
        None => condvar.wait(guard),
        Some(deadline) => {
            condvar.wait_until(guard, clock::sleep_until(deadline));
        }
    }
}
