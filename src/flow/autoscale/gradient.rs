//! By latency: for downstreams that get slower when they get too much.

use super::controller::{Controller, Decision, Reason, Sample};
use crate::flow::config_error::{ConfigError, check_not_zero, check_share};

/// The first so many periods count equally in the long-term time.
const WARM_UP: u32 = 10;
/// One period shrinks the limit to this share at most.
const LEAST_GRADIENT: f64 = 0.5;
/// If the long-term time is so many times the present one, it is from an overload that is over, and is made to decay.
const OUTDATED: f64 = 2.0;
const DECAY: f64 = 0.95;

/// A limit for a downstream, from how long tasks take: it grows while they take as long as usual, and shrinks when they take longer.
///
/// This is the Gradient2 algorithm of Netflix's library *concurrency-limits*. In each period the limit becomes
///
/// ```text
/// gradient  = clamp(tolerance × long-term time / time of this period, 0.5, 1)
/// limit    += smoothing × (limit × gradient + headroom − limit)
/// ```
///
/// so as long as tasks take no longer than [`tolerance`](Self::tolerance) times the usual, the limit grows by a share of the
/// [`headroom`](Self::headroom); and where they do, it settles where that many tasks wait at the downstream. A period in which less than half of
/// the limit was in use changes nothing, because it shows nothing.
///
/// It differs in that its samples are the means of a period, not of single tasks. What it has in common is that an overload which lasts for
/// much longer than [`long_term`](Self::long_term) becomes the usual.
///
/// ```
/// use formicary::{Pool, autoscale::{Autoscaler, GradientLimit}};
///
/// let pool = Pool::new(64)?;
/// let api = pool.limited(8);
/// let limiter = Autoscaler::between(2, 64).controller(GradientLimit::new()).start_on_view(&api)?;
/// # drop(limiter);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is for an autoscaler"]
pub struct GradientLimit {
    headroom: f64,
    smoothing: f64,
    tolerance: f64,
    long_term: u32,
    /// The limit with its fraction; `None` before the first sample.
    limit: Option<f64>,
    average: Average,
}

/// An exponential average, which is the mean at first. In seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    value: f64,
    count: u32,
}

impl Average {
    fn add(&mut self, value: f64, window: u32) {
        let weight = if self.count < WARM_UP {
            self.count += 1;
            1.0 / f64::from(self.count)
        } else {
            2.0 / (f64::from(window) + 1.0)
        };
        self.value += (value - self.value) * weight;
    }
}

impl Default for GradientLimit {
    fn default() -> Self {
        GradientLimit::new()
    }
}

impl GradientLimit {
    /// The defaults.
    ///
    /// ```
    /// # use formicary::autoscale::GradientLimit;
    /// let limit = GradientLimit::new();
    /// # drop(limit);
    /// ```
    pub fn new() -> Self {
        GradientLimit {
            headroom: 4.0,
            smoothing: 0.2,
            tolerance: 1.5,
            long_term: 600,
            limit: None,
            average: Average::default(),
        }
    }

    /// How many tasks may wait at the downstream. A small limit keeps it from growing; a large one is slow to notice that the downstream is
    /// busy. Not 0. Default: 4.
    ///
    /// ```
    /// # use formicary::autoscale::GradientLimit;
    /// let limit = GradientLimit::new().headroom(2);
    /// # drop(limit);
    /// ```
    pub fn headroom(mut self, tasks: u32) -> Self {
        self.headroom = f64::from(tasks);
        self
    }

    /// How much of a change is made in one period: above 0, at most 1. Default: 0.2.
    ///
    /// ```
    /// # use formicary::autoscale::GradientLimit;
    /// let limit = GradientLimit::new().smoothing(0.5);
    /// # drop(limit);
    /// ```
    pub fn smoothing(mut self, share: f64) -> Self {
        self.smoothing = share;
        self
    }

    /// How many times as long as usual tasks may take before the limit shrinks: finite, at least 1. Default: 1.5.
    ///
    /// ```
    /// # use formicary::autoscale::GradientLimit;
    /// let limit = GradientLimit::new().tolerance(2.0);
    /// # drop(limit);
    /// ```
    pub fn tolerance(mut self, factor: f64) -> Self {
        self.tolerance = factor;
        self
    }

    /// Over how many periods the usual time is an average. Not 0. Default: 600, a minute with the default period.
    ///
    /// ```
    /// # use formicary::autoscale::GradientLimit;
    /// let limit = GradientLimit::new().long_term(100);
    /// # drop(limit);
    /// ```
    pub fn long_term(mut self, periods: u32) -> Self {
        self.long_term = periods;
        self
    }
}

impl Controller for GradientLimit {
    fn next(&mut self, sample: &Sample) -> Decision {
        // The size is the whole part, unless somebody else has changed it.
        let is_ours = |limit: &f64| limit.floor() as usize == sample.size;
        let limit = self.limit.filter(is_ours).unwrap_or(sample.size as f64);
        self.limit = Some(limit);
        let Some(now) = sample.run_time.map(|time| time.as_secs_f64()).filter(|now| *now > 0.0) else {
            return Decision::keep(sample, Reason::TooLittleLoad);
        };
        self.average.add(now, self.long_term);
        let usual = self.average.value;
        if usual > OUTDATED * now {
            self.average.value *= DECAY;
        }
        if sample.busy.max(sample.running as f64) < limit / 2.0 {
            return Decision::keep(sample, Reason::TooLittleLoad);
        }
        let gradient = (self.tolerance * usual / now).clamp(LEAST_GRADIENT, 1.0);
        let limit = limit + self.smoothing * (limit * gradient + self.headroom - limit);
        let limit = limit.clamp(sample.min as f64, sample.max as f64);
        self.limit = Some(limit);
        let reason = if gradient < 1.0 { Reason::Congested } else { Reason::Latency };
        Decision::to(limit.floor() as usize, reason)
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_not_zero("headroom", self.headroom)?;
        check_share("smoothing", self.smoothing)?;
        if !(self.tolerance.is_finite() && self.tolerance >= 1.0) {
            return Err(ConfigError::wrong("tolerance", self.tolerance, "it must be a finite number of at least 1"));
        }
        check_not_zero("long_term", self.long_term)
    }
}
