//! Tasks with a time: what it takes to schedule one, to cancel it, and to have it enter the pool, and what it holds until then. And the same
//! for an awaited deadline of a token, which has an alarm of its own.
//!
//! `cargo bench --bench timers`; some rows with a name, `-- 1000000`. The times are of one run each, with so many others scheduled; the
//! bytes are those asked of the allocator.
#![allow(clippy::expect_used)] // a benchmark that cannot start fails by panicking

mod common;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use common::support::allocator;
use common::{is_trial, many, table};
use formicary::{CancelToken, Pool};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// Longer than the benchmark takes.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Times in no order, as a multiplicative generator says: within a second from `base`.
fn times(base: Instant, count: u64) -> impl Iterator<Item = Instant> {
    (1..=count).map(move |n| base + Duration::from_nanos(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 34))
}

/// The time for one of `count`, and bytes held for one.
struct Measured {
    nanos: u128,
    bytes: usize,
}

fn measure(count: u64, work: impl FnOnce()) -> Measured {
    let (bytes, begun) = (allocator::bytes(), Instant::now());
    work();
    let nanos = begun.elapsed().as_nanos() / u128::from(count);
    Measured { nanos, bytes: allocator::bytes().saturating_sub(bytes) / count as usize }
}

fn row(what: &str, count: u64, figures: &[&Measured], bytes: usize) -> Vec<String> {
    let nanos = figures.iter().map(|figure| format!("{} ns", figure.nanos));
    [what.to_owned(), count.to_string()].into_iter().chain(nanos).chain([bytes.to_string()]).collect()
}

fn pool() -> Pool {
    Pool::builder().workers(1).unbounded_queue().build().expect("the setup is good")
}

/// With a handle, which cancels.
fn with_handles(count: u64) -> Vec<String> {
    let pool = pool();
    let mut handles = Vec::with_capacity(count as usize);
    let base = Instant::now() + NEVER;
    let insert = measure(count, || {
        let schedule = |time| pool.with().at(time).spawn(|| ());
        handles.extend(times(base, count).map(|time| schedule(time).expect("the pool is open")));
    });
    let cancel = measure(count, || handles.iter().for_each(|handle| assert!(handle.cancel())));
    drop(handles);
    let fire = fire(&pool, count, |time| drop(pool.with().at(time).spawn(|| ()).expect("the pool is open")));
    row("task with a handle", count, &[&insert, &cancel, &fire], insert.bytes)
}

/// Without one.
fn without_handles(count: u64) -> Vec<String> {
    let pool = pool();
    let base = Instant::now() + NEVER;
    let submit = |time| pool.with().at(time).submit(|| ()).expect("the pool is open");
    let insert = measure(count, || times(base, count).for_each(submit));
    let take = measure(count, || drop(pool.shutdown_now()));
    pool.restart().expect("the pool has ended");
    let fire = fire(&pool, count, submit);
    row("task without (given back, not cancelled)", count, &[&insert, &take, &fire], insert.bytes)
}

/// All have one time: the timer thread has them enter, one after the other, while a worker runs them.
fn fire(pool: &Pool, count: u64, schedule: impl Fn(Instant)) -> Measured {
    let time = Instant::now() + Duration::from_millis(if is_trial() { 50 } else { 5_000 });
    (0..count).for_each(|_| schedule(time));
    std::thread::sleep(time.saturating_duration_since(Instant::now()));
    while pool.stats().scheduled > 0 {
        std::thread::sleep(Duration::from_micros(50));
    }
    let nanos = time.elapsed().as_nanos() / u128::from(count);
    assert!(pool.wait_idle());
    Measured { nanos, bytes: 0 }
}

/// Wakes nobody.
struct Silent;

impl Wake for Silent {
    fn wake(self: Arc<Self>) {}
}

/// Deadlines of tokens, each awaited by a future.
fn deadlines(count: u64) -> Vec<String> {
    let waker = Waker::from(Arc::new(Silent));
    let base = Instant::now() + NEVER;
    let tokens: Vec<_> = times(base, count)
        .map(|time| {
            let token = CancelToken::new();
            token.cancel_at(time);
            token
        })
        .collect();
    let mut futures = Vec::with_capacity(count as usize);
    let insert = measure(count, || {
        for token in &tokens {
            let mut future = Box::pin(token.cancelled());
            let poll = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
            assert_eq!(poll, Poll::Pending);
            futures.push(future);
        }
    });
    let cancel = measure(count, || futures.clear());
    let figures = [&insert, &cancel];
    let mut row = row("awaited deadline of a token", count, &figures, insert.bytes);
    row.insert(4, "".to_owned());
    row
}

/// What is measured, by its name.
type Kind = (&'static str, fn(u64) -> Vec<String>);

fn main() {
    let mut rows = Vec::new();
    for count in [1_000, 30_000, 1_000_000].map(many) {
        let kinds: [Kind; 3] = [("handles", with_handles), ("submits", without_handles), ("deadlines", deadlines)];
        let wanted = kinds.into_iter().filter(|(name, _)| table::is_wanted(&format!("timers/{name}/{count}")));
        rows.extend(wanted.map(|(_, measure)| measure(count)));
    }
    let title = "One timer of so many, whose times are in no order: to schedule it, to cancel it, and to enter the pool where all have one time";
    table::print(title, &["what", "timers", "schedule", "cancel", "enter", "bytes"], &rows);
}
