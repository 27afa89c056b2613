//! Waiting at the door without a thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::submit::{SubmitOptions, WaitGuard};
use super::{Engine, Runner};
use crate::cancel::{CancelToken, Cancelled};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::{Dispatch, LazyItem};
use crate::sync::Arc;
use crate::sync::waiter::Waiter;
use crate::task::state::TaskState;

/// A task that enters when it is polled and there is room. It stands in the same line as threads that wait; dropping it
/// leaves the line and calls the next, and drops the task.
#[must_use = "futures do nothing with_token polled"]
pub(crate) struct SubmitFuture<'p, R: Runner, D: Dispatch, L> {
    engine: &'p Arc<Engine<R, D>>,
    options: SubmitOptions<'p>,
    /// `None` once it has entered or been refused.
    item: Option<L>,
    place: Option<WaitGuard<'p, R, D>>,
    /// Its token, if it has one.
    cancelled: Option<Cancelled<'p>>,
}

impl<R: Runner, D: Dispatch, L> Unpin for SubmitFuture<'_, R, D, L> {}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Submits a task as soon as there is room, or gives up when the token of its way is cancelled. Whoever polls a future that is
    /// [`inline`](SubmitOptions::inline) has to [`ensure_workers`](Self::ensure_workers) when it is in.
    pub(crate) fn submit_async<'p>(
        self: &'p Arc<Self>,
        item: R::Item,
        options: SubmitOptions<'p>,
    ) -> impl Future<Output = Result<(), SubmitError<R::Item>>> + Send + use<'p, R, D> {
        let entering = self.submit_lazy_async(Some(item), options);
        async move { entering.await.map_err(|refusal| refusal.map(|mut item| item.build())) }
    }

    /// The same with the task of a slot; on a refusal the input comes back out of it.
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

    /// The same for a task that is made when there is room.
    pub(crate) fn submit_lazy_async<'p, L: LazyItem<R::Item>>(
        self: &'p Arc<Self>,
        item: L,
        options: SubmitOptions<'p>,
    ) -> SubmitFuture<'p, R, D, L> {
        let cancelled = options.token().map(CancelToken::cancelled);
        SubmitFuture { engine: self, options, item: Some(item), place: None, cancelled }
    }
}

impl<R: Runner, D: Dispatch, L: LazyItem<R::Item>> SubmitFuture<'_, R, D, L> {
    /// One more try; `None` if it has to wait on.
    fn advance(&mut self, waker: &Waker) -> Option<Result<(), SubmitErrorKind>> {
        let Some(item) = &mut self.item else { unreachable!("it is polled while it has a task") };
        // Whoever enters at once needs no clone.
        let waiter = |options: &SubmitOptions<'_>| match options.is_inline() {
            true => Waiter::Inline(waker.clone()),
            false => Waiter::Task(waker.clone()),
        };
        if let Some(place) = &self.place {
            place.set_waiter(waiter(&self.options));
        } else {
            match self.engine.enter_now(item, &self.options) {
                Ok(true) => return Some(Ok(())),
                Ok(false) => self.place = self.engine.enqueue(&self.options, waiter(&self.options)),
                Err(kind) => return Some(Err(kind)),
            }
        }
        let Some(place) = &self.place else { return Some(Err(SubmitErrorKind::Overloaded)) };
        // Until it has not been called since it looked: a call before that went to the waiter of an earlier poll.
        loop {
            match self.engine.retry_from_queue(item, &self.options, place) {
                Ok(true) => return Some(Ok(())),
                Ok(false) if place.is_notified() => {}
                Ok(false) => return None,
                Err(kind) => return Some(Err(kind)),
            }
        }
    }

    /// The refusal if its token is cancelled; otherwise the poller is woken when it is.
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
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.item.is_some(), "polled after it was ready");
        let Some(result) = self.advance(poller.waker()).or_else(|| self.give_up(poller).map(Err)) else {
            return Poll::Pending;
        };
        self.place = None;
        self.cancelled = None;
        if result.is_ok() && !self.options.is_inline() {
            // It has left the line.
            self.engine.ensure_workers();
        }
        let Some(item) = self.item.take() else { unreachable!("it was polled while it had a task") };
        Poll::Ready(result.map_err(|kind| {
            self.engine.note_refusal(&self.options, kind);
            SubmitError::new(kind, item)
        }))
    }
}
