//! Waiting for several tasks: for any of them, and for all as they end.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::closures::{assert_quiet, pool};
use crate::support::races::quiet_panic;
use crate::support::{Count, Gate, LIMIT, on_every_dispatch, within};
use formicary::{
    Context, Dispatch, Handle, Pool, Stack, StatefulPool, Worker, as_completed, wait_any, wait_any_timeout,
};
use parking_lot::Mutex;

/// Tasks that each wait at a gate of their own, and return their numbers.
fn gated<D: Dispatch>(pool: &Pool<D>, tasks: usize) -> (Vec<Gate>, Vec<Handle<usize>>) {
    let gates: Vec<_> = (0..tasks).map(|_| Gate::new()).collect();
    let spawn = |(n, gate): (usize, &Gate)| {
        let gate = gate.clone();
        let wait = move || {
            gate.wait();
            n
        };
        pool.spawn(wait).unwrap()
    };
    let handles = gates.iter().enumerate().map(spawn).collect();
    gates.iter().for_each(|gate| gate.await_arrivals(1));
    (gates, handles)
}

fn any<D: Dispatch>() {
    let pool = pool::<D>(4, 10);
    let (gates, mut handles) = gated(&pool, 4);
    assert_eq!(wait_any::<u8>(&mut []), None);
    assert_eq!(wait_any_timeout::<u8>(&mut [], LIMIT), None);
    assert_eq!(wait_any_timeout(&mut handles, Duration::from_millis(1)), None);
    for expected in [2, 0, 3, 1] {
        let opener = thread::spawn({
            let gate = gates[expected].clone();
            move || gate.open()
        });
        let index = wait_any(&mut handles).unwrap();
        // The handle stays, and so does the end.
        assert_eq!(wait_any(&mut handles), Some(index));
        assert_eq!(wait_any_timeout(&mut handles, Duration::ZERO), Some(index));
        assert_eq!(handles.remove(index).join().unwrap(), expected);
        opener.join().unwrap();
    }
    assert_eq!(wait_any(&mut handles), None);
    assert_quiet(&pool);
}

#[test]
fn the_first_end_is_told_by_its_index() {
    on_every_dispatch!(any);
}

/// With every outcome of a task.
fn ends<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let pause = pool.pause();
    let mut handles = vec![pool.spawn(|| 0).unwrap(), pool.spawn(|| 1).unwrap(), pool.spawn(quiet).unwrap()];
    thread::scope(|scope| {
        let token = handles[1].token();
        let waits = scope.spawn(|| wait_any(&mut handles));
        // A token is lazy: its task ends when its turn comes. The handle's own cancel is not.
        token.cancel();
        drop(pause);
        assert!(waits.join().unwrap().is_some());
    });
    assert!(pool.wait_idle());
    let results: Vec<_> = as_completed(handles).collect();
    assert_eq!(results.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(matches!(results[0].1, Ok(0)));
    assert!(results[1].1.as_ref().unwrap_err().is_cancelled());
    assert!(results[2].1.as_ref().unwrap_err().is_panic());

    let pause = pool.pause();
    let handles: Vec<_> = (0..3).map(|n| pool.spawn(move || n).unwrap()).collect();
    handles[1].cancel();
    let mut results = as_completed(handles);
    assert!(results.next().is_some_and(|(index, result)| index == 1 && result.unwrap_err().is_cancelled()));
    assert!(results.next_timeout(Duration::from_millis(1)).is_none());
    assert_eq!(pool.shutdown_now().len(), 2);
    assert!(results.all(|(_, result)| result.unwrap_err().is_cancelled()));
    drop(pause);
}

fn quiet() -> usize {
    quiet_panic();
    0
}

#[test]
fn a_panic_and_a_cancellation_are_ends() {
    on_every_dispatch!(ends);
}

