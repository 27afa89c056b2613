//! A tree of tasks: each submits two more, down to the last level. All but the first are submitted by workers, to their own pool.

use super::{Ask, Row};
use crate::measure::{Meter, TALLY, nanoseconds};
use crate::pools::{Closures, Plan, with_reachable};

fn node<C: Closures>(pool: &'static C, levels: u32) {
    if levels > 1 {
        pool.submit(move || node(pool, levels - 1));
        pool.submit(move || node(pool, levels - 1));
    }
    TALLY.one();
}

/// A tree of so many levels, and the time that a task took.
fn grow<C: Closures>(pool: &'static C, levels: u32) -> (Meter, f64) {
    let tasks = (1 << levels) - 1;
    TALLY.begin(tasks);
    let meter = Meter::start();
    pool.submit(move || node(pool, levels));
    TALLY.wait();
    let time = meter.elapsed();
    (meter, nanoseconds(time) as f64 / tasks as f64)
}

pub fn tree<C: Closures>(ask: Ask) -> Row {
    let levels = ask.count(1 << 18, 1 << 6).ilog2();
    // SAFETY: a task counts itself last.
    unsafe {
        with_reachable::<C, _>(&Plan::new(2), |pool| {
            grow(pool, levels - 3);
            let (meter, ns) = grow(pool, levels);
            meter.row().with("ns", ns)
        })
    }
}
