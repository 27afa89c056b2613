//! Failed tasks that are attempted again.
//!
//! A task is kept (`repeats.rs`) and submitted. A future without an executor waits for the end of the attempt, then on the timer, and submits
//! the next (`attempts.rs`), so neither a worker nor a thread waits. What is given up goes to the dead letters (`letter.rs`, `letters.rs`).

mod attempts;
#[cfg(feature = "backon")]
mod backon;
mod counters;
mod error;
mod jitter;
mod keys;
mod letter;
mod letters;
mod policy;

use std::fmt;

use crate::cancel::CancelToken;
use crate::error::{CallError, SubmitError};
use crate::flow::base::{Base, Judges, Options, promise};
use crate::flow::repeats::Repeats;
use crate::flow::starts::{self, Starts};
use crate::flow::verbs::verbs;
use crate::sync::Arc;
use crate::task::handle::Handle;
use crate::task::state::Promise;

pub use counters::RetryStats;
pub use error::{GaveUp, RetryError};
pub use keys::OncePerKey;
pub use letter::DeadLetter;
pub use letters::{DeadLetterStats, DeadLetters, Letters, NoLetters, Replayed};
pub use policy::Retry;

use attempts::Attempts;
use counters::{Counters, Due};

/// A pool or view, and a policy by which its failed tasks are attempted again; made by `retrying` of each pool and view, and of
/// [`Guarded`](crate::Guarded).
///
/// It accepts closures `FnMut() -> Result<T, E> + Send` on a [`Pool`](crate::Pool), and inputs that are `Clone` on the other kinds, if
/// their output is a `Result<T, E>`; with the verbs of a pool. The result of a task is a `Result<T, RetryError<E>>`: the value of the first
/// attempt that succeeds, or why the task was given up.
///
/// - **An attempt is a task of the pool**, with its room, its pauses, its figures and its observers, which are also told of each
///   [retry](crate::observe::Observer::retried). The first enters as the verb says. The later ones wait for room as futures do.
/// - **A delay holds nothing but memory**: no worker, no thread, no room and no permit. The timer wakes the next attempt.
/// - **Cancelling** the handle, or the [token](Self::token), ends a delay at once. An attempt that runs is told to stop, and its result
///   counts if it succeeds.
/// - **A refused attempt**, other than the first, is a failed one, unless the pool is closed.
/// - **A close of the pool** ends all delays at once: the tasks go to the [dead letters](Self::dead_letters). An attempt in the queue is a
///   task as any other, which the shutdown runs, gives back or drops; if it fails then, its task goes to the dead letters. A close of a
///   view is noticed when the next attempt is refused.
/// - **Options**: `pool.with().key(k).retrying(policy)` submits each attempt with the options that come before ([`With`](crate::With)).
///   `room_timeout` and `timeout` count for each attempt, and one that is late is a failed attempt. `deadline` and `token` count for the task
///   as a whole.
/// - **Waiting on a worker** of the same pool holds that worker through all delays, and is refused with `WouldDeadlock` if it is the last
///   one that could make progress.
/// - **[`Handle::cancel`]** returns `false`: the task as a whole has started.
///
/// It does not keep the pool open. A clone shares the figures. A task costs some allocations (its state and that of each attempt, a future,
/// a token) and each delay two entries in lists and one in the timer.
///
/// ```
/// use std::time::Duration;
/// use formicary::{DeadLetters, PoolWithFunc, Retry};
///
/// fn deliver(url: &'static str) -> Result<u16, &'static str> {
///     if url.starts_with("https") { Ok(200) } else { Err("refused") }
/// }
/// let pool = PoolWithFunc::new(4, deliver)?;
/// let letters = DeadLetters::queue(1000);
/// let deliveries = pool
///     .retrying(Retry::exponential(Duration::from_millis(1)).jitter().attempts(3))
///     .dead_letters(&letters);
/// let (good, bad) = (deliveries.spawn("https://a")?, deliveries.spawn("ftp://b")?);
/// assert_eq!(good.join()?.unwrap(), 200);
/// assert_eq!(bad.join()?.unwrap_err().attempts(), 3);
/// assert_eq!(letters.take().unwrap().into_task(), "ftp://b");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it does nothing until a verb is called on it"]
pub struct Retrying<B: Base, E, L = NoLetters> {
    base: B,
    policy: Retry<E>,
    letters: L,
    options: Options,
    counters: Arc<Counters>,
}

impl<B: Base, E> Retrying<B, E> {
    pub(super) fn new(base: B, options: Options, policy: Retry<E>) -> Self {
        Retrying { base, policy, letters: NoLetters, options, counters: Arc::default() }
    }
}

