//! The list of running tasks: what is in it, what it knows of each, and that nothing stays in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Gate, LIMIT, Setup, Variant, for_each, on_every_dispatch, quiet_panics};
use formicary::observe::RunningTask;
use formicary::{CancelToken, Dispatch, Pool, PoolControl, PoolWithFunc};

fn listed<D: Dispatch>(workers: usize) -> Pool<D> {
    Pool::builder().workers(workers).running_tasks().dispatch::<D>().build().unwrap()
}

fn tasks<X>(pool: &PoolControl<X>) -> Vec<RunningTask> {
    pool.running_tasks().unwrap()
}

fn names<X>(pool: &PoolControl<X>) -> Vec<Option<Arc<str>>> {
    let mut names: Vec<_> = tasks(pool).into_iter().map(|task| task.name).collect();
    names.sort();
    names
}

fn what_runs<D: Dispatch>() {
    quiet_panics();
    let (pool, gate, start) = (listed::<D>(3), Gate::new(), Instant::now());
    assert!(tasks(&pool).is_empty());
    pool.with().name("named").submit(gate.closure()).unwrap();
    pool.submit(gate.closure()).unwrap();
    let timed = pool.with().name("timed").deadline(start + LIMIT).spawn(gate.closure()).unwrap();
    gate.await_arrivals(3);
    // Queued, and not in the list.
    pool.with().name("waiting").submit(|| ()).unwrap();
    assert_eq!(names(&pool), [None, Some("named".into()), Some("timed".into())]);
    let all = tasks(&pool);
    let mut workers: Vec<_> = all.iter().map(|task| task.worker).collect();
    workers.dedup();
    assert_eq!(workers, [0, 1, 2], "one each, in the order of the workers");
    assert!(all.iter().all(|task| task.depth == 0 && !task.is_cancelled && task.since >= start));
    assert!(all.iter().all(|task| task.elapsed() <= start.elapsed()));
    let deadlines: Vec<_> = all.iter().filter_map(|task| task.deadline).collect();
    assert_eq!(deadlines, [start + LIMIT]);
    gate.open();
    timed.join().unwrap();
    assert!(pool.with().name("broken").run(|| panic!("broken")).is_err());
    assert!(pool.wait_idle());
    assert!(tasks(&pool).is_empty(), "{:?}", tasks(&pool));
}

#[test]
fn the_list_has_what_runs() {
    on_every_dispatch!(what_runs);
}

fn cancelled<D: Dispatch>() {
    let (pool, gate, token) = (listed::<D>(3), Gate::new(), CancelToken::new());
    let by_handle = pool.with().name("a handle").spawn(gate.closure()).unwrap();
    pool.with().name("b token").token(&token).submit(gate.closure()).unwrap();
    pool.with().name("c neither").submit(gate.closure()).unwrap();
    gate.await_arrivals(3);
    let is_cancelled = || {
        let mut all = tasks(&pool);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.iter().map(|task| task.is_cancelled).collect::<Vec<_>>()
    };
    assert_eq!(is_cancelled(), [false, false, false]);
    token.cancel();
    assert_eq!(is_cancelled(), [false, true, false]);
    assert!(!by_handle.cancel(), "it runs");
    assert_eq!(is_cancelled(), [true, true, false]);
    gate.open();
    assert!(pool.wait_idle());
}

#[test]
fn whether_a_task_is_cancelled_is_looked_up_when_the_list_is_read() {
    on_every_dispatch!(cancelled);
}

/// A caller that has given up, while its task runs on.
#[test]
fn a_call_that_was_given_up_is_cancelled() {
    let (pool, gate) = (listed::<formicary::Stack>(1), Gate::new());
    let mut limit = Duration::from_millis(5);
    // With a short limit it may give up before the task has started.
    while gate.arrived() == 0 {
        let call = pool.with().timeout(limit).run(gate.closure());
        assert!(call.unwrap_err().is_timed_out());
        limit *= 2;
    }
    let task = tasks(&pool).remove(0);
    assert!(task.is_cancelled && task.deadline.is_some_and(|deadline| deadline <= Instant::now()), "{task:?}");
    gate.open();
    assert!(pool.wait_idle());
}

