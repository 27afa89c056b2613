//! Breakers: tasks are kept from a downstream that fails.
//!
//! `state.rs` is the machine, `settings.rs` what the user sets, and this file puts it in front of a pool.

mod settings;
mod state;

use std::fmt;
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::error::{CallError, JoinError, SubmitError};
use crate::flow::base::{Base, Judges, Options, detach, ended, enter, enter_async, promise};
use crate::flow::retry::{Retry, Retrying};
use crate::flow::starts::{self, Starts};
use crate::flow::verbs::verbs;
use crate::pool::{Accepts, AnyPool, Linked};
use crate::sync::user_code::catch_user_panic;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, clock};
use crate::task::handle::Handle;
use crate::task::state::Promise;

pub use settings::{Breaker, Errors, Judge, Panics, When};
pub use state::BreakerState;

use settings::OnChange;
use state::{CallEnd, Limits, Machine, Passed};

/// A pool or view behind a [`Breaker`]; made by `guarded` of each pool and view.
///
/// It accepts what its pool does, with the verbs of a pool. While the breaker is open they refuse at once, with
/// [`SubmitErrorKind::Open`](crate::SubmitErrorKind::Open) and [the time](SubmitError::retry_after) until the next task is let through.
/// A clone shares the breaker.
///
/// - **What counts** is the outcome of a task that ran. One that was refused, cancelled before its start, or given back counts as
///   neither. A task that was let through before the breaker opened does not count after it.
/// - **Waiting**: the breaker holds no worker and no thread. A task in the pool's queue is let through already, and runs although the
///   breaker opens meanwhile.
/// - **[`Handle::cancel`]** tells the task to stop, and returns `false`. Joined by a worker of the same pool, a handle waits as one of a
///   running task does.
/// - **Options**: `pool.with().name("call").guarded(breaker)` submits with the options that come before ([`With`](crate::With)).
/// - **A bulkhead** is a [view](crate::Limited): `view.guarded(breaker)` runs at most as many tasks at once as the view, and none while the
///   downstream is broken. Keep the view: dropping it closes it.
/// - **Retries** go on top: [`retrying`](Self::retrying). A refusal by the breaker is a failed attempt, and the next one waits until the
///   breaker lets it through.
///
/// It does not keep the pool open. A task costs three allocations (its state, the result, a future), a token, and two short locks.
///
/// ```
/// use std::time::Duration;
/// use formicary::{Breaker, Pool, Retry};
///
/// let pool = Pool::new(8)?;
/// let view = pool.limited(2);
/// let api = view.guarded(Breaker::ratio(0.5).rest(Duration::from_secs(5)));
/// assert_eq!(api.run(|| Ok::<_, String>(7))?, Ok(7));
/// let calls = api.retrying(Retry::<String>::exponential(Duration::from_millis(10)).jitter());
/// # drop(calls);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it does nothing until a verb is called on it"]
pub struct Guarded<P: AnyPool, J = Errors> {
    pool: Linked<P>,
    options: Options,
    gate: Arc<Gate>,
    judge: J,
}

/// The figures of a [`Guarded`] and its clones.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let calls = pool.guarded(formicary::Breaker::ratio(0.5));
/// calls.run(|| Err::<(), _>("no route"))?.unwrap_err();
/// assert_eq!((calls.stats().failed, calls.stats().refused), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerStats {
    /// Tasks that succeeded.
    pub succeeded: u64,
    /// Tasks that failed.
    pub failed: u64,
    /// Tasks that were let through, and have no outcome: the pool refused them, or they were cancelled or given back.
    pub lost: u64,
    /// Tasks that the breaker refused.
    pub refused: u64,
    /// How often it has opened.
    pub opened: u64,
    /// How often [`Breaker::when`] or [`Breaker::on_change`] has panicked.
    pub handler_panics: u64,
}

/// A breaker that is in use.
struct Gate {
    machine: Mutex<Machine>,
    on_change: Option<OnChange>,
    succeeded: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    opened: AtomicU64,
    handler_panics: AtomicU64,
}

/// A call that was let through. Dropped without an outcome, it is lost, and if it was the probe, the next one is.
pub struct Call {
    gate: Arc<Gate>,
    passed: Option<Passed>,
}

impl Gate {
    fn begin(self: &Arc<Self>) -> Result<Call, Duration> {
        let begun = self.machine.lock().begin(clock::now());
        let (passed, change) = begun.inspect_err(|_| _ = self.refused.fetch_add(1, Ordering::Relaxed))?;
        self.tell(change);
        Ok(Call { gate: Arc::clone(self), passed: Some(passed) })
    }

    /// Tells the handler, without the lock.
    fn tell(&self, change: Option<BreakerState>) {
        let Some(state) = change else { return };
        if state == BreakerState::Open {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(handler) = &self.on_change {
            self.catch(|| handler(state));
        }
    }

    fn catch<O>(&self, f: impl FnOnce() -> O) -> Option<O> {
        let output = catch_user_panic(f);
        if output.is_none() {
            self.handler_panics.fetch_add(1, Ordering::Relaxed);
        }
        output
    }
}

impl Call {
    fn end(&mut self, end: CallEnd) {
        let Some(passed) = self.passed.take() else { return };
        let gate = &self.gate;
        let counter = match end {
            CallEnd::Succeeded => &gate.succeeded,
            CallEnd::Failed => &gate.failed,
            CallEnd::Lost => &gate.lost,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let change = gate.machine.lock().end(clock::now(), passed, end);
        gate.tell(change);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(CallEnd::Lost);
    }
}

impl<P: AnyPool, J: Clone + Send + Sync + 'static> Guarded<P, J> {
    pub(super) fn new(pool: Linked<P>, options: Options, breaker: Breaker<J>) -> Self {
        let Breaker { ratio, window, minimum, rest, longest_rest, on_change, judge } = breaker;
        let minimum = minimum.unwrap_or_else(|| window.div_ceil(2));
        let limits = Limits { ratio, window, minimum, rest, longest_rest: longest_rest.unwrap_or(rest) };
        let [succeeded, failed, lost, refused, opened, handler_panics] = [(); 6].map(|()| AtomicU64::new(0));
        let machine = Mutex::new(Machine::new(limits));
        let gate = Arc::new(Gate { machine, on_change, succeeded, failed, lost, refused, opened, handler_panics });
        Guarded { pool, options, gate, judge }
    }

