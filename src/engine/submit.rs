//! The way of a task into the pool: enter, or wait in line, or come back with the reason.

use std::io;
use std::time::{Duration, Instant};

use super::counters::count;
use super::{Engine, Runner, nested};
use crate::dispatch::{Dispatch, MAIN_DOOR, Queue, Refused};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::slot::{Outcome, Slot, Ticket, Verdict};
use crate::sync::Arc;

/// How long a submitter is willing to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    None,
    Until(Instant),
    Forever,
}

impl Patience {
    /// For a duration; one that the clock cannot hold is for ever.
    pub(crate) fn at_most(limit: Duration) -> Self {
        Instant::now().checked_add(limit).map_or(Patience::Forever, Patience::Until)
    }

    fn deadline(self) -> Option<Instant> {
        match self {
            Patience::Until(deadline) => Some(deadline),
            _ => None,
        }
    }
}

/// By which door a task wants in, and how long its submitter waits there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    door: usize,
    patience: Patience,
}

impl From<Patience> for Way {
    /// By the main door.
    fn from(patience: Patience) -> Self {
        Way { door: MAIN_DOOR, patience }
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// The way of a task, which may have a key.
    pub(crate) fn way(&self, key: Option<u64>, patience: Patience) -> Way {
        Way { door: key.map_or(MAIN_DOOR, |key| self.queue.door(key)), patience }
    }

    /// One try to get a task in: push, and see that somebody comes for it.
    fn try_enter(self: &Arc<Self>, item: R::Item, door: usize) -> Result<(), Refused<R::Item>> {
        let idle = if self.life.is_paused() { None } else { self.parking.claim() };
        self.queue.push(item, door, idle.as_ref().map(|claim| claim.worker()))?;
        drop(idle);
        self.announce();
        Ok(())
    }

    /// Sees to it that a worker is alive before a task is let in. While there is none, one caller at a time tries to start
    /// one: the others must not rely on a thread that may yet be refused.
    fn ensure_worker(self: &Arc<Self>) -> io::Result<()> {
        if self.threads.has_worker() || self.life.is_closed() {
            return Ok(());
        }
        let _alone = self.founding.lock();
        if self.threads.has_worker() {
            return Ok(());
        }
        self.hire(None).map(drop)
    }

    /// Submits one task.
    pub(crate) fn submit(self: &Arc<Self>, item: R::Item, way: impl Into<Way>) -> Result<(), SubmitError<R::Item>> {
        self.admit(item, way.into()).inspect_err(|_| count(&self.counters.rejected))
    }

    /// Submits the task of a slot; on a refusal the input comes back out of it.
    pub(crate) fn submit_slot<I, O>(
        self: &Arc<Self>,
        slot: &Slot<I, O>,
        item: R::Item,
        way: impl Into<Way>,
    ) -> Result<(), SubmitError<I>> {
        self.submit(item, way).map_err(|refusal| match slot.give_up() {
            Outcome::Returned(input, _) => SubmitError::new(refusal.kind, input),
            _ => unreachable!("a refused task has not started"),
        })
    }

    /// If the calling thread is a worker of this pool, runs the task of a slot on it; says whether it did.
    pub(crate) fn run_on_the_spot<I, O>(&self, slot: &Arc<Slot<I, O>>, f: impl FnOnce(I) -> O) -> bool
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        if self.life.is_closed() {
            return false;
        }
        nested::run_here(self.id, |reply| {
            count(&self.counters.direct);
            Ticket::new(slot).run(reply, None, |input, _| f(input))
        })
    }

    /// Submits all of an iterator. Nothing is left unannounced while the iterator is asked, for it may block or panic; it
    /// is the searcher that keeps workers from being woken one for each task.
    pub(crate) fn submit_all(
        self: &Arc<Self>,
        items: &mut dyn Iterator<Item = R::Item>,
    ) -> Result<usize, (usize, SubmitError<R::Item>)> {
        let mut accepted = 0;
        for item in items {
            self.submit(item, self.default_patience()).map_err(|error| (accepted, error))?;
            accepted += 1;
        }
        Ok(accepted)
    }

