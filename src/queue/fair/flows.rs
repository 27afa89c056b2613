//! The order of the tenants' tasks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::mem;

use super::{Tenant, TenantLanes, TenantStats};
use crate::queue::order::Order;
use crate::queue::room_order::RoomOrder;
use crate::queue::task_list::{Queued, TaskList};
use crate::queue::{DEFAULT_LANE, Shape};
use crate::sync::Arc;

/// One turn of a tenant of weight 1, in virtual time. Divided by any sum of weights that fits into memory it is not zero, and times as many
/// tasks as a pool can run in its life it does not overflow.
const TURN: u128 = 1 << 64;

/// The weight of the default tenant, and of all where there is no [`Builder::share`](crate::Builder::share).
pub(crate) const DEFAULT_WEIGHT: u32 = 1;

/// While nothing is queued, the heap keeps memory for so many tenants.
const KEPT_PLACES: usize = 1024;

/// The tasks of one tenant.
struct Flow<T> {
    /// `None`: the default tenant.
    tenant: Option<Tenant>,
    weight: u32,
    list: TaskList<T>,
    /// The virtual time at which its next task may start: that of its last start and one turn of its own, unless it had nothing to start then.
    start: u128,
    running: usize,
    submitted: u64,
}

impl<T> Flow<T> {
    fn new(tenant: Option<Tenant>, weight: u32) -> Self {
        Flow { tenant, weight, list: TaskList::new(), start: 0, running: 0, submitted: 0 }
    }

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
    /// The default tenant's is always there.
    flows: BTreeMap<usize, Flow<T>>,
    /// Those with queued tasks, the earliest first: start, number of the entry, lane. Of equal starts the first to be entered goes first.
    ready: BinaryHeap<Reverse<(u128, u64, usize)>>,
    entries: u64,
    /// Those without queued tasks that have had more than their share: start, lane. They count as if they had tasks until the virtual time
    /// reaches the start, or nothing is queued. If they were forgotten at once, a tenant could take more than its share by submitting one
    /// task at a time, and the virtual time would run ahead of those who wait.
    ahead: BTreeSet<(u128, usize)>,
    /// The virtual time.
    now: u128,
    /// How far it advances with the next start, because of the last one.
    step: u128,
    /// The sum of the weights of `ready` and `ahead`.
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
        let Some((tenant, weight)) = self.lanes.keep(lane) else { return DEFAULT_LANE };
        self.flows.insert(lane, Flow::new(Some(tenant), weight));
        lane
    }

    /// Enters a flow that has got its first task, or has another one after a start.
    fn enter(&mut self, lane: usize, start: u128) {
        self.entries += 1;
        self.ready.push(Reverse((start, self.entries, lane)));
    }

    /// A flow has no queued tasks any more.
    fn leave(&mut self, lane: usize) {
        match self.flows.get(&lane) {
            // The usual end of a task where there is no other: without an allocation.
            Some(flow) if self.ready.is_empty() => {
                self.weights -= u64::from(flow.weight);
                self.forget_if_idle(lane);
            }
            Some(flow) => _ = self.ahead.insert((flow.start, lane)),
            None => {}
        }
        self.forget_past();
    }

    /// Forgets the flows without queued tasks that are no longer ahead, but for those whose tasks run.
    fn forget_past(&mut self) {
        while let Some((start, lane)) = self.ahead.first().copied() {
            if start > self.now && !self.ready.is_empty() {
                return;
            }
            self.ahead.pop_first();
            if let Some(flow) = self.flows.get(&lane) {
                self.weights -= u64::from(flow.weight);
                self.forget_if_idle(lane);
            }
        }
        if self.ready.is_empty() && self.ready.capacity() > KEPT_PLACES {
            self.ready = BinaryHeap::new();
        }
    }

    /// Forgets a flow that is not ahead, if it has no tasks.
    fn forget_if_idle(&mut self, lane: usize) {
        if lane != DEFAULT_LANE && self.flows.get(&lane).is_some_and(Flow::is_idle) {
            self.flows.remove(&lane);
            self.lanes.release(lane);
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
            flows: BTreeMap::from([(DEFAULT_LANE, Flow::new(None, DEFAULT_WEIGHT))]),
            ready: BinaryHeap::new(),
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
            bound => bound.saturating_sub(self.flows.get(&lane).map_or(0, |flow| flow.list.bounded())),
        }
    }

    fn push(&mut self, lane: usize, task: Queued<T>) {
        let lane = self.with_flow(lane);
        let Some(flow) = self.flows.get_mut(&lane) else { unreachable!("it was there or made") };
        flow.submitted += 1;
        let was_empty = flow.list.is_empty();
        flow.list.push(task);
        if was_empty {
            if !self.ahead.remove(&(flow.start, lane)) {
                self.weights += u64::from(flow.weight);
            }
            flow.start = flow.start.max(self.now);
            let start = flow.start;
            self.enter(lane, start);
        }
    }

    fn pop(&mut self, runs: bool) -> Option<(usize, Queued<T>)> {
        let Reverse((start, _, lane)) = self.ready.pop()?;
        let flow = self.flows.get_mut(&lane)?;
        let task = flow.list.pop()?;
        self.now = start.max(self.now + mem::take(&mut self.step));
        self.step = TURN / u128::from(self.weights);
        flow.start = start + flow.turn();
        flow.running += usize::from(runs);
        let next = flow.start;
        if flow.list.is_empty() {
            self.leave(lane);
        } else {
            self.enter(lane, next);
            self.forget_past();
        }
        Some((lane, task))
    }

    fn take_oldest(&mut self, lane: usize) -> Option<Queued<T>> {
        // The one with most tasks for its weight, unless it is this one's own bound that is reached.
        let backlog = |flow: &Flow<T>| flow.list.bounded() as u128 * flow.turn();
        let longest = || self.flows.iter().max_by_key(|(_, flow)| backlog(flow)).map(|(lane, _)| *lane);
        let lane = if self.room(lane) == 0 { lane } else { longest()? };
        let flow = self.flows.get_mut(&lane)?;
        let task = flow.list.pop_outside()?;
        if flow.list.is_empty() {
            self.ready.retain(|Reverse((_, _, other))| *other != lane);
            self.leave(lane);
        }
        Some(task)
    }

    fn ended(&mut self, lane: usize) {
        if let Some(flow) = self.flows.get_mut(&lane) {
            flow.running -= 1;
            if !self.ahead.contains(&(flow.start, lane)) {
                self.forget_if_idle(lane);
            }
        }
    }

    fn sweep_into(&mut self, is_dead: &mut dyn FnMut(&T) -> bool, swept: &mut Vec<Queued<T>>) {
        let mut emptied = Vec::new();
        for (lane, flow) in self.flows.iter_mut().filter(|(_, flow)| !flow.list.is_empty()) {
            flow.list.sweep_into(is_dead, swept);
            if flow.list.is_empty() {
                emptied.push(*lane);
            }
        }
        if !emptied.is_empty() {
            self.ready.retain(|Reverse((_, _, lane))| emptied.binary_search(lane).is_err());
            emptied.into_iter().for_each(|lane| self.leave(lane));
        }
    }

    fn for_each(&self, visit: &mut dyn FnMut(&T, bool)) {
        self.flows.values().for_each(|flow| flow.list.for_each(visit));
    }
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::*;

    /// How many tenants come, one after the other.
    const TENANTS: u32 = if cfg!(miri) { 1000 } else { 1_000_000 };

    fn push(flows: &mut Flows<u32>, tenant: u32, weight: u32) {
        let lane = flows.lanes.of(&Tenant::from(tenant), |_| weight);
        flows.push(lane.number(), Queued { item: tenant, is_nested: false });
    }

    fn start(flows: &mut Flows<u32>) -> u32 {
        let Some((lane, task)) = flows.pop(true) else { panic!("there is a task") };
        flows.ended(lane);
        task.item
    }

    /// Nothing is left of tenants without tasks, also beside one that always has some: then they are forgotten soon after.
    #[test]
    fn a_million_tenants_in_turn_leave_nothing() {
        for has_backlog in [false, true] {
            let mut flows = Flows::new(&Shape::default()).unwrap();
            for tenant in 1..=TENANTS {
                push(&mut flows, tenant, 1 + tenant % 5);
                if has_backlog {
                    push(&mut flows, 0, 3);
                    start(&mut flows);
                }
                start(&mut flows);
                assert!(flows.flows.len() <= 16 && flows.lanes.len() <= 16, "{}", flows.flows.len());
            }
            while !flows.ready.is_empty() {
                start(&mut flows);
            }
            assert_eq!((flows.flows.len(), flows.ahead.len(), flows.lanes.len(), flows.weights), (1, 0, 0, 0));
        }
    }

    /// Many tenants at once leave nothing either, whether their tasks are started or taken out.
    #[test]
    fn many_tenants_at_once_leave_nothing() {
        for is_swept in [false, true] {
            let mut flows = Flows::new(&Shape { tenant_queue: Some(2), ..Shape::default() }).unwrap();
            (0..10_000).for_each(|n| push(&mut flows, n / 2, u32::MAX));
            assert_eq!((flows.flows.len(), flows.lanes.len()), (5001, 5000));
            if is_swept {
                flows.sweep_into(&mut |item| item % 2 == 0, &mut Vec::new());
                assert_eq!((flows.flows.len(), flows.lanes.len(), flows.ready.len()), (2501, 2500, 2500));
                flows.sweep_into(&mut |_| true, &mut Vec::new());
            } else {
                (0..10_000).for_each(|_| _ = start(&mut flows));
            }
            assert_eq!((flows.flows.len(), flows.ahead.len(), flows.lanes.len(), flows.weights), (1, 0, 0, 0));
        }
    }

    /// The most a newcomer waits for: one start of each other tenant that has tasks, or had some shortly before, whatever their weights and
    /// backlogs.
    #[test]
    fn a_newcomer_waits_for_one_start_of_each_other_tenant() {
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut most = 0;
        for round in 0..200 {
            let mut flows = Flows::new(&Shape::default()).unwrap();
            let others = 1 + round % 20;
            for tenant in 0..others {
                let weight = 1 + random(100) as u32;
                (0..=random(300)).for_each(|_| push(&mut flows, tenant, weight));
            }
            let mut newcomer = 1000;
            while flows.ready.len() > 1 {
                (0..random(20)).for_each(|_| _ = flows.pop(true).map(|(lane, _)| flows.ended(lane)));
                newcomer += 1;
                push(&mut flows, newcomer, 1 + random(100) as u32);
                let (tenants, waiting) = (flows.flows.len() - 1, flows.ready.len());
                let before = (0..).take_while(|_| start(&mut flows) != newcomer).count();
                assert!(before < tenants && tenants - waiting < 10, "{before} starts, {waiting} of {tenants} tenants");
                most = most.max(before);
            }
        }
        assert!(most > 1, "it is no more than one only because nobody waits");
    }
}
