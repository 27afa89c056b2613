//! What an owner does to a running pool: resize, pause, watch, wait, end, open again.

use std::hash::RandomState;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::counters::{count, get};
use super::joining::{EndWait, wait_for_end};
use super::lifecycle::{IdleWatch, PauseId, Phase, RestState};
use super::wakers::Listing;
use super::{Engine, Runner};
use crate::engine::options::{OnDrop, check_workers};
use crate::engine::reconfigure::Reconfigure;
use crate::engine::stats::{ShutdownReport, Stats};
use crate::error::{BuildError, Cause, SubmitErrorKind};
use crate::queue::{Dispatch, Load};
use crate::sync::Ordering;
use crate::task::current_worker::CurrentPool;
use crate::task::liveness::Liveness;
use crate::task::state::{Retracted, RunOutcome};
use crate::task::withdrawn::Withdrawn;

/// Tasks by how they ended.
struct Totals {
    ran: u64,
    cancelled: u64,
    returned: u64,
}

/// A shutdown that a future waits for.
pub(crate) struct Ending<'e> {
    before: Totals,
    /// As long as the thread that polled it last may wait for it.
    waiting: Option<EndWait>,
    listing: Option<Listing<'e>>,
}

/// What a pause guard needs of an engine, whatever its types.
pub(crate) trait PauseControl: Send + Sync {
    fn resume(&self, pause: PauseId);
    fn wait_quiet(&self, deadline: Option<Instant>) -> bool;
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    pub(crate) fn tune(self: &Arc<Self>, workers: usize) -> Result<(), BuildError> {
        check_workers(workers)?;
        self.lifecycle.edit(|phase| {
            self.threads.set_capacity(workers);
            self.apply_limits(phase);
            self.threads.dismiss_surplus(|most| self.parking.dismiss(most));
            self.apply_limits(phase);
        });
        self.block_permits.shrink(|| self.progress_capacity());
        self.start_what_may();
        Ok(())
    }

    /// Changes what is given, or nothing if the queue cannot have the new bound.
    pub(crate) fn reconfigure(self: &Arc<Self>, change: &Reconfigure) -> Result<(), BuildError> {
        self.lifecycle.edit(|phase| {
            if let Some(bound) = change.queue {
                let bounded = self.queue.set_bound(bound, self.capacity());
                bounded.map_err(|reason| BuildError::Queue { dispatch: D::NAME, reason })?;
            }
            self.settings.change(change);
            // The room that the bound makes is reckoned there.
            self.apply_limits(phase);
            Ok(())
        })?;
        if change.expiry.is_some() {
            // They set their alarms anew.
            self.parking.wake_all();
        }
        self.start_what_may();
        Ok(())
    }

    /// Makes the queue follow capacity and pauses. Under the lock of the phase, so that the last change is
    /// the one that stays.
    fn apply_limits(&self, phase: &Phase) {
        if !phase.is_paused() {
            // First, so that no task starts because of a change that nobody can see yet. What keeps tasks from starting is told
            // when it is in force.
            self.lifecycle.publish(phase);
        }
        let (staying, capacity) = self.threads.population();
        let running = match phase.is_paused() {
            true => Some(0),
            // Where there are not more workers than may run, there is nothing for the queue to watch.
            false => (staying > capacity).then_some(capacity),
        };
        self.queue.set_limits(running, capacity);
    }

    /// A worker has left, perhaps the last one above the capacity.
    pub(super) fn relax_limits(&self) {
        self.lifecycle.edit(|phase| self.apply_limits(phase));
    }

    /// The limits have been raised: wakes or starts workers for what is queued, and lets submitters in.
    fn start_what_may(self: &Arc<Self>) {
        self.wake();
        self.ensure_workers();
        self.notify_blocked();
    }

    pub(crate) fn pause(&self, limit: Option<Duration>) -> PauseId {
        let id = self.lifecycle.edit(|phase| {
            let id = phase.add_pause(limit);
            self.apply_limits(phase);
            id
        });
        if limit.is_some() {
            // Somebody must be up when the time is over: sleepers set their alarms anew.
            self.parking.wake_all();
        }
        id
    }

    /// When the pause in force ends by itself, if it does. One whose time is up ends here.
    pub(super) fn end_of_pause(&self) -> Option<Instant> {
        if !self.lifecycle.is_paused() {
            return None;
        }
        let end = self.lifecycle.edit(|phase| {
            let end = phase.expire_pauses();
            self.apply_limits(phase);
            end
        });
        if !self.lifecycle.is_paused() {
            self.wake();
            self.notify_blocked();
        }
        end
    }

    pub(crate) fn capacity(&self) -> usize {
        self.threads.population().1
    }

    pub(crate) fn waiting(&self) -> usize {
        self.wait_queue.waiting()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lifecycle.is_closed()
    }

