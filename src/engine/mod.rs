//! The one engine behind every pool: the way of a task from submit to its end.
//!
//! ```text
//! submit ── submit.rs      a worker alive? room? else the reason
//!        ── wait_queue.rs   full: wait in line
//!        ── queue/         push: hand to an idle worker, or queue
//!        ── parking.rs     wake a worker only if nobody is looking for work
//!        ── spawning.rs    start one more if there are more tasks than workers
//! worker ── worker.rs      pop, run, account, let the next submitter in; or look, then sleep
//!        ── mailboxes.rs    orders for all workers, between their tasks
//! end    ── lifecycle.rs   pause, close, wait
//! ```

mod adaptive_spin;
mod control;
mod counters;
mod idle;
mod joining;
mod lane_queues;
mod lifecycle;
mod mailboxes;
mod minimum;
#[cfg(all(test, formicary_loom))]
pub(crate) mod models;
pub(crate) mod options;
mod parking;
pub(crate) mod reconfigure;
mod settings;
mod spawning;
pub(crate) mod stats;
mod submit;
mod submit_async;
mod sweep;
mod thread_limit;
mod threads;
mod views;
pub(crate) mod wait_queue;
mod wakers;
mod worker;

use std::hash::RandomState;
use std::sync::Weak;

pub(crate) use control::{Controlled, EngineRef, PauseControl};
pub(crate) use lifecycle::PauseId;
pub(crate) use mailboxes::Broadcast;
pub(crate) use submit::{SubmitOptions, WaitMode};
pub(crate) use views::{BlockedAtView, PoolViews};

use crate::engine::options::{Nested, Options};
use crate::error::{BoxError, BuildError, Cause, SubmitErrorKind};
use crate::queue::{Dispatch, Queue, Shape, TaskQueue};
use crate::sync::{Arc, AtomicBool};
use crate::task::block_permits::BlockPermits;
use crate::task::current_worker::{self, CurrentPool, PoolId};
use crate::task::deferred::Deferred;
use crate::task::liveness::Liveness;
use crate::task::running_tasks::{Overdue, RunningTasks};
use crate::task::state::{Completion, Retracted, RunOutcome};
use crate::task::withdrawn::Identity;

use counters::Counters;
use lifecycle::Lifecycle;
use mailboxes::Mailboxes;
use minimum::Minimum;
use parking::Parking;
use settings::Settings;
use sweep::Sweeps;
use threads::Threads;
use views::Views;
use wait_queue::WaitQueue;
use worker::TaskCx;

/// What a worker does with a task: the first axis of a pool's type.
pub trait Runner: Send + Sync + Sized + 'static {
    /// What is queued.
    type Item: Send + 'static;
    /// What a worker keeps between tasks. It is made, used and dropped on the worker's thread.
    type State;
    /// What the user gets back of a task that never ran.
    type Returned;

    /// Whether a state is made by somebody else's code, which can fail.
    const HAS_FACTORY: bool = false;

    /// Makes the state of worker `worker`.
    fn start(&self, worker: usize) -> Result<Self::State, BoxError>;

    /// Whether `ready` may block, so that a worker in it cannot be counted on.
    const READY_BLOCKS: bool = false;

    /// Called before the worker takes work.
    fn ready(&self, _state: &mut Self::State) {}

    /// Runs a task. Must set `completion` before any user code runs.
    fn run(&self, state: &mut Self::State, item: Self::Item, completion: &mut Completion) -> RunOutcome;

    /// Ends a worker's state.
    fn stop(&self, _state: Self::State) {}

    /// Whether the tasks that run, and those that still will, should stop.
    fn overdue(&self) -> &Overdue;

    /// Whether the state is made anew after a panic.
    fn discards_after_panic(&self) -> bool {
        false
    }

    /// A state to run a task with in the middle of another, if that takes none of the worker's own.
    fn spare_state(&self) -> Option<Self::State> {
        None
    }

    /// What a queued task can expect. Is asked under the queue's locks.
    fn liveness(item: &Self::Item) -> Liveness;

    /// The item that stands for a task which a limited view keeps until it starts.
    fn deferred(deferred: Deferred<Self::Item, Self::Returned>) -> Self::Item;

    /// Undoes a task that was taken out of the queue.
    fn retract(item: Self::Item, kind: SubmitErrorKind, cause: Cause) -> Retracted<Self::Returned>;
}

