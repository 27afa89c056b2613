//! Futures that wait for a pool to be closed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Engine, Runner};
use crate::queue::Dispatch;
use crate::sync::waiter::Waiter;
use crate::sync::waiter_list::Registration;

/// Completes when the pool is closed.
#[must_use = "futures do nothing unless they are polled"]
pub(crate) struct Closed<'e, R: Runner, D: Dispatch> {
    engine: &'e Engine<R, D>,
    registration: Option<Registration<'e>>,
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Completes when the pool is closed. It may miss a close that a [`restart`](crate::PoolControl::restart) follows at once.
    pub(crate) fn closed(&self) -> Closed<'_, R, D> {
        Closed { engine: self, registration: None }
    }
}

impl<R: Runner, D: Dispatch> Future for Closed<'_, R, D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<()> {
        let waiter = Waiter::Task(poller.waker().clone());
        match &self.registration {
            Some(registration) => registration.replace(waiter),
            None => self.registration = Some(self.engine.closing.register(waiter)),
        }
        // After the registration. The close comes before the wake-up of the list, so one of the two sees the other.
        if self.engine.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }
}