    /// As the queue has it, but for tickets of tasks that are not queued any more.
    pub(crate) fn load(&self) -> Load {
        let load = self.queue.load();
        Load { queued: load.queued.saturating_sub(self.id().tickets()), ..load }
    }

    pub(crate) fn stats(&self) -> Stats {
        let ended = self.counters.ended();
        let load = self.load();
        let census = self.threads.census();
        let refusals = self.counters.refusals();
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
            submitted: (load.accepted + get(&self.counters.direct)).saturating_sub(get(&self.counters.taken_back)),
            completed: ended.completed,
            panicked: ended.panicked,
            cancelled: ended.cancelled + self.withdrawn_cancelled(),
            rejected: refusals.total(),
            refusals,
            returned: get(&self.counters.returned),
            spawned: census.spawned,
            retired: census.retired,
            peak_running: self.queue.peak_running(),
            handler_panics: get(&self.counters.handler_panics),
            failed_starts: get(&self.counters.failed_starts),
            shards: self.queue.shards(),
        }
    }

    fn overcommitted(&self) -> usize {
        let has_dead = self.id().tickets() > 0;
        self.queue.overcommitted(|item| has_dead && R::liveness(item) == Liveness::Dead)
    }

    /// Tasks that were cancelled while their tickets were queued.
    fn withdrawn_cancelled(&self) -> u64 {
        self.id().withdrawn().map_or(0, Withdrawn::cancelled)
    }

    /// Whether the pool is at rest: nothing is running, and no answer to something that ran is on its way.
    fn rest(&self) -> Option<RestState> {
        let load = self.queue.load();
        let is_quiet = load.running == 0 && !self.counters.is_answering();
        is_quiet.then_some(if load.queued == 0 && !self.sweeps.is_at_work() {
            RestState::Idle
        } else {
            RestState::Quiet
        })
    }

    /// Tells those who wait for the pool to be at rest that it may be.
    pub(super) fn notify_waiters(&self) {
        self.lifecycle.notify_waiters(|| self.rest());
    }

    /// Waits for a moment at which nothing is queued or running. A worker of the pool does not wait for itself.
    pub(crate) fn wait_idle(&self, deadline: Option<Instant>) -> bool {
        !self.is_inside() && self.lifecycle.wait_for(RestState::Idle, deadline, || self.rest())
    }

    /// The same for a future.
    pub(crate) fn poll_idle<'e>(&'e self, watch: &mut Option<IdleWatch<'e>>, waker: &Waker) -> Poll<bool> {
        let was_idle = watch.as_ref().is_some_and(IdleWatch::has_seen);
        let is_inside = !was_idle && self.is_inside();
        let mut watching = || watch.get_or_insert_with(|| self.lifecycle.watch()).poll(waker, || self.rest());
        if was_idle || is_inside || watching() {
            *watch = None;
            return Poll::Ready(!is_inside);
        }
        Poll::Pending
    }

    /// Refuses all that comes from now on, and sends away who waits at the door. Does what else there is to `change`, too.
    fn close(&self, change: impl FnOnce(&mut Phase)) {
        self.lifecycle.edit(|phase| {
            // First the queue: who sees the pool closed must find it so.
            self.queue.close();
            phase.close();
            change(phase);
            self.apply_limits(phase);
        });
        self.wait_queue.notify_all();
        self.notify_all_at_views();
        self.parking.wake_all();
    }

    /// Closes, runs what is queued, and waits for the end until `deadline`.
    pub(crate) fn shutdown(self: &Arc<Self>, deadline: Option<Instant>) -> ShutdownReport {
        let before = self.totals();
        self.close(|_| ());
        self.finish(deadline);
        self.report_since(&before)
    }

    /// Closes when it is first polled, and is ready at the end of the pool; also where the calling thread may not wait for that, or
    /// no thread is left for what is queued.
    pub(crate) fn poll_shutdown<'e>(
        self: &'e Arc<Self>,
        ending: &mut Option<Ending<'e>>,
        waker: &Waker,
    ) -> Poll<ShutdownReport> {
        let ending = ending.get_or_insert_with(|| {
            let before = self.totals();
            self.close(|_| ());
            Ending { before, waiting: None, listing: None }
        });
        // First: its own wait is not to be in its way, and it is not to be woken in its own poll.
        (ending.waiting, ending.listing) = (None, None);
        ending.waiting = wait_for_end(self.id(), false);
        if ending.waiting.is_some() {
            drop(self.spawn_to_demand());
            if !self.threads.poll_end(&mut ending.listing, waker) {
                return Poll::Pending;
            }
        }
        (ending.waiting, ending.listing) = (None, None);
        Poll::Ready(self.report_since(&ending.before))
    }

    /// Closes, takes out what is queued, of which nothing starts any more, and waits for what runs.
    pub(crate) fn shutdown_now(self: &Arc<Self>) -> Vec<R::Returned> {
        let returned = self.take_back();
        self.finish(None);
        returned
    }

    /// Closes and runs what is queued until `deadline`; takes out what is left then, and tells what runs to stop.
    pub(crate) fn shutdown_graceful(self: &Arc<Self>, deadline: Option<Instant>) -> (Vec<R::Returned>, ShutdownReport) {
        let before = self.totals();
        let mut returned = Vec::new();
        if !self.shutdown(deadline).is_complete() {
            self.runner.overdue().set(true);
            returned = self.take_back();
            // After that nothing starts any more that could miss it.
            self.running_tasks.stop_all();
        }
        (returned, self.report_since(&before))
    }

    /// Ends the pool because its owner drops it.
    pub(crate) fn end(self: &Arc<Self>) {
        // ORDERING: Relaxed. Whoever drops the pool has seen what was done with it before.
        let is_detached = self.is_detached.load(Ordering::Relaxed);
        match if is_detached { OnDrop::Detach } else { self.options.on_drop } {
            OnDrop::Drain => drop(self.shutdown(None)),
            OnDrop::Cancel => {
                self.runner.overdue().set(true);
                self.drain_queue(|input| {
                    count(&self.counters.cancelled);
                    self.catch_user_panic(|| drop(input));
                });
                self.running_tasks.stop_all();
                self.finish(None);
            }
            OnDrop::Detach => self.detach(),
        }
    }

    /// Closes and leaves the rest to the workers, from now on also where the pool is dropped.
    pub(crate) fn detach(self: &Arc<Self>) {
        // ORDERING: Relaxed, see `end`.
        self.is_detached.store(true, Ordering::Relaxed);
        self.close(|_| ());
        drop(self.spawn_to_demand());
    }

    /// Closes and gives back what is queued.
    fn take_back(&self) -> Vec<R::Returned> {
        let mut returned = Vec::new();
        self.drain_queue(|input| {
            count(&self.counters.returned);
            returned.push(input);
        });
        returned
    }

    /// Closes and takes out what is queued, none of which starts meanwhile. Those that no caller waits for go to `take`.
    fn drain_queue(&self, mut take: impl FnMut(R::Returned)) {
        self.close(Phase::begin_drain);
        let _taking_out = Draining(self);
        for item in self.queue.drain() {
            match R::retract(item, SubmitErrorKind::Closed, Cause::Cancelled) {
                Retracted::Here(input) => take(input),
                Retracted::ToCaller => count(&self.counters.returned),
                Retracted::Gone(RunOutcome::Cancelled) => count(&self.counters.cancelled),
                Retracted::Gone(_) => {}
            }
        }
    }

    /// Waits for the end of a pool that is closed, if the calling thread may.
    fn finish(self: &Arc<Self>, deadline: Option<Instant>) {
        let Some(_waiting) = wait_for_end(self.id(), deadline.is_some()) else { return };
        if deadline.is_none() {
            self.ensure_workers();
        } else {
            // A task takes as long as it takes: whoever has a limit cannot do the work.
            drop(self.spawn_to_demand());
        }
        self.threads.join_all(deadline);
    }

    /// What has come of tasks until now.
    fn totals(&self) -> Totals {
        let ended = self.counters.ended();
        Totals {
            ran: ended.completed + ended.panicked,
            cancelled: ended.cancelled + self.withdrawn_cancelled(),
            returned: get(&self.counters.returned),
        }
    }

    fn report_since(&self, before: &Totals) -> ShutdownReport {
        let load = self.load();
        let workers = self.threads.census().live;
        let now = self.totals();
        ShutdownReport {
            workers,
            queued: load.queued,
            running: load.running,
            ran: now.ran - before.ran,
            cancelled: now.cancelled - before.cancelled,
            returned: now.returned - before.returned,
        }
    }

    pub(crate) fn restart(self: &Arc<Self>) -> Result<(), BuildError> {
        self.lifecycle.edit(|phase| {
            if !phase.is_closed() || !self.threads.is_empty() || self.queue.load().queued > 0 {
                return Err(BuildError::StillRunning);
            }
            phase.open();
            self.queue.open();
            self.apply_limits(phase);
            self.runner.overdue().set(false);
            // ORDERING: Relaxed, see `end`.
            self.is_detached.store(false, Ordering::Relaxed);
            Ok(())
        })?;
        self.start_minimum()
    }
}

