//! D13: a worker that spins, for as long as it may, gets everything that wakes a parked one.

use std::time::{Duration, Instant};

use crate::support::{Count, LIMIT, RunTask, Setup, assert_conserved, eventually, for_each, on_every_dispatch};
use formicary::{Dispatch, StatefulPool, Task};

/// Far beyond any limit.
const SPIN: Duration = Duration::from_secs(6000);

/// One worker, which has been spinning since it was built, and room for more.
fn spinning() -> Setup {
    Setup { spin: Some(SPIN), expiry: Some(None), ..Setup::new(2, 8) }
}

#[test]
fn d13_a_spinning_worker_hears_a_broadcast() {
    fn test<D: Dispatch>() {
        let builder = spinning().on(StatefulPool::builder(|_| Ok(RunTask)));
        let pool = builder.dispatch::<D>().build().unwrap();
        for _ in 0..3 {
            assert_eq!(pool.broadcast(|_| 7).unwrap().len(), 1);
        }
    }
    on_every_dispatch!(test);
}

#[test]
fn d13_a_spinning_worker_hears_the_end_of_a_pause() {
    for_each(|variant| {
        let (pool, ran) = (variant.build(spinning()), Count::new());
        let pause = pool.pause_timeout(Duration::from_millis(20));
        pool.submit(ran.task()).unwrap();
        assert!(pool.wait_idle_timeout(LIMIT / 2));
        assert_eq!(ran.get(), 1);
        drop(pause);

        // And the end of one that began after it had worked.
        let pause = pool.pause_timeout(Duration::from_millis(20));
        pool.submit(ran.task()).unwrap();
        assert!(pool.wait_idle_timeout(LIMIT / 2));
        drop(pause);
        assert_conserved(&*pool);
    });
}

#[test]
fn d13_a_spinning_worker_hears_its_end() {
    for_each(|variant| {
        let pool = variant.build(Setup { min_workers: Some(2), ..spinning() });
        pool.tune(1).unwrap();
        eventually("the surplus ends", || pool.stats().live == 1);
        let start = Instant::now();
        assert!(pool.shutdown().is_complete());
        pool.restart().unwrap();
        pool.submit(Task::new(|| ())).unwrap();
        drop(pool);
        assert!(start.elapsed() < LIMIT / 2);
    });
}

/// One above the minimum expires when its time is over, and not when it stops spinning.
#[test]
fn d13_a_spinning_worker_expires() {
    for_each(|variant| {
        let setup = Setup { min_workers: Some(0), expiry: Some(Some(Duration::from_millis(5))), ..spinning() };
        let pool = variant.build(setup);
        pool.submit(Task::new(|| ())).unwrap();
        eventually("the worker expires", || pool.stats().live == 0);
    });
}
