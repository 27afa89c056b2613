//! What a scope's thread and its tasks share.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::queued::{Queued, ScopedJob};
use crate::engine::WorkerLocal;
use crate::error::Payload;
use crate::pool::Pool;
use crate::queue::Dispatch;
use crate::sync::user_code::catch_user_panic;
use crate::sync::waiter::Waiter;
use crate::sync::{AtomicUsize, IS_CHECKED, Mutex, Ordering, Thread, current, park};
use crate::task::blocked_workers::{self, BlockGuard};
use crate::task::closure::Task;
use crate::task::current_worker;
use crate::task::state::{Complete, Completion, JobOwner, JobRef, spin_for_reply};

/// What a closure that is not gone counts in [`State::unfinished`].
const CLOSURE: usize = 2;
/// The same for the owner, until it has nothing to do but wait.
const OWNER: usize = 1;

/// No worker has stolen a job.
const NO_THIEF: usize = usize::MAX;

/// The state of a scope. It is `'static`: workers may access it after the scope has ended.
pub(super) struct State {
    owner: Thread,
    pub(super) pool: current_worker::PoolId,
    /// Whether the owner is a worker of the pool, so that it runs what has not started.
    pub(super) owner_is_inside: bool,
    /// [`CLOSURE`] for each closure that is not gone yet, and [`OWNER`]. 0: the scope is over.
    unfinished: AtomicUsize,
    /// The worker that has stolen a job last.
    last_thief: AtomicUsize,
    /// Made when it is first needed.
    lists: Mutex<Option<Box<Lists>>>,
    panic: Mutex<Option<Payload>>,
}

/// Closures that the owner runs.
#[derive(Default)]
pub(super) struct Lists {
    /// In place of a worker, if none has started them.
    pub(super) queued: Queued,
    /// The pool gave them back.
    pub(super) returned: Vec<Arc<dyn ScopedJob>>,
    /// The same for jobs out of local deques.
    kept: Vec<JobRef>,
}

impl State {
    pub(super) fn new(pool: current_worker::PoolId, owner_is_inside: bool) -> Self {
        State {
            owner: current(),
            pool,
            owner_is_inside,
            unfinished: AtomicUsize::new(OWNER),
            last_thief: AtomicUsize::new(NO_THIEF),
            lists: Mutex::default(),
            panic: Mutex::new(None),
        }
    }

    /// Counts a closure that is about to be queued or pushed.
    pub(super) fn add(&self) {
        // ORDERING: Relaxed. The thread that adds it is the owner, or runs a closure that is counted.
        self.unfinished.fetch_add(CLOSURE, Ordering::Relaxed);
    }

    /// Counts one as gone.
    fn remove(&self) {
        // ORDERING: AcqRel. Release: what the closure did happens before the end of the scope. Acquire joins the others' decrements to it.
        if self.unfinished.fetch_sub(CLOSURE, Ordering::AcqRel) == CLOSURE {
            self.owner.unpark();
        }
    }

    fn is_over(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `remove`.
        self.unfinished.load(Ordering::Acquire) == 0
    }

