//! The registry: which pools are in it, what can be done with them, and that it keeps none alive.

use std::sync::Arc;

use crate::support::{Gate, LIMIT, RunTask, Setup, on_every_dispatch, within};
use formicary::observe::{Observer, RegisteredPool, registry};
use formicary::{Dispatch, OnDrop, Pool, PoolControl, PoolWithFunc, StatefulPool};
use parking_lot::Mutex;

/// Adds a pool, and returns what the registry shows of it. Other tests add theirs at the same time.
fn registered<X>(pool: &PoolControl<X>) -> RegisteredPool {
    let before: Vec<_> = registry().pools().iter().map(RegisteredPool::id).collect();
    let name = pool.stats().name;
    registry().add(pool);
    let added = registry().pools().into_iter().find(|pool| pool.name() == &*name && !before.contains(&pool.id()));
    added.unwrap()
}

fn is_listed(pool: &RegisteredPool) -> bool {
    registry().pools().iter().any(|other| other.id() == pool.id())
}

fn members<D: Dispatch>() {
    let name = |kind| format!("registry {} {kind}", D::NAME);
    let closures = Pool::builder().workers(2).name(name("closures")).latencies().dispatch::<D>().build().unwrap();
    let function = PoolWithFunc::builder(str::len).workers(1).name(name("function")).dispatch::<D>().build().unwrap();
    let stateful =
        StatefulPool::builder(|_| Ok(RunTask)).workers(1).name(name("stateful")).dispatch::<D>().build().unwrap();
    let seen = [registered(&closures), registered(&function), registered(&stateful)];
    assert!(seen[0].id() < seen[1].id() && seen[1].id() < seen[2].id());
    for _ in 0..3 {
        registry().add(&closures);
    }
    let mine = || registry().pools().into_iter().filter(|pool| seen.iter().any(|seen| seen.id() == pool.id()));
    assert_eq!(
        mine().map(|pool| pool.name().to_owned()).collect::<Vec<_>>(),
        ["closures", "function", "stateful"].map(name)
    );
    closures.run(|| ()).unwrap();
    assert_eq!(seen[0].stats().unwrap().completed, 1);
    assert_eq!(seen[0].latencies().unwrap().run_time.count(), 1);
    assert!(seen[0].running_tasks().is_none() && seen[1].latencies().is_none());
    seen[0].tune(5).unwrap();
    assert_eq!(closures.capacity(), 5);
    assert!(seen[0].tune(0).is_err());
    // A pool that is shut down can be opened again, so it stays. One that is dropped leaves.
    function.shutdown();
    assert!(is_listed(&seen[1]));
    function.restart().unwrap();
    drop(function);
    assert_eq!(mine().count(), 2);
    assert!(seen[1].stats().is_none() && seen[1].latencies().is_none() && !seen[1].is_paused());
    seen[1].tune(3).unwrap();
    seen[1].pause();
    seen[1].resume();
}

#[test]
fn pools_of_all_kinds_join_and_leave() {
    on_every_dispatch!(members);
}

fn pauses<D: Dispatch>() {
    let pool = Pool::builder().workers(1).name(format!("pauses {}", D::NAME)).dispatch::<D>().build().unwrap();
    let seen = registered(&pool);
    seen.resume();
    assert!(!seen.is_paused());
    seen.pause();
    seen.pause();
    pool.submit(|| ()).unwrap();
    assert!(pool.is_paused() && seen.is_paused() && pool.queued() == 1);
    // Another copy ends it, though not the program's own pause.
    let guard = pool.pause();
    let copy = registry().pools().into_iter().find(|pool| pool.id() == seen.id()).unwrap();
    copy.resume();
    copy.resume();
    assert!(pool.is_paused());
    drop(guard);
    assert!(!pool.is_paused() && pool.wait_idle());
    // Many at a time leave one pause, or none.
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let seen = &seen;
                scope.spawn(move || {
                    (0..50).for_each(|n| if (n + thread) % 3 == 0 { seen.resume() } else { seen.pause() })
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    seen.pause();
    assert!(pool.is_paused());
    seen.resume();
    assert!(!pool.is_paused());
    // A pause that has ended with the pool is not taken for one that is in force.
    seen.pause();
    pool.shutdown();
    pool.restart().unwrap();
    assert!(!seen.is_paused());
    seen.pause();
    assert!(pool.is_paused() && seen.is_paused());
    seen.resume();
    assert!(!pool.is_paused());
    // A pause does not keep the pool from ending.
    seen.pause();
    pool.submit(|| ()).unwrap();
    drop(pool);
    assert!(!is_listed(&seen));
}

#[test]
fn the_registry_keeps_the_pause() {
    on_every_dispatch!(pauses);
}

/// A second pause that begins within the first leaves one.
#[test]
fn overlapping_pauses_become_one() {
    /// Pauses once more when it is told of a pause.
    #[derive(Default)]
    struct Again(Mutex<Option<RegisteredPool>>);
    impl Observer for Again {
        fn paused(&self) {
            let pool = self.0.lock().take();
            pool.inspect(RegisteredPool::pause);
        }
    }
    let again = Arc::new(Again::default());
    let pool = Pool::builder().workers(1).name("again").observer(Arc::clone(&again)).build().unwrap();
    let seen = registered(&pool);
    *again.0.lock() = Some(seen.clone());
    seen.pause();
    assert!(again.0.lock().is_none() && pool.is_paused());
    seen.resume();
    assert!(!pool.is_paused());
}

/// A pool whose drop has begun has left, though the drop waits for a task; and nothing of it is kept.
#[test]
fn the_registry_keeps_no_pool() {
    let (gate, kept) = (Gate::new(), Arc::new(()));
    let handler_keeps = Arc::clone(&kept);
    let builder = Pool::builder().workers(1).name("kept").panic_handler(move |_| _ = &handler_keeps);
    let pool = builder.build().unwrap();
    let seen = registered(&pool);
    pool.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let dropping = std::thread::spawn(move || drop(pool));
    within(LIMIT, "it leaves", {
        let seen = seen.clone();
        move || {
            while is_listed(&seen) {
                std::thread::yield_now();
            }
        }
    });
    assert!(!dropping.is_finished() && seen.stats().is_none());
    gate.open();
    dropping.join().unwrap();
    assert_eq!(Arc::strong_count(&kept), 1, "the engine is gone");
    assert!(seen.stats().is_none());
}

/// The same where the drop does not wait, and the program has a guard.
#[test]
fn a_detached_pool_leaves_at_once() {
    let gate = Gate::new();
    let setup = Setup { on_drop: OnDrop::Detach, name: Some("detached".into()), ..Setup::new(1, 4) };
    let pool = setup.on(Pool::builder()).build().unwrap();
    let seen = registered(&pool);
    pool.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let guard = pool.pause();
    drop(pool);
    assert!(!is_listed(&seen) && seen.stats().is_none());
    gate.open();
    drop(guard);
}
