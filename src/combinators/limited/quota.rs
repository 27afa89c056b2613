//! How often tasks may start.

use std::num::NonZeroU32;
use std::time::Duration;

/// The longest time that a rate may have to look ahead.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// So many starts per period, and how many of them at once: for [`Limited::rate`](crate::Limited::rate). Feature `rate`.
///
/// Starts are spread evenly: there is one more each `period / n`, and up to [`burst`](Self::burst) of them are saved up while nothing starts.
/// So in any time `t` there are at most `burst + t * n / period`.
///
/// ```
/// use formicary::Quota;
/// use std::time::Duration;
///
/// let api = Quota::per_second(5).burst(10);
/// assert_eq!(Quota::new(100, Duration::from_secs(3600)).interval(), Duration::from_secs(36));
/// # drop(api);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    interval: Duration,
    burst: NonZeroU32,
}

impl Quota {
    /// `n` starts per `period`. One at a time, unless a [`burst`](Self::burst) is set.
    ///
    /// ```
    /// let quota = formicary::Quota::new(30, std::time::Duration::from_secs(60));
    /// assert_eq!(quota.interval(), std::time::Duration::from_secs(2));
    /// ```
    ///
    /// # Panics
    /// If `n` is 0, if `period` is less than `n` nanoseconds, or if `period / n` is more than 100 years.
    #[must_use]
    #[track_caller]
    pub fn new(n: u32, period: Duration) -> Self {
        assert!(n > 0, "`n` is 0: with such a quota nothing could start");
        let interval = period / n;
        assert!(
            !interval.is_zero(),
            "`period` is {period:?}, which is too short for {n} starts: there is at most one per nanosecond"
        );
        assert!(interval <= LONGEST, "`period` is {period:?}, which is more than 100 years for each of {n} starts");
        Quota { interval, burst: NonZeroU32::MIN }
    }

    /// `n` starts per second.
    ///
    /// ```
    /// assert_eq!(formicary::Quota::per_second(4).interval(), std::time::Duration::from_millis(250));
    /// ```
    ///
    /// # Panics
    /// If `n` is 0, or more than 1,000,000,000.
    #[must_use]
    #[track_caller]
    pub fn per_second(n: u32) -> Self {
        Self::new(n, Duration::from_secs(1))
    }

    /// `n` starts per minute.
    ///
    /// ```
    /// assert_eq!(formicary::Quota::per_minute(4).interval(), std::time::Duration::from_secs(15));
    /// ```
    ///
    /// # Panics
    /// If `n` is 0.
    #[must_use]
    #[track_caller]
    pub fn per_minute(n: u32) -> Self {
        Self::new(n, Duration::from_secs(60))
    }

    /// How many may start at once after a time without starts, the first ones too. Default: 1.
    ///
    /// ```
    /// let quota = formicary::Quota::per_second(4).burst(8); // 8 at once, and then one each 250 ms
    /// # drop(quota);
    /// ```
    ///
    /// # Panics
    /// If `starts` is 0, or so many that they take more than 100 years.
    #[track_caller]
    #[must_use]
    pub fn burst(self, starts: u32) -> Self {
        let Some(burst) = NonZeroU32::new(starts) else {
            panic!("`starts` is 0: with such a burst nothing could start")
        };
        let takes = self.interval.checked_mul(starts).filter(|takes| *takes <= LONGEST);
        assert!(
            takes.is_some(),
            "`starts` is {starts}, which take more than 100 years at one each {:?}",
            self.interval
        );
        Quota { burst, ..self }
    }

    /// The time between two starts when there is no burst.
    ///
    /// ```
    /// assert_eq!(formicary::Quota::per_second(1).interval(), std::time::Duration::from_secs(1));
    /// ```
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn most_at_once(&self) -> NonZeroU32 {
        self.burst
    }
}
