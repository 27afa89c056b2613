//! Tasks that enter the pool at a time: the schedule of a pool.
//!
//! A scheduled task is in no queue and takes no room. The schedule has one alarm, for the first of its tasks. At its time a task is
//! submitted by the timer thread: it enters the pool if there is room, and otherwise waits in the wait queue as a future does, which is
//! polled where it is woken. So neither the timer thread nor a worker waits for it.
//!
//! A task counts as submitted when it enters. One that is cancelled before, or that a shutdown gives back or drops, counts as submitted
//! at that moment, and one that the pool refuses counts as refused. So each is counted once, and the schedule's own figure is only of
//! those that are still to come.
//!
//! Tasks that did not start are handed to the user's handler on a thread that may block (`missed.rs`).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{OnceLock, Weak};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use super::counters::count;
use super::observer::TaskEnd;
use super::submit_options::{SubmitOptions, WaitMode};
use super::{Engine, Runner};
use crate::cancel::{CancelToken, earlier};
use crate::engine::options::OnClose;
use crate::error::{Cause, SubmitError, SubmitErrorKind};
use crate::queue::{Dispatch, LazyWith};
use crate::sync::clock;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::timer::{Alarm, TIMER, is_timer_thread};
use crate::sync::user_code::catch_user_panic;
use crate::sync::waiter::Waiter;
use crate::sync::waking;
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::task::in_schedule::{InSchedule, Place, ScheduledTask, Schedules};
use crate::task::in_view::ViewId;
use crate::task::pending_polls::{PendingPoll, PendingPolls};
use crate::task::state::{Retracted, RunOutcome};

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
    lane: usize,
    /// How long it waits for room when its time has come.
    mode: WaitMode,
}

/// The view by which a task enters.
pub(crate) struct ThroughView<R: Runner> {
    pub(crate) entrance: Weak<dyn Entrance<R>>,
    /// The view and those that it is a view of.
    pub(crate) chain: Arc<[ViewId]>,
    /// The number of the task in the view, if it has a state.
    pub(crate) number: Option<u64>,
}

type Refusal<R> = SubmitError<Scheduled<R>>;
type Entering<'f, R> = Pin<Box<dyn Future<Output = Result<(), Refusal<R>>> + Send + 'f>>;

/// A pool or a view that scheduled tasks enter. A refusal is not counted.
pub(crate) trait Entrance<R: Runner>: Send + Sync {
    /// Takes a task in if there is room now.
    fn enter(self: Arc<Self>, task: Scheduled<R>, options: SubmitOptions<'_>) -> Result<(), Refusal<R>>;
    /// The same when there is room. Where the task is accepted, the caller has to ensure that there are workers.
    fn enter_async(self: Arc<Self>, task: Scheduled<R>, token: CancelToken) -> Entering<'static, R>;
}

impl<R: Runner> Scheduled<R> {
    pub(crate) fn new(item: R::Item, task: Option<Arc<dyn ScheduledTask>>, options: &SubmitOptions<'_>) -> Self {
        Scheduled { item, task, view: None, lane: options.lane(), mode: options.mode() }
    }

    pub(crate) fn through(self, view: Option<ThroughView<R>>) -> Self {
        Scheduled { view: view.map(Box::new), ..self }
    }

    /// The task enters the queue, under its locks.
    pub(crate) fn into_entered(self) -> R::Item {
        if let Some(task) = &self.task {
            task.enters();
        }
        self.item
    }

    pub(crate) fn into_item(self) -> R::Item {
        self.item
    }

    /// The number of the task in its view.
    pub(crate) fn number(&self) -> Option<u64> {
        self.view.as_ref().and_then(|view| view.number)
    }

    fn options(&self, mode: WaitMode) -> SubmitOptions<'static> {
        SubmitOptions::from(mode).in_lane(self.lane).bounded().uncounted()
    }

