//! What a handle needs of its task's state, whatever the type of the input, and what a worker does that waits for a task of its own pool.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::cancel::CancelToken;
use crate::error::{Cause, JoinError};
use crate::sync::current;
use crate::sync::waiter::Waiter;
use crate::task::current_worker::{self, PoolId};
use crate::task::in_view::InView;
use crate::task::pending_polls::PendingPoll;
use crate::task::state::{AwaitedEnd, Cancellable, Outcome, PollAction, RunOutcome, TaskRef, TaskState};

/// The state of a task without its input type.
pub(crate) trait Joinable<T>: Cancellable + Send + Sync {
    fn is_finished(&self) -> bool;
    /// Waits for the result; `None` at the deadline.
    fn wait(self: Arc<Self>, deadline: Option<Instant>) -> Option<Result<T, JoinError>>;
    /// Runs the task on the calling thread if this is a worker of the task's pool and the task has not started.
    fn run_inside(self: Arc<Self>);
    fn has_started(&self) -> bool;
    /// Waits for the end without taking the result; see [`TaskState::await_end`].
    fn await_end(
        self: Arc<Self>,
        deadline: Option<Instant>,
        token: Option<&CancelToken>,
        is_younger: bool,
    ) -> AwaitedEnd;
    fn pool(&self) -> PoolId;
    /// Whether the calling thread is a worker of the task's pool and could run the task inside its own, perhaps after other tasks of
    /// its view.
    fn can_run(&self) -> bool;
    /// Whether the task belongs to a view.
    fn is_in_view(&self) -> bool;
    /// See [`TaskState::is_behind_caller`].
    fn is_behind_caller(&self) -> bool;
    /// See [`TaskState::can_be_run`]. The waiter is the calling thread.
    fn can_be_run(&self) -> bool;
    /// Registers `waiter` as one of several that the end of the task wakes. Returns its entry, or `None` if the task has ended.
    fn listen(&self, waiter: Waiter) -> Option<u64>;
    /// The same in place of the waiter with the entry `before`. The calling worker still waits for a permit of the task's view, if it does.
    fn relisten(&self, before: Option<u64>, waiter: Waiter) -> Option<u64>;
    /// Registers a waiter for the end, whose place nothing else takes.
    fn listen_beside(&self, waiter: Waiter) -> Option<u64>;
    /// Why it has no output, if it has ended without: `Some(None)` where the error was taken.
    fn failure(&self) -> Option<Option<JoinError>>;
    /// Removes the waiter with this entry.
    fn stop_listening(&self, entry: u64);
    /// See [`TaskState::poll_action`].
    fn poll_action(&self, waiter: &dyn Fn() -> Waiter) -> PollAction;
    /// Has a poll repeated when the task, whose time has not come, enters the pool.
    fn register_scheduled_poll(&self, poll: Arc<PendingPoll>);
    /// Runs the task, or those that keep it from its permits, as [`PollAction::Run`] says.
    fn run_for_poll(self: Arc<Self>, waiter: &dyn Fn() -> Waiter);
    /// Takes the result if it is there. Otherwise registers the waiter.
    fn poll(&self, waiter: Option<Waiter>) -> Option<Result<T, JoinError>>;
    fn cancel(&self) -> bool;
    fn detach(&self);
}

/// Whether the calling thread is a worker of the task's pool and could run the task inside its own. The depth is bounded by how deep the
/// user's own waits nest.
fn can_run<I, T>(task_state: &TaskState<I, T>) -> bool {
    let meta = task_state.meta();
    current_worker::is_inside(meta.pool)
        && !task_state.is_scheduled()
        && meta.view().map_or(meta.run_here.is_some(), InView::can_run)
}

/// Runs the task on the calling worker, if it has not started.
fn run_if_unstarted<I: Send + 'static, T: Send + 'static>(task_state: &Arc<TaskState<I, T>>) {
    if let Some(view) = task_state.meta().view() {
        view.run();
        return;
    }
    let Some(run) = task_state.meta().run_here else { return };
    current_worker::run_here_unbounded(task_state.meta().pool, |completion| {
        match TaskRef::new(task_state).run_withdrawn(completion, |input, task_state| run(input, task_state)) {
            RunOutcome::Ran => RunOutcome::Ran,
            // The thread that started or cancelled the task counts it.
            _ => RunOutcome::Elsewhere,
        }
    });
}

/// Runs the task or one that comes before it, for a worker that waits with a deadline and is the last one that could make progress.
fn run_as_last_worker<I: Send + 'static, T: Send + 'static>(task_state: &Arc<TaskState<I, T>>) {
    match task_state.meta().view() {
        Some(view) => _ = view.run_next(),
        None => run_if_unstarted(task_state),
    }
}

/// Runs a task that has not started and that a worker of its own pool waits for. Not under a deadline, which could not be kept.
fn run_if_waited_for_inside<I: Send + 'static, T: Send + 'static>(
    task_state: &Arc<TaskState<I, T>>,
    deadline: Option<Instant>,
) {
    if deadline.is_none() && can_run(task_state) {
        run_if_unstarted(task_state);
    }
}

