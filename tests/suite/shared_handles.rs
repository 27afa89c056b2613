//! A33: a result that several wait for, and more than once.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use crate::support::races::{quiet_panic, together};
use crate::support::waking::{Bell, block_on, poll_with};
use crate::support::{Gate, LIMIT, assert_conserved, on_every_dispatch};
use formicary::{Context, Dispatch, Pool, SharedHandle, StatefulPool, Worker};

/// Ten threads join before and ten after the end, three times each: all see the one value, or the one error.
fn the_same_for_all<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(10).dispatch::<D>().build().unwrap();
    let gate = Gate::new();
    let held = gate.clone();
    pool.submit(move || held.wait()).unwrap();
    gate.await_arrivals(1);
    let value = pool.spawn(|| String::from("one")).unwrap().shared();
    let panics = pool.spawn(quiet_panic).unwrap().shared();
    let cancelled = pool.spawn(|| ()).unwrap().shared();
    assert!(cancelled.cancel() && cancelled.is_finished());
    assert!(value.join_timeout(Duration::from_millis(1)).is_none() && !value.is_finished());
    let came = Gate::new();
    came.open();
    let joiners: Vec<_> = (0..10)
        .map(|n| {
            let (value, panics, cancelled) = (value.clone(), panics.clone(), cancelled.clone());
            let came = came.clone();
            thread::spawn(move || {
                came.wait();
                let address = |text: &String| std::ptr::from_ref(text) as usize;
                let first = match n % 2 {
                    0 => address(value.join().unwrap()),
                    _ => address(value.join_timeout(LIMIT).unwrap().unwrap()),
                };
                assert!((0..3).all(|_| address(value.join().unwrap()) == first));
                let error = panics.join().unwrap_err();
                assert!(error.is_panic() && std::ptr::eq(error, panics.join().unwrap_err()));
                assert!(cancelled.join().unwrap_err().is_cancelled());
                first
            })
        })
        .collect();
    came.await_arrivals(10);
    gate.open();
    let places: Vec<_> = joiners.into_iter().map(|joiner| joiner.join().unwrap()).collect();
    assert!(places.iter().all(|place| *place == places[0]));
    together(10, |_| assert_eq!(value.clone().join().unwrap(), "one"));
    assert!(panics.join().unwrap_err().to_string().contains("panicked"));
    assert!(pool.wait_idle());
    assert_conserved(&pool);
}

#[test]
fn a33_all_clones_give_the_same_answer() {
    on_every_dispatch!(the_same_for_all);
}

/// The value lives as long as the last clone, and is dropped once.
fn lives_as_long_as_a_clone<D: Dispatch>() {
    let pool = Pool::builder().workers(2).dispatch::<D>().build().unwrap();
    let witness = Arc::new(());
    for round in 0..100 {
        let held = Arc::clone(&witness);
        let shared = pool.spawn(move || held).unwrap().shared();
        together(3, |n| {
            let mine = shared.clone();
            if n < round % 4 {
                assert!(mine.join().is_ok());
            }
        });
        drop(shared);
        assert!(pool.wait_idle());
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}

#[test]
fn a33_the_value_lives_as_long_as_a_clone() {
    on_every_dispatch!(lives_as_long_as_a_clone);
}

/// From inside: a worker that waits runs the task, and several that do see one result. With as few workers as can be.
fn inside<D: Dispatch>() {
    for workers in 1..4 {
        let pool = Arc::new(Pool::builder().workers(workers).queue(20).dispatch::<D>().build().unwrap());
        let ran = crate::support::Count::new();
        let pause = pool.pause();
        let shared = Arc::new(OnceLock::<SharedHandle<u32>>::new());
        let joiners: Vec<_> = (0..6)
            .map(|_| {
                let shared = Arc::clone(&shared);
                pool.spawn(move || shared.get().unwrap().join().copied().map_err(|e| e.to_string())).unwrap()
            })
            .collect();
        let counts = ran.clone();
        let work = move || {
            counts.up();
            7
        };
        assert!(shared.set(pool.spawn(work).unwrap().shared()).is_ok());
        drop(pause);
        assert!(joiners.into_iter().all(|joiner| joiner.join().unwrap() == Ok(7)));
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 1);
        assert_conserved(&*pool);
    }
}

#[test]
fn a33_workers_join_what_they_share() {
    on_every_dispatch!(inside);
}

/// Runs what it is given.
struct Runs;

impl Worker for Runs {
    type Input = Box<dyn FnOnce() -> u32 + Send>;
    type Output = u32;

    fn process(&mut self, work: Self::Input, _: &Context<'_>) -> u32 {
        work()
    }
}

