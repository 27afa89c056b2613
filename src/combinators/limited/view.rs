//! What is behind a view: its places, its tasks, and the way from there to the pool.
//!
//! A view keeps its tasks until they start, each under a number: those that wait for a place, and those that have one, whose turn
//! ([`Turn`]) is in the pool's queue or at its door. So whoever takes a task out of turn finds it wherever it is, and what is left of
//! it in the pool is known to stand for nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::awaiting::Awaiting;
use super::by_number::ByNumber;
use super::errand::Errand;
use super::place::Place;
use super::stats::LimitedStats;
use super::turn::Turn;
use crate::cancel::CancelToken;
use crate::engine::wait_queue::WaitQueue;
use crate::engine::{Engine, SubmitOptions, WaitMode};
use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::pool::CallTask;
use crate::queue::{DEFAULT_LANE, Dispatch};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering, current, wait};
use crate::task::closure::Task;
use crate::task::in_view::InView;
use crate::task::state::{Retracted, RunOutcome};

pub(super) struct View<D: Dispatch> {
    pub(super) engine: Arc<Engine<CallTask, D>>,
    pub(super) limit: usize,
    /// The number of the next task.
    next: AtomicU64,
    pub(super) state: Mutex<State>,
    /// Submitters that found the view full.
    pub(super) wait_queue: WaitQueue,
    idle: Condvar,
    /// Cancelled when the view is closed, for those of its submitters that wait at the pool.
    closed: CancelToken,
}

/// A task before it starts, and its number.
pub(super) type Numbered = (u64, Task);

#[derive(Default)]
pub(super) struct State {
    /// Tasks that wait for a place, by number: in the order of their coming.
    pub(super) waiting: ByNumber<Task>,
    /// Tasks that have a place, and their turn in the pool or on the way there.
    pub(super) placed: ByNumber<Placed>,
    /// Those of them that wait at the pool's door.
    pub(super) at_door: BTreeMap<u64, Arc<Errand>>,
    /// Turns in the pool, or on their way there, that stand for nothing, by the numbers of their tasks: how many of each.
    pub(super) void: BTreeMap<u64, usize>,
    /// Places taken: tasks on their way to the pool, in it, or running.
    pub(super) places: usize,
    /// How many of them are in the hands of submitters, on their way into the pool.
    pub(super) entering: usize,
    /// How many of those are lent to tasks that were awaited.
    pub(super) lent: usize,
    /// Those who await tasks that wait.
    pub(super) awaiting: Awaiting,
    /// Somebody is giving out places; whoever else has one to give leaves it to that one.
    pub(super) is_feeding: bool,
    is_closed: bool,
    figures: LimitedStats,
    /// How often the view has become idle.
    idle_moments: u64,
}

pub(super) struct Placed {
    pub(super) task: Task,
    /// Whether a worker of the pool would find its turn.
    pub(super) is_queued: bool,
}

impl State {
    /// Counts one more task that was let in.
    fn accept(&mut self) {
        self.figures.submitted += 1;
        self.figures.queued += 1;
    }

    /// Counts one more task that runs in a place.
    pub(super) fn start(&mut self) {
        self.figures.running += 1;
        self.figures.peak_running = self.figures.peak_running.max(self.figures.running);
    }

    /// Whether a worker of the pool would find the task.
    pub(super) fn is_queued(&self, task: u64) -> bool {
        self.placed.get(task).is_some_and(|placed| placed.is_queued)
    }
}

/// What came of a try to enter.
enum Entered<D: Dispatch> {
    /// The task waits in the view, or is on its way.
    In,
    /// It has a place, and may go to the pool.
    WithPlace(Numbered, Place<D>),
    Full(Numbered),
}

type Refused = SubmitError<Numbered>;

impl<D: Dispatch> View<D> {
    pub(super) fn new(engine: &Arc<Engine<CallTask, D>>, limit: usize) -> Arc<Self> {
        let view = Arc::new(View {
            engine: Arc::clone(engine),
            limit,
            next: AtomicU64::new(0),
            state: Mutex::new(State::default()),
            wait_queue: WaitQueue::new(),
            idle: Condvar::new(),
            closed: CancelToken::new(),
        });
        engine.add_view(view.address(), Arc::downgrade(&view) as _);
        view
    }

