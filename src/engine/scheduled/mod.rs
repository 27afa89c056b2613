//! Tasks that enter the pool at a time: the schedule of a pool.
//!
//! A scheduled task is in no queue and takes no room. The schedule has one alarm, for the first of its tasks. At its time a task is
//! submitted by the timer thread: it enters the pool if there is room, and otherwise waits in the wait queue as a future does, which is
//! polled where it is woken. So neither the timer thread nor a worker waits for it.
//!
//! A task counts as submitted when it enters. One that does not, because it is cancelled before, or is refused at its time, or is given back or
//! dropped by a close, counts as submitted at that moment. So the law of the figures holds, and the schedule's own figure is only of those
//! that are still to come.

mod closing;
mod entering;

use std::collections::BTreeMap;
// Real ones in models too, as the timer's: no model has time pass, and a close of its pool costs it no step.
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{OnceLock, Weak};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::submit_options::{SubmitOptions, WaitMode};
use super::{Engine, Runner};
use crate::cancel::{CancelToken, earlier};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::{Dispatch, KeptLane};
use crate::sync::clock;
use crate::sync::timer::{Alarm, TIMER, is_timer_thread};
use crate::sync::user_code::catch_user_panic;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, Ordering};
use crate::task::in_schedule::{InSchedule, Place, ScheduledTask, Schedules};
use crate::task::in_view::ViewId;
use crate::task::pending_polls::{PendingPoll, PendingPolls};

pub(crate) use entering::Entrance;
use entering::Refusal;

/// So many tasks enter before the timer thread looks at its other alarms.
const MOST_AT_A_TIME: usize = 256;

/// When the timer thread asks for a worker again, if the system has refused the only one.
const WORKER_AGAIN: Duration = Duration::from_millis(10);

/// A task with a time.
pub(crate) struct Scheduled<R: Runner> {
    item: R::Item,
    /// Its state, if it has one.
    task: Option<Arc<dyn ScheduledTask>>,
    /// Where it enters, if that is a view.
    view: Option<Box<ThroughView<R>>>,
    lane: KeptLane,
    /// How long it waits for room when its time has come.
    mode: WaitMode,
}

/// The view by which a task enters.
pub struct ThroughView<R: Runner> {
    pub(crate) way_in: WayIn<R>,
    /// The view and those that it is a view of.
    pub(crate) chain: Arc<[ViewId]>,
}

/// The view itself.
pub(crate) enum WayIn<R: Runner> {
    /// It is its owner's.
    Weak(Weak<dyn Entrance<R>>),
    /// The order of a key, which goes with its last task: this keeps it.
    Kept(Arc<dyn Entrance<R>>),
}

impl<R: Runner> Clone for ThroughView<R> {
    fn clone(&self) -> Self {
        let way_in = match &self.way_in {
            WayIn::Weak(view) => WayIn::Weak(Weak::clone(view)),
            WayIn::Kept(view) => WayIn::Kept(Arc::clone(view)),
        };
        ThroughView { way_in, chain: Arc::clone(&self.chain) }
    }
}

impl<R: Runner> ThroughView<R> {
    /// The view, if it is there.
    pub(crate) fn entrance(&self) -> Option<Arc<dyn Entrance<R>>> {
        match &self.way_in {
            WayIn::Weak(view) => view.upgrade(),
            WayIn::Kept(view) => Some(Arc::clone(view)),
        }
    }
}

impl<R: Runner> Scheduled<R> {
    pub(crate) fn new(item: R::Item, task: Option<Arc<dyn ScheduledTask>>, lane: KeptLane, mode: WaitMode) -> Self {
        Scheduled { item, task, view: None, lane, mode }
    }

    pub(crate) fn through(self, view: Option<ThroughView<R>>) -> Self {
        Scheduled { view: view.map(Box::new), ..self }
    }

    /// The task enters the queue, under its locks.
    fn into_entered(self) -> R::Item {
        if let Some(task) = &self.task {
            task.enters();
        }
        self.item
    }

    pub(crate) fn into_item(self) -> R::Item {
        self.item
    }

    /// Its state, which knows of the view.
    pub(crate) fn state(&self) -> Option<Arc<dyn ScheduledTask>> {
        self.task.clone()
    }

