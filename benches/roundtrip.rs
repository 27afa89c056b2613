//! The cost of a call and its answer: one caller, one worker, and nothing else to do.
//!
//! `cargo bench --bench roundtrip`

mod common;

use std::hint::black_box;

use common::{criterion, each_dispatch, steady};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use formicary::{Context, Dispatch, Pool, PoolWithFunc, StatefulPool, Worker};

struct Next;

impl Worker for Next {
    type Input = u64;
    type Output = u64;

    fn process(&mut self, n: u64, _cx: &Context<'_>) -> u64 {
        n + 1
    }
}

/// The three kinds of call, on one dispatch.
fn kinds<D: Dispatch>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let mut ask = |name: &str, ask: &dyn Fn(u64) -> Option<u64>| {
        group.bench_function(format!("{name}<{}>", D::NAME), |bencher| {
            bencher.iter(|| assert_eq!(ask(black_box(1)), Some(2)));
        });
    };
    if let Ok(pool) = steady(1).on(Pool::builder()).dispatch::<D>().build() {
        ask("Pool::run", &|n| pool.run(move || n + 1).ok());
    }
    if let Ok(pool) = steady(1).on(PoolWithFunc::builder(|n: u64| n + 1)).dispatch::<D>().build() {
        ask("PoolWithFunc::call", &|n| pool.run(n).ok());
    }
    if let Ok(pool) = steady(1).on(StatefulPool::builder(|_| Ok(Next))).dispatch::<D>().build() {
        ask("StatefulPool::process", &|n| pool.run(n).ok());
    }
}

fn round_trips(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("roundtrip");
    macro_rules! measure {
        ($dispatch:ty, $name:literal) => {
            kinds::<$dispatch>(&mut group)
        };
    }
    each_dispatch!(measure);
    group.finish();
}

criterion_group! { name = benches; config = criterion(); targets = round_trips }
criterion_main!(benches);
