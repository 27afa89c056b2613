//! The limit on running tasks.

/// How many tasks may run at a time, as [`Queue::set_limits`](super::Queue::set_limits) and
/// [`Queue::set_elsewhere`](super::Queue::set_elsewhere) say.
#[derive(Default)]
pub(super) struct RunLimit {
    /// `None` sets no limit beyond the number of workers.
    limit: Option<u64>,
    /// Running tasks that did not come from this queue.
    elsewhere: u64,
}

impl RunLimit {
    pub(super) fn set(&mut self, limit: Option<usize>) {
        self.limit = limit.map(|limit| limit as u64);
    }

    pub(super) fn set_elsewhere(&mut self, running: usize) {
        self.elsewhere = running as u64;
    }

    pub(super) fn is_set(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether nothing may start, not even in place of a running task.
    pub(super) fn is_zero(&self) -> bool {
        self.limit == Some(0)
    }

    /// Whether one more task may start while `running` tasks of this queue run. Counts them only if there is a limit.
    pub(super) fn allows_one_more(&self, running: impl FnOnce() -> u64) -> bool {
        self.limit.is_none_or(|limit| running() + self.elsewhere < limit)
    }
}
