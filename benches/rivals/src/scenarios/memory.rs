//! Memory: the cost of a queued task, and of an idle worker. It is the growth of the process's resident memory since before the pool was
//! built, so what a queue allocates beforehand counts. Each row has a process of its own, so no freed memory is reused.

use std::hint::black_box;
use std::sync::{Barrier, Condvar, Mutex};
use std::time::Duration;

use super::{Ask, Row};
use crate::measure::{Meter, TALLY, resident_kib};
use crate::pools::{Bound, Closures, Machine, Plan};

static GATE: Gate = Gate { open: Mutex::new(false), opened: Condvar::new() };

struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let open = self.open.lock().expect("no panic under this lock");
        drop(self.opened.wait_while(open, |open| !*open));
    }

    fn open(&self) {
        *self.open.lock().expect("no panic under this lock") = true;
        self.opened.notify_all();
    }
}

const WORKERS: u64 = 2;
/// Room beyond the tasks, for queues that consist of several.
const MARGIN: u64 = 4096;

/// Two workers wait at a gate while `tasks` tasks are queued.
fn behind_gate(tasks: u64, base: u64, stand: impl Fn(), queue: impl Fn(u64)) -> Row {
    TALLY.begin(WORKERS);
    (0..WORKERS).for_each(|_| stand());
    TALLY.wait();
    TALLY.begin(tasks);
    let meter = Meter::start();
    (0..tasks).for_each(queue);
    let full = resident_kib();
    let row = meter.row();
    GATE.open();
    TALLY.wait();
    row.with("bytes/task", full.saturating_sub(base) as f64 * 1024.0 / tasks as f64)
}

fn plan(tasks: u64) -> Plan {
    Plan { queue: (tasks + MARGIN) as usize, eager: true, ..Plan::new(WORKERS as usize) }
}

/// Closures that capture 16 bytes: a reference and a number.
pub fn pending<C: Closures>(ask: Ask) -> Row {
    let tasks = ask.count(1_000_000, 1000);
    let base = resident_kib();
    let pool = C::build(&plan(tasks));
    let stand = || {
        pool.submit(|| {
            TALLY.one();
            GATE.pass();
        });
    };
    let tally = &TALLY;
    let row = behind_gate(tasks, base, stand, |n| {
        pool.submit(move || {
            black_box(n);
            tally.one();
        });
    });
    pool.end();
    TALLY.check();
    row
}

/// Counts, or waits at the gate.
#[derive(Default)]
pub struct Gated;

impl Machine for Gated {
    fn step(&mut self, n: u64) -> u64 {
        TALLY.one();
        if n == u64::MAX {
            GATE.pass();
        }
        n
    }
}

/// Payloads of 8 bytes.
pub fn pending_payload<B: Bound<Gated>>(ask: Ask) -> Row {
    let tasks = ask.count(1_000_000, 1000);
    let base = resident_kib();
    let pool = B::build(&plan(tasks));
    let row = behind_gate(tasks, base, || pool.invoke(u64::MAX), |n| pool.invoke(n));
    pool.end();
    TALLY.check();
    row
}

pub fn workers(ask: Ask) -> usize {
    ask.count(1000, 20) as usize
}

/// A moment after the last task, for threads to park.
pub fn idle_row(base: u64, workers: usize) -> Row {
    let meter = Meter::start();
    std::thread::sleep(Duration::from_millis(100));
    let kib = resident_kib().saturating_sub(base) as f64 / workers as f64;
    meter.row().with("KiB/worker", kib)
}

/// 1,000 workers that ran one task each, all at once, and are idle.
pub fn idle<C: Closures>(ask: Ask) -> Row {
    let workers = workers(ask);
    let base = resident_kib();
    let barrier: &'static Barrier = Box::leak(Box::new(Barrier::new(workers)));
    let pool = C::build(&Plan { queue: workers.max(Plan::QUEUE), eager: true, ..Plan::new(workers) });
    TALLY.begin(workers as u64);
    for _ in 0..workers {
        pool.submit(|| {
            barrier.wait();
            TALLY.one();
        });
    }
    TALLY.wait();
    let row = idle_row(base, workers);
    pool.end();
    TALLY.check();
    row
}
