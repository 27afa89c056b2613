//! What an owner sees of a pool and changes about it: figures, limits, settings.
//!
//! Pausing is in `pausing.rs`, ending in `shutdown.rs`. [`Controlled`] is all of it, whatever the pool's types.

use std::hash::RandomState;
use std::sync::Arc;

use super::counters::get;
use super::lifecycle::Phase;
use super::pausing::Pausing;
use super::shutdown::Ending;
use super::without_threads::Step;
use super::{Engine, Runner};
use crate::engine::options::check_workers;
use crate::engine::options::extensions::Extensions;
use crate::engine::reconfigure::Reconfigure;
use crate::engine::replacing::Replacing;
use crate::engine::stats::Stats;
use crate::error::BuildError;
use crate::queue::{Dispatch, Load};
use crate::sync::Ordering;
use crate::task::current_worker::PoolId;
use crate::task::liveness::Liveness;
use crate::task::withdrawn::Withdrawn;

/// An engine as its owner uses it, whatever its types. `X` is what a task that never ran comes back as.
pub(crate) trait Controlled<X>: Figures + Tuning + Pausing + Ending<X> + Replacing + Step {}

impl<R: Runner, D: Dispatch> Controlled<R::Returned> for Engine<R, D> {}

/// An engine as one who does not own the pool uses it, whatever its types.
pub(crate) trait Visited: Figures + Tuning + Pausing {}

impl<R: Runner, D: Dispatch> Visited for Engine<R, D> {}

/// Figures of a pool.
pub(crate) trait Figures: Send + Sync {
    fn id(&self) -> PoolId;
    fn name(&self) -> &Arc<str>;
    /// Whether its owner has begun to drop the pool.
    fn is_dropped(&self) -> bool;
    fn extensions(&self) -> &Extensions;
    /// The engine without what only the owner needs.
    fn visited(self: Arc<Self>) -> Arc<dyn Visited>;
    fn stats(&self) -> Stats;
    fn capacity(&self) -> usize;
    fn load(&self) -> Load;
    fn waiting(&self) -> usize;
    fn is_closed(&self) -> bool;
    /// The shard of a key that `hash` hashes.
    fn shard_of(&self, hash: &dyn Fn(&RandomState) -> u64) -> usize;
}

/// Changes to the limits and settings of a pool.
pub(crate) trait Tuning: Send + Sync {
    fn tune(&self, workers: usize) -> Result<(), BuildError>;
    /// Makes all of the changes, or none if the queue cannot have the new bound.
    fn reconfigure(&self, change: &Reconfigure) -> Result<(), BuildError>;
}

impl<R: Runner, D: Dispatch> Figures for Engine<R, D> {
    fn id(&self) -> PoolId {
        Engine::id(self)
    }

    fn name(&self) -> &Arc<str> {
        self.options.name()
    }

    fn is_dropped(&self) -> bool {
        // ORDERING: Relaxed. Nothing is read because of it; a pool that is being dropped can still be used.
        self.is_dropped.load(Ordering::Relaxed)
    }

    fn extensions(&self) -> &Extensions {
        &self.options.extensions
    }

    fn visited(self: Arc<Self>) -> Arc<dyn Visited> {
        self
    }

    fn stats(&self) -> Stats {
        let ended = self.counters.ended();
        let load = self.load();
        let census = self.threads.census();
        let (refusals, drops) = (self.counters.refusals(), self.counters.drops());
        Stats {
            name: Arc::clone(self.options.name()),
            queue_bound: self.queue_bound(),
            capacity: census.capacity,
            live: census.live,
            idle: census.live.saturating_sub(load.running),
            running: load.running,
            queued: load.queued,
            overcommitted: self.overcommitted(),
            waiting: self.wait_queue.waiting(),
            submitted: (load.accepted + self.counters.direct()).saturating_sub(get(&self.counters.taken_back)),
            completed: ended.completed,
            panicked: ended.panicked,
            cancelled: ended.cancelled + self.withdrawn_cancelled(),
            rejected: refusals.total(),
            refusals,
            returned: get(&self.counters.returned),
            dropped: drops.total(),
            drops,
            spawned: census.spawned,
            retired: census.retired,
            given_up: self.threads.given_up(),
            peak_running: self.queue.peak_running(),
            handler_panics: get(&self.counters.handler_panics)
                + self.observers.as_ref().map_or(0, |all| all.panics())
                + self.propagators.as_ref().map_or(0, |all| all.panics())
                + self.options.extensions.panics(),
            failed_starts: get(&self.counters.failed_starts),
            shards: self.queue.shards(),
        }
    }

