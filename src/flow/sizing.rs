//! How many workers a pool needs, and what keeps it from having more.
//!
//! ```
//! use std::time::Duration;
//! use formicary::sizing::{Constraint, Sizing};
//!
//! let advice = Sizing::new()
//!     .arrivals_per_second(200.0)
//!     .service_time(Duration::from_millis(50))
//!     .cpu_share(0.1)
//!     .cores(4)
//!     .downstream_limit(11)
//!     .recommend()?;
//! assert_eq!((advice.workers, advice.binding), (11, Constraint::Downstream));
//! println!("{advice}");
//! // 11 workers and a queue of 220, bound by the downstream: 91 % of them are in use, and 10 % more tasks may come
//! # Ok::<(), formicary::sizing::ConfigError>(())
//! ```

use std::time::Duration;

pub use crate::flow::config_error::ConfigError;
use crate::flow::config_error::{check_not_zero, check_positive, check_share};
pub use crate::flow::recommendation::{Constraint, Recommendation};
use crate::queue::MAX_WORKERS;

/// What is known of the tasks and of the machine. What is not set does not bind, apart from the processors.
///
/// The number of workers is the least of these bounds:
///
/// | bound | by | number |
/// |---|---|---|
/// | [`Demand`](Constraint::Demand) | arrivals, service time, target utilisation | by Little's law (Little: *A proof for the queuing formula L = λW*, Operations Research 9(3), 1961), `arrivals × service time` workers are busy on average; over the target utilisation, rounded up |
/// | [`Processor`](Constraint::Processor) | cores, processor share | more than `cores / share` workers would wait for each other's processor |
/// | [`Memory`](Constraint::Memory) | memory, memory per worker | as many as fit |
/// | [`Downstream`](Constraint::Downstream) | the limit of what the tasks call | as many as it allows |
/// | [`Maximum`](Constraint::Maximum) | a maximum of the program's own, or [`MAX_WORKERS`] | that |
///
/// ```
/// use formicary::sizing::{Constraint, Sizing};
///
/// let advice = Sizing::new().cores(8).cpu_share(0.5).recommend()?;
/// assert_eq!((advice.workers, advice.binding), (16, Constraint::Processor));
/// # Ok::<(), formicary::sizing::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it says nothing before `recommend`"]
pub struct Sizing {
    arrivals_per_second: Option<f64>,
    service_time: Option<Duration>,
    cpu_share: f64,
    cores: Option<usize>,
    memory_per_worker: Option<u64>,
    memory: Option<u64>,
    downstream_limit: Option<usize>,
    at_most: Option<usize>,
    target_utilisation: f64,
    max_wait: Duration,
}

impl Default for Sizing {
    fn default() -> Self {
        Sizing::new()
    }
}

impl Sizing {
    /// Tasks that use a processor all the time, on the processors that the process may use.
    ///
    /// ```
    /// # use formicary::sizing::Sizing;
    /// assert!(Sizing::new().recommend()?.workers >= 1);
    /// # Ok::<(), formicary::sizing::ConfigError>(())
    /// ```
    pub fn new() -> Self {
        Sizing {
            arrivals_per_second: None,
            service_time: None,
            cpu_share: 1.0,
            cores: None,
            memory_per_worker: None,
            memory: None,
            downstream_limit: None,
            at_most: None,
            target_utilisation: 0.8,
            max_wait: Duration::from_secs(1),
        }
    }

    /// How many tasks come per second: finite, above 0. Binds together with [`service_time`](Self::service_time).
    ///
    /// ```
    /// # use formicary::sizing::Sizing;
    /// let error = Sizing::new().arrivals_per_second(0.0).recommend().unwrap_err();
    /// assert_eq!(error.to_string(), "arrivals_per_second is 0.0: it must be a finite number above 0");
    /// ```
    pub fn arrivals_per_second(mut self, tasks: f64) -> Self {
        self.arrivals_per_second = Some(tasks);
        self
    }

