//! The engine behind every pool: the way of a task from its submission to its end.
//!
//! ```text
//! submit ── submit.rs       a worker alive? room? otherwise the reason
//!        ── wait_queue.rs   full: wait in the lane's queue
//!        ── queue/          push: hand to an idle worker, or queue
//!        ── parking/        wake a worker unless one is searching
//!        ── spawning.rs     start one more if there are more tasks than workers
//! worker ── worker/         pop, run, count, notify the next submitter; or search, then sleep
//!        ── mailboxes.rs    broadcasts to all workers, between their tasks
//! owner  ── control.rs      figures, limits and settings
//!        ── pausing.rs      pause, and wait for rest
//!        ── shutdown.rs     close, drain, and wait for the end
//! ```

#[cfg(feature = "async")]
mod attached;
mod blocking;
mod caller_runs;
mod control;
mod counters;
mod end_wait;
mod growth;
mod lane_queues;
mod lifecycle;
mod mailboxes;
mod minimum;
#[cfg(all(test, formicary_loom))]
pub(crate) mod models;
pub(crate) mod observer;
mod observing;
pub(crate) mod options;
mod overflow;
mod parking;
mod pausing;
mod propagation;
pub(crate) mod reconfigure;
pub(crate) mod replacing;
mod settings;
mod shutdown;
mod spawning;
pub(crate) mod stats;
mod stats_table;
mod stealing;
mod submit;
mod submit_async;
mod submit_batch;
mod submit_options;
mod sweep;
mod thread_limit;
mod threads;
mod user_code;
mod views;
pub(crate) mod wait_queue;
pub(crate) mod without_threads;
mod worker;

use std::hash::RandomState;
use std::sync::Weak;

#[cfg(feature = "async")]
pub(crate) use attached::EndsWithPool;
pub(crate) use control::{Controlled, Visited};
pub(crate) use lifecycle::PauseId;
pub(crate) use mailboxes::Broadcast;
pub(crate) use pausing::Pausing;
pub(crate) use submit_options::{SubmitOptions, WaitMode};
pub(crate) use views::{BlockedAtView, Discard, PoolViews};

use crate::engine::options::{Nested, Options, Overflow, panic_location};
use crate::error::{BoxError, BuildError, Cause, SubmitErrorKind};
use crate::queue::deques::Deques;
use crate::queue::{Dispatch, Queue, Shape, TaskQueue};
use crate::sync::{Arc, AtomicBool};
use crate::task::blocked_workers::BlockedWorkers;
use crate::task::current_worker::{self, CurrentPool, PoolId};
use crate::task::deferred::Deferred;
use crate::task::liveness::Liveness;
use crate::task::pending_polls::PendingPolls;
use crate::task::propagated::Propagators;
use crate::task::running_tasks::{Overdue, RunningTasks};
use crate::task::state::{Completion, JobRef, Retracted, RunOutcome, StolenJob};
use crate::task::withdrawn::Identity;

use counters::Counters;
use growth::Growth;
use lifecycle::Lifecycle;
use mailboxes::Mailboxes;
use minimum::Minimum;
use observer::{Observer, Observers, TaskEnd};
use parking::Parking;
use replacing::GivenUp;
use settings::Settings;
use sweep::Sweeps;
use threads::Threads;
use views::Views;
use wait_queue::WaitQueue;
use without_threads::RunOn;
use worker::TaskCx;
pub(crate) use worker::WorkerLocal;

/// What a worker does with a task: the first type parameter of an engine.
pub trait Runner: Send + Sync + Sized + 'static {
    /// What is queued.
    type Item: Send + 'static;
    /// What a worker keeps between tasks. It is made, used and dropped on the worker's thread.
    type State;
    /// What a task that never ran comes back to the user as.
    type Returned: 'static;

    /// Whether user code makes the state, which can fail.
    const HAS_FACTORY: bool = false;

    /// Makes the state of worker `worker`.
    fn start(&self, worker: usize) -> Result<Self::State, BoxError>;

    /// Whether `ready` may block, so that a worker in it is unavailable.
    const READY_BLOCKS: bool = false;

    /// Called before the worker takes work.
    fn ready(&self, _state: &mut Self::State) {}

    /// Runs a task. It must set `completion` before user code runs.
    fn run(&self, state: &mut Self::State, item: Self::Item, completion: &mut Completion) -> RunOutcome;

    /// Ends a worker's state.
    fn stop(&self, _state: Self::State) {}

    /// Whether running and future tasks should stop.
    fn overdue(&self) -> &Overdue;

    /// Whether a panic discards the state, so that it is made anew.
    fn discards_after_panic(&self) -> bool {
        false
    }

    /// A state to run a task with inside another one, if the task does not need the worker's own state.
    fn spare_state(&self) -> Option<Self::State> {
        None
    }

    /// The item that stands for a job which was stolen from another worker. `None` if this kind of pool has none.
    fn stolen(_job: StolenJob) -> Option<Self::Item> {
        None
    }

    /// Whether a queued task will run. It is called under the queue's locks.
    fn liveness(item: &Self::Item) -> Liveness;

    /// The item that stands for a task which a limited view keeps until it starts.
    fn deferred(deferred: Deferred<Self::Item, Self::Returned>) -> Self::Item;

    /// Takes back a task that has left the queue without running.
    fn retract(item: Self::Item, kind: SubmitErrorKind, cause: Cause) -> Retracted<Self::Returned>;
}

