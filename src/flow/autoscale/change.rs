//! A change that an autoscaler has made.

use std::fmt;
use std::time::Duration;

use super::controller::Reason;

/// A change of a size by an [`Autoscaler`](super::Autoscaler).
///
/// ```
/// use formicary::{Pool, autoscale::{Autoscaler, Reason}};
/// use std::{sync::mpsc::channel, time::Duration};
///
/// let (sender, changes) = channel();
/// let pool = Pool::new(1)?;
/// let scaler = Autoscaler::between(3, 8)
///     .period(Duration::from_millis(1))
///     .on_change(move |change| drop(sender.send(*change)))
///     .start(&pool)?;
/// let change = changes.recv()?;
/// assert_eq!((change.from, change.to, change.reason), (1, 3, Reason::OutOfBounds));
/// assert_eq!(pool.capacity(), 3);
/// # drop(scaler);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// When it was made, since the autoscaler was started.
    pub after: Duration,
    /// The size before.
    pub from: usize,
    /// The size after it.
    pub to: usize,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:.1?}: {} to {}, {}", self.after, self.from, self.to, self.reason)
    }
}
