//! The life of one worker: start, look for work, run it, account for it, end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::adaptive_spin::AdaptiveSpin;
use super::counters::{Tally, count};
use super::mailboxes::Mailbox;
use super::parking::{self, Expiry, NextAction, Parker};
use super::threads::{ExitReason, WorkerSlot};
use super::{Engine, Runner};
use crate::engine::options::{Hook, TaskPanic};
use crate::error::{BoxError, Cause, JoinError, Payload, SharedError, SubmitErrorKind, panic_text};
use crate::queue::{self, Dispatch, Queue};
use crate::sync::mpsc::Sender;
use crate::sync::user_code::catch_user_panic;
use crate::sync::{Arc, Ordering, fence, fence_after_rmw};
use crate::task::current_worker::{CurrentPool, EnterGuard};
use crate::task::state::{Completion, Retracted, RunOutcome};

/// A worker's place at the queue of its pool.
pub(super) type QueueCx<R, D> =
    queue::QueueCx<<<D as Dispatch>::Queue<<R as Runner>::Item> as Queue<<R as Runner>::Item>>::Cx>;

/// What a worker carries with it.
struct WorkerCx<S, W> {
    id: usize,
    is_inline_worker: bool,
    /// Its place at the queue.
    queue_cx: S,
    parker: Arc<Parker>,
    mailbox: Arc<Mailbox<W>>,
    tally: Arc<CachePadded<Tally>>,
    adaptive_spin: AdaptiveSpin,
    /// The expiry that it last reckoned with.
    expiry: Cell<u64>,
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Is the worker `worker_slot` until it ends. `ready` is told how the start went.
    pub(super) fn work(self: Arc<Self>, worker_slot: WorkerSlot, ready: Option<Sender<Result<(), BoxError>>>) {
        let id = worker_slot.number;
        self.threads.begin(worker_slot);
        let entered = EnterGuard::enter(Arc::clone(&self) as _, id);
        let me = WorkerCx {
            id,
            is_inline_worker: worker_slot.is_inline_worker,
            queue_cx: self.queue.cx(id),
            parker: Parker::for_current(id),
            mailbox: Mailbox::new(worker_slot.is_inline_worker),
            tally: self.counters.tally(id),
            adaptive_spin: AdaptiveSpin::new(self.options.spin),
            expiry: Cell::new(self.settings.expiry_word()),
        };
        self.call_hook(&self.options.on_thread_start, id);
        let mut state = None;
        let started = self.ensure_state(&me, &mut state);
        let failed = started.is_err();
        if let Some(ready) = ready {
            // Nobody listens any more when the build has failed for another reason.
            drop(ready.send(started));
        }
        let failed = failed && self.threads.try_exit(ExitReason::Failed) || !self.run_loop(&me, &mut state);
        self.drain_before_exit(&me, &mut state);
        if let Some(state) = state {
            self.catch_user_panic(|| self.runner.stop(state));
        }
        self.call_hook(&self.options.on_thread_stop, id);
        self.queue.leave(me.queue_cx);
        drop(entered);
        self.threads.exited(worker_slot);
        self.after_departure(worker_slot, failed);
        self.threads.thread_ended(worker_slot);
        // Whoever waits for the pool to be quiet looks again: a worker that ends is rare, and a look is cheap.
        self.notify_waiters();
    }

    /// Takes and runs tasks until it is time to end; says whether that is for any other reason than a failed factory.
    fn run_loop(self: &Arc<Self>, me: &WorkerCx<QueueCx<R, D>, R::State>, state: &mut Option<R::State>) -> bool {
        let mut has_run = false;
        loop {
            if me.mailbox.is_signalled() && self.handle_signals(me, state, has_run) {
                return true;
            }
            has_run = true;
            self.call_ready(me, state);
            // Getting ready is somebody else's code, and may take its time.
            if R::HAS_FACTORY && me.mailbox.has_mail() {
                continue;
            }
            let item = match self.parking.find(&me.parker, &me.adaptive_spin, &Source { engine: self, me }) {
                NextAction::Task(item) => item,
                NextAction::Mail => continue,
                NextAction::Exit => return true,
            };
            if self.queue.frees_place_on_pop() {
                self.notify_blocked();
            }
            let item = match self.prepare_state(me, state) {
                Ok(()) => item,
                Err(error) => {
                    self.cancel_without_state(me, item, error);
                    if self.threads.try_exit(ExitReason::Failed) {
                        return false;
                    }
                    continue;
                }
            };
            if let Some(built) = state {
                let cx = TaskCx { worker: me.id, tally: &me.tally, queue_cx: Some(&me.queue_cx) };
                let panicked = self.execute(&cx, |completion| self.runner.run(built, item, completion));
                if panicked && self.runner.discards_after_panic() {
                    self.discard_state(me, state);
                }
            }
        }
    }

