//! Tasks that borrow from the stack of the thread that waits for them.
//!
//! A task of a scope may hold references of lifetime `'scope`, but the pool keeps only `'static` tasks. So the lifetime is erased. This is
//! sound because [`Pool::scope`] neither returns nor unwinds before every closure that was ever spawned has been called and is gone
//! (`State::unfinished` is 0). No value that the user holds controls this: [`Scope`] is only lent, and there are no handles that could be
//! leaked.
//!
//! A worker of the pool pushes what it spawns to its own deque, where the scope's thread takes it back, if that is the worker, or others steal
//! it (`engine/stealing.rs`). Other threads submit it to the queue (`queued.rs`).
//!
//! The first of these to come calls a closure from the queue: a worker that takes it from there; the scope's own thread, if it is a
//! worker of the pool, while it waits; the scope's own thread, if the pool gave the closure back; or the spawning thread, if the pool
//! refused it ([`State::run_refused`]).

mod queued;
mod refused;
mod state;

use std::convert;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::pool::Pool;
use crate::queue::{Dispatch, Stack};
use crate::sync::Mutex;
use crate::sync::abort::AbortOnUnwind;
use crate::task::closure::Task;
use crate::task::state::heap_job;

use queued::{ScopedJob, ScopedRef, Stage};
use state::State;

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

impl<D: Dispatch> Pool<D> {
    /// Lends `f` a [`Scope`] whose tasks may borrow from the caller's stack, and blocks until all of them have ended. Returns the result of
    /// `f`.
    ///
    /// It is [`std::thread::scope`] on the pool's workers. Tasks may spawn more tasks, and scopes may be nested: a worker that waits for a
    /// scope runs the scope's tasks that have not started, as deep as they nest, so one worker is enough. Tasks that wait for each other need
    /// as many workers.
    ///
    /// Every task runs exactly once, whatever happens to the pool. A task that the pool refuses runs on the spawning thread. A task that
    /// `shutdown_now` removes runs on the thread of the scope, and is counted as returned although no caller gets it. While the pool is
    /// paused, the scopes of other threads wait.
    ///
    /// On a worker of the pool a scope is made for small parts of recursive work, as [`join`](Self::join) is: what a worker spawns waits in the
    /// worker's own deque. The worker takes the newest first, and idle workers steal the oldest. Such a task needs no room in the queue and is
    /// never refused. It is counted when it starts, and not as queued.
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
        self.engine.with_local(|local| {
            let local = local.map(|local| (local, local.height()));
            let state = Arc::new(State::new(self.engine.id(), local.is_some()));
            let scope = Scope { pool: self, state, scope: PhantomData, env: PhantomData };
            let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
            AbortOnUnwind::run(|| scope.state.finish(self, local));
            match (result, scope.state.take_panic()) {
                (Ok(value), None) => value,
                (Err(panic), _) | (Ok(_), Some(panic)) => resume_unwind(panic),
            }
        })
    }
}

impl<'scope, D: Dispatch> Scope<'scope, '_, D> {
    /// Submits a task that may borrow from outside the scope. Its return value is dropped: a task writes its result to what it borrows.
    ///
    /// Does not block on a worker of the pool. On another thread it blocks while the pool is full. If the pool refuses the task (it is closed, or
    /// it is full and [`nonblocking`](crate::Builder::nonblocking)), the task runs on the calling thread before this returns, and the pool does
    /// not count it. If the caller is itself such a task of this scope, the new one runs when the caller has ended, so a chain of them takes no
    /// more stack than one. A panic in it is raised at the end of the scope, as any other. The cost is one allocation, which is freed when the
    /// task has ended.
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
        match self.pool.engine.capture() {
            None => self.spawn_closure(move || drop(f())),
            Some(propagated) => self.spawn_closure(move || {
                let _entered = propagated.enter();
                drop(f());
            }),
        }
    }

    fn spawn_closure<F: FnOnce() + Send + 'scope>(&'scope self, f: F) {
        let (engine, state) = (&self.pool.engine, &self.state);
        state.add();
        engine.with_local(|local| match local {
            Some(local) => {
                // SAFETY: `Pool::scope`, which every `Scope` comes from, neither returns nor unwinds before `state` was told that this closure
                // has run, and `'scope` lasts until then.
                let job = unsafe { heap_job(Arc::clone(state), f) };
                engine.push_job(engine.deque_of(local), job);
            }
            None => self.submit(f),
        });
    }

    /// Submits a closure that was added, from a thread that is not a worker of the pool.
    fn submit<F: FnOnce() + Send + 'scope>(&'scope self, f: F) {
        let (engine, state) = (&self.pool.engine, &self.state);
        let job: Arc<dyn ScopedJob + 'scope> = Arc::new(Mutex::new(Stage::Queued(f)));
        // SAFETY: this only erases the lifetime. The closure is counted as unfinished. It is counted as gone only after it has been moved out
        // of the cell and called, or dropped by its own unwinding. `Pool::scope`, which every `Scope` comes from, neither returns nor unwinds
        // before that, and `'scope` lasts until then. A thread that holds the cell later finds it empty, and dropping it touches nothing of
        // `F`.
        let job = unsafe { mem::transmute::<Arc<dyn ScopedJob + 'scope>, Arc<dyn ScopedJob>>(job) };
        let task = Task::from_body(ScopedRef { job: Arc::clone(&job), state: Arc::clone(state) });
        match engine.submit(task, convert::identity, engine.default_mode()) {
            Ok(()) if state.owner_is_inside => {
                let started = state.add_to_lists(|lists| lists.queued.add(job));
                drop(started);
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
        f.debug_struct("Scope").field("pending", &self.state.unfinished()).finish_non_exhaustive()
    }
}
