//! The crate's own ring against `crossbeam_queue::ArrayQueue`, as plain queues: bounded at 1024, producers and workers that
//! spin, runs that alternate. The ring also keeps the books of a pool (a bound on tasks queued and running, closing, a limit
//! on what may start, what is finished); the `ArrayQueue` is bare.
//!
//! `cargo bench --bench ring`; prints nanoseconds per item, the median and range of 15 runs each, and the ratio.
#![allow(dead_code, unreachable_pub, missing_docs, unused_imports, clippy::expect_used)] // the crate's files, as they are

#[path = "../src/dispatch/mod.rs"]
mod dispatch;
#[path = "../src/stats.rs"]
mod stats;
#[path = "../src/sync.rs"]
mod sync;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::Backoff;
use dispatch::{Balance, Dispatch, MAIN_DOOR, Queue, Refused, Ring, Shape};

const ROOM: usize = 1024;
const RUNS: usize = 15;

/// A queue as both sides of the benchmark see it.
trait Lane<T>: Sync {
    type Seat;
    fn seat(&self, worker: usize) -> Self::Seat;
    fn push(&self, item: T) -> Result<(), T>;
    /// Takes an item and is done with it.
    fn run(&self, seat: &Self::Seat) -> Option<T>;
}

impl<T: Send> Lane<T> for ArrayQueue<T> {
    type Seat = ();

    fn seat(&self, _worker: usize) {}

    fn push(&self, item: T) -> Result<(), T> {
        ArrayQueue::push(self, item)
    }

    fn run(&self, (): &()) -> Option<T> {
        self.pop()
    }
}

type RingOf<T> = <Ring as Dispatch>::Queue<T>;

impl<T: Send + 'static> Lane<T> for RingOf<T> {
    type Seat = <Self as Queue<T>>::Seat;

    fn seat(&self, worker: usize) -> Self::Seat {
        Queue::seat(self, worker)
    }

    fn push(&self, item: T) -> Result<(), T> {
        Queue::push(self, item, MAIN_DOOR, None).map_err(|refused| match refused {
            Refused::Full(item) | Refused::Closed(item) => item,
        })
    }

    fn run(&self, seat: &Self::Seat) -> Option<T> {
        let item = self.pop(seat)?;
        self.finished(seat);
        Some(item)
    }
}

/// Nanoseconds per item.
fn time<T: Copy + Send + Sync + Into<u64>>(
    lane: &impl Lane<T>,
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
                    while lane.push(item).is_err() {
                        backoff.snooze();
                    }
                }
            });
        }
        for worker in 0..workers {
            let taken = &taken;
            scope.spawn(move || {
                let seat = lane.seat(worker);
                let (mut mine, mut sum) = (0, 0);
                let mut backoff = Backoff::new();
                loop {
                    match lane.run(&seat) {
                        Some(item) => {
                            mine += 1;
                            sum += item.into();
                            backoff.reset();
                        }
                        // Told rarely, so that the count does not become what is measured.
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
struct Line([u64; 8]);

impl From<Line> for u64 {
    fn from(line: Line) -> u64 {
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
        let shape = Shape { workers, bound: Some(ROOM - workers), shards: None, balance: Balance::default() };
        let ring = RingOf::<T>::new(&shape).expect("there is memory");
        let array = ArrayQueue::new(ROOM);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(time(&ring, producers, workers, item, items));
            theirs.push(time(&array, producers, workers, item, items));
        }
        let ((ours, our_line), (theirs, their_line)) = (summary(ours), summary(theirs));
        println!("| {bytes} | {producers}P{workers}W | {our_line} | {their_line} | {:.2} |", ours / theirs);
    }
}

fn main() {
    // `cargo test` runs benchmarks too, to see that they work.
    let items = if std::env::args().any(|arg| arg == "--bench") { 1 << 20 } else { 1 << 12 };
    println!("| bytes | threads | ring, ns | `ArrayQueue`, ns | ratio |\n|---|---|---|---|---|");
    compare(8, 1u64, items);
    compare(64, Line([1; 8]), items);
}
