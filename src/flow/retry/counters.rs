//! The figures of retries, and the results that are due.

use crate::error::JoinError;
use crate::flow::retry::keys::Held;
use crate::sync::{Arc, AtomicU64, AtomicUsize, Ordering};
use crate::task::state::Promise;

/// The figures of a [`Retrying`](crate::Retrying) and its clones. The attempts are in the pool's own: each is a task of it.
///
/// When nothing is under way, `submitted = succeeded + failed + cancelled`.
///
/// ```
/// use formicary::{Pool, Retry};
///
/// let pool = Pool::new(1)?;
/// let retrying = pool.retrying(Retry::fixed(std::time::Duration::ZERO).attempts(3));
/// retrying.run(|| Err::<(), _>("no"))?.unwrap_err();
/// let stats = retrying.stats();
/// assert_eq!((stats.submitted, stats.failed, stats.retried), (1, 1, 2));
/// assert_eq!(pool.stats().submitted, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryStats {
    /// Tasks that were accepted.
    pub submitted: u64,
    /// Tasks that have succeeded.
    pub succeeded: u64,
    /// Tasks that were given up, other than by a cancel. They are the dead letters, if there are any.
    pub failed: u64,
    /// Tasks that were cancelled or given back.
    pub cancelled: u64,
    /// Failed attempts that another one follows, or was to follow.
    pub retried: u64,
    /// Tasks that wait for their next attempt now.
    pub waiting: usize,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) submitted: AtomicU64,
    pub(super) succeeded: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) retried: AtomicU64,
    waiting: AtomicUsize,
}

impl Counters {
    pub(super) fn stats(&self) -> RetryStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RetryStats {
            submitted: get(&self.submitted),
            succeeded: get(&self.succeeded),
            failed: get(&self.failed),
            cancelled: get(&self.cancelled),
            retried: get(&self.retried),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Counts a task as waiting until the guard is dropped.
    pub(super) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(Arc::clone(self))
    }
}

pub(super) struct Waiting(Arc<Counters>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The result of a task, which is due. Dropped before, it is counted and announced as cancelled, if the task was accepted.
pub(super) struct Due<T: Send + 'static> {
    promise: Option<Promise<T>>,
    counters: Option<Arc<Counters>>,
    key: Option<Held>,
}

impl<T: Send + 'static> Due<T> {
    pub(super) fn new(promise: Promise<T>, key: Option<Held>) -> Self {
        Due { promise: Some(promise), counters: None, key }
    }

    /// The task was accepted.
    pub(super) fn accept(&mut self, counters: &Arc<Counters>) {
        counters.submitted.fetch_add(1, Ordering::Relaxed);
        self.counters = Some(Arc::clone(counters));
    }

    /// Announces the result, which `counter` counts. The task's key is free before.
    pub(super) fn settle(mut self, counter: impl FnOnce(&Counters) -> &AtomicU64, result: Result<T, JoinError>) {
        if let Some(counters) = self.counters.take() {
            counter(&counters).fetch_add(1, Ordering::Relaxed);
        }
        self.key = None;
        if let Some(promise) = self.promise.take() {
            promise.settle(result);
        }
    }
}

impl<T: Send + 'static> Drop for Due<T> {
    fn drop(&mut self) {
        if let Some(counters) = &self.counters {
            counters.cancelled.fetch_add(1, Ordering::Relaxed);
        }
        self.key = None;
    }
}
