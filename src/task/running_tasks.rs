//! The running tasks that can be told to stop, for a shutdown that is tired of waiting.

use std::collections::BTreeMap;

use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// A running task, whatever its types.
pub(crate) trait Stop: Send + Sync {
    fn stop(&self);
}

/// Whether the time of a shutdown is over, so that what still runs should stop.
#[derive(Default)]
pub struct Overdue(AtomicBool);

impl Overdue {
    pub(crate) fn is_set(&self) -> bool {
        // ORDERING: Acquire pairs with `set`: who sees it sees what happened before the shutdown gave up.
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, overdue: bool) {
        // ORDERING: Release, see `is_set`.
        self.0.store(overdue, Ordering::Release);
    }
}

/// Only tasks that were submitted with a token are here; the others cannot be told anything.
#[derive(Default)]
pub(crate) struct RunningTasks(Mutex<Running>);

#[derive(Default)]
struct Running {
    tasks: BTreeMap<u64, Arc<dyn Stop>>,
    next: u64,
}

impl RunningTasks {
    /// The task runs, until [`remove`](Self::remove) is called with the answer.
    pub(crate) fn insert(&self, task: Arc<dyn Stop>) -> u64 {
        let mut running = self.0.lock();
        let key = running.next;
        running.next += 1;
        running.tasks.insert(key, task);
        key
    }

    pub(crate) fn remove(&self, key: u64) {
        // What was taken out is dropped without the lock: it may be the last of the task.
        let remove = self.0.lock().tasks.remove(&key);
        drop(remove);
    }

    /// Tells all that run to stop. At the end of the pool only.
    pub(crate) fn stop_all(&self) {
        let tasks: Vec<_> = self.0.lock().tasks.values().cloned().collect();
        tasks.iter().for_each(|task| task.stop());
    }
}
