//! Fork and join: Fibonacci numbers by recursion, which is nothing but forks, and the same with small leaves; by joins, and by scopes of two
//! tasks.

use super::{Ask, Row};
use crate::measure::{Times, repeated};
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

fn scoped<F: Forks>(pool: &F, n: u32) -> u64 {
    if n < 2 {
        return u64::from(n);
    }
    let (mut a, mut b) = (0, 0);
    pool.scope(|| a = scoped(pool, n - 1), || b = scoped(pool, n - 2));
    a + b
}

/// A pool for forks, whose threads have started.
pub fn build<F: Forks>() -> F {
    F::build(&Plan { eager: true, ..Plan::new(2) })
}

/// A row with the quantiles of the times.
pub fn row(row: Row, times: &Times) -> Row {
    row.with("p50 us", times.quantile(0.5) / 1e3).with("p99 us", times.quantile(0.99) / 1e3)
}

fn fibs<F: Forks>(ask: Ask, n: u32, fib: impl Fn(&F) -> u64 + Sync) -> Row {
    let pool: F = build();
    let (runs, expected) = (ask.count(200, 2), alone(n));
    let (measured, times) =
        repeated(runs, || (), |()| pool.install(|| fib(&pool)), |found: u64| assert_eq!(found, expected));
    pool.end();
    row(measured, &times)
}

pub fn fib<F: Forks>(ask: Ask, n: u32, cut: u32) -> Row {
    fibs::<F>(ask, n, |pool| forked(pool, n, cut))
}

pub fn fib_by_scopes<F: Forks>(ask: Ask, n: u32) -> Row {
    fibs::<F>(ask, n, |pool| scoped(pool, n))
}
