//! Tasks that borrow from the stack of whoever waits for them.
//!
//! A task of a scope may hold references that are good for `'scope`, and the pool's queue takes only what is good for ever. So
//! the closure stays in a cell ([`ScopedJob`]), and what is queued is a [`ScopedRef`] to it, with the lifetime taken off. That is
//! sound because the only thing that a ticket can do with a closure is to move it out of the cell and call it, and
//! [`Pool::scope`] does not return, nor unwind, before every closure that was ever put into a cell has been called and is gone
//! ([`Pending::pending`] is 0). Tickets may outlive the scope, in the queue: their cells are empty, and an empty cell is of no
//! lifetime. Nothing that the user holds keeps anything alive or ends anything: [`Scope`] is only ever lent, and there are no
//! handles that could be leaked.
//!
//! A closure is called by whichever of these comes first: a worker that has its ticket; the scope's own thread, if that is a
//! worker of the pool, which has nothing better to do than wait; the scope's own thread, if the pool gave the ticket back; the
//! spawning thread, if the pool did not take the ticket ([`State::run_refused`]).

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
use crate::task::block_permits;
use crate::task::closure::{Body, Task};
use crate::task::current_worker;
use crate::task::liveness::Liveness;
use crate::task::state::{Complete, Completion, Retracted, RunOutcome};

/// What spawns tasks that borrow; lent by [`Pool::scope`].
///
/// `'scope` is the scope's own life, within which tasks end; `'env` is that of what they borrow.
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
    /// Neither lifetime may be shortened or stretched, as in `std::thread::Scope`.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// What a scope's thread and its tasks share. Of no lifetime: workers touch it when the scope may have ended.
struct State {
    owner: Thread,
    pool: current_worker::PoolId,
    /// Whether the owner is a worker of the pool, so that it runs what has not started.
    owner_is_inside: bool,
    tally: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    /// Closures that are not gone yet.
    pending: usize,
    /// Those that the owner may run in a worker's stead; perhaps others have by then.
    queued: VecDeque<Arc<dyn ScopedJob>>,
    /// How many closures have gone since `queued` was last rid of those that have started.
    stale: usize,
    /// Those whose tickets came back: the owner runs them.
    returned: Vec<Arc<dyn ScopedJob>>,
    panic: Option<Payload>,
}

/// So many closures go before a list is looked through for them.
const STALE: usize = 32;

impl Pending {
    /// Takes what has started out of `queued` when it may be half of that: so a cell outlives its closure for a while only, and
    /// each costs one look or two. What comes back is for the caller to drop when the lock is free.
    fn sweep(&mut self) -> VecDeque<Arc<dyn ScopedJob>> {
        self.stale += 1;
        if self.stale < STALE.max(self.queued.len() / 2) {
            return VecDeque::new();
        }
        self.stale = 0;
        let (queued, started) = mem::take(&mut self.queued).into_iter().partition(|errand| errand.is_queued());
        self.queued = queued;
        started
    }
}

/// A closure that borrows, in a cell, as those see it who know nothing of its lifetime.
trait ScopedJob: Send + Sync {
    /// Whether its ticket is still good.
    fn is_queued(&self) -> bool;
    /// Calls the closure if its ticket is still good, for whoever has the ticket or in its stead. `completion` is set before.
    fn run_queued(&self, completion: &mut Completion, state: &Arc<State>, has_ticket: bool) -> RunOutcome;
    /// The ticket is not good any more: says whether that is because of this.
    fn return_ref(&self) -> bool;
    /// Whether the owner has called the closure in the ticket's stead.
    fn is_withdrawn(&self) -> bool;
    /// Calls the closure if its ticket has come back.
    fn run_returned(&self);
}

enum Stage<F> {
    Queued(F),
    Returned(F),
    /// The owner has it, and its ticket stands for nothing any more.
    Withdrawn,
    Empty,
}

impl<F: FnOnce() + Send> ScopedJob for Mutex<Stage<F>> {
    fn is_queued(&self) -> bool {
        matches!(*self.lock(), Stage::Queued(_))
    }

