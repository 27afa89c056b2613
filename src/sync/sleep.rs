//! A future that completes at a time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::sync::clock;
use crate::sync::timer::{Alarm, TIMER};
use crate::sync::waiter::Waiter;

/// Completes at `until`, and is woken by the timer thread. Dropping it cancels the alarm.
#[must_use = "futures do nothing unless they are polled"]
pub(crate) struct Sleep {
    until: Instant,
    alarm: Option<Alarm>,
}

impl Sleep {
    pub(crate) fn until(until: Instant) -> Self {
        Sleep { until, alarm: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<()> {
        // The earlier poll may have had another waker.
        self.alarm = None;
        if clock::now() >= self.until {
            return Poll::Ready(());
        }
        self.alarm = Some(TIMER.at(self.until, Waiter::Task(poller.waker().clone())));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};
    use std::thread::{self, Thread};
    use std::time::Duration;

    use super::*;
    use crate::sync::Arc;

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    #[test]
    fn it_completes_at_its_time() {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let until = clock::now() + Duration::from_millis(5);
        let mut sleep = Sleep::until(until);
        while Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)).is_pending() {
            thread::park();
        }
        assert!(clock::now() >= until);
        assert!(sleep.alarm.is_none());
    }
}
