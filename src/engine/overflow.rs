//! What a full pool does with a task, where its submitter does not simply wait; and tasks that are dropped.

use super::counters::count;
use super::observer::TaskEnd;
use super::submit_options::{SubmitOptions, WaitMode};
use super::{Engine, Runner};
use crate::engine::options::{DropReason, Dropped, Overflow};
use crate::error::{Cause, SubmitErrorKind};
use crate::queue::{Dispatch, LazyItem};
use crate::sync::{Arc, Ordering, fence};
use crate::task::state::{Completion, Retracted, RunOutcome};

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Applies the overflow policy to a task that has found no room. Returns whether that has settled it: otherwise its submitter waits, or
    /// is refused.
    pub(super) fn overflow(
        self: &Arc<Self>,
        item: &mut dyn LazyItem<R::Item>,
        options: &SubmitOptions<'_>,
    ) -> Result<bool, SubmitErrorKind> {
        if options.is_accepted() {
            return Ok(false);
        }
        match self.options.overflow {
            Overflow::Block | Overflow::Refuse => Ok(false),
            Overflow::CallerRuns => {
                let may_block = matches!(options.mode(), WaitMode::Forever) && !options.is_retry;
                Ok(may_block && self.run_on_caller(item))
            }
            Overflow::DropOldest => self.replace_oldest(item, options).map(|()| true),
            Overflow::DropNewest => {
                self.drop_newest(item);
                Ok(true)
            }
        }
    }

    /// The same for a future, which never runs the task.
    pub(super) fn overflow_async(
        self: &Arc<Self>,
        item: &mut dyn LazyItem<R::Item>,
        options: &SubmitOptions<'_>,
    ) -> Result<bool, SubmitErrorKind> {
        if self.options.overflow == Overflow::CallerRuns { Ok(false) } else { self.overflow(item, options) }
    }

    /// Drops the oldest tasks of the lane until there is room for the task. Other submitters may take the room.
    fn replace_oldest(
        self: &Arc<Self>,
        item: &mut dyn LazyItem<R::Item>,
        options: &SubmitOptions<'_>,
    ) -> Result<(), SubmitErrorKind> {
        loop {
            if !self.drop_oldest(options.lane()) {
                self.drop_newest(item);
                return Ok(());
            }
            if self.enter_now(item, options)? {
                return Ok(());
            }
        }
    }

    /// Accepts a task and drops it.
    pub(crate) fn drop_newest(&self, item: &mut dyn LazyItem<R::Item>) {
        self.note_direct();
        self.drop_task(item.build(), DropReason::Newest);
    }

    /// Drops the oldest task of the lane. Returns whether there was one.
    pub(crate) fn drop_oldest(&self, lane: usize) -> bool {
        let oldest = self.queue.take_oldest(lane);
        let is_some = oldest.is_some();
        oldest.into_iter().for_each(|item| self.drop_task(item, DropReason::Oldest));
        is_some
    }

    /// Drops a task that counts as submitted.
    fn drop_task(&self, item: R::Item, reason: DropReason) {
        match self.catch_user_panic(|| R::retract(item, SubmitErrorKind::Dropped, Cause::Dropped)) {
            Some(Retracted::Here(task)) => self.dropped(Some(task), reason),
            Some(Retracted::ToCaller) | None => self.dropped(None, reason),
            Some(Retracted::Gone(RunOutcome::Cancelled)) => {
                self.tell_unstarted(TaskEnd::Cancelled);
                count(&self.counters.cancelled);
            }
            Some(Retracted::Gone(RunOutcome::CancelledBefore)) => self.tell_unstarted(TaskEnd::Cancelled),
            Some(Retracted::Gone(_)) => {}
        }
        // ORDERING: SeqCst fence between the task's end in the counts and the look for waiters.
        fence(Ordering::SeqCst);
        self.notify_if_watched();
    }

    /// Drops the oldest of the tasks that a view keeps, as it came back from there. The pool has not counted it before.
    pub(crate) fn drop_kept(&self, retracted: Retracted<R::Returned>) {
        let task = match retracted {
            Retracted::Here(task) => Some(task),
            Retracted::ToCaller => None,
            Retracted::Gone(_) => return,
        };
        self.note_direct();
        self.dropped(task, DropReason::Oldest);
    }

    /// Tells of a task that was dropped, counts it, and hands it to the handler, if no caller has it.
    pub(super) fn dropped(&self, task: Option<R::Returned>, reason: DropReason) {
        self.tell_unstarted(TaskEnd::Dropped);
        self.count_dropped(task, reason);
    }

    /// Whether a task that is dropped goes to a handler.
    pub(crate) fn keeps_dropped(&self) -> bool {
        self.options.dropped_handler.get::<R::Returned>().is_some()
    }

    /// A worker has taken a task that had waited too long. The observers know.
    #[cold]
    pub(super) fn note_late(&self, completion: &mut Completion) {
        let late = completion.take_late().and_then(|late| late.downcast::<R::Returned>().ok());
        self.count_dropped(late.map(|task| *task), DropReason::Late);
    }

    fn count_dropped(&self, task: Option<R::Returned>, reason: DropReason) {
        count(&self.counters.dropped[reason as usize]);
        let Some(dropped) = task.map(|task| Dropped::new(task, reason)) else { return };
        self.call_off_timer(move |engine| match engine.options.dropped_handler.get() {
            Some(handler) => handler(dropped),
            None => drop(dropped),
        });
    }
}
