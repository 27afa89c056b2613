//! What an engine knows of the views of its pool: how many tasks wait in them, and where.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Instant;

use super::{Engine, Runner};
use crate::queue::{Dispatch, Load};
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use crate::task::liveness::Liveness;

/// Drops dead tasks that were taken out of a view, and notifies the submitters that wait for their room.
pub(crate) type Discard = Box<dyn FnOnce()>;

/// The limited views of a pool, as its engine knows them.
pub(crate) trait PoolViews: Send + Sync {
    /// Takes out the waiting tasks that are dead, and uncounts them here. Drops nothing: what is left to do is returned, if anything.
    fn sweep(self: Arc<Self>, is_dead: &mut dyn FnMut(Liveness) -> bool) -> Option<Discard>;
    /// Notifies the submitters that are behind futures which were notified and have not come.
    fn pass_late_futures(&self);
    /// When there will be any.
    fn grace_ends(&self) -> Option<Instant>;
    /// The pool was closed: notifies all submitters, and drops what waits for its time.
    fn notify_all(&self);
}

#[derive(Default)]
pub(super) struct Views {
    /// Tasks that wait in views.
    waiting: AtomicUsize,
    /// Submitters that are blocked at views.
    blocked: AtomicUsize,
    /// By address.
    all: Mutex<BTreeMap<usize, Weak<dyn PoolViews>>>,
}

impl Views {
    /// All that are there.
    pub(super) fn all(&self) -> Vec<Arc<dyn PoolViews>> {
        self.all.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// All at which submitters are blocked, perhaps.
    fn with_blocked(&self) -> Vec<Arc<dyn PoolViews>> {
        // ORDERING: Relaxed. The views' own locks order what is read there.
        if self.blocked.load(Ordering::Relaxed) == 0 { Vec::new() } else { self.all() }
    }
}

/// A submitter that is blocked at a view, until this is dropped.
pub(crate) struct BlockedAtView<'e>(&'e Views);

impl Drop for BlockedAtView<'_> {
    fn drop(&mut self) {
        // ORDERING: Relaxed, see `has_blocked_at_views`.
        self.0.blocked.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// There are views at this address, until [`remove_views`](Self::remove_views).
    pub(crate) fn add_views(&self, address: usize, views: Weak<dyn PoolViews>) {
        self.views.all.lock().insert(address, views);
    }

    pub(crate) fn remove_views(&self, address: usize) {
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

    /// Counts a submitter that is about to block at a view.
    pub(crate) fn block_at_view(&self) -> BlockedAtView<'_> {
        // ORDERING: Relaxed, see `has_blocked_at_views`.
        self.views.blocked.fetch_add(1, Ordering::Relaxed);
        BlockedAtView(&self.views)
    }

    /// Whether submitters are blocked at views. A submitter is counted before it looks at its view under the view's lock, and this is
    /// called after a change of the view under the same lock: so either the submitter sees the change, or it is seen here.
    pub(crate) fn has_blocked_at_views(&self) -> bool {
        // ORDERING: Relaxed. The view's lock orders it, as above.
        self.views.blocked.load(Ordering::Relaxed) > 0
    }

    pub(super) fn pass_late_futures_at_views(&self) {
        self.views.with_blocked().iter().for_each(|views| views.pass_late_futures());
    }

    pub(super) fn grace_ends_at_views(&self) -> Option<Instant> {
        self.views.with_blocked().iter().filter_map(|views| views.grace_ends()).min()
    }

    pub(super) fn notify_all_at_views(&self) {
        self.views.all().iter().for_each(|views| views.notify_all());
    }

    /// So many tasks have left their views.
    pub(crate) fn left_views(&self, tasks: usize) {
        // ORDERING: Relaxed, as above.
        self.views.waiting.fetch_sub(tasks, Ordering::Relaxed);
    }
}
