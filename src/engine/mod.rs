//! The one engine behind every pool: the way of a task from submit to its end.
//!
//! ```text
//! submit ── admission.rs   full? wait in line, or refuse
//!        ── dispatch/      push: hand to an idle worker, or queue
//!        ── parking.rs     wake a worker only if nobody is looking for work
//!        ── threads.rs     start one more if there are more tasks than workers
//! worker ── worker.rs      pop, run, account, let the next submitter in; or look, then sleep
//! end    ── lifecycle.rs   pause, close, wait
//! ```

pub(crate) mod admission;
mod control;
mod counters;
mod lifecycle;
#[cfg(all(test, formicary_loom))]
mod models;
pub(crate) mod nested;
pub(crate) mod parking;
mod threads;
mod worker;

pub(crate) use control::{EngineRef, PauseControl};
pub(crate) use lifecycle::PauseId;

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crate::dispatch::{Dispatch, Queue, Refused, Shape};
use crate::error::{BoxError, BuildError, Cause, SubmitError, SubmitErrorKind};
use crate::options::Options;
use crate::slot::{Outcome, Recalled, Reply, Slot, Ticket, Verdict};
use crate::sync::Arc;

use admission::Line;
use counters::{Counters, count};
use lifecycle::Life;
use nested::{Inside, PoolId, Waits};
use parking::Parking;
use threads::Threads;
use worker::Doing;

/// What a worker does with a task: the first axis of a pool's type.
pub(crate) trait Runner: Send + Sync + Sized + 'static {
    /// What is queued.
    type Item: Send + 'static;
    /// What a worker keeps between tasks. It is made, used and dropped on the worker's thread.
    type State;
    /// What the user gets back of a task that never ran.
    type Returned;

    /// Makes the state of worker `worker`.
    fn start(&self, worker: usize) -> Result<Self::State, BoxError>;

    /// Called before the worker takes work.
    fn ready(&self, _state: &mut Self::State) {}

    /// Runs a task. Must set `reply` before any user code runs.
    fn run(&self, state: &mut Self::State, item: Self::Item, reply: &mut Reply) -> Verdict;

    /// Ends a worker's state.
    fn stop(&self, _state: Self::State) {}

    /// Whether the state is made anew after a panic.
    fn discards_after_panic(&self) -> bool {
        false
    }

    /// A state to run a task with in the middle of another, if that takes none of the worker's own.
    fn spare_state(&self) -> Option<Self::State> {
        None
    }

    /// Undoes a task that was taken out of the queue.
    fn recall(item: Self::Item, kind: SubmitErrorKind, cause: Cause) -> Recalled<Self::Returned>;
}

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

pub(crate) struct Engine<R: Runner, D: Dispatch> {
    id: PoolId,
    runner: R,
    options: Options,
    queue: D::Queue<R::Item>,
    parking: Parking,
    line: Line,
    threads: Threads,
    waits: Waits,
    life: Life,
    counters: Counters,
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Checks the options and starts the minimum of workers.
    pub(crate) fn build(options: Options, runner: R) -> Result<Arc<Self>, BuildError> {
        options.check()?;
        let shape = Shape { workers: options.workers, bound: options.queue };
        let queue = D::Queue::new(shape).map_err(|reason| BuildError::Queue { dispatch: D::NAME, reason })?;
        let engine = Arc::new(Engine {
            id: nested::next_id(),
            runner,
            queue,
            parking: Parking::new(),
            line: Line::new(),
            threads: Threads::new(options.workers, options.min_workers),
            waits: Waits::new(),
            life: Life::new(),
            counters: Counters::default(),
            options,
        });
        engine.start_minimum()?;
        Ok(engine)
    }

    pub(crate) fn id(&self) -> PoolId {
        self.id
    }

    /// Whether the calling thread is a worker of this pool.
    pub(crate) fn is_inside(&self) -> bool {
        nested::is_inside(self.id)
    }

    pub(crate) fn runner(&self) -> &R {
        &self.runner
    }

    /// Starts the workers of the minimum and waits until each has its state. On an error the pool is
    /// closed and empty again.
    fn start_minimum(self: &Arc<Self>) -> Result<(), BuildError> {
        let mut starts = Vec::new();
        let mut refused = None;
        for _ in 0..self.threads.min() {
            let (sender, receiver) = channel();
            match self.hire(Some(sender)) {
                Ok(Some(worker)) => starts.push((worker, receiver)),
                Ok(None) => break,
                Err(error) => refused = Some(error),
            }
        }
        let mut failure = None;
        let mut living = 0;
        for (worker, receiver) in starts {
            match receiver.recv() {
                Ok(Err(source)) => {
                    failure.get_or_insert(BuildError::Factory { worker, source });
                }
                // A thread that a spawn handler made away with counts as refused.
                Err(_) => refused = Some(io::Error::other("the worker's thread never ran it")),
                Ok(Ok(())) => living += 1,
            }
        }
        let failure = match (failure, refused) {
            (Some(failure), _) => failure,
            (None, Some(error)) if living == 0 => BuildError::Spawn(error),
            _ => return Ok(()),
        };
        self.shutdown(None);
        Err(failure)
    }

    /// Starts one more worker if the capacity allows: its number, or the system's refusal.
    fn hire(self: &Arc<Self>, ready: Option<Sender<Result<(), BoxError>>>) -> io::Result<Option<usize>> {
        let Some(index) = self.threads.hire() else { return Ok(None) };
        let engine = Arc::clone(self);
        let body = Box::new(move || engine.work(index, ready));
        match self.threads.start(&self.options, index, body) {
            Ok(()) => Ok(Some(index)),
            Err(error) => {
                count(&self.counters.failed_starts);
                Err(error)
            }
        }
    }