    /// The number of closures that are not gone yet.
    pub(super) fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed) / CLOSURE
    }

    /// Changes the lists of what the owner runs, and wakes the owner.
    pub(super) fn add_to_lists<O>(&self, add: impl FnOnce(&mut Lists) -> O) -> O {
        let result = add(self.lists.lock().get_or_insert_default());
        self.owner.unpark();
        result
    }

    pub(super) fn take_panic(&self) -> Option<Payload> {
        self.panic.lock().take()
    }

    /// Runs a closure that no worker will run, on the calling thread.
    pub(super) fn run_returned(&self, job: &dyn ScopedJob) {
        let result = catch_unwind(AssertUnwindSafe(|| job.run_returned()));
        self.complete(result.err());
    }

    /// Runs a job that came back, on the scope's thread.
    fn run_kept(job: JobRef) {
        let mut completion = Completion::default();
        // SAFETY: the job came back with the right to run it.
        let result = catch_unwind(AssertUnwindSafe(|| unsafe { job.run(&mut completion) }));
        drop(completion.send(result.err()));
    }

    /// Blocks until every closure is gone. On a worker of the pool it runs those that have not started: `local` is what the pool keeps for it,
    /// and `height` that of its deque when the scope began.
    pub(super) fn finish<D: Dispatch>(self: &Arc<Self>, pool: &Pool<D>, local: Option<(&WorkerLocal<Task>, usize)>) {
        let engine = &pool.engine;
        let (mut has_left, mut waits) = (false, None);
        loop {
            if let Some((local, height)) = local {
                let deque = engine.deque_of(local);
                while deque.height() > height {
                    deque.pop().into_iter().for_each(|job| engine.run_own_job(local, job));
                }
            }
            if !has_left {
                has_left = true;
                // ORDERING: as in `remove`.
                self.unfinished.fetch_sub(OWNER, Ordering::AcqRel);
            }
            if self.is_over() {
                return;
            }
            let next = |lists: &mut Box<Lists>| (lists.kept.pop(), lists.returned.pop(), lists.queued.pop());
            let (kept, returned, queued) = self.lists.lock().as_mut().map_or((None, None, None), next);
            if kept.is_none() && returned.is_none() && queued.is_none() {
                self.wait(pool, local.map(|(local, _)| local), &mut waits);
                continue;
            }
            waits = None;
            if let Some(job) = queued {
                current_worker::run_here_unbounded(self.pool, |completion| job.run_queued(completion, self, false));
            }
            if let Some(job) = returned {
                self.run_refused(job);
            }
            match (kept, local) {
                (Some(job), Some((local, _))) => engine.run_own_job(local, job),
                (Some(job), None) => Self::run_kept(job),
                (None, _) => {}
            }
        }
    }

    /// Waits for a change. A worker runs what the last thief has pushed; until there is something to run, it keeps a guard in `waits`.
    fn wait<D: Dispatch>(&self, pool: &Pool<D>, local: Option<&WorkerLocal<Task>>, waits: &mut Option<BlockGuard>) {
        let engine = &pool.engine;
        // ORDERING: Relaxed. It is a hint.
        let thief = self.last_thief.load(Ordering::Relaxed);
        let victim = local.filter(|_| thief != NO_THIEF).and_then(|local| engine.deque_of(local).other(thief));
        let has_jobs = || victim.as_ref().is_some_and(|victim| !victim.is_empty());
        let steal = || victim.as_ref().and_then(|victim| victim.steal());
        if let (Some(job), Some(local)) = (steal(), local) {
            *waits = None;
            engine.run_stolen_job(local.worker(), job);
        } else if waits.is_some() || IS_CHECKED || !spin_for_reply(|| self.is_over() || has_jobs()) {
            let _helping = victim.as_ref().map(|victim| victim.help(Waiter::Thread(self.owner.clone())));
            if !self.is_over() && !has_jobs() {
                // The rest has started on other threads, later than this scope. So workers that wait for scopes cannot wait in a circle. A
                // worker that waits for something else is evicted if no other can make progress.
                match waits {
                    Some(guard) => guard.park(|| park(None)),
                    None => *waits = Some(blocked_workers::enter_wait_regardless(self.pool)),
                }
            }
        }
    }
}

impl Complete for State {
    /// Counts one closure as gone.
    fn complete(&self, panic: Option<Payload>) {
        if panic.is_some() {
            let mut first = self.panic.lock();
            let unwanted = if first.is_some() { panic } else { mem::replace(&mut *first, panic) };
            drop(first);
            // A payload's drop is user code, which must not unwind into a waiting scope.
            catch_user_panic(|| drop(unwanted));
        }
        self.remove();
    }
}

impl JobOwner for State {
    fn is_inside(&self) -> bool {
        self.owner_is_inside
    }

    fn note_thief(&self, thief: usize) {
        // ORDERING: Relaxed. It is a hint.
        self.last_thief.store(thief, Ordering::Relaxed);
    }

    fn keep(&self, job: JobRef) {
        self.add_to_lists(|lists| lists.kept.push(job));
    }
}