/// The options.
impl<B: Base, E, L> Retrying<B, E, L> {
    /// Sends tasks that are given up to `letters`. Default: they are dropped, and only the handle has the error.
    ///
    /// ```
    /// use formicary::{DeadLetters, PoolWithFunc, Retry};
    ///
    /// let pool = PoolWithFunc::new(1, |n: u8| Err::<(), _>(format!("no {n}")))?;
    /// let letters = DeadLetters::queue(10);
    /// pool.retrying(Retry::none()).dead_letters(&letters).run(7)?.unwrap_err();
    /// assert_eq!(letters.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dead_letters<X>(self, letters: &DeadLetters<X>) -> Retrying<B, E, DeadLetters<X>> {
        let Retrying { base, policy, options, counters, .. } = self;
        Retrying { base, policy, letters: letters.clone(), options, counters }
    }

    /// Names the tasks, as [`With::name`](crate::With::name) does: their attempts, retries and dead letters.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let retrying = pool.retrying(formicary::Retry::<String>::none()).name("deliver");
    /// let name = retrying.run(|| Ok(formicary::Context::with(|cx| cx.name().map(str::to_owned))))?;
    /// assert_eq!(name.unwrap().flatten().as_deref(), Some("deliver"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options = self.options.name(name);
        self
    }

    /// Ties the tasks to a token, as [`With::token`](crate::With::token) does: their attempts and their delays. A task that it cancels is no
    /// dead letter.
    ///
    /// ```
    /// use formicary::{CancelToken, GaveUp, Pool, Retry};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let token = CancelToken::new();
    /// let retrying = pool.retrying(Retry::fixed(Duration::from_secs(3600))).token(&token);
    /// let handle = retrying.spawn(|| Err::<(), _>("down"))?;
    /// token.cancel();
    /// assert_eq!(handle.join()?.unwrap_err().reason(), GaveUp::Cancelled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn token(mut self, token: &CancelToken) -> Self {
        self.options = self.options.token(token);
        self
    }

    /// The figures, of this value and all its clones.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let retrying = pool.retrying(formicary::Retry::<String>::none());
    /// retrying.run(|| Ok(7))?.unwrap();
    /// assert_eq!(retrying.stats().succeeded, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> RetryStats {
        self.counters.stats()
    }

    /// The result of a task that is to be submitted, and its token.
    fn promise<T: Send + 'static>(&self) -> (Promise<T>, CancelToken) {
        promise(&self.options, self.base.linked())
    }

    fn task_name(&self) -> Option<&Arc<str>> {
        self.options.name.as_ref()
    }
}

impl<B, E, L, X> Starts<X> for Retrying<B, E, L>
where
    B: Judges<Result<<<B as Base>::Pool as Repeats<X>>::Value, E>>,
    B::Pool: Repeats<X, Error = E>,
    E: Send + 'static,
    L: Letters<X, E>,
    X: Send + 'static,
{
    type Output = Result<<B::Pool as Repeats<X>>::Value, RetryError<E>>;

    fn start_for(&self, x: X, waits: bool) -> Result<Handle<Self::Output>, SubmitError<X>> {
        let (promise, token) = self.promise();
        let handle = Handle::new(promise.task_state());
        Attempts::new(self, x, Due::new(promise, None), token).submit(waits)?;
        Ok(handle)
    }

    async fn start_async(&self, x: X) -> Result<Handle<Self::Output>, SubmitError<X>> {
        let (promise, token) = self.promise();
        let handle = Handle::new(promise.task_state());
        Attempts::new(self, x, Due::new(promise, None), token).submit_async().await?;
        Ok(handle)
    }
}

verbs! {
    [B: Base, E, L] Retrying<B, E, L>,
    "let pool = formicary::Pool::new(1)?;\nlet calls = pool.retrying(formicary::Retry::fixed(std::time::Duration::ZERO));",
    errors: "[`SubmitError`], with the task, if the pool refuses the first attempt, as `submit` of the pool. An open breaker is a failed \
        attempt instead."
}

impl<B: Base, E, L: Clone> Clone for Retrying<B, E, L> {
    fn clone(&self) -> Self {
        Retrying {
            base: self.base.clone(),
            policy: self.policy.clone(),
            letters: self.letters.clone(),
            options: self.options.clone(),
            counters: Arc::clone(&self.counters),
        }
    }
}

impl<B: Base, E, L> fmt::Debug for Retrying<B, E, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying")
            .field("policy", &self.policy)
            .field("options", &self.options)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
