//! Makes snapshots of the registered pools.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use formicary::Stats;
use formicary::observe::{Histogram, Latencies, RegisteredPool, RunningTask};

use crate::cells::cells;
use crate::snapshot::{Percentiles, PoolSnapshot, Refused, Snapshot, Times};

/// How far back the percentiles and the utilisation go.
const WINDOW: Duration = Duration::from_secs(5);
/// The time between two states that are kept as possible beginnings of the window.
const STEP: Duration = Duration::from_secs(1);

/// Makes snapshots. It remembers what rates and percentiles are computed from, so each viewer has its own.
///
/// ```
/// use std::time::Instant;
///
/// use formicary::Pool;
/// use formicary::observe::registry;
/// use formicary_top::Sampler;
///
/// let pool = Pool::builder().name("mails").workers(2).build()?;
/// registry().add(&pool);
/// pool.run(|| ())?;
///
/// let snapshot = Sampler::new().sample(&registry().pools(), Instant::now());
/// assert_eq!((snapshot.pools[0].name.as_str(), snapshot.pools[0].completed), ("mails", 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Sampler {
    earlier: HashMap<u64, Earlier>,
}

/// What is remembered of a pool.
struct Earlier {
    at: Instant,
    /// Tasks that had ended.
    ended: u64,
    /// Earlier states, the oldest first. The oldest is the beginning of the window.
    latencies: VecDeque<(Instant, Latencies)>,
}

impl Sampler {
    /// A sampler that has seen no pool yet.
    #[must_use]
    pub fn new() -> Self {
        Sampler::default()
    }

    /// Takes a snapshot of these pools. `now` is the time of the call, and later than that of the previous one.
    pub fn sample(&mut self, pools: &[RegisteredPool], now: Instant) -> Snapshot {
        self.earlier.retain(|id, _| pools.iter().any(|pool| pool.id() == *id));
        // First what changes fastest, and is quick to read. A pool that is dropped meanwhile has no figures.
        let figures = pools.iter().map(|pool| pool.stats().map(|stats| (pool, stats, pool.running_tasks())));
        let figures: Vec<_> = figures.collect();
        let pools = figures.into_iter().flatten();
        Snapshot { pools: pools.map(|(pool, stats, running)| self.sample_one(pool, stats, running, now)).collect() }
    }

    fn sample_one(
        &mut self,
        pool: &RegisteredPool,
        stats: Stats,
        running: Option<Vec<RunningTask>>,
        now: Instant,
    ) -> PoolSnapshot {
        let latencies = pool.latencies();
        let ended = stats.completed + stats.panicked;
        let earlier =
            self.earlier.entry(pool.id()).or_insert_with(|| Earlier { at: now, ended, latencies: VecDeque::new() });
        let passed = now.saturating_duration_since(earlier.at).as_secs_f64();
        let per_second = if passed > 0.0 { ended.saturating_sub(earlier.ended) as f64 / passed } else { 0.0 };
        (earlier.at, earlier.ended) = (now, ended);
        let window = latencies.map(|latencies| earlier.window(latencies, now));
        let (cells, without_cell) = cells(&stats, running, now);
        PoolSnapshot {
            id: pool.id(),
            name: pool.name().to_string(),
            capacity: stats.capacity,
            live: stats.live,
            running: stats.running,
            queued: stats.queued,
            queue_bound: stats.queue_bound,
            waiting: stats.waiting,
            paused: pool.is_paused(),
            completed: stats.completed,
            panicked: stats.panicked,
            cancelled: stats.cancelled,
            per_second,
            utilisation: window.as_ref().map(Latencies::utilisation),
            refusals: refusals(&stats),
            times: window.as_ref().map(times).unwrap_or_default(),
            cells,
            without_cell,
        }
    }
}

