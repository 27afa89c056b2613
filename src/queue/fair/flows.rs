//! The order of the tenants' tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::{Tenant, TenantLanes, TenantStats};
use crate::queue::list::List;
use crate::queue::ordered::{Order, Queued};
use crate::queue::room_order::RoomOrder;
use crate::queue::{DEFAULT_LANE, Shape};
use crate::sync::Arc;

/// One turn of a tenant of weight 1, in virtual time. Divided by any sum of weights that fits into memory it is not zero, and times as many
/// tasks as a pool can run in its life it does not overflow.
const TURN: u128 = 1 << 64;

/// The weight of the default tenant, and of all where there is no [`Builder::share`](crate::Builder::share).
pub(crate) const DEFAULT_WEIGHT: u32 = 1;

/// The tasks of one tenant.
struct Flow<T> {
    /// `None`: the default tenant.
    tenant: Option<Tenant>,
    weight: u32,
    list: List<Queued<T>>,
    /// The virtual time at which its next task may start: that of its last start and one turn of its own, unless it had nothing to start then.
    start: u128,
    /// Its tasks in the list that are within the bound.
    bounded: usize,
    running: usize,
    submitted: u64,
}

impl<T> Flow<T> {
    fn is_idle(&self) -> bool {
        self.list.is_empty() && self.running == 0
    }

    fn turn(&self) -> u128 {
        TURN / u128::from(self.weight)
    }
}

/// The tenants that have tasks, by lane.
#[doc(hidden)]
pub struct Flows<T> {
    lanes: Arc<TenantLanes>,
    flows: BTreeMap<usize, Flow<T>>,
    /// Those with queued tasks: start, number of the entry, lane. Of equal starts the first to be entered goes first.
    ready: BTreeSet<(u128, u64, usize)>,
    entries: u64,
    /// Those without tasks that have had more than their share: start, lane. They are forgotten when the virtual time reaches the start, or
    /// when nothing is queued. A tenant that were forgotten at once could take more than its share by submitting one task at a time.
    ahead: BTreeSet<(u128, usize)>,
    /// The virtual time.
    now: u128,
    /// How far it advances with the next start, because of the last one.
    step: u128,
    /// The sum of the weights of `ready`.
    weights: u64,
    /// The most tasks of a tenant that may wait.
    bound: usize,
}

impl<T> Flows<T> {
    /// The lane, with a flow. A lane that is nobody's any more is the default one.
    fn with_flow(&mut self, lane: usize) -> usize {
        if self.flows.contains_key(&lane) {
            return lane;
        }
        let (lane, tenant, weight) = match self.lanes.keep(lane) {
            Some((tenant, weight)) => (lane, Some(tenant), weight),
            None => (DEFAULT_LANE, None, DEFAULT_WEIGHT),
        };
        let list = List::new();
        let flow = || Flow { tenant, weight, list, start: 0, bounded: 0, running: 0, submitted: 0 };
        self.flows.entry(lane).or_insert_with(flow);
        lane
    }

    /// Enters a flow that has got its first task, or has another one after a start.
    fn enter(&mut self, lane: usize, start: u128) {
        self.entries += 1;
        self.ready.insert((start, self.entries, lane));
    }

    /// A flow has fewer tasks than before: forgets it if it has none and had no more than its share.
    fn settle(&mut self, lane: usize) {
        match self.flows.get(&lane) {
            Some(flow) if flow.is_idle() => _ = self.ahead.insert((flow.start, lane)),
            _ => {}
        }
        while let Some((start, lane)) = self.ahead.first().copied() {
            if start > self.now && !self.ready.is_empty() {
                return;
            }
            self.ahead.pop_first();
            self.flows.remove(&lane);
            if lane != DEFAULT_LANE {
                self.lanes.release(lane);
            }
        }
    }
}

