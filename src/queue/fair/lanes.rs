//! The numbers of the tenants' lanes.

use std::collections::BTreeMap;

use super::Tenant;
use crate::queue::DEFAULT_LANE;
use crate::sync::{Arc, Mutex};

/// A lane for each tenant that has one: those whose tasks are queued or running, and those for whom a submitter is under way. A number is
/// not used again, so one that is out of date leads nowhere.
///
/// The lock is the last one in the lock order: the queue takes it under its own.
#[doc(hidden)]
pub struct TenantLanes {
    lanes: Mutex<Lanes>,
    has_bounds: bool,
}

struct Lanes {
    by_tenant: BTreeMap<Tenant, usize>,
    by_number: BTreeMap<usize, Lane>,
    last: usize,
}

struct Lane {
    tenant: Tenant,
    weight: u32,
    /// How many need it.
    users: usize,
}

/// A lane that stays its tenant's until this is dropped.
pub(crate) struct KeptLane {
    number: usize,
    /// `None` for a lane that is always there.
    lanes: Option<Arc<TenantLanes>>,
}

impl KeptLane {
    /// A lane that is there for certain. `lanes` is the numbers of the queue, if it has tenants.
    pub(crate) fn again(lanes: Option<&Arc<TenantLanes>>, number: usize) -> Self {
        let lanes = lanes.filter(|lanes| number != DEFAULT_LANE && lanes.keep(number).is_some());
        KeptLane { number, lanes: lanes.cloned() }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }
}

impl Drop for KeptLane {
    fn drop(&mut self) {
        if let Some(lanes) = &self.lanes {
            lanes.release(self.number);
        }
    }
}

impl TenantLanes {
    pub(super) fn new(has_bounds: bool) -> Arc<Self> {
        let lanes = Lanes { by_tenant: BTreeMap::new(), by_number: BTreeMap::new(), last: DEFAULT_LANE };
        Arc::new(TenantLanes { lanes: Mutex::new(lanes), has_bounds })
    }

    /// Whether each tenant has a bound of its own.
    pub(crate) fn have_bounds(&self) -> bool {
        self.has_bounds
    }

    /// The lane of a tenant. Calls `weigh` if the tenant has none, under no lock; threads that do so for one tenant at the same moment all
    /// call it.
    ///
    /// # Panics
    /// If the weight is 0.
    #[track_caller]
    pub(crate) fn of(self: &Arc<Self>, tenant: &Tenant, weigh: impl FnOnce(&Tenant) -> u32) -> KeptLane {
        let found = self.lanes.lock().find(tenant);
        let number = match found {
            Some(number) => number,
            None => {
                let weight = weigh(tenant);
                assert!(weight > 0, "the weight of tenant {tenant} is 0: it would never get a worker");
                let mut lanes = self.lanes.lock();
                lanes.find(tenant).unwrap_or_else(|| lanes.add(tenant, weight))
            }
        };
        KeptLane { number, lanes: Some(Arc::clone(self)) }
    }

    /// Makes one more need the lane, if there is such a lane. Returns whose it is, and the weight.
    pub(super) fn keep(&self, number: usize) -> Option<(Tenant, u32)> {
        let mut lanes = self.lanes.lock();
        let lane = lanes.by_number.get_mut(&number)?;
        lane.users += 1;
        Some((lane.tenant.clone(), lane.weight))
    }

    /// The opposite of [`keep`](Self::keep).
    pub(super) fn release(&self, number: usize) {
        let mut lanes = self.lanes.lock();
        let Some(lane) = lanes.by_number.get_mut(&number) else { return };
        lane.users -= 1;
        if lane.users == 0 {
            if let Some(lane) = lanes.by_number.remove(&number) {
                lanes.by_tenant.remove(&lane.tenant);
            }
        }
    }

    #[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
    pub(super) fn len(&self) -> usize {
        let lanes = self.lanes.lock();
        assert_eq!(lanes.by_tenant.len(), lanes.by_number.len());
        lanes.by_number.len()
    }
}

impl Lanes {
    /// The lane of a tenant, for one more.
    fn find(&mut self, tenant: &Tenant) -> Option<usize> {
        let number = *self.by_tenant.get(tenant)?;
        self.by_number.get_mut(&number).map(|lane| {
            lane.users += 1;
            number
        })
    }

    fn add(&mut self, tenant: &Tenant, weight: u32) -> usize {
        // They wrap on a 32-bit system, after four thousand million.
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != DEFAULT_LANE && !self.by_number.contains_key(&self.last) {
                break;
            }
        }
        self.by_tenant.insert(tenant.clone(), self.last);
        self.by_number.insert(self.last, Lane { tenant: tenant.clone(), weight, users: 1 });
        self.last
    }
}
