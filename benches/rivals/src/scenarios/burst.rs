//! Bursts: 64 tasks of 20 µs at once, then 5 ms in which the submitter sleeps, 200 times. The figures are the time of a burst, against
//! two bare threads that do 32 tasks each, and the CPU time that waking and spinning take.

use std::time::{Duration, Instant};

use super::{Ask, Row, work10us::WORKERS};
use crate::measure::{Meter, TALLY, Times, nanoseconds};
use crate::pools::{Closures, Plan};
use crate::work;

/// Tasks in a burst.
pub const TASKS: u64 = 64;
const PAUSE: Duration = Duration::from_millis(5);

pub fn burst<C: Closures>(ask: Ask) -> Row {
    let pool = C::build(&Plan::new(WORKERS as usize));
    let tally = &TALLY;
    let row = bursts(ask, |steps| {
        for _ in 0..TASKS {
            pool.submit(move || {
                work::steps(steps);
                tally.one();
            });
        }
    });
    pool.end();
    TALLY.check();
    row
}

/// Measures bursts that `begin` starts, given how many steps a task has.
pub fn bursts(ask: Ask, begin: impl Fn(u64)) -> Row {
    let bursts = ask.count(200, 5);
    let steps = work::steps_for(Duration::from_micros(20));
    let one = || {
        TALLY.begin(TASKS);
        let start = Instant::now();
        begin(steps);
        TALLY.wait();
        nanoseconds(start.elapsed())
    };
    // As many tasks as fifty bursts have.
    let ideal = || work::bare(WORKERS, 50 * TASKS, steps).as_secs_f64() / 50.0 * 1e6;
    for _ in 0..bursts / 10 + 1 {
        one();
    }
    let before = ideal();
    let mut times = Vec::new();
    let meter = Meter::start();
    for _ in 0..bursts {
        times.push(one());
        std::thread::sleep(PAUSE);
    }
    let row = meter.row();
    let ideal = f64::midpoint(before, ideal());
    let times = Times::new(times);
    let (p50, p99) = (times.quantile(0.5) / 1e3, times.quantile(0.99) / 1e3);
    let work = ideal * WORKERS as f64 * bursts as f64 / 1e3;
    let cpu = row.cpu_ms / work;
    row.with("p50/ideal", p50 / ideal)
        .with("p99/ideal", p99 / ideal)
        .with("CPU/work", cpu)
        .with("p50 us", p50)
        .with("p99 us", p99)
        .with("ideal us", ideal)
}
