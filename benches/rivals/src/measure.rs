//! Reads clocks, counters and figures of the system.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use serde::{Deserialize, Serialize};

/// The count that every task reaches, through a `&'static` reference.
pub static TALLY: Tally = Tally {
    done: CachePadded::new(AtomicU64::new(0)),
    goal: CachePadded::new(AtomicU64::new(u64::MAX)),
    waiter: OnceLock::new(),
};

/// Counts tasks and wakes the one thread that waits for the last. That thread is parked until then.
pub struct Tally {
    done: CachePadded<AtomicU64>,
    goal: CachePadded<AtomicU64>,
    waiter: OnceLock<Thread>,
}

impl Tally {
    /// Counts from zero to `goal`. The main thread calls it while no task runs.
    pub fn begin(&self, goal: u64) {
        self.waiter.get_or_init(std::thread::current);
        self.done.store(0, Relaxed);
        self.goal.store(goal, Relaxed);
    }

    /// One task is done. The waiting thread sees what the task wrote.
    pub fn one(&self) {
        if self.done.fetch_add(1, Release) + 1 == self.goal.load(Relaxed) {
            self.waiter.get().expect("it has begun").unpark();
        }
    }

    pub fn is_done(&self) -> bool {
        self.done.load(Acquire) >= self.goal.load(Relaxed)
    }

    /// Parks until all are done.
    pub fn wait(&self) {
        while !self.is_done() {
            std::thread::park();
        }
        self.check();
    }

    /// Whether exactly as many tasks were done as were submitted. It is checked again after the pool's end, which finds a task that ran
    /// twice.
    pub fn check(&self) {
        assert_eq!(self.done.load(Acquire), self.goal.load(Relaxed), "each task is done exactly once");
    }
}

/// The figures of one run of one contestant in one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// The scenario's own figures by name.
    pub figures: BTreeMap<String, f64>,
    /// CPU time of the whole process while the tasks ran, milliseconds.
    pub cpu_ms: f64,
    /// Context switches meanwhile: threads that blocked, and threads that were preempted.
    pub voluntary: u64,
    pub involuntary: u64,
    /// The highest resident memory of the process, warm-up included.
    pub peak_kib: u64,
    /// Round trips of a bare ping-pong just before and just after, nanoseconds.
    pub before_ns: f64,
    pub after_ns: f64,
}

impl Row {
    pub fn with(mut self, figure: &str, value: f64) -> Self {
        self.figures.insert(figure.to_owned(), value);
        self
    }
}

/// Measures the process from its creation on.
pub struct Meter {
    start: Instant,
    before: Usage,
}

#[derive(Clone, Copy)]
struct Usage {
    cpu: Duration,
    voluntary: u64,
    involuntary: u64,
}

impl Usage {
    fn now() -> Self {
        // SAFETY: all zeros is a valid `rusage`.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a `rusage` of ours.
        assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) }, 0);
        let time = |t: libc::timeval| Duration::from_micros(t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64);
        Usage {
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            voluntary: usage.ru_nvcsw as u64,
            involuntary: usage.ru_nivcsw as u64,
        }
    }
}

impl Meter {
    pub fn start() -> Self {
        Meter { before: Usage::now(), start: Instant::now() }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A row without the scenario's own figures.
    pub fn row(&self) -> Row {
        let now = Usage::now();
        Row {
            cpu_ms: (now.cpu - self.before.cpu).as_secs_f64() * 1e3,
            voluntary: now.voluntary - self.before.voluntary,
            involuntary: now.involuntary - self.before.involuntary,
            peak_kib: status_kib("VmHWM:"),
            ..Row::default()
        }
    }
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of ours.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Times `runs` calls of `run`, and a tenth as many before as a warm-up. What `prepare` does before each call, and `check` with the result,
/// is not timed.
pub fn repeated<T, U>(
    runs: u64,
    mut prepare: impl FnMut() -> T,
    mut run: impl FnMut(T) -> U,
    mut check: impl FnMut(U),
) -> (Row, Times) {
    let mut one = || {
        let prepared = prepare();
        let start = Instant::now();
        let result = run(prepared);
        let time = nanoseconds(start.elapsed());
        check(result);
        time
    };
    for _ in 0..runs.div_ceil(10) {
        one();
    }
    let meter = Meter::start();
    let times = (0..runs).map(|_| one()).collect();
    (meter.row(), Times::new(times))
}

/// Resident memory now, KiB: the exact figure where the system has it.
pub fn resident_kib() -> u64 {
    match std::fs::read_to_string("/proc/self/smaps_rollup") {
        Ok(text) => field_kib(&text, "Rss:"),
        Err(_) => status_kib("VmRSS:"),
    }
}

fn status_kib(field: &str) -> u64 {
    field_kib(&std::fs::read_to_string("/proc/self/status").unwrap_or_default(), field)
}

fn field_kib(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Times, for percentiles.
pub struct Times(Vec<u64>);

impl Times {
    pub fn new(mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        Times(nanoseconds)
    }

    /// The value that `part` of all are not above.
    pub fn quantile(&self, part: f64) -> f64 {
        let index = (self.0.len() as f64 * part).ceil() as usize;
        self.0[index.clamp(1, self.0.len()) - 1] as f64
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<u64>() as f64 / self.0.len() as f64
    }

    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1] as f64
    }
}

pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("less than 500 years")
}
