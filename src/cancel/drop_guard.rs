//! A guard that cancels a token on drop.

use std::mem;

use super::CancelToken;

/// Cancels a token when dropped, also on an early return or a panic. Made by [`CancelToken::drop_guard`].
///
/// ```
/// use formicary::{CancelToken, Pool};
///
/// fn work(pool: &Pool) -> Result<(), Box<dyn std::error::Error>> {
///     let token = CancelToken::new();
///     let _cancel_on_return = token.clone().drop_guard();
///     for chunk in ["1", "two", "3"] {
///         pool.with().token(&token).submit(move || println!("{chunk}"))?;
///         chunk.parse::<u32>()?; // on an error the queued tasks do not run
///     }
///     Ok(())
/// }
/// assert!(work(&Pool::new(1)?).is_err());
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Debug)]
#[must_use = "the token is cancelled when the guard is dropped"]
pub struct DropGuard {
    /// `None` after [`disarm`](DropGuard::disarm).
    token: Option<CancelToken>,
}

impl CancelToken {
    /// Turns the token into a guard that cancels it on drop. Clone the token first to keep using it.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// let guard = token.clone().drop_guard();
    /// assert!(!token.is_cancelled());
    /// drop(guard);
    /// assert!(token.is_cancelled());
    /// ```
    pub fn drop_guard(self) -> DropGuard {
        DropGuard { token: Some(self) }
    }
}

impl DropGuard {
    /// Returns the token without cancelling it.
    ///
    /// ```
    /// let guard = formicary::CancelToken::new().drop_guard();
    /// assert!(!guard.disarm().is_cancelled());
    /// ```
    pub fn disarm(mut self) -> CancelToken {
        mem::take(&mut self.token).unwrap_or_default()
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = &self.token {
            token.cancel();
        }
    }
}
