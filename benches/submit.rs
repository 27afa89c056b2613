//! What it costs to submit, for every pool there is: tiny tasks through two workers, from one submitter and from four.
//!
//! `cargo bench --bench submit`; a part of it with a name, `cargo bench --bench submit -- "four submitters"`.
#![allow(clippy::expect_used)] // a benchmark that cannot start fails by panicking

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use formicary::{
    BuildError, Context, Dispatch, Pool, PoolWithFunc, Ring, Sharded, Stack, StatefulPool, Task, Worker, WorkerPool,
};

const TASKS: u64 = 40_000;

struct RunTask;

impl Worker for RunTask {
    type Input = Task;
    type Output = ();

    fn process(&mut self, task: Task, _cx: &Context<'_>) {
        task.run();
    }
}

type Named = (String, Arc<dyn WorkerPool<Task>>);

/// The three kinds of pool on one dispatch.
fn kinds<D: Dispatch>() -> Result<[Named; 3], BuildError> {
    let state = |_| Ok(RunTask);
    Ok([
        (format!("Pool<{}>", D::NAME), Arc::new(Pool::<D>::with_workers(2)?)),
        (format!("PoolWithFunc<{}>", D::NAME), Arc::new(PoolWithFunc::<Task, D>::with_workers(2, Task::run)?)),
        (format!("StatefulPool<{}>", D::NAME), Arc::new(StatefulPool::<_, D>::with_workers(2, state)?)),
    ])
}

fn pools() -> Result<Vec<Named>, BuildError> {
    Ok([kinds::<Stack>()?, kinds::<Ring>()?, kinds::<Sharded>()?].into_iter().flatten().collect())
}

fn tiny_tasks(criterion: &mut Criterion, name: &str, submitters: u64) {
    static DONE: AtomicU64 = AtomicU64::new(0);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(TASKS));
    for (name, pool) in pools().expect("two workers can be had") {
        let submit = || {
            for _ in 0..TASKS / submitters {
                let task = Task::new(|| {
                    DONE.fetch_add(1, Relaxed);
                });
                pool.submit(task).expect("the pool is open");
            }
        };
        group.bench_function(BenchmarkId::from_parameter(&name), |bencher| {
            bencher.iter(|| {
                let before = DONE.load(Relaxed);
                std::thread::scope(|scope| {
                    (1..submitters).for_each(|_| drop(scope.spawn(submit)));
                    submit();
                });
                pool.wait_idle();
                assert_eq!(DONE.load(Relaxed) - before, TASKS);
            });
        });
    }
    group.finish();
}

fn one_submitter(criterion: &mut Criterion) {
    tiny_tasks(criterion, "one submitter", 1);
}

fn four_submitters(criterion: &mut Criterion) {
    tiny_tasks(criterion, "four submitters", 4);
}

criterion_group!(benches, one_submitter, four_submitters);
criterion_main!(benches);