    /// Starts workers while there are more tasks in the house than workers, and room for more.
    fn grow(self: &Arc<Self>) -> io::Result<()> {
        loop {
            let (staying, capacity) = self.threads.population();
            if staying >= capacity {
                return Ok(());
            }
            let load = self.queue.load();
            if load.queued + load.running <= staying || self.hire(None)?.is_none() {
                return Ok(());
            }
        }
    }

    /// One try to get a task in: push, and see that somebody comes for it.
    fn try_enter(self: &Arc<Self>, item: R::Item) -> Result<(), Refused<R::Item>> {
        let idle = if self.life.is_paused() { None } else { self.parking.claim() };
        self.queue.push(item, idle.as_ref().map(|claim| claim.worker()))?;
        drop(idle);
        self.announce();
        Ok(())
    }

    /// Sees to it that a worker is alive before a task is let in.
    fn ensure_worker(self: &Arc<Self>) -> io::Result<()> {
        match self.threads.population() {
            (0, _) if !self.life.is_closed() => self.hire(None).map(drop),
            _ => Ok(()),
        }
    }

    /// Submits one task.
    pub(crate) fn submit(self: &Arc<Self>, item: R::Item, patience: Patience) -> Result<(), SubmitError<R::Item>> {
        self.admit(item, patience).map_err(|refusal| {
            count(&self.counters.rejected);
            refusal
        })
    }

    /// Submits the task of a slot; on a refusal the input comes back out of it.
    pub(crate) fn submit_slot<I, O>(
        self: &Arc<Self>,
        slot: &Slot<I, O>,
        item: R::Item,
        patience: Patience,
    ) -> Result<(), SubmitError<I>> {
        self.submit(item, patience).map_err(|refusal| match slot.give_up() {
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
        nested::run_here(self.id, |reply| {
            count(&self.counters.direct);
            Ticket::new(slot).run(reply, None, |input, _| f(input))
        })
    }

    /// Submits all of an iterator, and wakes the workers once for all that went in without waiting.
    pub(crate) fn submit_all(
        self: &Arc<Self>,
        items: &mut dyn Iterator<Item = R::Item>,
    ) -> Result<usize, (usize, SubmitError<R::Item>)> {
        let mut accepted = 0;
        let mut unannounced = false;
        let mut refused = None;
        for item in items {
            let item = match self.push_unannounced(item) {
                None => {
                    accepted += 1;
                    unannounced = true;
                    continue;
                }
                Some(item) => item,
            };
            if std::mem::take(&mut unannounced) {
                self.announce();
            }
            match self.submit(item, self.default_patience()) {
                Ok(()) => accepted += 1,
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        if unannounced {
            self.announce();
        }
        match refused {
            None => Ok(accepted),
            Some(error) => Err((accepted, error)),
        }
    }

    /// While nobody waits at the door and a worker lives, a task of many needs no more than the push. The
    /// task comes back if it needs more.
    fn push_unannounced(&self, item: R::Item) -> Option<R::Item> {
        if self.threads.population().0 == 0 || self.line.waiting() > 0 {
            return Some(item);
        }
        match self.queue.push(item, None) {
            Ok(()) => None,
            Err(Refused::Full(item) | Refused::Closed(item)) => Some(item),
        }
    }

    /// Tasks were pushed: sees that somebody comes for them.
    fn announce(self: &Arc<Self>) {
        self.parking.notify(|| self.queue.has_work());
        // A refused thread leaves the tasks to the living workers, and is counted.
        drop(self.grow());
    }

    /// `submit`'s patience as the options have it.
    pub(crate) fn default_patience(&self) -> Patience {
        if self.options.nonblocking { Patience::None } else { Patience::Forever }
    }

    fn admit(self: &Arc<Self>, mut item: R::Item, patience: Patience) -> Result<(), SubmitError<R::Item>> {
        if self.ensure_worker().is_err() {
            return Err(SubmitError::new(SubmitErrorKind::Spawn, item));
        }
        // Whoever comes later than those in line must not pass them.
        if self.line.waiting() == 0 {
            match self.try_enter(item) {
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
            Ok(leave) => self.wait_in_line(item, patience.deadline(), &leave),
            Err(nested::WouldDeadlock) => self.make_room(item),
        }
    }

    fn wait_in_line(
        self: &Arc<Self>,
        mut item: R::Item,
        deadline: Option<Instant>,
        leave: &nested::Wait,
    ) -> Result<(), SubmitError<R::Item>> {
        let Some(place) = self.line.join(self.options.max_blocking) else {
            return Err(SubmitError::new(SubmitErrorKind::Overloaded, item));
        };
        let kind = loop {
            if place.is_first() {
                match self.try_enter(item) {
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
                return self.make_room(item);
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
    fn make_room(self: &Arc<Self>, mut item: R::Item) -> Result<(), SubmitError<R::Item>> {
        loop {
            match self.try_enter(item) {
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

impl<R: Runner, D: Dispatch> Inside for Engine<R, D> {
    fn id(&self) -> PoolId {
        self.id
    }

    fn is_closed(&self) -> bool {
        self.life.is_closed()
    }

    fn waits(&self) -> &Waits {
        &self.waits
    }

    fn strength(&self) -> usize {
        let (staying, capacity) = self.threads.population();
        staying.max(capacity)
    }

    fn run_nested(&self, worker: usize, body: &mut dyn FnMut(&mut Reply) -> Verdict) {
        let tally = self.counters.tally(worker);
        self.execute(&Doing { worker, tally: &tally, nested: true }, body);
    }
}
