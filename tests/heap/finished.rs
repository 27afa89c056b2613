//! D14: finished tasks keep no memory while their scope or group is still open.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::support::allocator::{alone, bytes};
use crate::support::closures::{assert_quiet, pool};
use crate::support::{Gate, LIMIT, eventually, on_every_dispatch};
use formicary::{Dispatch, Pool, TaskFailure};

const TASKS: usize = 10_000;

/// What each task captures: ten megabytes in all.
const CAPTURED: usize = 1024;

/// What may be left: lists that are kept, some tasks more than are under way, and a few words for each result.
const REST: usize = TASKS * 128;

/// A value to capture, which counts its live instances.
struct Captured(Arc<AtomicUsize>, #[allow(dead_code)] [u8; CAPTURED]); // to be large is all that it is for

impl Captured {
    fn new(living: &Arc<AtomicUsize>) -> Self {
        living.fetch_add(1, SeqCst);
        Captured(Arc::clone(living), [0; CAPTURED])
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Waits until so many tasks have been run to their end, and asserts that nothing of them is left.
fn assert_let_go<D: Dispatch>(pool: &Pool<D>, ended: usize, before: usize, living: &AtomicUsize) {
    eventually("all have ended", || pool.stats().completed as usize == ended);
    assert_eq!(living.load(SeqCst), 0);
    eventually("the memory is back", || bytes() < before + REST);
}

/// Runs `test` on a worker of a pool of so many, where at least one other is free.
fn inside<D: Dispatch>(workers: usize, test: fn(&Pool<D>)) {
    let pool = pool::<D>(workers, 100);
    let inner = Arc::clone(&pool);
    pool.run(move || test(&inner)).unwrap();
    assert_quiet(&pool);
}

fn scope<D: Dispatch>(pool: &Pool<D>) {
    let (living, before) = (Arc::default(), bytes());
    pool.scope(|s| {
        for _ in 0..TASKS {
            let captured = Captured::new(&living);
            s.spawn(move || drop(black_box(captured)));
        }
        assert_let_go(pool, TASKS, before, &living);
        // The same once more, and all at a time.
        let gate = Gate::new();
        for _ in 0..50 {
            let (captured, gate) = (Captured::new(&living), gate.clone());
            s.spawn(move || {
                gate.wait();
                drop(black_box(captured));
            });
        }
        gate.open();
        assert_let_go(pool, TASKS + 50, before, &living);
    });
}

/// D14: a scope in a worker, whose tasks the other workers run.
#[test]
fn d14_a_scope_releases_what_has_ended() {
    fn test<D: Dispatch>() {
        inside::<D>(2, scope);
        scope(&pool::<D>(2, 100));
    }
    let _alone = alone();
    on_every_dispatch!(test);
}

/// D14: a pool of one, whose worker runs its scope's tasks itself when there is no room for more, and at the end.
#[test]
fn d14_a_scope_on_the_only_worker() {
    fn on_the_only_worker<D: Dispatch>(pool: &Pool<D>) {
        let (living, before) = (Arc::default(), bytes());
        pool.scope(|s| {
            for _ in 0..TASKS {
                let captured = Captured::new(&living);
                s.spawn(move || drop(black_box(captured)));
                assert!(bytes() < before + 2 * CAPTURED * living.load(SeqCst) + REST);
            }
        });
        assert_eq!(living.load(SeqCst), 0);
    }
    fn test<D: Dispatch>() {
        inside::<D>(1, on_the_only_worker);
    }
    let _alone = alone();
    on_every_dispatch!(test);
}

fn group<D: Dispatch>(pool: &Pool<D>, collects_all: bool, waits: bool) {
    let (living, before, done) = (Arc::default(), bytes(), pool.stats().completed as usize);
    let group = pool.group().collect_all(collects_all);
    for n in 0..TASKS {
        let captured = Captured::new(&living);
        let task = move |_: &_| {
            drop(black_box(captured));
            if collects_all && n % 2 == 0 { Err(n) } else { Ok(n) }
        };
        group.spawn(task).unwrap();
    }
    if waits {
        assert!(group.wait_timeout(LIMIT));
    }
    assert_let_go(pool, done + TASKS, before, &living);
    if collects_all {
        let of = |(n, result): (usize, Result<usize, TaskFailure<usize>>)| match result {
            Ok(value) => value == n && n % 2 == 1,
            Err(failure) => failure.into_error() == Some(n) && n % 2 == 0,
        };
        assert!(group.collect().into_iter().enumerate().all(of));
    } else {
        assert!(group.wait().unwrap().into_iter().eq(0..TASKS));
    }
}

/// D14: a group keeps the results, and nothing else, be it in a worker or outside.
#[test]
fn d14_a_group_releases_what_has_ended() {
    fn test<D: Dispatch>() {
        for collects_all in [false, true] {
            for waits in [false, true] {
                let pool = pool::<D>(2, 100);
                group(&pool, collects_all, waits);
                let inner = Arc::clone(&pool);
                pool.run(move || group(&inner, collects_all, waits)).unwrap();
                assert_quiet(&pool);
            }
        }
    }
    let _alone = alone();
    on_every_dispatch!(test);
}

/// D14: tasks that are found late to have ended, or are cancelled, are released as well, and the first failure is still known.
#[test]
fn d14_a_group_that_fails_releases_its_tasks() {
    fn test<D: Dispatch>() {
        let (pool, gate, living) = (pool::<D>(2, TASKS), Gate::new(), Arc::default());
        let before = bytes();
        let group = pool.group();
        for n in 0..TASKS {
            let (captured, held) = (Captured::new(&living), gate.clone());
            let task = move |_: &_| {
                drop(black_box(captured));
                held.wait();
                if n == 0 { Err(n) } else { Ok(n) }
            };
            group.spawn(task).unwrap();
        }
        gate.await_arrivals(2);
        group.cancel();
        gate.open();
        pool.wait_idle();
        assert_eq!(living.load(SeqCst), 0);
        eventually("the memory is back", || bytes() < before + REST);
        let error = group.wait().unwrap_err();
        assert_eq!((error.index, error.failure.into_error()), (0, Some(0)));
    }
    let _alone = alone();
    on_every_dispatch!(test);
}
