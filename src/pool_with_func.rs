//! The pool of one function.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::builder::Builder;
use crate::cancel::CancelToken;
use crate::dispatch::{Dispatch, Stack};
use crate::engine::{Engine, Patience, Prospect, Runner, Way};
use crate::error::{BoxError, BuildError, CallError, Cause, SubmitAllError, SubmitError, SubmitErrorKind};
use crate::job::{self, Job};
use crate::methods::pool_methods;
use crate::slot::{Recalled, Reply, Slot, Verdict};

/// A pool that calls one function, bound when it is built, with payloads of one type. Nothing but the payload is queued, so
/// [`invoke`](Self::invoke) does not allocate.
///
/// A payload is moved by value a dozen times on its way through both threads' stacks: box what is larger than some 32 KiB.
///
/// ```
/// use formicary::PoolWithFunc;
///
/// let pool = PoolWithFunc::new(4, |word: &'static str| word.len())?;
/// assert_eq!(pool.call("formica")?, 7); // waits for the answer
/// pool.invoke("rufa")?; // does not
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PoolWithFunc<T, D = Stack, R = ()>
where
    T: Send + 'static,
    D: Dispatch,
    R: Send + 'static,
{
    pub(crate) engine: Arc<Engine<CallFunc<T, R>, D>>,
}

pool_methods!(
    impl [T: Send + 'static, D: Dispatch, R: Send + 'static] PoolWithFunc<T, D, R>
    where item T, wrap Job::Plain
);

/// Calls the bound function.
pub(crate) struct CallFunc<T, R> {
    func: Arc<dyn Fn(T) -> R + Send + Sync>,
}

impl<T, R> CallFunc<T, R> {
    pub(crate) fn new(func: impl Fn(T) -> R + Send + Sync + 'static) -> Self {
        CallFunc { func: Arc::new(func) }
    }
}

impl<T: Send + 'static, R: Send + 'static> Runner for CallFunc<T, R> {
    type Item = Job<T, R>;
    type State = ();
    type Returned = T;

    fn start(&self, _worker: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn run(&self, _state: &mut (), item: Job<T, R>, reply: &mut Reply) -> Verdict {
        item.run(reply, None, |payload, _| (self.func)(payload))
    }

    fn spare_state(&self) -> Option<()> {
        Some(())
    }

    fn prospect(item: &Job<T, R>) -> Prospect {
        item.prospect()
    }

    fn recall(item: Job<T, R>, kind: SubmitErrorKind, cause: Cause) -> Recalled<T> {
        item.recall(kind, cause)
    }
}

/// Builds a [`PoolWithFunc`]; made by [`PoolWithFunc::builder`].
///
/// ```
/// let pool = formicary::PoolWithFunc::builder(|n: u64| n + 1).workers(1).build()?;
/// assert_eq!(pool.call(1)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Function<F, T, R>(F, PhantomData<fn(T) -> R>);

impl<F, T, R, D: Dispatch> Builder<Function<F, T, R>, D>
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    /// Builds the pool and starts its minimum of workers.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::builder(|n: u64| n + 1).workers(1).build()?;
    /// assert_eq!(pool.call(1)?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`], which names the option that was wrong, or why the first worker could not start.
    pub fn build(self) -> Result<PoolWithFunc<T, D, R>, BuildError> {
        Engine::build(self.options, CallFunc::new(self.kind.0)).map(PoolWithFunc::from_engine)
    }
}

impl<T: Send + 'static, R: Send + 'static> PoolWithFunc<T, Stack, R> {
    /// A pool of at most `workers` workers that call `func`, all else as the [`Builder`]'s defaults.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(4, |n: u64| n * n)?;
    /// assert_eq!(pool.call(9)?, 81);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too many, or if the system gives no thread.
    pub fn new(workers: usize, func: impl Fn(T) -> R + Send + Sync + 'static) -> Result<Self, BuildError> {
        Self::builder(func).workers(workers).build()
    }

