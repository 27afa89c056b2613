//! Work that divides itself: forks, scopes, and tasks that submit tasks, while the pool changes or ends.

use std::sync::Arc;
// Not shuttle's: the test's own records must not add steps to a schedule.
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use formicary::{CallError, Dispatch, Pool, Ring, Scope, Sharded, Stack};
use shuttle::thread::{self, JoinHandle};

use crate::explore::{draw, explore, stumble};
use crate::handles::{on_each_dispatch, pool};
use crate::tasks::check_threads;

/// Does something to the pool, on a thread of its own.
fn change<D: Dispatch>(pool: &Arc<Pool<D>>) -> JoinHandle<()> {
    let pool = Arc::clone(pool);
    thread::spawn(move || match draw(5) {
        0 => pool.tune(1 + draw(3)).unwrap(),
        1 => drop(pool.pause()),
        2 => drop(pool.shutdown()),
        3 => drop(pool.shutdown_now()),
        _ => drop(pool.submit(stumble)),
    })
}

/// Ends the pool: nothing is lost.
fn check_end<D: Dispatch>(pool: &Pool<D>) {
    assert!(pool.shutdown().is_complete());
    let stats = pool.stats();
    let ended = stats.completed + stats.cancelled + stats.returned;
    assert_eq!((stats.submitted, stats.panicked, stats.overcommitted), (ended, 0, 0), "{stats:?}");
    check_threads(&stats);
}

/// Forks inside forks, from outside and from tasks, beside other tasks, while the size changes or the pool ends: each closure runs once,
/// and its result is there.
fn forks_end<D: Dispatch>() {
    let pool = pool::<D>(1 + draw(3), draw(3));
    let changes = change(&pool);
    fn sum<D: Dispatch>(pool: &Pool<D>, numbers: &[usize]) -> usize {
        stumble();
        match numbers {
            [] => 0,
            [one] => *one,
            _ => {
                let (left, right) = numbers.split_at(numbers.len() / 2);
                let (left, right) = pool.join(|| sum(pool, left), || sum(pool, right));
                left + right
            }
        }
    }
    let numbers: Vec<usize> = (1..=1 + draw(6)).collect();
    let expected: usize = numbers.iter().sum();
    if draw(2) == 0 {
        assert_eq!(sum(&pool, &numbers), expected);
    } else {
        let own = Arc::clone(&pool);
        match pool.run(move || sum(&own, &numbers)) {
            Ok(found) => assert_eq!(found, expected),
            Err(error) => assert!(matches!(error, CallError::Refused(_))),
        }
    }
    changes.join().unwrap();
    check_end(&pool);
}

#[test]
fn p03_forks_end() {
    on_each_dispatch!(forks_end);
}

/// What the tasks of a scope count.
#[derive(Default)]
struct Counts {
    spawned: AtomicUsize,
    ran: AtomicUsize,
}

fn spawn<'scope, D: Dispatch>(
    s: &'scope Scope<'scope, '_, D>,
    pool: &'scope Pool<D>,
    counts: &'scope Counts,
    levels: usize,
) {
    counts.spawned.fetch_add(1, SeqCst);
    s.spawn(move || {
        counts.ran.fetch_add(1, SeqCst);
        stumble();
        match draw(3) {
            _ if levels == 0 => {}
            0 => (0..2).for_each(|_| spawn(s, pool, counts, levels - 1)),
            1 => _ = pool.join(|| spawn(s, pool, counts, levels - 1), stumble),
            _ => pool.scope(|inner| {
                spawn(s, pool, counts, levels - 1);
                inner.spawn(|| spawn(s, pool, counts, levels - 1));
            }),
        }
    });
}

/// Scopes of a thread outside and of a worker, whose tasks spawn more, fork, and open scopes: each task runs once before its scope ends.
fn scopes_end<D: Dispatch>() {
    let pool = pool::<D>(1 + draw(3), draw(3));
    let changes = change(&pool);
    let counts = Counts::default();
    let scope = || pool.scope(|s| spawn(s, &pool, &counts, 2));
    if draw(2) == 0 {
        scope()
    } else {
        pool.install(scope)
    }
    assert_eq!(counts.ran.load(SeqCst), counts.spawned.load(SeqCst));
    changes.join().unwrap();
    check_end(&pool);
}

#[test]
fn p03_scopes_end() {
    on_each_dispatch!(scopes_end);
}

fn submit<D: Dispatch>(pool: &Arc<Pool<D>>, counts: &Arc<Counts>, levels: usize) {
    let (inner, own) = (Arc::clone(pool), Arc::clone(counts));
    let submitted = pool.submit(move || {
        own.ran.fetch_add(1, SeqCst);
        stumble();
        (0..levels.min(2)).for_each(|_| submit(&inner, &own, levels - 1));
    });
    counts.spawned.fetch_add(usize::from(submitted.is_ok()), SeqCst);
}

/// Trees of tasks that submit tasks: what was accepted runs or is given back.
fn trees_end<D: Dispatch>() {
    let (pool, counts) = (pool::<D>(1 + draw(3), draw(3)), Arc::new(Counts::default()));
    let changer = Arc::clone(&pool);
    let changes = thread::spawn(move || {
        stumble();
        match draw(3) {
            0 => changer.tune(1 + draw(3)).map_or(0, |()| 0),
            1 => {
                drop(changer.pause());
                0
            }
            _ => changer.shutdown_now().len(),
        }
    });
    submit(&pool, &counts, 2);
    let returned = changes.join().unwrap();
    check_end(&pool);
    assert_eq!(counts.ran.load(SeqCst) + returned, counts.spawned.load(SeqCst));
}

#[test]
fn p03_trees_of_submits_end() {
    on_each_dispatch!(trees_end);
}
