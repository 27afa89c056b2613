//! When a failed task is attempted again.

use std::fmt;
use std::time::Duration;

use super::jitter::Jitter;
use crate::sync::Arc;
use crate::sync::user_code::catch_user_panic;

/// The delays of one task, before its second attempt, its third, and so on.
pub(super) type Delays = Box<dyn Iterator<Item = Duration> + Send>;

type When<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;

/// When and how often a failed task is attempted again: for [`Pool::retrying`](crate::Pool::retrying).
///
/// | setting | what it sets | default |
/// |---|---|---|
/// | [`exponential`](Self::exponential), [`fixed`](Self::fixed), [`delays`](Self::delays), [`none`](Self::none) | the delays between the attempts | |
/// | [`max`](Self::max) | the longest delay | a minute, or the base if that is longer, for `exponential`; none otherwise |
/// | [`jitter`](Self::jitter), [`equal_jitter`](Self::equal_jitter), [`jitter_with`](Self::jitter_with) | a random part of the delays | none |
/// | [`attempts`](Self::attempts) | the most attempts, the first included | 5; as many as there are delays, and one, for `delays` |
/// | [`when`](Self::when) | which errors are retried | all |
/// | [`within`](Self::within) | the time after which no attempt begins | no limit |
/// | [`on_panic`](Self::on_panic) | whether a panic is retried | no |
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use std::time::Duration;
/// use formicary::{Pool, Retry};
///
/// let policy = Retry::exponential(Duration::from_millis(1))
///     .max(Duration::from_secs(1))
///     .jitter()
///     .attempts(4)
///     .when(|error: &Error| error.kind() == ErrorKind::TimedOut)
///     .within(Duration::from_secs(30));
/// let pool = Pool::new(2)?;
/// let mut failures = 2;
/// let result = pool.retrying(policy).run(move || match failures {
///     0 => Ok(7),
///     _ => {
///         failures -= 1;
///         Err(ErrorKind::TimedOut.into())
///     }
/// })?;
/// assert_eq!(result.unwrap(), 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a policy does nothing until a pool is given it"]
pub struct Retry<E> {
    schedule: Schedule,
    max: Option<Duration>,
    jitter: Jitter,
    attempts: u32,
    when: Option<When<E>>,
    within: Option<Duration>,
    on_panic: bool,
}

#[derive(Clone)]
enum Schedule {
    /// Twice as long each time.
    Exponential(Duration),
    Fixed(Duration),
    From(Arc<dyn Fn() -> Delays + Send + Sync>),
}

const ATTEMPTS: u32 = 5;
const MAX_DELAY: Duration = Duration::from_secs(60);

impl<E> Retry<E> {
    fn new(schedule: Schedule, attempts: u32) -> Self {
        let (max, jitter, when, within) = (None, Jitter::None, None, None);
        Retry { schedule, max, jitter, attempts, when, within, on_panic: false }
    }

    /// Waits for `base` before the second attempt, and then twice as long each time, up to [`max`](Self::max).
    ///
    /// ```
    /// use formicary::Retry;
    /// let policy: Retry<String> = Retry::exponential(std::time::Duration::from_millis(100));
    /// # drop(policy);
    /// ```
    ///
    /// # Panics
    /// If `base` is zero.
    #[track_caller]
    pub fn exponential(base: Duration) -> Self {
        assert!(!base.is_zero(), "`base` is 0: such delays do not grow");
        Retry { max: Some(MAX_DELAY.max(base)), ..Self::new(Schedule::Exponential(base), ATTEMPTS) }
    }

    /// Waits for `delay` before each further attempt. Zero is at once.
    ///
    /// ```
    /// use formicary::Retry;
    /// let policy: Retry<String> = Retry::fixed(std::time::Duration::from_secs(1));
    /// # drop(policy);
    /// ```
    pub fn fixed(delay: Duration) -> Self {
        Self::new(Schedule::Fixed(delay), ATTEMPTS)
    }

