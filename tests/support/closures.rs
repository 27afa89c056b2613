//! Pools of closures on any dispatch, for tests that are generic over it.

use std::sync::Arc;

use formicary::{Dispatch, Pool};

use super::{Gate, assert_conserved};

/// A pool of so many workers and so much queue.
pub fn pool<D: Dispatch>(workers: usize, queue: usize) -> Arc<Pool<D>> {
    Arc::new(Pool::builder().workers(workers).queue(queue).dispatch::<D>().build().unwrap())
}

/// The same with stacks for thousands of tasks in one another.
pub fn deep_pool<D: Dispatch>(workers: usize, queue: usize) -> Arc<Pool<D>> {
    let builder = Pool::builder().workers(workers).queue(queue).stack_size(512 << 20);
    Arc::new(builder.dispatch::<D>().build().unwrap())
}

/// Waits until all is done, and asserts that nothing was lost.
pub fn assert_quiet<D: Dispatch>(pool: &Pool<D>) {
    assert!(pool.wait_idle());
    assert_conserved(pool);
}

/// Occupies the one worker of a pool until the gate is opened.
pub fn occupy<D: Dispatch>(pool: &Pool<D>) -> Gate {
    let gate = Gate::new();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    gate
}
