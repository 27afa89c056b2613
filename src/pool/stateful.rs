//! The pool whose workers have state of their own: how it is built, and how its workers run a task.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use super::accepts::{Accepts, AnyPool};
use super::control::PoolControl;
use super::verbs;
use super::with::With;
use crate::engine::{Engine, EngineRef, Runner, WaitMode};
use crate::error::{BoxError, BuildError, CallError, Cause, SubmitAllError, SubmitError, SubmitErrorKind};
use crate::pool::builder::Builder;
use crate::queue::{Dispatch, Stack};
use crate::task::deferred::Deferred;
use crate::task::handle::Handle;
use crate::task::interrupter::Interrupter;
use crate::task::job::Job;
use crate::task::liveness::Liveness;
use crate::task::running_tasks::Overdue;
use crate::task::state::{Cancellable, Completion, ReplySender, Retracted, RunOutcome, TaskRef, TaskState};
use crate::task::worker::{Context, PanicPolicy, Worker};

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
/// assert_eq!(pool.run(41)?, 42); // waits
/// let handle = pool.spawn(1)?; // does not
/// assert_eq!(handle.join()?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StatefulPool<W: Worker, D: Dispatch = Stack> {
    pub(crate) engine: Arc<Engine<RunWorker<W>, D>>,
    control: PoolControl<W::Input>,
}

type Factory<W> = Arc<dyn Fn(usize) -> Result<W, BoxError> + Send + Sync>;

/// Makes the workers' states and lets them process.
pub struct RunWorker<W> {
    factory: Factory<W>,
    panic_policy: PanicPolicy,
    /// Whether tasks should stop.
    overdue: Overdue,
    /// States never leave their threads.
    states: PhantomData<fn() -> W>,
}

impl<W: Worker> RunWorker<W> {
    pub(crate) fn new(
        factory: impl Fn(usize) -> Result<W, BoxError> + Send + Sync + 'static,
        panic_policy: PanicPolicy,
    ) -> Self {
        RunWorker { factory: Arc::new(factory), panic_policy, overdue: Overdue::default(), states: PhantomData }
    }
}

/// A state and what belongs to it.
pub struct StateOfWorker<W> {
    state: W,
    worker: usize,
    interrupter: Option<Interrupter>,
}

impl<W> StateOfWorker<W> {
    pub(crate) fn state(&mut self) -> &mut W {
        &mut self.state
    }
}

impl<W: Worker> Runner for RunWorker<W> {
    type Item = Job<W::Input, W::Output>;
    type State = StateOfWorker<W>;
    type Returned = W::Input;

    const HAS_FACTORY: bool = true;
    const READY_BLOCKS: bool = W::READY_BLOCKS;

    fn start(&self, worker: usize) -> Result<StateOfWorker<W>, BoxError> {
        let state = (self.factory)(worker)?;
        let interrupter = state.interrupter();
        Ok(StateOfWorker { state, worker, interrupter })
    }

    fn ready(&self, made: &mut StateOfWorker<W>) {
        made.state.ready();
    }

    fn run(&self, made: &mut StateOfWorker<W>, item: Self::Item, completion: &mut Completion) -> RunOutcome {
        let StateOfWorker { state, worker, interrupter } = made;
        item.run(completion, interrupter.as_ref(), |input, task_state| {
            let cx = Context {
                worker: *worker,
                task: task_state.map(|task_state| task_state as &dyn Cancellable),
                overdue: &self.overdue,
            };
            state.process(input, &cx)
        })
    }

    fn stop(&self, made: StateOfWorker<W>) {
        made.state.terminate();
    }

    fn overdue(&self) -> &Overdue {
        &self.overdue
    }

    fn discards_after_panic(&self) -> bool {
        self.panic_policy == PanicPolicy::Rebuild
    }

    fn deferred(deferred: Deferred<Self::Item, W::Input>) -> Self::Item {
        Job::Deferred(Box::new(deferred))
    }

    fn liveness(item: &Self::Item) -> Liveness {
        item.liveness()
    }

