//! Runs user code whose panic has no receiver.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f`; `None` if it panics. Catches the panic, and also a panic of dropping its payload.
pub(crate) fn catch_user_panic<O>(f: impl FnOnce() -> O) -> Option<O> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(output) => Some(output),
        Err(payload) => {
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                // Dropping this payload might panic again, and so on: leak it.
                std::mem::forget(again);
            }
            None
        }
    }
}
