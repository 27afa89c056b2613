//! What a task costs in allocations, for every way to submit one and every dispatch: of a pool of two workers that has run
//! for a while, with a queue of 510. `tests/allocations.rs` asserts what is promised of this.
//!
//! Two figures where they differ: in bursts of 400 tasks, which fill the queue, and one by one. They cover the whole process; the
//! tasks themselves allocate nothing.
//!
//! `cargo bench --bench allocations`; some ways with a name, `-- spawn`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a benchmark that cannot start fails by panicking

mod common;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context as Poller, Poll, Waker};

use common::support::allocator::{Counting, allocations};
use common::{each_dispatch, many, steady, table};
use formicary::{CancelToken, Context, Dispatch, Pool, PoolWithFunc, StatefulPool, Worker, WorkerPool};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// In bursts; a tenth of them one by one, which takes longer.
const TASKS: u64 = 10_000;
const BURST: u64 = 400;

/// The figures of one dispatch: what was counted, and its name.
type Column = Vec<(&'static str, String)>;

struct Same;

impl Worker for Same {
    type Input = u64;
    type Output = u64;

    fn process(&mut self, n: u64, _cx: &Context<'_>) -> u64 {
        n
    }
}

/// The output of a future that is ready at once.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Poller::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is room"),
    }
}

/// What a task does.
fn take<T>(value: T) {
    black_box(value);
}

/// Allocations per task: in bursts, and one by one.
fn count<T: 'static>(pool: &dyn WorkerPool<T>, slice: u64, submit: &dyn Fn(u64)) -> String {
    let [burst, single] = [(BURST, TASKS), (slice, TASKS / 10)].map(|(burst, tasks)| {
        let run = |tasks: u64| {
            let before = allocations();
            for n in (0..tasks).step_by(slice as usize) {
                submit(n);
                if (n + slice) % burst == 0 {
                    pool.wait_idle();
                }
            }
            pool.wait_idle();
            (allocations() - before) as f64 / tasks as f64
        };
        run(many(tasks));
        format!("{:.2}", run(many(tasks)))
    });
    if burst == single { burst } else { format!("{burst}, {single}") }
}

/// The closures.
fn closures<D: Dispatch>(column: &mut Column) {
    let pool = bounded().on(Pool::builder()).dispatch::<D>().build().unwrap();
    let token = CancelToken::new();
    let mut row = |name, submit: &dyn Fn(u64)| {
        if table::is_wanted(name) {
            column.push((name, count(&pool, 1, submit)));
        }
    };
    let large = |n| {
        let captured = [n; 6];
        move || take(captured)
    };
    let larger = |n| {
        let captured = [n; 7];
        move || take(captured)
    };
    row("Pool::submit, 8 bytes", &|n| pool.submit(move || take(n)).unwrap());
    row("Pool::submit, 48 bytes", &|n| pool.submit(large(n)).unwrap());
    row("Pool::submit, 56 bytes", &|n| pool.submit(larger(n)).unwrap());
    row("Pool::with().token().submit", &|n| pool.with().token(&token).submit(move || take(n)).unwrap());
    row("Pool::submit_async", &|n| ready(pool.submit_async(move || take(n))).unwrap());
    row("Pool::spawn, handle dropped", &|n| drop(pool.spawn(move || n).unwrap()));
    row("Pool::spawn, join", &|n| assert_eq!(pool.spawn(move || n).unwrap().join().unwrap(), n));
    row("Pool::spawn, shared, join", &|n| assert_eq!(pool.spawn(move || n).unwrap().shared().join().unwrap(), &n));
    row("Pool::with().token().spawn, join", &|n| {
        assert_eq!(pool.with().token(&token).spawn(move || n).unwrap().join().unwrap(), n);
    });
    row("Pool::spawn_async, join", &|n| assert_eq!(ready(pool.spawn_async(move || n)).unwrap().join().unwrap(), n));
    row("Pool::run", &|n| assert_eq!(pool.run(move || n).unwrap(), n));
    row("Pool::scope, one task", &|n| pool.scope(|scope| scope.spawn(move || take(n))));
    if table::is_wanted("Pool::submit_all, 50 at a time") {
        let slices = |n: u64| take(pool.submit_all((n..n + 50).map(|n| move || take(n))).unwrap());
        column.push(("Pool::submit_all, 50 at a time", count(&pool, 50, &slices)));
    }
}

/// The payloads.
fn payloads<D: Dispatch>(column: &mut Column) {
    let pool = bounded().on(PoolWithFunc::builder(|n: u64| n)).dispatch::<D>().build().unwrap();
    let token = CancelToken::new();
    let mut row = |name, slice, submit: &dyn Fn(u64)| {
        if table::is_wanted(name) {
            column.push((name, count(&pool, slice, submit)));
        }
    };
    row("PoolWithFunc::submit", 1, &|n| pool.submit(n).unwrap());
    row("PoolWithFunc::with().token().submit", 1, &|n| pool.with().token(&token).submit(n).unwrap());
    row("PoolWithFunc::submit_async", 1, &|n| ready(pool.submit_async(n)).unwrap());
    row("PoolWithFunc::submit_all, 50 at a time", 50, &|n| take(pool.submit_all(n..n + 50).unwrap()));
    row("PoolWithFunc::run", 1, &|n| assert_eq!(pool.run(n).unwrap(), n));
}

/// The inputs of workers with state.
fn inputs<D: Dispatch>(column: &mut Column) {
    let pool = bounded().on(StatefulPool::builder(|_| Ok(Same))).dispatch::<D>().build().unwrap();
    let token = CancelToken::new();
    let mut row = |name, submit: &dyn Fn(u64)| {
        if table::is_wanted(name) {
            column.push((name, count(&pool, 1, submit)));
        }
    };
    let erased: &dyn WorkerPool<u64> = &pool;
    row("StatefulPool::submit, by `dyn WorkerPool`", &|n| erased.submit(n).unwrap());
    row("StatefulPool::spawn, handle dropped", &|n| drop(pool.spawn(n).unwrap()));
    row("StatefulPool::spawn, join", &|n| assert_eq!(pool.spawn(n).unwrap().join().unwrap(), n));
    row("StatefulPool::with().token().spawn, join", &|n| {
        assert_eq!(pool.with().token(&token).spawn(n).unwrap().join().unwrap(), n);
    });
    row("StatefulPool::spawn_async, join", &|n| assert_eq!(ready(pool.spawn_async(n)).unwrap().join().unwrap(), n));
    row("StatefulPool::run", &|n| assert_eq!(pool.run(n).unwrap(), n));
}

fn bounded() -> common::support::Setup {
    let mut setup = steady(2);
    setup.queue = Some(Some(510));
    setup
}

fn column<D: Dispatch>() -> Column {
    let mut column = Column::new();
    closures::<D>(&mut column);
    payloads::<D>(&mut column);
    inputs::<D>(&mut column);
    column
}

fn main() {
    let (mut columns, mut head) = (Vec::new(), vec!["allocations per task"]);
    macro_rules! add {
        ($dispatch:ty, $name:literal) => {
            columns.push(column::<$dispatch>());
            head.push($name);
        };
    }
    each_dispatch!(add);
    let row = |at: usize| {
        let figures = columns.iter().map(|column| column[at].1.clone());
        std::iter::once(columns[0][at].0.to_owned()).chain(figures).collect()
    };
    let rows: Vec<_> = (0..columns[0].len()).map(row).collect();
    table::print(
        "Allocations per task of a warm pool; in bursts of 400, and one by one where that differs",
        &head,
        &rows,
    );
}
