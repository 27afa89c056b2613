//! The shortest way through every pool.

mod support;
use support::*;

/// A01
#[test]
fn a01_every_task_runs_exactly_once() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(100, 1024));
        let count = Count::new();
        for _ in 0..100_000 {
            pool.submit(count.task()).unwrap();
        }
        pool.wait_idle();
        assert_eq!(count.get(), 100_000);
        assert_conserved(&*pool);
    });
}