    /// How long a task runs, on average. Not 0. [`Latencies::run_time`](crate::observe::Latencies::run_time) measures it.
    ///
    /// ```
    /// # use formicary::sizing::Sizing;
    /// # use std::time::Duration;
    /// let sizing = Sizing::new().cores(64).arrivals_per_second(10.0).service_time(Duration::from_secs(2));
    /// assert_eq!(sizing.target_utilisation(1.0).recommend()?.workers, 20);
    /// # Ok::<(), formicary::sizing::ConfigError>(())
    /// ```
    pub fn service_time(mut self, time: Duration) -> Self {
        self.service_time = Some(time);
        self
    }

    /// The share of its service time in which a task uses a processor: above 0, at most 1. Default: 1. A task that waits for a network half of
    /// the time has 0.5.
    ///
    /// ```
    /// # use formicary::sizing::Sizing;
    /// assert_eq!(Sizing::new().cores(2).cpu_share(0.1).recommend()?.workers, 20);
    /// # Ok::<(), formicary::sizing::ConfigError>(())
    /// ```
    pub fn cpu_share(mut self, share: f64) -> Self {
        self.cpu_share = share;
        self
    }

    /// The processors that the tasks may use. Not 0. Default: those that the process may use.
    ///
    /// ```
    /// # use formicary::sizing::Sizing;
    /// assert_eq!(Sizing::new().cores(6).recommend()?.workers, 6);
    /// # Ok::<(), formicary::sizing::ConfigError>(())
    /// ```
    pub fn cores(mut self, cores: usize) -> Self {
        self.cores = Some(cores);
        self
    }

    /// How many bytes a worker needs, with its stack, its state and the task that it runs. Not 0. Binds together with [`memory`](Self::memory).
    ///
    /// ```
    /// # use formicary::sizing::Sizing;
    /// let error = Sizing::new().memory_per_worker(100).memory(99).recommend().unwrap_err();
    /// assert_eq!(error.to_string(), "memory_per_worker is 100, which is above memory, 99");
    /// ```
    pub fn memory_per_worker(mut self, bytes: u64) -> Self {
        self.memory_per_worker = Some(bytes);
        self
    }

    /// How many bytes the workers may need together. Not 0.
    ///
    /// ```
    /// # use formicary::sizing::{Constraint, Sizing};
    /// let advice = Sizing::new().cores(64).memory(1 << 30).memory_per_worker(300 << 20).recommend()?;
    /// assert_eq!((advice.workers, advice.binding), (3, Constraint::Memory));
    /// # Ok::<(), formicary::sizing::ConfigError>(())
    /// ```
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// How many tasks at a time what they call allows: connections of a database, a quota. Not 0.
    ///
    /// ```
    /// # use formicary::sizing::{Constraint, Sizing};
    /// let advice = Sizing::new().cores(64).downstream_limit(10).recommend()?;
    /// assert_eq!((advice.workers, advice.binding), (10, Constraint::Downstream));
    /// # Ok::<(), formicary::sizing::ConfigError>(())
    /// ```
    pub fn downstream_limit(mut self, tasks: usize) -> Self {
        self.downstream_limit = Some(tasks);
        self
    }

    /// The most workers that there shall be, whatever else allows more. Not 0. Default: [`MAX_WORKERS`].
    ///
    /// ```
    /// # use formicary::sizing::{Constraint, Sizing};
    /// let advice = Sizing::new().cores(64).at_most(5).recommend()?;
    /// assert_eq!((advice.workers, advice.binding), (5, Constraint::Maximum));
    /// # Ok::<(), formicary::sizing::ConfigError>(())
    /// ```
    pub fn at_most(mut self, workers: usize) -> Self {
        self.at_most = Some(workers);
        self
    }

