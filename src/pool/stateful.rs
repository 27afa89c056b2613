//! The pool whose workers each have a state.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use super::control::PoolControl;
use super::examples::square;
use super::run_worker::RunWorker;
use super::verbs;
use super::with::With;
use crate::engine::{Engine, WaitMode};
use crate::error::{BoxError, BuildError, CallError, SubmitAllError, SubmitError};
use crate::pool::builder::Builder;
use crate::queue::{Dispatch, Stack};
use crate::task::handle::Handle;
use crate::task::worker::{PanicPolicy, Worker};

/// A pool whose workers each have a state of type `W`, built once on the worker's own thread.
///
/// ```
/// use formicary::{Context, StatefulPool, Worker};
///
/// struct Adder { seen: u64 }
/// impl Worker for Adder {
///     type Input = u64;
///     type Output = u64;
///     fn process(&mut self, n: u64, _cx: &Context<'_>) -> u64 {
///         self.seen += 1;
///         n + 1
///     }
/// }
///
/// let pool = StatefulPool::new(2, |_worker| Ok(Adder { seen: 0 }))?;
/// assert_eq!(pool.run(41)?, 42); // waits
/// let handle = pool.spawn(1)?; // does not
/// assert_eq!(handle.join()?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The examples of the methods use a smaller worker, `Square`, which returns the square of its input.
#[doc(alias("tunny", "initializer", "initargs"))]
pub struct StatefulPool<W: Worker, D: Dispatch = Stack> {
    pub(crate) engine: Arc<Engine<RunWorker<W>, D>>,
    control: PoolControl<W::Input>,
}

/// Builds a [`StatefulPool`]; made by [`StatefulPool::builder`].
///
/// ```
#[doc = square!()]
/// let pool = StatefulPool::builder(|_worker| Ok(Square)).workers(1).build()?;
/// assert_eq!(pool.run(2)?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct States<F> {
    factory: F,
    panic_policy: PanicPolicy,
}

impl<F> fmt::Debug for States<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("panic_policy", &self.panic_policy).finish_non_exhaustive()
    }
}

impl<W, F, D: Dispatch> Builder<States<F>, D>
where
    W: Worker,
    F: Fn(usize) -> Result<W, BoxError> + Send + Sync + 'static,
{
    /// What becomes of a worker's state after a panic in it. Default: [`PanicPolicy::Rebuild`].
    ///
    /// ```
    /// use formicary::{Context, PanicPolicy, StatefulPool, Worker};
    ///
    /// struct Counter(u32);
    /// impl Worker for Counter {
    ///     type Input = bool;
    ///     type Output = u32;
    ///     fn process(&mut self, fail: bool, _: &Context<'_>) -> u32 {
    ///         self.0 += 1;
    ///         assert!(!fail, "a test's panic");
    ///         self.0
    ///     }
    /// }
    /// for (policy, count) in [(PanicPolicy::Rebuild, 1), (PanicPolicy::Keep, 2)] {
    ///     let pool = StatefulPool::builder(|_| Ok(Counter(0))).workers(1).panic_policy(policy).build()?;
    ///     assert!(pool.run(true).unwrap_err().is_panic());
    ///     assert_eq!(pool.run(false)?, count);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn panic_policy(mut self, policy: PanicPolicy) -> Self {
        self.kind.panic_policy = policy;
        self
    }

    /// Builds the pool, starts its minimum of workers, and waits until each has its state.
    ///
    /// ```
    #[doc = square!()]
    /// use std::error::Error;
    ///
    /// let error = StatefulPool::<Square>::builder(|_| Err("out of squares".into())).build().unwrap_err();
    /// assert_eq!(error.source().unwrap().to_string(), "out of squares");
    /// ```
    ///
    /// # Errors
    /// [`BuildError`], which names the option that was wrong, says why the first worker could not start, or has the error with which the
    /// factory failed.
    pub fn build(self) -> Result<StatefulPool<W, D>, BuildError> {
        let runner = RunWorker::new(self.kind.factory, self.kind.panic_policy);
        Engine::build(self.options, runner).map(StatefulPool::from_engine)
    }
}

impl<W: Worker> StatefulPool<W, Stack> {
    /// A pool of at most `workers` workers whose states `factory` makes. All other options have the [`Builder`]'s defaults. The factory
    /// is given the worker's number.
    ///
    /// ```
    #[doc = square!()]
    /// let pool = StatefulPool::new(2, |_worker| Ok(Square))?;
    /// assert_eq!(pool.run(6)?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too large, if the system refuses a thread, or if the factory fails for the first worker.
    pub fn new(
        workers: usize,
        factory: impl Fn(usize) -> Result<W, BoxError> + Send + Sync + 'static,
    ) -> Result<Self, BuildError> {
        Self::builder(factory).workers(workers).build()
    }

