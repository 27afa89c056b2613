//! Tasks that can fail, for retries and breakers: one type for every kind of pool.
#![allow(dead_code, unused_macros, unused_imports, unreachable_pub)] // every test file uses its own part

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use formicary::{Context, Worker};

/// A task, which can be run any number of times.
pub type Try = Arc<dyn Fn() -> Result<usize, String> + Send + Sync>;

/// The worker of a pool with state that runs them.
pub struct RunTry;

impl Worker for RunTry {
    type Input = Try;
    type Output = Result<usize, String>;

    fn process(&mut self, task: Try, _cx: &Context<'_>) -> Result<usize, String> {
        task()
    }
}

/// As a pool of closures accepts it.
pub fn closure(task: Try) -> impl FnMut() -> Result<usize, String> + Send + 'static {
    move || task()
}

/// As the other kinds accept it.
pub fn input(task: Try) -> Try {
    task
}

/// Fails so many times, and then returns how often it has run.
pub fn fails(times: usize) -> Try {
    let runs = AtomicUsize::new(0);
    Arc::new(move || match runs.fetch_add(1, SeqCst) {
        run if run < times => Err(format!("failure {run}")),
        run => Ok(run + 1),
    })
}

/// Always fails.
pub fn fails_always() -> Try {
    fails(usize::MAX)
}

/// Runs `$check!(pool, control, make)` with a pool of each kind on a dispatch, and with a view of each: `pool` is the pool or view, `control`
/// the pool, and `make` makes a task for it of a [`Try`].
macro_rules! on_each_kind {
    ($dispatch:ty, workers: $workers:expr, queue: $queue:expr, $check:ident) => {{
        use formicary::{Pool, PoolWithFunc, StatefulPool};
        use $crate::support::tries::{RunTry, Try, closure, input};

        macro_rules! with {
            ($builder:expr, $make:expr) => {{
                let pool = $builder.workers($workers).queue($queue).dispatch::<$dispatch>().build().unwrap();
                $check!(pool, pool, $make);
                let control = $builder.workers($workers).queue($queue).dispatch::<$dispatch>().build().unwrap();
                let view = control.limited($workers);
                $check!(view, control, $make);
            }};
        }
        with!(Pool::builder(), closure);
        with!(PoolWithFunc::builder(|task: Try| task()), input);
        with!(StatefulPool::builder(|_| Ok(RunTry)), input);
    }};
}
pub(crate) use on_each_kind;
