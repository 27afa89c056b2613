//! Ending a pool, and opening it again.

use std::task::{Poll, Waker};
use std::time::Instant;

use super::counters::{count, get};
use super::end_wait::{EndWait, wait_for_end};
use super::lifecycle::Phase;
use super::observer::TaskEnd;
use super::{Engine, Runner};
use crate::engine::options::{OnClose, OnDrop};
use crate::engine::stats::ShutdownReport;
use crate::error::{BuildError, Cause, SubmitErrorKind};
use crate::queue::Dispatch;
use crate::sync::waiter_list::Registration;
use crate::sync::{Ordering, fence};
use crate::task::state::{Retracted, RunOutcome};

/// The ways to end a pool, whatever the types of the engine. `X` is what a task that never ran comes back as.
pub(crate) trait Ending<X>: Send + Sync {
    /// Closes, runs what is queued, and waits for the end until `deadline`.
    fn shutdown(&self, deadline: Option<Instant>) -> ShutdownReport;
    /// The same for a future: closes at the first poll, and is ready at the end of the pool. It is ready at once where the calling thread
    /// may not wait for the end.
    fn poll_shutdown<'e>(&'e self, shutdown: &mut Option<PolledShutdown<'e>>, waker: &Waker) -> Poll<ShutdownReport>;
    /// Closes, takes out what is queued, and waits for what runs. No queued task starts after the close.
    fn shutdown_now(&self) -> Vec<X>;
    /// Closes, and runs what is queued until `deadline`. Then takes out what is left, and tells running tasks to stop.
    fn shutdown_graceful(&self, deadline: Option<Instant>) -> (Vec<X>, ShutdownReport);
    /// Closes, and leaves the rest to the workers, also where the pool is dropped later.
    fn detach(&self);
    /// Ends the pool as its options say, because its owner drops it.
    fn end(&self);
    /// Opens a pool that has ended.
    fn restart(&self) -> Result<(), BuildError>;
}

/// Tasks by how they ended.
struct Totals {
    ran: u64,
    cancelled: u64,
    returned: u64,
}

/// A shutdown that a future waits for.
pub(crate) struct PolledShutdown<'e> {
    before: Totals,
    /// Counts the last polling thread as waiting for the end.
    end_wait: Option<EndWait>,
    registration: Option<Registration<'e>>,
}

impl<R: Runner, D: Dispatch> Ending<R::Returned> for Engine<R, D> {
    fn shutdown(&self, deadline: Option<Instant>) -> ShutdownReport {
        let before = self.totals();
        self.close_to_drain();
        self.finish(deadline);
        self.report_since(&before)
    }

