//! Pausing a pool, and waiting until it is at rest.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::lifecycle::{IdleWatch, PauseId, RestState};
use super::observer::Observer;
use super::{Engine, Runner};
use crate::queue::Dispatch;
use crate::task::current_worker::CurrentPool;

/// Pausing, and waiting for rest, whatever the types of the engine.
pub(crate) trait Pausing: Send + Sync {
    /// Begins a pause, which ends after `limit` if [`resume`](Self::resume) is not called before.
    fn pause(&self, limit: Option<Duration>) -> PauseId;
    /// Ends a pause.
    fn resume(&self, pause: PauseId);
    fn is_paused(&self) -> bool;
    /// Waits for a moment at which no task is running. Returns false at the deadline, and at once on a worker of the pool.
    fn wait_quiet(&self, deadline: Option<Instant>) -> bool;
    /// Waits for a moment at which no task is queued or running. Returns false at the deadline, and at once on a worker of the pool.
    fn wait_idle(&self, deadline: Option<Instant>) -> bool;
    /// The same for a future.
    fn poll_idle<'e>(&'e self, watch: &mut Option<IdleWatch<'e>>, waker: &Waker) -> Poll<bool>;
    /// The engine as a guard of a pause keeps it.
    fn pausing(self: Arc<Self>) -> Arc<dyn Pausing>;
}

impl<R: Runner, D: Dispatch> Pausing for Engine<R, D> {
    fn pause(&self, limit: Option<Duration>) -> PauseId {
        let id = self.lifecycle.edit(|phase| {
            let id = phase.add_pause(limit);
            self.apply_limits(phase);
            id
        });
        if limit.is_some() {
            // A worker must be up when the time is over: sleeping workers compute their alarms again.
            self.parking.wake_all();
        }
        self.tell(Observer::paused);
        // No worker is free to start the tasks of these polls any more.
        self.notify_pending_polls();
        id
    }

    fn resume(&self, pause: PauseId) {
        self.lifecycle.edit(|phase| {
            phase.end_pause(pause);
            self.apply_limits(phase);
        });
        if self.lifecycle.is_paused() {
            // A pause that is left may have a time limit that no sleeping worker has an alarm for.
            self.parking.wake_all();
        }
        self.tell(Observer::resumed);
        self.use_raised_limits();
    }

    fn is_paused(&self) -> bool {
        self.lifecycle.is_paused()
    }

    fn wait_quiet(&self, deadline: Option<Instant>) -> bool {
        !self.is_inside() && self.lifecycle.wait_for(RestState::Quiet, deadline, || self.rest())
    }

    fn wait_idle(&self, deadline: Option<Instant>) -> bool {
        !self.is_inside() && self.lifecycle.wait_for(RestState::Idle, deadline, || self.rest())
    }

    fn poll_idle<'e>(&'e self, watch: &mut Option<IdleWatch<'e>>, waker: &Waker) -> Poll<bool> {
        let was_idle = watch.as_ref().is_some_and(IdleWatch::has_seen);
        let is_inside = !was_idle && self.is_inside();
        let mut watching = || watch.get_or_insert_with(|| self.lifecycle.watch()).poll(waker, || self.rest());
        if was_idle || is_inside || watching() {
            *watch = None;
            return Poll::Ready(!is_inside);
        }
        Poll::Pending
    }

    fn pausing(self: Arc<Self>) -> Arc<dyn Pausing> {
        self
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// When the pause in force ends by itself, if it does. A pause whose time is over ends here.
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

    /// The state of rest that the pool is in: nothing runs, and the results of all that ran are announced.
    fn rest(&self) -> Option<RestState> {
        // The next task of a key may be in no figure while the end of the one before is announced: then this number changes.
        let moves = self.views.moves();
        let load = self.entries();
        let is_told = !self.observers.as_ref().is_some_and(|observers| observers.is_pushing());
        let is_quiet = load.running == 0 && self.threads.callers() == 0 && !self.counters.is_answering() && is_told;
        let has_next = self.views.in_order() > 0;
        let is_quiet = is_quiet && self.views.moves() == moves;
        is_quiet.then_some(if load.queued == 0 && !has_next && !self.sweeps.is_under_way() {
            RestState::Idle
        } else {
            RestState::Quiet
        })
    }

    /// Wakes those who wait for the pool to be at rest, if it is.
    pub(super) fn notify_waiters(&self) {
        self.lifecycle.notify_waiters(|| self.rest());
    }
}
