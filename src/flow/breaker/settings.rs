//! When a breaker opens and closes.

use std::fmt;
use std::time::Duration;

use super::state::BreakerState;
use crate::flow::Sealed;
use crate::sync::{Arc, clock};

/// Tells failed results of type `O` from the others, for a [`Breaker`]: [`Errors`], [`Panics`] or [`When`]. Sealed. It appears in bounds only.
pub trait Judge<O>: Sealed + Clone + Send + Sync + 'static {
    #[doc(hidden)]
    fn is_failure(&self, output: &O) -> bool;
}

/// The default of a [`Breaker`]: a task fails if it returns an `Err`, or panics.
///
/// ```
/// use formicary::{Breaker, Errors};
/// let breaker: Breaker<Errors> = Breaker::ratio(0.5);
/// # drop(breaker);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors;

/// A task fails if it panics: [`Breaker::panics`].
///
/// ```
/// use formicary::{Breaker, Panics};
/// let breaker: Breaker<Panics> = Breaker::ratio(0.5).panics();
/// # drop(breaker);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Panics;

/// A task fails if a closure says so, or if it panics: [`Breaker::when`].
///
/// ```
/// use formicary::{Breaker, When};
/// let breaker: Breaker<When<u16>> = Breaker::ratio(0.5).when(|status| *status >= 500);
/// # drop(breaker);
/// ```
pub struct When<O>(Arc<dyn Fn(&O) -> bool + Send + Sync>);

impl Sealed for Errors {}
impl Sealed for Panics {}
impl<O> Sealed for When<O> {}

impl<T, E> Judge<Result<T, E>> for Errors {
    fn is_failure(&self, output: &Result<T, E>) -> bool {
        output.is_err()
    }
}

impl<O> Judge<O> for Panics {
    fn is_failure(&self, _output: &O) -> bool {
        false
    }
}

impl<O: 'static> Judge<O> for When<O> {
    fn is_failure(&self, output: &O) -> bool {
        (self.0)(output)
    }
}

impl<O> Clone for When<O> {
    fn clone(&self) -> Self {
        When(Arc::clone(&self.0))
    }
}

impl<O> fmt::Debug for When<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When").finish_non_exhaustive()
    }
}

pub(super) type OnChange = Arc<dyn Fn(BreakerState) + Send + Sync>;

/// When tasks are kept from a downstream that fails: for [`Pool::guarded`](crate::Pool::guarded).
///
/// **Closed**, all tasks go to the pool, and the outcomes of the last [`window`](Self::window) that ended are kept. When there are at least
/// [`minimum`](Self::minimum) and the share of failures is at least [`ratio`](Self::ratio), it opens. **Open**, it refuses each task at
/// once, for the time of its [`rest`](Self::rest). **Half-open** after that, it lets one task through as a probe and refuses the others. If the
/// probe succeeds, the breaker closes, with an empty window; if it fails, it is open for another rest. A probe that ends without an outcome,
/// since it was refused, cancelled or given back, lets the next task be the probe; so does one that has not ended within a rest. So it
/// is never open for ever.
///
/// The pattern is Michael Nygard's, "Release It!", 2007.
///
/// | setting | what it sets | default |
/// |---|---|---|
/// | [`ratio`](Self::ratio) | the share of failures that opens it, above 0 and up to 1 | |
/// | [`window`](Self::window) | how many outcomes are kept | 20 |
/// | [`minimum`](Self::minimum) | how many there must be before it may open | half of the window, rounded up |
/// | [`rest`](Self::rest) | how long it is open | 30 s |
/// | [`growing`](Self::growing) | the longest rest, if each is twice as long as the one before, while probes fail | all rests are the same |
/// | [`when`](Self::when), [`panics`](Self::panics) | what is a failure | an `Err` or a panic |
/// | [`on_change`](Self::on_change) | a handler of changes | none |
///
/// ```
/// use std::time::Duration;
/// use formicary::{Breaker, BreakerState, Pool};
///
/// let pool = Pool::new(2)?;
/// let calls = pool.guarded(Breaker::ratio(0.5).window(4).rest(Duration::from_secs(30)));
/// for _ in 0..2 {
///     calls.run(|| Err::<(), _>("no route"))?.unwrap_err();
/// }
/// assert_eq!(calls.state(), BreakerState::Open);
/// let refusal = calls.submit(|| Ok::<_, &str>(())).unwrap_err();
/// assert!(refusal.is_open() && refusal.retry_after().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a breaker does nothing until a pool is given it"]
pub struct Breaker<J = Errors> {
    pub(super) ratio: f64,
    pub(super) window: usize,
    pub(super) minimum: Option<usize>,
    pub(super) rest: Duration,
    pub(super) longest_rest: Option<Duration>,
    pub(super) on_change: Option<OnChange>,
    pub(super) judge: J,
}

const WINDOW: usize = 20;
const REST: Duration = Duration::from_secs(30);

impl Breaker {
    /// Opens when the share of failures is at least `ratio`, from above 0 up to 1.
    ///
    /// ```
    /// let breaker = formicary::Breaker::ratio(0.5);
    /// # drop(breaker);
    /// ```
    ///
    /// # Panics
    /// If `ratio` is not a number, not above 0, or above 1.
    #[track_caller]
    pub fn ratio(ratio: f64) -> Self {
        assert!(ratio > 0.0 && ratio <= 1.0, "`ratio` is {ratio}: it must be above 0 and at most 1");
        let (minimum, longest_rest, on_change) = (None, None, None);
        Breaker { ratio, window: WINDOW, minimum, rest: REST, longest_rest, on_change, judge: Errors }
    }
}

