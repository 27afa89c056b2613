//! Starting and ending a pool, and panics.

use std::panic::{self, panic_any};
use std::time::{Duration, Instant};

use super::{Ask, Row};
use crate::measure::{Meter, TALLY, Times, nanoseconds};
use crate::pools::{Closures, Plan};

pub const WORKERS: usize = 2;
/// No round begins after this time, for contestants that need a tenth of a second for one.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// Measures one pool after the other, each with one task.
pub fn rounds(ask: Ask, life: impl Fn()) -> Row {
    let rounds = ask.count(1000, 10);
    let one = || {
        TALLY.begin(1);
        let start = Instant::now();
        life();
        let time = nanoseconds(start.elapsed());
        TALLY.check();
        time
    };
    for _ in 0..rounds.min(50) / 10 {
        one();
    }
    let meter = Meter::start();
    let mut times = Vec::new();
    while times.len() < rounds as usize && (times.len() < 10 || meter.elapsed() < LONG_ENOUGH) {
        times.push(one());
    }
    let times = Times::new(times);
    meter
        .row()
        .with("p50 us", times.quantile(0.5) / 1e3)
        .with("p99 us", times.quantile(0.99) / 1e3)
        .with("mean us", times.mean() / 1e3)
}

/// Build, one task, shut down, joined as far as the pool can do that. A pool that starts threads on demand
/// starts one.
pub fn construct<C: Closures>(ask: Ask) -> Row {
    rounds(ask, || {
        let pool = C::build(&Plan::new(WORKERS));
        pool.submit(|| TALLY.one());
        TALLY.wait();
        pool.end();
    })
}

/// With a panic hook that does nothing.
pub fn silently<T>(f: impl FnOnce() -> T) -> T {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let result = f();
    panic::set_hook(hook);
    result
}

/// Tasks that panic, after they have been counted.
pub fn panic<C: Closures>(ask: Ask) -> Row {
    let full = if C::PANIC_ENDS_THREAD { 10_000 } else { 100_000 };
    let tasks = ask.count(full, 20);
    let pool = C::build(&Plan::new(WORKERS));
    let run = |tasks| {
        TALLY.begin(tasks);
        let meter = Meter::start();
        for _ in 0..tasks {
            pool.submit(|| {
                TALLY.one();
                panic_any(0_u8);
            });
        }
        TALLY.wait();
        meter
    };
    let row = silently(|| {
        run(tasks / 10);
        let meter = run(tasks);
        let time = meter.elapsed();
        meter.row().with("ns", nanoseconds(time) as f64 / tasks as f64)
    });
    silently(|| pool.end());
    TALLY.check();
    row
}
