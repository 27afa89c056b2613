//! The pool whose workers have state of their own.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::builder::{Builder, States};
use crate::dispatch::{Dispatch, Stack};
use crate::engine::{Engine, Patience, Runner};
use crate::error::{BoxError, BuildError, Cause, ProcessError, SubmitError, SubmitErrorKind};
use crate::handle::Handle;
use crate::interrupter::Interrupter;
use crate::job::{self, Job};
use crate::methods::pool_methods;
use crate::slot::{Recalled, Reply, Slot, Verdict};
use crate::sync::{AtomicBool, Ordering};
use crate::worker_pool::deadline;

/// What one worker of a [`StatefulPool`] is: its state, and what it does with an input.
///
/// A value of this type is made by the pool's factory on the worker's own thread, used there, and ended there. It need not be
/// `Send`.
///
/// ```
/// use formicary::{Context, StatefulPool, Worker};
///
/// /// Counts words, in a buffer that is allocated once per thread.
/// struct Words(Vec<String>);
///
/// impl Worker for Words {
///     type Input = String;
///     type Output = usize;
///
///     fn process(&mut self, text: String, _cx: &Context<'_>) -> usize {
///         self.0.clear();
///         self.0.extend(text.split_whitespace().map(str::to_lowercase));
///         self.0.sort_unstable();
///         self.0.dedup();
///         self.0.len()
///     }
/// }
///
/// let pool = StatefulPool::new(2, |_worker| Ok(Words(Vec::new())))?;
/// assert_eq!(pool.process("the ant and the bee".to_owned())?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Worker: 'static {
    /// What it is given.
    type Input: Send + 'static;
    /// What it makes of that.
    type Output: Send + 'static;

    /// Does the work. A panic in it is caught; what becomes of the state then is said by the [`PanicPolicy`].
    fn process(&mut self, input: Self::Input, cx: &Context<'_>) -> Self::Output;

    /// Called before the worker takes work, after every task. Until it returns the worker is given nothing.
    fn ready(&mut self) {}

    /// Whether [`ready`](Self::ready) may block. Then a worker that is in it is not counted on: tasks that wait start
    /// another one, if the capacity allows. Default: `false`.
    const READY_BLOCKS: bool = false;

    /// A way to make a running `process` stop, asked for once when the state is made. It is called from another thread,
    /// at most once per task, when a timed call gives up while its task runs; the worker cannot begin its next task
    /// before the call has returned, so it must not wait for the worker.
    ///
    /// If it leaves a mark (a flag), that mark may be set when `process` has just begun or is about to return. So
    /// `process` must clear it when it begins, and look at [`Context::is_cancelled`] after that, which is set first.
    fn interrupter(&self) -> Option<Interrupter> {
        None
    }

    /// Called on the worker's thread when the worker ends: when it expires, when the pool shrinks, or at the pool's end. Not
    /// called after a panic, when the state is dropped as it is.
    fn terminate(self)
    where
        Self: Sized,
    {
    }
}

/// What a worker can know of the task that it is doing.
///
/// ```
/// use formicary::{Context, StatefulPool, Worker};
///
/// struct Who;
/// impl Worker for Who {
///     type Input = ();
///     type Output = (usize, bool);
///     fn process(&mut self, _: (), cx: &Context<'_>) -> (usize, bool) {
///         (cx.worker(), cx.deadline().is_some() || cx.is_cancelled())
///     }
/// }
/// let pool = StatefulPool::new(1, |_| Ok(Who))?;
/// assert_eq!(pool.process(())?, (0, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Context<'a> {
    worker: usize,
    deadline: Option<Instant>,
    given_up: Option<&'a AtomicBool>,
}

impl Context<'_> {
    /// The worker's number, below the pool's capacity.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// struct Asks;
    /// impl Worker for Asks {
    ///     type Input = ();
    ///     type Output = usize;
    ///     fn process(&mut self, _: (), cx: &Context<'_>) -> usize {
    ///         cx.worker()
    ///     }
    /// }
    /// let pool = StatefulPool::new(1, |_| Ok(Asks))?;
    /// assert_eq!(pool.process(())?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// When the caller stops waiting, if it is a timed call.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// struct Asks;
    /// impl Worker for Asks {
    ///     type Input = ();
    ///     type Output = bool;
    ///     fn process(&mut self, _: (), cx: &Context<'_>) -> bool {
    ///         cx.deadline().is_some()
    ///     }
    /// }
    /// let pool = StatefulPool::new(1, |_| Ok(Asks))?;
    /// assert!(!pool.process(())?);
    /// assert!(pool.process_timeout((), std::time::Duration::from_secs(60))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether nobody waits for the result any more, so that the work may stop.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// struct Asks;
    /// impl Worker for Asks {
    ///     type Input = ();
    ///     type Output = bool;
    ///     fn process(&mut self, _: (), cx: &Context<'_>) -> bool {
    ///         cx.is_cancelled()
    ///     }
    /// }
    /// let pool = StatefulPool::new(1, |_| Ok(Asks))?;
    /// assert!(!pool.process(())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        // ORDERING: Acquire, so that who has seen the interrupter's mark sees this too.
        self.given_up.is_some_and(|given_up| given_up.load(Ordering::Acquire))
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("worker", &self.worker)
            .field("deadline", &self.deadline)
            .field("is_cancelled", &self.is_cancelled())
            .finish()
    }
}

/// What becomes of a worker's state after a panic in [`Worker::process`].
///
/// ```
/// assert_eq!(formicary::PanicPolicy::default(), formicary::PanicPolicy::Rebuild);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PanicPolicy {
    /// The state is dropped and made anew by the factory before the next task. The default: a state that was left in
    /// the middle of something is not to be trusted. If the factory fails, the worker ends; the last one stays,
    /// tries again for every task, and cancels the task if that fails too.
    #[default]
    Rebuild,
    /// The state is kept as the panic left it.
    Keep,
}

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
    engine: Arc<Engine<RunWorker<W>, D>>,
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
    /// States never leave their threads.
    states: PhantomData<fn() -> W>,
}

impl<W: Worker> RunWorker<W> {
    pub(crate) fn new(
        factory: impl Fn(usize) -> Result<W, BoxError> + Send + Sync + 'static,
        panic_policy: PanicPolicy,
    ) -> Self {
        RunWorker { factory: Arc::new(factory), panic_policy, states: PhantomData }
    }
}

/// A state and what belongs to it.
pub(crate) struct Manned<W> {
    state: W,
    worker: usize,
    interrupter: Option<Interrupter>,
}

impl<W: Worker> Runner for RunWorker<W> {
    type Item = Job<W::Input, W::Output>;
    type State = Manned<W>;
    type Returned = W::Input;

    const READY_BLOCKS: bool = W::READY_BLOCKS;

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
                given_up: slot.map(Slot::given_up),
            };
            state.process(input, &cx)
        })
    }

    fn stop(&self, manned: Manned<W>) {
        manned.state.terminate();
    }

    fn discards_after_panic(&self) -> bool {
        self.panic_policy == PanicPolicy::Rebuild
    }

    fn recall(item: Self::Item, kind: SubmitErrorKind, cause: Cause) -> Recalled<W::Input> {
        item.recall(kind, cause)
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
        job::call(&self.engine, input, None)
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
        job::call(&self.engine, input, deadline(limit))
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

    fn enter(&self, input: W::Input, patience: Patience) -> Result<Handle<W::Output>, SubmitError<W::Input>> {
        let slot = Slot::new(input, job::terms(self.engine.id(), false, None));
        job::enter(&self.engine, &slot, patience)?;
        Ok(Handle::new(slot))
    }
}
