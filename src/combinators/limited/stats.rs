//! What a view says of itself.

/// A snapshot of the figures of a [`Limited`](crate::Limited) view. When nothing waits or runs,
/// `submitted = completed + panicked + cancelled`.
///
/// ```
/// let pool = formicary::Pool::new(2)?;
/// let view = pool.limited(1);
/// view.run(|| ())?;
/// assert_eq!((view.stats().submitted, view.stats().completed), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitedStats {
    /// Tasks ever accepted.
    pub submitted: u64,
    /// Tasks accepted and not started, in the view or in the pool.
    pub queued: usize,
    /// Tasks inside user code. One that another runs in its own place is not counted twice.
    pub running: usize,
    /// Tasks that ran to their end.
    pub completed: u64,
    /// Tasks that panicked.
    pub panicked: u64,
    /// Tasks that will never run.
    pub cancelled: u64,
    /// The most tasks that were ever running at the same time.
    pub peak_running: usize,
}

impl LimitedStats {
    /// Whether nothing waits or runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running == 0 && self.submitted == self.completed + self.panicked + self.cancelled
    }
}
