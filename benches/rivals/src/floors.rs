//! Bounds of the machine, measured in the same run as the pools: the cost of the same work without a pool.

use std::panic::{catch_unwind, panic_any};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::time::{Duration, Instant};

use crate::measure::{Meter, Row, TALLY, Times, nanoseconds, resident_kib};
use crate::scenarios::{Ask, burst, lifecycle, memory, roundtrip, server, waiting, work10us};
use crate::state;
use crate::work;

/// A floor: its name, and how it is measured. Its row has the same figures as a contestant's.
pub type Floor = (&'static str, fn(Ask) -> Row);

/// Two threads that spin: the least time of a round trip of a word.
pub fn spin_ping_pong(ask: Ask) -> Row {
    state::with_partner(|play| {
        roundtrip::calls(ask, false, |n| {
            play(1);
            n + 1
        })
    })
}

/// Two threads that park: the time of two wake-ups.
pub fn park_unpark(ask: Ask) -> Row {
    let (turn, end) = (AtomicU64::new(0), AtomicBool::new(false));
    let caller = std::thread::current();
    std::thread::scope(|scope| {
        let partner = scope.spawn(|| {
            let mut round = 1;
            while !end.load(Acquire) {
                if turn.load(Acquire) == 2 * round - 1 {
                    turn.store(2 * round, Release);
                    caller.unpark();
                    round += 1;
                } else {
                    std::thread::park();
                }
            }
        });
        let mut round = 0;
        let row = roundtrip::calls(ask, true, |n| {
            round += 1;
            turn.store(2 * round - 1, Release);
            partner.thread().unpark();
            while turn.load(Acquire) != 2 * round {
                std::thread::park();
            }
            n + 1
        });
        end.store(true, Release);
        partner.thread().unpark();
        row
    })
}

/// Threads that do their share of the work: how well the ideal can be measured.
pub fn bare_work(ask: Ask) -> Row {
    work10us::against_ideal(ask, |tasks, steps| {
        TALLY.begin(tasks);
        let go = Barrier::new(work10us::WORKERS as usize);
        std::thread::scope(|scope| {
            for worker in 0..work10us::WORKERS {
                let go = &go;
                let share = tasks / work10us::WORKERS + u64::from(worker < tasks % work10us::WORKERS);
                scope.spawn(move || {
                    go.wait();
                    for _ in 0..share {
                        work::steps(steps);
                        TALLY.one();
                    }
                });
            }
        });
        TALLY.wait();
    })
}

/// Threads that are parked until a burst, and do their share of it: the cost of two wake-ups, and of processors that were idle.
pub fn bare_burst(ask: Ask) -> Row {
    let (begun, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let work = || {
            for next in 1.. {
                while begun.load(Acquire) < next {
                    std::thread::park();
                }
                if end.load(Acquire) {
                    return;
                }
                for _ in 0..burst::TASKS / work10us::WORKERS {
                    work::steps(steps.load(Relaxed));
                    TALLY.one();
                }
            }
        };
        let threads: Vec<_> = (0..work10us::WORKERS).map(|_| scope.spawn(work)).collect();
        let begin = || {
            begun.fetch_add(1, Release);
            threads.iter().for_each(|thread| thread.thread().unpark());
        };
        let row = burst::bursts(ask, |each| {
            steps.store(each, Relaxed);
            begin();
        });
        end.store(true, Release);
        begin();
        row
    })
}

/// Threads that sleep their share of the time.
pub fn bare_sleep(ask: Ask) -> Row {
    let (workers, tasks) = waiting::plan(ask);
    let go = Barrier::new(workers + 1);
    TALLY.begin(tasks);
    let mut meter = None;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                go.wait();
                for _ in 0..tasks / workers as u64 {
                    std::thread::sleep(waiting::TASK);
                    TALLY.one();
                }
            });
        }
        go.wait();
        meter = Some(Meter::start());
    });
    TALLY.wait();
    waiting::row(&meter.expect("it was set"), workers, tasks)
}

/// Resident memory of a bare thread that has done the work of a worker, and is parked.
pub fn bare_memory(ask: Ask) -> Row {
    let workers = memory::workers(ask);
    let base = resident_kib();
    let barrier = Barrier::new(workers);
    let end = AtomicBool::new(false);
    TALLY.begin(workers as u64);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    TALLY.one();
                    while !end.load(Acquire) {
                        std::thread::park();
                    }
                })
            })
            .collect();
        TALLY.wait();
        let row = memory::idle_row(base, workers);
        end.store(true, Release);
        threads.iter().for_each(|thread| thread.thread().unpark());
        row
    })
}

/// A process that has no pool and sleeps.
pub fn nothing(ask: Ask) -> Row {
    waiting::idle(ask)
}

/// As many threads as the pool would have are spawned and joined; one does the task.
pub fn bare_construct(ask: Ask) -> Row {
    lifecycle::rounds(ask, || {
        let mut threads = [(); lifecycle::WORKERS].map(|()| None);
        for (n, place) in threads.iter_mut().enumerate() {
            *place = Some(std::thread::spawn(move || {
                if n == 0 {
                    TALLY.one();
                }
            }));
        }
        TALLY.wait();
        threads.into_iter().flatten().for_each(|thread| thread.join().expect("no panic"));
    })
}

/// The same panics, caught in a loop on as many bare threads as the pool has.
pub fn bare_panic(ask: Ask) -> Row {
    let tasks = ask.count(100_000, 20);
    lifecycle::silently(|| {
        TALLY.begin(tasks);
        let meter = Meter::start();
        std::thread::scope(|scope| {
            for worker in 0..lifecycle::WORKERS as u64 {
                let workers = lifecycle::WORKERS as u64;
                scope.spawn(move || {
                    for _ in 0..tasks / workers + u64::from(worker < tasks % workers) {
                        drop(catch_unwind(|| {
                            TALLY.one();
                            panic_any(0_u8);
                        }));
                    }
                });
            }
        });
        TALLY.wait();
        let time = meter.elapsed();
        meter.row().with("ns", nanoseconds(time) as f64 / tasks as f64)
    })
}

/// As many threads as processors poll the connections, and serve what they find themselves: they never wait for each other.
pub fn bare_server(ask: Ask) -> Row {
    server::requests(ask, |server, requests| {
        let begun = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..work10us::WORKERS {
                scope.spawn(|| {
                    // As many waits as there are requests, so that each ends.
                    while begun.fetch_add(1, Relaxed) < requests {
                        server.poll(1, |connection| server.serve(connection));
                    }
                });
            }
        });
    })
}

/// How long it takes to read the clock: part of each figure of a single call.
pub fn clock_ns() -> f64 {
    let times = (0..1000).map(|_| {
        let start = Instant::now();
        start.elapsed()
    });
    Times::new(times.map(|time: Duration| nanoseconds(time)).collect()).quantile(0.5)
}
