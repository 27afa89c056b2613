//! B21: a result that is left, taken, awaited for a while and thrown away, all at the same moment.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use formicary::{Context, Dispatch, Handle, Pool, StatefulPool, Worker};
use support::Count;
use support::on_every_dispatch;
use support::races::{quiet_panic, shift, together};

/// Counts the living ones, and knows its number as long as its memory is its own.
struct Marked(Box<u64>, Count);

impl Marked {
    fn new(number: u64, living: &Count) -> Self {
        living.up();
        Marked(Box::new(number), living.clone())
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        *self.0 = u64::MAX;
        self.1.down();
    }
}

/// Treats a handle in the way `how`; the result, if there is one, must be the right one.
fn finish(handle: Handle<Marked>, number: u64, how: u64) {
    let mut handle = handle;
    let check = |result: Result<Marked, formicary::JoinError>| match result {
        Ok(marked) => assert_eq!(*marked.0, number),
        Err(error) => assert!(error.is_panic() && number % 7 == 0, "{error}"),
    };
    match how {
        0 => check(handle.join()),
        1 => drop(handle),
        2 => {
            if let Some(result) = handle.join_timeout(Duration::from_micros(number % 40)) {
                check(result);
                assert!(handle.join_timeout(Duration::ZERO).is_some_and(|again| again.is_err()));
            }
        }
        3 => loop {
            if let Some(result) = handle.join_timeout(Duration::from_micros(5)) {
                break check(result);
            }
        },
        4 => {
            while !handle.is_finished() {
                std::thread::yield_now();
            }
            check(handle.join());
        }
        _ => {
            shift(Duration::from_micros(number % 20));
            drop(handle);
        }
    }
}

fn work(number: u64, living: &Count) -> Marked {
    let start = Instant::now();
    let marked = Marked::new(number, living);
    while start.elapsed() < Duration::from_micros(number % 30) {
        std::hint::spin_loop();
    }
    if number % 7 == 0 {
        quiet_panic();
    }
    marked
}

/// B21: closures, with panics among them; every value is dropped exactly once.
fn closures<D: Dispatch>() {
    let pool = Pool::builder().workers(2).queue(16).dispatch::<D>().build().unwrap();
    let living = Count::new();
    together(3, |n| {
        for i in 0..2000_u64 {
            let (number, living) = (3 * i + n as u64, living.clone());
            let handle = pool.spawn(move || work(number, &living)).unwrap();
            finish(handle, number, i % 6);
        }
    });
    assert!(pool.wait_idle());
    assert_eq!(living.get(), 0);
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed + stats.panicked), (6000, 6000));
}

#[test]
fn b21_handles_of_closures_racing_with_their_tasks() {
    on_every_dispatch!(closures);
}

struct Makes(Count);

impl Worker for Makes {
    type Input = u64;
    type Output = Marked;

    fn process(&mut self, number: u64, _: &Context<'_>) -> Marked {
        work(number, &self.0)
    }
}

/// B21: handles and timed calls on workers with state.
fn states<D: Dispatch>() {
    let living = Count::new();
    let count = living.clone();
    let builder = StatefulPool::builder(move |_| Ok(Makes(count.clone())));
    let pool = builder.workers(2).queue(16).dispatch::<D>().build().unwrap();
    together(3, |n| {
        for i in 0..1500_u64 {
            let number = 3 * i + n as u64;
            if i % 7 < 6 {
                finish(pool.submit(number).unwrap(), number, i % 7);
            } else if let Ok(marked) = pool.process_timeout(number, Duration::from_micros(number % 60)) {
                assert_eq!(*marked.0, number);
            }
        }
    });
    assert!(pool.wait_idle());
    assert_eq!(living.get(), 0);
}

#[test]
fn b21_handles_of_workers_racing_with_their_tasks() {
    on_every_dispatch!(states);
}

/// B21: the handle is the last to know the pool: it is joined while the pool is dropped.
fn pool_dropped<D: Dispatch>() {
    let living = Count::new();
    for number in 1..300 {
        let pool = Pool::builder().workers(1).queue(4).dispatch::<D>().build().unwrap();
        let count = living.clone();
        let handle = Arc::new(std::sync::Mutex::new(Some(pool.spawn(move || work(7 * number + 1, &count)).unwrap())));
        let pool = std::sync::Mutex::new(Some(pool));
        together(2, |n| match n {
            0 => drop(pool.lock().unwrap().take()),
            _ => {
                let handle = handle.lock().unwrap().take().unwrap();
                finish(handle, 7 * number + 1, number % 6);
            }
        });
    }
    assert_eq!(living.get(), 0);
}

#[test]
fn b21_handles_racing_with_the_end_of_the_pool() {
    on_every_dispatch!(pool_dropped);
}
