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
/// The average rises by so much less than it falls: what rises is mostly what the limit lets wait itself.
const RISE: f64 = 0.1;
/// A probe waits for the tasks of the greater limit, for so many periods at most.
const MOST_SETTLING: f64 = 50.0;
/// Then it measures at least so many periods, and up to so many until it has seen enough tasks.
const LEAST_PERIODS: u32 = 3;
const MOST_PERIODS: u32 = 20;
const ENOUGH: u64 = 50;
/// Tasks have become faster if they take less than this share of the time before.
const FASTER: f64 = 0.8;
/// The time before is an average over about so many periods.
const RECENT: u32 = 5;

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
/// [`headroom`](Self::headroom); and where they do, it settles where
/// about that many tasks more than `tolerance` times what the downstream can do are there. A period in which less than half of
/// the limit was in use changes nothing, because it shows nothing.
///
/// It differs in three ways. Its samples are the means of a period, not of single tasks. The usual time rises ten times as slowly as it falls. And once in [`long_term`](Self::long_term) periods of load it
/// halves the limit for some periods, and again as long as tasks get faster by that: so it measures the time without the tasks that it lets wait
/// itself, which is the usual from then on. Under lasting load the average would take in these waits, and the limit would grow without end.
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
    recent: Average,
    /// Periods of load since the last probe.
    loaded: u32,
    probe: Option<Probe>,
}

/// The limit is halved for a while, perhaps not for the first time.
#[derive(Clone, Copy, Debug)]
struct Probe {
    /// Periods whose tasks may have started before.
    settling: u32,
    periods: u32,
    tasks: u64,
    /// How long they ran together, in seconds.
    time: f64,
    /// How long a task ran with twice the limit.
    before: f64,
}

/// An exponential average, which is the mean at first. In seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    value: f64,
    count: u32,
}

impl Average {
    fn add(&mut self, value: f64, window: u32, rise: f64) {
        let weight = if self.count < WARM_UP {
            self.count += 1;
            1.0 / f64::from(self.count)
        } else {
            let factor = if value > self.value { rise } else { 1.0 };
            factor * 2.0 / (f64::from(window) + 1.0)
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
            recent: Average::default(),
            loaded: 0,
            probe: None,
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

    /// Over how many periods the usual time is an average, and how often it is measured with half of the limit. Not 0. Default: 600, a minute with the default period.
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

impl GradientLimit {
    /// Halves the limit, where tasks took so long until now.
    fn begin_probe(&mut self, limit: f64, before: f64, sample: &Sample) -> Decision {
        let periods = before / sample.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let settling = periods.ceil().min(MOST_SETTLING) as u32 + 1;
        self.loaded = 0;
        self.probe = Some(Probe { settling, periods: 0, tasks: 0, time: 0.0, before });
        self.set(limit / 2.0, Reason::Probe)
    }

    /// One more period with half of the limit.
    fn continue_probe(&mut self, mut probe: Probe, limit: f64, sample: &Sample) -> Decision {
        if probe.settling > 0 {
            probe.settling -= 1;
        } else {
            probe.periods += 1;
            probe.tasks += sample.ended;
            probe.time += sample.run_time.map_or(0.0, |time| time.as_secs_f64() * sample.ended as f64);
        }
        let is_thin = probe.tasks < ENOUGH && probe.periods < MOST_PERIODS;
        if probe.periods < LEAST_PERIODS || is_thin {
            self.probe = Some(probe);
            return Decision::keep(sample, Reason::Probe);
        }
        let time = probe.time / probe.tasks as f64;
        if time > 0.0 {
            if time < FASTER * probe.before && may_halve(limit, sample) {
                return self.begin_probe(limit, time, sample);
            }
            (self.average.value, self.recent.value) = (time, time);
        }
        // Twice as much was no slower, or not by much.
        self.set((2.0 * limit).clamp(sample.min as f64, sample.max as f64), Reason::Latency)
    }

    fn set(&mut self, limit: f64, reason: Reason) -> Decision {
        self.limit = Some(limit);
        Decision::to(limit.floor() as usize, reason)
    }
}

fn may_halve(limit: f64, sample: &Sample) -> bool {
    limit / 2.0 >= sample.min.max(1) as f64
}

impl Controller for GradientLimit {
    fn next(&mut self, sample: &Sample) -> Decision {
        // The size is the whole part, unless somebody else has changed it.
        let ours = self.limit.filter(|limit| limit.floor() as usize == sample.size);
        let limit = ours.unwrap_or(sample.size as f64);
        self.limit = Some(limit);
        if let Some(probe) = self.probe.take().filter(|_| ours.is_some()) {
            return self.continue_probe(probe, limit, sample);
        }
        let Some(now) = sample.run_time.map(|time| time.as_secs_f64()).filter(|now| *now > 0.0) else {
            return Decision::keep(sample, Reason::TooLittleLoad);
        };
        self.average.add(now, self.long_term, RISE);
        self.recent.add(now, RECENT, 1.0);
        let usual = self.average.value;
        if usual > OUTDATED * now {
            self.average.value *= DECAY;
        }
        if sample.busy.max(sample.running as f64) < limit / 2.0 {
            return Decision::keep(sample, Reason::TooLittleLoad);
        }
        self.loaded = self.loaded.saturating_add(1);
        if self.loaded >= self.long_term && may_halve(limit, sample) {
            return self.begin_probe(limit, self.recent.value, sample);
        }
        let gradient = (self.tolerance * usual / now).clamp(LEAST_GRADIENT, 1.0);
        let limit = limit + self.smoothing * (limit * gradient + self.headroom - limit);
        let reason = if gradient < 1.0 { Reason::Congested } else { Reason::Latency };
        self.set(limit.clamp(sample.min as f64, sample.max as f64), reason)
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
