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
pub struct Bell {
    rung: AtomicUsize,
    thread: thread::Thread,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, SeqCst);
        self.thread.unpark();
    }
}

impl Bell {
    pub fn new() -> Arc<Self> {
        Arc::new(Bell { rung: AtomicUsize::new(0), thread: thread::current() })
    }

    pub fn rung(&self) -> usize {
        self.rung.load(SeqCst)
    }
}

pub fn poll_with<F: Future + ?Sized>(future: Pin<&mut F>, bell: &Arc<Bell>) -> Poll<F::Output> {
    future.poll(&mut Poller::from_waker(&Waker::from(Arc::clone(bell))))
}

/// An executor of one future. It polls only when it was woken: a lost wake-up hangs, and [`LIMIT`] makes a failure of that.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let (mut future, bell) = (pin!(future), Bell::new());
    let (mut polled_at, end) = (usize::MAX, Instant::now() + LIMIT);
    loop {
        let rung = bell.rung();
        if rung == polled_at {
            assert!(Instant::now() < end, "it is not woken");
            thread::park_timeout(LIMIT);
            continue;
        }
        polled_at = rung;
        if let Poll::Ready(output) = poll_with(future.as_mut(), &bell) {
            return output;
        }
    }
}
