//! What is behind a view: its places, its queue, and the way from there to the pool.

use std::collections::VecDeque;
use std::time::Instant;

use super::errand::Errand;
use super::place::{Place, Placed};
use crate::cancel::CancelToken;
use crate::dispatch::{Dispatch, MAIN_DOOR};
use crate::engine::admission::Line;
use crate::engine::{Engine, Patience, Way};
use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::pool::CallTask;
use crate::slot::Recalled;
use crate::stats::LimitedStats;
use crate::sync::{Arc, Condvar, Mutex, Ordering, current, wait};
use crate::task::Task;
use crate::waiter::Waiter;
use crate::waking;

pub(super) struct View<D: Dispatch> {
    engine: Arc<Engine<CallTask, D>>,
    id: u64,
    limit: usize,
    state: Mutex<State>,
    /// Submitters that found the view full.
    line: Line,
    idle: Condvar,
    /// Cancelled when the view is closed, for those of its submitters that wait at the pool.
    closed: CancelToken,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Task>,
    /// Places taken: tasks on their way to the pool, in it, or running.
    places: usize,
    /// Somebody is giving out places; whoever else has one to give leaves it to that one.
    is_feeding: bool,
    is_closed: bool,
    figures: LimitedStats,
    /// How often the view has become idle.
    idle_moments: u64,
}

impl State {
    /// Counts one more task that was let in.
    fn accept(&mut self) {
        self.figures.submitted += 1;
        self.figures.queued += 1;
    }
}

/// What came of a try to enter.
enum Entered<D: Dispatch> {
    /// The task waits in the view, or is on its way.
    In,
    /// It has a place, and may go to the pool.
    WithPlace(Task, Place<D>),
    Full(Task),
}

