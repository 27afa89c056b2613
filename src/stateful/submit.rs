//! Inputs for workers with state, handed over without waiting for the output: a handle comes back.

use std::future::Future;
use std::time::Duration;

use super::StatefulPool;
use crate::cancel::CancelToken;
use crate::dispatch::Dispatch;
use crate::engine::{Patience, Way};
use crate::error::SubmitError;
use crate::handle::Handle;
use crate::job;
use crate::slot::Slot;
use crate::worker::Worker;

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// Submits an input and returns a handle to the output; blocks while the pool is full (or, with
    /// [`nonblocking`](crate::Builder::nonblocking), refuses).
    ///
    /// A submitter that blocks keeps the locks that it holds. If the tasks that would make room for it need one of them, neither goes
    /// on: so submit after the lock is released, or with a limit ([`submit_timeout`](Self::submit_timeout)).
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::new(1, |_worker| Ok(Double))?;
    /// let handle = pool.submit(21)?;
    /// assert_eq!(handle.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the input.
    pub fn submit(&self, input: W::Input) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        self.enter(input, self.engine.default_patience())
    }

    /// Submits an input if there is room; never blocks.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::builder(|_| Ok(Double)).workers(1).queue(0).build()?;
    /// assert_eq!(pool.try_submit(21)?.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the input; of kind `Full` if there is no room.
    pub fn try_submit(&self, input: W::Input) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        self.enter(input, Patience::None)
    }

    /// Submits an input; blocks for at most `limit` until there is room.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::new(1, |_| Ok(Double))?;
    /// assert_eq!(pool.submit_timeout(21, std::time::Duration::from_secs(60))?.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the input; of kind `TimedOut` if there was no room in time.
    pub fn submit_timeout(&self, input: W::Input, limit: Duration) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        self.enter(input, Patience::at_most(limit))
    }

    /// As [`submit`](Self::submit), unless `token` is cancelled: then a blocked submitter gives up, a queued task never runs, and
    /// a running one sees it in its [`Context`](crate::Context).
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::new(1, |_worker| Ok(Double))?;
    /// let token = formicary::CancelToken::new();
    /// assert_eq!(pool.submit_cancellable(&token, 21)?.join()?, 42);
    /// token.cancel();
    /// assert_eq!(pool.submit_cancellable(&token, 21).unwrap_err().into_task(), 21);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the input.
    pub fn submit_cancellable(
        &self,
        token: &CancelToken,
        input: W::Input,
    ) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        job::enter_cancellable(&self.engine, input, token, false).map(Handle::new)
    }

    /// As [`submit`](Self::submit), waiting for room without blocking the thread; see
    /// [`Pool::submit_async`](crate::Pool::submit_async).
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::new(1, |_worker| Ok(Double))?;
    /// let future = pool.submit_async(21); // `.await?.await?` is 42
    /// # drop(future);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the input.
    pub fn submit_async(
        &self,
        input: W::Input,
    ) -> impl Future<Output = Result<Handle<W::Output>, SubmitError<W::Input>>> + Send {
        let entering = job::enter_async(&self.engine, input, None);
        async move { entering.await.map(Handle::new) }
    }

    /// As [`submit_async`](Self::submit_async), unless `token` is cancelled: then the wait for room ends, and a task that has
    /// entered fares as with [`submit_cancellable`](Self::submit_cancellable).
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::new(1, |_worker| Ok(Double))?;
    /// let token = formicary::CancelToken::new();
    /// let future = pool.submit_async_cancellable(&token, 21); // `.await?.await?` is 42
    /// # drop(future);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the input; `Cancelled`, or `TimedOut` if it was by the token's deadline.
    pub fn submit_async_cancellable<'a>(
        &'a self,
        token: &'a CancelToken,
        input: W::Input,
    ) -> impl Future<Output = Result<Handle<W::Output>, SubmitError<W::Input>>> + Send {
        let entering = job::enter_async(&self.engine, input, Some(token));
        async move { entering.await.map(Handle::new) }
    }

    pub(crate) fn enter<'t>(
        &self,
        input: W::Input,
        way: impl Into<Way<'t>>,
    ) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        let slot = Slot::new(input, job::terms(self.engine.id(), false, None));
        job::enter(&self.engine, &slot, way)?;
        Ok(Handle::new(slot))
    }
}
