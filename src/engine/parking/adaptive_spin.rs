//! How long an idle worker spins before it parks.
//!
//! Spinning costs processor time; to park and be woken costs some microseconds of latency. So a worker always spins for a moment. It
//! spins for up to the pool's [`spin`](crate::Builder::spin) limit if it is new, since it was started for work, or if its last idle
//! period was no longer than that limit. After a longer one it returns to the short spin: a pool that is idle, or has a burst now and
//! then, uses no processor time. It also yields sooner then: the thread that has woken it may need this processor.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Source;
use crate::sync::IS_CHECKED;
use crate::sync::spin;

/// The short spin, in rounds: a few microseconds.
const ROUNDS: usize = if IS_CHECKED { 1 } else { 4 };

/// What a worker keeps of its idle periods.
pub(crate) struct AdaptiveSpin {
    limit: Duration,
    /// Whether the last one was short enough for a long spin to pay, or there was none yet.
    is_long: Cell<bool>,
}

impl AdaptiveSpin {
    /// Spins for at most `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        AdaptiveSpin { limit, is_long: Cell::new(true) }
    }

    /// The worker has work again, after an idle period that began then.
    pub(super) fn record_idle(&self, idle_since: Option<Instant>) {
        if let Some(since) = idle_since {
            self.is_long.set(since.elapsed() <= self.limit);
        }
    }

    /// Polls until there is a task, something else to handle, or it is time to park or, after `expiry`, to exit. Sets `idle_since` if that
    /// takes more than a moment.
    pub(super) fn spin<S: Source>(
        &self,
        source: &S,
        idle_since: &mut Option<Instant>,
        expiry: Option<Duration>,
    ) -> Option<S::Item> {
        let limit = expiry.map_or(self.limit, |expiry| expiry.min(self.limit));
        let poll = || if source.peek() { source.pop() } else { None };
        spin::spin_until(self.is_long.get(), poll, |round| {
            let since = *idle_since.get_or_insert_with(Instant::now);
            !source.must_stop_searching() && (round < ROUNDS || self.is_long.get() && since.elapsed() < limit)
        })
    }
}
