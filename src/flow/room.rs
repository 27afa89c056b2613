//! Waiting for room that is not a pool's, first come first served.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use crate::engine::wait_queue::{WaitNode, WaitQueue};
use crate::queue::DEFAULT_LANE;
use crate::queue::RoomOrder;
use crate::sync::clock;
use crate::sync::current;
use crate::sync::waiter::Waiter;

/// Those who wait for room. What the room is, its owner knows.
pub(super) struct Room(WaitQueue);

impl Room {
    pub(super) fn new() -> Self {
        Room(WaitQueue::new(RoomOrder::Separate))
    }

    /// How many wait that are sure to take what room there is.
    pub(super) fn reserved(&self) -> usize {
        self.0.reserved_for(DEFAULT_LANE)
    }

    pub(super) fn waiting(&self) -> usize {
        self.0.waiting()
    }

    /// There is room, as `has_room` says. Not under a lock.
    pub(super) fn notify(&self, has_room: impl Fn() -> bool) {
        self.0.notify_heads(|_, _| has_room());
    }

    /// All are to try again.
    pub(super) fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Blocks until `attempt` succeeds for the first in the queue, or for any caller whose attempt ends the wait, at most until `deadline`.
    /// `attempt` is told whether the caller is the first.
    pub(super) fn wait<T>(&self, deadline: Option<Instant>, mut attempt: impl FnMut(bool) -> Option<T>) -> Option<T> {
        let node = self.join(Waiter::Thread(current()))?;
        loop {
            if let Some(done) = self.retry(&node, &mut attempt) {
                return Some(done);
            }
            if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                return None;
            }
            node.wait(deadline);
        }
    }

    /// The same as a future.
    pub(super) async fn wait_async<T>(&self, mut attempt: impl FnMut(bool) -> Option<T>) -> Option<T> {
        let mut node = None;
        poll_fn(move |poller| {
            let waiter = Waiter::Task(poller.waker().clone());
            let node = match &mut node {
                Some(node) => {
                    WaitNode::set_waiter(node, waiter);
                    node
                }
                none => match self.join(waiter) {
                    Some(node) => none.insert(node),
                    None => return Poll::Ready(None),
                },
            };
            // Until it has not been notified since it tried: a notification before went to the waiter of an earlier poll.
            loop {
                match self.retry(node, &mut attempt) {
                    Some(done) => return Poll::Ready(Some(done)),
                    None if node.is_notified() => {}
                    None => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn join(&self, waiter: Waiter) -> Option<WaitNode<'_>> {
        self.0.join(DEFAULT_LANE, usize::MAX, waiter)
    }

    fn retry<T>(&self, node: &WaitNode<'_>, attempt: &mut impl FnMut(bool) -> Option<T>) -> Option<T> {
        let done = node.consume_notification(|| attempt(node.is_head()));
        if done.is_none() {
            self.0.pass_late_futures(|_| true);
        }
        done
    }
}
