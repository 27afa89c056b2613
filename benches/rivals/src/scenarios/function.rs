//! Payloads of `u64` through one bound function that adds one to a counter; one by one, and in slices.

use std::hint::black_box;
use std::ops::Range;

use super::{Ask, Row};
use crate::measure::{Meter, TALLY, nanoseconds};
use crate::pools::{Bound, Closures, Machine, Plan};

#[derive(Default)]
pub struct Count;

impl Machine for Count {
    fn step(&mut self, n: u64) -> u64 {
        TALLY.one();
        n
    }
}

/// So many tasks, and the time of one.
fn flood(tasks: u64, submit: impl FnOnce(u64)) -> (Meter, f64) {
    TALLY.begin(tasks);
    let meter = Meter::start();
    submit(tasks);
    TALLY.wait();
    let time = meter.elapsed();
    (meter, nanoseconds(time) as f64 / tasks as f64)
}

fn singly(tasks: u64, submit: impl Fn(u64)) {
    (0..tasks).for_each(submit);
}

const SLICE: u64 = 256;

fn in_slices(tasks: u64, submit_all: impl Fn(Range<u64>)) {
    (0..tasks).step_by(SLICE as usize).for_each(|start| submit_all(start..tasks.min(start + SLICE)));
}

pub fn one_by_one<B: Bound<Count>>(ask: Ask) -> Row {
    let tasks = ask.count(1_000_000, 100);
    let pool = B::build(&Plan::new(2));
    let submit = |n| pool.invoke(n);
    flood(tasks / 10, |tasks| singly(tasks, submit));
    let (meter, ns) = flood(tasks, |tasks| singly(tasks, submit));
    let row = meter.row().with("ns", ns);
    pool.end();
    TALLY.check();
    row
}

/// In slices of 256 and, on the same pool just before, one by one.
fn batches(ask: Ask, submit: impl Fn(u64) + Copy, submit_all: impl Fn(Range<u64>) + Copy) -> Row {
    let tasks = ask.count(1_000_000, 300);
    flood(tasks / 10, |tasks| singly(tasks, submit));
    flood(tasks / 10, |tasks| in_slices(tasks, submit_all));
    let (_, single) = flood(tasks, |tasks| singly(tasks, submit));
    let (meter, ns) = flood(tasks, |tasks| in_slices(tasks, submit_all));
    meter.row().with("ns", ns).with("single ns", single).with("to single", ns / single)
}

pub fn batch<B: Bound<Count>>(ask: Ask) -> Row {
    let pool = B::build(&Plan::new(2));
    let row = batches(ask, |n| pool.invoke(n), |all| pool.invoke_all(all));
    pool.end();
    TALLY.check();
    row
}

/// A pool without a bound function has closures of the same size.
pub fn batch_of_closures<C: Closures>(ask: Ask) -> Row {
    let pool = C::build(&Plan::new(2));
    let task = |n| {
        move || {
            black_box(n);
            TALLY.one();
        }
    };
    let row = batches(ask, |n| pool.submit(task(n)), |all| pool.submit_all(all.map(task)));
    pool.end();
    TALLY.check();
    row
}
