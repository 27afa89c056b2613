//! Waiting at the door without a thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::submit::{InLine, Way};
use super::{Engine, Runner};
use crate::cancel::{CancelToken, Cancelled};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::{Dispatch, Parcel};
use crate::sync::Arc;
use crate::sync::waiter::Waiter;
use crate::task::slot::Slot;

/// A task that enters when it is polled and there is room. It stands in the same line as threads that wait; dropping it
/// leaves the line and calls the next, and drops the task.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Entering<'p, R: Runner, D: Dispatch> {
    engine: &'p Arc<Engine<R, D>>,
    way: Way<'p>,
    /// `None` once it has entered or been refused.
    item: Option<R::Item>,
    place: Option<InLine<'p, R, D>>,
    /// Its token, if it has one.
    cancelled: Option<Cancelled<'p>>,
}

impl<R: Runner, D: Dispatch> Unpin for Entering<'_, R, D> {}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Submits a task as soon as there is room, or gives up when the token of its way is cancelled. Whoever polls a future that is
    /// [`inline`](Way::inline) has to [`staff`](Self::staff) when it is in.
    pub(crate) fn submit_async<'p>(self: &'p Arc<Self>, item: R::Item, way: Way<'p>) -> Entering<'p, R, D> {
        let cancelled = way.token().map(CancelToken::cancelled);
        Entering { engine: self, way, item: Some(item), place: None, cancelled }
    }

    /// The same with the task of a slot; on a refusal the input comes back out of it.
    pub(crate) async fn submit_slot_async<'p, I, O>(
        self: &'p Arc<Self>,
        slot: Arc<Slot<I, O>>,
        item: R::Item,
        way: Way<'p>,
    ) -> Result<Arc<Slot<I, O>>, SubmitError<I>> {
        match self.submit_async(item, way).await {
            Ok(()) => {
                self.note_cancellable(slot.terms().token.as_ref());
                Ok(slot)
            }
            Err(refusal) => Err(slot.refused(refusal.kind())),
        }
    }
}

impl<R: Runner, D: Dispatch> Entering<'_, R, D> {
    /// One more try; `None` if it has to wait on.
    fn advance(&mut self, waker: &Waker) -> Option<Result<(), SubmitErrorKind>> {
        // Whoever enters at once needs no clone.
        let waiter = |way: &Way<'_>| match way.is_inline() {
            true => Waiter::Inline(waker.clone()),
            false => Waiter::Task(waker.clone()),
        };
        if let Some(place) = &self.place {
            place.set_waiter(waiter(&self.way));
        } else {
            match self.engine.enter_at_once(&mut self.item, &self.way) {
                Ok(true) => return Some(Ok(())),
                Ok(false) => self.place = self.engine.join_line(&self.way, waiter(&self.way)),
                Err(kind) => return Some(Err(kind)),
            }
        }
        let Some(place) = &self.place else { return Some(Err(SubmitErrorKind::Overloaded)) };
        // Until it has not been called since it looked: a call before that went to the waiter of an earlier poll.
        loop {
            match self.engine.enter_from_line(&mut self.item, &self.way, place) {
                Ok(true) => return Some(Ok(())),
                Ok(false) if place.is_called() => {}
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
        self.way.cancelled()
    }
}

impl<R: Runner, D: Dispatch> Future for Entering<'_, R, D> {
    type Output = Result<(), SubmitError<R::Item>>;

    /// # Panics
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.item.is_some(), "polled after it was ready");
        let Some(result) = self.advance(poller.waker()).or_else(|| self.give_up(poller).map(Err)) else {
            return Poll::Pending;
        };
        self.place = None;
        self.cancelled = None;
        if result.is_ok() && !self.way.is_inline() {
            // It has left the line.
            self.engine.staff();
        }
        Poll::Ready(result.map_err(|kind| {
            self.engine.counters.count_refusal(kind);
            SubmitError::new(kind, self.item.unpack())
        }))
    }
}