fn in_order_of_ends<D: Dispatch>() {
    let pool = pool::<D>(5, 10);
    let (gates, handles) = gated(&pool, 5);
    let mut results = as_completed(handles);
    for (given, expected) in [3, 0, 4, 2, 1].into_iter().enumerate() {
        assert_eq!((results.len(), results.size_hint()), (5 - given, (5 - given, Some(5 - given))));
        assert!(results.next_timeout(Duration::ZERO).is_none());
        gates[expected].open();
        let next = if given % 2 == 0 { results.next() } else { results.next_timeout(LIMIT).unwrap() };
        assert!(next.is_some_and(|(index, result)| (index, result.unwrap()) == (expected, expected)));
    }
    assert!(matches!(results.next_timeout(Duration::ZERO), Some(None)));
    assert!(results.next().is_none() && results.next().is_none());
    // All ended, and were not polled meanwhile.
    let (gates, handles) = gated(&pool, 5);
    let results = as_completed(handles);
    let order = [4, 1, 3, 0, 2];
    for n in order {
        let before = pool.stats().completed;
        gates[n].open();
        crate::support::eventually("it has ended", || pool.stats().completed > before);
    }
    assert!(pool.wait_idle());
    assert!(results.map(|(index, _)| index).eq(order));
}

#[test]
fn results_come_in_the_order_of_ends() {
    on_every_dispatch!(in_order_of_ends);
}

fn dropped<D: Dispatch>() {
    let pool = pool::<D>(1, 10);
    let gate = crate::support::closures::occupy(&pool);
    let (ran, living) = (Count::new(), Arc::new(()));
    let handles: Vec<_> = (0..4)
        .map(|_| {
            let (ran, held) = (ran.clone(), Arc::clone(&living));
            pool.spawn(move || {
                ran.up();
                held
            })
        })
        .collect::<Result<_, _>>()
        .unwrap();
    drop(as_completed(handles));
    gate.open();
    assert_quiet(&pool);
    assert_eq!((ran.get(), Arc::strong_count(&living)), (4, 1));
}

#[test]
fn dropping_detaches_the_rest() {
    on_every_dispatch!(dropped);
}

/// A worker runs what it waits for: one is enough.
fn inside<D: Dispatch>() {
    for workers in 1..3 {
        let pool = pool::<D>(workers, 10);
        let own = Arc::clone(&pool);
        let sum = pool.run(move || {
            let mut handles: Vec<_> = (0..10_usize).map(|n| own.spawn(move || n).unwrap()).collect();
            let mut sum = 0;
            while let Some(index) = wait_any(&mut handles) {
                sum += handles.swap_remove(index).join().unwrap();
            }
            let handles: Vec<_> = (0..10_usize).map(|n| own.spawn(move || n).unwrap()).collect();
            let all: Vec<_> = as_completed(handles).map(|(index, result)| (index, result.unwrap())).collect();
            assert!(all.len() == 10 && all.iter().all(|(index, n)| index == n));
            sum
        });
        assert_eq!(sum.unwrap(), 45);
        assert_quiet(&pool);
    }
}

#[test]
fn a_worker_runs_what_it_waits_for() {
    on_every_dispatch!(inside);
}

