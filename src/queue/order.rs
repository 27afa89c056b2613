//! The rule by which an ordered queue chooses its next task.

use super::fair::{TenantLanes, TenantStats};
use super::room_order::RoomOrder;
use super::task_list::Queued;
use super::{DEFAULT_LANE, Shape};
use crate::sync::Arc;

/// The tasks of a queue, and the rule by which the next one is chosen. All methods are called under the queue's lock.
#[doc(hidden)]
pub trait Order: Sized + Send + 'static {
    type Item: Send + 'static;

    /// Whether [`ended`](Self::ended) has to be called for each task.
    const COUNTS_RUNNING: bool = false;
    /// See [`Queue::HAS_LEVELS`].
    const HAS_LEVELS: bool = false;
    /// See [`Queue::HAS_TENANTS`].
    const HAS_TENANTS: bool = false;

    /// Creates an empty order, or returns a sentence that says why the shape is not possible.
    fn new(shape: &Shape) -> Result<Self, String>;

    /// The number of levels of a queue of this shape.
    fn levels(_shape: &Shape) -> usize {
        0
    }

    /// See [`Queue::lane`].
    fn lane(_levels: usize, _key: u64) -> usize {
        DEFAULT_LANE
    }

    fn room_order(&self) -> RoomOrder;

    fn tenant_lanes(&self) -> Option<Arc<TenantLanes>> {
        None
    }

    fn tenants(&self) -> Vec<TenantStats> {
        Vec::new()
    }

    /// How many more tasks a lane may hold, by a bound of its own.
    fn room(&self, _lane: usize) -> usize {
        usize::MAX
    }

    fn push(&mut self, lane: usize, task: Queued<Self::Item>);

    /// Removes and returns the next task, and its lane. `runs` if it will count as running until [`ended`](Self::ended).
    fn pop(&mut self, runs: bool) -> Option<(usize, Queued<Self::Item>)>;

    /// Removes and returns the task within the bound that is to make room for one of this lane.
    fn take_oldest(&mut self, lane: usize) -> Option<Queued<Self::Item>>;

    /// A task of this lane that counted as running has ended.
    fn ended(&mut self, _lane: usize) {}

    /// Moves the dead tasks to the end of `swept`; the rest keep their order.
    fn sweep_into(&mut self, is_dead: &mut dyn FnMut(&Self::Item) -> bool, swept: &mut Vec<Queued<Self::Item>>);

    /// Calls `visit` for each task and with whether it is nested.
    fn for_each(&self, visit: &mut dyn FnMut(&Self::Item, bool));
}
