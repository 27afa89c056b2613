//! The state of a worker: built, made ready, sent broadcasts, and discarded.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{TaskCx, WorkerCx};
use crate::engine::observer::TaskEnd;
use crate::engine::{Engine, Runner};
use crate::error::{BoxError, Cause, JoinError, SharedError, SubmitErrorKind, panic_text};
use crate::queue::Dispatch;
use crate::sync::{Arc, Ordering, fence};
use crate::task::state::{Completion, Retracted, RunOutcome};

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Makes sure of a state for a task that the worker has taken. One that is built only now gets ready while the task waits.
    pub(super) fn prepare_state(
        self: &Arc<Self>,
        me: &WorkerCx<R, D>,
        state: &mut Option<R::State>,
    ) -> Result<(), BoxError> {
        if state.is_none() {
            self.ensure_state(me, state)?;
            self.call_ready(me, state);
        }
        if state.is_some() { Ok(()) } else { Err("`ready` panicked".into()) }
    }

    pub(super) fn ensure_state(
        self: &Arc<Self>,
        me: &WorkerCx<R, D>,
        state: &mut Option<R::State>,
    ) -> Result<(), BoxError> {
        if state.is_some() {
            return Ok(());
        }
        let made = catch_unwind(AssertUnwindSafe(|| self.runner.start(me.id))).unwrap_or_else(|panic| {
            self.report(&panic, me.id, None);
            let text = format!("the factory panicked: {}", panic_text(&*panic));
            self.catch_user_panic(|| drop(panic));
            Err(text.into())
        });
        let result = made.and_then(|made| self.replay_remembered(me, state.insert(made)));
        match &result {
            // Starts succeed again. Blocked workers may rely on the missing ones, so these are started where there is work. A refused
            // thread is counted.
            Ok(()) if self.threads.is_spawn_failing() && self.starts_threads() => {
                self.threads.set_spawn_failing(false);
                self.minimum.succeeded();
                drop(self.spawn_to_demand());
            }
            Ok(()) => {}
            Err(_) => {
                self.discard_state(me, state);
                self.on_spawn_failed();
            }
        }
        result
    }

    /// Calls `ready`. Where that may block, another worker is started for what is queued.
    pub(super) fn call_ready(self: &Arc<Self>, me: &WorkerCx<R, D>, state: &mut Option<R::State>) {
        let Some(built) = state else { return };
        if R::READY_BLOCKS {
            self.counters.gets_ready();
            // ORDERING: SeqCst fence between the count and the look at the queue. It pairs with the one in `notify`, between a push and the
            // submitter's look at the count. A refused thread is counted; the next submit tries again.
            fence(Ordering::SeqCst);
            drop(self.spawn_to_demand());
        }
        let is_ready = self.catch_user_panic(|| self.runner.ready(built)).is_some();
        if R::READY_BLOCKS {
            self.counters.is_ready();
        }
        if !is_ready {
            self.discard_state(me, state);
        }
    }

    /// Repeats the remembered broadcasts on a new state.
    fn replay_remembered(&self, me: &WorkerCx<R, D>, state: &mut R::State) -> Result<(), BoxError> {
        let mut broadcasts = self.mailboxes.register(me.id, &me.mailbox).into_iter();
        while let Some(broadcast) = broadcasts.next() {
            let repeat = || {
                broadcast.repeat(state);
                // This may be the last reference, and its drop is user code.
                drop(broadcast);
            };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(repeat)) {
                let text = format!("a remembered broadcast panicked: {}", panic_text(&*payload));
                self.report_side_panic(&payload, me.id);
                self.catch_user_panic(|| drop(payload));
                if self.runner.discards_after_panic() {
                    self.catch_user_panic(|| drop(broadcasts));
                    return Err(text.into());
                }
            }
        }
        Ok(())
    }

    /// Drops a state that cannot be used any more, and fails the broadcasts that wait for it.
    pub(super) fn discard_state(&self, me: &WorkerCx<R, D>, state: &mut Option<R::State>) {
        self.mailboxes.unregister(me.id);
        let state = state.take();
        self.catch_user_panic(|| drop(state));
        while let Some(envelope) = me.mailbox.next() {
            envelope.broadcast.fail(me.id, JoinError::new(Cause::Cancelled));
            self.catch_user_panic(|| drop(envelope));
        }
    }

    /// Cancels a task because there is no state to run it with.
    pub(super) fn cancel_without_state(&self, me: &WorkerCx<R, D>, item: R::Item, error: BoxError) {
        let source: SharedError = error.into();
        let retracted = R::retract(item, SubmitErrorKind::NoState, Cause::NoState(Arc::clone(&source)));
        if !matches!(retracted, Retracted::Gone(RunOutcome::Elsewhere)) {
            self.tell_unstarted(TaskEnd::Cancelled);
        }
        match retracted {
            Retracted::Gone(RunOutcome::Elsewhere | RunOutcome::CancelledBefore) => {}
            Retracted::Here(input) => {
                me.local.tally.cancelled();
                let mut completion = Completion::default();
                completion.drop_cancelled(input);
                self.report_drop_panic(&mut completion, me.id);
            }
            _ => me.local.tally.cancelled(),
        }
        // Dropping the error is user code.
        self.catch_user_panic(|| drop(source));
        self.ended(&TaskCx { local: &me.local, queue_cx: Some(&me.queue_cx) });
    }

    /// Runs the broadcasts in the mailbox. A worker without a state has none.
    pub(super) fn drain_mailbox(&self, me: &WorkerCx<R, D>, state: &mut Option<R::State>) {
        while let Some(built) = state {
            let Some(envelope) = me.mailbox.next() else { return };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| envelope.broadcast.run(me.id, built))) {
                self.report_side_panic(&payload, me.id);
                if self.runner.discards_after_panic() {
                    self.discard_state(me, state);
                }
                envelope.broadcast.fail(me.id, JoinError::panic(payload));
            }
            self.catch_user_panic(|| drop(envelope));
        }
    }

    /// Before a worker drops its state it runs the broadcasts that were sent to it until then.
    pub(super) fn drain_before_exit(&self, me: &WorkerCx<R, D>, state: &mut Option<R::State>) {
        while state.is_some() && !self.mailboxes.try_unregister(me.id, &me.mailbox) {
            self.drain_mailbox(me, state);
        }
    }
}
