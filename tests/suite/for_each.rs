//! `for_each` of the kinds with fixed work: it is done when it returns, and stops at a failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::support::races::{quiet_panic, shift};
use crate::support::{Count, Gate, on_every_dispatch};
use formicary::{Context, Dispatch, PoolWithFunc, StatefulPool, Stats, Worker};

type Work = dyn Fn(u32) -> Result<(), u32> + Send + Sync;

struct Works(Arc<Work>);

impl Worker for Works {
    type Input = u32;
    type Output = Result<(), u32>;

    fn process(&mut self, n: u32, _: &Context<'_>) -> Result<(), u32> {
        (self.0)(n)
    }
}

/// What this test needs of a pool.
trait Bound {
    fn for_each(&self, items: &mut dyn Iterator<Item = u32>);
    fn try_for_each(&self, items: &mut dyn Iterator<Item = u32>) -> Result<(), u32>;
    fn settled(&self) -> Stats;
}

macro_rules! bound {
    ($pool:ty) => {
        impl<D: Dispatch> Bound for $pool {
            fn for_each(&self, items: &mut dyn Iterator<Item = u32>) {
                <$pool>::for_each(self, items);
            }

            fn try_for_each(&self, items: &mut dyn Iterator<Item = u32>) -> Result<(), u32> {
                <$pool>::try_for_each(self, items)
            }

            fn settled(&self) -> Stats {
                self.wait_idle();
                self.stats()
            }
        }
    };
}

bound!(PoolWithFunc<u32, D, Result<(), u32>>);
bound!(StatefulPool<Works, D>);

fn both<D: Dispatch>(
    workers: usize,
    work: impl Fn(u32) -> Result<(), u32> + Send + Sync + 'static,
) -> [Box<dyn Bound>; 2] {
    let work: Arc<Work> = Arc::new(work);
    let same = Arc::clone(&work);
    let func = PoolWithFunc::builder(move |n| work(n)).workers(workers).queue(50);
    let states = StatefulPool::builder(move |_| Ok(Works(Arc::clone(&same)))).workers(workers).queue(50);
    [Box::new(func.dispatch::<D>().build().unwrap()), Box::new(states.dispatch::<D>().build().unwrap())]
}

fn all<D: Dispatch>() {
    let count = Count::new();
    let counter = count.clone();
    let pools = both::<D>(4, move |n| {
        counter.up();
        if n % 2 == 0 { Ok(()) } else { Err(n) }
    });
    for (round, pool) in pools.iter().enumerate() {
        pool.for_each(&mut (0..100));
        assert_eq!(count.get(), 150 * round + 100, "all are done, whatever they answer");
        assert_eq!(pool.try_for_each(&mut (0..100).step_by(2)), Ok(()));
        assert_eq!(count.get(), 150 * (round + 1));
    }
}

#[test]
fn a41_for_each_is_done_when_it_returns() {
    on_every_dispatch!(all);
}

fn stops<D: Dispatch>() {
    for panics in [false, true] {
        let count = Count::new();
        let counter = count.clone();
        let pools = both::<D>(1, move |n| {
            counter.up();
            match n {
                3 if panics => quiet_panic(),
                3 => return Err(n),
                _ => {}
            }
            Ok(())
        });
        for pool in pools {
            let (before, mut input) = (count.get(), 0..50);
            match catch_unwind(AssertUnwindSafe(|| pool.try_for_each(&mut input))) {
                Ok(result) => assert!(!panics && result == Err(3)),
                Err(panic) => assert!(panics && panic.downcast_ref() == Some(&"a test's panic")),
            }
            // As many as are pulled ahead, and no more.
            assert!(input.start <= 3 + 2, "{} were pulled", input.start);
            let stats = pool.settled();
            assert!((4..=5).contains(&(count.get() - before)), "{stats:?}");
            assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled, "{stats:?}");
        }
    }
}

#[test]
fn a41_for_each_stops_at_the_first_failure() {
    on_every_dispatch!(stops);
}

fn waits<D: Dispatch>() {
    for kind in 0..2 {
        let (done, started) = (Count::new(), Gate::new());
        let (counter, gate) = (done.clone(), started.clone());
        let pools = both::<D>(2, move |n| {
            if n > 0 {
                gate.await_arrivals(1);
                return Err(n);
            }
            gate.wait();
            shift(Duration::from_millis(20));
            counter.up();
            Ok(())
        });
        started.open();
        assert!(pools[kind].try_for_each(&mut (0..9)).is_err());
        assert_eq!(done.get(), 1, "what runs is waited for");
    }
}

#[test]
fn a41_for_each_waits_for_what_runs_at_a_failure() {
    on_every_dispatch!(waits);
}
