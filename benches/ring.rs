//! The crate's ring against `crossbeam_queue::ArrayQueue`, as plain bounded queues of 1024 items, with spinning producers and
//! workers and alternating runs. The ring also does the accounting of a pool (a bound on tasks queued and running, closing, a
//! limit on running tasks, finished tasks). The `ArrayQueue` is measured alone, and with the least accounting that works beside
//! a queue not made for it: one counter each of items pushed, popped and finished.
//!
//! `cargo bench --bench ring` prints nanoseconds per item, the median and range of 15 runs each, and the ratios. With `--quick`
//! the runs are short and the figures rough.
#![allow(dead_code, unreachable_pub, missing_docs, unused_imports, unused_macros, clippy::expect_used)] // includes the crate's files unchanged

#[path = "../src/queue/mod.rs"]
mod queue;
#[path = "../src/sync/mod.rs"]
mod sync;

use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::time::Instant;

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::{Backoff, CachePadded};
use queue::{DEFAULT_LANE, Dispatch, LazyItem, Queue, Ring, Shape};

const ROOM: usize = 1024;
const RUNS: usize = 15;

/// A queue as the benchmark uses it.
trait BenchQueue<T>: Sync {
    type Cx;
    fn cx(&self, worker: usize) -> Self::Cx;
    fn push(&self, item: T) -> Result<(), T>;
    /// Takes an item and finishes it.
    fn run(&self, cx: &Self::Cx) -> Option<T>;
}

impl<T: Send> BenchQueue<T> for ArrayQueue<T> {
    type Cx = ();

    fn cx(&self, _worker: usize) {}

    fn push(&self, item: T) -> Result<(), T> {
        ArrayQueue::push(self, item)
    }

    fn run(&self, (): &()) -> Option<T> {
        self.pop()
    }
}

/// An `ArrayQueue` with a pool's accounting.
struct Accounted<T> {
    queue: ArrayQueue<T>,
    pushed: CachePadded<AtomicUsize>,
    popped: CachePadded<AtomicUsize>,
    finished: CachePadded<AtomicUsize>,
}

impl<T: Send> BenchQueue<T> for Accounted<T> {
    type Cx = ();

    fn cx(&self, _worker: usize) {}

    fn push(&self, mut item: T) -> Result<(), T> {
        let is_open = |pushed| (pushed - self.finished.load(Relaxed) < ROOM).then_some(pushed + 1);
        if self.pushed.fetch_update(AcqRel, Acquire, is_open).is_err() {
            return Err(item);
        }
        while let Err(back) = self.queue.push(item) {
            item = back;
        }
        Ok(())
    }

    fn run(&self, (): &()) -> Option<T> {
        let item = self.queue.pop()?;
        self.popped.fetch_add(1, AcqRel);
        self.finished.fetch_add(1, Release);
        Some(item)
    }
}

type RingOf<T> = <Ring as Dispatch>::Queue<T>;

impl<T: Send + 'static> BenchQueue<T> for RingOf<T> {
    type Cx = <Self as Queue<T>>::Cx;

    fn cx(&self, worker: usize) -> Self::Cx {
        Queue::cx(self, worker)
    }

    fn push(&self, item: T) -> Result<(), T> {
        let mut item = Some(item);
        Queue::push(self, &mut item, DEFAULT_LANE, 0, None).map_err(|_| item.build())
    }

    fn run(&self, cx: &Self::Cx) -> Option<T> {
        let item = self.pop(cx)?;
        self.finished(cx);
        Some(item)
    }
}

/// Nanoseconds per item.
fn time<T: Copy + Send + Sync + Into<u64>>(
    queue: &impl BenchQueue<T>,
    producers: usize,
    workers: usize,
    item: T,
    items: usize,
) -> f64 {
    let taken = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..producers {
            scope.spawn(|| {
                for _ in 0..items / producers {
                    let backoff = Backoff::new();
                    while queue.push(item).is_err() {
                        backoff.snooze();
                    }
                }
            });
        }
        for worker in 0..workers {
            let taken = &taken;
            scope.spawn(move || {
                let cx = queue.cx(worker);
                let (mut mine, mut sum) = (0, 0);
                let mut backoff = Backoff::new();
                loop {
                    match queue.run(&cx) {
                        Some(item) => {
                            mine += 1;
                            sum += item.into();
                            backoff.reset();
                        }
                        // Counted rarely, so that the count itself is not measured.
                        None if taken.fetch_add(std::mem::take(&mut mine), Relaxed) + mine == items => break,
                        None => backoff.snooze(),
                    }
                    if mine == 1024 {
                        taken.fetch_add(std::mem::take(&mut mine), Relaxed);
                        backoff = Backoff::new();
                    }
                }
                std::hint::black_box(sum);
            });
        }
    });
    assert_eq!(taken.load(Relaxed), items, "every item was taken once");
    start.elapsed().as_secs_f64() * 1e9 / items as f64
}

#[derive(Clone, Copy)]
struct CacheLine([u64; 8]);

impl From<CacheLine> for u64 {
    fn from(line: CacheLine) -> u64 {
        line.0[0]
    }
}

fn summary(mut runs: Vec<f64>) -> (f64, String) {
    runs.sort_by(f64::total_cmp);
    let median = runs[runs.len() / 2];
    (median, format!("{median:6.1} ({:.1}–{:.1})", runs[0], runs[runs.len() - 1]))
}

fn compare<T: Copy + Send + Sync + Into<u64> + 'static>(bytes: usize, item: T, items: usize) {
    for (producers, workers) in [(1, 1), (1, 2), (4, 2)] {
        let shape = Shape { workers, bound: Some(ROOM - workers), ..Shape::default() };
        let ring = RingOf::<T>::new(&shape).expect("there is memory");
        let array = ArrayQueue::new(ROOM);
        let zero = || CachePadded::new(AtomicUsize::new(0));
        let accounted = Accounted { queue: ArrayQueue::new(ROOM), pushed: zero(), popped: zero(), finished: zero() };
        let mut runs = [const { Vec::new() }; 3];
        for _ in 0..RUNS {
            runs[0].push(time(&ring, producers, workers, item, items));
            runs[1].push(time(&array, producers, workers, item, items));
            runs[2].push(time(&accounted, producers, workers, item, items));
        }
        let [(ours, our_line), (bare, bare_line), (accounted, accounted_line)] = runs.map(summary);
        let (to_bare, to_accounted) = (ours / bare, ours / accounted);
        println!(
            "| {bytes} | {producers}P{workers}W | {our_line} | {bare_line} | {accounted_line} | {to_bare:.2} | {to_accounted:.2} |"
        );
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| !arg.starts_with('-') && !arg.contains("ring")) {
        return; // another benchmark was requested
    }
    // `cargo test` also runs benchmarks, to check that they work.
    let is_given = |flag: &str| args.iter().any(|arg| arg == flag);
    let items = match (is_given("--bench"), is_given("--quick")) {
        (true, false) => 1 << 20,
        (true, true) => 1 << 16,
        (false, _) => 1 << 12,
    };
    println!("| bytes | threads | ring, ns | `ArrayQueue`, ns | with accounting, ns | ring to bare | to accounting |");
    println!("|---|---|---|---|---|---|---|");
    compare(8, 1u64, items);
    compare(64, CacheLine([1; 8]), items);
}
