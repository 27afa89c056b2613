//! The trait for workers with state, and what a task can ask about itself.

use std::fmt;
use std::time::Instant;

use crate::cancel::CancelToken;
use crate::task::current_worker;
use crate::task::interrupter::Interrupter;
use crate::task::running_tasks::Overdue;
use crate::task::state::{Cancellable, with_current};

/// A worker of a [`StatefulPool`](crate::StatefulPool): its state, and what it does with an input.
///
/// The pool's factory makes the value on the worker's own thread, where it is also used and dropped. It need not be `Send`.
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
/// assert_eq!(pool.run("the ant and the bee".to_owned())?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Worker: 'static {
    /// What the worker processes.
    type Input: Send + 'static;
    /// What it returns.
    type Output: Send + 'static;

    /// Processes one input. A panic is caught; the [`PanicPolicy`] says what happens to the state.
    fn process(&mut self, input: Self::Input, cx: &Context<'_>) -> Self::Output;

    /// Called before the worker takes an input, after every task. The worker takes nothing until it returns. Default: does nothing.
    ///
    /// Where the state is made anew for a task that a worker has already taken, after a panic, that task waits for `ready` and counts as
    /// running meanwhile.
    ///
    /// A panic drops the state. If a task was already taken, it is cancelled, as if the factory had failed.
    fn ready(&mut self) {}

    /// Whether [`ready`](Self::ready) may block. A worker in `ready` then counts as unavailable: waiting tasks start another
    /// worker, if the capacity allows. Default: `false`.
    const READY_BLOCKS: bool = false;

    /// Returns a way to stop a running `process`. It is called once, when the state is made. Default: `None`.
    ///
    /// The interrupter runs on the thread that stops the task, at most once per task: when a timed call gives up while its task runs, or
    /// when a [`Handle`](crate::Handle) cancels the task. A panic in it is caught and discarded.
    ///
    /// The worker does not start its next task before the interrupter has returned, so an interrupt reaches no other task. The
    /// interrupter may use its own handle, but must not wait without a limit for its own task, which may not end, or for another task
    /// that this worker would have to run.
    ///
    /// An interrupter that sets a flag may do so when `process` has just begun or is about to return. So `process` must clear the flag
    /// when it begins, and check [`Context::is_cancelled`] after that, which becomes true before the interrupter is called.
    fn interrupter(&self) -> Option<Interrupter> {
        None
    }

    /// Called on the worker's thread when the worker ends: because it expires, the pool shrinks, or the pool ends. It is not called
    /// after a panic; then the state is dropped. Default: drops the state.
    fn terminate(self)
    where
        Self: Sized,
    {
    }
}

/// What a worker can ask about the task that it runs.
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
/// assert_eq!(pool.run(())?, (0, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub(crate) worker: usize,
    pub(crate) task: Option<&'a dyn Cancellable>,
    pub(crate) overdue: &'a Overdue,
}

/// Whether the task that the calling thread runs should stop ([`Context::is_cancelled`]). `false` on a thread that runs no task. Does not block.
///
/// ```
/// use formicary::Pool;
///
/// let pool = Pool::new(1)?;
/// let task = pool.spawn(|| {
///     while !formicary::is_cancelled() {
///         std::thread::yield_now(); // a step of the work
///     }
/// })?;
/// while !task.cancel() && !task.is_finished() {}
/// assert!(!formicary::is_cancelled(), "this is no task");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it only says whether to stop"]
pub fn is_cancelled() -> bool {
    Context::with(|cx| cx.is_cancelled()) == Some(true)
}

