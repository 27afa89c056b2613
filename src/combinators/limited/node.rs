//! What is kept of a view and of its tasks, under the lock of [`State`](super::state::State).

use std::collections::BTreeMap;
use std::sync::Weak;

use super::by_number::ByNumber;
use super::pace::{Pace, PaceKey};
use super::stats::LimitedStats;
use super::steering::ViewMeter;
use super::view::View;
use crate::cancel::CancelToken;
use crate::engine::Runner;
use crate::engine::wait_queue::WaitQueue;
use crate::queue::{Dispatch, KeptLane};
use crate::semaphore::Semaphore;
use crate::sync::Arc;
use crate::sync::waiter::Waiter;
use crate::task::in_view::ViewId;

/// A task that has not started.
pub(super) struct Unstarted<R: Runner, D: Dispatch> {
    pub(super) item: R::Item,
    /// By which it enters the pool.
    pub(super) lane: KeptLane,
    pub(super) view: Arc<View<R, D>>,
    pub(super) rate_key: Option<u64>,
    /// How many of its views, from its own on, let it start as far as their rates go.
    pub(super) paced: usize,
    /// Others wait for their time behind it.
    pub(super) leads: Option<PaceKey>,
}

/// A task that has its permits, and an entry in the pool's queue or on the way there.
pub(super) struct Permitted<R: Runner, D: Dispatch> {
    pub(super) task: Unstarted<R, D>,
    /// Whether a worker of the pool would find its entry.
    pub(super) is_queued: bool,
}

/// One view.
pub(super) struct Node<R: Runner, D: Dispatch> {
    /// This view, the one that it is a view of, and so on.
    pub(super) chain: Arc<[ViewId]>,
    pub(super) limit: usize,
    pub(super) budget: Option<Semaphore>,
    pub(super) pace: Option<Arc<dyn Pace>>,
    /// The most tasks that may wait, if the view has a bound of its own.
    pub(super) queue: Option<usize>,
    /// Permits in use: by tasks that run, that are in the pool's queue, or whose submitters are about to bring them there.
    pub(super) in_flight: usize,
    /// Those of the last kind, in this view alone.
    pub(super) entering: usize,
    /// How many of them have lost their permit again, and will have to wait when they come.
    pub(super) revoked: usize,
    /// Tasks of this view alone that wait for permits, in the order of their coming.
    pub(super) waiting: ByNumber<Unstarted<R, D>>,
    /// With those of its views, and those that wait for their time.
    pub(super) waiting_below: usize,
    pub(super) views: usize,
    pub(super) is_closed: bool,
    /// Nobody can submit any more.
    pub(super) is_dropped: bool,
    pub(super) stats: LimitedStats,
    pub(super) meter: Weak<ViewMeter>,
    /// How often the view has become idle.
    pub(super) idle_moments: u64,
    pub(super) idle_waiters: BTreeMap<u64, Waiter>,
    /// Submitters that found the view full.
    pub(super) wait_queue: Arc<WaitQueue>,
    /// Cancelled when the view is closed: those of submitters that wait at the pool.
    pub(super) entering_tokens: BTreeMap<u64, CancelToken>,
}