/// A task may start again when this is dropped, also by a panic.
struct Draining<'a, R: Runner, D: Dispatch>(&'a Engine<R, D>);

impl<R: Runner, D: Dispatch> Drop for Draining<'_, R, D> {
    fn drop(&mut self) {
        let Draining(engine) = self;
        engine.lifecycle.edit(|phase| {
            phase.end_drain();
            engine.apply_limits(phase);
        });
        engine.notify_waiters();
        engine.parking.wake_all();
    }
}

/// What an owner does with an engine, whatever its types, but for what it gives back.
pub(crate) trait Controlled<X>: Send + Sync {
    fn tune(&self, workers: usize) -> Result<(), BuildError>;
    fn reconfigure(&self, change: &Reconfigure) -> Result<(), BuildError>;
    fn pause(&self, limit: Option<Duration>) -> PauseId;
    fn pause_control(&self) -> Box<dyn PauseControl>;
    fn is_paused(&self) -> bool;
    fn wait_idle(&self, deadline: Option<Instant>) -> bool;
    fn poll_idle<'e>(&'e self, watch: &mut Option<IdleWatch<'e>>, waker: &Waker) -> Poll<bool>;
    fn stats(&self) -> Stats;
    fn capacity(&self) -> usize;
    fn load(&self) -> Load;
    fn waiting(&self) -> usize;
    fn is_closed(&self) -> bool;
    fn shutdown(&self, deadline: Option<Instant>) -> ShutdownReport;
    fn poll_shutdown<'e>(&'e self, ending: &mut Option<Ending<'e>>, waker: &Waker) -> Poll<ShutdownReport>;
    fn shutdown_now(&self) -> Vec<X>;
    fn shutdown_graceful(&self, deadline: Option<Instant>) -> (Vec<X>, ShutdownReport);
    fn detach(&self);
    fn restart(&self) -> Result<(), BuildError>;
    fn end(&self);
    /// The shard of a key that `hash` hashes.
    fn shard_of(&self, hash: &dyn Fn(&RandomState) -> u64) -> usize;
}

