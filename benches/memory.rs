//! What a pool holds, in bytes: for each task that is queued, and for each worker that is idle.
//!
//! Two figures each. The heap figure is what is asked of the allocator, and exact; it does not include stacks. The resident figure
//! is what the system reports for the process (Linux), in whole pages. Each row is measured in a process of its own, so that no row
//! reuses memory that another one has freed.
//!
//! `cargo bench --bench memory`; some rows with a name, `-- Ring`.
#![allow(clippy::expect_used)] // a benchmark that cannot start fails by panicking

mod common;

use std::process::Command;

use common::support::{Setup, allocator};
use common::{Candidate, hold, is_trial, many, number_pools, steady, table, task_pools};
use formicary::Task;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// One less than a power of two, which the ring's one worker makes full: nothing that doubles has room to spare.
const TASKS: u64 = (1 << 17) - 1;
const WORKERS: u64 = 200;

/// What a row can be about.
const QUEUED_TASK: &str = "queued `Task`";
const QUEUED_NUMBER: &str = "queued `u64`";
const IDLE_WORKER: &str = "idle worker";

/// Asks for one row only, in two words.
const ROW: &str = "--row";

/// Bytes held: on the heap, and resident.
fn held() -> [u64; 2] {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    [allocator::bytes() as u64, pages * 4096]
}

/// What has been added since, for each of `count`.
fn each(before: [u64; 2], count: u64) -> [u64; 2] {
    let now = held();
    [0, 1].map(|which| now[which].saturating_sub(before[which]) / count)
}

/// The queue is full, and built for just that: what a ring takes at build is for its tasks.
fn queued<T>(candidate: &Candidate<T>, item: impl Fn() -> T) -> [u64; 2] {
    let (tasks, mut setup) = (many(TASKS), steady(1));
    setup.queue = Some(Some(tasks as usize));
    let before = held();
    let pool = (candidate.build)(setup);
    let _pause = pool.pause();
    (0..tasks).for_each(|_| assert!(pool.submit(item()).is_ok()));
    let each = each(before, tasks);
    drop(pool.shutdown_now());
    each
}

/// One worker grows to many, and all of them run a task, so that their stacks have been used.
fn idle(candidate: &Candidate<Task>) -> [u64; 2] {
    let (more, mut setup) = (many(WORKERS) as usize, Setup::default());
    setup.workers = Some(1 + more);
    setup.expiry = Some(None);
    let pool = (candidate.build)(setup);
    let run = |workers| {
        hold(&*pool, workers).open();
        pool.wait_idle();
    };
    run(1);
    let before = held();
    run(1 + more);
    each(before, more as u64)
}

/// One row, in the process that was started for it.
fn measure(what: &str, name: &str) -> [u64; 2] {
    fn find<T>(all: Vec<Candidate<T>>, name: &str) -> Candidate<T> {
        all.into_iter().find(|candidate| candidate.name == name).expect("there is such a pool")
    }
    match what {
        QUEUED_TASK => queued(&find(task_pools(), name), || Task::new(|| ())),
        QUEUED_NUMBER => queued(&find(number_pools(|_| ()), name), || 1),
        _ => idle(&find(task_pools(), name)),
    }
}

/// Has a row measured: its figures, as they are printed.
fn row(what: &str, name: &str) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().expect("this runs"));
    child.args((!is_trial()).then_some("--bench")).args([ROW, what, name]);
    let output = child.output().expect("the same program starts again");
    assert!(output.status.success(), "{what}, {name}: {}", String::from_utf8_lossy(&output.stderr));
    let figures = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    [what, name].into_iter().chain(figures.split(' ')).map(str::to_owned).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == ROW) {
        let [heap, resident] = measure(&args[at + 1], &args[at + 2]);
        println!("{heap} {resident}");
        return;
    }
    let tasks: Vec<String> = task_pools().into_iter().map(|candidate| candidate.name).collect();
    let numbers: Vec<String> = number_pools(|_| ()).into_iter().map(|candidate| candidate.name).collect();
    let mut rows = Vec::new();
    for (what, names) in [(QUEUED_TASK, &tasks), (QUEUED_NUMBER, &numbers), (IDLE_WORKER, &tasks)] {
        let wanted = names.iter().filter(|name| table::is_wanted(&format!("memory/{what}/{name}")));
        rows.extend(wanted.map(|name| row(what, name)));
    }
    let title = "Bytes held, on the heap and resident (with stacks, in whole pages), for each";
    table::print(title, &["each", "pool", "heap", "resident"], &rows);
}