pub struct Engine<R: Runner, D: Dispatch> {
    /// The engine itself, for where only a reference is at hand: the workers' path to a task is short of registers.
    this: Weak<Self>,
    runner: R,
    options: Options,
    settings: Settings,
    queue: TaskQueue<R::Item, D::Queue<R::Item>>,
    parking: Parking,
    mailboxes: Mailboxes<R::State>,
    wait_queue: WaitQueue,
    views: Views<R::Item>,
    #[cfg(feature = "async")]
    attached: attached::Attached,
    threads: Threads,
    blocked_workers: BlockedWorkers,
    pending_polls: PendingPolls,
    deques: Arc<Deques<JobRef>>,
    lifecycle: Lifecycle,
    counters: Counters,
    observers: Option<std::sync::Arc<Observers>>,
    propagators: Option<std::sync::Arc<Propagators>>,
    given_up: GivenUp,
    running_tasks: RunningTasks,
    minimum: Minimum,
    growth: Growth,
    /// The seed of the hash of keys.
    seed: RandomState,
    /// Whether a drop of the pool must not wait.
    is_detached: AtomicBool,
    /// Whether the owner has begun to drop the pool.
    is_dropped: AtomicBool,
    sweeps: Sweeps,
    /// Dropped last.
    identity: Identity,
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Checks the options and starts the minimum of workers.
    pub(crate) fn build(mut options: Options, runner: R) -> Result<Arc<Self>, BuildError> {
        let starts_threads = options.run_on == RunOn::Workers;
        if !starts_threads {
            (options.workers, options.min_workers) = (1, 0);
        }
        options.check()?;
        if options.panic_locations {
            panic_location::note_locations();
        }
        if let Some(setting) = options.about_shards().filter(|_| !D::Queue::<R::Item>::HAS_SHARDS) {
            let reason = format!("`{setting}` is set, and it has no shards");
            return Err(BuildError::Queue { dispatch: D::NAME, reason });
        }
        if options.spawn_handler.is_none() {
            thread_limit::check(options.min_workers).map_err(BuildError::Spawn)?;
        }
        if options.overflow == Overflow::CallerRuns && runner.spare_state().is_none() {
            return Err(BuildError::CallerRuns);
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
            #[cfg(feature = "async")]
            attached: attached::Attached::default(),
            threads: Threads::new(id, options.workers, options.min_workers),
            blocked_workers: BlockedWorkers::new(),
            pending_polls: PendingPolls::default(),
            deques: Deques::new(),
            lifecycle: Lifecycle::new(),
            counters: Counters::default(),
            observers: Observers::new(&options.observers),
            propagators: Propagators::new(&options.propagators),
            given_up: GivenUp::default(),
            running_tasks: RunningTasks::default(),
            minimum: Minimum::default(),
            growth: Growth::default(),
            seed: RandomState::new(),
            is_detached: AtomicBool::new(false),
            is_dropped: AtomicBool::new(false),
            sweeps: Sweeps::default(),
            identity,
            options,
        });
        // Nothing relies on threads that will not come.
        engine.threads.set_spawn_failing(!starts_threads);
        engine.tell_built();
        engine.start_minimum()?;
        Ok(engine)
    }

    pub(crate) fn id(&self) -> PoolId {
        self.identity.id()
    }

    /// The engine as its workers share it. `None` only while it is dropped.
    fn shared(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }

    /// The bound of the queue: the most tasks that wait beyond those that have a worker.
    pub(crate) fn queue_bound(&self) -> Option<usize> {
        self.settings.queue()
    }

    /// What happens to a task that finds no room.
    pub(crate) fn overflow_policy(&self) -> Overflow {
        self.options.overflow
    }

    pub(crate) fn max_blocking(&self) -> usize {
        self.settings.max_blocking()
    }

    /// Whether the calling thread is a worker of this pool.
    pub(crate) fn is_inside(&self) -> bool {
        current_worker::is_inside(self.identity.id())
    }

    /// Whether the calling thread is a worker of this pool whose submissions go beyond the bound.
    pub(crate) fn exceeds_bound(&self) -> bool {
        self.is_inside() && self.options.nested == Nested::Any
    }

    /// Counts a task that has ended, or will, without having been queued.
    pub(crate) fn note_direct(&self) {
        counters::count(&self.counters.direct);
        self.tell(Observer::accepted);
    }

    /// Tells the observers of a task that a limited view has cancelled after it had sent it here.
    pub(crate) fn tell_cancelled(&self) {
        self.tell_unstarted(TaskEnd::Cancelled);
    }

    /// Tells the observers of tasks for which [`note_taken_back`](Self::note_taken_back) was called. Not under a lock.
    pub(crate) fn tell_taken_back(&self, tasks: usize) {
        (0..tasks).for_each(|_| self.tell_unstarted(TaskEnd::TakenBack));
    }

    /// Counts that a limited view has taken a task back that it had sent here.
    pub(crate) fn note_taken_back(&self) {
        counters::count(&self.counters.taken_back);
    }

    /// After workers have become unavailable: waits and polls that relied on them check again.
    fn recheck_waits(&self) {
        self.blocked_workers.shrink(|| self.progress_capacity());
        self.notify_pending_polls();
    }

    /// Announces that the calling thread is about to queue tasks that no worker can find yet, until the guard is dropped. Workers that
    /// wait may rely on it. Make it before the tasks are taken from where workers find them.
    pub(crate) fn inflight(&self) -> Inflight<'_, R, D> {
        self.blocked_workers.begin_inflight();
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

    fn blocked_workers(&self) -> &BlockedWorkers {
        &self.blocked_workers
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
        // A submitter that is about to try queues a task, or lets the next one do so.
        workers + self.threads.callers() + usize::from(self.wait_queue.makes_progress())
    }

    fn has_free_workers(&self) -> bool {
        let (staying, capacity) = self.threads.population();
        // Where threads can be had, a worker was started for each queued task (`ensure_workers`), unless the queue may get longer first.
        let counts_living = self.threads.is_spawn_failing() || self.options.grow_when > 0;
        let able = if counts_living { staying.min(capacity) } else { capacity };
        let load = self.entries();
        !self.lifecycle.is_paused() && load.queued + load.running <= able
    }

    fn pending_polls(&self) -> &PendingPolls {
        &self.pending_polls
    }

    fn begin_wait(&self) -> bool {
        self.begin_counted_wait()
    }

    fn end_wait(&self) {
        self.end_counted_wait();
    }

    fn note_poll(&self) {
        self.grow_for_waiter();
    }

    fn help(&self) -> bool {
        let Some(mut state) = self.runner.spare_state() else { return false };
        let mut has_run = false;
        let pop = || self.with_local(|local| self.queue.pop_instead(local.map(|local| &*local.queue)));
        current_worker::run_here(self.id(), |completion| match pop() {
            Some(item) => {
                has_run = true;
                // The task no longer takes room in the queue, however long it runs here.
                self.notify_blocked();
                self.runner.run(&mut state, item, completion)
            }
            None => RunOutcome::Elsewhere,
        });
        has_run
    }

    fn run_nested(&self, body: &mut dyn FnMut(&mut Completion) -> RunOutcome) {
        let run = |local: &WorkerLocal<R::Item>| {
            let cx = TaskCx { local, queue_cx: None };
            self.execute(&cx, |completion| self.observe(local.worker, completion, body));
        };
        self.with_local(|local| local.map(run));
    }
}

/// See [`Engine::inflight`].
pub(crate) struct Inflight<'e, R: Runner, D: Dispatch>(&'e Engine<R, D>);

impl<R: Runner, D: Dispatch> Drop for Inflight<'_, R, D> {
    fn drop(&mut self) {
        self.0.blocked_workers.end_inflight(|| self.0.progress_capacity());
    }
}
