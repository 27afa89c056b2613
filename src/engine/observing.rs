//! Where the observers of a pool are told. In a pool that has none a submit checks for them, and the loop of a worker does not.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use super::observer::{Observer, Observers, PoolInfo, TaskEnd, TaskInfo};
use super::{Engine, Runner};
use crate::error::{Cause, SubmitErrorKind};
use crate::queue::{Dispatch, LazyItem, Refused};
use crate::sync::clock;
use crate::sync::{Arc, Mutex, Ordering, fence};
use crate::task::current_worker::{self, PoolId};
use crate::task::deferred::{Deferred, DeferredTasks};
use crate::task::liveness::Liveness;
use crate::task::state::{Completion, Retracted, RunOutcome};
use crate::task::watch::{self, Watch};

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Tells the observers, if there are any.
    #[inline]
    pub(super) fn tell(&self, f: impl Fn(&dyn Observer)) {
        if let Some(observers) = &self.observers {
            observers.tell(f);
        }
    }

    /// The pool is about to start its first workers.
    pub(super) fn tell_built(&self) {
        let pool = PoolInfo { name: self.options.name(), workers: self.options.workers };
        self.tell(|observer| observer.built(&pool));
    }

    /// A task has ended that did not run.
    #[inline]
    pub(super) fn tell_unstarted(&self, end: TaskEnd) {
        self.tell(|observer| observer.ended(&TaskInfo::default(), end));
    }

    /// Pushes a task of an observed pool.
    #[cold]
    #[inline(never)]
    pub(super) fn enter_observed(
        &self,
        item: &mut (impl LazyItem<R::Item> + ?Sized),
        push: impl FnOnce(&mut Observed<'_, R>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let mut item = item;
        let Some(observers) = &self.observers else { unreachable!("the pool has observers") };
        observers.will_push();
        let pushed = push(&mut Observed { item: &mut item, observers, pool: self.id() });
        if pushed.is_ok() {
            self.tell(Observer::accepted);
        }
        observers.has_pushed();
        // The task may have ended meanwhile, and the pool is at rest only now.
        fence(Ordering::SeqCst);
        self.notify_if_watched();
        pushed
    }

    /// Runs the body of a task within other code, and tells the observers, if there are any.
    pub(super) fn observe(
        &self,
        worker: usize,
        completion: &mut Completion,
        body: impl FnOnce(&mut Completion) -> RunOutcome,
    ) -> RunOutcome {
        match &self.observers {
            Some(observers) => observe(observers, worker, false, completion, body),
            None => body(completion),
        }
    }

    /// A task that does not go through the queue, for an observed pool.
    pub(super) fn with_time(&self, item: R::Item) -> R::Item {
        match &self.observers {
            Some(observers) => queued::<R>(item, None, observers, self.id()),
            None => item,
        }
    }
}

/// Runs the body of a task, and tells the observers.
fn observe(
    observers: &std::sync::Arc<Observers>,
    worker: usize,
    is_from_queue: bool,
    completion: &mut Completion,
    body: impl FnOnce(&mut Completion) -> RunOutcome,
) -> RunOutcome {
    watch::begin(Watch::new(std::sync::Arc::clone(observers) as _, worker, is_from_queue));
    let result = catch_unwind(AssertUnwindSafe(|| body(completion)));
    // Before the figures count it.
    tell_end(observers, completion, worker, result.as_ref().ok().copied());
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// A task that a worker had taken has ended. `outcome` is `None` if it panicked.
fn tell_end(observers: &Observers, completion: &Completion, worker: usize, outcome: Option<RunOutcome>) {
    let watch = watch::end();
    let end = match outcome {
        Some(RunOutcome::Ran) => TaskEnd::Completed,
        Some(RunOutcome::Cancelled | RunOutcome::CancelledBefore) => TaskEnd::Cancelled,
        Some(RunOutcome::Dropped) => TaskEnd::Dropped,
        Some(RunOutcome::Elsewhere) => return,
        None => TaskEnd::Panicked,
    };
    let (name, has_run) = (completion.name(), matches!(end, TaskEnd::Completed | TaskEnd::Panicked));
    let mut task = TaskInfo { name, worker: has_run.then_some(worker), ..TaskInfo::default() };
    if let Some(mut watch) = watch {
        if has_run {
            // A task that was not known to start before it ran.
            watch.start(name);
        }
        (task.queue_wait, task.run_time) = (watch.queue_wait(), watch.run_time());
    }
    observers.tell(|observer| observer.ended(&task, end));
}

/// A task that is queued with the time.
pub(super) struct Observed<'i, R: Runner> {
    item: &'i mut dyn LazyItem<R::Item>,
    observers: &'i std::sync::Arc<Observers>,
    pool: PoolId,
}

impl<R: Runner> LazyItem<R::Item> for Observed<'_, R> {
    fn build(&mut self) -> R::Item {
        queued::<R>(self.item.build(), Some(clock::now()), self.observers, self.pool)
    }
}

fn queued<R: Runner>(
    item: R::Item,
    at: Option<Instant>,
    observers: &std::sync::Arc<Observers>,
    pool: PoolId,
) -> R::Item {
    let queued = Queued::<R> { item: Mutex::new(Some(item)), at, observers: std::sync::Arc::clone(observers), pool };
    R::deferred(Deferred::new(Arc::new(queued), 0))
}

/// A task of an observed pool in the queue, and since when it is there.
struct Queued<R: Runner> {
    item: Mutex<Option<R::Item>>,
    at: Option<Instant>,
    observers: std::sync::Arc<Observers>,
    pool: PoolId,
}

impl<R: Runner> Queued<R> {
    fn take(&self) -> Option<R::Item> {
        self.item.lock().take()
    }

    /// Notes which task the run is of.
    fn claim(&self, item: &R::Item) {
        _ = watch::edit(|watch| watch.claim(self.at));
        watch::start_if_certain(|| R::liveness(item));
    }
}

impl<R: Runner> DeferredTasks<R::Item, R::Returned> for Queued<R> {
    fn run(
        self: Arc<Self>,
        _task: u64,
        completion: &mut Completion,
        run: &mut dyn FnMut(R::Item, &mut Completion) -> RunOutcome,
    ) -> RunOutcome {
        let Some(item) = self.take() else { return RunOutcome::Elsewhere };
        // A worker that runs it within another task watches already.
        if watch::edit(|watch| watch.is_unclaimed()).unwrap_or(false) {
            self.claim(&item);
            return run(item, completion);
        }
        let worker = current_worker::worker_of(self.pool).unwrap_or_default();
        observe(&self.observers, worker, true, completion, |completion| {
            self.claim(&item);
            run(item, completion)
        })
    }

    fn retract(self: Arc<Self>, _task: u64, kind: SubmitErrorKind, cause: Cause) -> Retracted<R::Returned> {
        match self.take() {
            Some(item) => R::retract(item, kind, cause),
            None => Retracted::Gone(RunOutcome::Elsewhere),
        }
    }

    fn liveness(&self, _task: u64) -> Liveness {
        self.item.lock().as_ref().map_or(Liveness::Dead, R::liveness)
    }

    fn abandon(self: Arc<Self>, _task: u64) {
        drop(self.take());
    }
}
