//! B21: a result that is dropped, taken, awaited for a while and discarded, all at the same moment.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::support::Count;
use crate::support::on_every_dispatch;
use crate::support::races::{quiet_panic, shift, together};
use formicary::{Context, Dispatch, Handle, Pool, StatefulPool, Worker};
use parking_lot::Mutex;

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

const POLL: u64 = 5;
const CANCEL: u64 = 6;
const TOKEN: u64 = 7;
const SHARED: u64 = 8;
/// One more is to wait for a moment and drop it.
const WAYS: u64 = 10;

/// Treats a handle in the way `how`; the result, if there is one, must be the right one.
fn finish(handle: Handle<Marked>, number: u64, how: u64) {
    let mut handle = handle;
    let check_ref = |result: Result<&Marked, &formicary::JoinError>| match result {
        Ok(marked) => assert_eq!(*marked.0, number),
        Err(error) => {
            let as_asked = matches!(how, CANCEL | TOKEN | SHARED) && error.is_cancelled();
            assert!(as_asked || error.is_panic() && number % 7 == 0, "{error}");
        }
    };
    let check = |result: Result<Marked, formicary::JoinError>| check_ref(result.as_ref());
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
        POLL => {
            let mut poller = std::task::Context::from_waker(Waker::noop());
            loop {
                if let Poll::Ready(result) = Pin::new(&mut handle).poll(&mut poller) {
                    break check(result);
                }
                std::thread::yield_now();
            }
        }
        CANCEL => {
            shift(Duration::from_micros(number % 20));
            handle.cancel();
            check(handle.join());
        }
        TOKEN => {
            let token = handle.token();
            shift(Duration::from_micros(number % 20));
            token.cancel();
            check(handle.join());
        }
        SHARED => {
            let shared = handle.shared();
            together(3, |n| match n {
                0 if number % 2 == 0 => _ = shared.clone().cancel(),
                1 => {
                    let mine = shared.clone();
                    let result = mine.join_timeout(Duration::from_micros(number % 20));
                    if let Some(result) = result {
                        check_ref(result);
                    }
                }
                _ => check_ref(shared.clone().join()),
            });
            assert_eq!(shared.join().is_ok(), shared.join().is_ok());
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
            finish(handle, number, i % WAYS);
        }
    });
    assert!(pool.wait_idle());
    assert_eq!(living.get(), 0);
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed + stats.panicked + stats.cancelled), (6000, 6000));
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
            if i % 11 < WAYS {
                finish(pool.spawn(number).unwrap(), number, i % 11);
            } else if let Ok(marked) = pool.with().timeout(Duration::from_micros(number % 60)).run(number) {
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

/// B21: the handle is the pool's last reference: it is joined while the pool is dropped.
fn pool_dropped<D: Dispatch>() {
    let living = Count::new();
    for number in 1..300 {
        let pool = Pool::builder().workers(1).queue(4).dispatch::<D>().build().unwrap();
        let count = living.clone();
        let handle = Arc::new(Mutex::new(Some(pool.spawn(move || work(7 * number + 1, &count)).unwrap())));
        let pool = Mutex::new(Some(pool));
        together(2, |n| match n {
            0 => drop(pool.lock().take()),
            _ => {
                let handle = handle.lock().take().unwrap();
                finish(handle, 7 * number + 1, number % WAYS);
            }
        });
    }
    assert_eq!(living.get(), 0);
}

#[test]
fn b21_handles_racing_with_the_end_of_the_pool() {
    on_every_dispatch!(pool_dropped);
}
