//! Tasks that borrow from the stack of the thread that waits for them.
//!
//! A task of a scope may hold references of lifetime `'scope`, but the pool's queue takes only `'static` tasks. So the closure stays in a
//! cell ([`ScopedJob`]), and a [`ScopedRef`] to the cell, with the lifetime erased, is queued. This is sound for two reasons. A
//! `ScopedRef` can only move the closure out of its cell and call it. And [`Pool::scope`] neither returns nor unwinds before every closure
//! that was ever put into a cell has been called and is gone ([`Pending::unfinished`] is 0). A `ScopedRef` may outlive the scope, in the
//! queue; its cell is empty then, and an empty cell has no lifetime. No value that the user holds controls this: [`Scope`] is only lent,
//! and there are no handles that could be leaked.
//!
//! The first of these to come calls the closure: a worker that takes the `ScopedRef` from the queue; the scope's own thread, if it is a
//! worker of the pool, while it waits; the scope's own thread, if the pool gave the `ScopedRef` back; or the spawning thread, if the pool
//! refused it ([`State::run_refused`]).

mod refused;

use std::collections::VecDeque;
use std::convert;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::error::{Cause, Payload, SubmitErrorKind};
use crate::pool::Pool;
use crate::queue::{Dispatch, Stack};
use crate::sync::abort::AbortOnUnwind;
use crate::sync::{Mutex, Thread, current, park};
use crate::task::blocked_workers;
use crate::task::closure::{Body, Task};
use crate::task::current_worker;
use crate::task::liveness::Liveness;
use crate::task::state::{Complete, Completion, Retracted, RunOutcome};

/// Spawns tasks that may borrow; lent by [`Pool::scope`].
///
/// `'scope` is the lifetime of the scope, within which its tasks end. `'env` is the lifetime of what they borrow.
///
/// ```
/// fn spawn_two<'scope>(s: &'scope formicary::Scope<'scope, '_>, one: &'scope mut u32, other: &'scope mut u32) {
///     s.spawn(|| *one += 1);
///     s.spawn(|| *other += 1);
/// }
/// let pool = formicary::Pool::new(2)?;
/// let mut counts = (1, 10);
/// pool.scope(|s| spawn_two(s, &mut counts.0, &mut counts.1));
/// assert_eq!(counts, (2, 11));
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct Scope<'scope, 'env: 'scope, D: Dispatch = Stack> {
    pool: &'env Pool<D>,
    state: Arc<State>,
    /// Makes both lifetimes invariant, as in `std::thread::Scope`.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The state that a scope's thread and its tasks share. It is `'static`: workers may access it after the scope has ended.
struct State {
    owner: Thread,
    pool: current_worker::PoolId,
    /// Whether the owner is a worker of the pool, so that it runs what has not started.
    owner_is_inside: bool,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    /// The number of closures that are not gone yet.
    unfinished: usize,
    /// Closures that the owner may run in place of a worker. Some may have started since.
    queued: VecDeque<Arc<dyn ScopedJob>>,
    /// How many closures have gone since `queued` was last rid of those that have started.
    stale: usize,
    /// Closures that the pool gave back: the owner runs them.
    returned: Vec<Arc<dyn ScopedJob>>,
    panic: Option<Payload>,
}

/// The least number of ended closures after which a list is searched for them.
const STALE: usize = 32;

impl Pending {
    /// Removes the closures that have started from `queued`, once they may be half of it. So a cell does not outlive its closure for long,
    /// and the cost is constant per closure on the average. The caller drops what is returned after it has released the lock.
    fn sweep(&mut self) -> VecDeque<Arc<dyn ScopedJob>> {
        self.stale += 1;
        if self.stale < STALE.max(self.queued.len() / 2) {
            return VecDeque::new();
        }
        self.stale = 0;
        let (queued, started) = mem::take(&mut self.queued).into_iter().partition(|job| job.is_queued());
        self.queued = queued;
        started
    }
}

/// A closure that borrows, in a cell, with its lifetime erased.
trait ScopedJob: Send + Sync {
    /// Whether the closure can still be run from the queue.
    fn is_queued(&self) -> bool;
    /// Calls the closure if it is still queued. `from_queue` if a worker calls it by its `ScopedRef`. Sets `completion` before the call.
    fn run_queued(&self, completion: &mut Completion, state: &Arc<State>, from_queue: bool) -> RunOutcome;
    /// Takes the closure back from the queue; returns whether it was queued.
    fn return_ref(&self) -> bool;
    /// Whether the owner has called the closure in place of a worker.
    fn is_withdrawn(&self) -> bool;
    /// Calls the closure if it was taken back.
    fn run_returned(&self);
}

enum Stage<F> {
    Queued(F),
    Returned(F),
    /// The owner has called it. Its `ScopedRef` refers to nothing any more.
    Withdrawn,
    Empty,
}

impl<F: FnOnce() + Send> ScopedJob for Mutex<Stage<F>> {
    fn is_queued(&self) -> bool {
        matches!(*self.lock(), Stage::Queued(_))
    }