/// Workers with state cannot run the task in the middle of their own: the last of them is refused, the others wait and get the
/// result; the refused one can have it later.
fn last_of_states<D: Dispatch>() {
    const REFUSED: u32 = 1000;
    let pool = StatefulPool::builder(|_| Ok(Runs)).workers(3).queue(10).dispatch::<D>().build().unwrap();
    let (gate, shared) = (Gate::new(), Arc::new(OnceLock::<SharedHandle<u32>>::new()));
    let joiners: Vec<_> = (0..3)
        .map(|_| {
            let (gate, shared) = (gate.clone(), Arc::clone(&shared));
            let joins = move || {
                gate.wait();
                match shared.get().unwrap().join() {
                    Ok(value) => *value,
                    Err(error) => {
                        assert!(error.is_would_deadlock(), "{error}");
                        REFUSED
                    }
                }
            };
            pool.spawn(Box::new(joins)).unwrap()
        })
        .collect();
    gate.await_arrivals(3);
    assert!(shared.set(pool.spawn(Box::new(|| 7)).unwrap().shared()).is_ok());
    gate.open();
    let mut answers: Vec<_> = joiners.into_iter().map(|joiner| joiner.join().unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers, [7, 7, REFUSED]);
    assert_eq!(shared.get().unwrap().join().unwrap(), &7);
    assert!(pool.wait_idle());
}

#[test]
fn a33_only_the_last_worker_with_state_is_refused() {
    on_every_dispatch!(last_of_states);
}

/// Clones are awaited by themselves: each is woken; one that is dropped, or polled with another waker, leaves none behind.
fn awaited<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(10).dispatch::<D>().build().unwrap();
    let gate = crate::support::closures::occupy(&pool);
    let mut first = pool.spawn(|| String::from("one")).unwrap().shared();
    let (mut second, mut dropped, joined) = (first.clone(), first.clone(), first.clone());
    let bells = [Bell::new(), Bell::new(), Bell::new(), Bell::new()];
    // The first waiter of the list may leave as well.
    assert!(poll_with(Pin::new(&mut dropped), &bells[2]).is_pending());
    assert!(poll_with(Pin::new(&mut first), &bells[3]).is_pending());
    assert!(poll_with(Pin::new(&mut second), &bells[1]).is_pending());
    assert!(poll_with(Pin::new(&mut first), &bells[0]).is_pending());
    assert_eq!(Arc::strong_count(&bells[3]), 1);
    assert_eq!(Arc::strong_count(&bells[2]), 2);
    drop(dropped);
    assert_eq!(Arc::strong_count(&bells[2]), 1);
    let joiner = thread::spawn(move || joined.join().unwrap().clone());
    gate.open();
    assert_eq!(block_on(first.clone()).unwrap(), "one");
    assert_eq!(joiner.join().unwrap(), "one");
    assert!(pool.wait_idle());
    assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 1, 0, 0]);
    for shared in [&mut first, &mut second] {
        // The result stays.
        for _ in 0..2 {
            assert!(poll_with(Pin::new(&mut *shared), &bells[3]).map(Result::unwrap) == Poll::Ready("one".into()));
        }
    }
    assert!(bells.iter().all(|bell| Arc::strong_count(bell) == 1));
}

#[test]
fn a33_each_clone_is_awaited_by_itself() {
    on_every_dispatch!(awaited);
}

/// An error is the same for all. The last who has it can have the panic.
fn awaited_failures<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(10).dispatch::<D>().build().unwrap();
    let gate = crate::support::closures::occupy(&pool);
    let (panics, cancelled) = (pool.spawn(quiet_panic).unwrap().shared(), pool.spawn(|| 7).unwrap().shared());
    let (awaited, bell) = (cancelled.clone(), Bell::new());
    let mut polled = cancelled.clone();
    assert!(poll_with(Pin::new(&mut polled), &bell).is_pending());
    assert!(cancelled.cancel());
    assert_eq!(bell.rung(), 1);
    assert!(block_on(awaited).unwrap_err().is_cancelled());
    gate.open();
    let error = block_on(panics.clone()).unwrap_err();
    assert_eq!(error.to_string(), panics.join().unwrap_err().to_string());
    let error = error.into_panic().unwrap_err();
    assert!(error.is_panic());
    drop(error);
    assert!(block_on(panics).unwrap_err().into_panic().is_ok());
}

#[test]
fn a33_a_failure_is_awaited_by_all() {
    on_every_dispatch!(awaited_failures);
}

/// A poll on the only worker runs the task, as that of a handle does.
fn awaited_inside<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(1).queue(10).dispatch::<D>().build().unwrap());
    let own = Arc::clone(&pool);
    let sum = pool.run(move || {
        let shared = own.spawn(|| 7).unwrap().shared();
        block_on(shared.clone()).unwrap() + block_on(shared).unwrap()
    });
    assert_eq!(sum.unwrap(), 14);
    assert!(pool.wait_idle());
    assert_conserved(&*pool);
}

#[test]
fn a33_a_worker_awaits_what_it_shares() {
    on_every_dispatch!(awaited_inside);
}

/// Wakers race with the end of the task: no waiter is left asleep.
fn awaited_in_races<D: Dispatch>() {
    let pool = Pool::builder().workers(2).queue(100).dispatch::<D>().build().unwrap();
    for _ in 0..300 {
        let shared = pool.spawn(|| 7).unwrap().shared();
        together(3, |n| {
            let mut mine = shared.clone();
            if n == 0 {
                let _ = poll_with(Pin::new(&mut mine), &Bell::new());
            } else {
                assert_eq!(block_on(mine).unwrap(), 7);
            }
        });
    }
}

#[test]
fn a33_no_wake_up_of_a_clone_is_lost() {
    on_every_dispatch!(awaited_in_races);
}
