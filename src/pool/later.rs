//! Tasks that are made now and enter their pool later.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::accepts::{Accepts, Takes};
use super::admit::Admit;
use super::verbs::{self, TaskOptions};
use crate::cancel::CancelToken;
use crate::engine::{Runner, SubmitOptions, WaitMode};
use crate::error::{Cause, JoinError, SubmitErrorKind};
use crate::queue::KeptLane;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, waking};
use crate::task::state::TaskState;

/// A task with a state, and what it needs to enter a pool or view. Dropping it cancels the task.
pub(crate) struct Later<S: Admit, I, O> {
    pub(super) entrance: S,
    pub(super) item: <S::Runner as Runner>::Item,
    pub(super) options: SubmitOptions<'static>,
    /// The lane of its tenant, until it is in.
    pub(super) tenant: Option<KeptLane>,
    /// Counts from when the task begins to enter.
    pub(super) room_timeout: Option<Duration>,
    pub(crate) task_state: Arc<TaskState<I, O>>,
}

impl<S: Admit, I, O> Later<S, I, O> {
    /// A task for `x`, without options, at the entrance of a `P`, which its submitter has accepted before.
    pub(crate) fn at<P>(entrance: S, x: I) -> Self
    where
        P: Accepts<I, Shared = S, Runner = S::Runner, Output = O>,
        I: Send + 'static,
    {
        let options = SubmitOptions::from(WaitMode::Forever).accepted();
        Later::new::<P>(entrance, x, TaskOptions::default(), options, None, None)
    }

    pub(super) fn new<P>(
        entrance: S,
        x: I,
        task_options: TaskOptions,
        options: SubmitOptions<'static>,
        tenant: Option<KeptLane>,
        room_timeout: Option<Duration>,
    ) -> Self
    where
        P: Accepts<I, Shared = S, Runner = S::Runner, Output = O>,
        I: Send + 'static,
    {
        let task_state = verbs::task_state_at(&entrance, x, task_options, false, <P::Runner as Takes<I>>::RUN_HERE);
        Later { item: P::Runner::answered(&task_state), entrance, options, tenant, room_timeout, task_state }
    }
}

impl<S: Admit, I: Send + 'static, O: Send + 'static> Later<S, I, O> {
    /// Ends the task before it has entered. Has no effect on one that has been run by its waiter, or cancelled.
    pub(crate) fn fail(self, error: JoinError) {
        let Later { entrance, task_state, item, .. } = self;
        fail(&entrance, &task_state, error);
        // It refers to a task that is over.
        drop(item);
    }

    /// Waits for room, and enters; returns whether it has. A task that is refused ends with the reason. The future is for a
    /// [`DetachedFuture`](crate::sync::detached_future::DetachedFuture): it is polled where it is woken. On a worker of the pool, which has
    /// ended what the task waited for, it enters as a task that this worker submits.
    pub(crate) async fn enter(self) -> bool {
        let Later { entrance, item, options, tenant, room_timeout, task_state } = self;
        let token = task_state.meta().token.as_ref();
        // A future has no other way to give up than its token, so a limit becomes a child of it.
        let room = room_timeout.map(|limit| {
            let room = token.map_or_else(CancelToken::new, CancelToken::child);
            room.cancel_after(limit);
            room
        });
        let view = task_state.meta().view();
        let options = options.with_token(room.as_ref().or(token)).inline();
        let unentered = Unentered { entrance: &entrance, task_state: &task_state };
        let admission = admit_unless_over(entrance.admit_async(item, view, options), &*task_state);
        let Some(admitted) = admission.await else { return false };
        drop(tenant);
        std::mem::forget(unentered);
        match admitted {
            Ok(()) => {
                let engine = Arc::clone(entrance.engine());
                engine.note_cancellable(token);
                // An inline worker runs tasks.
                waking::defer(move || engine.ensure_workers());
                true
            }
            Err(refusal) => {
                let is_late = token.is_some_and(CancelToken::is_cancelled);
                let error = JoinError::new(match refusal.kind() {
                    SubmitErrorKind::Cancelled => Cause::Cancelled,
                    SubmitErrorKind::TimedOut if is_late => Cause::Expired,
                    kind => Cause::Refused(kind),
                });
                fail(&entrance, &task_state, error);
                false
            }
        }
    }
}

/// What the admission returns; `None` if the task is over before, because it was cancelled, or run by its waiter.
async fn admit_unless_over<A: Future, I, O>(admission: A, task_state: &TaskState<I, O>) -> Option<A::Output> {
    let mut admission = pin!(admission);
    let mut listening = Listening { task_state, entry: None };
    poll_fn(|poller| {
        if let Poll::Ready(admitted) = admission.as_mut().poll(poller) {
            return Poll::Ready(Some(admitted));
        }
        // A detached future has the same waker in each poll.
        if listening.entry.is_none() {
            listening.entry = task_state.listen_beside(Waiter::Inline(poller.waker().clone()));
        }
        if listening.entry.is_none() || task_state.is_finished() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// An entry among those who wait for the end of a task.
struct Listening<'a, I, O> {
    task_state: &'a TaskState<I, O>,
    entry: Option<u64>,
}

impl<I, O> Drop for Listening<'_, I, O> {
    fn drop(&mut self) {
        self.entry.into_iter().for_each(|entry| self.task_state.stop_listening(entry));
    }
}

/// A task that has not entered. If a worker that waited for it has run it, the drop of this counts it as submitted: the pool counts it as ended.
struct Unentered<'a, S: Admit, I, O> {
    entrance: &'a S,
    task_state: &'a TaskState<I, O>,
}

impl<S: Admit, I, O> Drop for Unentered<'_, S, I, O> {
    fn drop(&mut self) {
        if self.task_state.was_taken_outside() {
            self.entrance.engine().note_direct();
        }
    }
}

fn fail<S: Admit, I: Send, O: Send>(entrance: &S, task_state: &TaskState<I, O>, error: JoinError) {
    let engine = entrance.engine();
    let has_failed = task_state.fail_outside(error, |input| _ = engine.catch_user_panic(|| drop(input)));
    // A worker that waited for it has run it, which counts as a completed task of the pool.
    if !has_failed && task_state.was_taken_outside() {
        engine.note_direct();
    }
}