    fn poll_shutdown<'e>(&'e self, shutdown: &mut Option<PolledShutdown<'e>>, waker: &Waker) -> Poll<ShutdownReport> {
        let shutdown = shutdown.get_or_insert_with(|| {
            let before = self.totals();
            self.close_to_drain();
            PolledShutdown { before, end_wait: None, registration: None }
        });
        // Dropped first: the wait of an earlier poll must not forbid this one, and this poll must not wake itself.
        (shutdown.end_wait, shutdown.registration) = (None, None);
        shutdown.end_wait = wait_for_end(self.id(), false);
        if shutdown.end_wait.is_some() {
            self.try_spawn_to_demand();
            if !self.threads.poll_end(&mut shutdown.registration, waker) {
                return Poll::Pending;
            }
        }
        (shutdown.end_wait, shutdown.registration) = (None, None);
        Poll::Ready(self.report_since(&shutdown.before))
    }

    fn shutdown_now(&self) -> Vec<R::Returned> {
        let given_back = self.gives_schedule_back();
        let scheduled = if given_back { self.take_schedule_back() } else { self.take_to_drop() };
        let mut returned = self.take_back(|| ());
        match given_back {
            true => returned.extend(self.give_schedule_back(scheduled)),
            false => self.drop_scheduled(scheduled),
        }
        self.finish(None);
        returned
    }

    fn shutdown_graceful(&self, deadline: Option<Instant>) -> (Vec<R::Returned>, ShutdownReport) {
        let before = self.totals();
        // Before the drain, since queued tasks may wait for some of them.
        let scheduled = (self.options.on_close == OnClose::Return).then(|| self.take_schedule_back());
        let scheduled = scheduled.map(|tasks| self.give_back_scheduled(tasks));
        let mut returned = Vec::new();
        if !self.shutdown(deadline).is_complete() {
            returned = self.take_back(|| self.stop_running());
        }
        if let Some(scheduled) = scheduled {
            returned.extend(scheduled);
            returned.extend(self.give_schedule_back(Vec::new()));
        }
        (returned, self.report_since(&before))
    }

    fn detach(&self) {
        // ORDERING: Relaxed, see `end`.
        self.is_detached.store(true, Ordering::Relaxed);
        self.close_to_drain();
        self.try_spawn_to_demand();
    }

    fn end(&self) {
        // ORDERING: Relaxed, see `is_dropped`.
        self.is_dropped.store(true, Ordering::Relaxed);
        // ORDERING: Relaxed. The thread that drops the pool has synchronized with those that used it.
        let is_detached = self.is_detached.load(Ordering::Relaxed);
        match if is_detached { OnDrop::Detach } else { self.options.on_drop } {
            OnDrop::Drain => drop(self.shutdown(None)),
            OnDrop::Cancel => {
                let scheduled = self.take_to_drop();
                self.drain_queue(
                    || self.stop_running(),
                    |input| {
                        count(&self.counters.cancelled);
                        self.tell_unstarted(TaskEnd::Cancelled);
                        self.catch_user_panic(|| drop(input));
                    },
                );
                self.drop_scheduled(scheduled);
                self.finish(None);
            }
            OnDrop::Detach => self.detach(),
        }
    }

    fn restart(&self) -> Result<(), BuildError> {
        self.lifecycle.edit(|phase| {
            if !phase.is_closed() || !self.threads.is_empty() || self.queue.load().queued > 0 {
                return Err(BuildError::StillRunning);
            }
            phase.open();
            self.queue.open();
            self.schedule.open();
            self.apply_limits(phase);
            self.runner.overdue().set(false);
            // ORDERING: Relaxed, see `end`.
            self.is_detached.store(false, Ordering::Relaxed);
            Ok(())
        })?;
        self.shared().map_or(Ok(()), |engine| engine.start_minimum())
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Refuses further submissions, and those that wait for room. Makes other changes to the phase in the same step.
    fn close(&self, change: impl FnOnce(&mut Phase)) {
        self.lifecycle.edit(|phase| {
            // The queue comes first: a thread that sees the pool closed must find the queue closed.
            self.queue.close();
            phase.close();
            change(phase);
            self.apply_limits(phase);
        });
        self.wait_queue.notify_all();
        self.notify_all_at_views();
        self.wake_budget_waiters();
        // ORDERING: SeqCst fence, see `left_order`.
        fence(Ordering::SeqCst);
        self.parking.wake_all();
        #[cfg(feature = "async")]
        self.end_attached();
        self.closing.wake_all();
    }

    /// Closes a pool whose workers run what is queued.
    fn close_to_drain(&self) {
        let unwanted = self.enter_before_close();
        self.close(|_| ());
        self.drop_scheduled(unwanted);
    }

    /// Waits for the end of a closed pool, if the calling thread may.
    fn finish(&self, deadline: Option<Instant>) {
        let Some(_end_wait) = wait_for_end(self.id(), deadline.is_some()) else { return };
        match self.shared() {
            Some(engine) if deadline.is_none() => engine.ensure_workers(),
            // A thread with a deadline must not become an inline worker, because a task takes any time.
            _ => self.try_spawn_to_demand(),
        }
        self.threads.join_all(deadline);
    }

    /// Starts workers for what is queued, if the system gives threads.
    fn try_spawn_to_demand(&self) {
        if let Some(engine) = self.shared() {
            drop(engine.spawn_to_demand());
        }
    }

    /// Closes, and gives back what is queued. Calls `stop` when no task starts any more.
    fn take_back(&self, stop: impl FnOnce()) -> Vec<R::Returned> {
        let mut returned = Vec::new();
        self.drain_queue(stop, |input| {
            count(&self.counters.returned);
            self.tell_unstarted(TaskEnd::Returned);
            returned.push(input);
        });
        returned
    }

    /// Tells running tasks to stop. Call it while no task starts: a queued one must not run only to be told to stop.
    fn stop_running(&self) {
        // A task that has started and is not registered yet sees this.
        self.runner.overdue().set(true);
        self.running_tasks.stop_all();
    }

    /// Closes, and takes out what is queued; none of it starts meanwhile. Calls `stop` first, and `take` with each input that no caller waits
    /// for.
    fn drain_queue(&self, stop: impl FnOnce(), mut take: impl FnMut(R::Returned)) {
        self.close(Phase::begin_drain);
        let _draining = Draining(self);
        stop();
        // Those behind a queued or running task of their key. They come back after it.
        let in_order: Vec<_> = self.views.all().into_iter().flat_map(|views| views.drain()).collect();
        for item in self.queue.drain().into_iter().chain(in_order) {
            match R::retract(item, SubmitErrorKind::Closed, Cause::Cancelled) {
                Retracted::Here(input) => take(input),
                Retracted::ToCaller => {
                    count(&self.counters.returned);
                    self.tell_unstarted(TaskEnd::Returned);
                }
                Retracted::Gone(RunOutcome::Cancelled) => {
                    count(&self.counters.cancelled);
                    self.tell_unstarted(TaskEnd::Cancelled);
                }
                Retracted::Gone(RunOutcome::CancelledBefore) => self.tell_unstarted(TaskEnd::Cancelled),
                Retracted::Gone(_) => {}
            }
        }
    }

    fn totals(&self) -> Totals {
        let ended = self.counters.ended();
        Totals {
            ran: ended.completed + ended.panicked,
            cancelled: ended.cancelled + self.withdrawn_cancelled(),
            returned: get(&self.counters.returned),
        }
    }

    fn report_since(&self, before: &Totals) -> ShutdownReport {
        let load = self.load();
        let workers = self.threads.census().live + self.threads.callers();
        let now = self.totals();
        ShutdownReport {
            workers,
            queued: load.queued,
            running: load.running,
            ran: now.ran - before.ran,
            cancelled: now.cancelled - before.cancelled,
            returned: now.returned - before.returned,
        }
    }
}

/// Lets tasks start again when it is dropped, also by a panic.
struct Draining<'a, R: Runner, D: Dispatch>(&'a Engine<R, D>);

impl<R: Runner, D: Dispatch> Drop for Draining<'_, R, D> {
    fn drop(&mut self) {
        let Draining(engine) = self;
        engine.lifecycle.edit(|phase| {
            phase.end_drain();
            engine.apply_limits(phase);
        });
        engine.notify_waiters();
        engine.parking.wake_all();
    }
}
