//! What an engine knows of the views of its pool: how many tasks wait in them, and where.

use std::collections::BTreeMap;
use std::sync::Weak;

use super::{Engine, Runner};
use crate::queue::{Dispatch, Load};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use crate::task::closure::Task;
use crate::task::liveness::Liveness;

/// A view, as a look for what is dead knows it.
pub(crate) trait SweptView: Send + Sync {
    /// Takes out the waiting tasks that are dead, of which the engine has one less in views then. Drops nothing.
    fn sweep(&self, is_dead: &mut dyn FnMut(Liveness) -> bool) -> Vec<Task>;
    /// Drops what was taken out, and lets in those who wait for the room.
    fn discard_all(&self, swept: Vec<Task>);
}

#[derive(Default)]
pub(super) struct Views {
    /// Tasks that a view has taken in and not brought to the queue yet.
    waiting: AtomicUsize,
    /// By address.
    all: Mutex<BTreeMap<usize, Weak<dyn SweptView>>>,
}

impl Views {
    /// All that are there.
    pub(super) fn all(&self) -> Vec<Arc<dyn SweptView>> {
        self.all.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// There is a view at this address, until [`remove_view`](Self::remove_view).
    pub(crate) fn add_view(&self, address: usize, view: Weak<dyn SweptView>) {
        self.views.all.lock().insert(address, view);
    }

    pub(crate) fn remove_view(&self, address: usize) {
        let removed = self.views.all.lock().remove(&address);
        drop(removed);
    }

    /// Counts one more task that waits in a view. Where that is `bounded`, only if the pool has room for it beside all those that
    /// wait in views already: so they have one bound together, which is the pool's; says whether it has.
    pub(crate) fn keep_in_view(&self, bounded: bool) -> bool {
        let bound = self.settings.queue().filter(|_| bounded);
        let room = bound.map_or(usize::MAX, |queue| self.capacity().saturating_add(queue));
        let load = if bound.is_some() { self.load() } else { Load::default() };
        let more = |waiting| (load.queued + load.running + waiting < room).then_some(waiting + 1);
        // ORDERING: Relaxed. The number is all that it tells.
        self.views.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// So many tasks have left their views.
    pub(crate) fn left_views(&self, tasks: usize) {
        // ORDERING: Relaxed, as above.
        self.views.waiting.fetch_sub(tasks, Ordering::Relaxed);
    }
}
