//! Sixty-four tasks of about 20 µs at once, then a pause: how long until two parked workers have done all of them. 640 µs of work
//! for each is the least that it can take on a machine with two idle cores.
//!
//! `cargo bench --bench burst`

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{criterion, each_pool, many, sampled, spin, steady, task_pools};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use formicary::Task;

const TASKS: u64 = 64;
const MICROS: u64 = 20;
const WORKERS: usize = 2;
/// Longer than a worker spins before it parks.
const REST: Duration = Duration::from_millis(1);

fn bursts(criterion: &mut Criterion) {
    spin(1); // measures what a microsecond is
    let mut group = criterion.benchmark_group("burst");
    group.throughput(Throughput::Elements(TASKS));
    each_pool(&mut group, &task_pools(), &steady(WORKERS), |bencher, pool| {
        let one = || {
            sleep(REST);
            let start = Instant::now();
            for _ in 0..TASKS {
                assert!(pool.submit(Task::new(|| spin(MICROS))).is_ok(), "the pool is open");
            }
            pool.wait_idle();
            start.elapsed()
        };
        bencher.iter_custom(|iterations| sampled(iterations, many(200), one));
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion(); targets = bursts }
criterion_main!(benches);
