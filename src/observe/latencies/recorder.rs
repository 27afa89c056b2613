//! Collects what [`Latencies`] shows. It is fed with times, and reads the clock only as an observer.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::names::{self, Names};
use super::stopwatch::Stopwatch;
use super::{Latencies, NamedLatencies};
use crate::observe::histogram::{Counters, HistogramSum};
use crate::observe::per_worker::PerWorker;
use crate::observe::{Observer, TaskEnd, TaskInfo};
use crate::sync::clock;
use crate::task::watch::Start;

/// The counters of tasks without a name.
const UNNAMED: usize = names::OTHER + 1;
const KINDS: usize = UNNAMED + 1;

pub(in crate::observe) struct LatencyRecorder {
    workers: PerWorker<OnceLock<Box<OfWorker>>>,
    names: Names,
    /// The origin of the stopwatches.
    origin: Instant,
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        LatencyRecorder { workers: PerWorker::default(), names: Names::default(), origin: clock::now() }
    }
}

/// What one worker has recorded.
struct OfWorker {
    /// By the number of the name.
    kinds: [OnceLock<Box<Pair>>; KINDS],
    /// How many tasks run inside each other.
    depth: AtomicUsize,
    busy: Stopwatch,
    alive: Stopwatch,
}

impl Default for OfWorker {
    fn default() -> Self {
        OfWorker {
            kinds: array::from_fn(|_| OnceLock::new()),
            depth: AtomicUsize::new(0),
            busy: Stopwatch::default(),
            alive: Stopwatch::default(),
        }
    }
}

#[derive(Default)]
struct Pair {
    queue_wait: Counters,
    run_time: Counters,
}

#[derive(Default)]
struct PairSum {
    queue_wait: HistogramSum,
    run_time: HistogramSum,
}

impl LatencyRecorder {
    fn worker(&self, worker: usize) -> &OfWorker {
        self.workers.get(worker).get_or_init(Box::default)
    }

    fn moment(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.origin).as_nanos() as u64
    }

    fn pair<'w>(&self, worker: &'w OfWorker, name: Option<&str>) -> &'w Pair {
        let kind = name.map_or(UNNAMED, |name| self.names.number(name));
        worker.kinds[kind].get_or_init(Box::default)
    }

    pub(super) fn worker_started(&self, worker: usize, at: Instant) {
        self.worker(worker).alive.start(self.moment(at));
    }

    pub(super) fn worker_stopped(&self, worker: usize, at: Instant) {
        self.worker(worker).alive.stop(self.moment(at));
    }

    /// A task begins on a worker, perhaps within another one.
    pub(super) fn task_started(&self, worker: usize, name: Option<&str>, queue_wait: Option<Duration>, at: Instant) {
        let of_worker = self.worker(worker);
        if of_worker.depth.fetch_add(1, Ordering::Relaxed) == 0 {
            of_worker.busy.start(self.moment(at));
        }
        if let Some(queue_wait) = queue_wait {
            self.pair(of_worker, name).queue_wait.record(queue_wait);
        }
    }

    /// The task that has begun last on a worker ends.
    pub(super) fn task_ended(&self, worker: usize, name: Option<&str>, run_time: Duration, at: impl Fn() -> Instant) {
        let of_worker = self.worker(worker);
        self.pair(of_worker, name).run_time.record(run_time);
        if of_worker.depth.fetch_sub(1, Ordering::Relaxed) == 1 {
            of_worker.busy.stop(self.moment(at()));
        }
    }

    pub(super) fn latencies_at(&self, now: Instant) -> Latencies {
        let now = self.moment(now);
        let mut sums: [Option<Box<PairSum>>; KINDS] = array::from_fn(|_| None);
        let (mut busy, mut alive) = (0, 0);
        for of_worker in self.workers.iter().filter_map(|(_, of_worker)| of_worker.get()) {
            busy += of_worker.busy.read(now);
            alive += of_worker.alive.read(now);
            for (kind, sum) in of_worker.kinds.iter().zip(&mut sums) {
                if let Some(pair) = kind.get() {
                    let sum = sum.get_or_insert_default();
                    // In this order, so that the wait of every task whose run is counted is counted, too.
                    pair.run_time.add_to(&mut sum.run_time);
                    pair.queue_wait.add_to(&mut sum.queue_wait);
                }
            }
        }
        let mut total = PairSum::default();
        let mut pairs = sums.map(|sum| {
            let pair = sum.map(|sum| (sum.queue_wait.finish(), sum.run_time.finish()));
            if let Some((queue_wait, run_time)) = &pair {
                total.queue_wait.add(queue_wait);
                total.run_time.add(run_time);
            }
            pair
        });
        let other = names::OTHER_NAME.into();
        let all_names = self.names.iter().chain([(&other, names::OTHER)]);
        let named = all_names.filter_map(|(name, number)| {
            let (queue_wait, run_time) = pairs[number].take()?;
            Some(NamedLatencies { name: name.clone(), queue_wait, run_time })
        });
        let mut named: Vec<_> = named.collect();
        named.sort_by(|a, b| a.name.cmp(&b.name));
        Latencies {
            queue_wait: total.queue_wait.finish(),
            run_time: total.run_time.finish(),
            named,
            busy: Duration::from_nanos(busy),
            alive: Duration::from_nanos(alive),
        }
    }

    pub(in crate::observe) fn latencies(&self) -> Latencies {
        self.latencies_at(clock::now())
    }
}

impl Observer for LatencyRecorder {
    fn started(&self, task: &TaskInfo<'_>) {
        if let (Some(worker), Some(&Start { at, .. })) = (task.worker, task.start) {
            self.task_started(worker, task.name, task.queue_wait, at);
        }
    }

    fn ended(&self, task: &TaskInfo<'_>, _end: TaskEnd) {
        // Only a task that was told to start has a time.
        if let (Some(worker), Some(run_time)) = (task.worker, task.run_time) {
            self.task_ended(worker, task.name, run_time, clock::now);
        }
    }

    fn worker_started(&self, worker: usize) {
        LatencyRecorder::worker_started(self, worker, clock::now());
    }

    fn worker_stopped(&self, worker: usize) {
        LatencyRecorder::worker_stopped(self, worker, clock::now());
    }
}
