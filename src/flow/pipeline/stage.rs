//! A running stage: items that are processed by tasks of a pool, and are passed on when there is room in the next stage.
//!
//! An item takes a place of its stage from when it comes in until the next stage has taken its result. So a task never waits for room: its
//! result waits, in the stage, and the thread that made the room moves it.

use std::collections::BTreeMap;
use std::sync::{OnceLock, Weak};
use std::task::Wake;
use std::time::Duration;

use super::control::Control;
use super::error::{Failure, PipelineError};
use super::forward::{Results, Step, Turn, forward};
use super::stats::StageStats;
use super::submissions::Submissions;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::user_code::catch_user_panic;
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::task::handle::Awaited;

/// Where items go.
pub(super) trait Inlet<T>: Send + Sync {
    /// Takes an item in, or gives it back where there is no room: then what is before it is told when there is. Called by one thread at
    /// a time. Where nothing more is wanted the item is dropped.
    fn put(&self, x: T) -> Result<(), T>;
    /// Whether `put` would take one. Not where nothing more is wanted: what is before is abandoned then.
    fn has_room(&self) -> bool;
    /// Nothing comes after this.
    fn end(&self, end: End);
}

/// Where items come from.
pub(super) trait Outlet: Send + Sync {
    /// There may be room for more.
    fn forward(&self);
    /// Nothing more is wanted from here or from what is before. What has not started is cancelled.
    fn abandon(&self);
}

/// What a control knows of a stage.
pub(super) trait AnyStage: Outlet {
    fn set_before(&self, before: Weak<dyn Outlet>);
    fn stats(&self) -> StageStats;
    /// Runs a task that has not started on the calling worker, if it is one of the stage's pool. Returns whether there was one.
    fn run_one(&self) -> bool;
}

pub(super) enum End {
    Finished,
    Failed(PipelineError),
}

/// A task of the stage that has been made.
pub(super) struct Launch {
    pub(super) task: Arc<dyn Awaited>,
    /// Enters the pool and delivers the result; it has not been polled.
    pub(super) future: Arc<DetachedFuture>,
}

/// Tells the stage how an item has ended.
pub(super) type Deliver<U> = Box<dyn FnOnce(Result<U, Failure>) + Send>;

/// Makes the task of an item.
pub(super) type Launcher<A, U> = Box<dyn Fn(A, Deliver<U>, Arc<Submissions>) -> Launch + Send + Sync>;

pub(super) struct Settings {
    pub(super) is_ordered: bool,
    pub(super) buffer: Option<usize>,
    /// What `buffer` may be.
    pub(super) least_buffer: usize,
    pub(super) name: Option<std::sync::Arc<str>>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { is_ordered: true, buffer: None, least_buffer: 1, name: None }
    }
}

/// A stage's place in its pipeline.
pub(super) struct Position<U> {
    pub(super) number: usize,
    pub(super) settings: Settings,
    pub(super) next: Arc<dyn Inlet<U>>,
    pub(super) before: OnceLock<Weak<dyn Outlet>>,
    pub(super) control: Weak<Control>,
    pub(super) submissions: Arc<Submissions>,
}

impl<U> Position<U> {
    pub(super) fn before(&self) -> Option<Arc<dyn Outlet>> {
        self.before.get()?.upgrade()
    }

    /// The end that is to come out after what is before it; `None` if it has ended everything at once.
    pub(super) fn end_in_order(&self, end: End) -> Option<End> {
        let cancelling = self.control.upgrade().filter(|control| control.cancels_at_once());
        match (end, cancelling) {
            (End::Failed(error), Some(control)) => {
                control.end(error);
                None
            }
            (end, _) => Some(end),
        }
    }
}

pub(super) struct Stage<A: Send + 'static, U: Send + 'static> {
    this: Weak<Self>,
    position: Position<U>,
    buffer: usize,
    launch: Launcher<A, U>,
    busy: Option<Arc<Mutex<Duration>>>,
    state: Mutex<State<U>>,
}

