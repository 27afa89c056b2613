//! What the stack dispatch promises beyond the others: order, and the newest idle worker first.

use std::sync::Arc;
use std::thread;

use crate::support::*;
use formicary::{Pool, PoolWithFunc, Task};
use parking_lot::Mutex;

/// Three workers are idle; successive tasks go to the one that was idle last, so the other two may expire. Another one may still be
/// spinning (when the pool has just started, or the thread of the one that answered was preempted), but with any other order no
/// worker would have two tasks in a row.
#[test]
fn tasks_one_after_the_other_stay_on_the_newest_idle_worker() {
    fn one_worker(run: impl Fn() -> thread::ThreadId) {
        let mut last = run();
        let mut in_a_row = 0;
        while in_a_row < 200 {
            let worker = run();
            in_a_row = if worker == last { in_a_row + 1 } else { 0 };
            last = worker;
        }
    }
    within(LIMIT, "spawn and join", || {
        let pool = Pool::builder().workers(3).min_workers(3).build().unwrap();
        one_worker(|| pool.spawn(|| thread::current().id()).unwrap().join().unwrap());
        one_worker(|| pool.run(|| thread::current().id()).unwrap());
    });
    within(LIMIT, "call", || {
        let pool = PoolWithFunc::builder(|_: ()| thread::current().id()).workers(3).min_workers(3).build().unwrap();
        one_worker(|| pool.run(()).unwrap());
    });
}

/// One worker runs tasks in the order in which they were submitted, whether they were handed off or queued.
#[test]
fn tasks_run_first_in_first_out() {
    for_each(|variant| {
        let pool = variant.build(Setup::roomy(1));
        let order = Arc::new(Mutex::new(Vec::new()));
        for n in 0..1000 {
            let order = Arc::clone(&order);
            pool.submit(Task::new(move || order.lock().push(n))).unwrap();
        }
        pool.wait_idle();
        assert_eq!(*order.lock(), (0..1000).collect::<Vec<_>>());
    });
}