impl Context<'_> {
    /// Calls `f` with the context of the task that the calling thread runs. Closures and functions get here what [`Worker::process`] gets
    /// as an argument. Returns `None`, without calling `f`, on a thread that is not a worker. Where a task runs inside another one, the
    /// context is that of the inner one.
    ///
    /// ```
    /// use formicary::{Context, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let task = pool.spawn(|| {
    ///     let mut rounds = 0_u64;
    ///     while Context::with(|cx| !cx.is_cancelled()) == Some(true) {
    ///         rounds += 1;
    ///     }
    ///     rounds
    /// })?;
    /// while !task.cancel() && !task.is_finished() {}
    /// assert!(Context::with(|cx| cx.worker()).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with<O>(f: impl FnOnce(&Context<'_>) -> O) -> Option<O> {
        let (pool, worker) = current_worker::innermost()?;
        Some(with_current(|task| f(&Context { worker, task, overdue: pool.overdue() })))
    }

    /// The name that the task was submitted with ([`With::name`](crate::With::name)).
    ///
    /// ```
    /// use formicary::{Context, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let length = pool.with().name("resize").run(|| Context::with(|cx| cx.name().map(str::len)))?;
    /// assert_eq!(length, Some(Some(6)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.task.and_then(Cancellable::name)
    }

    /// The worker's number, below the highest capacity that the pool has had; in a pool that has
    /// [replaced](crate::PoolControl::replace) workers it can be above that, by as many as were replaced.
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
    /// assert_eq!(pool.run(())?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// When the task should have ended: the deadline of its caller or of its token, whichever is earlier. `None` if it has none.
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
    /// assert!(!pool.run(())?);
    /// assert!(pool.with().timeout(std::time::Duration::from_secs(60)).run(())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.task.and_then(Cancellable::deadline)
    }

    /// Whether the task should stop: its caller has given up, its handle or its token is cancelled, or the time of a
    /// [`shutdown_graceful`](crate::PoolControl::shutdown_graceful) is over.
    ///
    /// ```
    /// use formicary::{Context, StatefulPool, Worker};
    /// use std::time::Duration;
    ///
    /// struct Endless;
    /// impl Worker for Endless {
    ///     type Input = ();
    ///     type Output = ();
    ///     fn process(&mut self, _: (), cx: &Context<'_>) {
    ///         while !cx.is_cancelled() {
    ///             std::thread::yield_now();
    ///         }
    ///     }
    /// }
    /// let pool = StatefulPool::new(1, |_| Ok(Endless))?;
    /// assert!(pool.with().timeout(Duration::from_millis(5)).run(()).unwrap_err().is_timed_out());
    /// assert!(pool.wait_idle()); // the task has stopped
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.task.is_some_and(Cancellable::is_cancelled) || self.overdue.is_set()
    }

    /// The task's token, to pass on to code that takes one. It is cancelled when the caller gives up, or by the task's
    /// [`Handle`](crate::Handle). `None` for a task that cannot be cancelled: one submitted without a handle or token, and a call
    /// without a limit. The first call allocates. The token does not learn of a shutdown unless the task was submitted with a token.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// struct Asks;
    /// impl Worker for Asks {
    ///     type Input = ();
    ///     type Output = bool;
    ///     fn process(&mut self, _: (), cx: &Context<'_>) -> bool {
    ///         cx.token().is_some_and(|token| !token.is_cancelled())
    ///     }
    /// }
    /// let pool = StatefulPool::new(1, |_| Ok(Asks))?;
    /// assert!(pool.spawn(())?.join()?);
    /// assert!(!pool.run(())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn token(&self) -> Option<&CancelToken> {
        self.task.map(Cancellable::token)
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("worker", &self.worker)
            .field("deadline", &self.deadline())
            .field("name", &self.name())
            .field("is_cancelled", &self.is_cancelled())
            .finish()
    }
}

/// What happens to a worker's state after a panic in [`Worker::process`].
///
/// ```
/// use formicary::{Context, PanicPolicy, StatefulPool, Worker};
///
/// /// Counts its inputs, and panics where one is `true`.
/// struct Counter(u32);
/// impl Worker for Counter {
///     type Input = bool;
///     type Output = u32;
///     fn process(&mut self, panics: bool, _cx: &Context<'_>) -> u32 {
///         self.0 += 1;
///         assert!(!panics);
///         self.0
///     }
/// }
/// for (policy, count) in [(PanicPolicy::Rebuild, 1), (PanicPolicy::Keep, 2)] {
///     let pool = StatefulPool::builder(|_| Ok(Counter(0))).workers(1).panic_policy(policy).build()?;
///     assert!(pool.run(true).is_err());
///     assert_eq!(pool.run(false)?, count);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PanicPolicy {
    /// The state is dropped, and the factory makes a new one before the next task. This is the default, because a panic may leave the
    /// state half changed. If the factory fails, the worker ends. The last worker stays, tries again for every task, and cancels
    /// the task if that fails too.
    #[default]
    Rebuild,
    /// The state is kept as the panic left it.
    Keep,
}
