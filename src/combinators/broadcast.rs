//! One closure for every worker, and its state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{Broadcast, Engine, Runner};
use crate::error::{Cause, JoinError, SubmitError, SubmitErrorKind};
use crate::pool::{Pool, PoolWithFunc, StatefulPool};
use crate::queue::Dispatch;
use crate::sync::Mutex;
use crate::sync::clock::deadline;
use crate::task::worker::Worker;

/// What the workers answered to a [`broadcast`](Pool::broadcast), in the order of their numbers.
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
struct Call<F, S, R> {
    f: F,
    run: fn(&F, &mut S) -> R,
    answers: Arc<Mutex<Collected<R>>>,
}

/// The answers of one broadcast.
struct Collected<R> {
    answers: Answers<R>,
    /// Nobody waits for more.
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

/// Has every worker call `f`, as `run` does it, and collects the answers until the deadline.
fn post<E, D, F, R>(
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
    let mut book = collected.lock();
    book.is_over = true;
    let mut answers = std::mem::take(&mut book.answers);
    drop(book);
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
    /// Runs `f` once on every worker thread that the pool has, and blocks until all have done so: a sleeping worker at once, a busy one
    /// after its task and before the next. Says what each answered, in the order of the workers' numbers; empty if no worker is
    /// alive. For what each thread has of its own: thread-locals to set or to clear, caches to drop, figures to collect.
    ///
    /// - It starts no thread. Workers start on demand, up to the capacity, and end when they have been idle for the
    ///   [`expiry`](crate::Builder::expiry): for all to be there, build with [`min_workers`](crate::Builder::min_workers). What those
    ///   that start later are to do is for [`on_thread_start`](crate::Builder::on_thread_start). So a pool that is paused, that has let
    ///   its workers go, or that the system gives no threads, keeps nobody waiting.
    /// - A worker that is about to end runs `f` first.
    /// - Of several broadcasts at the same time each worker runs all in the same order.
    /// - A broadcast is no task: it needs no room in the queue, counts neither as submitted nor as running, and goes on while
    ///   the pool is paused.
    /// - A panic in `f` is that worker's answer. It is told to the panic handler and counted in
    ///   [`handler_panics`](crate::Stats::handler_panics); the worker goes on.
    ///
    /// `f` is dropped before this returns. A task that never ends blocks it for ever;
    /// [`broadcast_timeout`](Self::broadcast_timeout) has a limit. Takes time in proportion to the number of workers.
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
    /// [`SubmitError`] with `f`, which was run nowhere: of kind `Closed` if the pool is shut down, and `WouldDeadlock` from a thread that
    /// is a worker of this pool: the others may wait for its task.
    pub fn broadcast<F, R>(&self, f: F) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        post(&self.engine, f, |f, ()| f(), None, None)
    }

    /// As [`broadcast`](Self::broadcast), for at most `limit`. A worker that has not begun by then does not run `f`: its answer is an
    /// error for which [`is_cancelled`](JoinError::is_cancelled) and [`is_timed_out`](JoinError::is_timed_out) are true. One that is still at
    /// it goes on, and its answer, for which only the latter is true, is dropped when it comes; `f` lives as long.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::builder().workers(2).min_workers(2).build()?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || gate.recv())?;
    /// let answers = pool.broadcast_timeout(|| (), Duration::from_millis(50))?;
    /// assert_eq!(answers.len(), 2);
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `broadcast`. That the time is up is no error of the whole.
    pub fn broadcast_timeout<F, R>(&self, f: F, limit: Duration) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        post(&self.engine, f, |f, ()| f(), None, deadline(limit))
    }
}

impl<T: Send + 'static, D: Dispatch, A: Send + 'static> PoolWithFunc<T, D, A> {
    /// Runs `f`, and not the bound function, once on every worker thread that the pool has; see [`Pool::broadcast`].
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
        post(&self.engine, f, |f, ()| f(), None, None)
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
        post(&self.engine, f, |f, ()| f(), None, deadline(limit))
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
    /// `f` is dropped before this returns. A task that never ends blocks it for ever; [`broadcast_timeout`](Self::broadcast_timeout) has
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
    /// [`SubmitError`] with `f`, which was run nowhere: of kind `Closed` if the pool is shut down, and `WouldDeadlock` from a
    /// thread that is a worker of this pool, whose own state is in use.
    pub fn broadcast<F, R>(&self, f: F) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn(&mut W) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        post(&self.engine, f, |f, made| f(made.state()), None, None)
    }

    /// As [`broadcast`](Self::broadcast), for at most `limit`. A worker that has not begun by then does not run `f`: its answer is an
    /// error for which [`is_cancelled`](JoinError::is_cancelled) and [`is_timed_out`](JoinError::is_timed_out) are true. One that is still at
    /// it goes on, and its answer, for which only the latter is true, is dropped when it comes; `f` lives as long.
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
    /// As `broadcast`. That the time is up is no error of the whole.
    pub fn broadcast_timeout<F, R>(&self, f: F, limit: Duration) -> Result<Answers<R>, SubmitError<F>>
    where
        F: Fn(&mut W) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        post(&self.engine, f, |f, made| f(made.state()), None, deadline(limit))
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
        post(&self.engine, f, |f, made| f(made.state()), Some(key), None)
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
}