    /// Attempts failed tasks again. See [`Retrying`]. The failures of each attempt count for the breaker.
    ///
    /// ```
    /// use formicary::{Breaker, Pool, Retry};
    ///
    /// let pool = Pool::new(1)?;
    /// let guarded = pool.guarded(Breaker::ratio(0.5));
    /// let calls = guarded.retrying(Retry::fixed(std::time::Duration::ZERO).attempts(3));
    /// calls.run(|| Err::<(), _>("no route"))?.unwrap_err();
    /// assert_eq!(guarded.stats().failed, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retrying<E>(&self, policy: Retry<E>) -> Retrying<Self, E> {
        Retrying::new(self.clone(), self.options.clone(), policy)
    }
}

/// Reading the breaker.
impl<P: AnyPool, J> Guarded<P, J> {
    /// The state of the breaker now.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.guarded(formicary::Breaker::ratio(0.5)).state(), formicary::BreakerState::Closed);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn state(&self) -> BreakerState {
        self.gate.machine.lock().state(clock::now())
    }

    /// How long the breaker refuses tasks from now on; `None` if it would let one through.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.guarded(formicary::Breaker::ratio(0.5)).retry_after(), None);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        self.gate.machine.lock().retry_after(clock::now())
    }

    /// The figures.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.guarded(formicary::Breaker::ratio(0.5)).stats().opened, 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn stats(&self) -> BreakerStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Gate { succeeded, failed, lost, refused, opened, handler_panics, .. } = &*self.gate;
        BreakerStats {
            succeeded: get(succeeded),
            failed: get(failed),
            lost: get(lost),
            refused: get(refused),
            opened: get(opened),
            handler_panics: get(handler_panics),
        }
    }
}

impl<P: AnyPool, J: Clone + Send + Sync + 'static> Base for Guarded<P, J> {
    type Pool = P;
    type Call = Call;

    fn linked(&self) -> &Linked<P> {
        &self.pool
    }

    fn begin(&self) -> Result<Call, Duration> {
        self.gate.begin()
    }
}

impl<P: AnyPool, J: Judge<O>, O> Judges<O> for Guarded<P, J> {
    fn end(&self, mut call: Call, outcome: &Result<O, JoinError>) {
        let is_failure = match outcome {
            Ok(output) => self.gate.catch(|| self.judge.is_failure(output)).unwrap_or(true),
            Err(error) if error.is_panic() => true,
            Err(_) => return,
        };
        call.end(if is_failure { CallEnd::Failed } else { CallEnd::Succeeded });
    }
}

impl<P: AnyPool, J: Clone + Send + Sync + 'static> Guarded<P, J> {
    /// Hands the result of a task on when the breaker knows of it.
    fn watch<O>(&self, call: Call, handle: Handle<O>, promise: Promise<O>, token: CancelToken)
    where
        Self: Judges<O, Call = Call>,
        O: Send + 'static,
    {
        let guarded = self.clone();
        detach(async move {
            let outcome = ended(handle, &token).await;
            guarded.end(call, &outcome);
            promise.settle(outcome);
        });
    }
}

impl<P, J, X> Starts<X> for Guarded<P, J>
where
    P: Accepts<X>,
    J: Judge<P::Output>,
    X: Send + 'static,
{
    type Output = P::Output;

    fn start_for(&self, x: X, waits: bool) -> Result<Handle<P::Output>, SubmitError<X>> {
        let call = match self.begin() {
            Ok(call) => call,
            Err(after) => return Err(SubmitError::open(after, x)),
        };
        let (promise, token) = promise(&self.options, &self.pool);
        let result = Handle::new(promise.task_state());
        let handle = enter(&self.options, &self.pool, &token, x, waits)?;
        self.watch(call, handle, promise, token);
        Ok(result)
    }

    async fn start_async(&self, x: X) -> Result<Handle<P::Output>, SubmitError<X>> {
        let call = match self.begin() {
            Ok(call) => call,
            Err(after) => return Err(SubmitError::open(after, x)),
        };
        let (promise, token) = promise(&self.options, &self.pool);
        let result = Handle::new(promise.task_state());
        let handle = enter_async(&self.options, &self.pool, &token, x).await?;
        self.watch(call, handle, promise, token);
        Ok(result)
    }
}

verbs! {
    [P: AnyPool, J] Guarded<P, J>,
    "let pool = formicary::Pool::new(1)?;\nlet calls = pool.guarded(formicary::Breaker::ratio(0.5));",
    errors: "[`SubmitError`], with the task: of kind [`Open`](crate::SubmitErrorKind::Open) if the breaker refuses it, or as by `submit` of the \
        pool."
}

impl<P: AnyPool, J: Clone> Clone for Guarded<P, J> {
    fn clone(&self) -> Self {
        Guarded {
            pool: self.pool.clone(),
            options: self.options.clone(),
            gate: Arc::clone(&self.gate),
            judge: self.judge.clone(),
        }
    }
}

impl<P: AnyPool, J> fmt::Debug for Guarded<P, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("state", &self.state()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
