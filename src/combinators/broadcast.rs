//! One closure for every worker, on its state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{Broadcast, Engine, Runner};
use crate::error::{Cause, JoinError, SubmitError, SubmitErrorKind};
use crate::pool::examples::square;
use crate::pool::{Pool, PoolWithFunc, StatefulPool};
use crate::queue::Dispatch;
use crate::sync::Mutex;
use crate::sync::clock::deadline;
use crate::task::worker::Worker;

/// The answers of the workers to a [`broadcast`](Pool::broadcast), each with the worker's number, in ascending order.
///
/// ```
/// let pool = formicary::Pool::builder().workers(2).min_workers(2).build()?;
/// let answers: formicary::Answers<u8> = pool.broadcast(|| 7)?;
/// let sum: u8 = answers.into_iter().filter_map(|(_worker, answer)| answer.ok()).sum();
/// assert_eq!(sum, 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Answers<R> = Vec<(usize, Result<R, JoinError>)>;

/// A closure in the mailboxes of the workers. It is dropped before the latch opens, so the answers are stored apart from it.
struct Call<F, S, R> {
    f: F,
    run: fn(&F, &mut S) -> R,
    answers: Arc<Mutex<Collected<R>>>,
}

/// The answers of one broadcast.
struct Collected<R> {
    answers: Answers<R>,
    /// The broadcast has returned, and later answers are dropped.
    is_over: bool,
}

impl<F, S, R> Call<F, S, R> {
    fn answer(&self, worker: usize, answer: Result<R, JoinError>) {
        let mut collected = self.answers.lock();
        if !collected.is_over {
            collected.answers.push((worker, answer));
            return;
        }
        drop(collected);
        drop(answer);
    }
}

impl<F, S, R> Broadcast<S> for Call<F, S, R>
where
    F: Send + Sync,
    R: Send,
{
    fn run(&self, worker: usize, state: &mut S) {
        let answer = (self.run)(&self.f, state);
        self.answer(worker, Ok(answer));
    }

    fn repeat(&self, state: &mut S) {
        drop((self.run)(&self.f, state));
    }

    fn fail(&self, worker: usize, error: JoinError) {
        self.answer(worker, Err(error));
    }
}

/// Has every worker call `f` by way of `run`, and collects the answers until the deadline.
fn send_to_all<E, D, F, R>(
    engine: &Engine<E, D>,
    f: F,
    run: fn(&F, &mut E::State) -> R,
    key: Option<&str>,
    deadline: Option<Instant>,
) -> Result<Answers<R>, SubmitError<F>>
where
    E: Runner,
    D: Dispatch,
    F: Send + Sync + 'static,
    R: Send + 'static,
    E::State: 'static,
{
    if engine.is_inside() {
        return Err(SubmitError::new(SubmitErrorKind::WouldDeadlock, f));
    }
    if engine.is_closed() {
        return Err(SubmitError::new(SubmitErrorKind::Closed, f));
    }
    engine.await_beginners(deadline);
    let collected = Arc::new(Mutex::new(Collected { answers: Vec::new(), is_over: false }));
    let latch = engine.post(Arc::new(Call { f, run, answers: Arc::clone(&collected) }), key);
    let is_late = !latch.wait(deadline);
    let unstarted = if is_late { engine.withdraw(&latch) } else { Vec::new() };
    let mut answers = {
        let mut collected = collected.lock();
        collected.is_over = true;
        std::mem::take(&mut collected.answers)
    };
    if is_late {
        let mut answered: Vec<_> = answers.iter().map(|(worker, _)| *worker).collect();
        answered.sort_unstable();
        let missing = latch.workers().iter().filter(|worker| answered.binary_search(worker).is_err());
        answers.extend(missing.map(|worker| {
            let cause = if unstarted.contains(worker) { Cause::Expired } else { Cause::TimedOut };
            (*worker, Err(JoinError::new(cause)))
        }));
    }
    answers.sort_unstable_by_key(|(worker, _)| *worker);
    Ok(answers)
}

