//! Binding the pool's own threads to processors: the feature `pin`.

use core_affinity::CoreId;

use super::WorkerThread;

/// The processors that the building thread may use, in the system's order.
#[derive(Clone)]
pub(crate) struct Processors(Vec<CoreId>);

impl Processors {
    /// Empty where the system does not tell.
    pub(crate) fn of_thread() -> Self {
        Processors(core_affinity::get_core_ids().unwrap_or_default())
    }

    /// The thread, which binds itself to its processor before it becomes a worker. It stays unbound if the system refuses.
    pub(crate) fn bind(&self, thread: WorkerThread) -> WorkerThread {
        let Some(turn) = thread.index.checked_rem(self.0.len()) else { return thread };
        let processor = self.0[turn];
        let body = thread.body;
        let bound = move || {
            core_affinity::set_for_current(processor);
            body();
        };
        WorkerThread { body: Box::new(bound), ..thread }
    }
}
