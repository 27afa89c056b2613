//! The pool whose workers have state of their own: how it is built, and how its workers run a task.

mod process;
mod submit;

use std::marker::PhantomData;
use std::sync::Arc;

use crate::builder::Builder;
use crate::dispatch::{Dispatch, Stack};
use crate::engine::{Engine, Prospect, Runner};
use crate::error::{BoxError, BuildError, Cause, SubmitErrorKind};
use crate::interrupter::Interrupter;
use crate::job::Job;
use crate::methods::pool_methods;
use crate::slot::{Cancellable, Recalled, Reply, Verdict};
use crate::sync::{AtomicBool, Ordering};
use crate::worker::{Context, PanicPolicy, Worker};

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
    where item W::Input, wrap Job::Plain
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

    const HAS_FACTORY: bool = true;
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

    fn prospect(item: &Self::Item) -> Prospect {
        item.prospect()
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
}
