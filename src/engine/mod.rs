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
mod budget;
mod caller_runs;
mod closing;
mod control;
mod counters;
mod current_pool;
pub(crate) mod end_wait;
mod growth;
mod lane_queues;
mod lifecycle;
mod mailboxes;
mod minimum;
#[cfg(all(test, formicary_loom))]
pub(crate) mod models;
pub(crate) mod observer;
mod observing;
mod off_timer;
pub(crate) mod options;
mod overflow;
mod parking;
mod pausing;
mod propagation;
pub(crate) mod reconfigure;
pub(crate) mod replacing;
mod runner;
mod scheduled;
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
pub(crate) use runner::Runner;
pub(crate) use scheduled::{Entrance, Scheduled, ThroughView, WayIn};
pub(crate) use submit_options::{SubmitOptions, WaitMode};
pub(crate) use views::{BlockedAtView, Discard, NotQueued, PoolViews};

use crate::engine::options::{Nested, Options, Overflow, panic_location};
use crate::error::BuildError;
use crate::queue::deques::Deques;
use crate::queue::{Dispatch, Shape, TaskQueue};
use crate::sync::waiter_list::SharedWaiterList;
use crate::sync::{Arc, AtomicBool};
use crate::task::blocked_workers::BlockedWorkers;
use crate::task::current_worker::{self, CurrentPool, PoolId};
use crate::task::pending_polls::PendingPolls;
use crate::task::propagated::Propagators;
use crate::task::running_tasks::RunningTasks;
use crate::task::state::JobRef;
use crate::task::withdrawn::Identity;

use counters::Counters;
use growth::Growth;
use lifecycle::Lifecycle;
use mailboxes::Mailboxes;
use minimum::Minimum;
use observer::{Observer, Observers, TaskEnd};
use off_timer::OffTimer;
use parking::Parking;
use replacing::GivenUp;
use scheduled::Schedule;
use settings::Settings;
use sweep::Sweeps;
use threads::Threads;
use views::Views;
use wait_queue::WaitQueue;
use without_threads::RunOn;
pub(crate) use worker::WorkerLocal;

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
    budget_waiters: SharedWaiterList,
    #[cfg(feature = "async")]
    attached: attached::Attached,
    threads: Threads,
    blocked_workers: BlockedWorkers,
    pending_polls: PendingPolls,
    deques: Arc<Deques<JobRef>>,
    lifecycle: Lifecycle,
    /// Futures that wait for the close.
    closing: SharedWaiterList,
    counters: Counters,
    observers: Option<std::sync::Arc<Observers>>,
    propagators: Option<std::sync::Arc<Propagators>>,
    given_up: GivenUp,
    running_tasks: RunningTasks,
    minimum: Minimum,
    schedule: Schedule<R>,
    off_timer: OffTimer<R, D>,
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
        options.check_dispatch::<D, R::Item>()?;
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
            levels: options.levels,
            tenant_queue: options.tenant_queue,
        };
        let queue = TaskQueue::new(&shape, options.nested.most());
        let queue = queue.map_err(|reason| BuildError::Queue { dispatch: D::NAME, reason })?;
        let identity = Identity::new();
        let id = identity.id();
        let engine = Arc::new_cyclic(|this| Engine {
            this: Weak::clone(this),
            runner,
            settings: Settings::new(&options),
            wait_queue: WaitQueue::new(queue.room_order()),
            queue,
            parking: Parking::new(options.min_workers),
            mailboxes: Mailboxes::new(),
            views: Views::default(),
            budget_waiters: SharedWaiterList::default(),
            #[cfg(feature = "async")]
            attached: attached::Attached::default(),
            threads: Threads::new(id, options.workers, options.min_workers),
            blocked_workers: BlockedWorkers::new(),
            pending_polls: PendingPolls::default(),
            deques: Deques::new(),
            lifecycle: Lifecycle::new(),
            closing: SharedWaiterList::default(),
            counters: Counters::default(),
            observers: Observers::new(&options.observers),
            propagators: Propagators::new(&options.propagators),
            given_up: GivenUp::default(),
            running_tasks: RunningTasks::default(),
            minimum: Minimum::default(),
            schedule: Schedule::default(),
            off_timer: OffTimer::default(),
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

/// See [`Engine::inflight`].
pub(crate) struct Inflight<'e, R: Runner, D: Dispatch>(&'e Engine<R, D>);

impl<R: Runner, D: Dispatch> Drop for Inflight<'_, R, D> {
    fn drop(&mut self) {
        self.0.blocked_workers.end_inflight(|| self.0.progress_capacity());
    }
}
