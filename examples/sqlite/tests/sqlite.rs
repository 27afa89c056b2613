//! B16 with a real library: each worker holds an SQLite connection, whose interrupt handle stops its query.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use formicary::{CancelToken, Context, Dispatch, Interrupter, StatefulPool, Worker};
use rusqlite::Connection;
use sqlite::{Database, Query};
use support::races::shift;
use support::{eventually, on_every_dispatch};

const COUNT: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT max(i) FROM n";

/// Counts to the input; some hundred nanoseconds for each.
struct Counter {
    database: Database,
    /// The steps that the database has made, in thousands.
    steps: Arc<AtomicUsize>,
}

impl Counter {
    fn new(steps: &Arc<AtomicUsize>) -> Self {
        let connection = Connection::open_in_memory().unwrap();
        let counter = Arc::clone(steps);
        let count = move || {
            counter.fetch_add(1, SeqCst);
            false
        };
        connection.progress_handler(1000, Some(count));
        Counter { database: connection.into(), steps: Arc::clone(steps) }
    }
}

/// The count, or `None` if the query was interrupted.
type Counted = Option<i64>;

impl Worker for Counter {
    type Input = i64;
    type Output = Counted;

    fn process(&mut self, to: i64, cx: &Context<'_>) -> Counted {
        self.steps.store(0, SeqCst);
        self.database.process(Query { sql: COUNT, parameter: to }, cx).unwrap()
    }

    fn interrupter(&self) -> Option<Interrupter> {
        self.database.interrupter()
    }
}

/// A pool of one such worker, and the steps of its database.
fn counter<D: Dispatch>() -> (StatefulPool<Counter, D>, Arc<AtomicUsize>) {
    let steps = Arc::default();
    let given = Arc::clone(&steps);
    let builder = StatefulPool::builder(move |_| Ok(Counter::new(&given))).workers(1).queue(64);
    (builder.dispatch::<D>().build().unwrap(), steps)
}

/// Longer than any test may take.
const FOR_EVER: i64 = i64::MAX / 2;

/// The count for which one task takes about as long as `time` here.
fn count_for<D: Dispatch>(pool: &StatefulPool<Counter, D>, time: Duration) -> i64 {
    let mut count = 100;
    loop {
        // The best of several: a single one may have been delayed.
        let takes = (0..5).map(|_| {
            let start = Instant::now();
            assert_eq!(pool.run(count).unwrap(), Some(count));
            start.elapsed()
        });
        if takes.min().is_some_and(|takes| takes >= time) {
            return count;
        }
        count += count / 4;
    }
}

fn a_long_query<D: Dispatch>() {
    let (pool, steps) = counter::<D>();
    // The query itself runs when it is stopped: an interrupt before that is lost on SQLite.
    let begun = || eventually("it counts", || steps.load(SeqCst) > 0);
    // By a time limit.
    let error = pool.with().timeout(Duration::from_millis(300)).run(FOR_EVER).unwrap_err();
    assert!(error.is_timed_out());
    assert!(pool.wait_idle());
    // By a token.
    steps.store(0, SeqCst);
    let token = CancelToken::new();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| pool.with().token(&token).run(FOR_EVER));
        begun();
        token.cancel();
        assert!(call.join().unwrap().unwrap_err().is_cancelled());
    });
    assert!(pool.wait_idle());
    steps.store(0, SeqCst);
    // By a handle: the query's end is the task's result.
    let handle = pool.spawn(FOR_EVER).unwrap();
    begun();
    assert!(!handle.cancel());
    assert_eq!(handle.join().unwrap(), None);
    // The connection is as good as before.
    assert_eq!(pool.run(1000).unwrap(), Some(1000));
}

#[test]
fn b16_a_long_query_is_interrupted() {
    on_every_dispatch!(a_long_query);
}

/// B16: limits that end at about the moment when the query does, each with the next query right behind it, which must not be
/// interrupted.
fn never_a_later_query<D: Dispatch>() {
    let (pool, _) = counter::<D>();
    let time = Duration::from_micros(300);
    let count = count_for(&pool, time);
    // It follows the time that the machine takes now, so that it stays near the end.
    let mut limit = time;
    let (mut in_time, mut late) = (0, 0);
    for round in 0..900_u32 {
        let now = limit;
        let next = std::thread::scope(|scope| {
            let limited = scope.spawn(|| match round % 3 {
                0 => pool.with().timeout(now).run(count).ok(),
                1 => {
                    let token = CancelToken::new();
                    token.cancel_after(now);
                    pool.with().token(&token).run(count).ok()
                }
                _ => {
                    let handle = pool.spawn(count).unwrap();
                    shift(now);
                    // Not started yet, it has no result; running, its result tells.
                    if handle.cancel() { None } else { handle.join().unwrap().map(Some) }
                }
            });
            // Behind it, if it is quicker; before it otherwise.
            let next = [pool.spawn(count).unwrap(), pool.spawn(count).unwrap()];
            match limited.join().unwrap() {
                Some(Some(counted)) => {
                    assert_eq!(counted, count);
                    in_time += 1;
                    limit = limit * 19 / 20;
                }
                _ => {
                    late += 1;
                    limit = limit * 21 / 20 + Duration::from_micros(1);
                }
            }
            next
        });
        for next in next {
            assert_eq!(next.join().unwrap(), Some(count), "round {round}: another query's interrupt");
        }
    }
    assert!(in_time > 0 && late > 0, "{in_time} in time, {late} late: the limits were not near the end");
    assert!(pool.wait_idle());
}

#[test]
fn b16_never_a_later_query() {
    on_every_dispatch!(never_a_later_query);
}