    fn run_queued(&self, completion: &mut Completion, state: &Arc<State>, from_queue: bool) -> RunOutcome {
        let mut stage = self.lock();
        match mem::replace(&mut *stage, Stage::Empty) {
            Stage::Queued(f) => {
                if !from_queue {
                    *stage = Stage::Withdrawn;
                    state.pool.withdrawn().inspect(|withdrawn| withdrawn.add(false));
                }
                drop(stage);
                completion.set(Arc::clone(state) as _);
                f();
                RunOutcome::Ran
            }
            other => {
                *stage = other;
                RunOutcome::Elsewhere
            }
        }
    }

    fn return_ref(&self) -> bool {
        let mut stage = self.lock();
        match mem::replace(&mut *stage, Stage::Empty) {
            Stage::Queued(f) => {
                *stage = Stage::Returned(f);
                true
            }
            other => {
                *stage = other;
                false
            }
        }
    }

    fn is_withdrawn(&self) -> bool {
        matches!(*self.lock(), Stage::Withdrawn)
    }

    fn run_returned(&self) {
        let mut stage = self.lock();
        match mem::replace(&mut *stage, Stage::Empty) {
            Stage::Returned(f) => {
                drop(stage);
                f();
            }
            other => *stage = other,
        }
    }
}

impl Complete for State {
    /// Counts one closure as gone.
    fn complete(&self, panic: Option<Payload>) {
        let mut pending = self.pending.lock();
        pending.unfinished -= 1;
        let is_over = pending.unfinished == 0;
        let swept = pending.sweep();
        let unwanted = match &pending.panic {
            Some(_) => panic,
            None => mem::replace(&mut pending.panic, panic),
        };
        drop(pending);
        drop(swept);
        if is_over {
            self.owner.unpark();
        }
        // A payload's drop is user code, which must not unwind into a waiting scope.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(unwanted))) {
            mem::forget(again);
        }
    }
}

impl State {
    /// Runs a closure that no worker will run, on the calling thread.
    fn run_returned(&self, job: &dyn ScopedJob) {
        let result = catch_unwind(AssertUnwindSafe(|| job.run_returned()));
        self.complete(result.err());
    }

    /// Blocks until every closure is gone. On a worker of the pool it runs those that have not started.
    fn finish(self: &Arc<Self>, pool: current_worker::PoolId) {
        loop {
            let mut pending = self.pending.lock();
            if pending.unfinished == 0 {
                return;
            }
            let (returned, queued) = (pending.returned.pop(), pending.queued.pop_front());
            drop(pending);
            if returned.is_none() && queued.is_none() {
                // The rest has started on other threads, later than this scope. So workers that wait for scopes cannot wait in a
                // circle. A worker that blocks on the full pool is evicted if no other can make progress.
                let _guard = blocked_workers::enter_wait_regardless(pool);
                park(None);
            }
            if let Some(job) = queued {
                current_worker::run_here_unbounded(pool, |completion| job.run_queued(completion, self, false));
            }
            if let Some(job) = returned {
                self.run_refused(job);
            }
        }
    }
}

/// A task of a scope, as the pool's queue holds it.
struct ScopedRef {
    job: Arc<dyn ScopedJob>,
    state: Arc<State>,
}

impl ScopedRef {
    fn return_job(&self) -> bool {
        let is_returned = self.job.return_ref();
        if is_returned {
            self.state.pending.lock().returned.push(Arc::clone(&self.job));
            self.state.owner.unpark();
        }
        is_returned
    }
}

impl Body for ScopedRef {
    fn call(self, completion: &mut Completion) -> RunOutcome {
        self.job.run_queued(completion, &self.state, true)
    }

    /// Returns the closure to the scope's thread, and never to the caller of `shutdown_now`.
    fn retract(self, _kind: SubmitErrorKind, _cause: Cause) -> Retracted<Task> {
        if self.return_job() { Retracted::ToCaller } else { Retracted::Gone(RunOutcome::Elsewhere) }
    }

    fn liveness(&self) -> Liveness {
        if self.job.is_withdrawn() { Liveness::Dead } else { Liveness::Runs }
    }
}

impl Drop for ScopedRef {
    fn drop(&mut self) {
        // Whatever happens to a `ScopedRef`, the scope must end.
        if !self.return_job() && self.job.is_withdrawn() {
            self.state.pool.withdrawn().inspect(|withdrawn| withdrawn.clear());
        }
    }
}

