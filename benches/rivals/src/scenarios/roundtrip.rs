//! One caller, one worker: a call with an answer, `u64` to `u64`. Every call is timed by itself, so each figure
//! includes one reading of the clock (`floors::clock_ns`). Calls follow each other at once, or the caller sleeps for 200 µs in between
//! (somewhat more by the system's timer), so that the worker sleeps too, and both cores are idle.

use std::time::{Duration, Instant};

use super::{Ask, Row};
use crate::floors;
use crate::measure::{Meter, Times, nanoseconds};
use crate::pools::{Bound, Closures, Machine, Plan};

#[derive(Default)]
pub struct Next;

impl Machine for Next {
    fn step(&mut self, n: u64) -> u64 {
        n + 1
    }
}

const PAUSE: Duration = Duration::from_micros(200);

/// Measures calls of something that adds one.
pub fn calls(ask: Ask, idle_between: bool, mut call: impl FnMut(u64) -> u64) -> Row {
    let count = if idle_between { ask.count(2_000, 20) } else { ask.count(100_000, 100) };
    (0..count / 10).for_each(|n| assert_eq!(call(n), n + 1));
    let mut times = Vec::with_capacity(count as usize);
    let meter = Meter::start();
    for n in 0..count {
        if idle_between {
            std::thread::sleep(PAUSE);
        }
        let start = Instant::now();
        let answer = call(n);
        times.push(nanoseconds(start.elapsed()));
        assert_eq!(answer, n + 1, "each call has its own answer");
    }
    let row = meter.row();
    let times = Times::new(times);
    row.with("p50 ns", times.quantile(0.5))
        .with("p99 ns", times.quantile(0.99))
        .with("mean ns", times.mean())
        .with("clock ns", floors::clock_ns())
}

pub fn of_closures<C: Closures>(ask: Ask, idle_between: bool) -> Row {
    let pool = C::build(&Plan::new(1));
    let row = calls(ask, idle_between, |n| pool.call(n));
    pool.end();
    row
}

pub fn of_function<B: Bound<Next>>(ask: Ask, idle_between: bool) -> Row {
    let pool = B::build(&Plan::new(1));
    let row = calls(ask, idle_between, |n| pool.call(n));
    pool.end();
    row
}
