//! The life of one worker: start, look for work, run it, account for it, end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::bulletin::Inbox;
use super::counters::{Tally, count};
use super::habit::Habit;
use super::parking::{self, Errand, Expiry, Sleeper};
use super::threads::{Leave, Post};
use super::{Engine, Runner};
use crate::engine::options::{Hook, TaskPanic};
use crate::error::{BoxError, Cause, JoinError, Payload, SharedError, SubmitErrorKind, panic_text};
use crate::queue::{self, Dispatch, Queue};
use crate::sync::contain::contain;
use crate::sync::mpsc::Sender;
use crate::sync::{Arc, Ordering, fence, fence_after_rmw};
use crate::task::current_worker::{CurrentPool, EnterGuard};
use crate::task::slot::{Recalled, Reply, Verdict};

/// A worker's place at the queue of its pool.
pub(super) type Seat<R, D> =
    queue::Seat<<<D as Dispatch>::Queue<<R as Runner>::Item> as Queue<<R as Runner>::Item>>::Seat>;

/// What a worker carries with it.
struct Me<S, W> {
    id: usize,
    is_guest: bool,
    /// Its place at the queue.
    seat: S,
    sleeper: Arc<Sleeper>,
    inbox: Arc<Inbox<W>>,
    tally: Arc<CachePadded<Tally>>,
    habit: Habit,
    /// The expiry that it last reckoned with.
    expiry: Cell<u64>,
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Is the worker `post` until it ends. `ready` is told how the start went.
    pub(super) fn work(self: Arc<Self>, post: Post, ready: Option<Sender<Result<(), BoxError>>>) {
        let id = post.number;
        self.threads.begin(post);
        let entered = EnterGuard::enter(Arc::clone(&self) as _, id);
        let me = Me {
            id,
            is_guest: post.is_guest,
            seat: self.queue.seat(id),
            sleeper: Sleeper::for_current(id),
            inbox: Inbox::new(post.is_guest),
            tally: self.counters.tally(id),
            habit: Habit::new(self.options.spin),
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
        let failed = failed && self.threads.may_leave(Leave::Failed) || !self.serve(&me, &mut state);
        self.attend_the_last(&me, &mut state);
        if let Some(state) = state {
            self.guard(|| self.runner.stop(state));
        }
        self.call_hook(&self.options.on_thread_stop, id);
        self.queue.leave(me.seat);
        drop(entered);
        self.threads.left(post);
        self.after_departure(post, failed);
        self.threads.gone(post);
        // Whoever waits for the pool to be quiet looks again: a worker that ends is rare, and a look is cheap.
        self.ring();
    }

    /// Takes and runs tasks until it is time to end; says whether that is for any other reason than a failed factory.
    fn serve(self: &Arc<Self>, me: &Me<Seat<R, D>, R::State>, state: &mut Option<R::State>) -> bool {
        let mut has_run = false;
        loop {
            if me.inbox.is_signalled() && self.heed(me, state, has_run) {
                return true;
            }
            has_run = true;
            self.get_ready(me, state);
            // Getting ready is somebody else's code, and may take its time.
            if R::HAS_FACTORY && me.inbox.is_called() {
                continue;
            }
            let item = match self.parking.find(&me.sleeper, &me.habit, &Source { engine: self, me }) {
                Errand::Task(item) => item,
                Errand::Orders => continue,
                Errand::Leave => return true,
            };
            if self.queue.frees_place_on_pop() {
                self.call_line();
            }
            let item = match self.man(me, state) {
                Ok(()) => item,
                Err(error) => {
                    self.refuse(me, item, error);
                    if self.threads.may_leave(Leave::Failed) {
                        return false;
                    }
                    continue;
                }
            };
            if let Some(built) = state {
                let cx = Doing { worker: me.id, tally: &me.tally, seat: Some(&me.seat) };
                let panicked = self.execute(&cx, |reply| self.runner.run(built, item, reply));
                if panicked && self.runner.discards_after_panic() {
                    self.discard(me, state);
                }
            }
        }
    }

    /// Sees to the orders, and as a guest to whether it may go: says so.
    #[cold]
    #[inline(never)]
    fn heed(self: &Arc<Self>, me: &Me<Seat<R, D>, R::State>, state: &mut Option<R::State>, has_run: bool) -> bool {
        if me.is_guest && (self.may_go(me) || self.is_relieved(has_run)) {
            return true;
        }
        self.attend(me, state);
        false
    }

    /// Sees to a state for a task in hand. One that is made only now gets ready while the task waits.
    fn man(self: &Arc<Self>, me: &Me<Seat<R, D>, R::State>, state: &mut Option<R::State>) -> Result<(), BoxError> {
        if state.is_none() {
            self.ensure_state(me, state)?;
            self.get_ready(me, state);
        }
        if state.is_some() { Ok(()) } else { Err("`ready` panicked".into()) }
    }

    /// Lets the state get ready. If that can take long, others see to what is queued.
    fn get_ready(self: &Arc<Self>, me: &Me<Seat<R, D>, R::State>, state: &mut Option<R::State>) {
        let Some(built) = state else { return };
        if R::READY_BLOCKS {
            self.counters.gets_ready();
            // ORDERING: SeqCst fence between the count and the look at the queue, against the one in `notify` between a
            // push and the submitter's look at the count. A refused thread is counted; the next submit tries again.
            fence(Ordering::SeqCst);
            drop(self.grow());
        }
        let is_ready = self.guard(|| self.runner.ready(built)).is_some();
        if R::READY_BLOCKS {
            self.counters.is_ready();
        }
        if !is_ready {
            self.discard(me, state);
        }
    }

    fn reason_to_leave(&self, me: &Me<Seat<R, D>, R::State>) -> Option<Leave> {
        let (staying, capacity) = self.threads.population();
        if staying > capacity {
            Some(Leave::Surplus)
        } else if self.life.is_closed() && self.queue.load().queued == 0 {
            Some(Leave::Closed)
        } else if me.is_guest && staying > 1 {
            Some(Leave::Relieved)
        } else if me.is_guest && !self.has_to_be_seen_to() {
            Some(Leave::Done)
        } else {
            None
        }
    }

    /// Takes leave for good, if the worker should and may.
    fn may_go(&self, me: &Me<Seat<R, D>, R::State>) -> bool {
        self.reason_to_leave(me).is_some_and(|why| self.threads.may_leave(why))
    }

    /// A worker has left: the others may have to end too, or to take its place.
    fn after_departure(self: &Arc<Self>, post: Post, failed: bool) {
        // ORDERING: SeqCst fence between this worker's leaving the book and the look at the queue, against
        // the one in `notify` between a push and the submitter's look into the book.
        fence(Ordering::SeqCst);
        if self.life.is_closed() {
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
        if !post.is_guest && (!failed || !self.threads.is_short() || self.threads.population().0 == 0) {
            self.staff();
        }
    }

    /// Runs one task and does all that follows from its end; says whether it panicked.
    pub(super) fn execute(&self, doing: &Doing<'_, Seat<R, D>>, body: impl FnOnce(&mut Reply) -> Verdict) -> bool {
        let mut reply = Reply::default();
        let mut panic = match catch_unwind(AssertUnwindSafe(|| body(&mut reply))) {
            Ok(verdict) => {
                match verdict {
                    Verdict::Ran => doing.tally.completed(),
                    Verdict::Cancelled => doing.tally.cancelled(),
                    Verdict::Elsewhere => {}
                }
                self.tell_of_stray(&mut reply, doing.worker);
                None
            }
            Err(payload) => {
                doing.tally.panicked();
                self.report(&payload, doing.worker, reply.name());
                Some(payload)
            }
        };
        let panicked = panic.is_some();
        let answers = reply.is_due();
        if answers {
            doing.tally.set_answering(true);
        }
        if panicked && !reply.is_wanted() {
            // Nobody wants it. It may hold what the task had captured, so it goes before the task counts as ended; its
            // drop may panic once more.
            self.guard(|| drop(panic.take()));
        }
        if answers {
            doing.tally.set_answering(true);
        }
        self.ended(doing);
        if answers {
            self.guard(|| drop(reply.send(panic.take())));
            doing.tally.set_answering(false);
            // ORDERING: SeqCst fence between the end of the answering and the look for watchers.
            fence_after_rmw();
            self.tell_watchers();
        }
        // Nothing is left in it, which its drop would look for.
        std::mem::forget(reply);
        panicked
    }

    /// A task has been accounted for: makes its place free.
    fn ended(&self, doing: &Doing<'_, Seat<R, D>>) {
        if let Some(seat) = doing.seat {
            self.queue.finished(seat);
        }
        // Has the fence that `tell_watchers` needs.
        self.call_line();
        self.tell_watchers();
    }

    #[inline]
    pub(super) fn tell_watchers(&self) {
        if self.life.is_watched() {
            self.ring_if_at_rest();
        }
    }

    #[cold]
    fn ring_if_at_rest(&self) {
        // As long as there is something to start, nobody waits for the end of this one.
        if !self.queue.has_work() && self.queue.load().running == 0 {
            self.ring();
        }
    }

    /// Cancels a task because there is no state to run it with.
    fn refuse(&self, me: &Me<Seat<R, D>, R::State>, item: R::Item, error: BoxError) {
        let source: SharedError = error.into();
        match R::recall(item, SubmitErrorKind::NoState, Cause::NoState(Arc::clone(&source))) {
            Recalled::Gone(Verdict::Elsewhere) => {}
            Recalled::Here(input) => {
                me.tally.cancelled();
                let mut reply = Reply::default();
                reply.drop_cancelled(input);
                self.tell_of_stray(&mut reply, me.id);
            }
            _ => me.tally.cancelled(),
        }
        // Dropping an error is somebody else's code.
        self.guard(|| drop(source));
        self.ended(&Doing { worker: me.id, tally: &me.tally, seat: Some(&me.seat) });
    }

    fn ensure_state(
        self: &Arc<Self>,
        me: &Me<Seat<R, D>, R::State>,
        state: &mut Option<R::State>,
    ) -> Result<(), BoxError> {
        if state.is_some() {
            return Ok(());
        }
        let made = catch_unwind(AssertUnwindSafe(|| self.runner.start(me.id))).unwrap_or_else(|panic| {
            self.report(&panic, me.id, None);
            let text = format!("the factory panicked: {}", panic_text(&*panic));
            self.guard(|| drop(panic));
            Err(text.into())
        });
        let result = made.and_then(|made| self.catch_up(me, state.insert(made)));
        match &result {
            // Workers can be had again: whoever waits may count on those that are missing, so they are started where there is work. One
            // that is refused is counted.
            Ok(()) if self.threads.is_short() => {
                self.threads.set_short(false);
                self.minimum.succeeded();
                drop(self.grow());
            }
            Ok(()) => {}
            Err(_) => {
                self.discard(me, state);
                self.falls_short();
            }
        }
        result
    }

    /// Ends a state that cannot be used any more.
    fn discard(&self, me: &Me<Seat<R, D>, R::State>, state: &mut Option<R::State>) {
        self.bulletin.strike_out(me.id);
        let state = state.take();
        self.guard(|| drop(state));
        while let Some(posting) = me.inbox.next() {
            posting.order.fail(me.id, JoinError::new(Cause::Cancelled));
            self.guard(|| drop(posting));
        }
    }

    /// Does with a new state what is remembered for all of them.
    fn catch_up(&self, me: &Me<Seat<R, D>, R::State>, state: &mut R::State) -> Result<(), BoxError> {
        let mut orders = self.bulletin.enlist(me.id, &me.inbox).into_iter();
        while let Some(order) = orders.next() {
            let repeat = || {
                order.repeat(state);
                // Perhaps it was forgotten meanwhile, and this is the last of it: somebody else's code.
                drop(order);
            };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(repeat)) {
                let text = format!("a remembered broadcast panicked: {}", panic_text(&*payload));
                self.panicked_beside(&payload, me.id);
                self.guard(|| drop(payload));
                if self.runner.discards_after_panic() {
                    self.guard(|| drop(orders));
                    return Err(text.into());
                }
            }
        }
        Ok(())
    }

    /// Sees to the orders that there are. A worker without a state gets none.
    fn attend(&self, me: &Me<Seat<R, D>, R::State>, state: &mut Option<R::State>) {
        while let Some(built) = state {
            let Some(posting) = me.inbox.next() else { return };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| posting.order.run(me.id, built))) {
                self.panicked_beside(&payload, me.id);
                if self.runner.discards_after_panic() {
                    self.discard(me, state);
                }
                posting.order.fail(me.id, JoinError::panic(payload));
            }
            self.guard(|| drop(posting));
        }
    }

    /// Before a worker ends its state it does what it was told before it said so.
    fn attend_the_last(&self, me: &Me<Seat<R, D>, R::State>, state: &mut Option<R::State>) {
        while state.is_some() && !self.bulletin.retire(me.id, &me.inbox) {
            self.attend(me, state);
        }
    }

    /// What a cancelled task had captured may have panicked in its drop.
    #[inline]
    fn tell_of_stray(&self, reply: &mut Reply, worker: usize) {
        if let Some(payload) = reply.take_stray() {
            self.report_stray(payload, worker);
        }
    }

    #[cold]
    fn report_stray(&self, payload: Payload, worker: usize) {
        self.panicked_beside(&payload, worker);
        self.guard(|| drop(payload));
    }

    /// A panic on a worker that was no task's.
    fn panicked_beside(&self, payload: &Payload, worker: usize) {
        count(&self.counters.handler_panics);
        self.report(payload, worker, None);
    }

    fn call_hook(&self, hook: &Option<Hook>, id: usize) {
        if let Some(hook) = hook {
            self.guard(|| hook(id));
        }
    }

    /// Tells the panic handler.
    fn report(&self, payload: &Payload, worker: usize, task: Option<&str>) {
        if let Some(handler) = &self.options.panic_handler {
            let panic = TaskPanic { payload: &**payload, worker, pool: self.options.name(), task };
            self.guard(|| handler(&panic));
        }
    }

    /// Runs user code that is not a task, on whichever thread. A panic in it is caught and counted; `None` then.
    pub(crate) fn guard<O>(&self, f: impl FnOnce() -> O) -> Option<O> {
        let output = contain(f);
        if output.is_none() {
            count(&self.counters.handler_panics);
        }
        output
    }
}

