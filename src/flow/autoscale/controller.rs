//! What decides about a size: from samples alone, without a clock and without threads.

use std::fmt;
use std::time::Duration;

use crate::flow::config_error::ConfigError;

/// Decides about the size of a pool or view, once in each period of an [`Autoscaler`](super::Autoscaler).
///
/// It is called on a thread of the crate's own that all autoscalers of the process share, one call at a time: it should not block. A panic in
/// it is caught and counted, and changes nothing.
///
/// ```
/// use formicary::autoscale::{Controller, Decision, Reason, Sample};
///
/// /// Twice the number of tasks that run.
/// struct Twice;
///
/// impl Controller for Twice {
///     fn next(&mut self, sample: &Sample) -> Decision {
///         Decision::to(2 * sample.running, Reason::Other("twice what runs"))
///     }
/// }
///
/// let mut sample = Sample::default();
/// sample.running = 4;
/// assert_eq!(Twice.next(&sample).size, 8);
/// ```
pub trait Controller: Send + 'static {
    /// The size from now on, and why. A size outside of the autoscaler's minimum and maximum becomes the nearer of these.
    fn next(&mut self, sample: &Sample) -> Decision;

    /// Whether its settings are usable; it is called before the first sample. Default: they are.
    ///
    /// # Errors
    /// [`ConfigError`] that names what is wrong.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// What happened since the last sample, and how things stand.
///
/// ```
/// use formicary::autoscale::Sample;
///
/// let mut sample = Sample::default();
/// (sample.size, sample.busy) = (4, 3.0);
/// assert_eq!(sample.utilisation(), 0.75);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The time since the last sample.
    pub elapsed: Duration,
    /// The capacity of the pool, or the limit of the view.
    pub size: usize,
    /// The least size that is allowed.
    pub min: usize,
    /// The greatest.
    pub max: usize,
    /// Tasks accepted and not started.
    pub queued: usize,
    /// Tasks that run.
    pub running: usize,
    /// Submitters that wait for room.
    pub waiting: usize,
    /// Tasks that ended since the last sample.
    pub ended: u64,
    /// How many tasks ran at a time, on average since the last sample. On a pool that does not measure
    /// [latencies](crate::Builder::latencies) it is the number that runs now.
    pub busy: f64,
    /// How long tasks wait in the queue. The mean of those that were started since the last sample, if the pool measures latencies.
    /// Otherwise an estimate by Little's law: the queue's length over the rate at which tasks end; or for how long none has ended.
    pub queue_wait: Duration,
    /// How long tasks run, by the same two ways. `None` if no task has ended.
    pub run_time: Option<Duration>,
}

impl Sample {
    /// The share of the size that is in use, 0 to 1.
    ///
    /// ```
    /// assert_eq!(formicary::autoscale::Sample::default().utilisation(), 0.0);
    /// ```
    #[must_use]
    pub fn utilisation(&self) -> f64 {
        if self.size == 0 { 0.0 } else { (self.busy / self.size as f64).clamp(0.0, 1.0) }
    }

    /// Tasks that end per second. 0 if no time has passed.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut sample = formicary::autoscale::Sample::default();
    /// (sample.ended, sample.elapsed) = (50, Duration::from_millis(500));
    /// assert_eq!(sample.throughput(), 100.0);
    /// ```
    #[must_use]
    pub fn throughput(&self) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { self.ended as f64 / self.elapsed.as_secs_f64() }
    }
}

/// A size, and why.
///
/// ```
/// use formicary::autoscale::{Decision, Reason};
///
/// let decision = Decision::to(3, Reason::QueueWait);
/// assert_eq!(decision.to_string(), "3: tasks wait too long");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The size from now on.
    pub size: usize,
    /// Why.
    pub reason: Reason,
}

impl Decision {
    /// A decision for a size.
    ///
    /// ```
    /// use formicary::autoscale::{Decision, Reason};
    ///
    /// assert_eq!(Decision::to(3, Reason::Underused).size, 3);
    /// ```
    #[must_use]
    pub fn to(size: usize, reason: Reason) -> Self {
        Decision { size, reason }
    }

    /// A decision for no change.
    ///
    /// ```
    /// use formicary::autoscale::{Decision, Reason, Sample};
    ///
    /// let mut sample = Sample::default();
    /// sample.size = 3;
    /// assert_eq!(Decision::keep(&sample, Reason::Settled).size, 3);
    /// ```
    #[must_use]
    pub fn keep(sample: &Sample, reason: Reason) -> Self {
        Decision { size: sample.size, reason }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.size, self.reason)
    }
}

/// Why a size is as it is.
///
/// ```
/// use formicary::autoscale::Reason;
///
/// assert_eq!(Reason::CoolDown.to_string(), "the last change is too recent");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// All is within the thresholds.
    Settled,
    /// Tasks wait too long.
    QueueWait,
    /// Little of the size is in use.
    Underused,
    /// The last change is too recent.
    CoolDown,
    /// The size was out of the bounds; somebody else has set it.
    OutOfBounds,
    /// Another size is tried out.
    Probe,
    /// The throughput is better.
    Faster,
    /// The throughput is no worse with fewer.
    NoSlower,
    /// The throughput is worse.
    Slower,
    /// A measurement goes on.
    Measuring,
    /// Tasks take as long as they always do.
    Latency,
    /// Tasks take longer than they usually do.
    Congested,
    /// There is too little load to tell.
    TooLittleLoad,
    /// The pool is paused, or closed.
    Held,
    /// A reason of a controller of the program's own.
    Other(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Settled => "all is within the thresholds",
            Reason::QueueWait => "tasks wait too long",
            Reason::Underused => "little of it is in use",
            Reason::CoolDown => "the last change is too recent",
            Reason::OutOfBounds => "it was out of the bounds",
            Reason::Probe => "another size is tried out",
            Reason::Faster => "the throughput is better",
            Reason::NoSlower => "the throughput is no worse with fewer",
            Reason::Slower => "the throughput is worse",
            Reason::Measuring => "a measurement goes on",
            Reason::Latency => "tasks take as long as they always do",
            Reason::Congested => "tasks take longer than they usually do",
            Reason::TooLittleLoad => "there is too little load to tell",
            Reason::Held => "the pool is paused or closed",
            Reason::Other(why) => why,
        })
    }
}
