//! Running one task, and all that follows from its end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{QueueCx, WorkerLocal};
use crate::engine::{Engine, Runner};
use crate::error::Payload;
use crate::queue::Dispatch;
use crate::sync::fence_after_rmw;
use crate::task::state::{Completion, RunOutcome};

/// The worker that runs a task.
pub(in crate::engine) struct TaskCx<'a, R: Runner, D: Dispatch> {
    pub(in crate::engine) local: &'a WorkerLocal<R::Item>,
    /// `None` for a task that is run within another.
    pub(in crate::engine) queue_cx: Option<&'a QueueCx<R, D>>,
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Runs one task and does all that follows from its end. Returns whether it panicked.
    pub(in crate::engine) fn execute(
        &self,
        cx: &TaskCx<'_, R, D>,
        body: impl FnOnce(&mut Completion) -> RunOutcome,
    ) -> bool {
        let local = cx.local;
        let mut completion = Completion::default();
        // A task that is run within another one leaves alone what that one has pushed.
        let height = if cx.queue_cx.is_some() { 0 } else { local.height() };
        let mut panic = self.call(local, &mut completion, body);
        if local.height() > height {
            self.run_left_jobs(local, height);
        }
        let panicked = panic.is_some();
        let answers = completion.is_pending();
        if panicked && !completion.is_wanted() {
            // It has no receiver. It may hold what the task had captured, so it is dropped before the task counts as ended. The drop may
            // panic once more.
            self.catch_user_panic(|| drop(panic.take()));
        }
        if answers {
            local.tally.set_answering(true);
        }
        self.ended(cx);
        if answers {
            self.catch_user_panic(|| drop(completion.send(panic.take())));
            local.tally.set_answering(false);
            // ORDERING: SeqCst fence between the end of the answer and the look for waiters. It pairs with the one in `add_waiter`.
            fence_after_rmw();
            self.notify_if_watched();
        }
        // It is empty, which its drop would check.
        std::mem::forget(completion);
        panicked
    }

    /// Runs the body of a task, and counts and reports how it ended. Returns its panic.
    #[inline]
    pub(in crate::engine) fn call(
        &self,
        local: &WorkerLocal<R::Item>,
        completion: &mut Completion,
        body: impl FnOnce(&mut Completion) -> RunOutcome,
    ) -> Option<Payload> {
        match catch_unwind(AssertUnwindSafe(|| body(completion))) {
            Ok(outcome) => {
                match outcome {
                    RunOutcome::Ran => local.tally.completed(),
                    RunOutcome::Cancelled => local.tally.cancelled(),
                    RunOutcome::Dropped => self.note_late(completion),
                    RunOutcome::Elsewhere | RunOutcome::CancelledBefore => {}
                }
                self.report_drop_panic(completion, local.worker);
                None
            }
            Err(payload) => {
                local.tally.panicked();
                self.report(&payload, local.worker, completion.name());
                Some(payload)
            }
        }
    }

    /// A task has been accounted for: makes room for the next.
    pub(super) fn ended(&self, cx: &TaskCx<'_, R, D>) {
        if let Some(queue_cx) = cx.queue_cx {
            self.queue.finished(queue_cx);
        }
        // Has the fence that `notify_if_watched` needs.
        self.notify_blocked();
        if self.lifecycle.is_watched() && !cx.queue_cx.is_some_and(|queue_cx| self.queue.has_own(queue_cx)) {
            self.notify_if_at_rest();
        }
    }

    #[inline]
    pub(in crate::engine) fn notify_if_watched(&self) {
        if self.lifecycle.is_watched() {
            self.notify_if_at_rest();
        }
    }

    #[cold]
    fn notify_if_at_rest(&self) {
        // While there is something to start the pool is not at rest.
        if !self.queue.has_work() && self.entries().running == 0 {
            self.notify_waiters();
        }
    }
}
