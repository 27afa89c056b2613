//! B05: groups inside groups, on pools that are too small for them.

use std::sync::Arc;

use crate::support::closures::{assert_quiet, deep_pool, pool};
use crate::support::{LIMIT, eventually, on_every_dispatch};
use formicary::{Dispatch, Pool, SubmitErrorKind};

/// B05: groups in groups finish on a pool of one worker, whatever its queue and the groups' limits.
fn nested<D: Dispatch>() {
    fn leaves<D: Dispatch>(pool: &Arc<Pool<D>>, depth: u32, limit: usize) -> Result<u64, String> {
        if depth == 0 {
            return Ok(1);
        }
        let group = pool.group().limit(limit);
        for _ in 0..3 {
            let inner = Arc::clone(pool);
            group.spawn(move |_| leaves(&inner, depth - 1, limit)).map_err(|error| error.to_string())?;
        }
        group.wait().map(|counts| counts.iter().sum()).map_err(|error| error.to_string())
    }
    for (workers, queue, limit) in [(1, 0, 1), (1, 0, 9), (1, 2, 2), (1, 50, 1), (2, 0, 9), (2, 50, 2), (3, 1, 1)] {
        let pool = pool::<D>(workers, queue);
        let inner = Arc::clone(&pool);
        assert_eq!(pool.run(move || leaves(&inner, 4, limit)).unwrap(), Ok(81), "{workers} {queue} {limit}");
        assert_quiet(&pool);
    }
}

#[test]
fn b05_groups_in_groups_on_one_worker() {
    on_every_dispatch!(nested);
}

/// B05, D08: groups nest as deep as the stack of the worker.
fn deep<D: Dispatch>() {
    fn deeper<D: Dispatch>(pool: &Arc<Pool<D>>, depth: usize) -> Result<usize, String> {
        if depth == 0 {
            return Ok(0);
        }
        let (group, inner) = (pool.group(), Arc::clone(pool));
        group.spawn(move |_| deeper(&inner, depth - 1)).map_err(|refusal| refusal.to_string())?;
        group.wait().map(|values| values[0] + 1).map_err(|error| error.to_string())
    }
    for queue in [50, 5000] {
        let pool = deep_pool::<D>(1, queue);
        let inner = Arc::clone(&pool);
        assert_eq!(pool.run(move || deeper(&inner, 2000)).unwrap(), Ok(2000));
        assert_quiet(&pool);
    }
}

#[test]
fn d08_groups_nest_as_deep_as_the_stack() {
    on_every_dispatch!(deep);
}

/// B05: a task that spawns into its own group, which is at its limit because of it, is refused and does not wait for itself.
fn own_group<D: Dispatch>() {
    for workers in [1, 3] {
        let pool = pool::<D>(workers, 10);
        let group = Arc::new(pool.group::<_, ()>().limit(1));
        let own = Arc::downgrade(&group);
        group
            .spawn(move |_| Ok(own.upgrade().unwrap().spawn(|_| Ok(None)).err().map(|refusal| refusal.kind())))
            .unwrap();
        eventually("the task is through", || group.wait_timeout(LIMIT) && Arc::strong_count(&group) == 1);
        let group = Arc::into_inner(group).unwrap();
        assert_eq!(group.wait().unwrap(), [Some(SubmitErrorKind::WouldDeadlock)]);
    }
}

#[test]
fn b05_a_full_group_from_inside_itself() {
    on_every_dispatch!(own_group);
}
