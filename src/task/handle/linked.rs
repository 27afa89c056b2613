//! Handles of tasks that enter a pool later, and what a worker does that waits for one.
//!
//! Such a task has a state of its own from the beginning. A worker that waits for it first waits for the tasks that it depends on, as for any
//! task, and so runs them if it must. Then it may run the task itself, though the task may not have entered yet.

use std::sync::Arc;
use std::time::Instant;

use super::awaited::Awaited;
use super::{Handle, Joinable};
use crate::cancel::CancelToken;
use crate::error::{Cause, JoinError};
use crate::sync::waiter::Waiter;
use crate::task::current_worker::{self, PoolId};
use crate::task::pending_polls::PendingPoll;
use crate::task::state::{AwaitedEnd, Cancellable, PollAction, TaskState};

/// What has to happen before a task can run.
pub(crate) trait Link: Send + Sync {
    /// A task that has not ended and must end first. The caller is a worker, which waits for it.
    fn next(&self) -> Option<Arc<dyn Awaited>>;
    /// Whether the pool has counted the task as submitted.
    fn has_entered(&self) -> bool;
    /// The task was cancelled before it entered.
    fn cancelled(&self);
}

/// A task that enters a pool later.
struct Linked<I, T> {
    task_state: Arc<TaskState<I, T>>,
    link: Arc<dyn Link>,
    /// The pool whose workers bring it to its end.
    pool: PoolId,
}

impl<T: Send + 'static> Handle<T> {
    /// The handle of a task that enters a pool later.
    pub(crate) fn linked<I: Send + 'static>(task_state: Arc<TaskState<I, T>>, link: Arc<dyn Link>) -> Self {
        let pool = task_state.meta().pool;
        Handle::linked_to(task_state, link, pool)
    }

    /// The handle of something that a task of `pool` brings to its end.
    pub(crate) fn linked_to<I>(task_state: Arc<TaskState<I, T>>, link: Arc<dyn Link>, pool: PoolId) -> Self
    where
        I: Send + 'static,
    {
        Handle::of(Arc::new(Linked { task_state, link, pool }))
    }

    /// Takes the result if it is there. Otherwise registers the waiter. Never runs the task.
    pub(crate) fn take_or_listen(&self, waiter: Waiter) -> Option<Result<T, JoinError>> {
        self.task_state.poll(Some(waiter))
    }
}

impl<I, T> Cancellable for Linked<I, T> {
    fn is_cancelled(&self) -> bool {
        self.task_state.is_cancelled()
    }

    fn token(&self) -> &CancelToken {
        self.task_state.token()
    }

    fn deadline(&self) -> Option<Instant> {
        self.task_state.deadline()
    }

    fn name(&self) -> Option<&str> {
        self.task_state.name()
    }
}

impl<I: Send + 'static, T: Send + 'static> Linked<I, T> {
    /// What a worker that waits for the task waits for first.
    fn next(&self) -> Option<Arc<dyn Awaited>> {
        if !current_worker::is_worker() || Joinable::is_finished(&*self.task_state) {
            return None;
        }
        self.link.next()
    }

    fn await_dependencies(&self, deadline: Option<Instant>) -> AwaitedEnd {
        while let Some(next) = self.next() {
            match next.await_end(deadline) {
                AwaitedEnd::Over => {}
                end => return end,
            }
        }
        AwaitedEnd::Over
    }

    /// Whether the calling worker can run the task, which no worker finds yet.
    fn can_run_outside(&self) -> bool {
        let task_state = &*self.task_state;
        !self.link.has_entered()
            && task_state.is_queued()
            && !Joinable::is_in_view(task_state)
            && Joinable::can_run(task_state)
    }

    fn state(&self) -> Arc<dyn Joinable<T>> {
        Arc::clone(&self.task_state) as _
    }
}

impl<I: Send + 'static, T: Send + 'static> Joinable<T> for Linked<I, T> {
    fn is_finished(&self) -> bool {
        Joinable::is_finished(&*self.task_state)
    }

