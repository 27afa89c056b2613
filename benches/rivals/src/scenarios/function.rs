//! Payloads of `u64` through one bound function that adds one to a counter; one by one, and in slices.

use super::{Ask, Row};
use crate::measure::{Meter, TALLY, nanoseconds};
use crate::pools::{Bound, Machine, Plan};

#[derive(Default)]
pub struct Count;

impl Machine for Count {
    fn step(&mut self, n: u64) -> u64 {
        TALLY.one();
        n
    }
}

fn flood<B: Bound<Count>>(pool: &B, tasks: u64, submit: impl Fn(&B, u64)) -> (Meter, f64) {
    TALLY.begin(tasks);
    let meter = Meter::start();
    submit(pool, tasks);
    TALLY.wait();
    let time = meter.elapsed();
    (meter, nanoseconds(time) as f64 / tasks as f64)
}

fn singly<B: Bound<Count>>(pool: &B, tasks: u64) {
    (0..tasks).for_each(|n| pool.invoke(n));
}

const SLICE: u64 = 256;

fn in_slices<B: Bound<Count>>(pool: &B, tasks: u64) {
    for start in (0..tasks).step_by(SLICE as usize) {
        pool.invoke_all(start..tasks.min(start + SLICE));
    }
}

pub fn one_by_one<B: Bound<Count>>(ask: Ask) -> Row {
    let tasks = ask.count(1_000_000, 100);
    let pool = B::build(&Plan::new(2));
    flood(&pool, tasks / 10, singly);
    let (meter, ns) = flood(&pool, tasks, singly);
    let row = meter.row().with("ns", ns);
    pool.end();
    TALLY.check();
    row
}

/// In slices of 256 and, on the same pool just before, one by one.
pub fn batch<B: Bound<Count>>(ask: Ask) -> Row {
    let tasks = ask.count(1_000_000, 300);
    let pool = B::build(&Plan::new(2));
    flood(&pool, tasks / 10, singly);
    flood(&pool, tasks / 10, in_slices);
    let (_, single) = flood(&pool, tasks, singly);
    let (meter, ns) = flood(&pool, tasks, in_slices);
    let row = meter.row().with("ns", ns).with("single ns", single).with("to single", ns / single);
    pool.end();
    TALLY.check();
    row
}