/// The poll of a future. `listen` registers a waiter with the task, in place of the one before, or returns the result.
///
/// On a worker of the task's pool this runs the task if no other worker is free to. A poll that leaves the task to others is registered, to
/// be repeated when they are no longer free.
pub(super) fn poll_future<T, O>(
    task_state: &Arc<dyn Joinable<T>>,
    waker: &Waker,
    mut listen: impl FnMut(Waiter) -> Option<O>,
) -> Option<O> {
    let (pool, waiter) = (task_state.pool(), &|| Waiter::Task(waker.clone()));
    if !current_worker::is_inside(pool) {
        return listen(waiter());
    }
    loop {
        match task_state.poll_action(waiter) {
            PollAction::Run => Arc::clone(task_state).run_for_poll(waiter),
            PollAction::LeaveToOthers => {
                let pending = PendingPoll::new(waker);
                if let Some(output) = listen(pending.waiter()) {
                    return Some(output);
                }
                current_worker::register_poll(pool, pending);
                if task_state.poll_action(waiter) != PollAction::Run {
                    break;
                }
            }
            PollAction::WaitForTime => {
                let pending = PendingPoll::new(waker);
                if let Some(output) = listen(pending.waiter()) {
                    return Some(output);
                }
                task_state.register_scheduled_poll(pending);
                if task_state.poll_action(waiter) == PollAction::WaitForTime {
                    break;
                }
            }
            PollAction::Wait => match listen(waiter()) {
                None => break,
                output => return output,
            },
        }
    }
    // The worker waits from now on. Other polls may rely on it.
    current_worker::notify_pending_polls(pool);
    None
}

fn into_join_result<I, T>(outcome: Outcome<I, T>) -> Option<Result<T, JoinError>> {
    match outcome {
        Outcome::Done(result) => Some(result),
        Outcome::TimedOut => None,
        Outcome::WouldDeadlock => Some(Err(JoinError::new(Cause::WouldDeadlock))),
        Outcome::Returned(_) | Outcome::Cancelled => Some(Err(JoinError::new(Cause::Cancelled))),
    }
}

impl<I: Send + 'static, T: Send + 'static> Joinable<T> for TaskState<I, T> {
    fn is_finished(&self) -> bool {
        TaskState::is_finished(self)
    }

    fn wait(self: Arc<Self>, deadline: Option<Instant>) -> Option<Result<T, JoinError>> {
        run_if_waited_for_inside(&self, deadline);
        loop {
            let can_run = deadline.is_some() && can_run(&self);
            match TaskState::wait(&*self, deadline, None, can_run) {
                Outcome::WouldDeadlock if can_run => run_as_last_worker(&self),
                outcome => return into_join_result(outcome),
            }
        }
    }

    fn run_inside(self: Arc<Self>) {
        run_if_waited_for_inside(&self, None);
        self.run_predecessors(|| Joinable::can_be_run(&*self));
    }

    fn has_started(&self) -> bool {
        TaskState::has_started(self)
    }

    fn await_end(
        self: Arc<Self>,
        deadline: Option<Instant>,
        token: Option<&CancelToken>,
        is_younger: bool,
    ) -> AwaitedEnd {
        run_if_waited_for_inside(&self, deadline);
        loop {
            let can_run = deadline.is_some() && can_run(&self);
            match TaskState::await_end(&*self, deadline, token, is_younger, can_run) {
                AwaitedEnd::WouldDeadlock if can_run => run_as_last_worker(&self),
                end => return end,
            }
        }
    }

    fn pool(&self) -> PoolId {
        self.meta().pool
    }

    fn can_run(&self) -> bool {
        can_run(self)
    }

    fn is_behind_caller(&self) -> bool {
        TaskState::is_behind_caller(self)
    }

    fn is_in_view(&self) -> bool {
        self.meta().view().is_some()
    }

    fn can_be_run(&self) -> bool {
        TaskState::can_be_run(self, || Waiter::Thread(current()))
    }

    fn listen(&self, waiter: Waiter) -> Option<u64> {
        TaskState::listen(self, waiter)
    }

    fn listen_beside(&self, waiter: Waiter) -> Option<u64> {
        TaskState::listen_beside(self, waiter)
    }

    fn failure(&self) -> Option<Option<JoinError>> {
        TaskState::failure(self)
    }

    fn relisten(&self, before: Option<u64>, waiter: Waiter) -> Option<u64> {
        TaskState::relisten(self, before, waiter)
    }

    fn stop_listening(&self, entry: u64) {
        TaskState::stop_listening(self, entry);
    }

    fn poll_action(&self, waiter: &dyn Fn() -> Waiter) -> PollAction {
        TaskState::poll_action(self, waiter)
    }

    fn register_scheduled_poll(&self, poll: Arc<PendingPoll>) {
        if let Some(schedule) = self.meta().schedule() {
            schedule.register_poll(poll);
        }
    }

    fn run_for_poll(self: Arc<Self>, waiter: &dyn Fn() -> Waiter) {
        match self.meta().view() {
            None => run_if_unstarted(&self),
            Some(_) => self.run_predecessors(|| TaskState::poll_action(&*self, waiter) == PollAction::Run),
        }
    }

    fn poll(&self, waiter: Option<Waiter>) -> Option<Result<T, JoinError>> {
        TaskState::poll(self, waiter).and_then(into_join_result)
    }

    fn cancel(&self) -> bool {
        TaskState::cancel(self)
    }

    fn detach(&self) {
        TaskState::detach(self);
    }
}
