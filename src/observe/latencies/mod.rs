//! How long tasks wait and run, and how busy the workers are.

mod names;
mod recorder;
mod stopwatch;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::histogram::Histogram;
use crate::engine::options::extensions::Extensions;
use crate::pool::PoolControl;
use crate::pool::builder::Builder;
use crate::queue::Dispatch;

pub(super) use recorder::LatencyRecorder;

/// Latencies.
impl<K, D: Dispatch> Builder<K, D> {
    /// Measures how long tasks wait and run ([`PoolControl::latencies`]). Default: measures nothing.
    ///
    /// Costs what an [observer](Self::observer) costs, one look at the clock, and about ten uncontended atomic operations per task. Each
    /// worker has counters of its own: 1 KiB, and for each name of tasks that it has run another 2 to 5 KiB, at most 22 KiB where the times
    /// vary from nanoseconds to hours.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).latencies().build()?;
    /// pool.run(|| ())?;
    /// assert_eq!(pool.latencies().unwrap().run_time.count(), 1);
    /// assert!(formicary::Pool::new(1)?.latencies().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn latencies(mut self) -> Self {
        self.options.extension::<LatencyRecorder>();
        self
    }
}

/// Latencies.
impl<X> PoolControl<X> {
    /// How long the tasks that the pool has started until now have waited, and those that have ended have run. `None` unless the pool was
    /// built [to measure it](crate::Builder::latencies).
    ///
    /// Never blocks. Adds up what each worker has counted, which takes some microseconds per worker and name.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(2).latencies().build()?;
    /// pool.submit_all((0..100).map(|_| || ()))?;
    /// pool.wait_idle();
    /// let latencies = pool.latencies().unwrap();
    /// println!("{latencies}");
    /// assert_eq!((latencies.queue_wait.count(), latencies.run_time.count()), (100, 100));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn latencies(&self) -> Option<Latencies> {
        latencies_of(self.engine.extensions())
    }
}

/// Those of a pool with these extensions, if it measures them.
pub(crate) fn latencies_of(extensions: &Extensions) -> Option<Latencies> {
    extensions.get::<LatencyRecorder>().map(|recorder| recorder.latencies())
}

/// How long the tasks of a pool have waited and run, and how busy its workers were: a snapshot ([`PoolControl::latencies`]).
///
/// ```
/// use std::time::Duration;
///
/// let pool = formicary::Pool::builder().workers(1).latencies().build()?;
/// let before = pool.latencies().unwrap();
/// pool.with().name("resize").run(|| std::thread::sleep(Duration::from_millis(2)))?;
/// let window = pool.latencies().unwrap().since(&before);
/// assert!(window.run_time.max() >= Duration::from_millis(2));
/// assert_eq!(&*window.by_name()[0].name, "resize");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latencies {
    /// From the moment at which a task was queued until a worker began to run it. Counted when it begins. A task that did not go through the
    /// queue, or never ran, is not in it ([`TaskInfo::queue_wait`](super::TaskInfo::queue_wait)).
    pub queue_wait: Histogram,
    /// How long a task's code ran. Counted when it ends, with a panic or without. The time of tasks that ran within it is included.
    pub run_time: Histogram,
    named: Vec<NamedLatencies>,
    busy: Duration,
    alive: Duration,
}

/// How long the tasks of one name have waited and run ([`Latencies::by_name`]).
///
/// ```
/// let pool = formicary::Pool::builder().workers(1).latencies().build()?;
/// pool.with().name("resize").run(|| ())?;
/// pool.run(|| ())?;
/// let latencies = pool.latencies().unwrap();
/// let [resize] = latencies.by_name() else { unreachable!("there is one name") };
/// assert_eq!((&*resize.name, resize.run_time.count(), latencies.run_time.count()), ("resize", 1, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedLatencies {
    /// The name that the tasks were submitted with ([`With::name`](crate::With::name)).
    pub name: Arc<str>,
    /// As [`Latencies::queue_wait`].
    pub queue_wait: Histogram,
    /// As [`Latencies::run_time`].
    pub run_time: Histogram,
}

impl Latencies {
    /// The same by the tasks' names, in the order of the names. Tasks without a name are only in the totals.
    ///
    /// The first 64 names of a pool have histograms of their own. Tasks of all names that occur later, and of the name `other`, are together under `other`.
    /// So a name should be that of a kind of task, without a number or a date in it.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).latencies().build()?;
    /// pool.with().name("resize").run(|| ())?;
    /// pool.with().name("crop").run(|| ())?;
    /// let latencies = pool.latencies().unwrap();
    /// let names: Vec<_> = latencies.by_name().iter().map(|kind| &*kind.name).collect();
    /// assert_eq!(names, ["crop", "resize"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn by_name(&self) -> &[NamedLatencies] {
        &self.named
    }

    /// What happened between `earlier`, a snapshot of the same pool, and this one. A name without tasks in that time is left out. The result
    /// is of no use if `earlier` is not of the same pool, or is later.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).latencies().build()?;
    /// pool.run(|| ())?;
    /// let before = pool.latencies().unwrap();
    /// pool.run(|| ())?;
    /// let window = pool.latencies().unwrap().since(&before);
    /// assert_eq!(window.run_time.count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Latencies) -> Latencies {
        let named = self.named.iter().map(|now| {
            let before = earlier.named.iter().find(|before| before.name == now.name);
            let since = |now: &Histogram, before: Option<&Histogram>| {
                before.map_or_else(|| now.clone(), |before| now.since(before))
            };
            NamedLatencies {
                name: Arc::clone(&now.name),
                queue_wait: since(&now.queue_wait, before.map(|before| &before.queue_wait)),
                run_time: since(&now.run_time, before.map(|before| &before.run_time)),
            }
        });
        Latencies {
            queue_wait: self.queue_wait.since(&earlier.queue_wait),
            run_time: self.run_time.since(&earlier.run_time),
            named: named.filter(|kind| kind.queue_wait.count() + kind.run_time.count() > 0).collect(),
            busy: self.busy.saturating_sub(earlier.busy),
            alive: self.alive.saturating_sub(earlier.alive),
        }
    }

    /// How long the workers have been in tasks, all together.
    pub(crate) fn busy(&self) -> Duration {
        self.busy
    }

    /// The share of their lives that the workers have spent in tasks, 0 to 1: since the pool was built, or in the time of a
    /// [window](Self::since). Running tasks and living workers count up to the moment of the snapshot. A task within another one adds
    /// nothing. A worker that was [given up](PoolControl::replace) lives, and is busy, until its task ends. 0 if there was no worker.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).latencies().build()?;
    /// let utilisation = pool.latencies().unwrap().utilisation();
    /// assert!((0.0..=1.0).contains(&utilisation));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    #[must_use]
    #[doc(alias("utilization"))]
    pub fn utilisation(&self) -> f64 {
        if self.alive.is_zero() {
            return 0.0;
        }
        (self.busy.as_secs_f64() / self.alive.as_secs_f64()).min(1.0)
    }
}

/// A line for the waits, one for the runs, one for each name, and the utilisation.
impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "queue wait: {}", self.queue_wait)?;
        writeln!(f, "run time: {}", self.run_time)?;
        for kind in &self.named {
            writeln!(f, "run time of {}: {}", kind.name, kind.run_time)?;
        }
        write!(f, "utilisation: {:.1} %", 100.0 * self.utilisation())
    }
}
