//! A view as something that sets its limit by what its tasks do: figures, the limit, and how long its tasks run.
//!
//! The run time is measured only while somebody has a [`ViewMeter`].

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use super::Limited;
use super::stats::LimitedStats;
use super::view::{View, ViewTree};
use crate::engine::{Pausing, Runner};
use crate::pool::AnyPool;
use crate::queue::Dispatch;
use crate::sync::clock;
use crate::sync::{Arc, Ordering};

/// How many meters the views of a tree have.
// The standard library's atomics: these are statistics, and no model counts them.
pub(super) type Meters = Arc<AtomicUsize>;

/// How long the tasks of a view, and of its own views, have run, since this was made.
pub(crate) struct ViewMeter {
    ended: AtomicU64,
    nanos: AtomicU64,
    meters: Meters,
}

impl ViewMeter {
    /// How many have ended, and how long they have run together.
    pub(crate) fn read(&self) -> (u64, Duration) {
        (self.ended.load(Ordering::Relaxed), Duration::from_nanos(self.nanos.load(Ordering::Relaxed)))
    }
}

impl Drop for ViewMeter {
    fn drop(&mut self) {
        self.meters.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A running task that is measured.
pub(super) struct Measured {
    since: Instant,
    by: Vec<Arc<ViewMeter>>,
}

impl Measured {
    /// The task has ended. It ran, and did not turn out to be cancelled.
    pub(super) fn record(self) {
        let nanos = clock::now().saturating_duration_since(self.since).as_nanos() as u64;
        for meter in self.by {
            meter.nanos.fetch_add(nanos, Ordering::Relaxed);
            meter.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<R: Runner, D: Dispatch> View<R, D> {
    /// Begins to measure a task of this view, if anybody wants to know.
    #[inline]
    pub(super) fn measure(&self) -> Option<Measured> {
        // ORDERING: Relaxed. Tasks that start while a meter is made may be missed.
        if self.tree.meters.load(Ordering::Relaxed) == 0 { None } else { self.measure_now() }
    }

    #[cold]
    fn measure_now(&self) -> Option<Measured> {
        let mut by = Vec::new();
        self.tree.state.lock().each(&self.chain, |node| by.extend(node.meter.upgrade()));
        (!by.is_empty()).then(|| Measured { since: clock::now(), by })
    }
}

/// What can be seen of a view, and set, whatever its types.
pub(crate) trait SteeredView: Send + Sync {
    /// The limit and the figures. `None` once the view was dropped or closed for good.
    fn look(&self) -> Option<(usize, LimitedStats)>;
    /// Submitters that wait for room. Call it only where [`look`](Self::look) has just found the view.
    fn waiting(&self) -> usize;
    /// Whether the pool is paused or closed.
    fn is_held(&self) -> bool;
    /// As [`Limited::set_limit`]. Nothing on a view that was dropped.
    fn set_limit(&self, limit: usize);
    /// Measures run times as long as anybody has the meter.
    fn meter(&self) -> Option<Arc<ViewMeter>>;
}

impl<R: Runner, D: Dispatch> SteeredView for View<R, D> {
    fn look(&self) -> Option<(usize, LimitedStats)> {
        let state = self.tree.state.lock();
        let is_closed = state.is_closed(&self.chain);
        let node = state.nodes.get(&self.id()).filter(|node| !is_closed && !node.is_dropped)?;
        Some((node.limit, node.stats))
    }

    fn waiting(&self) -> usize {
        let state = self.tree.state.lock();
        self.wait_queue.waiting() + state.nodes.get(&self.id()).map_or(0, |node| node.entering)
    }

    fn is_held(&self) -> bool {
        self.engine().is_closed() || Pausing::is_paused(&**self.engine())
    }

    fn set_limit(&self, limit: usize) {
        View::set_limit(self, limit);
    }

    fn meter(&self) -> Option<Arc<ViewMeter>> {
        let mut state = self.tree.state.lock();
        let node = state.nodes.get_mut(&self.id())?;
        if let Some(meter) = node.meter.upgrade() {
            return Some(meter);
        }
        let meters = Arc::clone(&self.tree.meters);
        meters.fetch_add(1, Ordering::Relaxed);
        let meter = Arc::new(ViewMeter { ended: AtomicU64::new(0), nanos: AtomicU64::new(0), meters });
        node.meter = Arc::downgrade(&meter);
        Some(meter)
    }
}

impl<P: AnyPool> Limited<P> {
    /// The view for what steers it, which must not keep it.
    pub(crate) fn steered(&self) -> Weak<dyn SteeredView> {
        let view: Weak<View<P::Runner, P::Dispatch>> = Arc::downgrade(&self.view);
        view
    }
}

impl<R: Runner, D: Dispatch> ViewTree<R, D> {
    pub(super) fn no_meters() -> Meters {
        Arc::new(AtomicUsize::new(0))
    }
}