    fn options(&self, mode: WaitMode) -> SubmitOptions<'static> {
        SubmitOptions::from(mode).in_lane(self.lane.number()).bounded().uncounted()
    }

    /// How the task waits for room: until `token` is cancelled.
    pub(crate) fn patient<'t>(&self, token: &'t CancelToken) -> SubmitOptions<'t> {
        let options: SubmitOptions<'t> = self.options(WaitMode::Forever).inline().accepted();
        options.with_token(Some(token))
    }

    /// A token that ends the wait for room: of a cancelled task, or when the time for room is over.
    fn wait_token(&self) -> CancelToken {
        let own = self.task.as_ref().map(|task| task.own_token());
        let token = own.map_or_else(CancelToken::new, CancelToken::child);
        if let WaitMode::Until(time) = self.mode {
            token.cancel_at(time);
        }
        token
    }
}

/// The scheduled tasks of a pool.
pub(in crate::engine) struct Schedule<R: Runner> {
    /// The number of the next task.
    next: AtomicU64,
    waker: OnceLock<Waker>,
    /// Polls, on workers of the pool, of tasks whose time had not come.
    polls: PendingPolls,
    /// Tasks whose time has come and that are not in the pool yet. Incremented under the lock.
    entering: AtomicUsize,
    state: Mutex<State<R>>,
}

struct State<R: Runner> {
    /// By time.
    tasks: BTreeMap<Place, Scheduled<R>>,
    /// The alarm that is set, and its time.
    alarm: Option<(Instant, Alarm)>,
    /// When the timer thread asks for a worker again.
    worker_at: Option<Instant>,
    is_closed: bool,
    /// What a shutdown gives back of tasks that found the pool closed when they waited for room.
    turned_away: Option<Vec<Scheduled<R>>>,
}

impl<R: Runner> Default for Schedule<R> {
    fn default() -> Self {
        let state = State { tasks: BTreeMap::new(), alarm: None, worker_at: None, is_closed: false, turned_away: None };
        Schedule {
            next: AtomicU64::new(0),
            waker: OnceLock::new(),
            polls: PendingPolls::default(),
            entering: AtomicUsize::new(0),
            state: Mutex::new(state),
        }
    }
}

impl<R: Runner> Schedule<R> {
    /// How many tasks have not entered the pool.
    pub(in crate::engine) fn len(&self) -> usize {
        let state = self.state.lock();
        // ORDERING: Relaxed. Under the lock no task is between the two.
        state.tasks.len() + self.entering.load(Ordering::Relaxed)
    }

    pub(in crate::engine) fn open(&self) {
        self.state.lock().is_closed = false;
    }

    /// A task enters, or will not.
    fn note_entered(&self) {
        // ORDERING: Relaxed, a statistic.
        self.entering.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes the first task whose time has come.
    fn take_due(&self, now: Instant) -> Option<Scheduled<R>> {
        let mut state = self.state.lock();
        let first = state.tasks.first_entry().filter(|first| first.key().0 <= now)?;
        // ORDERING: Relaxed, see `len`.
        self.entering.fetch_add(1, Ordering::Relaxed);
        Some(first.remove())
    }
}

/// The waker of the alarm. It does not keep the pool.
struct EntersDue<R: Runner, D: Dispatch>(Weak<Engine<R, D>>);

impl<R: Runner, D: Dispatch> Wake for EntersDue<R, D> {
    fn wake(self: Arc<Self>) {
        if let Some(engine) = self.0.upgrade() {
            engine.alarm_went_off();
            // This may be the last reference, and drop what the user gave the pool.
            catch_user_panic(|| drop(engine));
        }
    }
}

/// The time of a task.
impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// A place in the schedule for a task that is to enter at `time`.
    pub(crate) fn place(&self, time: Instant) -> InSchedule {
        InSchedule::new(self.this.clone() as Weak<dyn Schedules>, self.next_place(time))
    }