    fn retract(item: Self::Item, kind: SubmitErrorKind, cause: Cause) -> Retracted<W::Input> {
        item.retract(kind, cause)
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
/// assert_eq!(pool.run(2)?, 4);
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
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Double;
    /// # impl Worker for Double {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { 2 * n }
    /// # }
    /// use std::error::Error;
    ///
    /// let error = StatefulPool::<Double>::builder(|_| Err("out of doubles".into())).build().unwrap_err();
    /// assert_eq!(error.source().unwrap().to_string(), "out of doubles");
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
    /// assert_eq!(pool.run(21)?, 42);
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
    /// assert!(matches!(error, BuildError::Factory { worker: 0, source } if source.to_string() == "no such host"));
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
        let control = PoolControl::new(Arc::new(EngineRef(Arc::clone(&engine))), "StatefulPool");
        StatefulPool { engine, control }
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
    /// assert_eq!(pool.run(21)?, 42);
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

/// The verbs.
impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// Submits an input. What the worker returns is dropped there.
    ///
    /// Blocks while the pool is full: where as many tasks are unfinished as there are workers and places in the queue. On a
    /// [`nonblocking`](crate::Builder::nonblocking) pool it is refused instead. On a thread of the pool itself it never waits for room:
    /// see [`Builder::nested`](crate::Builder::nested).
    ///
    /// ```
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// squares.submit(6)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the input: if the pool is closed, or has no worker and the system gives no thread; if it is full, or too many
    /// wait already ([`max_blocking`](crate::Builder::max_blocking)), where it is not to be waited for.
    #[doc(alias("execute", "go", "invoke"))]
    pub fn submit(&self, input: W::Input) -> Result<(), SubmitError<W::Input>> {
        verbs::submit(self, input, verbs::mode(self))
    }

    /// As [`submit`](Self::submit), but never blocks.
    ///
    /// ```
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// squares.try_submit(6)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`; of kind `Full` if there is no room.
    #[doc(alias("try_invoke", "try_execute"))]
    pub fn try_submit(&self, input: W::Input) -> Result<(), SubmitError<W::Input>> {
        verbs::submit(self, input, WaitMode::Never)
    }

    /// As [`submit`](Self::submit), but waits for room as a future, which blocks no thread. Dropping the future takes the task back.
    /// Futures wait in one line with blocked threads; one that was woken and does not come is passed over.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// squares.submit_async(6).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`, also on a `nonblocking` pool: a future that waits blocks nobody.
    ///
    /// # Panics
    /// If it is polled after it was ready.
    pub fn submit_async(&self, input: W::Input) -> impl Future<Output = Result<(), SubmitError<W::Input>>> + Send {
        verbs::submit_async(self, input, WaitMode::Forever.into())
    }

    /// Submits all that an iterator gives, in order, and says how many there were. Blocks where one of them finds the pool full; the
    /// iterator may block too.
    ///
    /// ```
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// assert_eq!(squares.submit_all(1..=3)?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitAllError`], as `submit` for the first that is refused: with that one, the number of those before it, and the rest of the
    /// iterator.
    pub fn submit_all<I>(&self, all: I) -> Result<usize, SubmitAllError<W::Input, I::IntoIter>>
    where
        I: IntoIterator<Item = W::Input>,
    {
        verbs::submit_all(all, |x| self.submit(x))
    }

    /// Submits an input and returns a [`Handle`] to the output. Blocks as [`submit`](Self::submit) does.
    ///
    /// ```
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// assert_eq!(squares.spawn(6)?.join()?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[doc(alias("spawn_blocking"))]
    pub fn spawn(&self, input: W::Input) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        verbs::spawn(self, input, verbs::mode(self))
    }

    /// As [`spawn`](Self::spawn), but never blocks.
    ///
    /// ```
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// assert_eq!(squares.try_spawn(6)?.join()?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_spawn(&self, input: W::Input) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        verbs::spawn(self, input, WaitMode::Never)
    }

    /// As [`spawn`](Self::spawn), but waits for room as a future; the handle is one for the result.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// let handle = squares.spawn_async(6).await?;
    /// assert_eq!(handle.await?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
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

    /// Has a worker process an input, and waits for the output.
    ///
    /// ```
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// assert_eq!(squares.run(6)?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the input, as [`submit`](Self::submit) or because the pool was closed before the task started; or
    /// failed: it panicked, or no worker could build a state for it.
    #[doc(alias("call", "process", "install"))]
    pub fn run(&self, input: W::Input) -> Result<W::Output, CallError<W::Input>> {
        verbs::run(self, input, verbs::mode(self).into())
    }

    /// As [`run`](Self::run), but does not wait for room; for the result it does.
    ///
    /// ```
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// assert_eq!(squares.try_run(6)?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`; refused with kind `Full` if there is no room.
    pub fn try_run(&self, input: W::Input) -> Result<W::Output, CallError<W::Input>> {
        verbs::run(self, input, WaitMode::Never.into())
    }

    /// As [`run`](Self::run), but waits as a future, for room and then for the result. Dropping the future takes the task back if it had
    /// no room yet, and lets it go on otherwise.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// assert_eq!(squares.run_async(6).await?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `run`.
    pub fn run_async(&self, input: W::Input) -> impl Future<Output = Result<W::Output, CallError<W::Input>>> + Send {
        verbs::run_async(self, input)
    }

    /// Options for what is submitted next: a token, a deadline, a name, a key. See [`With`].
    ///
    /// ```
    /// # struct Square;
    /// # impl formicary::Worker for Square {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &formicary::Context<'_>) -> u64 { n * n }
    /// # }
    /// let squares = formicary::StatefulPool::new(1, |_| Ok(Square))?;
    /// let limit = std::time::Duration::from_secs(60);
    /// assert_eq!(squares.with().timeout(limit).run(6)?, 36);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with(&self) -> With<'_, Self> {
        With::new(self)
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

impl<W: Worker, D: Dispatch> AnyPool for StatefulPool<W, D> {
    type Runner = RunWorker<W>;
    type Dispatch = D;

    fn engine(&self) -> &Arc<Engine<RunWorker<W>, D>> {
        &self.engine
    }
}

impl<W: Worker, D: Dispatch> Accepts<W::Input> for StatefulPool<W, D> {
    type Output = W::Output;

    #[inline]
    fn plain(input: W::Input) -> Job<W::Input, W::Output> {
        Job::Plain(input)
    }

    fn into_input(job: Job<W::Input, W::Output>) -> W::Input {
        job.into_payload()
    }

    fn called(input: W::Input, sender: ReplySender<W::Input, W::Output>) -> Job<W::Input, W::Output> {
        Job::Called(input, sender)
    }

    fn answered(task_state: &Arc<TaskState<W::Input, W::Output>>) -> Job<W::Input, W::Output> {
        Job::Answered(TaskRef::new(task_state))
    }
}