impl<D: Dispatch> Pool<D> {
    /// Runs `f` once on every worker thread of the pool, and blocks until all have run it: a sleeping worker at once, a busy one between
    /// its task and the next. Returns the workers' answers in the order of their numbers; none if no worker is alive. It is for what each
    /// thread has of its own: thread-locals to set or to clear, caches to drop, figures to collect.
    ///
    /// - It starts no thread, so it does not wait for one on a pool that is paused, has no workers, or is refused threads. Workers start on
    ///   demand and end when they have been idle for the [`expiry`](crate::Builder::expiry): to reach them all, build the pool with
    ///   [`min_workers`](crate::Builder::min_workers). For threads that start later, use
    ///   [`on_thread_start`](crate::Builder::on_thread_start).
    /// - A worker that is about to end runs `f` first.
    /// - All workers run concurrent broadcasts in the same order.
    /// - A broadcast is not a task: it needs no room in the queue, counts neither as submitted nor as running, and runs also while the pool
    ///   is paused.
    /// - A panic in `f` is that worker's answer. It is reported to the panic handler and counted in
    ///   [`handler_panics`](crate::Stats::handler_panics). The worker goes on.
    ///
    /// `f` is dropped before this returns. A task that never ends blocks this for ever; [`broadcast_timeout`](Self::broadcast_timeout) has
    /// a limit. The cost is proportional to the number of workers.
    ///
    /// ```
    /// use std::cell::Cell;
    ///
    /// thread_local! { static CALLS: Cell<u32> = const { Cell::new(0) } }
    ///
    /// let pool = formicary::Pool::builder().workers(2).min_workers(2).build()?;
    /// for _ in 0..10 {
    ///     pool.submit(|| CALLS.set(CALLS.get() + 1))?;
    /// }
    /// pool.wait_idle();
    /// let calls = pool.broadcast(|| CALLS.take())?;
    /// assert_eq!(calls.into_iter().filter_map(|(_worker, calls)| calls.ok()).sum::<u32>(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`] with `f`, which no worker has run: of kind `Closed` if the pool is shut down; of kind `WouldDeadlock` on a worker of
    /// this pool, since the others may wait for its task.
    pub fn broadcast<F, R>(&self, f: F) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        send_to_all(&self.engine, f, |f, ()| f(), None, None)
    }

    /// As [`broadcast`](Self::broadcast), for at most `limit`. A worker that has not begun by then does not run `f`: its answer is an error
    /// that is both [`is_cancelled`](JoinError::is_cancelled) and [`is_timed_out`](JoinError::is_timed_out). For a worker that still runs
    /// `f`, the error is only the latter; the worker goes on, its own answer is dropped, and `f` lives until then.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::builder().workers(2).min_workers(2).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || gate.recv())?;
    /// while pool.running() == 0 {
    ///     std::thread::yield_now();
    /// }
    /// let answers = pool.broadcast_timeout(|| (), Duration::from_millis(50))?;
    /// assert_eq!(answers.len(), 2);
    /// assert_eq!(answers.iter().filter(|(_worker, answer)| answer.is_err()).count(), 1);
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `broadcast`. A limit that has passed is not an error of the broadcast.
    pub fn broadcast_timeout<F, R>(&self, f: F, limit: Duration) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        send_to_all(&self.engine, f, |f, ()| f(), None, deadline(limit))
    }
}

impl<T: Send + 'static, D: Dispatch, A: Send + 'static> PoolWithFunc<T, D, A> {
    /// Runs `f`, not the bound function, once on every worker thread of the pool; see [`Pool::broadcast`].
    ///
    /// ```
    /// let pool = formicary::PoolWithFunc::builder(|n: u64| n + 1).workers(2).min_workers(2).build()?;
    /// let names = pool.broadcast(|| std::thread::current().name().map(str::to_owned))?;
    /// assert_eq!(names.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pool::broadcast`].
    pub fn broadcast<F, R>(&self, f: F) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        send_to_all(&self.engine, f, |f, ()| f(), None, None)
    }

    /// As [`broadcast`](Self::broadcast), for at most `limit`; see [`Pool::broadcast_timeout`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::PoolWithFunc::builder(|n: u64| n + 1).workers(2).min_workers(2).build()?;
    /// assert_eq!(pool.broadcast_timeout(|| (), Duration::from_secs(60))?.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pool::broadcast`].
    pub fn broadcast_timeout<F, R>(&self, f: F, limit: Duration) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        send_to_all(&self.engine, f, |f, ()| f(), None, deadline(limit))
    }
}