    fn run_queued(&self, completion: &mut Completion, state: &Arc<State>, has_ticket: bool) -> RunOutcome {
        let mut stage = self.lock();
        match mem::replace(&mut *stage, Stage::Empty) {
            Stage::Queued(f) => {
                if !has_ticket {
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
    /// One closure is gone.
    fn complete(&self, panic: Option<Payload>) {
        let mut tally = self.tally.lock();
        tally.pending -= 1;
        let is_over = tally.pending == 0;
        let swept = tally.sweep();
        let unwanted = match &tally.panic {
            Some(_) => panic,
            None => mem::replace(&mut tally.panic, panic),
        };
        drop(tally);
        drop(swept);
        if is_over {
            self.owner.unpark();
        }
        // Somebody else's code, which must not unwind into a waiting scope.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(unwanted))) {
            mem::forget(again);
        }
    }
}

impl State {
    /// Runs what no worker will, on this thread.
    fn run_returned(&self, errand: &dyn ScopedJob) {
        let result = catch_unwind(AssertUnwindSafe(|| errand.run_returned()));
        self.complete(result.err());
    }

    /// Waits until every closure is gone.
    fn finish(self: &Arc<Self>, pool: current_worker::PoolId) {
        loop {
            let mut tally = self.tally.lock();
            if tally.pending == 0 {
                return;
            }
            let (returned, queued) = (tally.returned.pop(), tally.queued.pop_front());
            drop(tally);
            if returned.is_none() && queued.is_none() {
                // What is left has started, later than this scope, on others. So workers that wait for scopes do not wait in a
                // circle; and one that is at the pool's door gives way if no other is left.
                let _guard = block_permits::enter_wait_regardless(pool);
                park(None);
            }
            if let Some(errand) = queued {
                current_worker::run_here_unbounded(pool, |completion| errand.run_queued(completion, self, false));
            }
            if let Some(errand) = returned {
                self.run_refused(errand);
            }
        }
    }
}

/// A task of a scope in the pool's queue.
struct ScopedRef {
    errand: Arc<dyn ScopedJob>,
    state: Arc<State>,
}

impl ScopedRef {
    fn return_it(&self) -> bool {
        let is_returned = self.errand.return_ref();
        if is_returned {
            self.state.tally.lock().returned.push(Arc::clone(&self.errand));
            self.state.owner.unpark();
        }
        is_returned
    }
}

impl Body for ScopedRef {
    fn call(self, completion: &mut Completion) -> RunOutcome {
        self.errand.run_queued(completion, &self.state, true)
    }

    /// Never gives the closure to whoever shuts the pool down: it goes to the scope's thread.
    fn retract(self, _kind: SubmitErrorKind, _cause: Cause) -> Retracted<Task> {
        if self.return_it() { Retracted::ToCaller } else { Retracted::Gone(RunOutcome::Elsewhere) }
    }

    fn liveness(&self) -> Liveness {
        if self.errand.is_withdrawn() { Liveness::Dead } else { Liveness::Runs }
    }
}

impl Drop for ScopedRef {
    fn drop(&mut self) {
        // Whatever happens to a ticket, the scope ends.
        if !self.return_it() && self.errand.is_withdrawn() {
            self.state.pool.withdrawn().inspect(|withdrawn| withdrawn.clear());
        }
    }
}

impl<D: Dispatch> Pool<D> {
    /// Lends `f` a [`Scope`] whose tasks may borrow from the caller's stack, and blocks until all of them have ended. Returns
    /// what `f` returned.
    ///
    /// It is [`std::thread::scope`] on the pool's workers. Tasks may spawn more, and scopes may be nested: a worker that waits
    /// for a scope runs the scope's tasks that have not started, as deep as they nest, so a pool of one worker is enough.
    ///
    /// Every task runs, exactly once, whatever happens to the pool: what it does not take runs on the spawning thread, and what
    /// `shutdown_now` takes out runs on the thread of the scope (and is counted as returned, though nobody gets it). A pool that
    /// is paused keeps its scopes waiting. Tasks that wait for each other need as many workers.
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
    /// and the scope stays where it is:
    ///
    /// ```compile_fail,E0521
    /// let pool = formicary::Pool::new(1).unwrap();
    /// let mut escaped = None;
    /// pool.scope(|s| escaped = Some(s));
    /// escaped.unwrap().spawn(|| ());
    /// ```
    ///
    /// # Panics
    /// When all tasks have ended: with `f`'s own panic, or with that of the first task that panicked. The pool counts and
    /// reports the tasks' panics, too.
    pub fn scope<'env, F, R>(&'env self, f: F) -> R
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env, D>) -> R,
    {
        let state = State {
            owner: current(),
            pool: self.engine.id(),
            owner_is_inside: self.engine.is_inside(),
            tally: Mutex::new(Pending::default()),
        };
        let scope = Scope { pool: self, state: Arc::new(state), scope: PhantomData, env: PhantomData };
        let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
        AbortOnUnwind::run(|| scope.state.finish(self.engine.id()));
        let panic = scope.state.tally.lock().panic.take();
        match (result, panic) {
            (Ok(value), None) => value,
            (Err(panic), _) | (Ok(_), Some(panic)) => resume_unwind(panic),
        }
    }
}

impl<'scope, D: Dispatch> Scope<'scope, '_, D> {
    /// Submits a task that may borrow from outside the scope. Its result goes where the task puts it.
    ///
    /// Blocks while the pool is full. If the pool does not take it (it is closed, or full and
    /// [`nonblocking`](crate::Builder::nonblocking), or the caller is a worker that would wait for itself), it runs on the calling
    /// thread, and the pool does not count it: before this returns or, if the caller is such a task of the same scope itself, when
    /// that has ended, so that a chain of them takes no more stack than one. A panic in it is kept for the end of the scope, as
    /// that of any other. Costs one allocation, which is given back when the task has ended.
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
        let errand: Arc<dyn ScopedJob + 'scope> = Arc::new(Mutex::new(Stage::Queued(move || drop(f()))));
        // SAFETY: this only takes the lifetime off. The closure in the cell is moved out and called, or dropped by its own
        // unwinding, before `Pending::pending`, which is counted up below before anyone else sees the cell, is counted down for it,
        // and `Pool::scope`, without which there is no `Scope`, neither returns nor unwinds before `pending` is 0; `'scope` lasts
        // until then. Whoever holds the cell later finds it empty: dropping it touches nothing of `F`.
        let errand = unsafe { mem::transmute::<Arc<dyn ScopedJob + 'scope>, Arc<dyn ScopedJob>>(errand) };
        let state = &self.state;
        state.tally.lock().pending += 1;
        let task_ref = Task::from_body(ScopedRef { errand: Arc::clone(&errand), state: Arc::clone(state) });
        match self.pool.engine.submit(task_ref, convert::identity, self.pool.engine.default_mode()) {
            Ok(()) if state.owner_is_inside => {
                let mut tally = state.tally.lock();
                if errand.is_queued() {
                    tally.queued.push_back(errand);
                    drop(tally);
                    state.owner.unpark();
                }
            }
            Ok(()) => {}
            // The ticket is dropped with the refusal and does nothing then: it is not good any more.
            Err(_refusal) if errand.return_ref() => state.run_refused(errand),
            Err(_) => {}
        }
    }
}

impl<D: Dispatch> fmt::Debug for Scope<'_, '_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("pending", &self.state.tally.lock().pending).finish_non_exhaustive()
    }
}
