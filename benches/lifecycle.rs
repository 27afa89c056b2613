//! The cost of a pool: building it, one task and its end; growing and shrinking; pausing and resuming.
//!
//! `cargo bench --bench lifecycle`; a part of it with a name, `-- tune`.

mod common;

use common::{criterion, each_pool, steady, support::Setup, task_pools};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use formicary::{Task, WorkerPool};

const WORKERS: usize = 4;

fn submit(pool: &dyn WorkerPool<Task>) {
    assert!(pool.submit(Task::new(|| ())).is_ok(), "the pool is open");
}

/// Four workers are started, one of them runs a task, and all are joined.
fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lifecycle/build, one task, shutdown");
    for candidate in task_pools() {
        group.bench_function(BenchmarkId::from_parameter(&candidate.name), |bencher| {
            bencher.iter(|| {
                let pool = (candidate.build)(steady(WORKERS));
                submit(&*pool);
                assert!(pool.shutdown().is_complete());
            });
        });
    }
    group.finish();
}

/// From one worker to four and back. There is no work, so no thread starts: this is the call itself.
fn tune(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lifecycle/tune up and down");
    let setup = Setup { workers: Some(WORKERS), min_workers: Some(1), ..Setup::default() };
    each_pool(&mut group, &task_pools(), &setup, |bencher, pool| {
        bencher.iter(|| {
            assert!(pool.tune(1).is_ok());
            assert!(pool.tune(WORKERS).is_ok());
        });
    });
    group.finish();
}

/// A task is submitted to a pool that is paused, and runs when it resumes.
fn pause(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lifecycle/pause, one task, resume");
    each_pool(&mut group, &task_pools(), &steady(1), |bencher, pool| {
        bencher.iter(|| {
            let pause = pool.pause();
            submit(pool);
            drop(pause);
            pool.wait_idle();
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion(); targets = build, tune, pause }
criterion_main!(benches);
