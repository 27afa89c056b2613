//! Tokens that are over, and chains of them.
#![allow(dead_code, unreachable_pub, clippy::expect_used)] // every test file uses its own part

use std::thread;
use std::time::Duration;

use formicary::{CancelToken, Context};

use super::{LIMIT, within};

/// One whose time is up.
pub fn past() -> CancelToken {
    let token = CancelToken::new();
    token.cancel_after(Duration::ZERO);
    token
}

/// A token that was cancelled.
pub fn cancelled() -> CancelToken {
    let token = CancelToken::new();
    token.cancel();
    token
}

/// Far less stack than a chain has links.
pub const SMALL_STACK: usize = 256 * 1024;

/// Runs `body` within [`LIMIT`] on a thread with a small stack, which a recursion along a chain would overflow.
pub fn on_a_small_stack(what: &str, body: impl FnOnce() + Send + 'static) {
    within(LIMIT, what, || {
        thread::Builder::new().stack_size(SMALL_STACK).spawn(body).unwrap().join().unwrap();
    });
}

/// A token, a child of it, a child of that, and so on.
pub fn chain(links: usize) -> Vec<CancelToken> {
    let root = CancelToken::new();
    std::iter::successors(Some(root), |last| Some(last.child())).take(links).collect()
}

/// The token of the task that the calling thread is running.
pub fn own_token() -> CancelToken {
    Context::with(|cx| cx.token().cloned()).flatten().expect("a task that can be cancelled")
}
