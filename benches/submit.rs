//! What it costs to submit, for every kind of pool: tiny tasks through two workers.
#![allow(clippy::expect_used)] // a benchmark that cannot start fails by panicking

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use formicary::{BuildError, Context, Pool, PoolWithFunc, StatefulPool, Task, Worker, WorkerPool};

const TASKS: u64 = 10_000;

struct RunTask;

impl Worker for RunTask {
    type Input = Task;
    type Output = ();

    fn process(&mut self, task: Task, _cx: &Context<'_>) {
        task.run();
    }
}

type Named = (&'static str, Arc<dyn WorkerPool<Task>>);

fn pools() -> Result<Vec<Named>, BuildError> {
    Ok(vec![
        ("Pool<Stack>", Arc::new(Pool::new(2)?)),
        ("PoolWithFunc<Task, Stack>", Arc::new(PoolWithFunc::new(2, Task::run)?)),
        ("StatefulPool<_, Stack>", Arc::new(StatefulPool::new(2, |_| Ok(RunTask))?)),
    ])
}

fn tiny(criterion: &mut Criterion) {
    static DONE: AtomicU64 = AtomicU64::new(0);
    let mut group = criterion.benchmark_group("tiny");
    group.throughput(Throughput::Elements(TASKS));
    for (name, pool) in pools().expect("two workers can be had") {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let before = DONE.load(Relaxed);
                for _ in 0..TASKS {
                    let task = Task::new(|| {
                        DONE.fetch_add(1, Relaxed);
                    });
                    pool.submit(task).expect("the pool is open");
                }
                pool.wait_idle();
                assert_eq!(DONE.load(Relaxed) - before, TASKS);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tiny);
criterion_main!(benches);