struct State<U> {
    is_ordered: bool,
    /// The items that have come in.
    entered: u64,
    /// The items that were passed on; in an ordered stage also the number of the next that is to be.
    left: u64,
    /// By the number of the item.
    in_flight: BTreeMap<u64, Arc<dyn Awaited>>,
    /// All items before this one are known to have started.
    started: u64,
    /// By the number of the item; in an unordered stage by the number of the end.
    done: BTreeMap<u64, Result<U, PipelineError>>,
    /// The items whose tasks have ended.
    ended: u64,
    /// The places that are taken.
    inside: usize,
    end: Option<End>,
    /// A failure is in `done`: nothing comes in that is after it.
    is_failing: bool,
    turn: Turn,
}

impl<A: Send + 'static, U: Send + 'static> Stage<A, U> {
    pub(super) fn new(
        position: Position<U>,
        default_buffer: usize,
        launch: Launcher<A, U>,
        busy: Option<Arc<Mutex<Duration>>>,
    ) -> Arc<Self> {
        let state = State {
            is_ordered: position.settings.is_ordered,
            entered: 0,
            left: 0,
            in_flight: BTreeMap::new(),
            started: 0,
            done: BTreeMap::new(),
            ended: 0,
            inside: 0,
            end: None,
            is_failing: false,
            turn: Turn::default(),
        };
        Arc::new_cyclic(|this| Stage {
            this: Weak::clone(this),
            buffer: position.settings.buffer.unwrap_or(default_buffer),
            position,
            launch,
            busy,
            state: Mutex::new(state),
        })
    }

    /// The task of an item has ended.
    fn ended(&self, number: u64, result: Result<U, Failure>) {
        let mut state = self.state.lock();
        if state.in_flight.remove(&number).is_none() {
            drop(state);
            // It was abandoned.
            catch_user_panic(|| drop(result));
            return;
        }
        let place = if state.is_ordered { number } else { state.ended };
        state.ended += 1;
        match result {
            Ok(output) => {
                state.done.insert(place, Ok(output));
                drop(state);
            }
            Err(failure) => {
                let Position { number, settings, control, .. } = &self.position;
                let error = PipelineError::of_stage(*number, settings.name.clone(), failure);
                if let Some(control) = control.upgrade().filter(|control| control.cancels_at_once()) {
                    drop(state);
                    control.end(error);
                    return;
                }
                state.done.insert(place, Err(error));
                self.fail_after(state, place);
            }
        }
        self.forward();
    }

    /// Drops what comes after a failure, here and before.
    fn fail_after(&self, mut state: MutexGuard<'_, State<U>>, place: u64) {
        state.is_failing = true;
        let late = state.done.split_off(&(place + 1));
        // In an unordered stage all that has not ended comes after it.
        let first = if state.is_ordered { place } else { 0 };
        let cancelled = state.in_flight.split_off(&first);
        drop(state);
        discard(cancelled, late);
        if let Some(before) = self.position.before() {
            before.abandon();
        }
    }

    /// The first item in flight that is not known to have started. Each is looked at once after its start: an item that is processed must not
    /// cost a look at all others.
    fn first_unstarted(&self) -> Option<(u64, Arc<dyn Awaited>)> {
        let state = self.state.lock();
        let (number, task) = state.in_flight.range(state.started..).next()?;
        Some((*number, Arc::clone(task)))
    }

    fn is_closed(state: &State<U>) -> bool {
        state.turn.is_over || state.is_failing
    }
}

impl<U> Results for State<U> {
    type Output = U;
    type Place = u64;

    fn turn(&mut self) -> &mut Turn {
        &mut self.turn
    }

    fn step(&mut self) -> Step<u64, U> {
        let next = self.done.first_entry().filter(|first| !self.is_ordered || *first.key() == self.left);
        match next.map(|first| first.remove_entry()) {
            Some((place, Ok(output))) => Step::Put(place, output),
            Some((_, Err(error))) => Step::End(End::Failed(error)),
            None if self.inside == 0 => self.end.take().map_or(Step::Nothing, Step::End),
            None => Step::Nothing,
        }
    }

