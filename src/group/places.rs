//! The limit of a group: its places, and how a submitter waits for one.

use std::sync::Arc;

use super::Group;
use super::member::{Shared, WITHIN, address};
use crate::dispatch::Dispatch;
use crate::engine::{Patience, Way, nested};
use crate::error::SubmitErrorKind;
use crate::handle::Joinable;
use crate::sync::{Thread, current, park};
use crate::waiter::Waiter;

/// The tasks that count against the group's limit.
#[derive(Default)]
pub(super) struct Places {
    taken: usize,
    waiting: Vec<Thread>,
}

/// A place within the group's limit, given back when dropped.
pub(super) struct Place(pub(super) Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.limit.is_none() {
            return;
        }
        let mut places = self.0.places.lock();
        places.taken -= 1;
        let waiting = std::mem::take(&mut places.waiting);
        drop(places);
        waiting.iter().for_each(Thread::unpark);
    }
}

impl<T: Send + 'static, E: Send + 'static, D: Dispatch> Group<T, E, D> {
    /// A place within the limit.
    pub(super) fn find_place(&self, way: &Way<'_>, patience: Patience) -> Result<Place, SubmitErrorKind> {
        let token = &self.shared.token;
        if let Some(place) = self.take_place(None) {
            return Ok(place);
        }
        if let Patience::None = patience {
            return Err(way.cancelled().unwrap_or(SubmitErrorKind::Full));
        }
        let me = current();
        let _listening = token.listen(Waiter::Thread(me.clone()));
        loop {
            if let Some(place) = self.take_place(Some(&me)) {
                return Ok(place);
            }
            if let Some(kind) = way.cancelled() {
                return Err(kind);
            }
            if self.engine.is_inside() && self.run_next() {
                continue;
            }
            // It would wait for the task that it is in the middle of.
            let own = WITHIN.try_with(|within| within.borrow().contains(&address(&*self.shared))).unwrap_or(false);
            if own {
                return Err(SubmitErrorKind::WouldDeadlock);
            }
            let _leave = match nested::enter_wait(self.engine.id(), None) {
                Ok(leave) => leave,
                // They are younger than the caller, and do not wait for it.
                Err(_) if self.have_all_started() => nested::enter_wait_regardless(self.engine.id()),
                Err(_) => return Err(SubmitErrorKind::WouldDeadlock),
            };
            park(token.deadline());
        }
    }

    /// A place if there is one; otherwise leaves word to have `waiter` woken.
    fn take_place(&self, waiter: Option<&Thread>) -> Option<Place> {
        let place = || Some(Place(Arc::clone(&self.shared)));
        let Some(limit) = self.shared.limit else { return place() };
        let mut places = self.shared.places.lock();
        if places.taken < limit {
            places.taken += 1;
            return place();
        }
        places.waiting.extend(waiter.cloned());
        None
    }

    /// Runs the oldest task that has not started on this worker, if there may be one left.
    fn run_next(&self) -> bool {
        let mut tasks = self.tasks.lock();
        let next = tasks.accepted.get(tasks.tried).cloned();
        tasks.tried += usize::from(next.is_some());
        drop(tasks);
        next.map(Joinable::run_inside).is_some()
    }

    fn have_all_started(&self) -> bool {
        self.tasks.lock().accepted.iter().all(|task| task.has_started())
    }
}