/// With a limit only the last worker that could make progress does, and then it may take longer.
fn inside_with_a_limit<D: Dispatch>() {
    let pool = pool::<D>(2, 10);
    let (gate, own) = (Gate::new(), Arc::clone(&pool));
    let held = gate.clone();
    let other = pool.spawn(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    let unhurried = pool.run(move || {
        // The other worker is busy, and can be waited for.
        let mut handles = [own.spawn(|| ()).unwrap()];
        wait_any_timeout(&mut handles, Duration::from_millis(1))
    });
    assert_eq!(unhurried.unwrap(), None);
    gate.open();
    other.join().unwrap();
    assert_quiet(&pool);
    let pool = self::pool::<D>(1, 10);
    let own = Arc::clone(&pool);
    let ran = pool.run(move || {
        let mut handles = [own.spawn(|| ()).unwrap(), own.spawn(|| ()).unwrap()];
        let any = wait_any_timeout(&mut handles, LIMIT);
        let mut all = as_completed(handles);
        let all = [all.next_timeout(LIMIT), all.next_timeout(LIMIT), all.next_timeout(LIMIT)];
        (any, all.map(|next| next.unwrap().map(|(index, _)| index)))
    });
    assert_eq!(ran.unwrap(), (Some(0), [Some(0), Some(1), None]));
}

#[test]
fn a_limit_makes_only_the_last_worker_run_one() {
    on_every_dispatch!(inside_with_a_limit);
}

struct Runs;

impl Worker for Runs {
    type Input = Box<dyn FnOnce() -> usize + Send>;
    type Output = usize;

    fn process(&mut self, work: Self::Input, _: &Context<'_>) -> usize {
        work()
    }
}

/// A worker with state cannot run other tasks: the last one is refused, and does not wait for ever. Unless another pool ends the
/// wait.
fn last_of_states<D: Dispatch>() {
    let pool = Arc::new(StatefulPool::builder(|_| Ok(Runs)).workers(1).queue(10).dispatch::<D>().build().unwrap());
    let own = Arc::clone(&pool);
    let refused = pool.run(Box::new(move || {
        let spawn = || own.spawn(Box::new(|| 7)).unwrap();
        let mut handles = vec![spawn(), spawn()];
        let index = wait_any(&mut handles).unwrap();
        assert!(handles.swap_remove(index).join().unwrap_err().is_would_deadlock());
        let results: Vec<_> = as_completed([spawn(), spawn()]).collect();
        assert!(results.iter().map(|(index, _)| *index).eq(0..2));
        assert!(results.iter().all(|(_, result)| result.as_ref().unwrap_err().is_would_deadlock()));
        1
    }));
    assert_eq!(refused.unwrap(), 1);
    assert!(pool.wait_idle());
    let (own, other) = (Arc::clone(&pool), self::pool::<D>(1, 10));
    let gate = Gate::new();
    thread::scope(|scope| {
        let held = gate.clone();
        let mixed = scope.spawn(|| {
            pool.run(Box::new(move || {
                let waits = other.spawn(move || {
                    held.wait();
                    7
                });
                let mut results = as_completed([own.spawn(Box::new(|| 8)).unwrap(), waits.unwrap()]);
                let first = results.next().unwrap();
                assert_eq!((first.0, first.1.unwrap()), (1, 7));
                assert!(results.next().unwrap().1.unwrap_err().is_would_deadlock());
                2
            }))
        });
        gate.await_arrivals(1);
        gate.open();
        assert_eq!(mixed.join().unwrap().unwrap(), 2);
    });
}

#[test]
fn the_last_worker_with_state_is_refused() {
    on_every_dispatch!(last_of_states);
}

/// Every worker waits for the next one's task, in a circle: one of them gets the deadlock error, and no wait is endless.
fn circle<D: Dispatch>() {
    let pool = pool::<D>(3, 10);
    let circle: Arc<Mutex<Vec<Option<Handle<bool>>>>> = Arc::default();
    let (gate, refused) = (Gate::new(), Count::new());
    for n in 0..3 {
        let (at, next, refusals) = (gate.clone(), Arc::clone(&circle), refused.clone());
        let task = move || {
            at.wait();
            let mine = next.lock()[(n + 1) % 3].take().unwrap();
            let (_, result) = as_completed([mine]).next().unwrap();
            if let Err(error) = &result {
                assert!(error.is_would_deadlock());
                refusals.up();
            }
            result.is_ok()
        };
        let handle = pool.spawn(task).unwrap();
        circle.lock().push(Some(handle));
    }
    gate.await_arrivals(3);
    gate.open();
    assert_quiet(&pool);
    assert!((1..3).contains(&refused.get()), "{}", refused.get());
}

#[test]
fn a_circle_of_waits_ends() {
    on_every_dispatch!(circle);
}

/// Many rounds in which tasks end while a waiter is about to sleep.
fn no_end_is_lost<D: Dispatch>() {
    let pool = pool::<D>(3, 100);
    for round in 0..1000_usize {
        let mut handles: Vec<_> = (0..4).map(|n| pool.spawn(move || n).unwrap()).collect();
        let mut sum = 0;
        if round % 2 == 0 {
            while let Some(index) = wait_any(&mut handles) {
                sum += handles.swap_remove(index).join().unwrap();
            }
        } else {
            sum += as_completed(handles).map(|(_, result)| result.unwrap()).sum::<usize>();
        }
        assert_eq!(sum, 6);
    }
    assert_quiet(&pool);
}

#[test]
fn no_end_goes_unnoticed() {
    on_every_dispatch!(no_end_is_lost);
}

/// An end costs the same however many tasks are waited for: a walk along them for each would take minutes.
#[test]
fn an_end_is_no_walk_along_all_tasks() {
    within(LIMIT, "this test", || {
        let pool = Pool::<Stack>::builder().workers(1).unbounded_queue().build().unwrap();
        let pause = pool.pause();
        let handles: Vec<_> = (0..200_000_usize).map(|n| pool.spawn(move || n).unwrap()).collect();
        let results = as_completed(handles);
        drop(pause);
        let begun = Instant::now();
        assert!(results.map(|(index, _)| index).eq(0..200_000));
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    });
}