    /// How the task waits for room: until `token` is cancelled.
    pub(crate) fn patient<'t>(&self, token: &'t CancelToken) -> SubmitOptions<'t> {
        let options: SubmitOptions<'t> = self.options(WaitMode::Forever).inline();
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
pub(super) struct Schedule<R: Runner> {
    /// The number of the next task.
    next: AtomicU64,
    waker: OnceLock<Waker>,
    /// Polls, on workers of the pool, of tasks whose time had not come.
    polls: PendingPolls,
    state: Mutex<State<R>>,
}

struct State<R: Runner> {
    /// By time.
    tasks: BTreeMap<Place, Scheduled<R>>,
    /// Tasks whose time has come and that are not in the pool yet.
    entering: usize,
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
        let state = State {
            tasks: BTreeMap::new(),
            entering: 0,
            alarm: None,
            worker_at: None,
            is_closed: false,
            turned_away: None,
        };
        Schedule {
            next: AtomicU64::new(0),
            waker: OnceLock::new(),
            polls: PendingPolls::default(),
            state: Mutex::new(state),
        }
    }
}

impl<R: Runner> Schedule<R> {
    /// How many tasks have not entered the pool.
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.tasks.len() + state.entering
    }

    pub(super) fn open(&self) {
        self.state.lock().is_closed = false;
    }

    /// A task has entered, or will not.
    fn note_entered(&self) {
        self.state.lock().entering -= 1;
    }
}

