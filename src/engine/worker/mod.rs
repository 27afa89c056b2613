//! The life of one worker: it starts, finds tasks and runs them, and exits.

mod execute;
mod local;
mod state;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::mailboxes::Mailbox;
use super::parking::{self, AdaptiveSpin, Expiry, NextAction, Parker};
use super::threads::{ExitReason, WorkerSlot};
use super::{Engine, Runner};
use crate::error::BoxError;
use crate::queue::deques::Victims;
use crate::queue::{self, Dispatch, Queue};
use crate::sync::mpsc::Sender;
use crate::sync::{Arc, Ordering, fence};
use crate::task::current_worker::EnterGuard;
use crate::task::state::JobRef;

pub(super) use execute::TaskCx;
pub(crate) use local::WorkerLocal;

/// What the queue keeps for one worker.
pub(super) type QueueCx<R, D> = queue::QueueCx<
    <R as Runner>::Item,
    <<D as Dispatch>::Queue<<R as Runner>::Item> as Queue<<R as Runner>::Item>>::Cx,
>;

/// What belongs to one worker, besides its state.
pub(super) struct WorkerCx<R: Runner, D: Dispatch> {
    pub(super) id: usize,
    is_inline_worker: bool,
    pub(super) queue_cx: QueueCx<R, D>,
    pub(super) victims: Victims<JobRef>,
    parker: Arc<Parker>,
    mailbox: Arc<Mailbox<R::State>>,
    pub(super) local: Rc<WorkerLocal<R::Item>>,
    adaptive_spin: AdaptiveSpin,
    /// The pool's expiry when the worker last looked.
    expiry: Cell<u64>,
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Runs the worker `worker_slot` on the calling thread until it exits. Sends to `ready` how its start went.
    pub(super) fn work(self: Arc<Self>, worker_slot: WorkerSlot, ready: Option<Sender<Result<(), BoxError>>>) {
        let id = worker_slot.number;
        self.threads.begin(worker_slot);
        let queue_cx = self.queue.cx(id);
        let local = Rc::new(WorkerLocal {
            worker: id,
            tally: self.counters.tally(id),
            queue: Rc::clone(queue_cx.own_queue()),
            deque: OnceCell::new(),
        });
        let entered = EnterGuard::enter(Arc::clone(&self) as _, id, Rc::clone(&local) as _);
        let me = WorkerCx {
            id,
            is_inline_worker: worker_slot.is_inline_worker,
            queue_cx,
            victims: Victims::new(id),
            parker: Parker::for_current(id),
            mailbox: Mailbox::new(worker_slot.is_inline_worker),
            local,
            adaptive_spin: AdaptiveSpin::new(self.options.spin),
            expiry: Cell::new(self.settings.expiry_word()),
        };
        self.call_hook(&self.options.on_thread_start, id);
        self.tell(|observer| observer.worker_started(id));
        let mut state = None;
        let started = self.ensure_state(&me, &mut state);
        let failed = started.is_err();
        if let Some(ready) = ready {
            // The receiver is gone if the build has failed for another reason.
            drop(ready.send(started));
        }
        let failed = failed && self.threads.try_exit(ExitReason::Failed) || !self.run_loop(&me, &mut state);
        self.drain_before_exit(&me, &mut state);
        if let Some(state) = state {
            self.catch_user_panic(|| self.runner.stop(state));
        }
        self.tell(|observer| observer.worker_stopped(id));
        self.call_hook(&self.options.on_thread_stop, id);
        self.queue.leave(me.queue_cx);
        drop(me.local);
        drop(entered);
        self.threads.exited(worker_slot);
        self.after_exit(worker_slot, failed);
        self.threads.thread_ended(worker_slot);
        // Threads in `wait_idle` check again. That is cheap, and exits are rare.
        self.notify_waiters();
    }

    /// Runs tasks until the worker has to exit. Returns whether that is for any other reason than a failed factory.
    fn run_loop(self: &Arc<Self>, me: &WorkerCx<R, D>, state: &mut Option<R::State>) -> bool {
        let mut has_run = false;
        loop {
            if me.mailbox.is_signalled() && self.handle_signals(me, state, has_run) {
                return true;
            }
            has_run = true;
            self.call_ready(me, state);
            // `ready` is user code, and may have taken long.
            if R::HAS_FACTORY && me.mailbox.has_mail() {
                continue;
            }
            let item = match self.queue.pop(&me.queue_cx) {
                Some(item) => item,
                None => match self.parking.wait_for_work(&me.parker, &me.adaptive_spin, &Source { engine: self, me }) {
                    NextAction::Task(item) => item,
                    NextAction::Mail => continue,
                    NextAction::Exit => return true,
                },
            };
            if self.queue.frees_room_on_pop() {
                self.notify_blocked();
            }
            if me.queue_cx.take_moved() {
                self.wake();
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
                let cx = TaskCx { local: &me.local, queue_cx: Some(&me.queue_cx) };
                let panicked = self.execute(&cx, |completion| self.runner.run(built, item, completion));
                if panicked && self.runner.discards_after_panic() {
                    self.discard_state(me, state);
                }
            }
        }
    }

