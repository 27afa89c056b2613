//! Which threads may wait for the end of a pool.
//!
//! A pool has ended when all its threads have. So a thread of the pool that waited for that would wait for itself; and threads
//! of several pools would if they waited for each other's ends in a circle. Such a thread does not wait: it closes the pool,
//! and that ends by itself, for threads own all that they need.

use std::cell::Cell;
use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::sync::thread_local;
use crate::task::current_worker::{self, PoolId};

thread_local! {
    /// The pool that started this thread. It has no destructor, so it can be read until the thread's very end, when the
    /// destructors of the user's thread-locals run and the thread is no worker any more.
    static STARTED_BY: Cell<Option<PoolId>> = const { Cell::new(None) };
}

/// A thread that waits without a limit: the pools that it is a thread of, and the pool whose end it waits for.
type Edge = (Vec<PoolId>, PoolId);

/// All such threads of the process that belong to a pool themselves. (Not one of `sync`'s locks: those of the checkers cannot be
/// static, and nothing else happens under this one.)
static WAITS: Mutex<Waits> = Mutex::new(Waits { edges: BTreeMap::new(), next: 0 });

struct Waits {
    edges: BTreeMap<u64, Edge>,
    /// The number of the next one.
    next: u64,
}

/// The calling thread was started by `pool`, and will end with it.
pub(super) fn set_started_by(pool: PoolId) {
    STARTED_BY.with(|by| by.set(Some(pool)));
}

/// The pools whose ends the end of the calling thread belongs to.
fn pools_of_thread() -> Vec<PoolId> {
    let mut pools = current_worker::pools_of_thread();
    pools.extend(STARTED_BY.try_with(Cell::get).ok().flatten());
    pools
}

/// Asks whether the calling thread may wait for the end of `pool`; it waits until the answer is dropped. A wait with a limit ends
/// by itself, so nobody else is kept from waiting by it.
pub(super) fn wait_for_end(pool: PoolId, has_limit: bool) -> Option<EndWait> {
    let mine = pools_of_thread();
    if mine.is_empty() {
        return Some(EndWait(None));
    }
    let mut waits = WAITS.lock();
    if leads_back(&waits, pool, &mine) {
        return None;
    }
    if has_limit {
        return Some(EndWait(None));
    }
    let number = waits.next;
    waits.next += 1;
    waits.edges.insert(number, (mine, pool));
    Some(EndWait(Some(number)))
}

/// Whether the end of `pool` has to wait for that of one of `mine`. Walks along those that wait: a pool's end is rare, and one that is
/// waited for by a thread of another pool rarer.
fn leads_back(waits: &Waits, pool: PoolId, mine: &[PoolId]) -> bool {
    let mut reached = vec![pool];
    let mut looked_at = 0;
    while let Some(&at) = reached.get(looked_at) {
        if mine.contains(&at) {
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
pub(super) struct EndWait(Option<u64>);

impl Drop for EndWait {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            WAITS.lock().edges.remove(&number);
        }
    }
}