/// The pool as worker `id` sees it when it has nothing to do.
struct Source<'a, R: Runner, D: Dispatch> {
    engine: &'a Engine<R, D>,

    me: &'a Me<Seat<R, D>, R::State>,
}

impl<R: Runner, D: Dispatch> parking::Source for Source<'_, R, D> {
    type Item = R::Item;

    fn pop(&self) -> Option<R::Item> {
        self.engine.queue.pop(&self.me.seat)
    }

    fn woken(&self) {
        self.engine.queue.woken(&self.me.seat);
    }

    fn glance(&self) -> bool {
        self.engine.queue.glance()
    }

    fn has_work(&self) -> bool {
        self.engine.queue.has_work()
    }

    fn is_called(&self) -> bool {
        self.me.inbox.is_called()
    }

    fn must_leave(&self) -> bool {
        // With another expiry it has to reckon anew when to ask.
        let is_outdated = self.engine.settings.expiry_word() != self.me.expiry.get();
        is_outdated || self.engine.reason_to_leave(self.me).is_some()
    }

    fn leave(&self) -> bool {
        // Before the expiry is asked for.
        self.me.expiry.set(self.engine.settings.expiry_word());
        self.engine.pass_the_late();
        self.engine.may_go(self.me)
    }

    fn expiry(&self) -> Option<Duration> {
        self.engine.settings.expiry()
    }

    fn is_distracted(&self) -> bool {
        self.is_called() || self.must_leave() || self.engine.life.is_paused() || self.engine.minimum.is_missing()
    }

    fn expire(&self) -> Expiry {
        if self.engine.queue.load().queued > 0 || self.engine.line.patience_ends().is_some() {
            Expiry::Waits
        } else if self.engine.threads.may_leave(Leave::Expired) {
            Expiry::Leaves
        } else {
            Expiry::IsKept
        }
    }

    fn is_above_minimum(&self) -> bool {
        self.engine.threads.is_above_minimum()
    }

    fn alarm(&self) -> Option<Instant> {
        [self.engine.end_of_pause(), self.engine.restore_minimum(), self.engine.line.patience_ends()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Which worker runs a task.
pub(super) struct Doing<'a, S> {
    pub(super) worker: usize,
    pub(super) tally: &'a Tally,
    /// Where the task came from; `None` for one that is run in the middle of another.
    pub(super) seat: Option<&'a S>,
}
