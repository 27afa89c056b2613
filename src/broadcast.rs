//! One closure for every worker's state.

use std::sync::Arc;

use crate::dispatch::Dispatch;
use crate::engine::Order;
use crate::error::{JoinError, SubmitError, SubmitErrorKind};
use crate::pool::{StateOfWorker, StatefulPool};
use crate::sync::Mutex;
use crate::worker::Worker;

/// What the workers answered to a [`broadcast`](StatefulPool::broadcast), in the order of their numbers.
///
/// ```
/// # use formicary::{Answers, Context, StatefulPool, Worker};
/// # struct Echo;
/// # impl Worker for Echo {
/// #     type Input = u64;
/// #     type Output = u64;
/// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { n }
/// # }
/// let pool = StatefulPool::builder(|_| Ok(Echo)).workers(2).min_workers(2).build()?;
/// let answers: Answers<u8> = pool.broadcast(|_| 7).unwrap();
/// let sum: u8 = answers.into_iter().filter_map(|(_worker, answer)| answer.ok()).sum();
/// assert_eq!(sum, 14);
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub type Answers<R> = Vec<(usize, Result<R, JoinError>)>;

/// A closure on its way to the workers. It is dropped before the last of them is counted out, and so the answers are apart.
struct Call<F, R> {
    f: F,
    answers: Arc<Mutex<Answers<R>>>,
}

impl<W, F, R> Order<StateOfWorker<W>> for Call<F, R>
where
    F: Fn(&mut W) -> R + Send + Sync,
    R: Send,
{
    fn run(&self, worker: usize, made: &mut StateOfWorker<W>) {
        let answer = (self.f)(made.state());
        self.answers.lock().push((worker, Ok(answer)));
    }

    fn repeat(&self, made: &mut StateOfWorker<W>) {
        drop((self.f)(made.state()));
    }

    fn fail(&self, worker: usize, error: JoinError) {
        self.answers.lock().push((worker, Err(error)));
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// Runs `f` once on the state of every worker that has one, and blocks until all have done so: a sleeping worker at once,
    /// a busy one after its task and before the next. Says what each answered, in the order of the workers' numbers; empty if
    /// no worker is alive.
    ///
    /// - Workers that get their state later, be it their first or one after a panic, are left out:
    ///   [`broadcast_and_remember`](Self::broadcast_and_remember) is for them too. A worker that is about to end runs `f`
    ///   before its [`terminate`](Worker::terminate).
    /// - Of several broadcasts at the same time each worker runs all in the same order.
    /// - A broadcast is no task: it needs no room in the queue, counts neither as submitted nor as running, and goes on while
    ///   the pool is paused. No time limit interrupts it. [`ready`](Worker::ready) is called again after it.
    /// - A panic in `f` is that worker's answer. It is told to the panic handler and counted in
    ///   [`handler_panics`](crate::Stats::handler_panics), and the state is treated by the
    ///   [`PanicPolicy`](crate::PanicPolicy). A worker that loses its state to a panic before its turn answers with an error
    ///   for which [`is_cancelled`](JoinError::is_cancelled) is true.
    ///
    /// `f` is dropped before this returns. There is no time limit: a task that never ends blocks it for ever.
    ///
    /// ```
    /// use formicary::{Context, StatefulPool, Worker};
    ///
    /// struct Cache(Vec<u64>);
    /// impl Worker for Cache {
    ///     type Input = u64;
    ///     type Output = usize;
    ///     fn process(&mut self, n: u64, _: &Context<'_>) -> usize {
    ///         self.0.push(n);
    ///         self.0.len()
    ///     }
    /// }
    /// let pool = StatefulPool::new(1, |_worker| Ok(Cache(Vec::new())))?;
    /// pool.run(7)?;
    /// let dropped = pool.broadcast(|cache| cache.0.drain(..).count()).unwrap();
    /// assert!(matches!(dropped[..], [(0, Ok(1))]));
    /// assert_eq!(pool.run(8)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`] with `f`, which was run nowhere: of kind `Closed` if the pool is shut down, and `WouldDeadlock` from a
    /// thread that is a worker of this pool, whose own state is in use.
    pub fn broadcast<F, R>(&self, f: F) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn(&mut W) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        self.post(f, None)
    }

    /// As [`broadcast`](Self::broadcast), and also runs `f` on every state that is made later, be it of a new worker or after
    /// a panic, before its first task: between the two no state is missed. One with the same `key` takes the place of the one
    /// before; [`forget`](Self::forget) ends it. Several run in the order in which they were given.
    ///
    /// A panic of `f` on a state that was made later counts, under [`PanicPolicy::Rebuild`](crate::PanicPolicy), as a failure
    /// of the factory. What is remembered outlives a shutdown and holds after a [`restart`](crate::PoolControl::restart).
    ///
    /// ```
    /// use formicary::{Context, StatefulPool, Worker};
    ///
    /// struct Filter { rules: &'static str }
    /// impl Worker for Filter {
    ///     type Input = ();
    ///     type Output = &'static str;
    ///     fn process(&mut self, _: (), _: &Context<'_>) -> &'static str {
    ///         self.rules
    ///     }
    /// }
    /// let pool = StatefulPool::builder(|_| Ok(Filter { rules: "old" })).workers(2).min_workers(0).build()?;
    /// pool.broadcast_and_remember("rules", |filter| filter.rules = "new").unwrap();
    /// assert_eq!(pool.run(())?, "new"); // by a worker that did not exist then
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `broadcast`; then nothing is remembered, and what was stays.
    pub fn broadcast_and_remember<F, R>(&self, key: &str, f: F) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn(&mut W) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        self.post(f, Some(key))
    }

    /// Forgets what was remembered under `key`, and drops it; says whether there was anything. States that exist stay as
    /// they are. Never blocks.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Echo;
    /// # impl Worker for Echo {
    /// #     type Input = u64;
    /// #     type Output = u64;
    /// #     fn process(&mut self, n: u64, _: &Context<'_>) -> u64 { n }
    /// # }
    /// let pool = StatefulPool::new(1, |_| Ok(Echo))?;
    /// pool.broadcast_and_remember("greeting", |_| println!("hello")).unwrap();
    /// assert!(pool.forget("greeting"));
    /// assert!(!pool.forget("greeting"));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn forget(&self, key: &str) -> bool {
        self.engine.forget(key)
    }

    fn post<F, R>(&self, f: F, key: Option<&str>) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn(&mut W) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        if self.engine.is_inside() {
            return Err(SubmitError::new(SubmitErrorKind::WouldDeadlock, f));
        }
        if self.engine.is_closed() {
            return Err(SubmitError::new(SubmitErrorKind::Closed, f));
        }
        let answers = Arc::default();
        let call = Call { f, answers: Arc::clone(&answers) };
        self.engine.post(Arc::new(call), key).wait();
        let mut answers: Answers<R> = std::mem::take(&mut *answers.lock());
        answers.sort_unstable_by_key(|(worker, _)| *worker);
        Ok(answers)
    }
}
