//! Cancellation tokens: how code tells running and queued work to stop.

mod drop_guard;
mod due;
mod epoch;
#[cfg(all(test, formicary_loom))]
mod models;
mod node;
mod waiting;

use std::fmt;
use std::time::{Duration, Instant};

use crate::sync::Arc;
use crate::sync::clock;
use node::Node;

pub use drop_guard::DropGuard;
pub(crate) use epoch::cancellations;
pub use waiting::Cancelled;

/// Tells work to stop. Clones share one state.
///
/// Cancelling a token also cancels its [children](Self::child), but not its parent, and cannot be undone. A queued task whose
/// token is cancelled never runs. A running task is not interrupted: it checks the token ([`is_cancelled`](Self::is_cancelled))
/// or waits for it.
///
/// A check takes constant time at any depth of the tree. [`cancel`](Self::cancel) visits the tokens below that are in use, and
/// no queued task. Chains of children may be of any length: no call and no drop recurses along them. A token without handles
/// uses no memory once it has fewer than two children.
///
/// A time limit ([`cancel_after`](Self::cancel_after)) needs no thread, because a check or a wait reads the clock. Only awaiting
/// a token with a time limit ([`cancelled`](Self::cancelled)) starts a timer thread, one per process.
///
/// ```
/// use formicary::CancelToken;
///
/// let all = CancelToken::new();
/// let one = all.child();
/// one.cancel();
/// assert!(one.is_cancelled() && !all.is_cancelled());
///
/// let other = all.child();
/// all.cancel();
/// assert!(other.is_cancelled());
/// ```
pub struct CancelToken(Arc<Node>);

/// Why a token is cancelled.
///
/// ```
/// use formicary::{CancelReason, CancelToken};
///
/// let token = CancelToken::new();
/// token.cancel();
/// assert_eq!(token.reason(), Some(CancelReason::Asked));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// [`cancel`](CancelToken::cancel) was called on this token or on one above it.
    Asked,
    /// The deadline of this token, or of one above it, passed.
    Deadline,
}

impl CancelToken {
    /// Creates a token that is not cancelled. Allocates once.
    ///
    /// ```
    /// assert!(!formicary::CancelToken::new().is_cancelled());
    /// ```
    pub fn new() -> Self {
        CancelToken(Node::root())
    }

    /// Creates a token that is cancelled with this one and can also be cancelled alone. Allocates once.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// let child = token.child();
    /// token.cancel();
    /// assert!(child.is_cancelled());
    /// ```
    pub fn child(&self) -> Self {
        CancelToken(self.0.child())
    }

    /// Cancels this token and all tokens below it, then wakes the threads and futures that wait for any of them, in the order in
    /// which they began to wait. A second call changes nothing.
    ///
    /// Takes time in proportion to the tokens below that are in use and to the waiters, independent of the number of tasks. If a
    /// future's waker panics, the panic is caught and the other waiters are still woken.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// token.cancel();
    /// token.cancel();
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Cancels the token after `limit`. Of several limits the earliest applies. A limit beyond the range of the clock has no
    /// effect.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let token = formicary::CancelToken::new();
    /// token.cancel_after(Duration::from_secs(3600));
    /// assert!(!token.is_cancelled());
    /// token.cancel_after(Duration::ZERO);
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancel_after(&self, limit: Duration) {
        if let Some(deadline) = clock::now().checked_add(limit) {
            self.cancel_at(deadline);
        }
    }

    /// Cancels the token at `deadline`, like [`cancel_after`](Self::cancel_after). Wakes the waiters of this token and of those
    /// below it, so that they wait for the new time.
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let token = formicary::CancelToken::new();
    /// token.cancel_at(Instant::now());
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancel_at(&self, deadline: Instant) {
        self.0.cancel_at(deadline.into());
    }

    /// Whether the token is cancelled. Costs one or two loads at any depth, and with a time limit also a read of the clock. If
    /// it returns `true`, every token below is cancelled too, and what the cancelling thread did before is visible.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// let mut steps = 0;
    /// while !token.is_cancelled() {
    ///     steps += 1;
    ///     if steps == 3 {
    ///         token.cancel();
    ///     }
    /// }
    /// assert_eq!(steps, 3);
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the token is cancelled; `None` while it is not. The first reason stays.
    ///
    /// ```
    /// use formicary::{CancelReason, CancelToken};
    /// use std::time::Duration;
    ///
    /// let token = CancelToken::new();
    /// assert_eq!(token.reason(), None);
    /// token.cancel_after(Duration::ZERO);
    /// assert_eq!(token.reason(), Some(CancelReason::Deadline));
    /// ```
    pub fn reason(&self) -> Option<CancelReason> {
        self.0.reason()
    }

    /// The earliest time limit of this token and of those above it, if there is one.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let token = formicary::CancelToken::new();
    /// assert_eq!(token.deadline(), None);
    /// token.cancel_after(Duration::from_secs(60));
    /// assert!(token.child().deadline().is_some());
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }
}

impl Clone for CancelToken {
    fn clone(&self) -> Self {
        self.0.add_handle();
        CancelToken(Arc::clone(&self.0))
    }
}

impl Drop for CancelToken {
    fn drop(&mut self) {
        self.0.remove_handle();
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("reason", &self.reason()).finish_non_exhaustive()
    }
}

/// The earlier of two times, where `None` is never.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}
