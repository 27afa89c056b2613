//! What the benchmarks share: the pools that they measure, how criterion is set, and work for tasks to do.
//!
//! The list of all pools, options for any builder, gates and the counting allocator are those of the tests.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::expect_used)] // every benchmark uses its own part

pub mod load;
#[path = "../../tests/support/mod.rs"]
pub mod support;
pub mod table;

use std::cell::LazyCell;
use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{Bencher, BenchmarkGroup, BenchmarkId, Criterion};
use formicary::{Context, Dispatch, PoolWithFunc, StatefulPool, Task, Worker, WorkerPool};
pub(crate) use support::each_dispatch;
use support::{Gate, Setup, variants};

/// Enough to show a difference of ten percent. With `--quick` the time to measure is the most that a noisy one may take.
pub fn criterion() -> Criterion {
    let most = if is_given("--quick") { 400 } else { 1_000 };
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(most))
        .without_plots()
}

/// Whether the benchmarks are only to show that they work: `cargo test` runs them, too.
pub fn is_trial() -> bool {
    !is_given("--bench") || is_given("--test")
}

fn is_given(flag: &str) -> bool {
    std::env::args().any(|arg| arg == flag)
}

/// So many when time is measured, a hundredth in a trial.
pub fn many(count: u64) -> u64 {
    if is_trial() { count.div_ceil(100) } else { count }
}

/// A pool that a benchmark can build: a kind on a dispatch, for items of a type.
pub struct Candidate<T> {
    /// As in `Pool<Stack>`.
    pub name: String,
    pub build: Box<dyn Fn(Setup) -> Arc<dyn WorkerPool<T>>>,
}

/// All nine, for tasks.
pub fn task_pools() -> Vec<Candidate<Task>> {
    let named = |name: &str| match name.split_once('/') {
        Some((dispatch, kind)) => format!("{kind}<{dispatch}>"),
        None => name.to_owned(),
    };
    let candidate = |variant: support::Variant| Candidate {
        name: named(variant.name),
        build: Box::new(move |setup| variant.build(setup)),
    };
    variants().into_iter().map(candidate).collect()
}

/// The six that take payloads, for numbers, of each of which they do `work`.
pub fn number_pools(work: fn(u64)) -> Vec<Candidate<u64>> {
    fn kinds<D: Dispatch>(work: fn(u64)) -> [Candidate<u64>; 2] {
        let function = move |setup: Setup| {
            let builder = setup.on(PoolWithFunc::builder(work)).dispatch::<D>();
            Arc::new(builder.build().expect("the setup is good")) as _
        };
        let state = move |setup: Setup| {
            let builder = setup.on(StatefulPool::builder(move |_| Ok(Does(work)))).dispatch::<D>();
            Arc::new(builder.build().expect("the setup is good")) as _
        };
        [
            Candidate { name: format!("PoolWithFunc<{}>", D::NAME), build: Box::new(function) },
            Candidate { name: format!("StatefulPool<{}>", D::NAME), build: Box::new(state) },
        ]
    }
    let mut all = Vec::new();
    macro_rules! add {
        ($dispatch:ty, $name:literal) => {
            all.extend(kinds::<$dispatch>(work));
        };
    }
    each_dispatch!(add);
    all
}

struct Does(fn(u64));

impl Worker for Does {
    type Input = u64;
    type Output = ();

    fn process(&mut self, n: u64, _cx: &Context<'_>) {
        (self.0)(n);
    }
}

/// All workers exist from the start and stay; the queue has the default length.
pub fn steady(workers: usize) -> Setup {
    let mut setup = Setup { workers: Some(workers), min_workers: Some(workers), ..Setup::default() };
    setup.expiry = Some(None);
    setup
}

/// Measures each candidate. A pool is built for its own measurements, and dropped before the next one's.
pub fn each_pool<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    candidates: &[Candidate<T>],
    setup: &Setup,
    measure: impl Fn(&mut Bencher<'_>, &dyn WorkerPool<T>),
) {
    for candidate in candidates {
        let pool = LazyCell::new(|| (candidate.build)(setup.clone()));
        group.bench_function(BenchmarkId::from_parameter(&candidate.name), |bencher| measure(bencher, &**pool));
    }
}

/// For what takes far longer to prepare than to measure: returns `iterations` times the mean of `measure`, which is called as
/// often, but at most `most` times.
pub fn sampled(iterations: u64, most: u64, mut measure: impl FnMut() -> Duration) -> Duration {
    let times = iterations.min(most);
    let sum: Duration = (0..times).map(|_| measure()).sum();
    sum.mul_f64(iterations as f64 / times as f64)
}

/// Work for the processor: about so many microseconds on an otherwise idle core. The number of steps is fixed, so a task that is
/// preempted does not get shorter.
pub fn spin(micros: u64) {
    static STEPS: LazyLock<u64> = LazyLock::new(|| {
        const TRY: u64 = 20_000;
        let tries = (0..10).map(|_| {
            let start = Instant::now();
            steps(TRY);
            start.elapsed()
        });
        let fastest = tries.min().unwrap_or_default().as_nanos().max(1);
        (u128::from(TRY) * 1_000 / fastest) as u64
    });
    steps(*STEPS * micros);
}

fn steps(steps: u64) {
    let mut x = steps;
    for _ in 0..steps {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    black_box(x);
}

/// Holds so many workers until the returned gate is opened.
pub fn hold(pool: &dyn WorkerPool<Task>, workers: usize) -> Gate {
    let gate = Gate::new();
    (0..workers).for_each(|_| assert!(pool.submit(gate.task()).is_ok()));
    gate.await_arrivals(workers);
    gate
}
