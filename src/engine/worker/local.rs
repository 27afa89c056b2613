//! What the tasks of a worker use of it: its list of tasks, its deque of jobs, and its counters.

use std::cell::OnceCell;
use std::rc::Rc;

use crossbeam_utils::CachePadded;

use crate::engine::counters::Tally;
use crate::engine::{Engine, Runner};
use crate::queue::deques::LocalDeque;
use crate::queue::{Dispatch, OwnQueue};
use crate::sync::Arc;
use crate::task::current_worker;
use crate::task::state::JobRef;

/// Found through the calling thread.
pub(crate) struct WorkerLocal<T> {
    pub(in crate::engine) worker: usize,
    pub(in crate::engine) tally: Arc<CachePadded<Tally>>,
    /// What `submit` queues.
    pub(in crate::engine) queue: Rc<OwnQueue<T>>,
    /// What forks and scopes push. Made when it is first needed.
    pub(in crate::engine) deque: OnceCell<LocalDeque<JobRef>>,
}

impl<T> WorkerLocal<T> {
    /// The number of the worker.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// How many jobs the worker has pushed and not taken back. Some may have been stolen.
    #[inline]
    pub(crate) fn height(&self) -> usize {
        self.deque.get().map_or(0, LocalDeque::height)
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Calls `f` with what is the calling worker's. `None` if the calling thread is not a worker of this pool.
    #[inline]
    pub(crate) fn with_local<O>(&self, f: impl FnOnce(Option<&WorkerLocal<R::Item>>) -> O) -> O {
        current_worker::with_local(self.id(), f)
    }

    #[inline]
    pub(crate) fn deque_of<'l>(&self, local: &'l WorkerLocal<R::Item>) -> &'l LocalDeque<JobRef> {
        local.deque.get_or_init(|| self.deques.register(local.worker))
    }
}
