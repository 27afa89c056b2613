//! Somebody else's code in a place where nobody is there for its panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f`; `None` if it panics. The panic ends here, and so does one of the drop of its payload.
pub(crate) fn catch_user_panic<O>(f: impl FnOnce() -> O) -> Option<O> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(output) => Some(output),
        Err(payload) => {
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                // Its drop might panic for ever.
                std::mem::forget(again);
            }
            None
        }
    }
}
