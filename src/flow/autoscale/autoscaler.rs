//! An autoscaler before it is started, and the handle of one that runs.

use std::fmt;
use std::time::Duration;

use super::by_load::ByLoad;
use super::change::Change;
use super::controller::{Controller, Decision};
use super::driver::{Driver, Handler, Phase, Plan};
use super::target::Target;
use crate::combinators::limited::Limited;
use crate::flow::config_error::{ConfigError, check_not_zero};
use crate::pool::{AnyPool, PoolControl};
use crate::queue::MAX_WORKERS;
use crate::sync::Arc;

/// Keeps the capacity of a pool, or the limit of a view, where the load needs it, between a minimum and a maximum.
///
/// Once in each [`period`](Self::period) it takes a [sample](super::Sample) of the pool, asks its [controller](super::Controller), and sets
/// the size by [`PoolControl::tune`] or [`Limited::set_limit`], which are exact. Workers above the capacity end as soon as they are idle; a
/// greater capacity starts workers only where tasks need them. It keeps neither pool nor view alive, and does nothing while the pool is
/// paused or closed. A period that was missed is left out.
///
/// A pool that measures [latencies](crate::Builder::latencies) gives exact figures. Without them the controllers get estimates from the
/// numbers of tasks at the end of each period, which suffice where the queue is longer than a moment; see [`Sample`](super::Sample).
/// A shrink also lowers the pool's minimum of workers, as every `tune` does.
///
/// Between two periods it costs nothing. A period costs the figures of the pool, some microseconds per worker, and the start of a
/// thread, `formicary-tuner`, on which all autoscalers of the process take their turns one after the other. If the system refuses the thread, a
/// turn is left out.
///
/// ```
/// use std::time::Duration;
/// use formicary::{Pool, autoscale::Autoscaler};
///
/// let pool = Pool::builder().workers(2).latencies().build()?;
/// let scaler = Autoscaler::between(2, 32).period(Duration::from_millis(50)).start(&pool)?;
/// pool.run(|| 7)?;
/// assert_eq!(pool.capacity(), 2);
/// scaler.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it does nothing before it is started"]
pub struct Autoscaler {
    plan: Plan,
    controller: Box<dyn Controller>,
}

impl Autoscaler {
    /// An autoscaler that chooses a size from `min` to `max`, by [`ByLoad`] every 100 milliseconds.
    ///
    /// ```
    /// use formicary::{Pool, autoscale::Autoscaler};
    ///
    /// let pool = Pool::new(1)?;
    /// let scaler = Autoscaler::between(1, 8).start(&pool)?;
    /// # drop(scaler);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn between(min: usize, max: usize) -> Self {
        Autoscaler {
            plan: Plan { min, max, period: Duration::from_millis(100), history: 64, handler: None },
            controller: Box::new(ByLoad::new()),
        }
    }

    /// What decides. Default: [`ByLoad`].
    ///
    /// ```
    /// use formicary::{Pool, autoscale::{Autoscaler, HillClimb}};
    ///
    /// let pool = Pool::new(1)?;
    /// let scaler = Autoscaler::between(1, 8).controller(HillClimb::new()).start(&pool)?;
    /// # drop(scaler);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn controller(mut self, controller: impl Controller) -> Self {
        self.controller = Box::new(controller);
        self
    }

    /// How often it decides. Not 0; below some milliseconds there is little to see in a period. Default: 100 milliseconds.
    ///
    /// ```
    /// use formicary::{Pool, autoscale::Autoscaler};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let error = Autoscaler::between(1, 8).period(Duration::ZERO).start(&pool).unwrap_err();
    /// assert_eq!(error.to_string(), "period is 0ns: it must be above 0");
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn period(mut self, period: Duration) -> Self {
        self.plan.period = period;
        self
    }

    /// How many of the latest changes it remembers ([`Tuner::changes`]). Default: 64.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// let pool = Pool::new(1)?;
    /// let scaler = Autoscaler::between(1, 8).history(0).start(&pool)?;
    /// assert!(scaler.changes().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history(mut self, changes: usize) -> Self {
        self.plan.history = changes;
        self
    }

    /// Called after each change, on the thread of the turns: while it blocks, no autoscaler of the process decides. A panic in it is caught and
    /// counted. Default: none.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// let builder = Autoscaler::between(1, 8).on_change(|change| eprintln!("{change}"));
    /// # drop(builder);
    /// ```
    pub fn on_change(mut self, handler: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        let handler: Handler = Box::new(handler);
        self.plan.handler = Some(handler);
        self
    }

    /// Starts it on a pool of any kind. The first decision comes after a period. Does not block.
    ///
    /// Two autoscalers on the same pool work against each other.
    ///
    /// ```
    /// use formicary::{PoolWithFunc, autoscale::Autoscaler};
    ///
    /// let lengths = PoolWithFunc::new(2, |word: &'static str| word.len())?;
    /// let scaler = Autoscaler::between(1, 8).start(&lengths)?;
    /// assert_eq!(lengths.run("formica")?, 7);
    /// # drop(scaler);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if the minimum is 0 or above the maximum, the maximum is above [`MAX_WORKERS`], the
    /// period is 0, or the controller's settings are wrong.
    pub fn start<X>(self, pool: &PoolControl<X>) -> Result<Tuner, ConfigError> {
        if self.plan.max > MAX_WORKERS {
            let why = format!("{MAX_WORKERS} is the most a pool can have");
            return Err(ConfigError::wrong("max", self.plan.max, why));
        }
        let engine = Arc::clone(&pool.engine).visited();
        self.start_on(|| Target::Pool(Arc::downgrade(&engine)))
    }

    /// Starts it on a limited view. The view then measures how long its tasks run, which costs a task two looks at the clock and a lock, as long as
    /// the autoscaler is there. Otherwise as [`start`](Self::start).
    ///
    /// ```
    /// use formicary::{Pool, autoscale::{Autoscaler, GradientLimit}};
    ///
    /// let pool = Pool::new(16)?;
    /// let api = pool.limited(4);
    /// let limiter = Autoscaler::between(1, 16).controller(GradientLimit::new()).start_on_view(&api)?;
    /// assert_eq!(api.run(|| 7)?, 7);
    /// # drop(limiter);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] if the minimum is 0 or above the maximum, the period is 0, or the controller's settings are wrong.
    pub fn start_on_view<P: AnyPool>(self, view: &Limited<P>) -> Result<Tuner, ConfigError> {
        let view = view.steered();
        self.start_on(|| {
            let meter = view.upgrade().and_then(|view| view.meter());
            Target::View(view, meter)
        })
    }

    fn start_on(self, target: impl FnOnce() -> Target) -> Result<Tuner, ConfigError> {
        let Plan { min, max, period, .. } = self.plan;
        check_not_zero("min", min)?;
        if min > max {
            return Err(ConfigError::crossed(("min", min), ("max", max)));
        }
        check_not_zero("period", period)?;
        self.controller.check()?;
        Ok(Tuner { driver: Driver::start(target(), self.controller, self.plan) })
    }
}