impl<D: Dispatch> View<D> {
    pub(super) fn new(engine: &Arc<Engine<CallTask, D>>, limit: usize) -> Arc<Self> {
        // Not one of `sync`'s atomics: a static of loom's cannot be made.
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        Arc::new(View {
            engine: Arc::clone(engine),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            limit,
            state: Mutex::new(State::default()),
            line: Line::new(),
            idle: Condvar::new(),
            closed: CancelToken::new(),
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
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

    /// A place is free again.
    pub(super) fn release_place(self: &Arc<Self>) {
        self.state.lock().places -= 1;
        self.feed();
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
    fn has_place(&self, state: &State, keep: usize) -> bool {
        state.waiting.is_empty() && state.places + keep < self.limit
    }

    /// Whether one more may wait in the view, and leave room for `keep` more.
    fn has_room(&self, state: &State, keep: usize) -> bool {
        let house = state.places + state.waiting.len();
        let places = self.limit.min(self.engine.capacity());
        self.engine.queue_bound().is_none_or(|queue| house + keep < places.saturating_add(queue))
    }

    /// One try to take a task in, if there is room for it and for `keep` more. Where that is not `bounded` it always has room.
    fn try_enter(self: &Arc<Self>, task: Task, keep: usize, bounded: bool) -> Result<Entered<D>, SubmitError<Task>> {
        let mut is_kept = false;
        loop {
            let mut state = self.state.lock();
            let is_closed = state.is_closed || self.engine.is_closed();
            let gets_place = !is_closed && bounded && self.has_place(&state, keep);
            let may_wait = !is_closed && !gets_place && (!bounded || self.has_room(&state, keep));
            if is_kept && may_wait {
                state.accept();
                state.waiting.push_back(task);
                drop(state);
                self.feed();
                return Ok(Entered::In);
            }
            state.places += usize::from(gets_place);
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

    pub(super) fn admit(self: &Arc<Self>, task: Task, patience: Patience) -> Result<(), SubmitError<Task>> {
        // What the pool's own tasks submit is let in beyond the bound; or else it does not wait, for nobody may be left to make room.
        let bounded = !self.engine.exceeds_bound();
        let entered = match self.try_enter(task, self.line.waiting_at(MAIN_DOOR), bounded)? {
            Entered::Full(task) if matches!(patience, Patience::Forever) => match self.engine.is_inside() {
                true => return Err(SubmitError::new(SubmitErrorKind::WouldDeadlock, task)),
                false => self.wait_in_line(task)?,
            },
            entered => entered,
        };
        match entered {
            Entered::In => Ok(()),
            Entered::WithPlace(task, place) => self.enter_pool(task, place, patience),
            Entered::Full(task) => Err(SubmitError::new(SubmitErrorKind::Full, task)),
        }
    }

    fn wait_in_line(self: &Arc<Self>, mut task: Task) -> Result<Entered<D>, SubmitError<Task>> {
        let Some(place) = self.line.join(MAIN_DOOR, self.engine.max_blocking(), Waiter::Thread(current())) else {
            return Err(SubmitError::new(SubmitErrorKind::Overloaded, task));
        };
        loop {
            let entered = place.answer(|| match place.is_first() {
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
    fn enter_pool(&self, task: Task, place: Place<D>, patience: Patience) -> Result<(), SubmitError<Task>> {
        let make = |(task, place)| {
            self.state.lock().accept();
            Task::from_body(Placed::new(task, place))
        };
        // A refusal is the view's, and not in the pool's figures.
        let way = Way::from(patience).coming_again().unless(Some(&self.closed));
        let entered = self.engine.submit((task, place), make, way).map_err(|refusal| {
            let (kind, (task, _place)) = refusal.into_parts();
            SubmitError::new(if kind == SubmitErrorKind::Cancelled { SubmitErrorKind::Closed } else { kind }, task)
        });
        if entered.is_ok() {
            self.engine.note_cancellable(None);
        }
        entered
    }

    /// Gives the free places to those that wait longest.
    fn feed(self: &Arc<Self>) {
        // From here on a worker that waits for one of these tasks may count on this thread.
        let arrival = self.engine.arrival();
        let mut refused = Vec::new();
        let mut state = self.state.lock();
        // One at a time: whoever else has a place to give leaves it to that one.
        if std::mem::replace(&mut state.is_feeding, true) {
            return;
        }
        while state.places < self.limit {
            let Some(task) = state.waiting.pop_front() else { break };
            state.places += 1;
            drop(state);
            let back = self.send(task);
            state = self.state.lock();
            state.places -= usize::from(back.is_some());
            refused.extend(back);
        }
        state.is_feeding = false;
        drop(state);
        drop(arrival);
        self.line.call(|_| {
            let state = self.state.lock();
            self.has_place(&state, 0) || self.has_room(&state, 0)
        });
        // Somebody else's code, and so when no place depends on it any more.
        refused.into_iter().for_each(|task| self.discard(task));
    }

    /// Sends a task with a place to the pool: at once, or from the pool's line when its turn comes. It comes back, without the place,
    /// if the pool is closed, or has no thread: nobody will run it.
    fn send(self: &Arc<Self>, task: Task) -> Option<Task> {
        let way = Way::from(Patience::Forever).inline().bounded();
        let mut task = Some(Task::from_body(Placed::new(task, Place::of(self))));
        let is_in = self.engine.enter_at_once(&mut task, &way);
        match (is_in, task) {
            (Ok(false), Some(task)) => {
                self.send_later(task, way);
                None
            }
            (_, task) => {
                self.engine.note_cancellable(None);
                self.engine.left_views(1);
                task.map(|task| task.into_body::<Placed<D>>().into_task())
            }
        }
    }

    fn send_later(self: &Arc<Self>, task: Task, way: Way<'static>) {
        let view = Arc::clone(self);
        Errand::run(async move {
            let entered = view.engine.submit_async(task, way).await;
            view.engine.note_cancellable(None);
            view.engine.left_views(1);
            // A guest's work and the drop of a task are somebody else's code.
            waking::afterwards(move || match entered {
                Ok(()) => view.engine.staff(),
                Err(refusal) => view.discard(refusal.into_task()),
            });
        });
    }

    pub(super) fn close(self: &Arc<Self>) -> Vec<Task> {
        let mut state = self.state.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.engine.left_views(waiting.len());
        self.line.call_all();
        self.closed.cancel();
        let recalled = waiting.into_iter().map(|task| task.recall(SubmitErrorKind::Closed, Cause::Cancelled));
        recalled.filter_map(|recalled| if let Recalled::Here(task) = recalled { Some(task) } else { None }).collect()
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

    /// Drops a task on a thread that must not have its panic.
    pub(super) fn discard(&self, task: Task) {
        self.engine.guard(|| drop(task));
    }
}
