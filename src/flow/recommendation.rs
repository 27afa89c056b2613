//! What a [`Sizing`] recommends, and why.

use std::fmt;

use crate::pool::builder::Builder;
use crate::queue::Dispatch;

#[cfg(doc)]
use super::sizing::Sizing;

/// What bounds the number of workers ([`Sizing`]).
///
/// ```
/// assert_eq!(formicary::sizing::Constraint::Memory.to_string(), "the memory");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Constraint {
    /// More are not needed.
    Demand,
    /// More would wait for a processor.
    Processor,
    /// More do not fit.
    Memory,
    /// What they call does not allow more.
    Downstream,
    /// The program, or the crate, does not want more.
    Maximum,
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Constraint::Demand => "the demand",
            Constraint::Processor => "the processors",
            Constraint::Memory => "the memory",
            Constraint::Downstream => "the downstream",
            Constraint::Maximum => "the maximum",
        })
    }
}

/// How many workers a pool should have, and why ([`Sizing::recommend`]).
///
/// ```
/// use std::time::Duration;
/// use formicary::sizing::{Constraint, Sizing};
///
/// let demand = Sizing::new().cores(4).arrivals_per_second(100.0).service_time(Duration::from_millis(100));
/// let advice = demand.recommend()?;
/// assert_eq!((advice.workers, advice.binding), (4, Constraint::Processor));
/// assert_eq!(advice.utilisation, Some(2.5));
/// assert!(advice.to_string().contains("the queue grows without end"));
/// # Ok::<(), formicary::sizing::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recommendation {
    /// The number of workers, at least 1.
    pub workers: usize,
    /// What keeps it from being greater: the first of `bounds`.
    pub binding: Constraint,
    /// How many tasks may be queued so that the last one waits for [`max_wait`](Sizing::max_wait). `None` if the service time is not known.
    pub queue: Option<usize>,
    /// The share of the workers that is busy; above 1 more comes than they can do. `None` if the demand is not known.
    pub utilisation: Option<f64>,
    /// All bounds, the least first.
    pub bounds: Vec<(Constraint, usize)>,
}

impl Recommendation {
    /// By which share more tasks may come until all workers are busy; below 0 too many come already. `None` if the demand is not known.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use formicary::sizing::Sizing;
    /// let sizing = Sizing::new().cores(64).arrivals_per_second(10.0).service_time(Duration::from_secs(1));
    /// assert_eq!(sizing.target_utilisation(0.5).recommend()?.headroom(), Some(1.0));
    /// # Ok::<(), formicary::sizing::ConfigError>(())
    /// ```
    #[must_use]
    pub fn headroom(&self) -> Option<f64> {
        self.utilisation.map(|utilisation| 1.0 / utilisation - 1.0)
    }
}

impl<K, D: Dispatch> Builder<K, D> {
    /// Sets [`workers`](Self::workers) and, if it is recommended, [`queue`](Self::queue). Later calls of these change them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use formicary::Pool;
    /// use formicary::sizing::Sizing;
    ///
    /// let demand = Sizing::new().cores(8).arrivals_per_second(50.0).service_time(Duration::from_millis(100));
    /// let advice = demand.recommend()?;
    /// let pool = Pool::builder().sized(&advice).thread_name("mill").build()?;
    /// assert_eq!((pool.capacity(), pool.stats().queue_bound), (advice.workers, advice.queue));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sized(self, advice: &Recommendation) -> Self {
        let sized = self.workers(advice.workers);
        match advice.queue {
            Some(queue) => sized.queue(queue),
            None => sized,
        }
    }
}

/// One sentence.
impl fmt::Display for Recommendation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} worker{}", self.workers, if self.workers == 1 { "" } else { "s" })?;
        if let Some(queue) = self.queue {
            write!(f, " and a queue of {queue}")?;
        }
        write!(f, ", bound by {}", self.binding)?;
        match self.utilisation {
            Some(utilisation) if utilisation > 1.0 => {
                let most = 100.0 / utilisation;
                write!(f, ": they can do {most:.0} % of what comes, and the queue grows without end")
            }
            Some(utilisation) => {
                let (used, more) = (100.0 * utilisation, 100.0 * (1.0 / utilisation - 1.0));
                write!(f, ": {used:.0} % of them are in use, and {more:.0} % more tasks may come")
            }
            None => Ok(()),
        }
    }
}
