//! Waiting for a token, as a thread, as a future, or as part of another wait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::{Duration, Instant};

use super::{CancelToken, earlier};
use crate::sync::clock;
use crate::sync::timer::{Alarm, TIMER};
use crate::sync::waiter::Waiter;
use crate::sync::waiter_list::Registration;
use crate::sync::{current, park};

impl CancelToken {
    /// Blocks until the token is cancelled.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// let other = token.clone();
    /// let thread = std::thread::spawn(move || other.cancel());
    /// token.wait();
    /// assert!(token.is_cancelled());
    /// # thread.join().unwrap();
    /// ```
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Blocks until the token is cancelled, for at most `limit`. Returns whether it is cancelled.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// assert!(!token.wait_timeout(std::time::Duration::from_millis(1)));
    /// ```
    #[must_use = "the token may not be cancelled when the time is up"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_until(clock::now().checked_add(limit))
    }

    fn wait_until(&self, limit: Option<Instant>) -> bool {
        let _registration = self.listen(Waiter::Thread(current()));
        loop {
            if self.is_cancelled() {
                return true;
            }
            if limit.is_some_and(|limit| clock::now() >= limit) {
                return false;
            }
            park(earlier(limit, self.deadline()));
        }
    }

    /// Returns a future that completes when the token is cancelled. Works on any executor.
    ///
    /// While futures wait for tokens with a time limit, one timer thread serves all of them. It runs no user code except their
    /// wakers, and ends about a second after the last wait. If the system refuses the thread, each poll sleeps for up to 8 ms
    /// and then wakes its future to be polled again.
    ///
    /// ```
    /// # fn block_on<F: std::future::Future>(f: F) -> F::Output {
    /// #     let mut f = std::pin::pin!(f);
    /// #     struct Unpark(std::thread::Thread);
    /// #     impl std::task::Wake for Unpark { fn wake(self: std::sync::Arc<Self>) { self.0.unpark() } }
    /// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    /// #     loop {
    /// #         match f.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
    /// #             std::task::Poll::Ready(out) => return out,
    /// #             std::task::Poll::Pending => std::thread::park(),
    /// #         }
    /// #     }
    /// # }
    /// let token = formicary::CancelToken::new();
    /// token.cancel_after(std::time::Duration::from_millis(1));
    /// block_on(token.cancelled());
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancelled(&self) -> Cancelled<'_> {
        Cancelled { token: self, registration: None, alarm: None }
    }

    /// Wakes `waiter` when the token is cancelled or its deadline changes, until the returned guard is dropped. Check the token
    /// after this call: a cancellation before it wakes nothing.
    pub(crate) fn listen(&self, waiter: Waiter) -> Registration<'_> {
        self.0.register(waiter)
    }
}

/// A future that completes when a token is cancelled. Made by [`CancelToken::cancelled`].
///
/// ```
/// let token = formicary::CancelToken::new();
/// let cancelled: formicary::Cancelled<'_> = token.cancelled();
/// # drop(cancelled);
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Cancelled<'a> {
    token: &'a CancelToken,
    registration: Option<Registration<'a>>,
    alarm: Option<Alarm>,
}

impl Future for Cancelled<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<()> {
        if !self.token.is_cancelled() {
            let waiter = || Waiter::Task(poller.waker().clone());
            self.registration = Some(self.token.listen(waiter()));
            self.alarm = self.token.deadline().map(|deadline| TIMER.at(deadline, waiter()));
            if !self.token.is_cancelled() {
                return Poll::Pending;
            }
        }
        // Drop the wakers now, not with the future.
        (self.registration, self.alarm) = (None, None);
        Poll::Ready(())
    }
}

impl fmt::Debug for Cancelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled").field("token", self.token).finish_non_exhaustive()
    }
}