impl Earlier {
    /// What happened in the window. The first one is empty.
    fn window(&mut self, latencies: Latencies, now: Instant) -> Latencies {
        while self.latencies.len() > 1 && self.latencies[1].0 + WINDOW <= now {
            self.latencies.pop_front();
        }
        let window = match self.latencies.front() {
            Some((_, begin)) => latencies.since(begin),
            None => latencies.since(&latencies),
        };
        if self.latencies.back().is_none_or(|(at, _)| *at + STEP <= now) {
            self.latencies.push_back((now, latencies));
        }
        window
    }
}

fn refusals(stats: &Stats) -> Vec<Refused> {
    let refusals = &stats.refusals;
    let all = [
        ("full", refusals.full),
        ("overloaded", refusals.overloaded),
        ("timed_out", refusals.timed_out),
        ("cancelled", refusals.cancelled),
        ("closed", refusals.closed),
        ("spawn", refusals.spawn),
        ("would_deadlock", refusals.would_deadlock),
        ("too_large", refusals.too_large),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).map(|(kind, count)| Refused { kind, count }).collect()
}

fn percentiles(histogram: &Histogram) -> Percentiles {
    let quantile = |q| u64::try_from(histogram.quantile(q).as_micros()).unwrap_or(u64::MAX);
    match histogram.count() {
        0 => Percentiles::default(),
        count => Percentiles { count, p50_us: quantile(0.5), p90_us: quantile(0.9), p99_us: quantile(0.99) },
    }
}

