//! The figures of a view.

/// A snapshot of the figures of a [`Limited`](crate::Limited) view, which include those of its own views. When no task of it waits or runs,
/// `submitted = completed + panicked + cancelled + returned + dropped`.
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
    /// Tasks inside user code. One that runs with the permit of another is not counted.
    pub running: usize,
    /// Tasks that ran to their end.
    pub completed: u64,
    /// Tasks that panicked.
    pub panicked: u64,
    /// Tasks that were cancelled before they started, with those whose caller has got them back, or that were dropped with the view.
    pub cancelled: u64,
    /// Tasks that [`Limited::close`](crate::Limited::close) has given back, and those with a permit that a shutdown of the pool has given back from
    /// its queue. What still waits in the view at the end of its pool is cancelled.
    pub returned: u64,
    /// Tasks that the pool has dropped ([`Builder::overflow`](crate::Builder::overflow), [`max_queue_time`](crate::With::max_queue_time)).
    pub dropped: u64,
    /// The most tasks that were ever running at the same time.
    pub peak_running: usize,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskEnd {
    Completed,
    Panicked,
    Cancelled,
    Returned,
    Dropped,
}

impl LimitedStats {
    /// Whether nothing waits or runs.
    pub(super) fn is_idle(&self) -> bool {
        let LimitedStats { completed, panicked, cancelled, returned, dropped, .. } = self;
        self.running == 0 && self.submitted == completed + panicked + cancelled + returned + dropped
    }

    pub(super) fn start(&mut self, holds_permit: bool) {
        self.queued -= 1;
        self.running += usize::from(holds_permit);
        self.peak_running = self.peak_running.max(self.running);
    }

    pub(super) fn end(&mut self, end: TaskEnd) {
        let count = match end {
            TaskEnd::Completed => &mut self.completed,
            TaskEnd::Panicked => &mut self.panicked,
            TaskEnd::Cancelled => &mut self.cancelled,
            TaskEnd::Returned => &mut self.returned,
            TaskEnd::Dropped => &mut self.dropped,
        };
        *count += 1;
    }
}
