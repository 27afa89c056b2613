//! Tasks of 5 µs that arrive at a fixed rate of 20,000 a second, whatever the pool does. The figure is the time from when a task was due
//! to its start.
//!
//! The submitter spins on the clock until a task is due. It takes a core. A task that is submitted late counts as late.
//! Each task writes its start into memory that was allocated before.
//!
//! `workers ms` is the processor time of all other threads. `blocked/task` is how often a thread blocked for each task: about once, or more
//! often, where workers sleep between two tasks, and hardly ever where one of them spins.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Ask, Row};
use crate::measure::{Meter, TALLY, Times, nanoseconds, thread_cpu};
use crate::pools::{Closures, Plan};
use crate::work;

const INTERVAL: u64 = 50_000;

struct Log {
    epoch: Instant,
    /// Nanoseconds since the epoch at which each task started.
    started: Vec<AtomicU64>,
}

pub fn open_loop<C: Closures>(ask: Ask) -> Row {
    let tasks = ask.count(10_000, 50);
    let pool = C::build(&Plan::new(2));
    let steps = work::steps_for(Duration::from_micros(5));
    run(&pool, tasks / 10, steps);
    let (meter, before) = (Meter::start(), thread_cpu());
    let waits = run(&pool, tasks, steps);
    let (row, own) = (meter.row(), thread_cpu() - before);
    let (workers_ms, blocked) = (row.cpu_ms - own.as_secs_f64() * 1e3, row.voluntary as f64);
    pool.end();
    TALLY.check();
    row.with("p50 us", waits.quantile(0.5) / 1e3)
        .with("p99 us", waits.quantile(0.99) / 1e3)
        .with("max us", waits.max() / 1e3)
        .with("workers ms", workers_ms)
        .with("blocked/task", blocked / tasks as f64)
}

fn run<C: Closures>(pool: &C, tasks: u64, steps: u64) -> Times {
    let started = (0..tasks).map(|_| AtomicU64::new(0)).collect();
    let log: &'static Log = Box::leak(Box::new(Log { epoch: Instant::now(), started }));
    TALLY.begin(tasks);
    let due = |n: u64| (n + 1) * INTERVAL;
    for n in 0..tasks {
        while nanoseconds(log.epoch.elapsed()) < due(n) {
            std::hint::spin_loop();
        }
        pool.submit(move || {
            log.started[n as usize].store(nanoseconds(log.epoch.elapsed()), Relaxed);
            work::steps(steps);
            TALLY.one();
        });
    }
    TALLY.wait();
    let waits = log.started.iter().zip(0..).map(|(start, n)| start.load(Relaxed).saturating_sub(due(n)));
    Times::new(waits.collect())
}
