//! By queue wait and utilisation.

use std::time::Duration;

use super::controller::{Controller, Decision, Reason, Sample};
use crate::flow::config_error::{ConfigError, check_not_zero, check_share};

/// By how much at most one change shrinks: a quarter.
const SHRINK_PART: usize = 4;
/// A pool that had to grow soon after it had shrunk is shrunk later the next time, up to so many times the patience.
const MOST_PATIENCE: u32 = 32;
/// What is soon, in times of the patience.
const SOON: u32 = 8;

/// Grows while tasks wait too long, and shrinks when little is in use: the controller of an [`Autoscaler`](super::Autoscaler) by default.
///
/// - **Fast up.** It grows in the first period in which tasks wait for longer than [`grow_wait`](Self::grow_wait), by half of the size, but by
///   no more than are queued, nor than [`max_step`](Self::max_step).
/// - **Slowly down.** It shrinks when for [`patience`](Self::patience) periods in a row tasks have waited less than
///   [`shrink_wait`](Self::shrink_wait) and less than [`shrink_utilisation`](Self::shrink_utilisation) was in use, by a quarter at
///   most, and never so far that the busiest of those periods would use more than [`high_utilisation`](Self::high_utilisation).
/// - **No oscillation.** After a change it waits for [`cool_down`](Self::cool_down) periods. If it has to grow soon after it has shrunk, it
///   doubles its patience, up to 32 times; each further shrink without such a growth halves it again.
///
/// ```
/// use std::time::Duration;
/// use formicary::autoscale::{ByLoad, Controller, Reason, Sample};
///
/// let mut by_load = ByLoad::new().grow_wait(Duration::from_millis(20));
/// let mut sample = Sample::default();
/// (sample.size, sample.min, sample.max) = (4, 1, 16);
/// (sample.queued, sample.busy) = (100, 4.0);
/// sample.queue_wait = Duration::from_millis(21);
/// let decision = by_load.next(&sample);
/// assert_eq!((decision.size, decision.reason), (6, Reason::QueueWait));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is for an autoscaler"]
pub struct ByLoad {
    grow_wait: Duration,
    shrink_wait: Option<Duration>,
    shrink_utilisation: f64,
    high_utilisation: f64,
    max_step: usize,
    patience: u32,
    cool_down: u32,
    state: State,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Periods to wait after a change.
    cool_down: u32,
    /// For how many periods in a row little was in use, and the most that was.
    idle: u32,
    peak: f64,
    /// How often the patience is to be taken.
    factor: u32,
    /// Periods since the last shrink; `None` if there was none, or it is long ago.
    since_shrink: Option<u32>,
}

impl Default for ByLoad {
    fn default() -> Self {
        ByLoad::new()
    }
}

