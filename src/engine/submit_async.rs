//! Waiting for room without a thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::blocking::WaitGuard;
use super::submit_options::SubmitOptions;
use super::{Engine, Runner};
use crate::cancel::{CancelToken, Cancelled};
use crate::error::{SubmitError, SubmitErrorKind};
#[cfg(feature = "tower")]
use crate::queue::DEFAULT_LANE;
use crate::queue::{Dispatch, LazyItem};
use crate::sync::Arc;
use crate::sync::waiter::Waiter;
use crate::task::current_worker;
use crate::task::state::TaskState;

/// A submission that is accepted when it is polled and there is room. It waits in the same queues as threads do. Dropping it leaves the
/// wait queue, notifies the next, and drops the task.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct SubmitFuture<'p, R: Runner, D: Dispatch, L> {
    engine: &'p Arc<Engine<R, D>>,
    options: SubmitOptions<'p>,
    /// `None` once it was accepted or refused.
    item: Option<L>,
    node: Option<WaitGuard<'p, R, D>>,
    /// Ready when its token, if it has one, is cancelled.
    cancelled: Option<Cancelled<'p>>,
}

impl<R: Runner, D: Dispatch, L> Unpin for SubmitFuture<'_, R, D, L> {}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Submits a task as soon as there is room, or gives up when the token of `options` is cancelled. A caller that polls the future with
    /// [`inline`](SubmitOptions::inline) must call [`ensure_workers`](Self::ensure_workers) when the task is accepted.
    pub(crate) fn submit_async<'p>(
        self: &'p Arc<Self>,
        item: R::Item,
        options: SubmitOptions<'p>,
    ) -> impl Future<Output = Result<(), SubmitError<R::Item>>> + Send + use<'p, R, D> {
        let submission = self.submit_lazy_async(Some(item), options);
        async move { submission.await.map_err(|refusal| refusal.map(|mut item| item.build())) }
    }

    /// The same for a task that is made when there is room.
    pub(crate) fn submit_lazy_async<'p, L: LazyItem<R::Item>>(
        self: &'p Arc<Self>,
        item: L,
        options: SubmitOptions<'p>,
    ) -> SubmitFuture<'p, R, D, L> {
        let cancelled = options.token().map(CancelToken::cancelled);
        SubmitFuture { engine: self, options, item: Some(item), node: None, cancelled }
    }

    /// The same for a task with a [`TaskState`]. On a refusal the input is taken back out of the state.
    pub(crate) async fn submit_state_async<'p, I, O>(
        self: &'p Arc<Self>,
        task_state: Arc<TaskState<I, O>>,
        item: R::Item,
        options: SubmitOptions<'p>,
    ) -> Result<Arc<TaskState<I, O>>, SubmitError<I>> {
        match self.submit_async(item, options).await {
            Ok(()) => {
                self.note_cancellable(task_state.meta().token.as_ref());
                Ok(task_state)
            }
            Err(refusal) => Err(task_state.refused(refusal.kind())),
        }
    }
}

#[cfg(feature = "tower")]
impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Waits until a task would find room, or the pool is closed.
    pub(crate) async fn room(&self) {
        let is_over = || self.is_closed() || self.exceeds_bound();
        let has_room = || self.has_room() || self.sweep() && self.has_room();
        if !is_over() && (self.wait_queue.waiting() > 0 || !has_room()) {
            // As a submission that fails, this concerns the workers that rely on it.
            let has_room = || has_room() || self.recheck_blocked();
            self.wait_queue.room(DEFAULT_LANE, has_room, is_over, || self.rechecks_when_dropped()).await;
        }
    }
}

impl<R: Runner, D: Dispatch, L: LazyItem<R::Item>> SubmitFuture<'_, R, D, L> {
    /// Tries once more. `None` if it must go on waiting.
    fn advance(&mut self, waker: &Waker) -> Option<Result<(), SubmitErrorKind>> {
        let Some(item) = &mut self.item else { unreachable!("it is polled while it has a task") };
        // A submission that is accepted at once needs no clone.
        let waiter = |options: &SubmitOptions<'_>| match options.is_inline() {
            true => Waiter::Inline(waker.clone()),
            false => Waiter::Task(waker.clone()),
        };
        if let Some(node) = &self.node {
            node.set_waiter(waiter(&self.options));
        } else {
            match self.engine.enter_now(item, &self.options) {
                Ok(true) => return Some(Ok(())),
                Ok(false) => match self.engine.overflow_async(item, &self.options) {
                    Ok(true) => return Some(Ok(())),
                    Ok(false) => self.node = self.engine.enqueue(&self.options, waiter(&self.options)),
                    Err(kind) => return Some(Err(kind)),
                },
                Err(kind) => return Some(Err(kind)),
            }
        }
        let Some(node) = &self.node else { return Some(Err(SubmitErrorKind::Overloaded)) };
        // Repeated until no notification came since the last attempt: an earlier one may have gone to the waker of an earlier poll.
        loop {
            match self.engine.retry_from_wait_queue(item, &self.options, node) {
                Ok(true) => return Some(Ok(())),
                Ok(false) if node.is_notified() => {}
                Ok(false) => return None,
                Err(kind) => return Some(Err(kind)),
            }
        }
    }

    /// The refusal, if the token is cancelled. Otherwise the poller is woken when it is.
    fn give_up(&mut self, poller: &mut Context<'_>) -> Option<SubmitErrorKind> {
        let cancelled = Pin::new(self.cancelled.as_mut()?);
        if cancelled.poll(poller).is_pending() {
            return None;
        }
        self.options.cancelled()
    }
}

impl<R: Runner, D: Dispatch, L: LazyItem<R::Item>> Future for SubmitFuture<'_, R, D, L> {
    type Output = Result<(), SubmitError<L>>;

    /// # Panics
    /// If it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.item.is_some(), "polled after it was ready");
        let Some(result) = self.advance(poller.waker()).or_else(|| self.give_up(poller).map(Err)) else {
            if !self.options.is_inline() {
                // A worker of this pool waits for room now. Only the task of such a poll may make it.
                current_worker::notify_pending_polls(self.engine.id());
            }
            return Poll::Pending;
        };
        self.node = None;
        self.cancelled = None;
        if result.is_ok() && !self.options.is_inline() {
            // The entry in the wait queue is dropped by now.
            self.engine.ensure_workers();
        }
        let Some(item) = self.item.take() else { unreachable!("it was polled while it had a task") };
        Poll::Ready(result.map_err(|kind| {
            self.engine.note_refusal(&self.options, kind);
            SubmitError::new(kind, item)
        }))
    }
}
