//! Kill -9 in the middle of 10,000 jobs: of the worker process, of the server, of both; a cut network, a stall, two consumers, a job that kills.
//! In each run every job has its effect at least once, the one with its key exactly once, and none is lost: counted.

use std::cell::Cell;
use std::time::Duration;

use formicary_jobs::{Counts, Push, Store};

use crate::support::effects::Effects;
use crate::support::program::{POISON, Worker};
use crate::support::proxy::Proxy;
use crate::support::server::{Server, for_each_store};
use crate::support::{count, eventually, other, step_by_step};

const JOBS: u32 = 10_000;

/// When something happens, in runs of jobs.
const MOMENTS: [u64; 3] = [1_500, 4_000, 7_000];

fn push_all(store: &dyn Store) {
    let job = |n: u32| if n % 10 == 0 { other(n) } else { count(n) }.key(format!("job-{n}")).attempts(20);
    let jobs: Vec<Push> = (0..JOBS).map(job).collect();
    for batch in jobs.chunks(500) {
        store.push(batch).unwrap();
    }
}

/// Runs all jobs with `workers` processes, does something at each of the moments, and counts.
fn all_have_their_effect(
    what: &str,
    workers: usize,
    needs_server: bool,
    happen: impl Fn(&mut Server, Option<&Proxy>, &mut Vec<Worker>, &dyn Fn() -> Worker),
) {
    for_each_store(|server| {
        let proxy = server.port().map(Proxy::to);
        if needs_server && proxy.is_none() {
            return;
        }
        let store = server.open_short();
        push_all(&*store);
        let folder = server.folder().to_owned();
        let address = server.address(proxy.as_ref().map(Proxy::port));
        let effects = Effects::open(&folder);
        let start = || Worker::start(&address, &folder);
        let mut processes: Vec<Worker> = (0..workers).map(|_| start()).collect();
        for moment in MOMENTS {
            step_by_step("jobs run", || effects.runs(), || effects.runs() >= moment);
            happen(server, proxy.as_ref(), &mut processes, &start);
        }
        // A step is a run, or a job less. The store is asked rarely, so that it has time for the jobs.
        let (left, mut fewest) = (Cell::new(u64::MAX), u64::MAX);
        let steps = || {
            std::thread::sleep(Duration::from_millis(100));
            left.set(store.counts().map_or(u64::MAX, |Counts { ready, reserved, dead }| ready + reserved + dead));
            fewest = fewest.min(left.get());
            (effects.runs(), fewest)
        };
        step_by_step("all are done", steps, || left.get() == 0);
        drop(processes);
        let (runs, with_key) = effects.by_key();
        let total: usize = runs.values().sum();
        let lost = (0..JOBS).filter(|n| !runs.contains_key(&format!("job-{n}"))).count();
        println!(
            "| {what} | {:?} | {JOBS} | {} | {} | {with_key} | {lost} |",
            server.kind,
            runs.len(),
            total - runs.len()
        );
        assert_eq!((runs.len(), lost, with_key), (JOBS as usize, 0, JOBS as usize));
    });
}

fn kill_one(workers: &mut [Worker], start: &dyn Fn() -> Worker) {
    workers[0].kill();
    workers[0] = start();
}

#[test]
fn the_worker_process() {
    all_have_their_effect("the worker", 1, false, |_, _, workers, start| kill_one(workers, start));
}

#[test]
fn one_of_two_worker_processes() {
    all_have_their_effect("one of two workers", 2, false, |_, _, workers, start| {
        kill_one(workers, start);
        workers.swap(0, 1);
    });
}

#[test]
fn the_server() {
    all_have_their_effect("the server", 1, true, |server, _, _, _| {
        server.kill();
        server.restart();
    });
}

#[test]
fn the_server_and_the_worker() {
    all_have_their_effect("server and worker", 1, true, |server, _, workers, start| {
        workers[0].kill();
        server.kill();
        server.restart();
        workers[0] = start();
    });
}

#[test]
fn the_connection() {
    all_have_their_effect("the connection", 1, true, |_, proxy, _, _| {
        let proxy = proxy.expect("it goes by way of one");
        proxy.cut();
        std::thread::sleep(Duration::from_millis(300));
        proxy.heal();
    });
}

#[test]
fn nothing_but_a_stall_of_a_second() {
    all_have_their_effect("nothing; a stall", 1, false, |server, _, _, _| {
        server.stall();
        std::thread::sleep(Duration::from_secs(1));
        server.resume();
    });
}

#[test]
fn nothing_with_two_consumers() {
    all_have_their_effect("nothing; two workers", 2, false, |_, _, _, _| ());
}

#[test]
fn a_job_that_kills_its_process_is_a_dead_letter_after_its_last_attempt() {
    for_each_store(|server| {
        let store = server.open_short();
        store.push(&[count(POISON).key("poison").attempts(2)]).unwrap();
        let mut deaths = 0;
        let folder = server.folder().to_owned();
        let mut worker = Worker::start(&server.address(None), &folder);
        eventually("it is dead", || {
            if worker.is_dead() {
                deaths += 1;
                worker = Worker::start(&server.address(None), &folder);
            }
            store.counts().unwrap() == Counts { ready: 0, reserved: 0, dead: 1 }
        });
        assert_eq!(deaths, 2);
        let dead = store.dead(1).unwrap().remove(0);
        assert_eq!((dead.key.as_deref(), dead.attempt), (Some("poison"), 2));
        // The worker that found it dead goes on.
        store.push(&[count(1).key("next")]).unwrap();
        eventually("the next job runs", || store.counts().unwrap() == Counts { ready: 0, reserved: 0, dead: 1 });
        assert!(!worker.is_dead());
        assert_eq!(Effects::open(&folder).by_key().1, 1);
    });
}
