//! How long an idle worker spins before it parks.
//!
//! Spinning costs processor time; to park and be woken costs some microseconds of latency. So a worker always spins for a moment. It
//! spins for up to the pool's [`spin`](crate::Builder::spin) limit if it is new, since it was started for work, or if its last idle
//! period was no longer than that limit. After a longer one it returns to the short spin: a pool that is idle, or has a burst now and
//! then, uses no processor time. It also yields sooner then: the thread that has woken it may need this processor.
//!
//! Where all processors are busy, a worker and the thread that it works for may share one, and yield to each other. A worker that finds
//! its work after a yield that took as long as a switch of threads yields at once the next time, so a call costs the switches and no more. (To
//! park instead, so that the system places the worker anew, was measured and changes nothing: it moves one of them as soon as a processor is
//! idle, and no sooner.)

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Source;
use crate::sync::IS_CHECKED;
use crate::sync::spin;

/// The short spin, in rounds: about two microseconds.
const ROUNDS: usize = if IS_CHECKED { 1 } else { 2 };

/// A yield that takes longer has switched to another thread and back.
const SWITCH: Duration = Duration::from_micros(2);

/// What a worker keeps of its idle periods.
pub(crate) struct AdaptiveSpin {
    limit: Duration,
    /// Whether the last one was short enough for a long spin to pay, or there was none yet.
    is_long: Cell<bool>,
    /// Whether it found its last work right after a switch.
    has_switched: Cell<bool>,
}

impl AdaptiveSpin {
    /// Spins for at most `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        AdaptiveSpin { limit, is_long: Cell::new(true), has_switched: Cell::new(false) }
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
        let is_soon = self.is_long.get() && !self.has_switched.get();
        let mut yielded: Option<Instant> = None;
        let found = spin::spin_until(is_soon, poll, |round| {
            let now = Instant::now();
            let since = *idle_since.get_or_insert(now);
            yielded = Some(now);
            !source.must_stop_searching() && (round < ROUNDS || self.is_long.get() && now - since < limit)
        });
        if found.is_some() {
            self.has_switched.set(yielded.is_some_and(|at| at.elapsed() >= SWITCH));
        }
        found
    }
}
