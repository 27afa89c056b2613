//! Rates by the crate `governor`, and the methods that set them.

use std::hash::Hash;
use std::time::Instant;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed, RateLimiter};

use super::pace::Pace;
use super::{Limited, Quota};
use crate::pool::{AnyPool, With};
use crate::sync::clock;
use crate::sync::{Arc, AtomicUsize, Ordering};

/// The crate's time.
#[derive(Clone, Debug)]
struct OwnClock;

impl Clock for OwnClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        clock::now()
    }
}

fn quota_of(quota: Quota) -> governor::Quota {
    let Some(replenished) = governor::Quota::with_period(quota.interval()) else {
        unreachable!("an interval is not zero")
    };
    replenished.allow_burst(quota.most_at_once())
}

/// One rate for all tasks.
struct Rate(RateLimiter<NotKeyed, InMemoryState, OwnClock, NoOpMiddleware<Instant>>);

impl Pace for Rate {
    fn key(&self, _key: Option<u64>) -> u64 {
        0
    }

    fn take(&self, _key: u64) -> Result<(), Instant> {
        self.0.check().map_err(|not_yet| not_yet.earliest_possible())
    }
}

/// After so many starts, and as many as there are keys, idle keys are forgotten.
const SWEEP_EVERY: usize = 256;

/// A rate for each key.
struct RatePerKey {
    limiter: RateLimiter<u64, HashMapStateStore<u64>, OwnClock, NoOpMiddleware<Instant>>,
    /// Starts until idle keys are forgotten.
    until_sweep: AtomicUsize,
}

impl RatePerKey {
    /// Called under the lock of the view.
    fn forget_idle_keys(&self) {
        // ORDERING: Relaxed. The lock of the view orders the calls.
        let left = self.until_sweep.load(Ordering::Relaxed);
        if left > 0 {
            self.until_sweep.store(left - 1, Ordering::Relaxed);
            return;
        }
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
        self.until_sweep.store(self.limiter.len().max(SWEEP_EVERY), Ordering::Relaxed);
    }
}

impl Pace for RatePerKey {
    /// Tasks without a key have one together.
    fn key(&self, key: Option<u64>) -> u64 {
        key.unwrap_or(0)
    }

    fn take(&self, key: u64) -> Result<(), Instant> {
        self.forget_idle_keys();
        self.limiter.check_key(&key).map_err(|not_yet| not_yet.earliest_possible())
    }
}

impl<P: AnyPool> Limited<P> {
    fn paced(self, pace: impl Pace + 'static) -> Self {
        let before = self.view.with_node(|node| node.pace.replace(Arc::new(pace)));
        drop(before);
        self
    }

    /// Limits how often tasks of this view start, beside how many run at once. Feature `rate`; the crate `governor` does the arithmetic. Default:
    /// no rate. A second call replaces the first.
    ///
    /// - The first task starts at once, and so does each that finds a start saved up ([`Quota::burst`]). The others wait for their time in the
    ///   view, in their order. They hold no permit, no worker and no thread: the process's timer thread has the next one continued.
    /// - They count as queued in the view, and take up its room and the pool's as all tasks that wait in a view do. Where a view has a
    ///   [`queue`](Self::queue), it takes in as many tasks as may run, and the queue beyond them.
    /// - What is cancelled meanwhile uses up no start. What waits for its time when the view is [closed](Self::close) is given back; when the pool
    ///   is shut down, it is dropped and counted as cancelled. So before a shutdown wait until the view is [idle](Self::wait_idle).
    /// - A start is used up when the task has its permit and goes to the pool's queue. While the pool is paused or its workers are busy, at most as
    ///   many such tasks as the limit has permits gather there, and start together later.
    /// - A task of a view of this view needs a start of each that has a rate. Nest views to have a rate for all and another for each key.
    /// - Nothing runs before its time: also a task of the pool that joins one of this view waits. If it is the last worker that could make
    ///   progress, and the task has no start yet, the join is refused with `WouldDeadlock`.
    ///
    /// ```
    /// use formicary::{Pool, Quota};
    /// use std::time::{Duration, Instant};
    ///
    /// let pool = Pool::new(4)?;
    /// let api = pool.limited(2).rate(Quota::per_second(100).burst(3));
    /// let begin = Instant::now();
    /// for n in 0..5 {
    ///     api.submit(move || println!("request {n}"))?;
    /// }
    /// api.wait_idle();
    /// assert!(begin.elapsed() >= Duration::from_millis(20)); // three at once, and two 10 ms apart
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it is the view"]
    pub fn rate(self, quota: Quota) -> Self {
        self.paced(Rate(RateLimiter::direct_with_clock(quota_of(quota), OwnClock)))
    }