    /// What tells it from others.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// A number for a task.
    pub(super) fn number(&self) -> u64 {
        // ORDERING: Relaxed. Each is given once.
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// What the slot of a task knows.
    pub(super) fn in_view(self: &Arc<Self>, task: u64) -> InView {
        InView::new(Arc::downgrade(self) as _, task)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn engine(&self) -> &Engine<CallTask, D> {
        &self.engine
    }

    pub(super) fn figures(&self) -> LimitedStats {
        self.state.lock().figures
    }

    /// Changes the figures.
    pub(super) fn count(&self, change: &mut dyn FnMut(&mut LimitedStats)) {
        let mut state = self.state.lock();
        change(&mut state.figures);
        if state.figures.is_idle() {
            state.idle_moments += 1;
            self.idle.notify_all();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.engine.is_closed() || self.state.lock().is_closed
    }

    /// Whether a place is free for one more, and for `keep` more, and nothing waits for it.
    pub(super) fn has_place(&self, state: &State, keep: usize) -> bool {
        state.waiting.is_empty() && state.places + keep < self.limit
    }

    /// Whether one more may wait in the view, and leave room for `keep` more.
    pub(super) fn has_room(&self, state: &State, keep: usize) -> bool {
        let house = state.places + state.waiting.len();
        let places = self.limit.min(self.engine.capacity());
        self.engine.queue_bound().is_none_or(|queue| house + keep < places.saturating_add(queue))
    }

    /// One try to take a task in, if there is room for it and for `keep` more. Where that is not `bounded` it always has room.
    fn try_enter(self: &Arc<Self>, task: Numbered, keep: usize, bounded: bool) -> Result<Entered<D>, Refused> {
        match self.try_enter_as_is(task, keep, bounded)? {
            // Perhaps there is some now that what is dead has left.
            Entered::Full(task) if self.engine.sweep() => self.try_enter_as_is(task, keep, bounded),
            entered => Ok(entered),
        }
    }

    fn try_enter_as_is(self: &Arc<Self>, task: Numbered, keep: usize, bounded: bool) -> Result<Entered<D>, Refused> {
        let mut is_kept = false;
        loop {
            let mut state = self.state.lock();
            let is_closed = state.is_closed || self.engine.is_closed();
            let gets_place = !is_closed && bounded && self.has_place(&state, keep);
            let may_wait = !is_closed && !gets_place && (!bounded || self.has_room(&state, keep));
            if is_kept && may_wait {
                state.accept();
                state.waiting.insert(task.0, task.1);
                drop(state);
                self.engine.note_cancellable(None);
                self.feed();
                return Ok(Entered::In);
            }
            state.places += usize::from(gets_place);
            state.entering += usize::from(gets_place);
            drop(state);
            if is_kept {
                self.engine.left_views(1);
            }
            if is_closed {
                return Err(SubmitError::new(SubmitErrorKind::Closed, task));
            }
            if gets_place {
                return Ok(Entered::WithPlace(task, Place::of(self)));
            }
            // Asked without the lock, which whoever puts a task into the pool's queue takes in the middle of that.
            is_kept = may_wait && self.engine.keep_in_view(bounded);
            if !is_kept {
                return Ok(Entered::Full(task));
            }
        }
    }

    pub(super) fn admit(self: &Arc<Self>, task: Numbered, mode: WaitMode) -> Result<(), SubmitError<Task>> {
        self.enter(task, mode).map_err(|refusal| refusal.map(|(_, task)| task))?;
        self.engine.sweep_if_worth_it();
        Ok(())
    }

    fn enter(self: &Arc<Self>, task: Numbered, mode: WaitMode) -> Result<(), Refused> {
        // What the pool's own tasks submit is let in beyond the bound; or else it does not wait, for nobody may be left to make room.
        let bounded = !self.engine.exceeds_bound();
        let entered = match self.try_enter(task, self.wait_queue.reserved_for(DEFAULT_LANE), bounded)? {
            Entered::Full(task) if matches!(mode, WaitMode::Forever) => match self.engine.is_inside() {
                true => return Err(SubmitError::new(SubmitErrorKind::WouldDeadlock, task)),
                false => self.wait_in_queue(task)?,
            },
            entered => entered,
        };
        match entered {
            Entered::In => Ok(()),
            Entered::WithPlace(task, place) => self.enter_pool(task, place, mode),
            Entered::Full(task) => Err(SubmitError::new(SubmitErrorKind::Full, task)),
        }
    }

    fn wait_in_queue(self: &Arc<Self>, mut task: Numbered) -> Result<Entered<D>, Refused> {
        let Some(place) = self.wait_queue.join(DEFAULT_LANE, self.engine.max_blocking(), Waiter::Thread(current()))
        else {
            return Err(SubmitError::new(SubmitErrorKind::Overloaded, task));
        };
        loop {
            let entered = place.consume_notification(|| match place.is_head() {
                true => self.try_enter(task, 0, true),
                false if self.is_closed() => Err(SubmitError::new(SubmitErrorKind::Closed, task)),
                false => Ok(Entered::Full(task)),
            });
            match entered? {
                Entered::Full(back) => task = back,
                entered => return Ok(entered),
            }
            place.wait(None);
        }
    }

    /// The pool's own way in, for a task that has its place: there it waits as any other.
    fn enter_pool(self: &Arc<Self>, task: Numbered, place: Place<D>, mode: WaitMode) -> Result<(), Refused> {
        let (mut awaiting, mut was_lent) = (Vec::new(), false);
        let make = |((number, task), place): (Numbered, Place<D>)| {
            let mut state = self.state.lock();
            state.accept();
            was_lent = self.come_in(&mut state, number, task);
            awaiting = state.awaiting.take();
            drop(state);
            Task::from_body(Turn::in_place(place, number))
        };
        // A refusal is the view's, and not in the pool's figures.
        let options = SubmitOptions::from(mode).retried().with_token(Some(&self.closed));
        self.engine.submit((task, place), make, options).map_err(|refusal| {
            let (kind, (task, place)) = refusal.into_parts();
            self.turn_away(place);
            SubmitError::new(if kind == SubmitErrorKind::Cancelled { SubmitErrorKind::Closed } else { kind }, task)
        })?;
        self.engine.note_cancellable(None);
        awaiting.into_iter().for_each(Waiter::wake);
        if was_lent {
            // Perhaps the place has been given back since.
            self.feed();
        }
        Ok(())
    }

    pub(super) fn close(self: &Arc<Self>) -> Vec<Task> {
        let mut state = self.state.lock();
        state.is_closed = true;
        let waiting = state.waiting.extract(|_| true);
        drop(state);
        self.engine.left_views(waiting.len());
        self.wait_queue.notify_all();
        self.closed.cancel();
        self.wake_awaiting();
        waiting.into_iter().filter_map(|task| self.retract(task, SubmitErrorKind::Closed)).collect()
    }

    /// Recalls a task that has not gone to the pool.
    fn retract(&self, task: Task, kind: SubmitErrorKind) -> Option<Task> {
        match task.retract(kind, Cause::Cancelled) {
            Retracted::Here(task) => Some(task),
            // Whoever waited for it has run it, and counts its end.
            Retracted::Gone(RunOutcome::Elsewhere) => {
                self.engine.note_direct();
                None
            }
            Retracted::Gone(_) | Retracted::ToCaller => None,
        }
    }

    pub(super) fn wait_idle(&self, deadline: Option<Instant>) -> bool {
        if self.engine.is_inside() {
            return false;
        }
        let mut state = self.state.lock();
        // A moment that has passed counts too: another waiter may have submitted more since.
        let before = state.idle_moments;
        while !state.figures.is_idle() && state.idle_moments == before {
            if deadline.is_some_and(|d| Instant::now() >= d) {
                return false;
            }
            wait(&self.idle, &mut state, deadline);
        }
        true
    }

    /// Drops a task that has not gone to the pool, on a thread that must not have its panic.
    pub(super) fn discard(&self, task: Task) {
        self.engine.catch_user_panic(|| drop(self.retract(task, SubmitErrorKind::Cancelled)));
    }
}

impl<D: Dispatch> Drop for View<D> {
    fn drop(&mut self) {
        self.engine.remove_view(self.address());
    }
}
