//! One tenant has hundreds of tasks in the queue when nine others bring one each. Shows how long each waits under every dispatch, and checks
//! what `Fair` promises.
//!
//! ```sh
//! cargo run --release --example tenants
//! ```

use std::error::Error;
use std::sync::{Arc, Barrier, Mutex};

use formicary::{Dispatch, Fair, Level, Pool, Priority, Ring, Sharded, Stack, With};

const WORKERS: usize = 4;
/// Tenant 0 is the greedy one.
const GREEDY: usize = 0;
const QUIET: usize = 9;
/// So that all workers have a task in each turn, the last included.
const GREEDY_TASKS: usize = 100 * WORKERS - QUIET;

/// Says who a task belongs to, as the dispatch can be told.
type Label<D> = for<'p> fn(With<'p, Pool<D>>, usize) -> With<'p, Pool<D>>;

/// The tenants in the order in which their tasks started. All tasks take the same time, here without a clock: in each turn every worker
/// runs one, and they end together. So `n` tasks that started before are `n / WORKERS` turns of waiting.
fn starts<D: Dispatch>(label: Label<D>) -> Result<Vec<usize>, Box<dyn Error>> {
    let pool = Pool::builder().workers(WORKERS).min_workers(WORKERS).queue(10_000).dispatch::<D>().build()?;
    let (log, turn) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Barrier::new(WORKERS)));
    let pause = pool.pause(); // until all are in the queue
    for tenant in [GREEDY; GREEDY_TASKS].into_iter().chain(1..=QUIET) {
        let (log, turn) = (Arc::clone(&log), Arc::clone(&turn));
        label(pool.with(), tenant).submit(move || {
            if let Ok(mut log) = log.lock() {
                log.push(tenant);
            }
            turn.wait();
        })?;
    }
    drop(pause);
    pool.wait_idle();
    let log = log.lock().map_err(|_| "a task panicked")?.clone();
    Ok(log)
}

/// How many turns each tenant waited for its tasks, on the average.
fn waits(starts: &[usize]) -> Vec<usize> {
    let turns = |tenant| starts.iter().enumerate().filter(move |(_, t)| **t == tenant).map(|(n, _)| n / WORKERS);
    (0..=QUIET).map(|tenant| turns(tenant).sum::<usize>() / turns(tenant).count().max(1)).collect()
}

/// How many of the greedy one's tasks each quiet tenant's task waited for: those of earlier turns, and of its own, which may have
/// started before.
fn delays(starts: &[usize]) -> Vec<usize> {
    let turns: Vec<_> = starts.chunks(WORKERS).collect();
    let greedy = |turns: &[&[usize]]| turns.concat().into_iter().filter(|tenant| *tenant == GREEDY).count();
    let turn = |tenant| turns.iter().position(|turn| turn.contains(&tenant)).unwrap_or(turns.len() - 1);
    (1..=QUIET).map(|tenant| greedy(&turns[..=turn(tenant)])).collect()
}

fn show<D: Dispatch>(title: &str, label: Label<D>) -> Result<Vec<usize>, Box<dyn Error>> {
    let starts = starts(label)?;
    assert_eq!(starts.len(), GREEDY_TASKS + QUIET, "every task ran once");
    println!("{title}");
    for (tenant, wait) in waits(&starts).into_iter().enumerate() {
        let name = if tenant == GREEDY { "greedy".to_owned() } else { format!("quiet {tenant}") };
        println!("  {name:8} {wait:3} {}", "█".repeat(wait.div_ceil(2)));
    }
    let delays = delays(&starts);
    println!("  a quiet tenant waited for up to {} tasks of the greedy one\n", delays.iter().max().unwrap_or(&0));
    Ok(delays)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{GREEDY_TASKS} tasks of one tenant, then one of each other; {WORKERS} workers. Waits in turns, a turn is a task's time.\n"
    );
    let stack = show::<Stack>("Stack: first come, first served", |with, _| with)?;
    let ring = show::<Ring>("Ring: first come, first served", |with, _| with)?;
    show::<Sharded>("Sharded, a key for each tenant: those in other shards get through", |with, tenant| {
        with.key(tenant)
    })?;
    show::<Priority>("Priority, the greedy one LOW: if you know who it is", |with, tenant| {
        with.priority(if tenant == GREEDY { Level::LOW } else { Level::NORMAL })
    })?;
    let fair = show::<Fair>("Fair, with tenants: whoever it is", |with, tenant| with.tenant(tenant))?;

    // One that started before, and one on each other worker in the same turn.
    assert!(fair.iter().all(|delay| *delay <= WORKERS), "a quiet tenant waited for {fair:?} tasks of the greedy one");
    // Otherwise this would have shown nothing.
    let all = |delays: &[usize]| delays.iter().all(|delay| *delay > GREEDY_TASKS - WORKERS);
    assert!(all(&stack) && all(&ring), "they are in order: {stack:?}, {ring:?}");
    println!("under Fair no quiet tenant waited for more than {WORKERS} tasks of the greedy one, one for each worker");
    Ok(())
}