    /// As [`rate`](Self::rate), for each [`rate_key`](With::rate_key) on its own. A key whose time has not come does not hold up others. Tasks
    /// without a key share a rate. Keys that have not been used for as long as their burst lasts are forgotten, a few hundred starts later
    /// at most, or as many as there are keys. Until then a key takes 20 to 50 bytes of a table, the number of its hash and a time: a million
    /// hosts in an hour take about 40 MB, which comes back with the starts of the next hour, not by itself.
    ///
    /// ```
    /// use formicary::{Pool, Quota};
    ///
    /// let pool = Pool::new(4)?;
    /// let hosts = pool.limited(4).rate_per_key(Quota::per_second(1));
    /// for host in ["a.example", "b.example", "c.example"] {
    ///     hosts.with().rate_key(host).submit(move || println!("GET {host}"))?; // all at once
    /// }
    /// assert!(hosts.wait_idle());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it is the view"]
    pub fn rate_per_key(self, quota: Quota) -> Self {
        let store = HashMapStateStore::default();
        let limiter = RateLimiter::new(quota_of(quota), store, OwnClock);
        self.paced(RatePerKey { limiter, until_sweep: AtomicUsize::new(SWEEP_EVERY) })
    }
}

impl<P: AnyPool> With<'_, Limited<P>> {
    /// The key by which a [rate for each key](Limited::rate_per_key) counts the task. Without such a rate it has no effect. Costs one heap
    /// allocation per task. Feature `rate`.
    ///
    /// ```
    /// use formicary::{Pool, Quota};
    ///
    /// let pool = Pool::new(4)?;
    /// let hosts = pool.limited(4).rate_per_key(Quota::per_second(1));
    /// assert_eq!(hosts.with().rate_key("a.example").run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rate_key(self, key: impl Hash) -> Self {
        self.with_rate_key(key)
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Pool;

    /// A million keys in turn: of those that are over, few are remembered.
    #[test]
    fn idle_keys_are_forgotten() {
        let limiter =
            RateLimiter::new(quota_of(Quota::per_second(1_000_000_000)), HashMapStateStore::default(), OwnClock);
        let rate = RatePerKey { limiter, until_sweep: AtomicUsize::new(SWEEP_EVERY) };
        for key in 0..1_000_000 {
            assert_eq!(rate.take(key), Ok(()));
            assert!(rate.limiter.len() <= 2 * SWEEP_EVERY + 2, "{} keys at {key}", rate.limiter.len());
        }
    }

    /// A key that is not over is remembered, however many others come.
    #[test]
    fn keys_in_use_are_kept() {
        let limiter = RateLimiter::new(
            quota_of(Quota::new(1, Duration::from_secs(3600))),
            HashMapStateStore::default(),
            OwnClock,
        );
        let rate = RatePerKey { limiter, until_sweep: AtomicUsize::new(SWEEP_EVERY) };
        for key in 0..2_000 {
            assert_eq!(rate.take(key), Ok(()));
        }
        assert!((0..2_000).all(|key| rate.take(key).is_err()));
    }

    /// Nothing is left of tasks that have waited for their time.
    #[test]
    fn waits_leave_nothing() {
        let pool = Pool::new(2).unwrap();
        let view = pool.limited(2).rate_per_key(Quota::per_second(10_000));
        let tasks: Vec<_> = (0..300_u64).map(|n| view.with().rate_key(n % 100).spawn(|| ()).unwrap()).collect();
        tasks.iter().step_by(7).for_each(|task| _ = task.cancel());
        assert!(view.wait_idle());
        let state = view.view.tree.state.lock();
        assert!(state.delays.is_empty() && state.permitted.is_empty() && state.at_pool.is_empty());
    }
}