    /// Tasks were pushed: sees that somebody comes for them.
    pub(super) fn announce(self: &Arc<Self>) {
        self.parking.notify(|| self.queue.has_work());
        // A refused thread leaves the tasks to the living workers, and is counted.
        drop(self.grow());
    }

    /// There is room: lets the first in line try.
    pub(super) fn call_line(&self) {
        self.line.call(|door| self.queue.has_room(door));
    }

    /// `submit`'s patience as the options have it.
    pub(crate) fn default_patience(&self) -> Patience {
        if self.options.nonblocking { Patience::None } else { Patience::Forever }
    }

    fn admit(self: &Arc<Self>, mut item: R::Item, way: Way) -> Result<(), SubmitError<R::Item>> {
        let Way { door, patience } = way;
        if self.ensure_worker().is_err() {
            return Err(SubmitError::new(SubmitErrorKind::Spawn, item));
        }
        // Whoever comes later than those in line must not pass them.
        if !self.line.is_waited_at(door) {
            match self.try_enter(item, door) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(item)) => return Err(SubmitError::new(SubmitErrorKind::Closed, item)),
                Err(Refused::Full(back)) => item = back,
            }
        }
        if self.life.is_closed() {
            return Err(SubmitError::new(SubmitErrorKind::Closed, item));
        }
        if let Patience::None = patience {
            return Err(SubmitError::new(SubmitErrorKind::Full, item));
        }
        match nested::enter_wait(self.id, patience.deadline()) {
            Ok(leave) => self.wait_in_line(item, way, &leave),
            Err(nested::WouldDeadlock) => self.make_room(item, door),
        }
    }

    fn wait_in_line(
        self: &Arc<Self>,
        mut item: R::Item,
        Way { door, patience }: Way,
        leave: &nested::Wait,
    ) -> Result<(), SubmitError<R::Item>> {
        let deadline = patience.deadline();
        let Some(place) = self.line.join(door, self.options.max_blocking) else {
            return Err(SubmitError::new(SubmitErrorKind::Overloaded, item));
        };
        let kind = loop {
            if place.is_first() {
                match self.try_enter(item, door) {
                    Ok(()) => return Ok(()),
                    Err(Refused::Closed(back)) => {
                        item = back;
                        break SubmitErrorKind::Closed;
                    }
                    Err(Refused::Full(back)) => item = back,
                }
            } else if self.life.is_closed() {
                break SubmitErrorKind::Closed;
            }
            if leave.is_doomed() {
                drop(place);
                return self.make_room(item, door);
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                break SubmitErrorKind::TimedOut;
            }
            place.wait(deadline);
        };
        Err(SubmitError::new(kind, item))
    }

    /// The last worker that could make room stands at the door itself: it runs queued tasks until there is
    /// room, or, where nothing is queued, the task in hand.
    fn make_room(self: &Arc<Self>, mut item: R::Item, door: usize) -> Result<(), SubmitError<R::Item>> {
        loop {
            match self.try_enter(item, door) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(item)) => return Err(SubmitError::new(SubmitErrorKind::Closed, item)),
                Err(Refused::Full(back)) => item = back,
            }
            let Some(mut state) = self.runner.spare_state() else {
                return Err(SubmitError::new(SubmitErrorKind::WouldDeadlock, item));
            };
            let mut queued = None;
            let mut own = Some(item);
            let ran = nested::run_here(self.id, |reply| {
                let next = match self.queue.pop_instead() {
                    Some(next) => {
                        queued = own.take();
                        // Its place in the queue is free now, however long it runs here.
                        self.call_line();
                        Some(next)
                    }
                    None => {
                        count(&self.counters.direct);
                        own.take()
                    }
                };
                match next {
                    Some(next) => self.runner.run(&mut state, next, reply),
                    None => Verdict::Elsewhere,
                }
            });
            match (queued, own) {
                (Some(back), _) => item = back,
                (None, Some(back)) if !ran => return Err(SubmitError::new(SubmitErrorKind::WouldDeadlock, back)),
                _ => return Ok(()),
            }
        }
    }
}
