//! The error of `run`: the task was refused, or it failed.

use std::error::Error;
use std::fmt;

use super::{JoinError, SubmitError};

/// Why a call that waits for its result ([`run`](crate::Pool::run)) returned none.
///
/// `Send` and `Sync` if the input is `Send`, like [`SubmitError`].
///
/// ```
/// use formicary::{PoolWithFunc, CallError};
///
/// let pool = PoolWithFunc::new(1, |text: String| text.len())?;
/// pool.shutdown();
/// let error = pool.run("kept".to_owned()).unwrap_err();
/// assert_eq!(error.into_input().as_deref(), Some("kept"));
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub enum CallError<I> {
    /// The task did not start. The error holds the input.
    Refused(SubmitError<I>),
    /// The task started and did not return a result, or its input was lost.
    Failed(JoinError),
}

impl<I> CallError<I> {
    /// Returns the input if the task did not start.
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::new(1, |n: u8| n)?;
    /// pool.shutdown();
    /// assert_eq!(pool.run(7).unwrap_err().into_input(), Some(7));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn into_input(self) -> Option<I> {
        match self {
            Self::Refused(refused) => Some(refused.into_task()),
            Self::Failed(_) => None,
        }
    }

    /// Whether the pool was full and the call was not to wait for room.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).nonblocking(true).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(pool.run(|| 7).unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.is_full())
    }

    /// Whether as many submitters were waiting as [`max_blocking`](crate::Builder::max_blocking) allows.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(1).queue(0).max_blocking(0).build()?;
    /// let pause = pool.pause();
    /// pool.submit(|| ())?;
    /// assert!(pool.run(|| 7).unwrap_err().is_overloaded());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_overloaded(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.is_overloaded())
    }

    /// Whether a timeout or deadline passed, either before the task started or while it ran.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// use std::time::Duration;
    ///
    /// let pool = StatefulPool::new(1, |_worker| Ok(Double))?;
    /// let pause = pool.pause();
    /// assert!(pool.with().timeout(Duration::from_millis(1)).run(7).unwrap_err().is_timed_out());
    /// # drop(pause);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_timed_out(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_timed_out(),
            Self::Failed(failed) => failed.is_timed_out(),
        }
    }

    /// Whether the call was cancelled, either before the task started or while it ran.
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
    /// token.cancel();
    /// assert!(pool.with().token(&token).run(7).unwrap_err().is_cancelled());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_cancelled(),
            Self::Failed(failed) => failed.is_cancelled(),
        }
    }

    /// Whether the pool has been shut down.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.shutdown();
    /// assert!(pool.run(|| 7).unwrap_err().is_closed());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.is_closed())
    }

    /// Whether no worker was alive and no thread could be started.
    ///
    /// ```
    /// let no_thread = |_worker| Err(std::io::Error::other("no more threads"));
    /// let pool = formicary::Pool::builder().workers(1).min_workers(0).spawn_handler(no_thread).build()?;
    /// assert!(pool.run(|| 7).unwrap_err().is_spawn());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_spawn(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.is_spawn())
    }

    /// Whether the call would have deadlocked: the calling thread is a worker of this pool.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Nested(std::sync::Weak<StatefulPool<Nested>>);
    /// # impl Worker for Nested {
    /// #     type Input = bool;
    /// #     type Output = bool;
    /// #     fn process(&mut self, again: bool, _: &Context<'_>) -> bool {
    /// #         again && self.0.upgrade().unwrap().run(false).unwrap_err().is_would_deadlock()
    /// #     }
    /// # }
    /// // A worker that calls its own pool, which has no other worker:
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_would_deadlock(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_would_deadlock(),
            Self::Failed(failed) => failed.is_would_deadlock(),
        }
    }

    /// Whether the pool dropped the task before it started. Then the error holds the input.
    ///
    /// ```
    /// use formicary::{Overflow, PoolWithFunc};
    ///
    /// let pool = PoolWithFunc::builder(|n: u8| n).workers(1).queue(0).overflow(Overflow::DropNewest).build()?;
    /// let pause = pool.pause();
    /// pool.submit(1)?;
    /// assert!(pool.run(2).unwrap_err().is_dropped());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_dropped(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_dropped(),
            Self::Failed(failed) => failed.is_dropped(),
        }
    }

    /// Whether the task panicked.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let error = pool.run(|| std::panic::panic_any("no")).unwrap_err();
    /// assert!(error.is_panic());
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Failed(failed) if failed.is_panic())
    }

    /// Whether the task did not run because the state of its worker could not be created. The error then holds the input.
    ///
    /// ```
    /// use formicary::{Context, StatefulPool, Worker};
    ///
    /// struct Never;
    /// impl Worker for Never {
    ///     type Input = u8;
    ///     type Output = ();
    ///     fn process(&mut self, _: u8, _: &Context<'_>) {}
    /// }
    /// let builder = StatefulPool::<Never>::builder(|_worker| Err("no such host".into()));
    /// let pool = builder.workers(1).min_workers(0).build()?;
    /// let error = pool.run(7).unwrap_err();
    /// assert!(error.is_no_state());
    /// assert_eq!(error.into_input(), Some(7));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn is_no_state(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_no_state(),
            Self::Failed(failed) => failed.is_no_state(),
        }
    }
}

impl<I> From<SubmitError<I>> for CallError<I> {
    fn from(refused: SubmitError<I>) -> Self {
        Self::Refused(refused)
    }
}

impl<I> From<JoinError> for CallError<I> {
    fn from(failed: JoinError) -> Self {
        Self::Failed(failed)
    }
}

impl<I> fmt::Debug for CallError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => f.debug_tuple("Refused").field(refused).finish(),
            Self::Failed(failed) => f.debug_tuple("Failed").field(failed).finish(),
        }
    }
}

impl<I> fmt::Display for CallError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Failed(failed) => failed.fmt(f),
        }
    }
}

impl<I> Error for CallError<I> {
    /// The source of the wrapped error, whose text this error displays.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(refused) => refused.source(),
            Self::Failed(failed) => failed.source(),
        }
    }
}