    fn passed(&mut self, _: u64) {
        self.left += 1;
        self.inside = self.inside.saturating_sub(1);
    }

    fn put_back(&mut self, place: u64, output: U) {
        self.done.insert(place, Ok(output));
    }
}

/// Cancels and drops what nobody wants any more.
fn discard<U>(in_flight: BTreeMap<u64, Arc<dyn Awaited>>, done: BTreeMap<u64, Result<U, PipelineError>>) {
    for task in in_flight.into_values() {
        catch_user_panic(|| task.cancel());
    }
    for result in done.into_values() {
        catch_user_panic(|| drop(result));
    }
}

impl<A: Send + 'static, U: Send + 'static> Inlet<A> for Stage<A, U> {
    fn put(&self, x: A) -> Result<(), A> {
        let mut state = self.state.lock();
        if Self::is_closed(&state) {
            drop(state);
            catch_user_panic(|| drop(x));
            return Ok(());
        }
        if state.inside >= self.buffer {
            return Err(x);
        }
        state.inside += 1;
        let number = state.entered;
        state.entered += 1;
        drop(state);
        let this = Weak::clone(&self.this);
        let deliver: Deliver<U> = Box::new(move |result| {
            if let Some(stage) = this.upgrade() {
                stage.ended(number, result);
            }
        });
        let Launch { task, future } = (self.launch)(x, deliver, Arc::clone(&self.position.submissions));
        let mut state = self.state.lock();
        if Self::is_closed(&state) {
            drop(state);
            catch_user_panic(|| task.cancel());
            return Ok(());
        }
        state.in_flight.insert(number, task);
        drop(state);
        future.wake();
        if let Some(control) = self.position.control.upgrade() {
            control.launched();
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.inside < self.buffer && !Self::is_closed(&state)
    }

    fn end(&self, end: End) {
        let Some(end) = self.position.end_in_order(end) else { return };
        let mut state = self.state.lock();
        if !Self::is_closed(&state) && state.end.is_none() {
            state.end = Some(end);
        }
        drop(state);
        self.forward();
    }
}

impl<A: Send + 'static, U: Send + 'static> Outlet for Stage<A, U> {
    fn forward(&self) {
        forward(&self.state, &self.position);
    }

    fn abandon(&self) {
        let mut state = self.state.lock();
        state.turn.end();
        let (in_flight, done) = (std::mem::take(&mut state.in_flight), std::mem::take(&mut state.done));
        drop(state);
        discard(in_flight, done);
        if let Some(before) = self.position.before() {
            before.abandon();
        }
    }
}

impl<A: Send + 'static, U: Send + 'static> AnyStage for Stage<A, U> {
    fn set_before(&self, before: Weak<dyn Outlet>) {
        _ = self.position.before.set(before);
    }

    fn stats(&self) -> StageStats {
        let state = self.state.lock();
        let tasks: Vec<_> = state.in_flight.values().cloned().collect();
        let stats = StageStats {
            name: self.position.settings.name.clone(),
            buffer: self.buffer,
            entered: state.entered,
            left: state.left,
            queued: 0,
            running: 0,
            waiting_for_room: state.done.len(),
            blocked: state.turn.blocked(),
            busy: self.busy.as_ref().map(|busy| *busy.lock()),
        };
        drop(state);
        let queued = tasks.iter().filter(|task| !task.has_started()).count();
        StageStats { queued, running: tasks.len() - queued, ..stats }
    }

    fn run_one(&self) -> bool {
        while let Some((number, task)) = self.first_unstarted() {
            if !task.has_started() {
                if task.can_be_run() {
                    task.run_inside();
                    return true;
                }
                // Tasks enter in their order: where the first cannot be run, none can. It may have been started meanwhile.
                if !task.has_started() {
                    return false;
                }
            }
            self.state.lock().started = number + 1;
        }
        false
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests;