    /// The share of the workers that is busy on average: above 0, at most 1. The nearer to 1, the longer tasks wait where they do not come evenly.
    /// Default: 0.8.
    ///
    /// ```
    /// # use formicary::sizing::Sizing;
    /// # use std::time::Duration;
    /// let sizing = Sizing::new().cores(64).arrivals_per_second(10.0).service_time(Duration::from_secs(1));
    /// assert_eq!(sizing.target_utilisation(0.5).recommend()?.workers, 20);
    /// # Ok::<(), formicary::sizing::ConfigError>(())
    /// ```
    pub fn target_utilisation(mut self, share: f64) -> Self {
        self.target_utilisation = share;
        self
    }

    /// For how long a task may wait in a full queue. Not 0. Default: a second. Needs [`service_time`](Self::service_time).
    ///
    /// ```
    /// # use formicary::sizing::Sizing;
    /// # use std::time::Duration;
    /// let sizing = Sizing::new().cores(4).service_time(Duration::from_millis(10));
    /// assert_eq!(sizing.max_wait(Duration::from_millis(50)).recommend()?.queue, Some(20));
    /// # Ok::<(), formicary::sizing::ConfigError>(())
    /// ```
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// The number of workers, and what binds it.
    ///
    /// ```
    /// # use formicary::sizing::Sizing;
    /// let advice = Sizing::new().cores(2).recommend()?;
    /// let pool = formicary::Pool::new(advice.workers)?;
    /// # drop(pool);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if a value is out of its range, or one worker needs more memory than there is.
    pub fn recommend(&self) -> Result<Recommendation, ConfigError> {
        self.check()?;
        let mut bounds = Vec::new();
        let busy = self.arrivals_per_second.zip(self.service_time).map(|(rate, time)| rate * time.as_secs_f64());
        if let Some(busy) = busy {
            bounds.push((Constraint::Demand, whole((busy / self.target_utilisation).ceil())));
        }
        let cores = self.cores.unwrap_or_else(num_cpus::get);
        bounds.push((Constraint::Processor, whole(cores as f64 / self.cpu_share)));
        if let Some((memory, each)) = self.memory.zip(self.memory_per_worker) {
            bounds.push((Constraint::Memory, usize::try_from(memory / each).unwrap_or(usize::MAX)));
        }
        bounds.extend(self.downstream_limit.map(|limit| (Constraint::Downstream, limit)));
        bounds.push((Constraint::Maximum, self.at_most.unwrap_or(MAX_WORKERS).min(MAX_WORKERS)));
        // Of equal ones the first.
        bounds.sort_by_key(|(_, workers)| *workers);
        let (binding, workers) = bounds[0];
        let queue = self.service_time.map(|time| {
            let throughput = workers as f64 / time.as_secs_f64();
            whole((throughput * self.max_wait.as_secs_f64()).ceil())
        });
        Ok(Recommendation { workers, binding, queue, utilisation: busy.map(|busy| busy / workers as f64), bounds })
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Some(rate) = self.arrivals_per_second {
            check_positive("arrivals_per_second", rate)?;
        }
        check_share("cpu_share", self.cpu_share)?;
        check_share("target_utilisation", self.target_utilisation)?;
        check_not_zero("max_wait", self.max_wait)?;
        self.service_time.map_or(Ok(()), |time| check_not_zero("service_time", time))?;
        self.cores.map_or(Ok(()), |cores| check_not_zero("cores", cores))?;
        self.memory_per_worker.map_or(Ok(()), |bytes| check_not_zero("memory_per_worker", bytes))?;
        self.memory.map_or(Ok(()), |bytes| check_not_zero("memory", bytes))?;
        self.downstream_limit.map_or(Ok(()), |tasks| check_not_zero("downstream_limit", tasks))?;
        self.at_most.map_or(Ok(()), |workers| check_not_zero("at_most", workers))?;
        match (self.memory_per_worker, self.memory) {
            (Some(each), Some(memory)) if each > memory => {
                Err(ConfigError::crossed(("memory_per_worker", each), ("memory", memory)))
            }
            _ => Ok(()),
        }
    }
}