impl ByLoad {
    /// The defaults.
    ///
    /// ```
    /// use formicary::{Pool, autoscale::{Autoscaler, ByLoad}};
    ///
    /// let pool = Pool::new(1)?;
    /// let scaler = Autoscaler::between(1, 4).controller(ByLoad::new()).start(&pool)?;
    /// # drop(scaler);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> Self {
        ByLoad {
            grow_wait: Duration::from_millis(10),
            shrink_wait: None,
            shrink_utilisation: 0.5,
            high_utilisation: 0.8,
            max_step: usize::MAX,
            patience: 5,
            cool_down: 2,
            state: State { factor: 1, ..State::default() },
        }
    }

    /// Grows when tasks wait for longer than this. Not 0. Default: 10 milliseconds.
    ///
    /// ```
    /// # use formicary::autoscale::ByLoad;
    /// let by_load = ByLoad::new().grow_wait(std::time::Duration::from_millis(5));
    /// # drop(by_load);
    /// ```
    pub fn grow_wait(mut self, wait: Duration) -> Self {
        self.grow_wait = wait;
        self
    }

    /// Shrinks only while tasks wait for no longer than this, which must be less than [`grow_wait`](Self::grow_wait). Default: a
    /// quarter of that.
    ///
    /// ```
    /// # use formicary::autoscale::ByLoad;
    /// let by_load = ByLoad::new().shrink_wait(std::time::Duration::from_millis(1));
    /// # drop(by_load);
    /// ```
    pub fn shrink_wait(mut self, wait: Duration) -> Self {
        self.shrink_wait = Some(wait);
        self
    }

    /// Shrinks only while less than this share of the size is in use: above 0, below [`high_utilisation`](Self::high_utilisation). Default:
    /// 0.5.
    ///
    /// ```
    /// # use formicary::autoscale::ByLoad;
    /// let by_load = ByLoad::new().shrink_utilisation(0.3);
    /// # drop(by_load);
    /// ```
    pub fn shrink_utilisation(mut self, share: f64) -> Self {
        self.shrink_utilisation = share;
        self
    }

    /// The share that may be in use after a shrink: at most 1. Default: 0.8.
    ///
    /// ```
    /// # use formicary::autoscale::ByLoad;
    /// let by_load = ByLoad::new().high_utilisation(0.9);
    /// # drop(by_load);
    /// ```
    pub fn high_utilisation(mut self, share: f64) -> Self {
        self.high_utilisation = share;
        self
    }

    /// The most by which one change grows. Not 0. Default: no limit but half of the size.
    ///
    /// ```
    /// # use formicary::autoscale::ByLoad;
    /// let by_load = ByLoad::new().max_step(2);
    /// # drop(by_load);
    /// ```
    pub fn max_step(mut self, step: usize) -> Self {
        self.max_step = step;
        self
    }

    /// For how many periods in a row little must be in use before it shrinks. Not 0. Default: 5.
    ///
    /// ```
    /// # use formicary::autoscale::ByLoad;
    /// let by_load = ByLoad::new().patience(20);
    /// # drop(by_load);
    /// ```
    pub fn patience(mut self, periods: u32) -> Self {
        self.patience = periods;
        self
    }

    /// For how many periods after a change nothing changes, so that its effect is seen. Default: 2.
    ///
    /// ```
    /// # use formicary::autoscale::ByLoad;
    /// let by_load = ByLoad::new().cool_down(0);
    /// # drop(by_load);
    /// ```
    pub fn cool_down(mut self, periods: u32) -> Self {
        self.cool_down = periods;
        self
    }

    fn lower_wait(&self) -> Duration {
        self.shrink_wait.unwrap_or(self.grow_wait / 4)
    }

    fn patience_now(&self) -> u32 {
        self.patience.saturating_mul(self.state.factor)
    }

    fn must_grow(&self, sample: &Sample) -> bool {
        // Where tasks have waited, but little is in use and nothing waits now, more workers would change nothing.
        let has_use = sample.utilisation() >= self.shrink_utilisation || sample.queued > 0;
        sample.queue_wait > self.grow_wait && has_use
    }

    /// Notes the period, and says whether little was in use for long enough.
    fn may_shrink(&mut self, sample: &Sample) -> bool {
        if sample.queue_wait > self.lower_wait() || sample.utilisation() >= self.shrink_utilisation {
            (self.state.idle, self.state.peak) = (0, 0.0);
            return false;
        }
        self.state.idle = self.state.idle.saturating_add(1);
        self.state.peak = self.state.peak.max(sample.busy);
        self.state.idle >= self.patience_now()
    }

    fn note_grown(&mut self) {
        let is_soon =
            self.state.since_shrink.is_some_and(|periods| periods <= self.patience_now().saturating_mul(SOON));
        if is_soon {
            self.state.factor = self.state.factor.saturating_mul(2).min(MOST_PATIENCE);
        }
        self.state.since_shrink = None;
        (self.state.idle, self.state.peak) = (0, 0.0);
        self.state.cool_down = self.cool_down;
    }

    fn note_shrunk(&mut self) {
        // The shrink before this one did no harm.
        if self.state.since_shrink.is_some() {
            self.state.factor = (self.state.factor / 2).max(1);
        }
        self.state.since_shrink = Some(0);
        (self.state.idle, self.state.peak) = (0, 0.0);
        self.state.cool_down = self.cool_down;
    }
}

impl Controller for ByLoad {
    fn next(&mut self, sample: &Sample) -> Decision {
        self.state.since_shrink = self.state.since_shrink.map(|periods| periods.saturating_add(1));
        let may_shrink = self.may_shrink(sample);
        if self.state.cool_down > 0 {
            self.state.cool_down -= 1;
            return Decision::keep(sample, Reason::CoolDown);
        }
        if self.must_grow(sample) {
            let step = sample.size.div_ceil(2).min(self.max_step).min(sample.queued.max(1));
            let size = sample.size.saturating_add(step).min(sample.max);
            if size > sample.size {
                self.note_grown();
            }
            return Decision::to(size, Reason::QueueWait);
        }
        if may_shrink {
            let needed = (self.state.peak / self.high_utilisation).ceil() as usize;
            let slowly = sample.size - (sample.size / SHRINK_PART).max(1).min(sample.size);
            let size = slowly.max(needed).max(sample.min);
            if size < sample.size {
                self.note_shrunk();
                return Decision::to(size, Reason::Underused);
            }
        }
        Decision::keep(sample, Reason::Settled)
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_not_zero("grow_wait", self.grow_wait)?;
        if self.lower_wait() >= self.grow_wait {
            return Err(ConfigError::wrong(
                "shrink_wait",
                self.lower_wait(),
                format!("it must be less than grow_wait, {:?}", self.grow_wait),
            ));
        }
        check_share("shrink_utilisation", self.shrink_utilisation)?;
        check_share("high_utilisation", self.high_utilisation)?;
        if self.shrink_utilisation >= self.high_utilisation {
            return Err(ConfigError::wrong(
                "shrink_utilisation",
                self.shrink_utilisation,
                format!("it must be less than high_utilisation, {:?}", self.high_utilisation),
            ));
        }
        check_not_zero("max_step", self.max_step)?;
        check_not_zero("patience", self.patience)
    }
}
