//! What becomes of the scheduled tasks of a pool, or of a view, that is closed.

use super::Scheduled;
use crate::engine::counters::count;
use crate::engine::observer::TaskEnd;
use crate::engine::options::{DropReason, OnClose};
use crate::engine::{Engine, Runner};
use crate::error::{Cause, SubmitErrorKind};
use crate::queue::{Dispatch, LazyWith};
use crate::task::in_view::ViewId;
use crate::task::state::{Retracted, RunOutcome};

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Takes in no more tasks, and takes out those that are there, in the order of their times.
    fn take_schedule(&self, gives_back: bool) -> Vec<Scheduled<R>> {
        let mut state = self.schedule.state.lock();
        state.is_closed = true;
        if gives_back {
            state.turned_away.get_or_insert_default();
        }
        let tasks = std::mem::take(&mut state.tasks);
        let alarm = state.alarm.take();
        drop(state);
        drop(alarm);
        tasks.into_values().collect()
    }

    /// Before a close after which the queue is worked off: has the scheduled tasks enter if they are to run now. Returns those that are to be
    /// dropped after the close.
    pub(in crate::engine) fn enter_before_close(&self) -> Vec<Scheduled<R>> {
        let tasks = self.take_schedule(false);
        if self.options.on_close != OnClose::RunNow {
            return tasks;
        }
        let left = tasks.into_iter().filter_map(|task| self.enter_beyond_bound(task)).collect();
        self.repeat_polls();
        left
    }

    /// Returns the task if it does not enter. One of a view does not: the view lets none in when its pool is closed.
    fn enter_beyond_bound(&self, task: Scheduled<R>) -> Option<Scheduled<R>> {
        if task.view.is_some() || task.task.as_ref().is_some_and(|task| task.end().is_some()) {
            return Some(task);
        }
        let (lane, state) = (self.keep_lane(task.lane.number()), task.task.clone());
        let mut lazy = LazyWith::new(task, Scheduled::into_entered);
        if self.push_scheduled(&mut lazy, lane.number()).is_err() {
            return Some(lazy.into_input());
        }
        self.note_cancellable(state.as_ref().and_then(|task| task.given_token()));
        None
    }

    /// Whether a close that gives tasks back also gives back those of the schedule.
    pub(in crate::engine) fn gives_schedule_back(&self) -> bool {
        self.options.on_close != OnClose::Drop
    }

    /// Begins to give the scheduled tasks back.
    pub(in crate::engine) fn take_schedule_back(&self) -> Vec<Scheduled<R>> {
        self.take_schedule(true)
    }

    /// Ends it: what the user gets of those that were taken, and of those that have found the pool closed since.
    pub(in crate::engine) fn give_schedule_back(&self, mut tasks: Vec<Scheduled<R>>) -> Vec<R::Returned> {
        let turned_away = self.schedule.state.lock().turned_away.take();
        tasks.extend(turned_away.into_iter().flatten());
        self.give_back_scheduled(tasks)
    }

    /// What the user gets of tasks that have left the schedule. They count as returned.
    pub(crate) fn give_back_scheduled(&self, tasks: Vec<Scheduled<R>>) -> Vec<R::Returned> {
        let give = |task: Scheduled<R>| {
            let input = self.end_unentered(task, SubmitErrorKind::Closed, Cause::Cancelled)?;
            count(&self.counters.returned);
            self.tell_unstarted(TaskEnd::Returned);
            input
        };
        tasks.into_iter().filter_map(give).collect()
    }

    /// Drops scheduled tasks of a pool or view that is closed.
    pub(crate) fn drop_scheduled(&self, tasks: Vec<Scheduled<R>>) {
        tasks.into_iter().for_each(|task| self.drop_unentered(task, SubmitErrorKind::Closed));
    }

    /// Drops a task that the pool does not take, for this reason, and hands it to the user's handler. One whose token or deadline has ended it
    /// counts as cancelled, as it would if a worker found it so in the queue.
    pub(super) fn drop_unentered(&self, task: Scheduled<R>, kind: SubmitErrorKind) {
        let end = task.task.as_ref().and_then(|task| task.end());
        let cause = match end {
            Some(SubmitErrorKind::TimedOut) => Cause::Expired,
            Some(_) => Cause::Cancelled,
            None => Cause::Refused(kind),
        };
        let Some(input) = self.end_unentered(task, end.unwrap_or(kind), cause) else { return };
        if end.is_some() {
            count(&self.counters.cancelled);
            self.tell_unstarted(TaskEnd::Cancelled);
            self.call_off_timer(move |_| drop(input));
        } else {
            let is_closed = kind == SubmitErrorKind::Closed;
            self.dropped(input, if is_closed { DropReason::Closed } else { DropReason::Refused });
        }
    }

    /// Drops all of them, before a close after which nothing is to run.
    pub(in crate::engine) fn take_to_drop(&self) -> Vec<Scheduled<R>> {
        self.take_schedule(false)
    }

    /// Takes out the tasks of a view, and of its own views.
    pub(crate) fn take_scheduled_of(&self, view: ViewId) -> Vec<Scheduled<R>> {
        let mut state = self.schedule.state.lock();
        let is_of = |task: &Scheduled<R>| task.view.as_ref().is_some_and(|through| through.chain.contains(&view));
        let places: Vec<_> = state.tasks.iter().filter(|(_, task)| is_of(task)).map(|(place, _)| *place).collect();
        places.into_iter().filter_map(|place| state.tasks.remove(&place)).collect()
    }

    /// Counts a task as submitted that leaves the schedule without entering. `None` if it was cancelled, which is counted. Otherwise the caller
    /// counts its end; the input is there unless somebody waits for it in `run`.
    fn end_unentered(&self, task: Scheduled<R>, kind: SubmitErrorKind, cause: Cause) -> Option<Option<R::Returned>> {
        let input = match R::retract(task.item, kind, cause) {
            Retracted::Here(input) => Some(input),
            Retracted::ToCaller => None,
            Retracted::Gone(RunOutcome::Cancelled) => {
                self.count_withdrawn();
                return None;
            }
            Retracted::Gone(_) => return None,
        };
        self.note_direct();
        Some(input)
    }

    /// Counts a task that was cancelled before it entered.
    pub(super) fn count_withdrawn(&self) {
        self.note_direct();
        count(&self.counters.cancelled);
        self.tell_unstarted(TaskEnd::Cancelled);
    }
}