impl<J> Breaker<J> {
    /// How many of the last outcomes count. Each takes a byte.
    ///
    /// ```
    /// let breaker = formicary::Breaker::ratio(0.5).window(100);
    /// # drop(breaker);
    /// ```
    ///
    /// # Panics
    /// If `outcomes` is 0, or below the [`minimum`](Self::minimum).
    #[track_caller]
    pub fn window(mut self, outcomes: usize) -> Self {
        assert!(outcomes > 0, "`outcomes` is 0: the window needs at least one");
        self.window = outcomes;
        self.checked()
    }

    /// How many outcomes there must be before it may open.
    ///
    /// ```
    /// let breaker = formicary::Breaker::ratio(0.5).window(100).minimum(10);
    /// # drop(breaker);
    /// ```
    ///
    /// # Panics
    /// If `outcomes` is 0, or above the [`window`](Self::window).
    #[track_caller]
    pub fn minimum(mut self, outcomes: usize) -> Self {
        assert!(outcomes > 0, "`outcomes` is 0: a breaker opens only after a failure");
        self.minimum = Some(outcomes);
        self.checked()
    }

    #[track_caller]
    fn checked(self) -> Self {
        if let Some(minimum) = self.minimum {
            let window = self.window;
            assert!(
                minimum <= window,
                "the minimum is {minimum}, which is above the window, {window}: it would never open"
            );
        }
        self
    }

    /// How long it is open before it lets a probe through.
    ///
    /// ```
    /// let breaker = formicary::Breaker::ratio(0.5).rest(std::time::Duration::from_secs(5));
    /// # drop(breaker);
    /// ```
    ///
    /// # Panics
    /// If `rest` is zero, is above the limit of [`growing`](Self::growing), or is longer than the clock can represent.
    #[track_caller]
    pub fn rest(mut self, rest: Duration) -> Self {
        assert!(!rest.is_zero(), "`rest` is 0: the breaker would never be open");
        assert!(clock::deadline(rest).is_some(), "`rest` is {rest:?}, which is longer than the clock can represent");
        self.rest = rest;
        self.checked_rests()
    }

    /// Each rest is twice as long as the one before, up to `limit`, while the probes fail. After a success it begins with
    /// [`rest`](Self::rest) again.
    ///
    /// ```
    /// use std::time::Duration;
    /// let breaker = formicary::Breaker::ratio(0.5).rest(Duration::from_secs(1)).growing(Duration::from_secs(60));
    /// # drop(breaker);
    /// ```
    ///
    /// # Panics
    /// If `limit` is below the [`rest`](Self::rest), or longer than the clock can represent.
    #[track_caller]
    pub fn growing(mut self, limit: Duration) -> Self {
        assert!(clock::deadline(limit).is_some(), "`limit` is {limit:?}, which is longer than the clock can represent");
        self.longest_rest = Some(limit);
        self.checked_rests()
    }

    #[track_caller]
    fn checked_rests(self) -> Self {
        if let Some(limit) = self.longest_rest {
            let rest = self.rest;
            assert!(limit >= rest, "the limit of rests is {limit:?}, which is below the first, {rest:?}");
        }
        self
    }

    /// A task fails if `is_failure` is true for its output, or if it panics. It is called on the thread that has ended the task. If it
    /// panics, the task has failed.
    ///
    /// ```
    /// use formicary::{Breaker, BreakerState, PoolWithFunc};
    ///
    /// let pool = PoolWithFunc::new(1, |status: u16| status)?;
    /// let calls = pool.guarded(Breaker::ratio(1.0).window(1).when(|status: &u16| *status >= 500));
    /// calls.run(404)?;
    /// assert_eq!(calls.state(), BreakerState::Closed);
    /// calls.run(503)?;
    /// assert_eq!(calls.state(), BreakerState::Open);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn when<O>(self, is_failure: impl Fn(&O) -> bool + Send + Sync + 'static) -> Breaker<When<O>> {
        self.judged_by(When(Arc::new(is_failure)))
    }

    /// A task fails only if it panics. For outputs that are no `Result`.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let calls = pool.guarded(formicary::Breaker::ratio(0.5).panics());
    /// assert_eq!(calls.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn panics(self) -> Breaker<Panics> {
        self.judged_by(Panics)
    }

    fn judged_by<K>(self, judge: K) -> Breaker<K> {
        let Breaker { ratio, window, minimum, rest, longest_rest, on_change, .. } = self;
        Breaker { ratio, window, minimum, rest, longest_rest, on_change, judge }
    }

    /// Is called with the new state when it opens, lets a probe through, or closes: on the thread that does so, without a lock. So two calls
    /// may come at the same time, or in the other order. A panic is caught and counted
    /// ([`BreakerStats::handler_panics`](crate::BreakerStats::handler_panics)).
    ///
    /// ```
    /// use formicary::{Breaker, BreakerState, Pool};
    ///
    /// let (sender, changes) = std::sync::mpsc::channel();
    /// let pool = Pool::new(1)?;
    /// let breaker = Breaker::ratio(1.0).window(1).on_change(move |state| sender.send(state).unwrap());
    /// pool.guarded(breaker).run(|| Err::<(), _>("no route"))?.unwrap_err();
    /// assert_eq!(changes.recv()?, BreakerState::Open);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_change(mut self, handler: impl Fn(BreakerState) + Send + Sync + 'static) -> Self {
        self.on_change = Some(Arc::new(handler));
        self
    }
}

impl<J> fmt::Debug for Breaker<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("ratio", &self.ratio)
            .field("window", &self.window)
            .field("minimum", &self.minimum)
            .field("rest", &self.rest)
            .field("longest_rest", &self.longest_rest)
            .finish_non_exhaustive()
    }
}
