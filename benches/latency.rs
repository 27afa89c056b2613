//! How long a task waits before it starts, though two workers have time for it: if both are parked, and if a short task arrives now
//! and then.
//!
//! `cargo bench --bench latency`; `-- trickle` for one of the two.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{criterion, each_pool, many, sampled, spin, steady, task_pools};
use criterion::{Criterion, criterion_group, criterion_main};
use formicary::{Task, WorkerPool};

const WORKERS: usize = 2;
/// Longer than a worker spins before it parks.
const REST: Duration = Duration::from_micros(200);
/// From one task of the trickle to the next; each takes [`WORK`] microseconds.
const PACE: Duration = Duration::from_micros(50);
const WORK: u64 = 10;

/// Adds up how long tasks waited.
#[derive(Clone, Default)]
struct Waits(Arc<AtomicU64>);

impl Waits {
    fn task(&self, work: u64) -> Task {
        let (waits, submitted) = (Arc::clone(&self.0), Instant::now());
        Task::new(move || {
            waits.fetch_add(submitted.elapsed().as_nanos() as u64, Relaxed);
            spin(work);
        })
    }

    fn submit(&self, pool: &dyn WorkerPool<Task>, work: u64) {
        assert!(pool.submit(self.task(work)).is_ok(), "the pool is open");
    }

    /// Returns the sum so far and resets it.
    fn take(&self) -> Duration {
        Duration::from_nanos(self.0.swap(0, Relaxed))
    }
}

fn idle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("latency/idle");
    each_pool(&mut group, &task_pools(), &steady(WORKERS), |bencher, pool| {
        let waits = Waits::default();
        let one = || {
            sleep(REST);
            waits.submit(pool, 0);
            pool.wait_idle();
            waits.take()
        };
        bencher.iter_custom(|iterations| sampled(iterations, many(100), one));
    });
    group.finish();
}

/// The next task is submitted on time, whether the one before it has started or not.
fn trickle(criterion: &mut Criterion) {
    spin(1); // measures what a microsecond is
    let mut group = criterion.benchmark_group("latency/trickle");
    each_pool(&mut group, &task_pools(), &steady(WORKERS), |bencher, pool| {
        let waits = Waits::default();
        bencher.iter_custom(|iterations| {
            let tasks = iterations.min(many(500));
            let start = Instant::now();
            for n in 0..tasks {
                while start.elapsed() < PACE * n as u32 {
                    std::hint::spin_loop();
                }
                waits.submit(pool, WORK);
            }
            pool.wait_idle();
            waits.take().mul_f64(iterations as f64 / tasks as f64)
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion(); targets = idle, trickle }
criterion_main!(benches);