impl<T: Send + 'static> Order for Flows<T> {
    type Item = T;

    const COUNTS_RUNNING: bool = true;
    const HAS_TENANTS: bool = true;

    fn new(shape: &Shape) -> Result<Self, String> {
        if shape.tenant_queue == Some(0) {
            return Err("`tenant_queue` is 0: no task of a tenant could be queued".to_owned());
        }
        Ok(Flows {
            lanes: TenantLanes::new(shape.tenant_queue.is_some()),
            flows: BTreeMap::new(),
            ready: BTreeSet::new(),
            entries: 0,
            ahead: BTreeSet::new(),
            now: 0,
            step: 0,
            weights: 0,
            bound: shape.tenant_queue.unwrap_or(usize::MAX),
        })
    }

    fn room_order(&self) -> RoomOrder {
        RoomOrder::Turns { has_bounds: self.lanes.have_bounds() }
    }

    fn tenant_lanes(&self) -> Option<Arc<TenantLanes>> {
        Some(Arc::clone(&self.lanes))
    }

    fn tenants(&self) -> Vec<TenantStats> {
        let active = self.flows.values().filter(|flow| !flow.is_idle());
        let figures = |flow: &Flow<T>| TenantStats {
            tenant: flow.tenant.clone(),
            weight: flow.weight,
            queued: flow.list.len(),
            running: flow.running,
            submitted: flow.submitted,
        };
        active.map(figures).collect()
    }

    fn room(&self, lane: usize) -> usize {
        match self.bound {
            usize::MAX => usize::MAX,
            bound => bound.saturating_sub(self.flows.get(&lane).map_or(0, |flow| flow.bounded)),
        }
    }

    fn push(&mut self, lane: usize, task: Queued<T>) {
        let lane = self.with_flow(lane);
        let Some(flow) = self.flows.get_mut(&lane) else { unreachable!("it was there or made") };
        flow.bounded += usize::from(!task.is_nested);
        flow.submitted += 1;
        let was_empty = flow.list.is_empty();
        if was_empty {
            if flow.running == 0 {
                self.ahead.remove(&(flow.start, lane));
            }
            flow.start = flow.start.max(self.now);
        }
        flow.list.push(task);
        let (start, weight) = (flow.start, flow.weight);
        if was_empty {
            self.weights += u64::from(weight);
            self.enter(lane, start);
        }
    }

    fn pop(&mut self, runs: bool) -> Option<(usize, Queued<T>)> {
        let (start, _, lane) = self.ready.pop_first()?;
        let flow = self.flows.get_mut(&lane)?;
        let task = flow.list.pop()?;
        self.now = start.max(self.now + mem::take(&mut self.step));
        self.step = TURN / u128::from(self.weights);
        flow.start = start + flow.turn();
        flow.bounded -= usize::from(!task.is_nested);
        flow.running += usize::from(runs);
        let next = flow.start;
        if flow.list.is_empty() {
            self.weights -= u64::from(flow.weight);
        } else {
            self.enter(lane, next);
        }
        self.settle(lane);
        Some((lane, task))
    }

    fn ended(&mut self, lane: usize) {
        if let Some(flow) = self.flows.get_mut(&lane) {
            flow.running -= 1;
        }
        self.settle(lane);
    }

    fn sweep_into(&mut self, is_dead: &mut dyn FnMut(&Queued<T>) -> bool, swept: &mut Vec<Queued<T>>) {
        let (mut emptied, weights) = (Vec::new(), &mut self.weights);
        for (lane, flow) in self.flows.iter_mut().filter(|(_, flow)| !flow.list.is_empty()) {
            let before = swept.len();
            flow.list.sweep_into(is_dead, swept);
            flow.bounded -= swept[before..].iter().filter(|task| !task.is_nested).count();
            if flow.list.is_empty() {
                *weights -= u64::from(flow.weight);
                emptied.push(*lane);
            }
        }
        if !emptied.is_empty() {
            self.ready.retain(|(_, _, lane)| emptied.binary_search(lane).is_err());
            emptied.into_iter().for_each(|lane| self.settle(lane));
        }
    }

    fn for_each(&self, visit: &mut dyn FnMut(&Queued<T>)) {
        self.flows.values().flat_map(|flow| flow.list.iter()).for_each(visit);
    }
}
