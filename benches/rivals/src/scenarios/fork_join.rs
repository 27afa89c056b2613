//! Fork and join: Fibonacci numbers by recursion, which is nothing but forks, and the same with small leaves.

use std::time::Duration;

use super::{Ask, Row};
use crate::measure::{Meter, Times, nanoseconds};
use crate::pools::{Forks, Plan};

fn alone(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { alone(n - 1) + alone(n - 2) }
}

/// Forks down to `cut`.
fn forked<F: Forks>(pool: &F, n: u32, cut: u32) -> u64 {
    if n < cut {
        return alone(n);
    }
    let (a, b) = pool.join(|| forked(pool, n - 1, cut), || forked(pool, n - 2, cut));
    a + b
}

pub fn fib<F: Forks>(ask: Ask, n: u32, cut: u32) -> Row {
    let pool = F::build(&Plan { eager: true, ..Plan::new(2) });
    let (runs, expected) = (ask.count(200, 2), alone(n));
    let run = || assert_eq!(pool.install(|| forked(&pool, n, cut)), expected);
    (0..runs.div_ceil(10)).for_each(|_| run());
    let meter = Meter::start();
    let times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = meter.elapsed();
            run();
            meter.elapsed() - start
        })
        .collect();
    let row = meter.row();
    pool.end();
    let times = Times::new(times.into_iter().map(nanoseconds).collect());
    row.with("p50 us", times.quantile(0.5) / 1e3).with("p99 us", times.quantile(0.99) / 1e3)
}