fn times(window: &Latencies) -> Vec<Times> {
    let all =
        Times { name: None, queue_wait: percentiles(&window.queue_wait), run_time: percentiles(&window.run_time) };
    let mut named: Vec<Times> = window
        .by_name()
        .iter()
        .map(|named| Times {
            name: Some(named.name.to_string()),
            queue_wait: percentiles(&named.queue_wait),
            run_time: percentiles(&named.run_time),
        })
        .filter(|times| times.queue_wait.count + times.run_time.count > 0)
        .collect();
    named.sort_by(|a, b| b.run_time.count.cmp(&a.run_time.count).then_with(|| a.name.cmp(&b.name)));
    [vec![all], named].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use formicary::observe::registry;
    use formicary::{Builder, Closures, Pool, PoolControl};

    use super::*;
    use crate::snapshot::CellState;

    const LIMIT: Duration = Duration::from_secs(30);

    fn builder() -> Builder<Closures> {
        Pool::builder().workers(3).queue(4).latencies().running_tasks()
    }

    /// This pool in the registry, which has those of other tests too.
    fn register<X>(pool: &PoolControl<X>) -> Vec<RegisteredPool> {
        let before: Vec<u64> = registry().pools().iter().map(RegisteredPool::id).collect();
        registry().add(pool);
        let mut added = registry().pools();
        added.retain(|candidate| candidate.stats().is_some_and(|stats| stats.name == pool.stats().name));
        assert!(added.len() == 1 && !before.contains(&added[0].id()), "the name is used once");
        added
    }

    /// Submits a task that runs until the sender is dropped, and waits until it runs.
    fn hold(pool: &Pool, name: &str) -> Sender<()> {
        let (release, gate): (Sender<()>, Receiver<()>) = channel();
        let (started, begun) = channel();
        let task = move || {
            started.send(()).unwrap();
            let _ = gate.recv();
        };
        pool.with().name(name).submit(task).unwrap();
        begun.recv_timeout(LIMIT).unwrap();
        release
    }

    fn one(sampler: &mut Sampler, pools: &[RegisteredPool], now: Instant) -> PoolSnapshot {
        sampler.sample(pools, now).pools.remove(0)
    }

    #[test]
    fn throughput_is_of_the_time_between_two_snapshots() {
        let pool = builder().name("throughput").build().unwrap();
        let pools = register(&pool);
        let (mut sampler, start) = (Sampler::new(), Instant::now());
        pool.run(|| ()).unwrap();
        assert!(pool.wait_idle());
        assert_eq!(one(&mut sampler, &pools, start).per_second, 0.0, "nothing is known of the time before");
        for _ in 0..10 {
            pool.run(|| ()).unwrap();
        }
        assert!(pool.wait_idle());
        let second = one(&mut sampler, &pools, start + Duration::from_secs(2));
        assert_eq!((second.per_second, second.completed), (5.0, 11));
        assert_eq!(one(&mut sampler, &pools, start + Duration::from_secs(3)).per_second, 0.0);
    }

    #[test]
    fn times_are_of_the_window() {
        let pool = builder().name("window").build().unwrap();
        let pools = register(&pool);
        let (mut sampler, start) = (Sampler::new(), Instant::now());
        let counts = |snapshot: &PoolSnapshot| -> Vec<(Option<String>, u64)> {
            snapshot.times.iter().map(|times| (times.name.clone(), times.run_time.count)).collect()
        };
        pool.with().name("before").run(|| ()).unwrap();
        assert!(pool.wait_idle());
        assert_eq!(counts(&one(&mut sampler, &pools, start)), [(None, 0)]);
        for name in ["seldom", "often", "often"] {
            pool.with().name(name).run(|| ()).unwrap();
        }
        assert!(pool.wait_idle());
        let seen = [(None, 3), (Some("often".into()), 2), (Some("seldom".into()), 1)];
        for seconds in 1..=5 {
            assert_eq!(counts(&one(&mut sampler, &pools, start + seconds * STEP)), seen, "after {seconds} s");
        }
        assert_eq!(counts(&one(&mut sampler, &pools, start + 6 * STEP)), [(None, 0)]);
    }

    #[test]
    fn figures_are_those_of_the_pool() {
        let pool = builder().workers(1).queue(1).name("figures").build().unwrap();
        let pools = register(&pool);
        let release = hold(&pool, "held");
        pool.submit(|| ()).unwrap();
        assert!(pool.try_submit(|| ()).unwrap_err().is_full());
        thread::scope(|scope| {
            let submitter = scope.spawn(|| pool.submit(|| ()).unwrap());
            let start = Instant::now();
            while pool.waiting() == 0 {
                assert!(start.elapsed() < LIMIT, "the submitter does not wait");
                thread::yield_now();
            }
            let pause = pool.pause();
            let seen = one(&mut Sampler::new(), &pools, Instant::now());
            assert_eq!((seen.capacity, seen.live, seen.running), (1, 1, 1));
            assert_eq!((seen.queued, seen.queue_bound, seen.waiting), (1, Some(1), 1));
            assert_eq!(seen.refusals, [Refused { kind: "full", count: 1 }]);
            assert!(seen.paused);
            drop(pause);
            drop(release);
            submitter.join().unwrap();
        });
        assert!(pool.wait_idle());
        let seen = one(&mut Sampler::new(), &pools, Instant::now());
        assert_eq!((seen.completed, seen.queued, seen.waiting, seen.paused), (3, 0, 0, false));
    }

    #[test]
    fn a_pool_that_measures_nothing_has_cells_and_counts() {
        let pool = Pool::builder().workers(2).name("plain").build().unwrap();
        let pools = register(&pool);
        let release = hold(&pool, "held");
        let seen = one(&mut Sampler::new(), &pools, Instant::now());
        assert_eq!((seen.utilisation, seen.times.len()), (None, 0));
        let states: Vec<_> = seen.cells.iter().map(|cell| (cell.state, cell.tasks.len())).collect();
        assert_eq!(states, [(CellState::Running, 0), (CellState::NotStarted, 0)]);
        drop(release);
    }

    #[test]
    fn a_dropped_pool_leaves() {
        let pool = builder().name("dropped").build().unwrap();
        let pools = register(&pool);
        let mut sampler = Sampler::new();
        assert_eq!(sampler.sample(&pools, Instant::now()).pools.len(), 1);
        drop(pool);
        assert_eq!(sampler.sample(&pools, Instant::now()).pools.len(), 0);
        sampler.sample(&[], Instant::now());
        assert!(sampler.earlier.is_empty());
    }
}
