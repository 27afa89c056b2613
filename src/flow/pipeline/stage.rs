//! A running stage: items that are processed by tasks of a pool, and are passed on when there is room in the next stage.
//!
//! An item takes a place of its stage from when it comes in until the next stage has taken its result. So a task never waits for room: its
//! result waits, in the stage, and the thread that made the room moves it. Whichever thread ends a task or makes room runs
//! [`forward`](Outlet::forward), one at a time for a stage; others leave a note that it is to look again.

use std::collections::BTreeMap;
use std::sync::{OnceLock, Weak};
use std::task::Wake;
use std::time::Duration;

use super::control::Control;
use super::error::{Failure, PipelineError};
use super::stats::{StageStats, Waited};
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
    pub(super) name: Option<std::sync::Arc<str>>,
}

pub(super) struct Stage<A: Send + 'static, U: Send + 'static> {
    this: Weak<Self>,
    number: usize,
    settings: Settings,
    buffer: usize,
    launch: Launcher<A, U>,
    submissions: Arc<Submissions>,
    busy: Option<Arc<Mutex<Duration>>>,
    next: Arc<dyn Inlet<U>>,
    before: OnceLock<Weak<dyn Outlet>>,
    control: Weak<Control>,
    state: Mutex<State<U>>,
}

struct State<U> {
    /// The items that have come in.
    entered: u64,
    /// The items that were passed on; in an ordered stage also the number of the next that is to be.
    left: u64,
    /// By the number of the item.
    in_flight: BTreeMap<u64, Arc<dyn Awaited>>,
    /// By the number of the item; in an unordered stage by the number of the end.
    done: BTreeMap<u64, Result<U, PipelineError>>,
    /// The items whose tasks have ended.
    ended: u64,
    /// The places that are taken.
    inside: usize,
    end: Option<End>,
    /// A failure is in `done`: nothing comes in that is after it.
    is_failing: bool,
    is_over: bool,
    is_forwarding: bool,
    looks_again: bool,
    blocked: Waited,
}

/// What to do next for the results.
enum Step<U> {
    Put(u64, U),
    End(End),
    Nothing,
}

impl<A: Send + 'static, U: Send + 'static> Stage<A, U> {
    pub(super) fn new(
        control: &Arc<Control>,
        (settings, default_buffer): (Settings, usize),
        launch: Launcher<A, U>,
        busy: Option<Arc<Mutex<Duration>>>,
        next: Arc<dyn Inlet<U>>,
        number: usize,
    ) -> Arc<Self> {
        let state = State {
            entered: 0,
            left: 0,
            in_flight: BTreeMap::new(),
            done: BTreeMap::new(),
            ended: 0,
            inside: 0,
            end: None,
            is_failing: false,
            is_over: false,
            is_forwarding: false,
            looks_again: false,
            blocked: Waited::default(),
        };
        Arc::new_cyclic(|this| Stage {
            this: Weak::clone(this),
            number,
            buffer: settings.buffer.unwrap_or(default_buffer),
            settings,
            launch,
            submissions: Arc::clone(control.submissions()),
            busy,
            next,
            before: OnceLock::new(),
            control: Arc::downgrade(control),
            state: Mutex::new(state),
        })
    }

    pub(super) fn set_before(&self, before: Weak<dyn Outlet>) {
        _ = self.before.set(before);
    }