impl<W: Worker, D: Dispatch> StatefulPool<W, D> {
    /// Runs `f` once on the state of every worker that has one, and blocks until all have run it: a sleeping worker at once, a busy one
    /// between its task and the next. Returns the workers' answers in the order of their numbers; none if no worker is alive.
    ///
    /// - A state that is made later, for a new worker or after a panic, is left out;
    ///   [`broadcast_and_remember`](Self::broadcast_and_remember) includes it. A worker that is about to end runs `f` before its
    ///   [`terminate`](Worker::terminate).
    /// - All workers run concurrent broadcasts in the same order.
    /// - A broadcast is not a task: it needs no room in the queue, counts neither as submitted nor as running, and runs also while the pool
    ///   is paused. No time limit interrupts it. [`ready`](Worker::ready) is called again after it.
    /// - A panic in `f` is that worker's answer. It is reported to the panic handler and counted in
    ///   [`handler_panics`](crate::Stats::handler_panics), and the [`PanicPolicy`](crate::PanicPolicy) decides about the state. A worker
    ///   that loses its state to a panic before it runs `f` answers with an error that is [`is_cancelled`](JoinError::is_cancelled).
    ///
    /// `f` is dropped before this returns. A task that never ends blocks this for ever; [`broadcast_timeout`](Self::broadcast_timeout) has
    /// a limit.
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
    /// [`SubmitError`] with `f`, which no worker has run: of kind `Closed` if the pool is shut down; of kind `WouldDeadlock` on a worker of
    /// this pool, whose own state is in use.
    pub fn broadcast<F, R>(&self, f: F) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn(&mut W) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        send_to_all(&self.engine, f, |f, made| f(made.state()), None, None)
    }

    /// As [`broadcast`](Self::broadcast), for at most `limit`. A worker that has not begun by then does not run `f`: its answer is an error
    /// that is both [`is_cancelled`](JoinError::is_cancelled) and [`is_timed_out`](JoinError::is_timed_out). For a worker that still runs
    /// `f`, the error is only the latter; the worker goes on, its own answer is dropped, and `f` lives until then.
    ///
    /// ```
    /// # use formicary::{Context, StatefulPool, Worker};
    /// # struct Reads;
    /// # impl Worker for Reads {
    /// #     type Input = std::sync::mpsc::Receiver<()>;
    /// #     type Output = ();
    /// #     fn process(&mut self, input: Self::Input, _: &Context<'_>) { drop(input.recv()) }
    /// # }
    /// use std::time::Duration;
    ///
    /// let pool = StatefulPool::new(1, |_worker| Ok(Reads))?;
    /// let (done, gate) = std::sync::mpsc::channel();
    /// let busy = pool.spawn(gate)?;
    /// while pool.running() == 0 {
    ///     std::thread::yield_now();
    /// }
    /// let answers = pool.broadcast_timeout(|_| (), Duration::from_millis(1)).unwrap();
    /// assert!(matches!(&answers[..], [(0, Err(late))] if late.is_timed_out() && late.is_cancelled()));
    /// drop(done);
    /// busy.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `broadcast`. A limit that has passed is not an error of the broadcast.
    pub fn broadcast_timeout<F, R>(&self, f: F, limit: Duration) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn(&mut W) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        send_to_all(&self.engine, f, |f, made| f(made.state()), None, deadline(limit))
    }

    /// As [`broadcast`](Self::broadcast), and also runs `f` on every state that is made later, for a new worker or after a panic, before
    /// its first task. No state is missed in between. A closure with the same `key` replaces the one before; [`forget`](Self::forget)
    /// removes it. Several closures run in the order in which they were given.
    ///
    /// Under [`PanicPolicy::Rebuild`](crate::PanicPolicy), a panic of `f` on a state that was made later counts as a failure of the
    /// factory. The closures survive a shutdown and a [`restart`](crate::PoolControl::restart).
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
    /// As `broadcast`. Then `f` is not remembered, and a closure with the same key stays.
    pub fn broadcast_and_remember<F, R>(&self, key: &str, f: F) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn(&mut W) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        send_to_all(&self.engine, f, |f, made| f(made.state()), Some(key), None)
    }

    /// Drops the closure that is remembered under `key`, and returns whether there was one. Existing states stay as they are. Never blocks.
    ///
    /// ```
    #[doc = square!()]
    /// let pool = StatefulPool::new(1, |_| Ok(Square))?;
    /// pool.broadcast_and_remember("greeting", |_| println!("hello")).unwrap();
    /// assert!(pool.forget("greeting"));
    /// assert!(!pool.forget("greeting"));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn forget(&self, key: &str) -> bool {
        self.engine.forget(key)
    }
}