    /// Sees to the orders, and as a guest to whether it may go: says so.
    #[cold]
    #[inline(never)]
    fn handle_signals(
        self: &Arc<Self>,
        me: &WorkerCx<QueueCx<R, D>, R::State>,
        state: &mut Option<R::State>,
        has_run: bool,
    ) -> bool {
        if me.is_inline_worker && (self.try_leave(me) || self.try_hand_over(has_run)) {
            return true;
        }
        self.drain_mailbox(me, state);
        false
    }

    /// Sees to a state for a task in hand. One that is made only now gets ready while the task waits.
    fn prepare_state(
        self: &Arc<Self>,
        me: &WorkerCx<QueueCx<R, D>, R::State>,
        state: &mut Option<R::State>,
    ) -> Result<(), BoxError> {
        if state.is_none() {
            self.ensure_state(me, state)?;
            self.call_ready(me, state);
        }
        if state.is_some() { Ok(()) } else { Err("`ready` panicked".into()) }
    }

    /// Lets the state get ready. If that can take long, others see to what is queued.
    fn call_ready(self: &Arc<Self>, me: &WorkerCx<QueueCx<R, D>, R::State>, state: &mut Option<R::State>) {
        let Some(built) = state else { return };
        if R::READY_BLOCKS {
            self.counters.gets_ready();
            // ORDERING: SeqCst fence between the count and the look at the queue, against the one in `notify` between a
            // push and the submitter's look at the count. A refused thread is counted; the next submit tries again.
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

    fn reason_to_leave(&self, me: &WorkerCx<QueueCx<R, D>, R::State>) -> Option<ExitReason> {
        let (staying, capacity) = self.threads.population();
        if staying > capacity {
            Some(ExitReason::Surplus)
        } else if self.lifecycle.is_closed() && self.queue.load().queued == 0 {
            Some(ExitReason::Closed)
        } else if me.is_inline_worker && staying > 1 {
            Some(ExitReason::Relieved)
        } else if me.is_inline_worker && !self.has_startable_work() {
            Some(ExitReason::Done)
        } else {
            None
        }
    }

    /// Takes leave for good, if the worker should and may.
    fn try_leave(&self, me: &WorkerCx<QueueCx<R, D>, R::State>) -> bool {
        self.reason_to_leave(me).is_some_and(|why| self.threads.try_exit(why))
    }

    /// A worker has left: the others may have to end too, or to take its place.
    fn after_departure(self: &Arc<Self>, worker_slot: WorkerSlot, failed: bool) {
        // ORDERING: SeqCst fence between this worker's leaving the book and the look at the queue, against
        // the one in `notify` between a push and the submitter's look into the book.
        fence(Ordering::SeqCst);
        if self.lifecycle.is_closed() {
            self.parking.wake_all();
        }
        self.relax_limits();
        // Its last look may have kept another worker from finding a task (parking.md), and it does not look again.
        self.wake();
        self.block_permits.shrink(|| self.progress_capacity());
        if failed {
            self.note_missing();
        }
        // Not in place of one whose state could not be built, unless another's could since: the next would fail as well, and the next.
        // But the last one stays, and tells those whose tasks are queued. A guest is asked again where it came from.
        if !worker_slot.is_inline_worker
            && (!failed || !self.threads.is_spawn_failing() || self.threads.population().0 == 0)
        {
            self.ensure_workers();
        }
    }

    /// Runs one task and does all that follows from its end; says whether it panicked.
    pub(super) fn execute(
        &self,
        cx: &TaskCx<'_, QueueCx<R, D>>,
        body: impl FnOnce(&mut Completion) -> RunOutcome,
    ) -> bool {
        let mut completion = Completion::default();
        let mut panic = match catch_unwind(AssertUnwindSafe(|| body(&mut completion))) {
            Ok(outcome) => {
                match outcome {
                    RunOutcome::Ran => cx.tally.completed(),
                    RunOutcome::Cancelled => cx.tally.cancelled(),
                    RunOutcome::Elsewhere => {}
                }
                self.report_drop_panic(&mut completion, cx.worker);
                None
            }
            Err(payload) => {
                cx.tally.panicked();
                self.report(&payload, cx.worker, completion.name());
                Some(payload)
            }
        };
        let panicked = panic.is_some();
        let answers = completion.is_pending();
        if answers {
            cx.tally.set_answering(true);
        }
        if panicked && !completion.is_wanted() {
            // Nobody wants it. It may hold what the task had captured, so it goes before the task counts as ended; its
            // drop may panic once more.
            self.catch_user_panic(|| drop(panic.take()));
        }
        if answers {
            cx.tally.set_answering(true);
        }
        self.ended(cx);
        if answers {
            self.catch_user_panic(|| drop(completion.send(panic.take())));
            cx.tally.set_answering(false);
            // ORDERING: SeqCst fence between the end of the answering and the look for watchers.
            fence_after_rmw();
            self.notify_if_watched();
        }
        // Nothing is left in it, which its drop would look for.
        std::mem::forget(completion);
        panicked
    }

    /// A task has been accounted for: makes its place free.
    fn ended(&self, cx: &TaskCx<'_, QueueCx<R, D>>) {
        if let Some(queue_cx) = cx.queue_cx {
            self.queue.finished(queue_cx);
        }
        // Has the fence that `notify_if_watched` needs.
        self.notify_blocked();
        self.notify_if_watched();
    }

    #[inline]
    pub(super) fn notify_if_watched(&self) {
        if self.lifecycle.is_watched() {
            self.notify_if_at_rest();
        }
    }

    #[cold]
    fn notify_if_at_rest(&self) {
        // As long as there is something to start, nobody waits for the end of this one.
        if !self.queue.has_work() && self.queue.load().running == 0 {
            self.notify_waiters();
        }
    }

    /// Cancels a task because there is no state to run it with.
    fn cancel_without_state(&self, me: &WorkerCx<QueueCx<R, D>, R::State>, item: R::Item, error: BoxError) {
        let source: SharedError = error.into();
        match R::retract(item, SubmitErrorKind::NoState, Cause::NoState(Arc::clone(&source))) {
            Retracted::Gone(RunOutcome::Elsewhere) => {}
            Retracted::Here(input) => {
                me.tally.cancelled();
                let mut completion = Completion::default();
                completion.drop_cancelled(input);
                self.report_drop_panic(&mut completion, me.id);
            }
            _ => me.tally.cancelled(),
        }
        // Dropping an error is somebody else's code.
        self.catch_user_panic(|| drop(source));
        self.ended(&TaskCx { worker: me.id, tally: &me.tally, queue_cx: Some(&me.queue_cx) });
    }

    fn ensure_state(
        self: &Arc<Self>,
        me: &WorkerCx<QueueCx<R, D>, R::State>,
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
            // Workers can be had again: whoever waits may count on those that are missing, so they are started where there is work. One
            // that is refused is counted.
            Ok(()) if self.threads.is_spawn_failing() => {
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

    /// Ends a state that cannot be used any more.
    fn discard_state(&self, me: &WorkerCx<QueueCx<R, D>, R::State>, state: &mut Option<R::State>) {
        self.mailboxes.unregister(me.id);
        let state = state.take();
        self.catch_user_panic(|| drop(state));
        while let Some(envelope) = me.mailbox.next() {
            envelope.broadcast.fail(me.id, JoinError::new(Cause::Cancelled));
            self.catch_user_panic(|| drop(envelope));
        }
    }

    /// Does with a new state what is remembered for all of them.
    fn replay_remembered(&self, me: &WorkerCx<QueueCx<R, D>, R::State>, state: &mut R::State) -> Result<(), BoxError> {
        let mut broadcasts = self.mailboxes.register(me.id, &me.mailbox).into_iter();
        while let Some(broadcast) = broadcasts.next() {
            let repeat = || {
                broadcast.repeat(state);
                // Perhaps it was forgotten meanwhile, and this is the last of it: somebody else's code.
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

    /// Sees to the orders that there are. A worker without a state gets none.
    fn drain_mailbox(&self, me: &WorkerCx<QueueCx<R, D>, R::State>, state: &mut Option<R::State>) {
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

    /// Before a worker ends its state it does what it was told before it said so.
    fn drain_before_exit(&self, me: &WorkerCx<QueueCx<R, D>, R::State>, state: &mut Option<R::State>) {
        while state.is_some() && !self.mailboxes.try_unregister(me.id, &me.mailbox) {
            self.drain_mailbox(me, state);
        }
    }

    /// What a cancelled task had captured may have panicked in its drop.
    #[inline]
    fn report_drop_panic(&self, completion: &mut Completion, worker: usize) {
        if let Some(payload) = completion.take_drop_panic() {
            self.report_drop_panic_cold(payload, worker);
        }
    }

    #[cold]
    fn report_drop_panic_cold(&self, payload: Payload, worker: usize) {
        self.report_side_panic(&payload, worker);
        self.catch_user_panic(|| drop(payload));
    }

    /// A panic on a worker that was no task's.
    fn report_side_panic(&self, payload: &Payload, worker: usize) {
        count(&self.counters.handler_panics);
        self.report(payload, worker, None);
    }

    fn call_hook(&self, hook: &Option<Hook>, id: usize) {
        if let Some(hook) = hook {
            self.catch_user_panic(|| hook(id));
        }
    }

    /// Tells the panic handler.
    fn report(&self, payload: &Payload, worker: usize, task: Option<&str>) {
        if let Some(handler) = &self.options.panic_handler {
            let panic = TaskPanic { payload: &**payload, worker, pool: self.options.name(), task };
            self.catch_user_panic(|| handler(&panic));
        }
    }

    /// Runs user code that is not a task, on whichever thread. A panic in it is caught and counted; `None` then.
    pub(crate) fn catch_user_panic<O>(&self, f: impl FnOnce() -> O) -> Option<O> {
        let output = catch_user_panic(f);
        if output.is_none() {
            count(&self.counters.handler_panics);
        }
        output
    }
}

/// The pool as worker `id` sees it when it has nothing to do.
struct Source<'a, R: Runner, D: Dispatch> {
    engine: &'a Engine<R, D>,

    me: &'a WorkerCx<QueueCx<R, D>, R::State>,
}

impl<R: Runner, D: Dispatch> parking::Source for Source<'_, R, D> {
    type Item = R::Item;

    fn pop(&self) -> Option<R::Item> {
        self.engine.queue.pop(&self.me.queue_cx)
    }

    fn woken(&self) {
        self.engine.queue.woken(&self.me.queue_cx);
    }

    fn peek(&self) -> bool {
        self.engine.queue.peek()
    }

    fn has_work(&self) -> bool {
        self.engine.queue.has_work()
    }

    fn has_mail(&self) -> bool {
        self.me.mailbox.has_mail()
    }

    fn must_leave(&self) -> bool {
        // With another expiry it has to reckon anew when to ask.
        let is_outdated = self.engine.settings.expiry_word() != self.me.expiry.get();
        is_outdated || self.engine.reason_to_leave(self.me).is_some()
    }

    fn leave(&self) -> bool {
        // Before the expiry is asked for.
        self.me.expiry.set(self.engine.settings.expiry_word());
        self.engine.pass_late_futures();
        self.engine.try_leave(self.me)
    }

    fn expiry(&self) -> Option<Duration> {
        self.engine.settings.expiry()
    }

    fn is_distracted(&self) -> bool {
        self.has_mail() || self.must_leave() || self.engine.lifecycle.is_paused() || self.engine.minimum.is_missing()
    }

    fn expire(&self) -> Expiry {
        if self.engine.queue.load().queued > 0 || self.engine.grace_ends().is_some() {
            Expiry::Waits
        } else if self.engine.threads.try_exit(ExitReason::Expired) {
            Expiry::Leaves
        } else {
            Expiry::IsKept
        }
    }

    fn is_above_minimum(&self) -> bool {
        self.engine.threads.is_above_minimum()
    }

    fn alarm(&self) -> Option<Instant> {
        [self.engine.end_of_pause(), self.engine.restore_minimum(), self.engine.grace_ends()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Which worker runs a task.
pub(super) struct TaskCx<'a, S> {
    pub(super) worker: usize,
    pub(super) tally: &'a Tally,
    /// Where the task came from; `None` for one that is run in the middle of another.
    pub(super) queue_cx: Option<&'a S>,
}
