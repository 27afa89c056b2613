//! One task of 50 ms, then 10,000 of 10 µs, on two workers: the short ones should take as long as with one
//! worker less, and none should wait for the long one.
//!
//! `ms/ideal` is the time until the last short one is done over what one bare thread takes for all the short ones. A
//! short task is `stuck` if it began after the end of the long one, although some that came more than a queue's
//! length (1,024 and a few) after it began before that.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Ask, Row};
use crate::measure::{Meter, TALLY, nanoseconds};
use crate::pools::{Closures, Plan};
use crate::work;

const FAR_BEHIND: usize = Plan::QUEUE + 64;

struct Log {
    epoch: Instant,
    long_ended: AtomicU64,
    started: Vec<AtomicU64>,
    ended: AtomicU64,
}

pub fn one_long<C: Closures>(ask: Ask) -> Row {
    let tasks = ask.count(10_000, 100);
    let pool = C::build(&Plan::new(2));
    let steps = work::steps_for(Duration::from_micros(10));
    run(&pool, tasks / 10, steps);
    let before = work::bare(1, tasks / 2, steps);
    let meter = Meter::start();
    let log = run(&pool, tasks, steps);
    let row = meter.row();
    let ideal = nanoseconds(before + work::bare(1, tasks - tasks / 2, steps)) as f64;
    pool.end();
    TALLY.check();
    let end_of_long = log.long_ended.load(Relaxed);
    let is_early = |start: &AtomicU64| start.load(Relaxed) < end_of_long;
    let last_early = log.started.iter().rposition(is_early).unwrap_or(0);
    let passed = &log.started[..last_early.saturating_sub(FAR_BEHIND)];
    let time = log.ended.load(Relaxed) as f64;
    row.with("ms/ideal", time / ideal)
        .with("stuck", passed.iter().filter(|start| !is_early(start)).count() as f64)
        .with("ms", time / 1e6)
        .with("ideal ms", ideal / 1e6)
        .with("during long", log.started.iter().filter(|start| is_early(start)).count() as f64)
}

fn run<C: Closures>(pool: &C, tasks: u64, steps: u64) -> &'static Log {
    let log: &'static Log = Box::leak(Box::new(Log {
        epoch: Instant::now(),
        long_ended: AtomicU64::new(0),
        started: (0..tasks).map(|_| AtomicU64::new(0)).collect(),
        ended: AtomicU64::new(0),
    }));
    TALLY.begin(tasks + 1);
    // Half of the time that the short ones need: 50 ms at full scale.
    pool.submit(move || {
        work::steps(steps * tasks / 2);
        log.long_ended.store(nanoseconds(log.epoch.elapsed()), Relaxed);
        TALLY.one();
    });
    for n in 0..tasks as usize {
        pool.submit(move || {
            log.started[n].store(nanoseconds(log.epoch.elapsed()), Relaxed);
            work::steps(steps);
            log.ended.fetch_max(nanoseconds(log.epoch.elapsed()), Relaxed);
            TALLY.one();
        });
    }
    TALLY.wait();
    log
}