    fn capacity(&self) -> usize {
        Engine::capacity(self)
    }

    fn load(&self) -> Load {
        Engine::load(self)
    }

    fn waiting(&self) -> usize {
        self.wait_queue.waiting()
    }

    fn is_closed(&self) -> bool {
        self.lifecycle.is_closed()
    }

    fn shard_of(&self, hash: &dyn Fn(&RandomState) -> u64) -> usize {
        Engine::shard_of(self, hash)
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    pub(crate) fn capacity(&self) -> usize {
        self.threads.population().1
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lifecycle.is_closed()
    }

    /// The figures of the queue, with the tasks that wait for their turn among those of their key.
    pub(crate) fn load(&self) -> Load {
        let load = self.queue_load();
        Load { queued: load.queued + self.views.in_order(), ..load }
    }

    /// The queue's figures without its stale entries, and without the tasks of workers that were given up.
    pub(super) fn queue_load(&self) -> Load {
        let load = self.entries();
        Load { queued: load.queued.saturating_sub(self.id().stale_entries()), ..load }
    }

    /// The queue's figures without the tasks of workers that were given up.
    pub(super) fn entries(&self) -> Load {
        let load = self.queue.load();
        let running = if load.running == 0 { 0 } else { load.running.saturating_sub(self.given_up.tasks()) };
        Load { running, ..load }
    }

    fn overcommitted(&self) -> usize {
        let has_dead = self.id().stale_entries() > 0;
        self.queue.overcommitted(|item| has_dead && R::liveness(item) == Liveness::Dead)
    }

    /// The number of tasks that were cancelled while their entries were queued.
    pub(super) fn withdrawn_cancelled(&self) -> u64 {
        self.id().withdrawn().map_or(0, Withdrawn::cancelled)
    }
}

impl<R: Runner, D: Dispatch> Tuning for Engine<R, D> {
    fn tune(&self, workers: usize) -> Result<(), BuildError> {
        check_workers(workers)?;
        self.lifecycle.edit(|phase| {
            self.threads.set_capacity(workers);
            self.apply_limits(phase);
            self.threads.dismiss_surplus(|most| self.parking.dismiss(most));
            self.apply_limits(phase);
        });
        self.tell(|observer| observer.tuned(workers));
        self.recheck_waits();
        self.use_raised_limits();
        Ok(())
    }

    fn reconfigure(&self, change: &Reconfigure) -> Result<(), BuildError> {
        self.lifecycle.edit(|phase| {
            if let Some(bound) = change.queue {
                let bounded = self.queue.set_bound(bound, self.capacity());
                bounded.map_err(|reason| BuildError::Queue { dispatch: D::NAME, reason })?;
            }
            self.settings.change(change);
            // This also computes the room under the new bound.
            self.apply_limits(phase);
            Ok(())
        })?;
        if change.expiry.is_some() {
            // Sleeping workers compute their alarms again.
            self.parking.wake_all();
        }
        self.use_raised_limits();
        Ok(())
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Makes the queue follow capacity and pauses. It is called under the lock of the phase, so that the last change is the one that
    /// stays.
    pub(super) fn apply_limits(&self, phase: &Phase) {
        if !phase.is_paused() {
            // Published first, so that no task starts because of a change that is not visible yet. A change that keeps tasks from
            // starting is published when it is in force.
            self.lifecycle.publish(phase);
        }
        let (staying, capacity) = self.threads.population();
        let running = match phase.is_paused() {
            true => Some(0),
            // Without surplus workers the number of workers is limit enough.
            false => (staying > capacity).then_some(capacity),
        };
        // Tasks of workers that were given up take no room.
        let given_up = self.given_up.tasks();
        self.queue.set_limits(running, capacity + given_up);
    }

    /// Applies the limits again after a worker has left, perhaps the last one above the capacity.
    pub(super) fn relax_limits(&self) {
        self.lifecycle.edit(|phase| self.apply_limits(phase));
    }

    /// After limits were raised: wakes or starts workers for what is queued, and lets submitters in.
    pub(super) fn use_raised_limits(&self) {
        self.wake();
        if let Some(engine) = self.shared() {
            engine.ensure_workers();
        }
        self.notify_blocked();
    }
}