fn nested<D: Dispatch>() {
    let pool = Arc::new(listed::<D>(1));
    let (outer, inner) = (Arc::clone(&pool), Arc::clone(&pool));
    let look = move || tasks(&*inner).into_iter().map(|task| (task.name, task.depth)).collect::<Vec<_>>();
    let within = move || {
        let seen = outer.with().name("inner").run(look.clone()).unwrap();
        // The same, joined: it runs here, since no other worker is free.
        let joined = outer.with().name("joined").spawn(look.clone()).unwrap().join().unwrap();
        (seen, joined, look())
    };
    let (seen, joined, after) = pool.with().name("outer").run(within).unwrap();
    let at = |name: &str, depth| (Some(name.into()), depth);
    assert_eq!(seen, [at("outer", 0), at("inner", 1)]);
    assert_eq!(joined, [at("outer", 0), at("joined", 1)]);
    assert_eq!(after, [at("outer", 0)]);
}

#[test]
fn a_task_within_another_one_has_a_depth() {
    on_every_dispatch!(nested);
}

fn many_sorts<D: Dispatch>() {
    quiet_panics();
    let pool = Arc::new(listed::<D>(2));
    let view = pool.limited(1);
    std::thread::scope(|scope| {
        let (pool, view) = (&pool, &view);
        let act = |thread: usize| {
            scope.spawn(move || {
                for n in 0..150 {
                    let inner = Arc::clone(pool);
                    match (n + thread) % 8 {
                        0 => drop(pool.submit(|| panic!("broken"))),
                        1 => drop(pool.spawn(|| ()).unwrap().cancel()),
                        2 => drop(pool.submit(move || drop(inner.run(|| ())))),
                        3 => drop(view.with().name("view").submit(|| ())),
                        4 => pool.scope(|scope| (0..3).for_each(|_| scope.spawn(std::thread::yield_now))),
                        5 => drop(pool.submit(move || _ = inner.join(|| (), || ()))),
                        6 => drop(pool.with().timeout(Duration::from_micros(50)).run(|| ())),
                        _ => assert!(tasks(pool).iter().all(|task| task.worker < 2)),
                    }
                }
            })
        };
        let threads: Vec<_> = (0..3).map(act).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert!(view.wait_idle() && pool.wait_idle());
    assert!(tasks(&pool).is_empty(), "{:?}", tasks(&pool));
}

#[test]
fn nothing_stays_in_the_list() {
    on_every_dispatch!(many_sorts);
}

#[test]
fn a_view_shows_its_tasks_in_the_list_of_its_pool() {
    let (pool, gate) = (Arc::new(listed::<formicary::Stack>(2)), Gate::new());
    let view = pool.limited(1);
    for name in ["first", "second"] {
        view.with().name(name).submit(gate.closure()).unwrap();
    }
    gate.await_arrivals(1);
    assert_eq!(names(&pool), [Some("first".into())], "the other waits for a permit");
    gate.open();
    assert!(view.wait_idle() && pool.wait_idle());
}

/// A pool without a list has none, and the other kinds have one.
#[test]
fn the_list_is_there_if_it_was_asked_for() {
    for_each(|variant: Variant| {
        let pool = variant.build(Setup::new(1, 1));
        assert!(pool.running_tasks().is_none());
    });
    let gate = Gate::new();
    let wait = gate.clone();
    let function = PoolWithFunc::builder(move |_: u8| wait.wait()).workers(1).running_tasks().build().unwrap();
    function.with().name("payload").submit(7).unwrap();
    gate.await_arrivals(1);
    assert_eq!(names(&function), [Some("payload".into())]);
    gate.open();
}
