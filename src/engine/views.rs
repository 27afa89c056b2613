//! The limited views of a pool, as its engine knows them: how many tasks wait in them, and where they are.

use std::collections::BTreeMap;
use std::sync::Weak;

use super::{Engine, Runner};
use crate::queue::{Dispatch, Load};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use crate::task::closure::Task;
use crate::task::liveness::Liveness;

/// A view, as a sweep knows it.
pub(crate) trait SweptView: Send + Sync {
    /// Takes out the waiting tasks that are dead, and takes them off the engine's count of tasks in views. Drops nothing.
    fn sweep(&self, is_dead: &mut dyn FnMut(Liveness) -> bool) -> Vec<Task>;
    /// Drops the tasks that were taken out, and admits submitters that wait for the room.
    fn discard_all(&self, swept: Vec<Task>);
}

#[derive(Default)]
pub(super) struct Views {
    /// Tasks that a view has accepted and has not brought to the queue yet.
    waiting: AtomicUsize,
    /// By address.
    all: Mutex<BTreeMap<usize, Weak<dyn SweptView>>>,
}

impl Views {
    /// All views that are alive.
    pub(super) fn all(&self) -> Vec<Arc<dyn SweptView>> {
        self.all.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Adds the view at this address. [`remove_view`](Self::remove_view) removes it.
    pub(crate) fn add_view(&self, address: usize, view: Weak<dyn SweptView>) {
        self.views.all.lock().insert(address, view);
    }

    pub(crate) fn remove_view(&self, address: usize) {
        let removed = self.views.all.lock().remove(&address);
        drop(removed);
    }

    /// Counts one more task that waits in a view. If `bounded`, it does so only if the pool has room for the task beside all those that
    /// wait in views, so that all views together have the bound of the pool. Returns whether it did.
    pub(crate) fn keep_in_view(&self, bounded: bool) -> bool {
        let bound = self.settings.queue().filter(|_| bounded);
        let room = bound.map_or(usize::MAX, |queue| self.capacity().saturating_add(queue));
        let load = if bound.is_some() { self.load() } else { Load::default() };
        let more = |waiting| (load.queued + load.running + waiting < room).then_some(waiting + 1);
        // ORDERING: Relaxed. Only the number counts.
        self.views.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Takes this number of tasks off the count, because they have left their views.
    pub(crate) fn left_views(&self, tasks: usize) {
        // ORDERING: Relaxed, as above.
        self.views.waiting.fetch_sub(tasks, Ordering::Relaxed);
    }
}