    /// A builder for a pool that calls `func`.
    ///
    /// ```
    /// use formicary::PoolWithFunc;
    ///
    /// let pool = PoolWithFunc::builder(|n: u64| n * n).workers(2).queue(16).build()?;
    /// assert_eq!(pool.call(7)?, 49);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder<F>(func: F) -> Builder<Function<F, T, R>>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
    {
        Builder::of(Function(func, PhantomData))
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> PoolWithFunc<T, D, R> {
    pub(crate) fn from_engine(engine: Arc<Engine<CallFunc<T, R>, D>>) -> Self {
        PoolWithFunc { engine }
    }

    /// As [`new`](PoolWithFunc::new), for any dispatch.
    ///
    /// ```
    /// use formicary::{PoolWithFunc, Ring};
    ///
    /// let pool = PoolWithFunc::<u64, Ring, u64>::with_workers(4, |n| n * n)?;
    /// assert_eq!(pool.call(9)?, 81);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too many, or if the system gives no thread.
    pub fn with_workers(workers: usize, func: impl Fn(T) -> R + Send + Sync + 'static) -> Result<Self, BuildError> {
        PoolWithFunc::builder(func).workers(workers).dispatch::<D>().build()
    }

    /// Submits a payload; blocks while the pool is full (or, with
    /// [`nonblocking`](Builder::nonblocking), refuses). The function's result is dropped.
    ///
    /// A submitter that blocks keeps the locks that it holds. If the tasks that would make room for it need one of them, neither goes
    /// on: so submit after the lock is released, or with a limit ([`invoke_timeout`](Self::invoke_timeout)).
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u64| drop(n))?;
    /// pool.invoke(7)?;
    /// pool.wait_idle();
    /// assert_eq!(pool.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the payload, if the pool is closed, full and not to be waited for, if too many wait
    /// already ([`max_blocking`](Builder::max_blocking)), or if no thread can be had.
    pub fn invoke(&self, payload: T) -> Result<(), SubmitError<T>> {
        self.enter(payload, self.engine.default_patience())
    }

    /// Submits a payload if there is room; never blocks.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::builder(|n: u64| drop(n)).workers(1).queue(0).build()?;
    /// let pause = pool.pause();
    /// pool.try_invoke(1)?;
    /// assert_eq!(pool.try_invoke(2).unwrap_err().into_task(), 2);
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the payload; of kind `Full` if there is no room.
    pub fn try_invoke(&self, payload: T) -> Result<(), SubmitError<T>> {
        self.enter(payload, Patience::None)
    }

    /// Submits a payload; blocks for at most `limit`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::PoolWithFunc::builder(|n: u64| drop(n)).workers(1).queue(0).build()?;
    /// let pause = pool.pause();
    /// pool.invoke(1)?;
    /// assert!(pool.invoke_timeout(2, Duration::from_millis(1)).unwrap_err().is_timed_out());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the payload; of kind `TimedOut` if there was no room in time.
    pub fn invoke_timeout(&self, payload: T, limit: Duration) -> Result<(), SubmitError<T>> {
        self.enter(payload, Patience::at_most(limit))
    }

    /// As [`invoke`](Self::invoke), unless `token` is cancelled: then a blocked submitter gives up, and a queued payload is never
    /// given to the function; it counts as cancelled. Costs an allocation.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u64| drop(n))?;
    /// let token = formicary::CancelToken::new();
    /// token.cancel();
    /// assert_eq!(pool.invoke_cancellable(&token, 7).unwrap_err().into_task(), 7);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the payload; `Cancelled`, or `TimedOut` if it was by the token's deadline.
    pub fn invoke_cancellable(&self, token: &CancelToken, payload: T) -> Result<(), SubmitError<T>> {
        job::enter_cancellable(&self.engine, payload, token, false).map(|slot| slot.detach())
    }

    /// As [`invoke`](Self::invoke), waiting for room without blocking the thread; see
    /// [`Pool::submit_async`](crate::Pool::submit_async).
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u64| drop(n))?;
    /// let future = pool.invoke_async(7);
    /// # drop(future);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the payload.
    pub fn invoke_async(&self, payload: T) -> impl Future<Output = Result<(), SubmitError<T>>> + Send {
        let entering = self.engine.submit_async(Job::Plain(payload), Patience::Forever.into());
        async move { entering.await.map_err(|e| e.map(Job::into_payload)) }
    }

    /// As [`invoke_async`](Self::invoke_async), unless `token` is cancelled: then the wait for room ends, and a payload that has
    /// entered fares as with [`invoke_cancellable`](Self::invoke_cancellable).
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u64| drop(n))?;
    /// let token = formicary::CancelToken::new();
    /// let future = pool.invoke_async_cancellable(&token, 7);
    /// # drop(future);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the payload; `Cancelled`, or `TimedOut` if it was by the token's deadline.
    pub fn invoke_async_cancellable<'a>(
        &'a self,
        token: &'a CancelToken,
        payload: T,
    ) -> impl Future<Output = Result<(), SubmitError<T>>> + Send {
        let entering = job::enter_async(&self.engine, payload, Some(token));
        async move { entering.await.map(|slot| slot.detach()) }
    }

    /// Submits all payloads of an iterator. Blocks where [`invoke`](Self::invoke) would. At most
    /// one worker is being woken at any time, not one for each task. Says how many were accepted.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(2, |n: u64| drop(n))?;
    /// assert_eq!(pool.invoke_all(0..100).unwrap(), 100);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`] at the first refusal, with the count before it, the refused payload, and the rest of the iterator.
    pub fn invoke_all<I>(&self, payloads: I) -> Result<usize, SubmitAllError<T, I::IntoIter>>
    where
        I: IntoIterator<Item = T>,
    {
        let mut rest = payloads.into_iter();
        let result = self.engine.submit_all(&mut rest.by_ref(), Job::Plain);
        result.map_err(|(accepted, error)| SubmitAllError::new(accepted, error, rest))
    }

    pub(crate) fn enter<'t>(&self, payload: T, way: impl Into<Way<'t>>) -> Result<(), SubmitError<T>> {
        self.engine.submit(payload, Job::Plain, way)
    }

    /// Submits a payload and waits for the function's answer. From inside a task of the same pool the function is
    /// called on the spot. In a circle of two pools it waits for ever, as [`Pool::run`](crate::Pool::run) does. While the pool is
    /// [paused](Self::pause) this waits: not to be called by the thread that is to resume it.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u64| n + 1)?;
    /// assert_eq!(pool.call(41)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the payload, or failed: the function panicked.
    pub fn call(&self, payload: T) -> Result<R, CallError<T>> {
        if !self.engine.is_inside() {
            return job::call(&self.engine, payload, None, None);
        }
        let slot = Slot::new(payload, job::terms(self.engine.id(), true, None));
        let func = &self.engine.runner().func;
        if !self.engine.run_on_the_spot(&slot, |payload| func(payload)) {
            job::enter(&self.engine, &slot, self.engine.default_patience())?;
        }
        slot.call().into_result()
    }
}
