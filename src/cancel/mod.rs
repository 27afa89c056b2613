//! Telling work to stop.

mod drop_guard;
mod due;
mod epoch;
mod listeners;
#[cfg(all(test, formicary_loom))]
mod models;
mod node;
mod waiting;

use std::fmt;
use std::time::{Duration, Instant};

use crate::sync::Arc;
use node::Node;

pub use drop_guard::DropGuard;
pub(crate) use epoch::cancellations;
pub use waiting::Cancelled;

/// Whether work should stop, shared by whoever may say so and whoever does the work.
///
/// Clones are the same token. A [`child`](Self::child) is cancelled with its parent, but not the other way round. Cancelling
/// cannot be undone. A token is a flag that running code looks at ([`is_cancelled`](Self::is_cancelled)) or waits for; a task
/// that has a token and is still queued when it is cancelled never runs.
///
/// Looking costs the same however deep a token is below another one. Cancelling goes through the tokens below that are in use;
/// the queued tasks that share a token are not touched. Chains of children may be of any length: no call and no drop uses the
/// stack in proportion, and a token that nobody holds takes no memory once fewer than two are left below it.
///
/// A time limit ([`cancel_after`](Self::cancel_after)) needs no thread: whoever looks or waits knows the time. (Only where a token
/// with a time limit is awaited in asynchronous code does the crate have one thread that keeps the time.)
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
    /// Somebody called [`cancel`](CancelToken::cancel), on this token or on one above it.
    Asked,
    /// Its time was up, or that of one above it.
    Deadline,
}

impl CancelToken {
    /// A token that is not cancelled. Costs one allocation.
    ///
    /// ```
    /// assert!(!formicary::CancelToken::new().is_cancelled());
    /// ```
    pub fn new() -> Self {
        CancelToken(Node::root())
    }

    /// A token that is cancelled with this one, or by itself. Costs one allocation.
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

    /// Cancels, and with this token those below it. Then wakes whoever waits for any of them, in the order in which they came. Takes
    /// time in proportion to the tokens below that are in use, and to those who wait; tasks are not touched. Doing it again
    /// changes nothing. If the waker of one who awaits the token panics, the others are woken all the same, and the panic ends
    /// here.
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

    /// Cancels when `limit` has passed, unless that is so earlier: of several limits the shortest holds.
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
        // A time that the clock cannot hold never comes.
        if let Some(deadline) = Instant::now().checked_add(limit) {
            self.cancel_at(deadline);
        }
    }

    /// Cancels at `deadline`, as [`cancel_after`](Self::cancel_after). Whoever waits for this token, or for one below it, is woken to
    /// learn of the new time.
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

    /// Whether the token is cancelled. Costs a load or two, however many tokens are above; with a time limit, a look at the clock.
    /// If it is, so is every token below, and what the canceller did before is seen.
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

    /// Why the token is cancelled, if it is. The first reason stays.
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

    /// When the token will be cancelled by itself: the earliest limit of its own and of those above it.
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
