//! How long an idle worker looks for work before it sleeps.
//!
//! A look costs processor time, a sleep and a wake-up cost some microseconds of latency. So a worker looks for a moment in any case,
//! and for longer, up to the pool's [`spin`](crate::Builder::spin), while that pays: when it is new, for it was started because there is
//! something to do, and after an idle time that was no longer than that. One that slept for longer goes back to the short look, so
//! a pool with nothing to do, or with a burst now and then, burns nothing; and it gives way sooner, for whoever has woken it may
//! wait for this processor.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::parking::Source;
use crate::sync::IS_CHECKED;
use crate::sync::spin;

/// The short look, in rounds: a few microseconds.
const ROUNDS: usize = if IS_CHECKED { 1 } else { 4 };

/// What a worker has learnt of its idle times.
pub(crate) struct AdaptiveSpin {
    limit: Duration,
    /// Whether the last one was so short that a long look would have been worth it, or there was none yet.
    is_long: Cell<bool>,
}

impl AdaptiveSpin {
    /// For looks of at most `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        AdaptiveSpin { limit, is_long: Cell::new(true) }
    }

    /// The worker has been idle since then, and has work again.
    pub(super) fn record_idle(&self, idle_since: Option<Instant>) {
        if let Some(since) = idle_since {
            self.is_long.set(since.elapsed() <= self.limit);
        }
    }

    /// Polls until there is a task, something else to see to, or it is time to sleep or to end: after `expiry`. Notes when the worker
    /// became idle, if that took more than a moment.
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
            !source.is_distracted() && (round < ROUNDS || self.is_long.get() && since.elapsed() < limit)
        })
    }
}
