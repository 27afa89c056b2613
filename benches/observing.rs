//! What it costs to observe a pool: tiny tasks through two workers, one by one and in slices, on each dispatch, with each kind of observer.
//!
//! `cargo bench --bench observing`; a part of it with a name, `cargo bench --bench observing -- Ring`.

#![allow(clippy::expect_used)] // a benchmark fails by panicking

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::load::{Load, measure, tiny_task};
use common::support::Setup;
use common::{Candidate, criterion, each_dispatch};
use criterion::{Criterion, criterion_group, criterion_main};
use formicary::observe::{Observer, TaskEnd, TaskInfo, Timeline};
use formicary::{Builder, Closures, Dispatch, Pool, Task};

/// An observer to add is one line here.
fn rows<D: Dispatch>() -> Vec<Candidate<Task>> {
    vec![
        row::<D>("none", |builder| builder),
        row::<D>("empty", |builder| builder.observer(Empty)),
        row::<D>("counters", |builder| builder.observer(Counters::default())),
        row::<D>("timeline", |builder| builder.observer(Timeline::new(io::sink()).pool("bench"))),
    ]
}

/// Does nothing: what the pool does for observers.
struct Empty;

impl Observer for Empty {}

/// The least that an observer can be of use for.
#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    completed: AtomicU64,
    others: AtomicU64,
}

impl Observer for Counters {
    fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    fn ended(&self, _task: &TaskInfo<'_>, end: TaskEnd) {
        let count = if end == TaskEnd::Completed { &self.completed } else { &self.others };
        count.fetch_add(1, Relaxed);
    }
}

type Set<D> = fn(Builder<Closures, D>) -> Builder<Closures, D>;

fn row<D: Dispatch>(name: &str, set: Set<D>) -> Candidate<Task> {
    let build = move |setup: Setup| {
        let builder = set(setup.on(Pool::builder()).dispatch::<D>());
        Arc::new(builder.build().expect("the setup is good")) as _
    };
    Candidate { name: format!("{}, {name}", D::NAME), build: Box::new(build) }
}

fn tasks(criterion: &mut Criterion) {
    let mut all = Vec::new();
    macro_rules! add {
        ($dispatch:ty, $name:literal) => {
            all.extend(rows::<$dispatch>());
        };
    }
    each_dispatch!(add);
    measure(criterion, "observing/one by one", &all, Load { submitters: 1, slice: 1 }, tiny_task);
    measure(criterion, "observing/slices of 64", &all, Load { submitters: 1, slice: 64 }, tiny_task);
}

/// A named task and its answer, with the name shown to the system or not.
fn names(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("observing/a named task");
    let rows: [(&str, Set<formicary::Stack>); 3] = [
        ("no names", |builder| builder),
        ("empty", |builder| builder.observer(Empty)),
        ("task_thread_names", |builder| builder.task_thread_names()),
    ];
    for (name, set) in rows {
        group.bench_function(name, |bencher| {
            let pool = set(Pool::builder().workers(1)).build().expect("the setup is good");
            bencher.iter(|| pool.with().name("resize").run(|| ()).expect("it runs"));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = criterion(); targets = tasks, names }
criterion_main!(benches);