impl fmt::Debug for Autoscaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { min, max, period, .. } = &self.plan;
        f.debug_struct("Autoscaler").field("min", min).field("max", max).field("period", period).finish_non_exhaustive()
    }
}

/// A running [`Autoscaler`]. Dropping it stops it; the pool keeps the size that it has.
///
/// ```
/// use formicary::{Pool, autoscale::Autoscaler};
///
/// let pool = Pool::new(4)?;
/// let tuner = Autoscaler::between(2, 8).start(&pool)?;
/// drop(tuner);
/// assert_eq!(pool.capacity(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it stops it"]
pub struct Tuner {
    driver: Arc<Driver>,
}

impl Tuner {
    /// Changes nothing until [`resume`](Self::resume). A change that is being made at this moment may still come. Does not block.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// let pool = Pool::new(4)?;
    /// let tuner = Autoscaler::between(2, 8).start(&pool)?;
    /// tuner.pause();
    /// assert!(tuner.is_paused());
    /// pool.tune(1)?; // stays
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pause(&self) {
        self.driver.pause();
    }

    /// Goes on after a [`pause`](Self::pause). What happened in between is not looked at; the next decision comes after two periods.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// let pool = Pool::new(4)?;
    /// let tuner = Autoscaler::between(2, 8).start(&pool)?;
    /// tuner.pause();
    /// tuner.resume();
    /// assert!(!tuner.is_paused());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(&self) {
        self.driver.resume();
    }

    /// Whether it is paused.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// let pool = Pool::new(4)?;
    /// let tuner = Autoscaler::between(2, 8).start(&pool)?;
    /// assert!(!tuner.is_paused());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.driver.phase() == Phase::Paused
    }

    /// Stops it, as dropping it does. A change that is being made at this moment may still come. Does not block.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// let pool = Pool::new(4)?;
    /// Autoscaler::between(2, 8).start(&pool)?.stop();
    /// assert_eq!(pool.capacity(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stop(self) {
        drop(self);
    }

    /// Whether it has stopped because its pool or view was dropped. It notices that in its next period.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// let pool = Pool::new(4)?;
    /// let tuner = Autoscaler::between(2, 8).start(&pool)?;
    /// assert!(!tuner.is_over());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.driver.phase() == Phase::Stopped
    }

    /// The latest changes, the oldest first; as many as [`history`](Autoscaler::history) allows.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// let pool = Pool::new(4)?;
    /// let tuner = Autoscaler::between(2, 8).start(&pool)?;
    /// for change in tuner.changes() {
    ///     println!("{change}"); // after 1.2s: 4 to 6, tasks wait too long
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.driver.history()
    }

    /// What it decided last, and why. `None` before the first decision.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// let pool = Pool::new(4)?;
    /// let tuner = Autoscaler::between(2, 8).start(&pool)?;
    /// if let Some(decision) = tuner.latest() {
    ///     println!("{decision}"); // 4: all is within the thresholds
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn latest(&self) -> Option<Decision> {
        self.driver.latest()
    }

    /// How many periods it has looked at.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// # use std::time::Duration;
    /// let pool = Pool::new(4)?;
    /// let tuner = Autoscaler::between(2, 8).period(Duration::from_millis(1)).start(&pool)?;
    /// while tuner.periods() == 0 {
    ///     std::thread::yield_now();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn periods(&self) -> u64 {
        self.driver.turns()
    }

    /// How many panics of the controller, of the handler and of hooks of the pool it has caught.
    ///
    /// ```
    /// # use formicary::{Pool, autoscale::Autoscaler};
    /// let pool = Pool::new(4)?;
    /// let tuner = Autoscaler::between(2, 8).start(&pool)?;
    /// assert_eq!(tuner.panics(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.driver.panics()
    }
}

impl Drop for Tuner {
    fn drop(&mut self) {
        self.driver.stop();
    }
}

impl fmt::Debug for Tuner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tuner")
            .field("latest", &self.latest())
            .field("periods", &self.periods())
            .field("is_paused", &self.is_paused())
            .finish_non_exhaustive()
    }
}
