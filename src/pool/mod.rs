//! The pool of closures: its kinds, and how it is built.

mod spawn;
mod submit;

use std::sync::Arc;

use crate::builder::Builder;
use crate::dispatch::{Dispatch, Ring, Sharded, Stack};
use crate::engine::{Engine, Prospect, Runner};
use crate::error::{BoxError, BuildError, Cause, SubmitErrorKind};
use crate::methods::pool_methods;
use crate::slot::{Recalled, Reply, Verdict};
use crate::task::Task;

pub(crate) use spawn::answered;

/// A pool that runs closures.
///
/// [`submit`](Self::submit) hands one over and goes on, [`spawn`](Self::spawn) also gives a [`Handle`](crate::Handle) to
/// its result, [`run`](Self::run) waits for the result. Share a pool between threads in an [`Arc`].
///
/// ```
/// use formicary::Pool;
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
/// use std::sync::Arc;
///
/// let pool = Pool::new(4)?;
/// let sum = Arc::new(AtomicUsize::new(0));
/// for n in 1..=100 {
///     let sum = sum.clone();
///     pool.submit(move || { sum.fetch_add(n, Relaxed); })?;
/// }
/// pool.wait_idle();
/// assert_eq!(sum.load(Relaxed), 5050);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool<D: Dispatch = Stack> {
    pub(crate) engine: Arc<Engine<CallTask, D>>,
}

/// A pool of closures with a LIFO stack of idle workers.
///
/// ```
/// assert_eq!(formicary::StackPool::with_workers(2)?.run(|| 7)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type StackPool = Pool<Stack>;

/// A pool of closures with a loop queue: a lock-free ring.
///
/// ```
/// assert_eq!(formicary::LoopPool::with_workers(2)?.run(|| 7)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type LoopPool = Pool<Ring>;

/// A pool of closures with several queues.
///
/// ```
/// assert_eq!(formicary::ShardedPool::with_workers(2)?.run(|| 7)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type ShardedPool = Pool<Sharded>;

pool_methods!(impl [D: Dispatch] Pool<D> where item Task, wrap std::convert::identity);

/// Runs tasks: there is nothing to it.
pub(crate) struct CallTask;

impl Runner for CallTask {
    type Item = Task;
    type State = ();
    type Returned = Task;

    fn start(&self, _worker: usize) -> Result<(), BoxError> {
        Ok(())
    }

    fn run(&self, _state: &mut (), item: Task, reply: &mut Reply) -> Verdict {
        item.call(reply)
    }

    fn spare_state(&self) -> Option<()> {
        Some(())
    }

    fn prospect(item: &Task) -> Prospect {
        item.prospect()
    }

    fn recall(item: Task, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        item.recall(kind, cause)
    }
}

/// Builds a [`Pool`]; made by [`Pool::builder`].
///
/// ```
/// let builder: formicary::Builder<formicary::Closures> = formicary::Pool::builder();
/// assert!(builder.build().is_ok());
/// ```
#[derive(Debug)]
pub struct Closures;

impl<D: Dispatch> Builder<Closures, D> {
    /// Builds the pool and starts its minimum of workers.
    ///
    /// ```
    /// let error = formicary::Pool::builder().workers(2).min_workers(3).build().unwrap_err();
    /// assert_eq!(error.to_string(), "min_workers is 3, which is above workers, 2");
    /// ```
    ///
    /// # Errors
    /// [`BuildError`], which names the option that was wrong, or why the first worker could not start.
    pub fn build(self) -> Result<Pool<D>, BuildError> {
        Engine::build(self.options, CallTask).map(Pool::from_engine)
    }
}

impl Pool<Stack> {
    /// A pool of at most `workers` workers, all else as the [`Builder`]'s defaults.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.capacity(), 4);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too many, or if the system gives no thread.
    pub fn new(workers: usize) -> Result<Self, BuildError> {
        Self::builder().workers(workers).build()
    }

    /// A builder for a pool of closures.
    ///
    /// ```
    /// use formicary::Pool;
    ///
    /// let pool = Pool::builder().workers(2).queue(0).thread_name("mill").build()?;
    /// assert_eq!(pool.capacity(), 2);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn builder() -> Builder<Closures> {
        Builder::of(Closures)
    }
}

impl<D: Dispatch> Pool<D> {
    pub(crate) fn from_engine(engine: Arc<Engine<CallTask, D>>) -> Self {
        Pool { engine }
    }

    /// As [`new`](Pool::new), for any dispatch.
    ///
    /// ```
    /// let pool = formicary::LoopPool::with_workers(4)?;
    /// assert_eq!(pool.capacity(), 4);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] if `workers` is 0 or too many, or if the system gives no thread.
    pub fn with_workers(workers: usize) -> Result<Self, BuildError> {
        Pool::builder().workers(workers).dispatch::<D>().build()
    }
}
