//! Workers that are bound to processors. Linux tells which these are.
#![cfg(all(feature = "pin", target_os = "linux"))]

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use crate::support::on_every_dispatch;
use formicary::{Dispatch, Pool};

/// The processors that the calling thread may use, as the system tells.
fn allowed() -> BTreeSet<usize> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    list.trim().split(',').flat_map(range).collect()
}

/// What each of the pool's workers may use.
fn of_workers<D: Dispatch>(pool: &Pool<D>, workers: usize) -> Vec<(usize, BTreeSet<usize>)> {
    let all_run = Arc::new(Barrier::new(workers));
    let ask = || {
        let all_run = Arc::clone(&all_run);
        move || {
            all_run.wait();
            (formicary::Context::with(|cx| cx.worker()).unwrap(), allowed())
        }
    };
    let handles: Vec<_> = (0..workers).map(|_| pool.spawn(ask()).unwrap()).collect();
    let mut found: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
    found.sort();
    found
}

fn in_turn<D: Dispatch>() {
    let processors: Vec<_> = allowed().into_iter().collect();
    let workers = processors.len() + 1;
    let pool = Pool::builder().workers(workers).pin().dispatch::<D>().build().unwrap();
    let expected: Vec<_> = (0..workers).map(|n| (n, BTreeSet::from([processors[n % processors.len()]]))).collect();
    assert_eq!(of_workers(&pool, workers), expected);
    // The thread that built the pool is not bound.
    assert_eq!(allowed().len(), processors.len());
}

#[test]
fn workers_are_bound_in_turn() {
    on_every_dispatch!(in_turn);
}

fn unbound<D: Dispatch>() {
    let pool = Pool::builder().workers(2).dispatch::<D>().build().unwrap();
    assert!(of_workers(&pool, 2).iter().all(|(_, processors)| *processors == allowed()));
    let own_threads = Pool::builder().workers(2).pin().dispatch::<D>().spawn_handler(|worker| {
        std::thread::spawn(|| worker.run());
        Ok(())
    });
    assert!(of_workers(&own_threads.build().unwrap(), 2).iter().all(|(_, processors)| *processors == allowed()));
}

#[test]
fn nothing_else_is_bound() {
    on_every_dispatch!(unbound);
}
