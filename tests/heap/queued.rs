//! What a queued task takes.

use crate::support::allocator::{alone, bytes};
use crate::support::{Setup, on_every_dispatch};
use formicary::{Dispatch, Fair, Pool, PoolWithFunc, Ring, Task, WorkerPool};

/// One less than a power of two, which the worker makes full: neither a ring nor a list that doubles has room to spare.
const TASKS: usize = (1 << 14) - 1;

/// The bytes on the heap for each of the tasks that fill a pool, which is built for that.
fn for_each_task<X, P: WorkerPool<X>>(build: impl FnOnce(Setup) -> P, item: impl Fn() -> X) -> usize {
    let _alone = alone();
    let before = bytes();
    let pool = build(Setup::new(1, TASKS));
    let pause = pool.pause();
    (0..TASKS).for_each(|_| assert!(pool.submit(item()).is_ok()));
    let each = bytes().saturating_sub(before) / TASKS;
    drop(pause);
    assert!(pool.wait_idle());
    each
}

fn what_a_task_takes<D: Dispatch>() {
    // A slot of a ring has a number, and a task of an ordered queue says whether it is within the bound.
    let stamp = if [Ring::NAME, Fair::NAME].contains(&D::NAME) { size_of::<u64>() } else { 0 };
    let number =
        for_each_task(|setup| setup.on(PoolWithFunc::builder(|_: u64| ())).dispatch::<D>().build().unwrap(), || 7);
    assert_eq!(number, 16 + stamp, "a `u64` and a word");
    let task = || Task::new(|| ());
    let payload =
        for_each_task(|setup| setup.on(PoolWithFunc::builder(Task::run)).dispatch::<D>().build().unwrap(), task);
    assert_eq!(payload, size_of::<Task>() + size_of::<usize>() + stamp, "a payload and a word");
    let closure = for_each_task(|setup| setup.on(Pool::builder()).dispatch::<D>().build().unwrap(), task);
    assert_eq!(closure, size_of::<Task>() + stamp, "a closure");
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_queued_task_takes_a_word_more_than_its_payload() {
    on_every_dispatch!(what_a_task_takes);
}
