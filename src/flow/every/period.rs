//! How often a task runs.

use std::time::{Duration, Instant};

use crate::pool::time_after;

/// How often a task of [`With::submit_every`](crate::With::submit_every) runs.
///
/// A [`Duration`] converts into a fixed rate. The periods are exact: a run that starts late does not move the others of a fixed rate.
///
/// ```
/// use formicary::{Every, Overrun};
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// assert_eq!(Every::from(minute), Every::rate(minute));
/// assert_eq!(Every::rate(minute), Every::rate(minute).overrun(Overrun::Skip));
/// assert_ne!(Every::rate(minute), Every::delay(minute));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every {
    period: Duration,
    /// `None`: a fixed delay.
    overrun: Option<Overrun>,
}

/// What happens to the runs of a fixed rate whose times pass while another run takes longer than the period, or waits for a worker.
///
/// ```
/// use formicary::{Every, Overrun, Pool};
/// use std::time::Duration;
///
/// let pool = Pool::new(1)?;
/// let every = Every::rate(Duration::from_secs(60)).overrun(Overrun::CatchUp);
/// let series = pool.submit_every(every, || println!("once for each minute"))?;
/// # drop(series);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overrun {
    /// They are left out, and counted ([`Series::skipped`](crate::Series::skipped)). The next run is at the next of the times. The default.
    #[default]
    Skip,
    /// They run one after the other, at once, until the series is in time again. So there are as many runs as periods.
    CatchUp,
    /// The first of them runs at once, and the times of all others are moved: they are periods after that.
    Shift,
}

#[track_caller]
fn checked(period: Duration) -> Duration {
    assert!(!period.is_zero(), "`period` is 0: such a task would run all the time");
    period
}

impl Every {
    /// A fixed rate: runs start `period` apart, whatever they take. What happens if one takes longer: [`overrun`](Self::overrun).
    ///
    /// A period beyond the range of the clock is for ever.
    ///
    /// ```
    /// use formicary::{Every, Pool};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let series = pool.submit_every(Every::rate(Duration::from_secs(60)), || println!("each minute"))?;
    /// # drop(series);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `period` is 0.
    #[doc(alias("scheduleAtFixedRate", "interval"))]
    #[must_use]
    #[track_caller]
    pub fn rate(period: Duration) -> Self {
        Every { period: checked(period), overrun: Some(Overrun::default()) }
    }

    /// A fixed delay: a run starts `period` after the end of the one before.
    ///
    /// ```
    /// use formicary::{Every, Pool};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let series = pool.submit_every(Every::delay(Duration::from_secs(60)), || println!("with a minute between"))?;
    /// # drop(series);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `period` is 0.
    #[doc(alias("scheduleWithFixedDelay"))]
    #[must_use]
    #[track_caller]
    pub fn delay(period: Duration) -> Self {
        Every { period: checked(period), overrun: None }
    }

    /// What happens to runs whose times pass. Default: [`Overrun::Skip`]. Has no effect on a fixed delay, whose runs are never late.
    ///
    /// ```
    /// use formicary::{Every, Overrun};
    ///
    /// let second = Every::rate(std::time::Duration::from_secs(1));
    /// assert_ne!(second, second.overrun(Overrun::CatchUp));
    /// ```
    #[doc(alias("MissedTickBehavior", "set_missed_tick_behavior"))]
    #[must_use]
    pub fn overrun(mut self, overrun: Overrun) -> Self {
        self.overrun = self.overrun.map(|_| overrun);
        self
    }

    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// When the run after the one at `due` is, which has ended now; and how many are left out.
    pub(super) fn next(&self, due: Instant, now: Instant) -> (Instant, u64) {
        let Some(overrun) = self.overrun else { return (time_after(now, self.period), 0) };
        let next = time_after(due, self.period);
        match overrun {
            Overrun::Shift => (next.max(now), 0),
            Overrun::Skip if next < now => {
                // A run whose time is now is not left out.
                let late = (now - next).as_nanos();
                let skipped = late.div_ceil(self.period.as_nanos());
                let skipped = u64::try_from(skipped).unwrap_or(u64::MAX);
                let nanos = self.period.as_nanos().saturating_mul(u128::from(skipped));
                (time_after(next, duration_of(nanos)), skipped)
            }
            Overrun::Skip | Overrun::CatchUp => (next, 0),
        }
    }
}

fn duration_of(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let (seconds, rest) = (nanos / SECOND, nanos % SECOND);
    u64::try_from(seconds).map_or(Duration::MAX, |seconds| Duration::new(seconds, rest as u32))
}

/// A fixed rate.
///
/// # Panics
/// If the duration is 0.
impl From<Duration> for Every {
    #[track_caller]
    fn from(period: Duration) -> Self {
        Every::rate(period)
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn late_runs_are_left_out_made_up_for_or_moved() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let next = |every: Every, now| every.next(start, at(now));
        let rate = |overrun| Every::rate(second).overrun(overrun);
        // In time, just in time, and late.
        for (now, skip, shift) in
            [(0, (10, 0), 10), (10, (10, 0), 10), (11, (20, 1), 11), (20, (20, 1), 20), (35, (40, 3), 35)]
        {
            assert_eq!(next(rate(Overrun::Skip), now), (at(skip.0), skip.1), "{now}");
            assert_eq!(next(rate(Overrun::CatchUp), now), (at(10), 0), "{now}");
            assert_eq!(next(rate(Overrun::Shift), now), (at(shift), 0), "{now}");
            assert_eq!(next(Every::delay(second), now), (at(now) + second, 0), "{now}");
        }
    }

    #[test]
    fn a_period_beyond_the_clock_is_for_ever() {
        let now = Instant::now();
        let years = Duration::from_secs(100 * 365 * 24 * 3600);
        assert!(Every::rate(Duration::MAX).next(now, now).0 > now + years);
        assert!(Every::delay(Duration::MAX).next(now, now).0 > now + years);
    }

    #[test]
    #[should_panic(expected = "`period` is 0")]
    fn no_period_is_zero() {
        let _ = Every::from(Duration::ZERO);
    }
}