/// At least 1. One that does not fit is the greatest there is. A product that is off by a rounding error counts as the whole number.
fn whole(number: f64) -> usize {
    let nearest = number.round();
    let number = if (number - nearest).abs() < 1e-9 * nearest.abs() { nearest } else { number };
    (number as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(rate: f64, millis: u64) -> Sizing {
        Sizing::new().cores(8).cpu_share(0.1).arrivals_per_second(rate).service_time(Duration::from_millis(millis))
    }

    #[test]
    fn the_least_bound_binds() {
        let all = demand(100.0, 100).memory(1000).memory_per_worker(50).downstream_limit(30).at_most(40);
        let cases = [
            (all.clone(), 13, Constraint::Demand),
            (all.clone().arrivals_per_second(1e9), 20, Constraint::Memory),
            (all.clone().arrivals_per_second(1e300).memory(u64::MAX), 30, Constraint::Downstream),
            (all.clone().cpu_share(0.8), 10, Constraint::Processor),
            (all.clone().at_most(1), 1, Constraint::Maximum),
            (Sizing::new().cores(usize::MAX), MAX_WORKERS, Constraint::Maximum),
            (Sizing::new().cores(1).arrivals_per_second(5.0), 1, Constraint::Processor),
            (demand(1e-300, 1), 1, Constraint::Demand),
        ];
        for (sizing, workers, binding) in cases {
            let advice = sizing.recommend().unwrap();
            assert_eq!((advice.workers, advice.binding), (workers, binding), "{advice:?}");
            assert_eq!(advice.bounds[0], (binding, workers));
            assert!(advice.bounds.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        }
    }

    #[test]
    fn a_rounding_error_is_no_worker() {
        for rate in 1..1000 {
            // 0.1 is no binary fraction.
            let advice = Sizing::new().cores(1_000_000).cpu_share(1.0).arrivals_per_second(f64::from(rate) * 10.0);
            let advice = advice.service_time(Duration::from_millis(100)).target_utilisation(1.0).recommend().unwrap();
            assert_eq!(advice.workers, rate as usize);
        }
        assert_eq!(Sizing::new().cores(3).cpu_share(0.3).recommend().unwrap().workers, 10);
    }

    #[test]
    fn bad_input_is_named() {
        let base = || demand(1.0, 1);
        let bad = [
            ("arrivals_per_second", base().arrivals_per_second(f64::INFINITY)),
            ("arrivals_per_second", base().arrivals_per_second(-1.0)),
            ("service_time", base().service_time(Duration::ZERO)),
            ("cpu_share", base().cpu_share(f64::NAN)),
            ("cpu_share", base().cpu_share(1.1)),
            ("cores", base().cores(0)),
            ("memory_per_worker", base().memory_per_worker(0)),
            ("memory_per_worker", base().memory_per_worker(2).memory(1)),
            ("memory", base().memory(0)),
            ("downstream_limit", base().downstream_limit(0)),
            ("at_most", base().at_most(0)),
            ("target_utilisation", base().target_utilisation(0.0)),
            ("max_wait", base().max_wait(Duration::ZERO)),
        ];
        for (argument, sizing) in bad {
            let error = sizing.recommend().unwrap_err();
            assert_eq!(error.argument(), argument);
            assert!(error.to_string().starts_with(&format!("{argument} is ")), "{error}");
        }
    }

    #[test]
    fn it_explains_itself() {
        let advice = demand(100.0, 100).recommend().unwrap();
        let text =
            "13 workers and a queue of 130, bound by the demand: 77 % of them are in use, and 30 % more tasks may come";
        assert_eq!(advice.to_string(), text);
        assert_eq!(Sizing::new().cores(1).recommend().unwrap().to_string(), "1 worker, bound by the processors");
    }
}
