//! The pool whose workers have state of their own.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::builder::Builder;
use crate::cancel::CancelToken;
use crate::dispatch::{Dispatch, Stack};
use crate::engine::{Engine, Patience, Runner, Way};
use crate::error::{BoxError, BuildError, Cause, ProcessError, SubmitError, SubmitErrorKind};
use crate::handle::Handle;
use crate::interrupter::Interrupter;
use crate::job::{self, Job};
use crate::methods::pool_methods;
use crate::slot::{Cancellable, Recalled, Reply, Slot, Ticket, Verdict};
use crate::sync::{AtomicBool, Ordering};
use crate::worker::{Context, PanicPolicy, Worker};
use crate::worker_pool::deadline;

/// A pool whose workers each have a state of type `W`, built once on their own thread.
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
/// assert_eq!(pool.process(41)?, 42); // waits
/// let handle = pool.submit(1)?; // does not
/// assert_eq!(handle.join()?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StatefulPool<W: Worker, D: Dispatch = Stack> {
    pub(crate) engine: Arc<Engine<RunWorker<W>, D>>,
}

pool_methods!(
    impl [W: Worker, D: Dispatch] StatefulPool<W, D>
    where item W::Input, wrap Job::Plain, unwrap Job::into_payload
);

type Factory<W> = Arc<dyn Fn(usize) -> Result<W, BoxError> + Send + Sync>;

/// Makes the workers' states and lets them process.
pub(crate) struct RunWorker<W> {
    factory: Factory<W>,
    panic_policy: PanicPolicy,
    /// Whether tasks should stop.
    overdue: AtomicBool,
    /// States never leave their threads.
    states: PhantomData<fn() -> W>,
}

impl<W: Worker> RunWorker<W> {
    pub(crate) fn new(
        factory: impl Fn(usize) -> Result<W, BoxError> + Send + Sync + 'static,
        panic_policy: PanicPolicy,
    ) -> Self {
        RunWorker { factory: Arc::new(factory), panic_policy, overdue: AtomicBool::new(false), states: PhantomData }
    }
}

/// A state and what belongs to it.
pub(crate) struct Manned<W> {
    state: W,
    worker: usize,
    interrupter: Option<Interrupter>,
}

impl<W> Manned<W> {
    pub(crate) fn state(&mut self) -> &mut W {
        &mut self.state
    }
}

impl<W: Worker> Runner for RunWorker<W> {
    type Item = Job<W::Input, W::Output>;
    type State = Manned<W>;
    type Returned = W::Input;

    const READY_BLOCKS: bool = W::READY_BLOCKS;
    const TAKES_ORDERS: bool = true;

    fn start(&self, worker: usize) -> Result<Manned<W>, BoxError> {
        let state = (self.factory)(worker)?;
        let interrupter = state.interrupter();
        Ok(Manned { state, worker, interrupter })
    }

    fn ready(&self, manned: &mut Manned<W>) {
        manned.state.ready();
    }

    fn run(&self, manned: &mut Manned<W>, item: Self::Item, reply: &mut Reply) -> Verdict {
        let Manned { state, worker, interrupter } = manned;
        item.run(reply, interrupter.as_ref(), |input, slot| {
            let cx = Context {
                worker: *worker,
                deadline: slot.and_then(|slot| slot.terms().deadline),
                task: slot.map(|slot| slot as &dyn Cancellable),
                overdue: &self.overdue,
            };
            state.process(input, &cx)
        })
    }

    fn stop(&self, manned: Manned<W>) {
        manned.state.terminate();
    }

    fn set_overdue(&self, overdue: bool) {
        // ORDERING: Release, see `Context::is_cancelled`.
        self.overdue.store(overdue, Ordering::Release);
    }

    fn discards_after_panic(&self) -> bool {
        self.panic_policy == PanicPolicy::Rebuild
    }

    fn recall(item: Self::Item, kind: SubmitErrorKind, cause: Cause) -> Recalled<W::Input> {
        item.recall(kind, cause)
    }
}

