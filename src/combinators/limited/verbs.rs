//! The verbs of a view.

use std::future::Future;

use super::Limited;
use crate::engine::WaitMode;
use crate::error::{CallError, SubmitAllError, SubmitError};
use crate::pool::{Accepts, AnyPool, With, verbs};
use crate::task::handle::Handle;

/// The verbs, as those of the pool.
impl<P: AnyPool> Limited<P> {
    /// Submits what the pool accepts (a closure, a payload, an input); its result is dropped on the worker.
    ///
    /// Blocks while the view or the pool is full, or is refused if the pool is [`nonblocking`](crate::Builder::nonblocking). On a thread of the
    /// pool it never waits for room: see [`Limited`].
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// view.submit(|| println!("on a worker"))?;
    /// assert!(view.wait_idle());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the task: if the view or its pool is closed, if it is full and not to be waited for, if too many wait already
    /// ([`max_blocking`](crate::Builder::max_blocking)), or with `WouldDeadlock` if it is full, the caller is a worker of the pool, and
    /// [`Builder::nested`](crate::Builder::nested) sets a cap.
    #[doc(alias("execute", "go", "invoke"))]
    pub fn submit<X>(&self, x: X) -> Result<(), SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        verbs::submit(self, x, verbs::mode(self))
    }

    /// As [`submit`](Self::submit), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(4).queue(0).build()?;
    /// let view = pool.limited(1);
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// view.submit(move || drop(gate.recv()))?;
    /// assert!(view.try_submit(|| ()).unwrap_err().is_full());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`; of kind `Full` if there is no room.
    #[doc(alias("try_invoke", "try_execute"))]
    pub fn try_submit<X>(&self, x: X) -> Result<(), SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        verbs::submit(self, x, WaitMode::Never)
    }

    /// As [`submit`](Self::submit), but waits for room as a future, which blocks no thread. Dropping the future takes the task back.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// view.submit_async(|| println!("on a worker")).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`, also on a `nonblocking` pool: a future that waits blocks no thread.
    ///
    /// # Panics
    /// If it is polled after it was ready.
    pub fn submit_async<X>(&self, x: X) -> impl Future<Output = Result<(), SubmitError<X>>> + Send
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        verbs::submit_async(self, x, WaitMode::Forever.into())
    }

    /// Submits all that an iterator gives, in order, and returns how many there were. Blocks where one of them finds no room; the iterator may
    /// block too.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(1);
    /// assert_eq!(view.submit_all((0..3).map(|n| move || println!("{n}")))?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`], as `submit` for the first that is refused: with that one, the number of those before it, and the rest of the iterator.
    pub fn submit_all<I>(&self, all: I) -> Result<usize, SubmitAllError<I::Item, I::IntoIter>>
    where
        I: IntoIterator,
        P: Accepts<I::Item>,
        I::Item: Send + 'static,
    {
        verbs::submit_all(all, |x| self.submit(x))
    }

    /// Submits a task and returns a [`Handle`] to its result. Blocks as [`submit`](Self::submit) does.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(1).spawn(|| 7)?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[doc(alias("spawn_blocking"))]
    pub fn spawn<X>(&self, x: X) -> Result<Handle<P::Output>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        verbs::spawn(self, x, verbs::mode(self))
    }

    /// As [`spawn`](Self::spawn), but never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(1).try_spawn(|| 7)?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_spawn<X>(&self, x: X) -> Result<Handle<P::Output>, SubmitError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        verbs::spawn(self, x, WaitMode::Never)
    }

    /// As [`spawn`](Self::spawn), but waits for room as a future; the handle is one for the result.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// let handle = view.spawn_async(|| 7).await?;
    /// assert_eq!(handle.await?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit_async`](Self::submit_async).
    pub fn spawn_async<X>(&self, x: X) -> impl Future<Output = Result<Handle<P::Output>, SubmitError<X>>> + Send
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        verbs::spawn_async(self, x)
    }

    /// Runs a task on a worker and waits for its result. Called from a task of the same view it runs on the spot with that task's permit, and
    /// from another task of the pool if the view has a permit for it; not on a [`StatefulPool`](crate::StatefulPool), whose state is in use.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(1).run(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the task, as [`submit`](Self::submit) or because the view or its pool was closed before the task started; or
    /// failed: it panicked.
    #[doc(alias("call", "process", "install"))]
    pub fn run<X>(&self, x: X) -> Result<P::Output, CallError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        verbs::run(self, x, verbs::mode(self).into())
    }

    /// As [`run`](Self::run), but does not wait for room; for the result it does.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(1).try_run(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`; refused with kind `Full` if there is no room.
    pub fn try_run<X>(&self, x: X) -> Result<P::Output, CallError<X>>
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        verbs::run(self, x, WaitMode::Never.into())
    }

    /// As [`run`](Self::run), but waits as a future, for room and then for the result. Dropping the future takes the task back if it had no room
    /// yet, and lets it go on otherwise.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// assert_eq!(view.run_async(|| 6 * 7).await?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`.
    pub fn run_async<X>(&self, x: X) -> impl Future<Output = Result<P::Output, CallError<X>>> + Send
    where
        P: Accepts<X>,
        X: Send + 'static,
    {
        verbs::run_async(self, x)
    }

    /// Options for what is submitted next: a token, a deadline, a name; on a [`Sharded`](crate::Sharded) pool a key, on a
    /// [`Priority`](crate::Priority) pool a level, on a [`Fair`](crate::Fair) pool a tenant. See [`With`].
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let limit = std::time::Duration::from_secs(60);
    /// assert_eq!(pool.limited(1).with().timeout(limit).name("answer").run(|| 42)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with(&self) -> With<'_, Self> {
        With::new(self)
    }
}