    /// A builder for a pool whose states `factory` makes, each on its worker's thread. The factory is given the worker's number and may
    /// fail. Its first failure during [`build`](Builder::build) is the error of `build`.
    ///
    /// ```
    #[doc = square!()]
    /// use formicary::BuildError;
    ///
    /// let built = StatefulPool::<Square>::builder(|_| Err("no such host".into())).workers(2).build();
    /// let error = built.err().unwrap();
    /// assert!(matches!(error, BuildError::Factory { worker: 0, source } if source.to_string() == "no such host"));
    /// ```
    pub fn builder<F>(factory: F) -> Builder<States<F>>
    where
        F: Fn(usize) -> Result<W, BoxError> + Send + Sync + 'static,
    {
        Builder::of(States { factory, panic_policy: PanicPolicy::default() })
    }
}

/// The verbs.
impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// Submits an input. The worker's output is dropped on its thread.
    ///
    /// Blocks while the pool is full, that is while it has as many unfinished tasks as workers and places in the queue together. A
    /// [`nonblocking`](Builder::nonblocking) pool refuses the input instead. On a thread of the pool itself this never waits for room:
    /// see [`Builder::nested`].
    ///
    /// ```
    #[doc = square!()]
    /// let squares = StatefulPool::new(1, |_| Ok(Square))?;
    /// squares.submit(6)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the input: if the pool is closed; if it has no worker and the system refuses a thread; and, where this may
    /// not wait, if the pool is full or [too many](Builder::max_blocking) submitters wait already.
    #[doc(alias("execute", "go", "invoke"))]
    pub fn submit(&self, input: W::Input) -> Result<(), SubmitError<W::Input>> {
        verbs::submit(self, input, verbs::mode(self))
    }

    /// As [`submit`](Self::submit), but never blocks.
    ///
    /// ```
    #[doc = square!()]
    /// let squares = StatefulPool::builder(|_| Ok(Square)).workers(1).queue(0).build()?;
    /// let pause = squares.pause();
    /// squares.try_submit(6)?;
    /// assert!(squares.try_submit(7).unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`; of kind `Full` if there is no room.
    #[doc(alias("try_invoke", "try_execute"))]
    pub fn try_submit(&self, input: W::Input) -> Result<(), SubmitError<W::Input>> {
        verbs::submit(self, input, WaitMode::Never)
    }

    /// As [`submit`](Self::submit), but waits for room as a future, which blocks no thread. Dropping the future takes the input back.
    ///
    /// Futures and blocked threads share one wait queue. A future that is woken and not polled does not hold up those behind it.
    ///
    /// ```
    #[doc = square!(async)]
    /// let squares = StatefulPool::new(1, |_| Ok(Square))?;
    /// squares.submit_async(6).await?;
    #[doc = square!(end)]
    /// ```
    ///
    /// # Errors
    /// As `submit`. It waits for room also on a `nonblocking` pool, since it blocks no thread.
    ///
    /// # Panics
    /// If it is polled after it was ready.
    pub fn submit_async(&self, input: W::Input) -> impl Future<Output = Result<(), SubmitError<W::Input>>> + Send {
        verbs::submit_async(self, input, WaitMode::Forever.into())
    }

    /// Submits an input and returns a [`Handle`] to the output. Blocks as [`submit`](Self::submit) does.
    ///
    /// ```
    #[doc = square!()]
    /// let squares = StatefulPool::new(1, |_| Ok(Square))?;
    /// assert_eq!(squares.spawn(6)?.join()?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[doc(alias("spawn_blocking", "execute_to"))]
    pub fn spawn(&self, input: W::Input) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        verbs::spawn(self, input, verbs::mode(self))
    }

    /// As [`spawn`](Self::spawn), but never blocks.
    ///
    /// ```
    #[doc = square!()]
    /// let squares = StatefulPool::builder(|_| Ok(Square)).workers(1).queue(0).build()?;
    /// let pause = squares.pause();
    /// let handle = squares.try_spawn(6)?;
    /// assert!(squares.try_spawn(7).is_err_and(|refusal| refusal.is_full()));
    /// drop(pause);
    /// assert_eq!(handle.join()?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_spawn(&self, input: W::Input) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        verbs::spawn(self, input, WaitMode::Never)
    }

    /// As [`spawn`](Self::spawn), but waits for room as a future. Its output is the handle, which is a future of the worker's output.
    ///
    /// ```
    #[doc = square!(async)]
    /// let squares = StatefulPool::new(1, |_| Ok(Square))?;
    /// let handle = squares.spawn_async(6).await?;
    /// assert_eq!(handle.await?, 36);
    #[doc = square!(end)]
    /// ```
    ///
    /// # Errors
    /// As [`submit_async`](Self::submit_async).
    pub fn spawn_async(
        &self,
        input: W::Input,
    ) -> impl Future<Output = Result<Handle<W::Output>, SubmitError<W::Input>>> + Send {
        verbs::spawn_async(self, input)
    }

    /// Has a worker process an input, and waits for the output. On a thread of the pool itself another worker has to do it, since the
    /// state of this one is in use.
    ///
    /// ```
    #[doc = square!()]
    /// let squares = StatefulPool::new(1, |_| Ok(Square))?;
    /// assert_eq!(squares.run(6)?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the input, as by [`submit`](Self::submit) or because the pool was closed before the task started; or
    /// failed, because it panicked or no worker could make a state for it.
    #[doc(alias("call", "process", "install"))]
    pub fn run(&self, input: W::Input) -> Result<W::Output, CallError<W::Input>> {
        verbs::run(self, input, verbs::mode(self).into())
    }

    /// As [`run`](Self::run), but does not wait for room. It waits for the output.
    ///
    /// ```
    #[doc = square!()]
    /// let squares = StatefulPool::builder(|_| Ok(Square)).workers(1).queue(0).build()?;
    /// assert_eq!(squares.try_run(6)?, 36);
    /// let pause = squares.pause();
    /// squares.submit(7)?;
    /// assert!(squares.try_run(8).unwrap_err().is_full());
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`; refused with kind `Full` if there is no room.
    pub fn try_run(&self, input: W::Input) -> Result<W::Output, CallError<W::Input>> {
        verbs::run(self, input, WaitMode::Never.into())
    }

    /// As [`run`](Self::run), but waits as a future, first for room and then for the output. Dropping the future takes the input back if it
    /// has not entered the pool yet; otherwise the task goes on.
    ///
    /// ```
    #[doc = square!(async)]
    /// let squares = StatefulPool::new(1, |_| Ok(Square))?;
    /// assert_eq!(squares.run_async(6).await?, 36);
    #[doc = square!(end)]
    /// ```
    ///
    /// # Errors
    /// As `run`.
    pub fn run_async(&self, input: W::Input) -> impl Future<Output = Result<W::Output, CallError<W::Input>>> + Send {
        verbs::run_async(self, input)
    }

    /// Options for the verbs that are called on the value: a token, a deadline, a name, a key. See [`With`].
    ///
    /// ```
    #[doc = square!()]
    /// let squares = StatefulPool::new(1, |_| Ok(Square))?;
    /// let limit = std::time::Duration::from_secs(60);
    /// assert_eq!(squares.with().timeout(limit).run(6)?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("ProcessTimed", "ProcessCtx"))]
    pub fn with(&self) -> With<'_, Self> {
        With::new(self)
    }

    /// Submits all inputs of an iterator, in order, and returns how many there were. Blocks as [`submit`](Self::submit) does for each of
    /// them; the iterator may block too. [Lists](crate::Pool::submit_all) go in batches.
    ///
    /// ```
    #[doc = square!()]
    /// let squares = StatefulPool::new(1, |_| Ok(Square))?;
    /// assert_eq!(squares.submit_all(1..=3)?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`], as `submit` for the first input that is refused. It holds that input, the number of those accepted
    /// before, and the rest of the iterator.
    #[doc(alias("invokeAll", "invoke_all"))]
    pub fn submit_all<I>(&self, all: I) -> Result<usize, SubmitAllError<W::Input, I::IntoIter>>
    where
        I: IntoIterator<Item = W::Input>,
    {
        verbs::submit_all_plain(self, all, verbs::mode(self).into(), |x| self.submit(x))
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    pub(crate) fn from_engine(engine: Arc<Engine<RunWorker<W>, D>>) -> Self {
        let control = PoolControl::new(Arc::<Engine<_, _>>::clone(&engine), "StatefulPool");
        StatefulPool { engine, control }
    }

    /// As [`new`](StatefulPool::new), for any dispatch.
    ///
    /// ```
    #[doc = square!()]
    /// let pool = StatefulPool::<_, formicary::Ring>::with_workers(2, |_worker| Ok(Square))?;
    /// assert_eq!(pool.run(6)?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `new`.
    pub fn with_workers(
        workers: usize,
        factory: impl Fn(usize) -> Result<W, BoxError> + Send + Sync + 'static,
    ) -> Result<Self, BuildError> {
        StatefulPool::builder(factory).workers(workers).dispatch::<D>().build()
    }
}

impl<W: Worker, D: Dispatch> Deref for StatefulPool<W, D> {
    type Target = PoolControl<W::Input>;

    fn deref(&self) -> &PoolControl<W::Input> {
        &self.control
    }
}

impl<W: Worker, D: Dispatch> fmt::Debug for StatefulPool<W, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.control.fmt(f)
    }
}