pub struct Engine<R: Runner, D: Dispatch> {
    /// Itself, where only a reference is at hand: the workers' way to a task is short of registers.
    this: Weak<Self>,
    runner: R,
    options: Options,
    settings: Settings,
    queue: TaskQueue<R::Item, D::Queue<R::Item>>,
    parking: Parking,
    mailboxes: Mailboxes<R::State>,
    wait_queue: WaitQueue,
    views: Views,
    threads: Threads,
    block_permits: BlockPermits,
    lifecycle: Lifecycle,
    counters: Counters,
    running_tasks: RunningTasks,
    minimum: Minimum,
    /// What keys are hashed with.
    seed: RandomState,
    /// Whether nobody is to wait when the pool is dropped.
    is_detached: AtomicBool,
    sweeps: Sweeps,
    /// Dropped last.
    identity: Identity,
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Checks the options and starts the minimum of workers.
    pub(crate) fn build(options: Options, runner: R) -> Result<Arc<Self>, BuildError> {
        options.check()?;
        if let Some(setting) = options.about_shards().filter(|_| !D::Queue::<R::Item>::HAS_SHARDS) {
            let reason = format!("`{setting}` is set, and it has no shards");
            return Err(BuildError::Queue { dispatch: D::NAME, reason });
        }
        if options.spawn_handler.is_none() {
            thread_limit::check(options.min_workers).map_err(BuildError::Spawn)?;
        }
        let shape = Shape {
            workers: options.workers,
            bound: options.queue,
            shards: options.shards,
            balance: options.balance.unwrap_or_default(),
        };
        let queue = TaskQueue::new(&shape, options.nested.most());
        let queue = queue.map_err(|reason| BuildError::Queue { dispatch: D::NAME, reason })?;
        let identity = Identity::new();
        let id = identity.id();
        let engine = Arc::new_cyclic(|this| Engine {
            this: Weak::clone(this),
            runner,
            settings: Settings::new(&options),
            queue,
            parking: Parking::new(options.min_workers),
            mailboxes: Mailboxes::new(),
            wait_queue: WaitQueue::new(),
            views: Views::default(),
            threads: Threads::new(id, options.workers, options.min_workers),
            block_permits: BlockPermits::new(),
            lifecycle: Lifecycle::new(),
            counters: Counters::default(),
            running_tasks: RunningTasks::default(),
            minimum: Minimum::default(),
            seed: RandomState::new(),
            is_detached: AtomicBool::new(false),
            sweeps: Sweeps::default(),
            identity,
            options,
        });
        engine.start_minimum()?;
        Ok(engine)
    }

    pub(crate) fn id(&self) -> PoolId {
        self.identity.id()
    }

    /// The most tasks that wait beyond those with a worker.
    pub(crate) fn queue_bound(&self) -> Option<usize> {
        self.settings.queue()
    }

    pub(crate) fn max_blocking(&self) -> usize {
        self.settings.max_blocking()
    }

    /// Whether the calling thread is a worker of this pool.
    pub(crate) fn is_inside(&self) -> bool {
        current_worker::is_inside(self.identity.id())
    }

    /// Whether the calling thread is a worker of this pool whose tasks go in beyond the bound.
    pub(crate) fn exceeds_bound(&self) -> bool {
        self.is_inside() && self.options.nested == Nested::Any
    }

    /// Counts a task that has ended, or will, without having come through the queue.
    pub(crate) fn note_direct(&self) {
        counters::count(&self.counters.direct);
    }

    /// Counts that a limited view has taken a task back that it had sent here.
    pub(crate) fn note_taken_back(&self) {
        counters::count(&self.counters.taken_back);
    }

    /// Until it is dropped, the calling thread is about to bring tasks in that no worker can find yet, and workers that
    /// wait may count on it. To be made before the tasks are out of sight.
    pub(crate) fn inflight(&self) -> Inflight<'_, R, D> {
        self.block_permits.begin_inflight();
        Inflight(self)
    }

    pub(crate) fn runner(&self) -> &R {
        &self.runner
    }
}

impl<R: Runner, D: Dispatch> CurrentPool for Engine<R, D> {
    fn id(&self) -> PoolId {
        self.identity.id()
    }

    fn block_permits(&self) -> &BlockPermits {
        &self.block_permits
    }

    fn overdue(&self) -> &Overdue {
        self.runner.overdue()
    }

    fn running_tasks(&self) -> &RunningTasks {
        &self.running_tasks
    }

    fn progress_capacity(&self) -> usize {
        let (staying, capacity) = self.threads.population();
        let workers = if self.threads.is_spawn_failing() { staying } else { staying.max(capacity) };
        // Whoever is on the way in brings a task, or lets the next one in line bring one.
        workers + usize::from(self.wait_queue.makes_progress())
    }

    fn has_free_workers(&self) -> bool {
        let (staying, capacity) = self.threads.population();
        // Where threads can be had, each queued task has been seen to (`ensure_workers`).
        let able = if self.threads.is_spawn_failing() { staying.min(capacity) } else { capacity };
        let load = self.queue.load();
        !self.lifecycle.is_paused() && load.queued + load.running <= able
    }

    fn help(&self) -> bool {
        let Some(mut state) = self.runner.spare_state() else { return false };
        let mut has_run = false;
        current_worker::run_here(self.identity.id(), |completion| match self.queue.pop_instead() {
            Some(item) => {
                has_run = true;
                // Its place in the queue is free now, however long it runs here.
                self.notify_blocked();
                self.runner.run(&mut state, item, completion)
            }
            None => RunOutcome::Elsewhere,
        });
        has_run
    }

    fn run_nested(&self, worker: usize, body: &mut dyn FnMut(&mut Completion) -> RunOutcome) {
        let tally = self.counters.tally(worker);
        self.execute(&TaskCx { worker, tally: &tally, queue_cx: None }, body);
    }
}

/// See [`Engine::inflight`].
pub(crate) struct Inflight<'e, R: Runner, D: Dispatch>(&'e Engine<R, D>);

impl<R: Runner, D: Dispatch> Drop for Inflight<'_, R, D> {
    fn drop(&mut self) {
        self.0.block_permits.end_inflight(|| self.0.progress_capacity());
    }
}
