//! Tiny tasks: closures that add one to a counter. The cost of the pool when the task costs nothing.
//!
//! A queue that is always bounded has room for 1,024 (ours by default, and the hand-rolled ones), so producers wait for workers. The other
//! queues grow.

use std::sync::Barrier;

use super::{Ask, Row};
use crate::measure::{Meter, TALLY, nanoseconds};
use crate::pools::{Closures, Plan};

/// Submits `tasks` from so many threads and waits for the last; from the first submission to the last task's end.
fn flood<C: Closures>(pool: &C, producers: u64, tasks: u64) -> (Meter, f64) {
    let each = tasks / producers;
    let submit = || {
        let tally = &TALLY;
        (0..each).for_each(|_| pool.submit(move || tally.one()));
    };
    TALLY.begin(each * producers);
    let meter = if producers == 1 {
        let meter = Meter::start();
        submit();
        meter
    } else {
        let go = Barrier::new(producers as usize + 1);
        std::thread::scope(|scope| {
            for _ in 0..producers {
                scope.spawn(|| {
                    go.wait();
                    submit();
                });
            }
            let meter = Meter::start();
            go.wait();
            meter
        })
    };
    TALLY.wait();
    let time = meter.elapsed();
    (meter, nanoseconds(time) as f64 / (each * producers) as f64)
}

pub fn tiny<C: Closures>(ask: Ask, producers: u64) -> Row {
    let tasks = ask.count(1_000_000, 100);
    let pool = C::build(&Plan::new(2));
    flood(&pool, producers, tasks / 10 + producers);
    let (meter, ns) = flood(&pool, producers, tasks);
    let row = meter.row().with("ns", ns);
    pool.end();
    TALLY.check();
    row
}

/// 1, 2, 4, 8 and 16 producers on one pool.
pub fn producers<C: Closures>(ask: Ask) -> Row {
    let tasks = ask.count(200_000, 160);
    let pool = C::build(&Plan::new(2));
    flood(&pool, 1, tasks / 4);
    let meter = Meter::start();
    let [p1, p2, p4, p8, p16] = [1, 2, 4, 8, 16].map(|producers| flood(&pool, producers, tasks).1);
    let row = meter.row();
    pool.end();
    TALLY.check();
    row.with("16 to 1", p16 / p1).with("p1", p1).with("p2", p2).with("p4", p4).with("p8", p8).with("p16", p16)
}