impl<R: Runner> State<R> {
    /// Takes the first task whose time has come.
    fn take_due(&mut self, now: Instant) -> Option<Scheduled<R>> {
        let first = self.tasks.first_entry().filter(|first| first.key().0 <= now)?;
        self.entering += 1;
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
        let refused = match end {
            Some(kind) => Err((kind, task)),
            None => self.insert(place, task),
        };
        refused.map_err(|(kind, task)| {
            self.count_refusal(kind);
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
    pub(super) fn enter_due(self: &Arc<Self>) {
        let now = clock::now();
        for _ in 0..MOST_AT_A_TIME {
            let due = self.schedule.state.lock().take_due(now);
            let Some(task) = due else { break };
            self.enter_scheduled(task);
        }
        self.set_alarm(&mut self.schedule.state.lock());
    }

    /// The timer thread must not become a worker, since a task takes as long as it takes: it asks again for one.
    pub(super) fn leaves_work_to_others(&self) -> bool {
        if !self.starts_threads() || !is_timer_thread() {
            return false;
        }
        let mut state = self.schedule.state.lock();
        state.worker_at = clock::now().checked_add(WORKER_AGAIN);
        self.set_alarm(&mut state);
        true
    }

    /// Has a task enter whose time has come: now, or when there is room.
    fn enter_scheduled(self: &Arc<Self>, task: Scheduled<R>) {
        let Some(entrance) = self.entrance(&task) else { return self.not_entered(task, SubmitErrorKind::Closed) };
        if let Some(kind) = task.task.as_ref().and_then(|task| task.end()) {
            return self.not_entered(task, kind);
        }
        let state = task.task.clone();
        let options = task.options(WaitMode::Never);
        match Arc::clone(&entrance).enter(task, options).map_err(SubmitError::into_parts) {
            Ok(()) => self.has_entered(state.as_deref()),
            Err((SubmitErrorKind::Full, task)) if !matches!(task.mode, WaitMode::Never) => {
                self.wait_for_room_to_enter(entrance, task);
            }
            Err((kind, task)) => self.not_entered(task, kind),
        }
    }

    /// Where the task enters. `None` if its view is gone.
    fn entrance(self: &Arc<Self>, task: &Scheduled<R>) -> Option<Arc<dyn Entrance<R>>> {
        match &task.view {
            Some(view) => view.entrance.upgrade(),
            None => Some(Arc::clone(self) as Arc<dyn Entrance<R>>),
        }
    }

    fn has_entered(&self, task: Option<&dyn ScheduledTask>) {
        self.schedule.note_entered();
        if let Some(task) = task {
            self.note_cancellable(task.given_token());
        }
        // Workers that poll this task, or others, may have to run it.
        self.schedule.polls.notify_unless(|| false);
    }

    fn wait_for_room_to_enter(self: &Arc<Self>, entrance: Arc<dyn Entrance<R>>, task: Scheduled<R>) {
        let engine = Arc::clone(self);
        let waiting = DetachedFuture::new(async move {
            let (token, state) = (task.wait_token(), task.task.clone());
            let entered = entrance.enter_async(task, token).await;
            // What follows may start a thread, or run user code.
            waking::defer(move || match entered.map_err(SubmitError::into_parts) {
                Ok(()) => {
                    engine.has_entered(state.as_deref());
                    engine.ensure_workers();
                }
                Err((kind, task)) => engine.not_entered(task, kind),
            });
        });
        waiting.wake();
    }

    /// The pool has refused a task at its time.
    fn not_entered(&self, task: Scheduled<R>, kind: SubmitErrorKind) {
        let mut state = self.schedule.state.lock();
        state.entering -= 1;
        if let (SubmitErrorKind::Closed, Some(turned_away)) = (kind, &mut state.turned_away) {
            return turned_away.push(task);
        }
        drop(state);
        self.count_refusal(kind);
        let cause = match kind {
            SubmitErrorKind::Cancelled => Cause::Cancelled,
            SubmitErrorKind::TimedOut => Cause::Expired,
            kind => Cause::Refused(kind),
        };
        if let Retracted::Here(input) = R::retract(task.item, kind, cause) {
            self.tell_missed(vec![SubmitError::new(kind, input)]);
        }
    }
}

/// What a close does with the tasks whose time has not come.
impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Takes in no more tasks, and takes out those that are there, in the order of their times.
    fn take_schedule(&self, gives_back: bool) -> Vec<Scheduled<R>> {
        let mut state = self.schedule.state.lock();
        state.is_closed = true;
        if gives_back {
            state.turned_away.get_or_insert_default();
        }
        self.take_all(state)
    }

    fn take_all(&self, mut state: MutexGuard<'_, State<R>>) -> Vec<Scheduled<R>> {
        let tasks = std::mem::take(&mut state.tasks);
        let alarm = state.alarm.take();
        drop(state);
        drop(alarm);
        tasks.into_values().collect()
    }

    /// Before a close after which the queue is worked off: has the scheduled tasks enter if they are to run now. Returns those that are to be
    /// dropped after the close.
    pub(super) fn enter_before_close(&self) -> Vec<Scheduled<R>> {
        let tasks = self.take_schedule(false);
        if self.options.on_close != OnClose::RunNow {
            return tasks;
        }
        tasks.into_iter().filter_map(|task| self.enter_beyond_bound(task)).collect()
    }

    /// Returns the task if it does not enter. One of a view does not: the view lets none in when its pool is closed.
    fn enter_beyond_bound(&self, task: Scheduled<R>) -> Option<Scheduled<R>> {
        if task.view.is_some() || task.task.as_ref().is_some_and(|task| task.end().is_some()) {
            return Some(task);
        }
        let (lane, state) = (task.lane, task.task.clone());
        let mut lazy = LazyWith::new(task, Scheduled::into_entered);
        if self.push_scheduled(&mut lazy, lane).is_err() {
            return Some(lazy.into_input());
        }
        self.note_cancellable(state.as_ref().and_then(|task| task.given_token()));
        None
    }

    /// Whether a close that gives tasks back also gives back those of the schedule.
    pub(super) fn gives_schedule_back(&self) -> bool {
        self.options.on_close != OnClose::Drop
    }

    /// Begins to give the scheduled tasks back.
    pub(super) fn take_schedule_back(&self) -> Vec<Scheduled<R>> {
        self.take_schedule(true)
    }

    /// Ends it: what the user gets of those that were taken, and of those that have found the pool closed since.
    pub(super) fn give_schedule_back(&self, mut tasks: Vec<Scheduled<R>>) -> Vec<R::Returned> {
        let turned_away = self.schedule.state.lock().turned_away.take();
        tasks.extend(turned_away.into_iter().flatten());
        self.give_back_scheduled(tasks)
    }

    /// What the user gets of tasks that have left the schedule. They count as returned.
    pub(crate) fn give_back_scheduled(&self, tasks: Vec<Scheduled<R>>) -> Vec<R::Returned> {
        let give = |task: Scheduled<R>| {
            let input = self.end_unentered(task, Cause::Cancelled)?;
            count(&self.counters.returned);
            self.tell_unstarted(TaskEnd::Returned);
            Some(input)
        };
        tasks.into_iter().filter_map(give).collect()
    }

    /// Drops scheduled tasks of a pool or view that is closed. They count as cancelled, and are handed to the user's handler.
    pub(crate) fn drop_scheduled(&self, tasks: Vec<Scheduled<R>>) {
        let kind = SubmitErrorKind::Closed;
        let drop = |task: Scheduled<R>| {
            let input = self.end_unentered(task, Cause::Refused(kind))?;
            count(&self.counters.cancelled);
            self.tell_unstarted(TaskEnd::Cancelled);
            Some(SubmitError::new(kind, input))
        };
        self.tell_missed(tasks.into_iter().filter_map(drop).collect());
    }

    /// Drops all of them, before a close after which nothing is to run.
    pub(super) fn take_to_drop(&self) -> Vec<Scheduled<R>> {
        self.take_schedule(false)
    }

    /// Takes out the tasks of a view, and of its own views.
    pub(crate) fn take_scheduled_of(&self, view: ViewId) -> Vec<Scheduled<R>> {
        let mut state = self.schedule.state.lock();
        let is_of = |task: &Scheduled<R>| task.view.as_ref().is_some_and(|through| through.chain.contains(&view));
        let places: Vec<_> = state.tasks.iter().filter(|(_, task)| is_of(task)).map(|(place, _)| *place).collect();
        places.into_iter().filter_map(|place| state.tasks.remove(&place)).collect()
    }

    /// Counts a task as submitted that leaves the schedule without entering. Returns its input, whose end the caller counts. A caller that
    /// waits for the task gets the input instead.
    fn end_unentered(&self, task: Scheduled<R>, cause: Cause) -> Option<R::Returned> {
        match R::retract(task.item, SubmitErrorKind::Closed, cause) {
            Retracted::Here(input) => {
                self.note_direct();
                Some(input)
            }
            Retracted::ToCaller => {
                self.note_direct();
                count(&self.counters.returned);
                self.tell_unstarted(TaskEnd::Returned);
                None
            }
            Retracted::Gone(RunOutcome::Cancelled) => {
                self.count_withdrawn();
                None
            }
            Retracted::Gone(_) => None,
        }
    }

    /// Counts a task that was cancelled before it entered.
    fn count_withdrawn(&self) {
        self.note_direct();
        count(&self.counters.cancelled);
        self.tell_unstarted(TaskEnd::Cancelled);
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

impl<R: Runner, D: Dispatch> Entrance<R> for Engine<R, D> {
    fn enter(self: Arc<Self>, task: Scheduled<R>, options: SubmitOptions<'_>) -> Result<(), Refusal<R>> {
        self.submit(task, Scheduled::into_entered, options)
    }

    fn enter_async(self: Arc<Self>, task: Scheduled<R>, token: CancelToken) -> Entering<'static, R> {
        Box::pin(async move {
            let options = task.patient(&token);
            let lazy = LazyWith::new(task, Scheduled::into_entered);
            let entered = self.submit_lazy_async(lazy, options).await;
            entered.map_err(|refusal| refusal.map(LazyWith::into_input))
        })
    }
}
