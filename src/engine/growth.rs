//! Starting fewer workers than there are tasks ([`Builder::grow_when`](crate::Builder::grow_when)).
//!
//! A pool that waits for a longer queue relies on the living workers to run what is queued. A worker that waits for its own pool inside
//! a task does not, and the task that it waits for may be the one that is queued. So it is counted before it looks at the queue, and while
//! one is counted, workers are started as without this setting.

use super::{Engine, Runner};
use crate::queue::{Dispatch, Load};
use crate::sync::{AtomicUsize, Ordering, fence};

#[derive(Default)]
pub(super) struct Growth {
    /// Workers that wait for their own pool inside a task. It stays 0 where the setting is 0.
    waiting: AtomicUsize,
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Whether the queue has to get longer before one more worker is started. `able` workers are alive and take tasks.
    #[cold]
    pub(super) fn leaves_to_living(&self, load: Load, able: usize) -> bool {
        let per_worker = self.options.grow_when;
        if per_worker == 0 || able == 0 || load.queued > per_worker.saturating_mul(able) {
            return false;
        }
        let unfinished = load.queued + load.running;
        let is_full = self.settings.queue().is_some_and(|queue| unfinished >= self.capacity().saturating_add(queue));
        // ORDERING: SeqCst fence between the push and this look at the count. It pairs with the one in `begin_wait`: either this sees the
        // worker that waits, or that sees the task.
        fence(Ordering::SeqCst);
        // ORDERING: Relaxed, because of the fence.
        let waits_inside = self.growth.waiting.load(Ordering::Relaxed) > 0;
        !is_full && !waits_inside && self.wait_queue.waiting() == 0
    }

    /// Starts workers for what is queued, if the queue was to get longer first: the caller waits, for room or for a task.
    pub(super) fn grow_for_waiter(&self) {
        if self.begin_counted_wait() {
            self.end_counted_wait();
        }
    }

    /// See [`CurrentPool::begin_wait`](crate::task::current_worker::CurrentPool::begin_wait).
    pub(super) fn begin_counted_wait(&self) -> bool {
        if self.options.grow_when == 0 {
            return false;
        }
        // ORDERING: Relaxed, because of the fence, which is the one that `leaves_to_living` names.
        self.growth.waiting.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if let Some(engine) = self.shared() {
            // A refused thread is counted.
            drop(engine.spawn_to_demand());
        }
        true
    }

    /// Ends a wait that was counted.
    pub(super) fn end_counted_wait(&self) {
        // ORDERING: Relaxed. A thread that reads too many starts a worker more.
        self.growth.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