impl<D: Dispatch> Pool<D> {
    /// Lends `f` a [`Scope`] whose tasks may borrow from the caller's stack, and blocks until all of them have ended. Returns the result of
    /// `f`.
    ///
    /// It is [`std::thread::scope`] on the pool's workers. Tasks may spawn more tasks, and scopes may be nested: a worker that waits for a
    /// scope runs the scope's tasks that have not started, as deep as they nest, so one worker is enough.
    ///
    /// Every task runs exactly once, whatever happens to the pool. A task that the pool refuses runs on the spawning thread. A task that
    /// `shutdown_now` removes runs on the thread of the scope, and is counted as returned although no caller gets it. While the pool is
    /// paused, its scopes wait. Tasks that wait for each other need as many workers.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let mut numbers = vec![3, 1, 2];
    /// let (mut sum, mut most) = (0, 0);
    /// pool.scope(|s| {
    ///     s.spawn(|| sum = numbers.iter().sum());
    ///     s.spawn(|| most = *numbers.iter().max().unwrap());
    /// });
    /// numbers.push(sum + most);
    /// assert_eq!(numbers, [3, 1, 2, 9]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// What a task borrows must live longer than the scope:
    ///
    /// ```compile_fail,E0597
    /// let pool = formicary::Pool::new(1).unwrap();
    /// pool.scope(|s| {
    ///     let short = 7;
    ///     s.spawn(|| println!("{}", &short));
    /// });
    /// ```
    ///
    /// A scope cannot leave its closure:
    ///
    /// ```compile_fail,E0521
    /// let pool = formicary::Pool::new(1).unwrap();
    /// let mut escaped = None;
    /// pool.scope(|s| escaped = Some(s));
    /// escaped.unwrap().spawn(|| ());
    /// ```
    ///
    /// # Panics
    /// When all tasks have ended: with the panic of `f`, or else with that of the first task that panicked. The pool also counts and
    /// reports the tasks' panics.
    #[doc(alias("in_place_scope", "scoped"))]
    pub fn scope<'env, F, R>(&'env self, f: F) -> R
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env, D>) -> R,
    {
        let state = State {
            owner: current(),
            pool: self.engine.id(),
            owner_is_inside: self.engine.is_inside(),
            pending: Mutex::new(Pending::default()),
        };
        let scope = Scope { pool: self, state: Arc::new(state), scope: PhantomData, env: PhantomData };
        let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
        AbortOnUnwind::run(|| scope.state.finish(self.engine.id()));
        let panic = scope.state.pending.lock().panic.take();
        match (result, panic) {
            (Ok(value), None) => value,
            (Err(panic), _) | (Ok(_), Some(panic)) => resume_unwind(panic),
        }
    }
}

impl<'scope, D: Dispatch> Scope<'scope, '_, D> {
    /// Submits a task that may borrow from outside the scope. Its return value is dropped: a task writes its result to what it borrows.
    ///
    /// Blocks while the pool is full. If the pool refuses the task (it is closed; it is full and
    /// [`nonblocking`](crate::Builder::nonblocking); or the caller is a worker that would wait for itself), the task runs on the calling
    /// thread before this returns, and the pool does not count it. If the caller is itself such a task of this scope, the new one runs when
    /// the caller has ended, so a chain of them takes no more stack than one. A panic in it is raised at the end of the scope, as any
    /// other. The cost is one allocation, which is freed when the task has ended.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let count = AtomicU32::new(0);
    /// pool.scope(|s| {
    ///     s.spawn(|| {
    ///         s.spawn(|| count.fetch_add(1, Relaxed));
    ///         count.fetch_add(10, Relaxed);
    ///     });
    /// });
    /// assert_eq!(count.into_inner(), 11);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn spawn<F, T>(&'scope self, f: F)
    where
        F: FnOnce() -> T + Send + 'scope,
    {
        let job: Arc<dyn ScopedJob + 'scope> = Arc::new(Mutex::new(Stage::Queued(move || drop(f()))));
        // SAFETY: this only erases the lifetime. `Pending::unfinished` is incremented below, before any other thread sees the cell. It is
        // decremented for this closure only after the closure has been moved out of the cell and called, or dropped by its own
        // unwinding. `Pool::scope`, which every `Scope` comes from, neither returns nor unwinds before `unfinished` is 0, and `'scope`
        // lasts until then. A thread that holds the cell later finds it empty, and dropping it touches nothing of `F`.
        let job = unsafe { mem::transmute::<Arc<dyn ScopedJob + 'scope>, Arc<dyn ScopedJob>>(job) };
        let state = &self.state;
        state.pending.lock().unfinished += 1;
        let task = Task::from_body(ScopedRef { job: Arc::clone(&job), state: Arc::clone(state) });
        match self.pool.engine.submit(task, convert::identity, self.pool.engine.default_mode()) {
            Ok(()) if state.owner_is_inside => {
                let mut pending = state.pending.lock();
                if job.is_queued() {
                    pending.queued.push_back(job);
                    drop(pending);
                    state.owner.unpark();
                }
            }
            Ok(()) => {}
            // `return_ref` has emptied the cell, so the `ScopedRef` that is dropped with the refusal does nothing.
            Err(_refusal) if job.return_ref() => state.run_refused(job),
            Err(_) => {}
        }
    }
}

impl<D: Dispatch> fmt::Debug for Scope<'_, '_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("pending", &self.state.pending.lock().unfinished).finish_non_exhaustive()
    }
}
