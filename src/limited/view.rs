//! What is behind a view: its places, its queue, and the way from there to the pool.

use std::collections::VecDeque;
use std::time::Instant;

use super::errand::Errand;
use super::place::{Place, Placed};
use crate::dispatch::{Dispatch, MAIN_DOOR};
use crate::engine::admission::Line;
use crate::engine::waking;
use crate::engine::{Engine, Patience, Way};
use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::pool::CallTask;
use crate::slot::Recalled;
use crate::stats::LimitedStats;
use crate::sync::{Arc, Condvar, Mutex, Ordering, current, wait};
use crate::task::Task;
use crate::waiter::Waiter;

pub(super) struct View<D: Dispatch> {
    engine: Arc<Engine<CallTask, D>>,
    id: u64,
    limit: usize,
    state: Mutex<State>,
    /// Submitters that found the view full.
    line: Line,
    idle: Condvar,
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
}

impl<D: Dispatch> View<D> {
    pub(super) fn new(engine: &Arc<Engine<CallTask, D>>, limit: usize) -> Arc<Self> {
        // Not one of `sync`'s atomics: a static of loom's cannot be made.
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        Arc::new(View {
            engine: Arc::clone(engine),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            limit: limit.max(1),
            state: Mutex::new(State::default()),
            line: Line::new(),
            idle: Condvar::new(),
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
            self.idle.notify_all();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.engine.is_closed() || self.state.lock().is_closed
    }

    /// Whether one more may come in, and leave room for `keep` more.
    fn has_room(&self, state: &State, keep: usize) -> bool {
        let house = state.places + state.waiting.len();
        self.engine.queue_bound().is_none_or(|queue| house + keep < self.limit.saturating_add(queue))
    }

    /// One try to take a task in; it comes back if there is not room for it and for `keep` more.
    fn try_enter(self: &Arc<Self>, task: Task, keep: usize) -> Result<Option<Task>, SubmitError<Task>> {
        let mut state = self.state.lock();
        if state.is_closed || self.engine.is_closed() {
            drop(state);
            return Err(SubmitError::new(SubmitErrorKind::Closed, task));
        }
        if !self.has_room(&state, keep) {
            return Ok(Some(task));
        }
        state.figures.submitted += 1;
        state.figures.queued += 1;
        state.waiting.push_back(task);
        drop(state);
        self.feed();
        Ok(None)
    }

    pub(super) fn admit(self: &Arc<Self>, mut task: Task, patience: Patience) -> Result<(), SubmitError<Task>> {
        match self.try_enter(task, self.line.waiting_at(MAIN_DOOR))? {
            None => return Ok(()),
            Some(back) => task = back,
        }
        if let Patience::None = patience {
            return Err(SubmitError::new(SubmitErrorKind::Full, task));
        }
        if self.engine.is_inside() {
            return Err(SubmitError::new(SubmitErrorKind::WouldDeadlock, task));
        }
        let Some(place) = self.line.join(MAIN_DOOR, self.engine.max_blocking(), Waiter::Thread(current())) else {
            return Err(SubmitError::new(SubmitErrorKind::Overloaded, task));
        };
        loop {
            let answer = place.answer(|| match place.is_first() {
                true => self.try_enter(task, 0),
                false if self.is_closed() => Err(SubmitError::new(SubmitErrorKind::Closed, task)),
                false => Ok(Some(task)),
            });
            match answer? {
                None => return Ok(()),
                Some(back) => task = back,
            }
            place.wait(None);
        }
    }

    /// Gives the free places to those that wait longest.
    fn feed(self: &Arc<Self>) {
        // From here on a worker that waits for one of these tasks may count on this thread.
        let _arrival = self.engine.arrival();
        let mut state = self.state.lock();
        // One at a time: a pool that refuses gives the place back in the middle of this.
        if std::mem::replace(&mut state.is_feeding, true) {
            return;
        }
        while state.places < self.limit {
            let Some(task) = state.waiting.pop_front() else { break };
            state.places += 1;
            drop(state);
            self.send(task);
            state = self.state.lock();
        }
        state.is_feeding = false;
        drop(state);
        self.line.call(|_| self.has_room(&self.state.lock(), 0));
    }

    /// Sends a task with a place to the pool: at once, or from the pool's line when its turn comes.
    fn send(self: &Arc<Self>, task: Task) {
        let way = Way::from(Patience::Forever).inline();
        let mut task = Some(Task::from_body(Placed::new(task, Place::of(self))));
        match (self.engine.enter_at_once(&mut task, &way), task) {
            (Ok(false), Some(task)) => {
                let engine = Arc::clone(&self.engine);
                let entering = async move {
                    let result = engine.submit_async(task, way).await;
                    waking::afterwards(move || match result {
                        Ok(()) => engine.staff(),
                        Err(refusal) => drop(engine.guard(|| drop(refusal.task))),
                    });
                };
                Errand::run(entering);
            }
            // The pool is closed, or has no thread: nobody will run it.
            (Err(_), Some(task)) => self.discard(task),
            (_, _) => {}
        }
    }

    pub(super) fn close(self: &Arc<Self>) -> Vec<Task> {
        let mut state = self.state.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.line.call_all();
        let recalled = waiting.into_iter().map(|task| task.recall(SubmitErrorKind::Closed, Cause::Cancelled));
        recalled.filter_map(|recalled| if let Recalled::Here(task) = recalled { Some(task) } else { None }).collect()
    }

    pub(super) fn wait_idle(&self, deadline: Option<Instant>) -> bool {
        if self.engine.is_inside() {
            return false;
        }
        let mut state = self.state.lock();
        while !state.figures.is_idle() {
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
