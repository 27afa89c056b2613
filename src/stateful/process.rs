//! Calls to workers with state: an input in, and wait for the output.

use std::time::{Duration, Instant};

use super::StatefulPool;
use crate::cancel::CancelToken;
use crate::dispatch::Dispatch;
use crate::error::ProcessError;
use crate::job;
use crate::worker::Worker;
use crate::worker_pool::deadline;

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// Hands an input to a worker and waits for the output. While the pool is [paused](Self::pause) this waits: use
    /// [`process_timeout`](Self::process_timeout) on the thread that is to resume it.
    ///
    /// Workers of two pools that wait for each other in a circle, all that there are, wait for ever: no pool sees more than its own waits.
    /// Where that can be, call with a limit: [`process_timeout`](Self::process_timeout).
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
    /// assert_eq!(pool.process(21)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ProcessError`]: refused, with the input, also if the worker's state could not be made
    /// ([`is_no_state`](crate::CallError::is_no_state)); or failed: the worker panicked. From inside a task of the same pool it is
    /// refused as `WouldDeadlock` if every other worker is waiting in the same way.
    pub fn process(&self, input: W::Input) -> Result<W::Output, ProcessError<W::Input>> {
        job::call(&self.engine, input, None, None)
    }

    /// The same, with a time limit for waiting for a worker and for the work together. A worker that is at work when the time
    /// is up is told so through its [`Context`](crate::Context) and its [`interrupter`](Worker::interrupter), and this
    /// returns without waiting for it.
    ///
    /// ```
    /// use formicary::{Context, StatefulPool, Worker};
    /// use std::time::Duration;
    ///
    /// struct Sleepy;
    /// impl Worker for Sleepy {
    ///     type Input = bool;
    ///     type Output = ();
    ///     fn process(&mut self, for_ever: bool, cx: &Context<'_>) {
    ///         while for_ever && !cx.is_cancelled() {
    ///             std::thread::yield_now();
    ///         }
    ///     }
    /// }
    /// let pool = StatefulPool::new(1, |_| Ok(Sleepy))?;
    /// let error = pool.process_timeout(true, Duration::from_millis(5)).unwrap_err();
    /// assert!(error.is_timed_out());
    /// assert!(pool.process_timeout(false, Duration::from_secs(60)).is_ok());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// As [`process`](Self::process); if the task was not started in time the input is in the error.
    pub fn process_timeout(&self, input: W::Input, limit: Duration) -> Result<W::Output, ProcessError<W::Input>> {
        job::call(&self.engine, input, deadline(limit), None)
    }

    /// As [`process_timeout`](Self::process_timeout), until `deadline`.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// use std::time::{Duration, Instant};
    ///
    /// let pool = StatefulPool::new(1, |_worker| Ok(Double))?;
    /// assert_eq!(pool.process_deadline(21, Instant::now() + Duration::from_secs(60))?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `process_timeout`.
    pub fn process_deadline(&self, input: W::Input, deadline: Instant) -> Result<W::Output, ProcessError<W::Input>> {
        job::call(&self.engine, input, Some(deadline), None)
    }

    /// As [`process`](Self::process), until `token` is cancelled, be it while the caller waits for a worker or while the worker
    /// is at work: that one is told to stop as by [`process_timeout`](Self::process_timeout), and not waited for. An answer that is
    /// there in time is returned all the same.
    ///
    /// ```
    /// use formicary::{CancelToken, Context, StatefulPool, Worker};
    ///
    /// struct Sleepy;
    /// impl Worker for Sleepy {
    ///     type Input = ();
    ///     type Output = ();
    ///     fn process(&mut self, _: (), cx: &Context<'_>) {
    ///         while !cx.is_cancelled() {
    ///             std::thread::yield_now();
    ///         }
    ///     }
    /// }
    /// let pool = StatefulPool::new(1, |_| Ok(Sleepy))?;
    /// let token = CancelToken::new();
    /// token.cancel();
    /// assert!(pool.process_cancellable(&token, ()).unwrap_err().is_cancelled());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// As `process`; if the token was cancelled before the task started, the input is in the error.
    pub fn process_cancellable(
        &self,
        token: &CancelToken,
        input: W::Input,
    ) -> Result<W::Output, ProcessError<W::Input>> {
        job::enter_cancellable(&self.engine, input, token, true)?.call().into_result()
    }
}