    /// Handles the mail. Returns whether the worker, if it is an inline worker or was given up, has to exit instead.
    #[cold]
    #[inline(never)]
    fn handle_signals(self: &Arc<Self>, me: &WorkerCx<R, D>, state: &mut Option<R::State>, has_run: bool) -> bool {
        if me.mailbox.is_given_up() || me.is_inline_worker && (self.exit_if_due(me) || self.try_hand_over(has_run)) {
            return true;
        }
        self.drain_mailbox(me, state);
        false
    }

    fn exit_reason(&self, me: &WorkerCx<R, D>) -> Option<ExitReason> {
        let (staying, capacity) = self.threads.population();
        if staying > capacity {
            Some(ExitReason::Surplus)
        } else if self.lifecycle.is_closed() && self.has_no_successors() && self.queue.load().queued == 0 {
            Some(ExitReason::Closed)
        } else if me.is_inline_worker && staying > 1 {
            Some(ExitReason::Relieved)
        } else if me.is_inline_worker && !self.has_startable_work() {
            Some(ExitReason::Done)
        } else {
            None
        }
    }

    /// If the worker has a reason to exit and may, unregisters it and returns `true`: then it must exit.
    fn exit_if_due(&self, me: &WorkerCx<R, D>) -> bool {
        let Some(why) = self.exit_reason(me) else { return false };
        if !self.lifecycle.is_closed() {
            return self.threads.try_exit(why);
        }
        // Under the lock of the phase, as a task enters that was admitted before: either this finds it queued, or its thread finds that there
        // is no worker any more.
        self.lifecycle.edit(|_| self.exit_reason(me).is_some_and(|why| self.threads.try_exit(why)))
    }

    /// After a worker has exited: the others may have to exit too, or a replacement may have to be started.
    fn after_exit(self: &Arc<Self>, worker_slot: WorkerSlot, failed: bool) {
        // ORDERING: SeqCst fence between this worker's removal from the registry and the look at the queue. It pairs with the one in
        // `notify`, between a push and the submitter's look into the registry: one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.lifecycle.is_closed() {
            self.parking.wake_all();
        }
        self.relax_limits();
        // Its last search may have kept another worker from waking for a task (parking.md), and it does not search again.
        self.wake();
        self.recheck_waits();
        if failed {
            self.note_missing();
        }
        // No replacement for a worker whose state could not be built, unless another worker's has been built since: each would fail in turn. The last one
        // stays and cancels what is queued. An inline worker is asked again by the code that made it one.
        if !worker_slot.is_inline_worker
            && (!failed || !self.threads.is_spawn_failing() || self.threads.population().0 == 0)
        {
            self.ensure_workers();
        }
    }
}

/// The pool as an idle worker sees it.
struct Source<'a, R: Runner, D: Dispatch> {
    engine: &'a Engine<R, D>,
    me: &'a WorkerCx<R, D>,
}

impl<R: Runner, D: Dispatch> parking::Source for Source<'_, R, D> {
    type Item = R::Item;

    fn pop(&self) -> Option<R::Item> {
        self.engine.queue.pop(&self.me.queue_cx).or_else(|| self.engine.steal(self.me))
    }

    fn woken(&self) {
        self.engine.queue.woken(&self.me.queue_cx);
    }

    fn peek(&self) -> bool {
        self.engine.queue.peek(&self.me.queue_cx) || self.engine.has_jobs(self.me)
    }

    fn has_work(&self) -> bool {
        self.engine.queue.has_work_for(&self.me.queue_cx) || self.engine.has_jobs(self.me)
    }

    fn has_mail(&self) -> bool {
        self.me.mailbox.has_mail()
    }

    fn must_exit(&self) -> bool {
        // If the expiry has changed, the worker must compute anew when to try to exit.
        let is_outdated = self.engine.settings.expiry_word() != self.me.expiry.get();
        is_outdated || self.engine.exit_reason(self.me).is_some()
    }

    fn exit(&self) -> bool {
        // Stored before the expiry is read, so that a later change is noticed.
        self.me.expiry.set(self.engine.settings.expiry_word());
        self.engine.pass_late_futures();
        self.engine.exit_if_due(self.me)
    }

    fn expiry(&self) -> Option<Duration> {
        self.engine.settings.expiry()
    }

    fn must_stop_searching(&self) -> bool {
        self.has_mail() || self.must_exit() || self.engine.lifecycle.is_paused() || self.engine.minimum.is_missing()
    }

    fn expire(&self) -> Expiry {
        if self.engine.queue.load().queued > 0 || self.engine.grace_ends().is_some() {
            Expiry::Postponed
        } else if self.engine.threads.try_exit(ExitReason::Expired) {
            Expiry::Exits
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