/// Builds a [`StatefulPool`]; made by [`StatefulPool::builder`].
///
/// ```
/// # use formicary::{Context, StatefulPool, Worker};
/// # struct Double;
/// # impl Worker for Double {
/// #     type Input = u64;
/// #     type Output = u64;
/// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
/// # }
/// let pool = StatefulPool::builder(|_worker| Ok(Double)).workers(1).build()?;
/// assert_eq!(pool.process(2)?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct States<F> {
    factory: F,
    panic_policy: PanicPolicy,
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
    ///     assert!(pool.process(true).unwrap_err().is_panic());
    ///     assert_eq!(pool.process(false)?, count);
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
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let error = StatefulPool::<Double>::builder(|_| Err("out of doubles".into())).build().unwrap_err();
    /// assert!(error.to_string().ends_with("out of doubles"));
    /// ```
    ///
    /// # Errors
    /// [`BuildError`], which names the option that was wrong, why the first worker could not start, or with which error
    /// the factory failed.
    pub fn build(self) -> Result<StatefulPool<W, D>, BuildError> {
        let runner = RunWorker::new(self.kind.factory, self.kind.panic_policy);
        Engine::build(self.options, runner).map(StatefulPool::from_engine)
    }
}

impl<W: Worker> StatefulPool<W, Stack> {
    /// A pool of at most `workers` workers whose states `factory` makes, all else as the [`Builder`]'s defaults. The
    /// factory gets the worker's number.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::new(2, |_worker| Ok(Double))?;
    /// assert_eq!(pool.process(21)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too many, if the system gives no thread, or if the factory fails for the first
    /// worker.
    pub fn new(
        workers: usize,
        factory: impl Fn(usize) -> Result<W, BoxError> + Send + Sync + 'static,
    ) -> Result<Self, BuildError> {
        Self::builder(factory).workers(workers).build()
    }

    /// A builder for a pool whose states `factory` makes, on the worker's thread. It gets the worker's number and may fail:
    /// the first failure at build is `build`'s error.
    ///
    /// ```
    /// use formicary::{BuildError, Context, StatefulPool, Worker};
    ///
    /// struct Connection;
    /// impl Worker for Connection {
    ///     type Input = ();
    ///     type Output = ();
    ///     fn process(&mut self, _: (), _: &Context<'_>) {}
    /// }
    /// let built = StatefulPool::<Connection>::builder(|_| Err("no such host".into())).workers(2).build();
    /// let error = built.err().unwrap();
    /// assert!(matches!(error, BuildError::Factory { worker: 0, .. }));
    /// assert!(error.to_string().contains("no such host"));
    /// ```
    pub fn builder<F>(factory: F) -> Builder<States<F>>
    where
        F: Fn(usize) -> Result<W, BoxError> + Send + Sync + 'static,
    {
        Builder::of(States { factory, panic_policy: PanicPolicy::default() })
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    pub(crate) fn from_engine(engine: Arc<Engine<RunWorker<W>, D>>) -> Self {
        StatefulPool { engine }
    }

    /// As [`new`](StatefulPool::new), for any dispatch.
    ///
    /// ```
    /// # use formicary::{Context, Ring, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// let pool = StatefulPool::<_, Ring>::with_workers(2, |_worker| Ok(Double))?;
    /// assert_eq!(pool.process(21)?, 42);
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

    /// Hands an input to a worker and waits for the output.
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
    /// [`ProcessError`]: refused, with the input, or failed: the worker panicked. From inside a task of the same pool it is
    /// refused as `WouldDeadlock` if every other worker is waiting in the same way.
    pub fn process(&self, input: W::Input) -> Result<W::Output, ProcessError<W::Input>> {
        job::call(&self.engine, input, None, None)
    }

    /// The same, with a time limit for waiting for a worker and for the work together. A worker that is at work when the time
    /// is up is told so through its [`Context`] and its [`interrupter`](Worker::interrupter), and this
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
    /// is at work: that one is told to stop as by [`process_timeout`](Self::process_timeout), and not waited for.
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
    /// let canceller = std::thread::spawn({
    ///     let token = token.clone();
    ///     move || token.cancel()
    /// });
    /// assert!(pool.process_cancellable(&token, ()).unwrap_err().is_cancelled());
    /// # canceller.join().unwrap();
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

    /// As [`submit`](Self::submit), unless `token` is cancelled: then a blocked submitter gives up, a queued task never runs, and
    /// a running one sees it in its [`Context`].
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
    /// assert_eq!(pool.submit_cancellable(&token, 21).unwrap_err().into_inner(), 21);
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
        let slot = Slot::new(input, job::terms(self.engine.id(), false, None));
        let entering = self.engine.submit_async(Job::Answered(Ticket::new(&slot)), Patience::Forever.into());
        async move {
            entering.await.map_err(|refusal| slot.refused(refusal.kind))?;
            Ok(Handle::new(slot))
        }
    }

    /// Submits an input and returns a handle to the output; blocks while the pool is full (or, with
    /// [`nonblocking`](Builder::nonblocking), refuses).
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
