//! A worker with state, as the user writes one.

use std::fmt;
use std::time::Instant;

use crate::cancel::CancelToken;
use crate::task::current_worker;
use crate::task::interrupter::Interrupter;
use crate::task::running_tasks::Overdue;
use crate::task::state::{Cancellable, with_current};

/// What one worker of a [`StatefulPool`](crate::StatefulPool) is: its state, and what it does with an input.
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
/// assert_eq!(pool.run("the ant and the bee".to_owned())?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Worker: 'static {
    /// What it is given.
    type Input: Send + 'static;
    /// What it makes of that.
    type Output: Send + 'static;

    /// Does the work. A panic in it is caught; what becomes of the state then is said by the [`PanicPolicy`].
    fn process(&mut self, input: Self::Input, cx: &Context<'_>) -> Self::Output;

    /// Called before the worker takes work, after every task. Until it returns the worker is given nothing. A state that was made
    /// anew for the next task, after a panic, gets ready while that task waits, which counts as running meanwhile.
    ///
    /// A panic in it costs the state. If it was made for a task in hand, that task is cancelled as if the factory had failed.
    fn ready(&mut self) {}

    /// Whether [`ready`](Self::ready) may block. Then a worker that is in it is not counted on: tasks that wait start
    /// another one, if the capacity allows. Default: `false`.
    const READY_BLOCKS: bool = false;

    /// A way to make a running `process` stop, asked for once when the state is made. It is called by the thread that stops the
    /// task, at most once per task: when a timed call gives up while its task runs, or when a [`Handle`](crate::Handle) cancels
    /// it. A panic in it is caught, and told to nobody.
    ///
    /// The worker does not begin its next task before the call has returned, so an interrupt reaches no other task. The
    /// interrupter may ask its own handle anything, but must not wait without a limit for its own task, which may not end, nor
    /// for any other that this worker would have to run.
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
/// assert_eq!(pool.run(())?, (0, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub(crate) worker: usize,
    pub(crate) task: Option<&'a dyn Cancellable>,
    pub(crate) overdue: &'a Overdue,
}

impl Context<'_> {
    /// Calls `f` with the context of the task that the calling thread is running: what [`Worker::process`] gets as an argument, for
    /// closures and functions. `None`, without a call, on a thread that is not a worker of a pool. A task that runs in the middle of
    /// another one is the one that is meant.
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

    /// What the task was called when it was submitted ([`With::name`](crate::With::name)).
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

    /// The worker's number, below the highest capacity that the pool has had.
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
    /// assert!(!pool.run(())?);
    /// assert!(pool.with().timeout(std::time::Duration::from_secs(60)).run(())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.task.and_then(Cancellable::deadline)
    }

    /// Whether the work should stop: the timed caller has given up, or the time of a
    /// [`shutdown_graceful`](crate::PoolControl::shutdown_graceful) is over.
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
    /// assert!(!pool.run(())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.task.is_some_and(Cancellable::is_cancelled) || self.overdue.is_set()
    }

    /// The task's token, to give to code that wants one: cancelled when a timed or cancellable caller gives up, or by the
    /// task's [`Handle`](crate::Handle). `None` for a task that nobody can cancel: one whose result nobody waits for, and one
    /// whose caller waits for it however long it takes. Costs an allocation where nobody has asked before. Does not know of a shutdown unless the task was submitted with a token.
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