    fn wait(self: Arc<Self>, deadline: Option<Instant>) -> Option<Result<T, JoinError>> {
        match self.await_dependencies(deadline) {
            AwaitedEnd::Over | AwaitedEnd::Cancelled => self.state().wait(deadline),
            AwaitedEnd::TimedOut => None,
            AwaitedEnd::WouldDeadlock => Some(Err(JoinError::new(Cause::WouldDeadlock))),
        }
    }

    fn run_inside(self: Arc<Self>) {
        while let Some(next) = self.next() {
            if !next.can_run() || next.has_started() {
                return;
            }
            next.run_inside();
            if !next.is_finished() {
                return;
            }
        }
        self.state().run_inside();
    }

    fn has_started(&self) -> bool {
        Joinable::has_started(&*self.task_state)
    }

    fn await_end(
        self: Arc<Self>,
        deadline: Option<Instant>,
        token: Option<&CancelToken>,
        is_younger: bool,
    ) -> AwaitedEnd {
        match self.await_dependencies(deadline) {
            AwaitedEnd::Over => self.state().await_end(deadline, token, is_younger),
            end => end,
        }
    }

    fn pool(&self) -> PoolId {
        self.pool
    }

    fn can_run(&self) -> bool {
        match self.next() {
            Some(next) => next.can_run() && !next.has_started(),
            None => Joinable::can_run(&*self.task_state),
        }
    }

    /// A worker that could not run it may do so later.
    fn is_in_view(&self) -> bool {
        true
    }

    fn is_behind_caller(&self) -> bool {
        Joinable::is_behind_caller(&*self.task_state)
    }

    fn can_be_run(&self) -> bool {
        match self.next() {
            Some(next) => next.can_be_run() || next.can_run() && !next.has_started(),
            None => {
                Joinable::can_be_run(&*self.task_state)
                    || !Joinable::is_in_view(&*self.task_state) && Joinable::can_run(&*self.task_state)
            }
        }
    }

    fn register_scheduled_poll(&self, poll: Arc<PendingPoll>) {
        Joinable::register_scheduled_poll(&*self.task_state, poll);
    }

    fn listen(&self, waiter: Waiter) -> Option<u64> {
        Joinable::listen(&*self.task_state, waiter)
    }

    fn listen_beside(&self, waiter: Waiter) -> Option<u64> {
        Joinable::listen_beside(&*self.task_state, waiter)
    }

    fn relisten(&self, before: Option<u64>, waiter: Waiter) -> Option<u64> {
        Joinable::relisten(&*self.task_state, before, waiter)
    }

    fn stop_listening(&self, entry: u64) {
        Joinable::stop_listening(&*self.task_state, entry);
    }

    fn poll_action(&self, waiter: &dyn Fn() -> Waiter) -> PollAction {
        match self.next() {
            Some(next) => next.poll_action(waiter),
            // It waits for room, so no worker is free to run it.
            None if self.can_run_outside() => PollAction::Run,
            None => Joinable::poll_action(&*self.task_state, waiter),
        }
    }

    fn run_for_poll(self: Arc<Self>, waiter: &dyn Fn() -> Waiter) {
        match self.next() {
            Some(next) => next.run_for_poll(waiter),
            None => self.state().run_for_poll(waiter),
        }
    }

    fn poll(&self, waiter: Option<Waiter>) -> Option<Result<T, JoinError>> {
        Joinable::poll(&*self.task_state, waiter)
    }

    fn failure(&self) -> Option<Option<JoinError>> {
        Joinable::failure(&*self.task_state)
    }

    fn cancel(&self) -> bool {
        if !self.link.has_entered() && self.task_state.is_queued() {
            let cancelled = CancelledOnDrop(&*self.link);
            if self.task_state.cancel_outside() {
                return true;
            }
            std::mem::forget(cancelled);
        }
        Joinable::cancel(&*self.task_state)
    }

    fn detach(&self) {
        Joinable::detach(&*self.task_state);
    }
}

/// Tells the link, also if the drop of what the task has captured panics.
struct CancelledOnDrop<'a>(&'a dyn Link);

impl Drop for CancelledOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancelled();
    }
}
