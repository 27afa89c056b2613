//! Tasks with a time, by a clock that advances when a test says so. A program of its own, because the clock is for the whole process.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

#[path = "../support/mod.rs"]
mod support;

mod closing;
mod entering;
mod every;
mod inside;
mod views;

use std::ops::Deref;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use formicary::{
    Accepts, Builder, Dispatch, DropReason, Dropped, Pool, PoolControl, PoolWithFunc, StatefulPool, Task, With,
};
use parking_lot::Mutex;
use support::{RunTask, Setup};

const HOUR: Duration = Duration::from_secs(3600);

/// A pool of any kind, for tasks.
trait TaskPool: Accepts<Task, Output = ()> + Deref<Target = PoolControl<Task>> + Send + Sync + Sized + 'static {
    fn with(&self) -> With<'_, Self>;
    fn build(setup: Setup, more: More) -> Self;
}

type Missed = Arc<Mutex<Vec<DropReason>>>;

/// What a pool has beyond its setup.
#[derive(Clone, Default)]
struct More {
    on_close: formicary::OnClose,
    /// Is told of dropped tasks.
    missed: Missed,
}

impl More {
    fn handler(&self) -> impl Fn(Dropped<Task>) + Send + Sync + 'static + use<> {
        let missed = Arc::clone(&self.missed);
        move |dropped| missed.lock().push(dropped.reason())
    }

    fn on<K, D: Dispatch>(&self, setup: Setup, builder: Builder<K>) -> Builder<K, D> {
        setup.on(builder).on_close(self.on_close).dispatch::<D>()
    }
}

impl<D: Dispatch> TaskPool for Pool<D> {
    fn with(&self) -> With<'_, Self> {
        self.with()
    }

    fn build(setup: Setup, more: More) -> Self {
        more.on(setup, Pool::builder()).dropped_handler(more.handler()).build().unwrap()
    }
}

impl<D: Dispatch> TaskPool for PoolWithFunc<Task, D> {
    fn with(&self) -> With<'_, Self> {
        self.with()
    }

    fn build(setup: Setup, more: More) -> Self {
        more.on(setup, PoolWithFunc::builder(Task::run)).dropped_handler(more.handler()).build().unwrap()
    }
}

impl<D: Dispatch> TaskPool for StatefulPool<RunTask, D> {
    fn with(&self) -> With<'_, Self> {
        self.with()
    }

    fn build(setup: Setup, more: More) -> Self {
        more.on(setup, StatefulPool::builder(|_| Ok(RunTask))).dropped_handler(more.handler()).build().unwrap()
    }
}

/// Runs a test that is generic over the pool for every kind on every dispatch.
macro_rules! on_every_pool {
    ($test:ident) => {{
        macro_rules! run {
            ($dispatch:ty, $name:literal) => {{
                use formicary::{Pool, PoolWithFunc, StatefulPool, Task};
                use $crate::support::{LIMIT, RunTask, within};
                within(LIMIT, concat!($name, "/Pool"), $test::<Pool<$dispatch>>);
                within(LIMIT, concat!($name, "/PoolWithFunc"), $test::<PoolWithFunc<Task, $dispatch>>);
                within(LIMIT, concat!($name, "/StatefulPool"), $test::<StatefulPool<RunTask, $dispatch>>);
            }};
        }
        $crate::support::each_dispatch!(run);
    }};
}
use on_every_pool;

/// What ran, in its order.
#[derive(Clone, Default)]
struct Ran(Arc<Mutex<Vec<u32>>>);

impl Ran {
    fn task(&self, n: u32) -> Task {
        let ran = self.clone();
        Task::new(move || ran.0.lock().push(n))
    }

    fn get(&self) -> Vec<u32> {
        self.0.lock().clone()
    }

    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// The timer thread has looked at the time some times.
fn looks_at_the_time() {
    thread::sleep(Duration::from_millis(15));
}

/// All that was submitted has ended, and is counted once.
fn assert_conserved(pool: &PoolControl<Task>) {
    let stats = pool.stats();
    let ended = stats.completed + stats.panicked + stats.cancelled + stats.returned + stats.dropped;
    assert_eq!((stats.submitted, stats.scheduled), (ended, 0), "{stats:?}");
}
