//! Two tenants of one pool: one floods it with 20,000 tasks of 10 µs, the other submits a task every millisecond. The figure is the time from
//! when a task of the other was due to its start. Its submitter sleeps until then, and until the task before has started.
//!
//! `Pool<Sharded>, by key` submits with a key for each tenant.

use std::time::{Duration, Instant};

use super::{Ask, Row};
use crate::measure::{Meter, TALLY, Times, nanoseconds};
use crate::pools::{Closures, Plan};
use crate::work;

const BUSY: usize = 0;
const QUIET: usize = 1;
const INTERVAL: Duration = Duration::from_millis(1);

pub fn tenants<C: Closures>(ask: Ask) -> Row {
    let flood = ask.count(20_000, 200);
    let pool = C::build(&Plan::new(2));
    let steps = work::steps_for(Duration::from_micros(10));
    run(&pool, flood / 10, steps);
    let meter = Meter::start();
    let waits = run(&pool, flood, steps);
    let row = meter.row();
    pool.end();
    TALLY.check();
    row.with("p50 us", waits.quantile(0.5) / 1e3)
        .with("p99 us", waits.quantile(0.99) / 1e3)
        .with("max us", waits.max() / 1e3)
        .with("tasks", waits.len() as f64)
}

/// Returns how long each task of the quiet tenant waited.
fn run<C: Closures>(pool: &C, flood: u64, steps: u64) -> Times {
    TALLY.begin(flood);
    let mut waits = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..flood).for_each(|_| {
                pool.submit_for(BUSY, move || {
                    work::steps(steps);
                    TALLY.one();
                });
            });
        });
        let mut due = Instant::now() + INTERVAL;
        while waits.is_empty() || !TALLY.is_done() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let (sender, receiver) = crossbeam_channel::bounded(1);
            pool.submit_for(QUIET, move || sender.send(Instant::now()).expect("the tenant waits"));
            let started = receiver.recv().expect("the task runs");
            waits.push(nanoseconds(started.saturating_duration_since(due)));
            due = (due + INTERVAL).max(Instant::now());
        }
    });
    TALLY.wait();
    Times::new(waits)
}
