//! Latencies agree with the figures of the pool, whatever its tasks do. What is computed of them is tested beside the code.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Gate, LIMIT, on_every_dispatch, quiet_panics};
use formicary::observe::Latencies;
use formicary::{CancelToken, Closures, Context, Dispatch, Pool, PoolControl, PoolWithFunc, StatefulPool, Worker};

fn measured<D: Dispatch>(workers: usize) -> Pool<D> {
    Pool::builder().workers(workers).latencies().dispatch::<D>().build().unwrap()
}

fn of<X>(pool: &PoolControl<X>) -> Latencies {
    pool.latencies().unwrap()
}

/// The names, with how many of their tasks have waited and run.
fn by_name(latencies: &Latencies) -> Vec<(&str, u64, u64)> {
    let kinds = latencies.by_name().iter();
    kinds.map(|kind| (&*kind.name, kind.queue_wait.count(), kind.run_time.count())).collect()
}

fn every_end<D: Dispatch>() {
    quiet_panics();
    let pool = Arc::new(measured::<D>(2));
    let (gate, token) = (Gate::new(), CancelToken::new());
    (0..2).for_each(|_| pool.submit(gate.closure()).unwrap());
    gate.await_arrivals(2);
    // Cancelled before it runs, by a token and by its handle.
    let cancelled = pool.with().token(&token).name("never").spawn(|| ()).unwrap();
    token.cancel();
    assert!(pool.with().name("never").spawn(|| ()).unwrap().cancel());
    let now = of(&pool);
    assert_eq!(
        (now.queue_wait.count(), now.run_time.count()),
        (2, 0),
        "a wait counts from the start, a run at the end"
    );
    gate.open();
    assert!(cancelled.join().unwrap_err().is_cancelled());
    assert!(pool.with().name("bad").run(|| panic!("broken")).is_err());
    (0..10).for_each(|n| assert_eq!(pool.with().name("good").run(move || n).unwrap(), n));
    let inner = Arc::clone(&pool);
    // Within the task, and not through the queue.
    let nested = move || inner.run(|| ()).unwrap();
    pool.with().name("outer").run(nested).unwrap();
    pool.submit_all((0..20).map(|_| || ()).collect::<Vec<_>>()).unwrap();
    let view = pool.limited(1);
    (0..5).for_each(|_| view.with().name("view").run(|| ()).unwrap());
    assert!(view.wait_idle() && pool.wait_idle());
    let (stats, now) = (pool.stats(), of(&pool));
    assert_eq!((stats.completed, stats.panicked, stats.cancelled), (39, 1, 2), "{stats}");
    assert_eq!((now.run_time.count(), now.queue_wait.count()), (40, 39), "{now}");
    let expected = [("bad", 1, 1), ("good", 10, 10), ("outer", 1, 1), ("view", 5, 5)];
    assert_eq!(by_name(&now), expected, "{now}");
    assert!(now.queue_wait.min() <= now.queue_wait.max() && now.run_time.max() < LIMIT);
}

#[test]
fn every_end_of_a_task_is_counted() {
    on_every_dispatch!(every_end);
}

struct Sleeps;

impl Worker for Sleeps {
    type Input = Duration;
    type Output = ();

    fn process(&mut self, time: Duration, _cx: &Context<'_>) {
        std::thread::sleep(time);
    }
}

#[test]
fn every_kind_of_pool_measures() {
    let time = Duration::from_millis(3);
    let closures = Pool::builder().workers(1).latencies().build().unwrap();
    closures.run(move || std::thread::sleep(time)).unwrap();
    let function = PoolWithFunc::builder(std::thread::sleep).workers(1).latencies().build().unwrap();
    function.run(time).unwrap();
    let stateful = StatefulPool::builder(|_| Ok(Sleeps)).workers(1).latencies().build().unwrap();
    stateful.run(time).unwrap();
    for latencies in [of(&closures), of(&function), of(&stateful)] {
        assert_eq!((latencies.queue_wait.count(), latencies.run_time.count()), (1, 1));
        assert!(latencies.run_time.min() >= time && latencies.utilisation() > 0.0, "{latencies}");
    }
    assert!(Pool::new(1).unwrap().latencies().is_none());
    // Asked for twice, and measured once.
    let twice = Pool::builder().workers(1).latencies().latencies().build().unwrap();
    twice.run(|| ()).unwrap();
    assert_eq!(of(&twice).run_time.count(), 1);
}

fn utilisation<D: Dispatch>() {
    let pool = measured::<D>(1);
    pool.run(|| ()).unwrap();
    let gate = Gate::new();
    let idle = of(&pool);
    pool.submit(gate.closure()).unwrap();
    gate.await_arrivals(1);
    let busy = of(&pool);
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(of(&pool).since(&busy).utilisation(), 1.0, "a task ran all the time");
    gate.open();
    assert!(pool.wait_idle());
    let rest = of(&pool);
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(of(&pool).since(&rest).utilisation(), 0.0, "none has run");
    let both = of(&pool).since(&idle).utilisation();
    assert!(both > 0.0 && both < 1.0, "{both}");
    // Nothing lives any more.
    pool.shutdown();
    let end = of(&pool);
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(of(&pool), end);
    // The counts outlive a restart.
    pool.restart().unwrap();
    pool.run(|| ()).unwrap();
    assert_eq!(of(&pool).run_time.count(), 3);
}

#[test]
fn utilisation_follows_the_tasks() {
    on_every_dispatch!(utilisation);
}

fn from_many_threads<D: Dispatch>() {
    quiet_panics();
    let pool = Arc::new(measured::<D>(3));
    let before = of(&pool);
    std::thread::scope(|scope| {
        let submit = |thread: usize| {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..200 {
                    match (n + thread) % 4 {
                        0 => pool.submit(|| ()).unwrap(),
                        1 => pool.with().name(["one", "two", "three"][n % 3]).submit(|| ()).unwrap(),
                        2 => pool.submit(|| panic!("broken")).unwrap(),
                        _ => drop(pool.spawn(|| ()).unwrap().cancel()),
                    }
                    if n % 50 == 0 {
                        let now = of(pool);
                        assert!(now.queue_wait.count() >= now.run_time.count(), "{now}");
                    }
                }
            })
        };
        let threads: Vec<_> = (0..3).map(submit).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(pool.wait_idle());
    let (stats, all) = (pool.stats(), of(&pool).since(&before));
    let ran = stats.completed + stats.panicked;
    assert_eq!((all.run_time.count(), all.queue_wait.count()), (ran, ran), "{stats}");
    assert_eq!(by_name(&all).iter().map(|kind| kind.2).sum::<u64>(), 150);
    assert!(all.utilisation() > 0.0 && all.utilisation() <= 1.0);
}

#[test]
fn no_thread_loses_a_count() {
    on_every_dispatch!(from_many_threads);
}

/// The type of the builder does not change.
#[test]
fn it_goes_with_other_settings() {
    let builder: formicary::Builder<Closures> = Pool::builder().latencies().running_tasks();
    let pool = builder.workers(1).build().unwrap();
    pool.run(|| ()).unwrap();
    assert!(of(&pool).run_time.count() == 1 && pool.running_tasks().unwrap().is_empty());
}