    /// Makes one attempt only. For what else comes with [`Retrying`](crate::Retrying): dead letters, and keys.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.retrying(formicary::Retry::none()).run(|| Err::<(), _>("no"))?.unwrap_err();
    /// assert_eq!((error.attempts(), error.into_error()), (1, Some("no")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn none() -> Self {
        Self::new(Schedule::Fixed(Duration::ZERO), 1)
    }

    /// Waits as the items of an iterator say, and gives up when there are no more. Each task has a clone of its own.
    ///
    /// ```
    /// use formicary::{Pool, Retry};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let policy = Retry::delays([1, 2, 4].map(Duration::from_millis));
    /// let error = pool.retrying(policy).run(|| Err::<(), _>("no"))?.unwrap_err();
    /// assert_eq!(error.attempts(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delays<I>(delays: I) -> Self
    where
        I: IntoIterator<Item = Duration> + Clone + Send + Sync + 'static,
        I::IntoIter: Send,
    {
        Self::from_fn(move || Box::new(delays.clone().into_iter()))
    }

    pub(super) fn from_fn(delays: impl Fn() -> Delays + Send + Sync + 'static) -> Self {
        Self::new(Schedule::From(Arc::new(delays)), u32::MAX)
    }

    /// Limits the delays, before the jitter.
    ///
    /// ```
    /// use formicary::Retry;
    /// use std::time::Duration;
    /// let policy: Retry<String> = Retry::exponential(Duration::from_millis(100)).max(Duration::from_secs(5));
    /// # drop(policy);
    /// ```
    ///
    /// # Panics
    /// If `max` is below the base of [`exponential`](Self::exponential), or the delay of [`fixed`](Self::fixed).
    #[track_caller]
    pub fn max(mut self, max: Duration) -> Self {
        let (Schedule::Exponential(least) | Schedule::Fixed(least)) = self.schedule else {
            self.max = Some(max);
            return self;
        };
        assert!(max >= least, "`max` is {max:?}, which is below the first delay, {least:?}");
        self.max = Some(max);
        self
    }

    /// Full jitter: each delay is drawn evenly from zero up to what it would be. So tasks that failed together are not attempted again
    /// together.
    ///
    /// Of the kinds of jitter this one causes the fewest attempts under contention: Marc Brooker, "Exponential Backoff And Jitter", AWS
    /// Architecture Blog, 2015.
    ///
    /// ```
    /// use formicary::Retry;
    /// let policy: Retry<String> = Retry::exponential(std::time::Duration::from_millis(100)).jitter();
    /// # drop(policy);
    /// ```
    pub fn jitter(mut self) -> Self {
        self.jitter = Jitter::full();
        self
    }

    /// Equal jitter, from the same source as [`jitter`](Self::jitter): half of each delay stays, and the other half is drawn.
    ///
    /// ```
    /// use formicary::Retry;
    /// let policy: Retry<String> = Retry::exponential(std::time::Duration::from_millis(100)).equal_jitter();
    /// # drop(policy);
    /// ```
    pub fn equal_jitter(mut self) -> Self {
        self.jitter = Jitter::equal();
        self
    }

    /// A jitter of one's own: turns each delay into the one to wait for. If it panics, the delay stays as it is.
    ///
    /// ```
    /// use formicary::Retry;
    /// let policy: Retry<String> = Retry::fixed(std::time::Duration::from_secs(1)).jitter_with(|delay| delay / 2);
    /// # drop(policy);
    /// ```
    pub fn jitter_with(mut self, jitter: impl Fn(Duration) -> Duration + Send + Sync + 'static) -> Self {
        self.jitter = Jitter::With(Arc::new(jitter));
        self
    }

    /// The most attempts of a task, the first included.
    ///
    /// ```
    /// use formicary::{Pool, Retry};
    ///
    /// let pool = Pool::new(1)?;
    /// let policy = Retry::fixed(std::time::Duration::ZERO).attempts(3);
    /// assert_eq!(pool.retrying(policy).run(|| Err::<(), _>("no"))?.unwrap_err().attempts(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `attempts` is 0.
    #[track_caller]
    pub fn attempts(mut self, attempts: u32) -> Self {
        assert!(attempts > 0, "`attempts` is 0: a task needs at least one");
        self.attempts = attempts;
        self
    }

    /// Retries only the errors for which `is_temporary` is true. It is called on the thread that has ended the attempt. If it panics, the
    /// error is not retried.
    ///
    /// ```
    /// use formicary::{GaveUp, Pool, Retry};
    ///
    /// let pool = Pool::new(1)?;
    /// let policy = Retry::fixed(std::time::Duration::ZERO).when(|status: &u16| *status >= 500);
    /// let error = pool.retrying(policy).run(|| Err::<(), _>(404))?.unwrap_err();
    /// assert_eq!((error.attempts(), error.reason()), (1, GaveUp::Permanent));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn when(mut self, is_temporary: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.when = Some(Arc::new(is_temporary));
        self
    }

    /// No attempt begins later than `limit` after the verb: a task whose next delay would end later is given up at once. An attempt that has
    /// entered the pool goes on.
    ///
    /// ```
    /// use formicary::{GaveUp, Pool, Retry};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let policy = Retry::fixed(Duration::from_secs(60)).within(Duration::from_secs(30));
    /// let error = pool.retrying(policy).run(|| Err::<(), _>("no"))?.unwrap_err();
    /// assert_eq!((error.attempts(), error.reason()), (1, GaveUp::TimeUp));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `limit` is zero: for one attempt only there is [`none`](Self::none).
    #[track_caller]
    pub fn within(mut self, limit: Duration) -> Self {
        assert!(!limit.is_zero(), "`limit` is 0: it leaves no time for a second attempt");
        self.within = Some(limit);
        self
    }

    /// Whether an attempt that panicked is followed by another. The pool counts and reports each panic all the same. Default: `false`, since
    /// a closure that panicked may have left what it owns in any state.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).panic_handler(|_| ()).build()?;
    /// let mut calls = 0;
    /// let policy = formicary::Retry::<String>::fixed(std::time::Duration::ZERO).on_panic(true);
    /// let result = pool.retrying(policy).run(move || {
    ///     calls += 1;
    ///     if calls == 1 { std::panic::panic_any("once") } else { Ok(calls) }
    /// })?;
    /// assert_eq!(result.unwrap(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_panic(mut self, retry: bool) -> Self {
        self.on_panic = retry;
        self
    }

    // For the attempts.

    pub(super) fn begin(&self) -> Delays {
        match &self.schedule {
            Schedule::Exponential(base) => {
                Box::new(std::iter::successors(Some(*base), |delay| Some(delay.saturating_mul(2))))
            }
            Schedule::Fixed(delay) => Box::new(std::iter::repeat(*delay)),
            Schedule::From(delays) => {
                catch_user_panic(|| delays()).unwrap_or_else(|| Box::new(std::iter::empty()) as Delays)
            }
        }
    }

    /// The next delay of a task.
    pub(super) fn next(&self, delays: &mut Delays) -> Option<Duration> {
        let delay = catch_user_panic(|| delays.next()).flatten()?;
        Some(self.jitter.apply(self.max.map_or(delay, |max| delay.min(max))))
    }

    pub(super) fn most_attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) fn limit(&self) -> Option<Duration> {
        self.within
    }

    pub(super) fn retries_panics(&self) -> bool {
        self.on_panic
    }

    pub(super) fn is_temporary(&self, error: &E) -> bool {
        self.when.as_ref().is_none_or(|when| catch_user_panic(|| when(error)).unwrap_or(false))
    }
}

impl<E> Clone for Retry<E> {
    fn clone(&self) -> Self {
        let Retry { schedule, jitter, when, .. } = self;
        Retry { schedule: schedule.clone(), jitter: jitter.clone(), when: when.clone(), ..*self }
    }
}

impl<E> fmt::Debug for Retry<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("schedule", &self.schedule)
            .field("max", &self.max)
            .field("attempts", &self.attempts)
            .field("within", &self.within)
            .field("on_panic", &self.on_panic)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Exponential(base) => f.debug_tuple("Exponential").field(base).finish(),
            Schedule::Fixed(delay) => f.debug_tuple("Fixed").field(delay).finish(),
            Schedule::From(_) => f.write_str("Delays"),
        }
    }
}
