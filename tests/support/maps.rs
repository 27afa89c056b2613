//! What the tests of maps share: one trait for all kinds of pool, and items that are their own work.

use std::sync::Arc;

use formicary::{Context, Dispatch, Map, Pool, PoolControl, PoolWithFunc, StatefulPool, Stats, Worker};

use super::{Count, LIMIT, Setup, within};

/// An item that is its own work.
pub type Work = Box<dyn FnOnce() -> u64 + Send>;
pub type Items = Box<dyn Iterator<Item = Work> + Send>;

pub fn work(f: impl FnOnce() -> u64 + Send + 'static) -> Work {
    Box::new(f)
}

pub fn items(works: impl IntoIterator<Item = Work, IntoIter: Send + 'static>) -> Items {
    Box::new(works.into_iter())
}

/// A pool of any kind, as far as maps need it.
pub trait Maps: Send + Sync {
    fn map(&self, items: Items) -> Map<'_, Items, u64>;
    fn map_unordered(&self, items: Items) -> Map<'_, Items, u64>;
    fn stats(&self) -> Stats;
    fn wait_idle(&self);
    fn shutdown(&self);
    /// How many were given back.
    fn shutdown_now(&self) -> usize;
}

struct DoWork;

impl Worker for DoWork {
    type Input = Work;
    type Output = u64;

    fn process(&mut self, work: Work, _: &Context<'_>) -> u64 {
        work()
    }
}

macro_rules! maps {
    ($pool:ty $(, $f:expr)?) => {
        impl<D: Dispatch> Maps for $pool {
            fn map(&self, items: Items) -> Map<'_, Items, u64> {
                self.map(items $(, $f)?)
            }
            fn map_unordered(&self, items: Items) -> Map<'_, Items, u64> {
                self.map_unordered(items $(, $f)?)
            }
            fn stats(&self) -> Stats {
                PoolControl::stats(self)
            }
            fn wait_idle(&self) {
                assert!(PoolControl::wait_idle(self));
            }
            fn shutdown(&self) {
                PoolControl::shutdown(self);
            }
            fn shutdown_now(&self) -> usize {
                PoolControl::shutdown_now(self).len()
            }
        }
    };
}

maps!(Pool<D>, |work: Work| work());
maps!(PoolWithFunc<Work, D, u64>);
maps!(StatefulPool<DoWork, D>);

/// Runs a test on all nine variants.
pub fn on_all(workers: usize, queue: usize, test: impl Fn(Arc<dyn Maps>) + Send + Sync + Clone + 'static) {
    fn kinds<D: Dispatch>(setup: &Setup) -> [Arc<dyn Maps>; 3] {
        let setup = || setup.clone();
        [
            Arc::new(setup().on(Pool::builder()).dispatch::<D>().build().unwrap()),
            Arc::new(setup().on(PoolWithFunc::builder(|work: Work| work())).dispatch::<D>().build().unwrap()),
            Arc::new(setup().on(StatefulPool::builder(|_| Ok(DoWork))).dispatch::<D>().build().unwrap()),
        ]
    }
    let setup = Setup::new(workers, queue);
    macro_rules! run {
        ($dispatch:ty, $name:literal) => {
            for (pool, kind) in kinds::<$dispatch>(&setup).into_iter().zip(["Pool", "PoolWithFunc", "StatefulPool"]) {
                let test = test.clone();
                within(LIMIT, &format!("{}/{kind}", $name), move || test(pool));
            }
        };
    }
    super::each_dispatch!(run);
}

/// The numbers from 0, counted as they are pulled.
pub fn counted(pulls: &Count) -> Items {
    let pulls = pulls.clone();
    items((0_u64..).map(move |n| {
        pulls.up();
        work(move || n)
    }))
}

/// Counts the living ones.
pub struct Marked(pub u64, Count);

impl Marked {
    pub fn new(n: u64, living: &Count) -> Self {
        living.up();
        Marked(n, living.clone())
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        self.1.down();
    }
}
