//! A stand-in for `crossbeam-deque`, which loom cannot see into: a list under a lock. The assumption is that the real one keeps what its
//! documentation promises: each job is taken once, by its owner or by a thief, with what happened before its push. A steal may fail for
//! the moment; here it never does. The lock also orders more than the real deque does, so the models do not check the fences beside it alone.

use std::collections::VecDeque;

use super::{Arc, Mutex};

pub(crate) enum Steal<T> {
    Success(T),
    Empty,
    #[allow(dead_code)] // the real one says so
    Retry,
}

pub(crate) struct Worker<T>(Arc<Mutex<VecDeque<T>>>);

pub(crate) struct Stealer<T>(Arc<Mutex<VecDeque<T>>>);

impl<T> Worker<T> {
    pub(crate) fn new_lifo() -> Self {
        Worker(Arc::new(Mutex::new(VecDeque::new())))
    }

    pub(crate) fn stealer(&self) -> Stealer<T> {
        Stealer(Arc::clone(&self.0))
    }

    pub(crate) fn push(&self, job: T) {
        self.0.lock().push_back(job);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.lock().pop_back()
    }
}

impl<T> Stealer<T> {
    pub(crate) fn steal(&self) -> Steal<T> {
        self.0.lock().pop_front().map_or(Steal::Empty, Steal::Success)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}
