//! A future without an executor.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Wake, Waker};

use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// A future that is polled on the threads that wake it. The poll of one may wake the next: `waking.rs` keeps such a chain from using
/// the stack in proportion.
pub(crate) struct DetachedFuture {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    /// Wake-ups that no poll has followed yet. The thread that makes it 1 polls.
    wake_ups: AtomicU64,
}

impl DetachedFuture {
    /// It is polled for the first time when it is woken.
    pub(crate) fn new(future: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        Arc::new(DetachedFuture { future: Mutex::new(Some(Box::pin(future))), wake_ups: AtomicU64::new(0) })
    }

    /// Drops the future, unless it is being polled or is over.
    pub(crate) fn abort(&self) {
        let future = self.future.lock().take();
        drop(future);
    }
}

impl Wake for DetachedFuture {
    fn wake(self: Arc<Self>) {
        // ORDERING: AcqRel: what was done before a wake-up is seen by the poll after it, on whichever thread.
        if self.wake_ups.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let waker = Waker::from(Arc::clone(&self));
        loop {
            // ORDERING: Acquire, as above.
            let seen = self.wake_ups.load(Ordering::Acquire);
            let mut future = self.future.lock().take();
            let is_over = match &mut future {
                Some(running) => running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready(),
                None => true,
            };
            if !is_over {
                *self.future.lock() = future;
            }
            // ORDERING: AcqRel, as above.
            if self.wake_ups.fetch_sub(seen, Ordering::AcqRel) == seen {
                return;
            }
        }
    }
}
