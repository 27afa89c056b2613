//! By throughput: for pools in which more workers can make it slower.

use std::time::Duration;

use super::controller::{Controller, Decision, Reason, Sample};
use crate::flow::config_error::{ConfigError, check_not_zero, check_share};

/// A probe changes the size by this share, and by at least 1. A small one could not be told from noise, and losses too small to be
/// noticed would add up.
const PROBE_SHARE: f64 = 0.15;
/// Up to so many times as many periods a measurement takes if few tasks end.
const MOST_PERIODS: u32 = 8;
/// So few say nothing at all.
const FEW: u64 = 50;
/// At rest, the load has changed if the throughput has by so many times the tolerance.
const CHANGE: f64 = 4.0;
/// The longest rest after a failed search, in measurements. It doubles up to this.
const MOST_REST: u32 = 16;
/// The utilisation from which more workers could help, where nothing is queued.
const SATURATED: f64 = 0.8;

/// Climbs to the size with the best throughput, and of those that are about as good to the smallest.
///
/// It is for tasks that get in each other's way (a lock, a disk, a cache, a database), where a size above the best one makes all
/// slower and the queue longer, so that [`ByLoad`](super::ByLoad) would grow further. It measures the throughput of the present size over some
/// [periods](Self::measure), tries one about 15 % larger or smaller, and stays there if that is faster by more than the
/// [tolerance](Self::tolerance), or smaller and no slower than by half of that. Otherwise it goes back, tries the other side, and then rests for
/// up to 16 measurements, or until the load changes. It tries a larger size only where tasks are queued or most of the size is in use.
///
/// Idea and name are those of the .NET thread pool (Hellerstein, Morrison, Eilebrecht: *Applying control theory in the real world: experience
/// with building a controller for the .NET thread pool*, SIGMETRICS Performance Evaluation Review 37(3), 2009). That one varies the size as a wave all
/// the time, and finds the response by a Fourier transform at the wave's frequency, which can tell smaller effects from noise. This one has steps,
/// longer measurements and a rest instead: it needs no tuning to the noise, and does not move without need; but it takes longer to follow a
/// change, and misses effects below its tolerance.
///
/// ```
/// use formicary::{Pool, autoscale::{Autoscaler, HillClimb}};
///
/// let pool = Pool::new(4)?;
/// let scaler = Autoscaler::between(1, 32).controller(HillClimb::new()).start(&pool)?;
/// # drop(scaler);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is for an autoscaler"]
pub struct HillClimb {
    tolerance: f64,
    measure: u32,
    settle: u32,
    phase: Phase,
    measurement: Measurement,
    /// The best size known, and its throughput.
    base: Base,
    /// Which sides have been tried since the base was found.
    tried: Sides,
    /// How long the next rest is.
    rest: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Base {
    size: usize,
    throughput: f64,
    is_saturated: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sides {
    up: bool,
    down: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The base is measured.
    Base,
    /// Another size is, larger than the base or smaller.
    Probe { is_up: bool },
    /// The base is watched for so many measurements more.
    Rest { left: u32 },
}

#[derive(Clone, Copy, Debug, Default)]
struct Measurement {
    size: usize,
    /// Periods whose tasks belong to the size before.
    settling: u32,
    periods: u32,
    ended: u64,
    elapsed: Duration,
    /// Periods in which tasks were queued, or most of the size was in use.
    saturated: u32,
}

impl Measurement {
    fn of(size: usize, settling: u32) -> Self {
        Measurement { size, settling, ..Measurement::default() }
    }

    fn add(&mut self, sample: &Sample) {
        if self.settling > 0 {
            self.settling -= 1;
            return;
        }
        self.periods += 1;
        self.ended += sample.ended;
        self.elapsed += sample.elapsed;
        self.saturated += u32::from(sample.queued > 0 || sample.utilisation() >= SATURATED);
    }

    fn base(&self) -> Base {
        let seconds = self.elapsed.as_secs_f64();
        let throughput = if seconds > 0.0 { self.ended as f64 / seconds } else { 0.0 };
        Base { size: self.size, throughput, is_saturated: 2 * self.saturated >= self.periods }
    }
}

impl Default for HillClimb {
    fn default() -> Self {
        HillClimb::new()
    }
}

impl HillClimb {
    /// The defaults.
    ///
    /// ```
    /// # use formicary::autoscale::HillClimb;
    /// let climb = HillClimb::new();
    /// # drop(climb);
    /// ```
    pub fn new() -> Self {
        HillClimb {
            tolerance: 0.05,
            measure: 5,
            settle: 1,
            phase: Phase::Base,
            measurement: Measurement::default(),
            base: Base::default(),
            tried: Sides::default(),
            rest: 1,
        }
    }

    /// The share by which the throughput must be better to count: above 0, at most 1. Default: 0.05.
    ///
    /// ```
    /// # use formicary::autoscale::HillClimb;
    /// let climb = HillClimb::new().tolerance(0.1);
    /// # drop(climb);
    /// ```
    pub fn tolerance(mut self, share: f64) -> Self {
        self.tolerance = share;
        self
    }

    /// Over how many periods it measures a size; up to eight times as many until `1 / tolerance²` tasks have ended, so that chance does
    /// not decide. Not 0. Default: 5.
    ///
    /// ```
    /// # use formicary::autoscale::HillClimb;
    /// let climb = HillClimb::new().measure(10);
    /// # drop(climb);
    /// ```
    pub fn measure(mut self, periods: u32) -> Self {
        self.measure = periods;
        self
    }

    /// How many periods after a change do not count. Default: 1.
    ///
    /// ```
    /// # use formicary::autoscale::HillClimb;
    /// let climb = HillClimb::new().settle(2);
    /// # drop(climb);
    /// ```
    pub fn settle(mut self, periods: u32) -> Self {
        self.settle = periods;
        self
    }

    /// Goes to a size, which is then measured.
    fn go(&mut self, size: usize, phase: Phase, reason: Reason) -> Decision {
        let settling = if size == self.measurement.size { 0 } else { self.settle };
        self.measurement = Measurement::of(size, settling);
        self.phase = phase;
        Decision::to(size, reason)
    }

    /// Tries a side of the base that was not tried, or rests there. `moved` is why the size is the base's, if it has just become that.
    fn search(&mut self, sample: &Sample, moved: Reason) -> Decision {
        let step = ((self.base.size as f64 * PROBE_SHARE).ceil() as usize).max(1);
        let up = self.base.size.saturating_add(step).min(sample.max);
        let down = self.base.size.saturating_sub(step).max(sample.min);
        let may_go_up = !self.tried.up && self.base.is_saturated && up > self.base.size;
        let may_go_down = !self.tried.down && down < self.base.size;
        if may_go_up {
            self.tried.up = true;
            return self.go(up, Phase::Probe { is_up: true }, Reason::Probe);
        }
        if may_go_down {
            self.tried.down = true;
            return self.go(down, Phase::Probe { is_up: false }, Reason::Probe);
        }
        let left = self.rest;
        self.rest = (2 * self.rest).min(MOST_REST);
        self.go(self.base.size, Phase::Rest { left }, moved)
    }

    /// A probe was measured: stays there, or goes back.
    fn judge(&mut self, is_up: bool, found: Base, sample: &Sample) -> Decision {
        let base = self.base;
        let is_better = found.throughput > base.throughput * (1.0 + self.tolerance);
        let is_no_worse = found.throughput >= base.throughput * (1.0 - self.tolerance / 2.0);
        // A queue that forms is a loss that the throughput does not show yet.
        let is_as_good = is_no_worse && (base.is_saturated || !found.is_saturated);
        if is_better || (!is_up && is_as_good) {
            let reason = if is_better { Reason::Faster } else { Reason::NoSlower };
            // Small losses must not add up.
            let throughput = found.throughput.max(base.throughput);
            self.base = Base { throughput, ..found };
            // The other side is where it came from.
            self.tried = Sides { up: !is_up, down: is_up };
            self.rest = 1;
            return self.search(sample, reason);
        }
        // Measured again before the other side is tried: the load may have changed.
        self.go(base.size, Phase::Base, Reason::Slower)
    }

    /// Few tasks end: without any the least size is enough, otherwise there is nothing to learn.
    fn idle(&mut self, sample: &Sample) -> Decision {
        let is_idle = self.measurement.ended == 0 && sample.queued == 0 && sample.running == 0;
        self.tried = Sides::default();
        let size = match self.phase {
            _ if is_idle => sample.min,
            Phase::Probe { .. } => self.base.size.clamp(sample.min, sample.max),
            _ => sample.size,
        };
        self.go(size, Phase::Base, if is_idle { Reason::Underused } else { Reason::TooLittleLoad })
    }
}

impl Controller for HillClimb {
    fn next(&mut self, sample: &Sample) -> Decision {
        if sample.size != self.measurement.size {
            // The first sample, or somebody else has changed it.
            self.tried = Sides::default();
            self.measurement = Measurement::of(sample.size, self.settle);
            self.phase = Phase::Base;
        }
        self.measurement.add(sample);
        let is_short = self.measurement.periods < self.measure;
        // The number of tasks in a time varies by chance by about its square root.
        let is_thin = (self.measurement.ended as f64) < self.tolerance.powi(-2);
        if is_short || is_thin && self.measurement.periods < self.measure.saturating_mul(MOST_PERIODS) {
            return Decision::keep(sample, Reason::Measuring);
        }
        if self.measurement.ended < FEW {
            return self.idle(sample);
        }
        let found = self.measurement.base();
        match self.phase {
            Phase::Base => {
                self.base = found;
                self.search(sample, Reason::Settled)
            }
            Phase::Probe { is_up } => self.judge(is_up, found, sample),
            Phase::Rest { left } => {
                let change = (found.throughput - self.base.throughput).abs();
                let has_changed = change > CHANGE * self.tolerance * self.base.throughput
                    || found.is_saturated != self.base.is_saturated;
                if has_changed || left <= 1 {
                    self.base = found;
                    self.tried = Sides::default();
                    if has_changed {
                        self.rest = 1;
                    }
                    return self.search(sample, Reason::Settled);
                }
                self.go(self.base.size, Phase::Rest { left: left - 1 }, Reason::Settled)
            }
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_share("tolerance", self.tolerance)?;
        check_not_zero("measure", self.measure)
    }
}
