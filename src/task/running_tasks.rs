//! The running tasks that can be told to stop, for a shutdown whose time is over.

use std::collections::BTreeMap;

use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// A running task, whatever its types.
pub(crate) trait Stop: Send + Sync {
    fn stop(&self);
}

/// Whether the time of a shutdown is over, so that running tasks should stop.
#[derive(Default)]
pub struct Overdue(AtomicBool);

impl Overdue {
    pub(crate) fn is_set(&self) -> bool {
        // ORDERING: Acquire pairs with `set`: a task that sees the flag sees what happened before the shutdown gave up.
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, overdue: bool) {
        // ORDERING: Release, see `is_set`.
        self.0.store(overdue, Ordering::Release);
    }
}

/// Contains only tasks that were submitted with a token. Other tasks cannot be told.
#[derive(Default)]
pub(crate) struct RunningTasks(Mutex<Running>);

#[derive(Default)]
struct Running {
    tasks: BTreeMap<u64, Arc<dyn Stop>>,
    next: u64,
}

impl RunningTasks {
    /// Adds a running task. The returned key is for [`remove`](Self::remove).
    pub(crate) fn insert(&self, task: Arc<dyn Stop>) -> u64 {
        let mut running = self.0.lock();
        let key = running.next;
        running.next += 1;
        running.tasks.insert(key, task);
        key
    }

    pub(crate) fn remove(&self, key: u64) {
        // The task is dropped without the lock: this may be its last reference.
        let remove = self.0.lock().tasks.remove(&key);
        drop(remove);
    }

    /// Tells all running tasks to stop. Only for the end of the pool.
    pub(crate) fn stop_all(&self) {
        let tasks: Vec<_> = self.0.lock().tasks.values().cloned().collect();
        tasks.iter().for_each(|task| task.stop());
    }
}
