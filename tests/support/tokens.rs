//! Tokens that are over.

use std::time::Duration;

use formicary::CancelToken;

/// One whose time is up.
pub fn past() -> CancelToken {
    let token = CancelToken::new();
    token.cancel_after(Duration::ZERO);
    token
}

/// One that somebody has cancelled.
pub fn cancelled() -> CancelToken {
    let token = CancelToken::new();
    token.cancel();
    token
}