    pub(crate) fn next_place(&self, time: Instant) -> Place {
        // ORDERING: Relaxed. Each number is given once.
        (time, self.schedule.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Keeps a task until its time. Refuses it if it could not start then: the pool is closed, the token or deadline of `options` ends it
    /// before, or the system gives no thread that keeps the time.
    pub(crate) fn schedule(
        &self,
        place: Place,
        task: Scheduled<R>,
        options: &SubmitOptions<'_>,
    ) -> Result<(), Refusal<R>> {
        let is_late = options.deadline().is_some_and(|deadline| deadline < place.0);
        let end = options.cancelled().or_else(|| is_late.then_some(SubmitErrorKind::TimedOut));
        let view = task.view.as_ref().and_then(|view| view.entrance());
        let inserted = match end {
            Some(kind) => Err((kind, task)),
            None => self.insert(place, task),
        };
        // After it is in: a close that this does not see takes it out.
        let is_closed = inserted.is_ok() && view.is_some_and(|view| view.is_closed());
        let left = if is_closed { self.schedule.state.lock().tasks.remove(&place) } else { None };
        let refused = left.map_or(inserted, |task| Err((SubmitErrorKind::Closed, task)));
        refused.map_err(|(kind, task)| {
            self.note_refusal(options, kind);
            SubmitError::new(kind, task)
        })
    }

    fn insert(&self, place: Place, task: Scheduled<R>) -> Result<(), (SubmitErrorKind, Scheduled<R>)> {
        let mut state = self.schedule.state.lock();
        if state.is_closed || self.is_closed() {
            return Err((SubmitErrorKind::Closed, task));
        }
        state.tasks.insert(place, task);
        if self.set_alarm(&mut state) {
            return Ok(());
        }
        match state.tasks.remove(&place) {
            Some(task) => Err((SubmitErrorKind::Spawn, task)),
            None => Ok(()),
        }
    }

    /// Sets the alarm for the first task, if it is not set. Returns whether it is.
    fn set_alarm(&self, state: &mut State<R>) -> bool {
        let first = state.tasks.first_key_value().map(|(place, _)| place.0);
        let Some(time) = earlier(first, state.worker_at) else { return true };
        if state.alarm.as_ref().is_some_and(|(set, _)| *set <= time) {
            return true;
        }
        // Not before other alarms that are late: many tasks may be.
        let time = time.max(clock::now());
        let waker = self.schedule.waker.get_or_init(|| Waker::from(Arc::new(EntersDue(self.this.clone()))));
        match TIMER.try_at(time, Waiter::Task(waker.clone())) {
            Ok(alarm) => {
                state.alarm = Some((time, alarm));
                true
            }
            Err(_) => false,
        }
    }

    fn alarm_went_off(self: &Arc<Self>) {
        let mut state = self.schedule.state.lock();
        state.alarm = None;
        let asks = state.worker_at.take_if(|time| *time <= clock::now()).is_some();
        drop(state);
        if asks {
            self.ensure_workers();
        }
        self.enter_due();
    }

    /// Has the tasks enter whose time has come, and sets the alarm for the next.
    pub(in crate::engine) fn enter_due(self: &Arc<Self>) {
        let now = clock::now();
        for _ in 0..MOST_AT_A_TIME {
            let Some(task) = self.schedule.take_due(now) else { break };
            self.enter_scheduled(task);
        }
        self.set_alarm(&mut self.schedule.state.lock());
    }

    /// The timer thread must not become a worker, since a task takes as long as it takes: it asks again for one.
    pub(in crate::engine) fn leaves_work_to_others(&self) -> bool {
        if !self.starts_threads() || !is_timer_thread() {
            return false;
        }
        let mut state = self.schedule.state.lock();
        state.worker_at = clock::now().checked_add(WORKER_AGAIN);
        self.set_alarm(&mut state);
        true
    }
}

impl<R: Runner, D: Dispatch> Schedules for Engine<R, D> {
    fn withdraw(self: Arc<Self>, place: Place) -> bool {
        let mut state = self.schedule.state.lock();
        let Some(task) = state.tasks.remove(&place) else { return false };
        let alarm = if state.tasks.is_empty() && state.worker_at.is_none() { state.alarm.take() } else { None };
        drop(state);
        drop((alarm, task));
        self.count_withdrawn();
        true
    }

    fn register_poll(&self, poll: Arc<PendingPoll>) {
        self.schedule.polls.register(poll);
    }
}