impl<R: Runner, D: Dispatch> Controlled<R::Returned> for EngineRef<R, D> {
    fn tune(&self, workers: usize) -> Result<(), BuildError> {
        self.0.tune(workers)
    }

    fn reconfigure(&self, change: &Reconfigure) -> Result<(), BuildError> {
        self.0.reconfigure(change)
    }

    fn pause(&self, limit: Option<Duration>) -> PauseId {
        self.0.pause(limit)
    }

    fn pause_control(&self) -> Box<dyn PauseControl> {
        Box::new(EngineRef(Arc::clone(&self.0)))
    }

    fn is_paused(&self) -> bool {
        self.0.lifecycle.is_paused()
    }

    fn wait_idle(&self, deadline: Option<Instant>) -> bool {
        self.0.wait_idle(deadline)
    }

    fn poll_idle<'e>(&'e self, watch: &mut Option<IdleWatch<'e>>, waker: &Waker) -> Poll<bool> {
        self.0.poll_idle(watch, waker)
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn load(&self) -> Load {
        self.0.load()
    }

    fn waiting(&self) -> usize {
        self.0.waiting()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn shutdown(&self, deadline: Option<Instant>) -> ShutdownReport {
        self.0.shutdown(deadline)
    }

    fn poll_shutdown<'e>(&'e self, ending: &mut Option<Ending<'e>>, waker: &Waker) -> Poll<ShutdownReport> {
        self.0.poll_shutdown(ending, waker)
    }

    fn shutdown_now(&self) -> Vec<R::Returned> {
        self.0.shutdown_now()
    }

    fn shutdown_graceful(&self, deadline: Option<Instant>) -> (Vec<R::Returned>, ShutdownReport) {
        self.0.shutdown_graceful(deadline)
    }

    fn detach(&self) {
        self.0.detach();
    }

    fn restart(&self) -> Result<(), BuildError> {
        self.0.restart()
    }

    fn end(&self) {
        self.0.end();
    }

    fn shard_of(&self, hash: &dyn Fn(&RandomState) -> u64) -> usize {
        self.0.shard_of(hash)
    }
}

impl<R: Runner, D: Dispatch> PauseControl for EngineRef<R, D> {
    fn resume(&self, pause: PauseId) {
        self.0.lifecycle.edit(|phase| {
            phase.end_pause(pause);
            self.0.apply_limits(phase);
        });
        if self.0.lifecycle.is_paused() {
            // The pause that is left may have a time limit that no sleeper knows of.
            self.0.parking.wake_all();
        }
        self.0.start_what_may();
    }

    fn wait_quiet(&self, deadline: Option<Instant>) -> bool {
        !self.0.is_inside() && self.0.lifecycle.wait_for(RestState::Quiet, deadline, || self.0.rest())
    }
}

/// A shared engine as a guard holds it.
pub(crate) struct EngineRef<R: Runner, D: Dispatch>(pub(crate) Arc<Engine<R, D>>);
