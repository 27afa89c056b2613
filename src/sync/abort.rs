//! A guard for stack frames that must not unwind.

use std::mem;

/// Aborts the process when dropped. For a frame that other threads point into, which must not unwind while they do.
pub(crate) struct AbortOnUnwind(());

impl AbortOnUnwind {
    /// Runs `f`; a panic in it aborts the process.
    #[inline]
    pub(crate) fn run<O>(f: impl FnOnce() -> O) -> O {
        let guard = AbortOnUnwind(());
        let output = f();
        mem::forget(guard);
        output
    }
}

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}
