//! Executors by hand.
#![allow(dead_code, unreachable_pub)] // every test file uses its own part

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as Poller, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use super::LIMIT;

/// A waker that counts, and unparks the thread that made it.
pub struct CountingWaker {
    wakes: AtomicUsize,
    thread: thread::Thread,
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, SeqCst);
        self.thread.unpark();
    }
}

impl CountingWaker {
    pub fn new() -> Arc<Self> {
        Arc::new(CountingWaker { wakes: AtomicUsize::new(0), thread: thread::current() })
    }

    pub fn wakes(&self) -> usize {
        self.wakes.load(SeqCst)
    }
}

pub fn poll_with<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Arc<CountingWaker>) -> Poll<F::Output> {
    future.poll(&mut Poller::from_waker(&Waker::from(Arc::clone(waker))))
}

/// An executor of one future. It polls only when it was woken: a lost wake-up hangs, and [`LIMIT`] makes a failure of that.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let (mut future, waker) = (pin!(future), CountingWaker::new());
    let (mut polled_at, end) = (usize::MAX, Instant::now() + LIMIT);
    loop {
        let wakes = waker.wakes();
        if wakes == polled_at {
            assert!(Instant::now() < end, "it is not woken");
            thread::park_timeout(LIMIT);
            continue;
        }
        polled_at = wakes;
        if let Poll::Ready(output) = poll_with(future.as_mut(), &waker) {
            return output;
        }
    }
}