    fn before(&self) -> Option<Arc<dyn Outlet>> {
        self.before.get()?.upgrade()
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
        let place = if self.settings.is_ordered { number } else { state.ended };
        state.ended += 1;
        match result {
            Ok(output) => {
                state.done.insert(place, Ok(output));
                drop(state);
            }
            Err(failure) => {
                let error = PipelineError::of_stage(self.number, self.settings.name.clone(), failure);
                if let Some(control) = self.control.upgrade().filter(|control| control.cancels_at_once()) {
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
        let first = if self.settings.is_ordered { place } else { 0 };
        let cancelled = state.in_flight.split_off(&first);
        drop(state);
        discard(cancelled, late);
        if let Some(before) = self.before() {
            before.abandon();
        }
    }

    fn is_closed(state: &State<U>) -> bool {
        state.is_over || state.is_failing
    }

    /// The result that is to go on next, or the end.
    fn step(&self, state: &mut State<U>) -> Step<U> {
        if state.is_over {
            return Step::Nothing;
        }
        let next = state.done.first_entry().filter(|first| !self.settings.is_ordered || *first.key() == state.left);
        match next.map(|first| first.remove_entry()) {
            Some((place, Ok(output))) => Step::Put(place, output),
            Some((_, Err(error))) => {
                state.is_over = true;
                Step::End(End::Failed(error))
            }
            None if state.inside == 0 => match state.end.take() {
                Some(end) => {
                    state.is_over = true;
                    Step::End(end)
                }
                None => Step::Nothing,
            },
            None => Step::Nothing,
        }
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
        let Launch { task, future } = (self.launch)(x, deliver, Arc::clone(&self.submissions));
        let mut state = self.state.lock();
        if Self::is_closed(&state) {
            drop(state);
            catch_user_panic(|| task.cancel());
            return Ok(());
        }
        state.in_flight.insert(number, task);
        drop(state);
        future.wake();
        if let Some(control) = self.control.upgrade() {
            control.launched();
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.inside < self.buffer && !Self::is_closed(&state)
    }

    fn end(&self, end: End) {
        let cancelling = self.control.upgrade().filter(|control| control.cancels_at_once());
        let end = match (end, cancelling) {
            (End::Failed(error), Some(control)) => return control.end(error),
            (end, _) => end,
        };
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
        let mut state = self.state.lock();
        state.looks_again = true;
        if state.is_forwarding {
            return;
        }
        state.is_forwarding = true;
        while std::mem::take(&mut state.looks_again) {
            match self.step(&mut state) {
                Step::Nothing => {}
                Step::End(end) => {
                    drop(state);
                    self.next.end(end);
                    state = self.state.lock();
                }
                Step::Put(place, output) => {
                    drop(state);
                    let put = self.next.put(output);
                    state = self.state.lock();
                    match put {
                        Ok(()) => {
                            state.blocked.end();
                            state.left += 1;
                            state.inside = state.inside.saturating_sub(1);
                            state.looks_again = true;
                            drop(state);
                            if let Some(before) = self.before() {
                                before.forward();
                            }
                            state = self.state.lock();
                        }
                        // The next stage calls this again when it has room.
                        Err(output) if !state.is_over => {
                            state.blocked.begin();
                            state.done.insert(place, Ok(output));
                        }
                        Err(output) => {
                            drop(state);
                            catch_user_panic(|| drop(output));
                            state = self.state.lock();
                        }
                    }
                }
            }
        }
        state.is_forwarding = false;
    }

    fn abandon(&self) {
        let mut state = self.state.lock();
        state.is_over = true;
        state.blocked.end();
        let (in_flight, done) = (std::mem::take(&mut state.in_flight), std::mem::take(&mut state.done));
        drop(state);
        discard(in_flight, done);
        if let Some(before) = self.before() {
            before.abandon();
        }
    }
}

impl<A: Send + 'static, U: Send + 'static> AnyStage for Stage<A, U> {
    fn stats(&self) -> StageStats {
        let state = self.state.lock();
        let tasks: Vec<_> = state.in_flight.values().cloned().collect();
        let stats = StageStats {
            name: self.settings.name.clone(),
            buffer: self.buffer,
            entered: state.entered,
            left: state.left,
            queued: 0,
            running: 0,
            waiting_for_room: state.done.len(),
            blocked: state.blocked.total(),
            busy: self.busy.as_ref().map(|busy| *busy.lock()),
        };
        drop(state);
        let queued = tasks.iter().filter(|task| !task.has_started()).count();
        StageStats { queued, running: tasks.len() - queued, ..stats }
    }

    fn run_one(&self) -> bool {
        let tasks: Vec<_> = self.state.lock().in_flight.values().cloned().collect();
        let next = tasks.into_iter().find(|task| !task.has_started() && task.can_be_run());
        next.inspect(|task| task.run_inside()).is_some()
    }
}
