//! What it costs to observe a pool, on each dispatch, with each kind of observer: a table of the time of a submit and of a run, one after the
//! other, and tiny tasks through two workers, one by one and in slices.
//!
//! `cargo bench --all-features --bench observing`; a part of it with a name, `cargo bench --bench observing -- Ring`.

#![allow(clippy::expect_used)] // a benchmark fails by panicking

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::load::{Load, add, measure, tiny_task};
use common::support::Setup;
use common::table::{self, is_wanted};
use common::{Candidate, criterion, each_dispatch, many};
use criterion::{Criterion, criterion_group, criterion_main};
use formicary::observe::{Observer, TaskEnd, TaskInfo, Timeline};
use formicary::{Builder, Closures, Dispatch, Pool, Task};

type Set<D> = fn(Builder<Closures, D>) -> Builder<Closures, D>;

/// An observer to add is one line here.
fn rows<D: Dispatch>() -> Vec<(&'static str, Set<D>)> {
    vec![
        ("none", |builder| builder),
        ("empty", |builder| builder.observer(Empty)),
        ("counters", |builder| builder.observer(Counters::default())),
        ("timeline", |builder| builder.observer(Timeline::new(io::sink()).pool("bench"))),
        ("task_thread_names", |builder| builder.task_thread_names()),
        ("latencies", |builder| builder.latencies()),
        ("running_tasks", |builder| builder.running_tasks()),
        ("slow_after", |builder| builder.slow_after(Duration::from_secs(60), |_| ())),
        ("latencies, running_tasks, slow_after", |builder| {
            builder.latencies().slow_after(Duration::from_secs(60), |_| ())
        }),
        ("propagate", |builder| builder.propagate(|| 7_u64, |value| value)),
        #[cfg(feature = "metrics")]
        ("metrics, Prometheus", |builder| builder.observer(prometheus())),
        #[cfg(feature = "tracing")]
        ("tracing, a bare registry", |builder| {
            // Once for the process: the rows above do not trace.
            _ = tracing::subscriber::set_global_default(tracing_subscriber::Registry::default());
            builder.tracing()
        }),
    ]
}

#[cfg(feature = "metrics")]
fn prometheus() -> formicary::observe::Metrics {
    // Once for the process.
    _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    formicary::observe::Metrics::new("bench")
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

fn candidate<D: Dispatch>(name: &str, set: Set<D>) -> Candidate<Task> {
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
            all.extend(rows::<$dispatch>().into_iter().map(|(name, set)| candidate(name, set)));
        };
    }
    each_dispatch!(add);
    measure(criterion, "observing/one by one", &all, Load { submitters: 1, slice: 1 }, tiny_task);
    measure(criterion, "observing/slices of 64", &all, Load { submitters: 1, slice: 64 }, tiny_task);
}

/// Tasks for one measurement of a submit or a run: a fraction of what the system gives a thread before it runs another.
const BATCH: usize = 200;

/// Nanoseconds for a submit and for a run, the least of many batches: other load on the machine does not show in it.
fn least<D: Dispatch>(set: Set<D>, submit: fn(&Pool<D>)) -> [String; 2] {
    let pool = set(Pool::builder().workers(1).queue(BATCH + 8).dispatch::<D>()).build().expect("the setup is good");
    let (mut submits, mut runs) = (Duration::MAX, Duration::MAX);
    let times = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let begin = Instant::now();
    let note = |time: &Arc<AtomicU64>| {
        let time = Arc::clone(time);
        let note = move || time.store(begin.elapsed().as_nanos() as u64, Relaxed);
        pool.submit(note).expect("the pool is open");
    };
    for _ in 0..many(5_000) {
        let pause = pool.pause();
        note(&times[0]);
        let start = Instant::now();
        (0..BATCH).for_each(|_| submit(&pool));
        submits = submits.min(start.elapsed());
        note(&times[1]);
        drop(pause);
        pool.wait_idle();
        let took = times[1].load(Relaxed) - times[0].load(Relaxed);
        runs = runs.min(Duration::from_nanos(took));
    }
    [submits, runs].map(|least| (least.as_nanos() / BATCH as u128).to_string())
}

/// The table: closures, and closures with names.
fn one_thread_at_a_time(_: &mut Criterion) {
    let mut table = Vec::new();
    macro_rules! add {
        ($dispatch:ty, $name:literal) => {
            for (name, set) in rows::<$dispatch>() {
                let row = format!("{}, {name}", $name);
                if is_wanted(&row) {
                    let [submit, run] = least(set, |pool| pool.submit(|| add(1)).expect("the pool is open"));
                    let named =
                        |pool: &Pool<$dispatch>| pool.with().name("resize").submit(|| add(1)).expect("it is open");
                    let [named_submit, named_run] = least(set, named);
                    table.push(vec![row, submit, run, named_submit, named_run]);
                }
            }
        };
    }
    each_dispatch!(add);
    let head = ["ns per task", "submit", "run", "submit with a name", "run with a name"];
    table::print("The least of many batches", &head, &table);
}

criterion_group! { name = benches; config = criterion(); targets = one_thread_at_a_time, tasks }
criterion_main!(benches);
