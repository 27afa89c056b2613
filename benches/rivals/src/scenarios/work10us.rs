//! Tasks of 10 µs of work, with as many workers as cores and with up to 1,024: which part of the two cores' time the work
//! gets.
//!
//! Efficiency is the time that two bare threads take for the same steps (measured with a tenth of them just before
//! and another tenth just after) over the time that the pool takes.

use std::time::Duration;

use super::{Ask, Row};
use crate::measure::{Meter, TALLY};
use crate::pools::{Closures, Plan};
use crate::work;

pub const WORKERS: u64 = 2;

/// Measures `run(tasks, steps)`, which does so many tasks of so many steps.
pub fn against_ideal(ask: Ask, run: impl Fn(u64, u64)) -> Row {
    let tasks = ask.count(100_000, 100);
    let steps = work::steps_for(Duration::from_micros(10));
    run(tasks / 10, steps);
    let before = work::bare(WORKERS, tasks / 10, steps);
    let meter = Meter::start();
    run(tasks, steps);
    let time = meter.elapsed();
    let row = meter.row();
    let after = work::bare(WORKERS, tasks / 10, steps);
    let ideal = (before + after).as_secs_f64() / (2 * (tasks / 10)) as f64 * tasks as f64;
    let cpu = row.cpu_ms / 1e3;
    row.with("efficiency", ideal / time.as_secs_f64())
        .with("us/task", time.as_secs_f64() * 1e6 / tasks as f64)
        .with("CPU/work", cpu / (ideal * WORKERS as f64))
}

pub fn work<C: Closures>(ask: Ask, workers: usize) -> Row {
    let pool = C::build(&Plan::new(workers));
    let row = against_ideal(ask, |tasks, steps| {
        TALLY.begin(tasks);
        let tally = &TALLY;
        for _ in 0..tasks {
            pool.submit(move || {
                work::steps(steps);
                tally.one();
            });
        }
        TALLY.wait();
    });
    pool.end();
    TALLY.check();
    row
}
