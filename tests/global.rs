//! The pool of the whole process. A program of its own: whatever ends that pool ends it for all.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::sync::Arc;

use formicary::Pool;
use parking_lot::Mutex;
use support::races::together;
use support::{Count, LIMIT, threads_named, within};

/// One test, for there is one pool.
#[test]
fn the_pool_of_all() {
    within(LIMIT, "the pool of all", || {
        // Nothing in the crate makes it.
        let own = Pool::new(1).unwrap();
        assert_eq!(own.map(0..10, |n| n).count(), 10);
        drop(own);
        assert_eq!(threads_named(formicary::DEFAULT_NAME), 0);

        // It is built once, whichever thread comes first.
        let pools = Arc::new(Mutex::new(Vec::new()));
        together(8, |_| pools.lock().push(Pool::global()));
        assert!(pools.lock().iter().all(|pool| std::ptr::eq(*pool, Pool::global())));
        let pool = Pool::global();
        let stats = pool.stats();
        assert_eq!((stats.capacity, stats.live, stats.submitted), (num_cpus(), 0, 0), "no thread yet");

        let count = Count::new();
        together(8, |_| {
            (0..100).for_each(|_| {
                pool.submit({
                    let count = count.clone();
                    move || count.up()
                })
                .unwrap()
            })
        });
        assert!(pool.wait_idle());
        assert_eq!((count.get(), pool.stats().completed), (800, 800));

        // Its end affects every user.
        assert!(pool.shutdown().is_complete());
        assert!(Pool::global().try_submit(|| ()).unwrap_err().is_closed());
        pool.restart().unwrap();
        assert_eq!(Pool::global().run(|| 7).unwrap(), 7);
    });
}

fn num_cpus() -> usize {
    Pool::builder().min_workers(0).build().unwrap().capacity()
}
