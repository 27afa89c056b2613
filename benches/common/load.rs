//! Tiny tasks through a pool, as fast as possible: only the pool's cost is measured.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use formicary::{Task, WorkerPool};

use super::{Candidate, each_pool, many, steady};

const TASKS: u64 = 20_000;
const WORKERS: usize = 2;

static DONE: AtomicU64 = AtomicU64::new(0);

/// What a tiny task does.
pub fn add(n: u64) {
    DONE.fetch_add(n, Relaxed);
}

pub fn tiny_task() -> Task {
    Task::new(|| add(1))
}

/// How many threads submit, and how.
#[derive(Clone, Copy)]
pub struct Load {
    pub submitters: u64,
    /// How many are submitted in one call: one by `submit`, more by `submit_all`.
    pub slice: u64,
}

/// The time per task, from the first submit to the last one's end, for each candidate.
pub fn measure<T: 'static>(
    criterion: &mut Criterion,
    name: &str,
    candidates: &[Candidate<T>],
    load: Load,
    item: fn() -> T,
) {
    let tasks = many(TASKS).next_multiple_of(load.submitters * load.slice);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(tasks));
    each_pool(&mut group, candidates, &steady(WORKERS), |bencher, pool| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| round(pool, tasks, load, item)).sum());
    });
    group.finish();
}

fn round<T: 'static>(pool: &dyn WorkerPool<T>, tasks: u64, load: Load, item: fn() -> T) -> Duration {
    let before = DONE.load(Relaxed);
    let submit = || {
        for _ in 0..tasks / load.submitters / load.slice {
            if load.slice == 1 {
                assert!(pool.submit(item()).is_ok(), "the pool is open");
            } else {
                let accepted = pool.submit_all(&mut (0..load.slice).map(|_| item()));
                assert!(accepted.is_ok(), "the pool is open");
            }
        }
    };
    let go = Barrier::new(load.submitters as usize);
    let start = std::thread::scope(|scope| {
        for _ in 1..load.submitters {
            scope.spawn(|| {
                go.wait();
                submit();
            });
        }
        go.wait();
        let start = Instant::now();
        submit();
        start
    });
    pool.wait_idle();
    let took = start.elapsed();
    assert_eq!(DONE.load(Relaxed) - before, tasks, "every task ran once");
    took
}
