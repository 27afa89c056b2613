//! Which threads may wait for the end of a pool.
//!
//! A pool has ended when all its threads have. So a thread of the pool that waited for this would wait for itself, and threads of several
//! pools would if they waited for each other's ends in a cycle. Such a thread does not wait: it closes the pool, which then ends by
//! itself, because its threads own all that they need.

use std::cell::Cell;
use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::sync::thread_local;
use crate::task::current_worker::{self, PoolId};

thread_local! {
    /// The pool that started this thread. It has no destructor, so it can be read until the very end of the thread, when the destructors
    /// of the user's thread-locals run and the thread is no longer a worker.
    static STARTED_BY: Cell<Option<PoolId>> = const { Cell::new(None) };
}

/// A thread that waits without a limit: the pools that it belongs to, and the pool whose end it waits for.
type Edge = (Vec<PoolId>, PoolId);

/// All such threads of the process that belong to a pool. (Not one of `sync`'s locks: loom's and shuttle's cannot be static. Nothing else
/// happens under this one.)
static WAITS: Mutex<Waits> = Mutex::new(Waits { edges: BTreeMap::new(), next: 0 });

struct Waits {
    edges: BTreeMap<u64, Edge>,
    /// The key of the next entry.
    next: u64,
}

/// Records that `pool` has started the calling thread, which will end with it.
pub(super) fn set_started_by(pool: PoolId) {
    STARTED_BY.with(|by| by.set(Some(pool)));
}

/// The pools that cannot end before the calling thread does.
fn pools_of_thread() -> Vec<PoolId> {
    let mut pools = current_worker::pools_of_thread();
    pools.extend(STARTED_BY.try_with(Cell::get).ok().flatten());
    pools
}

/// Begins a wait of the calling thread for the end of `pool`, until the result is dropped. `None` if the thread must not wait. A wait with
/// a limit ends by itself, so it does not keep other threads from waiting.
pub(crate) fn wait_for_end(pool: PoolId, has_limit: bool) -> Option<EndWait> {
    let own_pools = pools_of_thread();
    if own_pools.is_empty() {
        return Some(EndWait(None));
    }
    let mut waits = WAITS.lock();
    if leads_back(&waits, pool, &own_pools) {
        return None;
    }
    if has_limit {
        return Some(EndWait(None));
    }
    let number = waits.next;
    waits.next += 1;
    waits.edges.insert(number, (own_pools, pool));
    Some(EndWait(Some(number)))
}

/// Whether the end of `pool` depends on the end of one of `own_pools`. It visits all waits: the end of a pool
/// is rare, and a thread of another pool that waits for it is rarer.
fn leads_back(waits: &Waits, pool: PoolId, own_pools: &[PoolId]) -> bool {
    let mut reached = vec![pool];
    let mut looked_at = 0;
    while let Some(&at) = reached.get(looked_at) {
        if own_pools.contains(&at) {
            return true;
        }
        looked_at += 1;
        for (from, to) in waits.edges.values() {
            if from.contains(&at) && !reached.contains(to) {
                reached.push(*to);
            }
        }
    }
    false
}

/// A wait that was granted.
pub(crate) struct EndWait(Option<u64>);

impl Drop for EndWait {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            WAITS.lock().edges.remove(&number);
        }
    }
}
