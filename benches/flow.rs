//! What the tools of flow control cost: for each, the time of a submit, the time from there to the end of the task, and the memory that it
//! takes while it waits. The first row of each block is what the others are to be compared with.
//!
//! One worker, which is paused while tasks are submitted, so that neither side waits for the other. Each time is the least of many batches: other
//! load on the machine does not show in it. `cargo bench --all-features --bench flow`; some rows with a word, `-- retry`.

#![allow(clippy::expect_used)] // a benchmark fails by panicking

mod common;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use common::support::allocator::{Counting, bytes};
use common::{many, table};
use formicary::autoscale::Autoscaler;
use formicary::{
    Breaker, Builder, Closures, Dispatch, Fair, Level, Overflow, Pipeline, Pool, Priority, Retry, Semaphore, Stack,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tasks of a batch: a fraction of what the system gives a thread before it runs another.
const BATCH: u64 = 256;

static DONE: AtomicU64 = AtomicU64::new(0);

fn done() {
    DONE.fetch_add(1, Relaxed);
}

/// One more task, whose handle is kept until its batch is over.
type Submit = Box<dyn FnMut(u64) -> Option<Box<dyn Any>>>;

/// The rest of a row's name, and how it submits to a pool.
struct Row {
    name: &'static str,
    measure: Box<dyn Fn() -> [String; 3]>,
}

fn row<D: Dispatch>(
    name: &'static str,
    set: fn(Builder<Closures, D>) -> Builder<Closures, D>,
    start: fn(Arc<Pool<D>>) -> Submit,
) -> Row {
    let measure = move || {
        let pool = set(Pool::builder().workers(1).queue(2 * BATCH as usize).dispatch::<D>()).build();
        let pool = Arc::new(pool.expect("the settings are good"));
        measure(&pool, start(Arc::clone(&pool)))
    };
    Row { name, measure: Box::new(measure) }
}

/// The figures of one row: nanoseconds of a submit and from there to the end, and bytes.
fn measure<D: Dispatch>(pool: &Arc<Pool<D>>, mut submit: Submit) -> [String; 3] {
    let (mut submits, mut runs, mut size) = (Duration::MAX, Duration::MAX, usize::MAX);
    let mut kept = Vec::with_capacity(BATCH as usize);
    for _ in 0..many(2_000) {
        let end = DONE.load(Relaxed) + BATCH;
        let pause = pool.pause();
        let (before, start) = (bytes(), Instant::now());
        kept.extend((0..BATCH).filter_map(&mut submit));
        submits = submits.min(start.elapsed());
        size = size.min(bytes().saturating_sub(before));
        let start = Instant::now();
        drop(pause);
        while DONE.load(Relaxed) < end {
            yield_now();
        }
        runs = runs.min(start.elapsed());
        pool.wait_idle();
        kept.clear();
    }
    let per_task = |total: u128| (total / u128::from(BATCH)).to_string();
    [per_task(submits.as_nanos()), per_task(runs.as_nanos()), per_task(size as u128)]
}

fn keep(handle: impl Any) -> Option<Box<dyn Any>> {
    Some(Box::new(handle))
}

fn plain<D: Dispatch>(pool: Arc<Pool<D>>) -> Submit {
    Box::new(move |_| pool.submit(done).err().map(|_| unreachable!("there is room")))
}

fn spawned<D: Dispatch>(pool: Arc<Pool<D>>) -> Submit {
    Box::new(move |_| keep(pool.spawn(done).expect("there is room")))
}

/// A submit with options.
macro_rules! with {
    ($dispatch:ty, |$with:ident, $n:ident| $options:expr) => {
        |pool: Arc<Pool<$dispatch>>| -> Submit {
            Box::new(move |$n| {
                let $with = pool.with();
                $options.submit(done).expect("there is room");
                None
            })
        }
    };
}

/// Those that submit, and are compared with a submit on the same dispatch.
fn submits() -> Vec<Row> {
    let budget = |builder: Builder<Closures, Stack>| builder.budget(&Semaphore::new(1 << 20));
    vec![
        row::<Stack>("submit", |b| b, plain),
        row::<Stack>("overflow(DropOldest), room", |b| b.overflow(Overflow::DropOldest), plain),
        row::<Stack>("max_queue_time", |b| b, with!(Stack, |with, _n| with.max_queue_time(Duration::from_secs(60)))),
        row::<Stack>("in_order, one key", |b| b, with!(Stack, |with, _n| with.in_order(1))),
        row::<Stack>("in_order, a key each", |b| b, with!(Stack, |with, n| with.in_order(n))),
        row::<Stack>("budget, no weight", budget, plain),
        row::<Stack>("weight(1)", budget, with!(Stack, |with, _n| with.weight(1))),
        row::<Stack>("after(0)", |b| b, with!(Stack, |with, _n| with.after(Duration::ZERO))),
        row::<Stack>("grow_when(8)", |b| b.grow_when(8), plain),
        row::<Stack>(
            "autoscale",
            |b| b,
            |pool| {
                let tuner = Autoscaler::between(1, 1).start(&*pool).expect("the bounds are good");
                let mut submit = plain(pool);
                Box::new(move |n| {
                    let _stays = &tuner;
                    submit(n)
                })
            },
        ),
        row::<Stack>(
            "limited(1)",
            |b| b,
            |pool| {
                let view = pool.limited(1);
                Box::new(move |_| view.submit(done).err().map(|_| unreachable!("there is room")))
            },
        ),
        #[cfg(feature = "rate")]
        row::<Stack>(
            "limited(1).rate",
            |b| b,
            |pool| {
                let view = pool.limited(1).rate(formicary::Quota::per_second(1_000_000_000).burst(u32::MAX));
                Box::new(move |_| view.submit(done).err().map(|_| unreachable!("there is room")))
            },
        ),
        row::<Stack>(
            "batched(64)",
            |b| b,
            |pool| {
                let batched = pool.batched(64, Duration::from_secs(1), |items: Vec<u64>| {
                    items.iter().for_each(|_| done());
                    items
                });
                let batched = batched.queue(2 * BATCH as usize);
                Box::new(move |n| batched.submit(n).err().map(|_| unreachable!("there is room")))
            },
        ),
        row::<Priority>("Priority", |b| b, plain),
        row::<Priority>("Priority, three levels", |b| b, {
            with!(Priority, |with, n| with.priority([Level::LOW, Level::NORMAL, Level::HIGH][n as usize % 3]))
        }),
        row::<Fair>("Fair", |b| b, plain),
        row::<Fair>("Fair, one tenant", |b| b, with!(Fair, |with, _n| with.tenant(1))),
        row::<Fair>("Fair, 64 tenants", |b| b, with!(Fair, |with, n| with.tenant(n % 64))),
    ]
}

/// Those that give a handle, and are compared with a spawn.
fn spawns() -> Vec<Row> {
    vec![
        row::<Stack>("spawn", |b| b, spawned),
        row::<Stack>(
            "retrying, first attempt good",
            |b| b,
            |pool| {
                let retrying = pool.retrying(Retry::<()>::exponential(Duration::from_millis(1)));
                Box::new(move |_| {
                    let task = || {
                        done();
                        Ok(())
                    };
                    keep(retrying.spawn(task).expect("there is room"))
                })
            },
        ),
        row::<Stack>(
            "guarded",
            |b| b,
            |pool| {
                let guarded = pool.guarded(Breaker::ratio(0.5).panics());
                Box::new(move |_| keep(guarded.spawn(done).expect("there is room")))
            },
        ),
        row::<Stack>(
            "then, after one spawn",
            |b| b,
            |pool| {
                Box::new(move |_| {
                    let first = pool.spawn(|| ()).expect("there is room");
                    keep(first.then_ok(&*pool, |()| done()))
                })
            },
        ),
        #[cfg(feature = "async")]
        row::<Stack>(
            "spawn_future, ready at once",
            |b| b,
            |pool| Box::new(move |_| keep(pool.spawn_future(async { done() }).map_err(drop).expect("there is room"))),
        ),
        #[cfg(feature = "tower")]
        row::<Stack>(
            "tower service",
            |b| b,
            |pool| {
                use tower::Service;
                let mut service = pool.service(|()| done());
                Box::new(move |_| {
                    let mut answer = Box::pin(service.call(()));
                    let mut poller = std::task::Context::from_waker(std::task::Waker::noop());
                    assert!(answer.as_mut().poll(&mut poller).is_pending());
                    keep(answer)
                })
            },
        ),
    ]
}

/// A pipeline is measured as a whole.
fn pipeline() -> Vec<Vec<String>> {
    let name = "a stage of a pipeline, ordered";
    if !table::is_wanted(name) {
        return Vec::new();
    }
    let pool = Pool::builder().workers(1).queue(1024).build().expect("the settings are good");
    let mut least = Duration::MAX;
    for _ in 0..many(200) {
        let start = Instant::now();
        let ended = Pipeline::from(0..10 * BATCH).stage(&pool, |n| n + 1).buffer(512).for_each(|_| ());
        ended.expect("no stage fails");
        least = least.min(start.elapsed());
    }
    let each = (least.as_nanos() / u128::from(10 * BATCH)).to_string();
    vec![vec![name.to_owned(), "".to_owned(), each, "".to_owned()]]
}

fn main() {
    let head = ["ns per task", "submit", "from there to its end", "bytes while it waits"];
    for (title, rows) in [("Compared with a submit", submits()), ("Compared with a spawn", spawns())] {
        let rows = rows.into_iter().filter(|row| table::is_wanted(row.name));
        let rows: Vec<_> =
            rows.map(|row| [row.name.to_owned()].into_iter().chain((row.measure)()).collect::<Vec<_>>()).collect();
        table::print(title, &head, &rows);
    }
    table::print("Pipelines", &head, &pipeline());
}
