//! A41: `for_each` and `try_for_each`: all in parallel, until the first failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::support::races::{quiet_panic, shift};
use crate::support::{Count, Gate, on_every_dispatch};
use formicary::{Context, Dispatch, Pool, PoolWithFunc, StatefulPool, Worker};

fn each<D: Dispatch>() {
    let pool = Pool::builder().workers(4).queue(2).dispatch::<D>().build().unwrap();
    let (count, start) = (Count::new(), Arc::new(Barrier::new(4)));
    let counter = count.clone();
    pool.for_each(0..100, move |n| {
        if n < 4 {
            start.wait();
        }
        counter.up();
    });
    assert_eq!(count.get(), 100, "all are done when it returns");
}

#[test]
fn a41_for_each_runs_all_in_parallel() {
    on_every_dispatch!(each);
}

/// On one worker nothing can start between the failure and its being seen.
fn stops<D: Dispatch>() {
    let pool = Pool::builder().workers(1).queue(50).dispatch::<D>().build().unwrap();
    for panics in [false, true] {
        let (count, pulls) = (Count::new(), Count::new());
        let (counter, puller) = (count.clone(), pulls.clone());
        let input = (0..50).inspect(move |_| {
            puller.up();
        });
        let stopped = catch_unwind(AssertUnwindSafe(|| {
            pool.try_for_each(input, move |n| {
                counter.up();
                match n {
                    3 if panics => quiet_panic(),
                    3 => return Err(n),
                    _ => {}
                }
                Ok(())
            })
        }));
        match stopped {
            Ok(result) => assert!(!panics && result == Err(3)),
            Err(panic) => assert!(panics && panic.downcast_ref() == Some(&"a test's panic")),
        }
        assert!(pool.wait_idle());
        assert_eq!(count.get(), 4, "nothing starts after it");
        assert!(pulls.get() < 8, "nothing is pulled after it: {}", pulls.get());
    }
    let stats = pool.stats();
    assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled);
}

#[test]
fn a41_try_for_each_stops_at_the_first_failure() {
    on_every_dispatch!(stops);
}

fn waits<D: Dispatch>() {
    let pool = Pool::builder().workers(2).queue(4).dispatch::<D>().build().unwrap();
    for how in 0..3 {
        let (done, started) = (Count::new(), Gate::new());
        let (counter, gate, failing) = (done.clone(), started.clone(), started.clone());
        let input = (0..9).inspect(move |n| {
            if *n == 4 && how == 2 {
                gate.await_arrivals(1);
                quiet_panic();
            }
        });
        started.open();
        let stopped = catch_unwind(AssertUnwindSafe(|| {
            pool.try_for_each(input, move |n| {
                if n == 0 {
                    failing.wait();
                    shift(Duration::from_millis(20));
                    counter.up();
                } else if how < 2 {
                    failing.await_arrivals(1);
                    if how == 0 {
                        quiet_panic();
                    }
                    return Err(n);
                }
                Ok(())
            })
        }));
        assert_eq!(done.get(), 1, "what runs is waited for");
        assert_eq!(matches!(stopped, Ok(Err(_))), how == 1);
        assert_eq!(stopped.is_err(), how != 1);
    }
}

#[test]
fn a41_for_each_waits_for_what_runs_when_it_fails() {
    on_every_dispatch!(waits);
}

/// Also while the caller is busy with the input, and sees the failure only later.
fn stops_unseen<D: Dispatch>() {
    let pool = Pool::builder().workers(2).queue(50).dispatch::<D>().build().unwrap();
    let (other, first, count) = (Gate::new(), Gate::new(), Count::new());
    let (held, failing, counter) = (other.clone(), first.clone(), count.clone());
    pool.submit(move || held.wait()).unwrap();
    other.await_arrivals(1);
    let input = (0..50).inspect(|n| {
        if *n == 3 {
            first.open();
            crate::support::eventually("all before it are done with", || (pool.queued(), pool.running()) == (0, 1));
        }
    });
    let failed = pool.try_for_each(input, move |n| {
        counter.up();
        failing.wait();
        Err::<(), _>(n)
    });
    assert_eq!((failed, count.get()), (Err(0), 1));
    other.open();
}

#[test]
fn a41_try_for_each_stops_before_its_caller_knows() {
    on_every_dispatch!(stops_unseen);
}

struct Picky;

impl Worker for Picky {
    type Input = u64;
    type Output = Result<(), u64>;

    fn process(&mut self, n: u64, _: &Context<'_>) -> Result<(), u64> {
        judge(n)
    }
}

/// Fails at 3, and panics at 103.
fn judge(n: u64) -> Result<(), u64> {
    match n {
        3 => Err(n),
        103 => {
            quiet_panic();
            Ok(())
        }
        _ => Ok(()),
    }
}

fn heard_of<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(2).queue(20).dispatch::<D>().build().unwrap());
    let func = Arc::new(PoolWithFunc::builder(judge).workers(2).queue(20).dispatch::<D>().build().unwrap());
    let states = Arc::new(StatefulPool::builder(|_| Ok(Picky)).workers(2).queue(20).dispatch::<D>().build().unwrap());
    /// Each pull waits until all that were pulled before have ended. So one more may be pulled before the failure is there, and not two.
    macro_rules! numbers {
        ($pool:ident, $from:expr, $pulls:expr) => {{
            let (waits, pulls) = ($pool.clone(), $pulls.clone());
            ($from..).take(30).inspect(move |_| {
                pulls.up();
                assert!(waits.wait_idle());
            })
        }};
    }
    for kind in 0..3 {
        let pulls = Count::new();
        let failed = match kind {
            0 => pool.try_for_each(numbers!(pool, 0, pulls), judge),
            1 => func.try_for_each(numbers!(func, 0, pulls)),
            _ => states.try_for_each(numbers!(states, 0, pulls)),
        };
        assert_eq!(failed, Err(3), "{kind}");
        assert!((4..=5).contains(&pulls.get()), "{} of {kind}", pulls.get());

        let pulls = Count::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| match kind {
            0 => pool.for_each(numbers!(pool, 100, pulls), |n| assert!(judge(n).is_ok())),
            1 => func.for_each(numbers!(func, 100, pulls)),
            _ => states.for_each(numbers!(states, 100, pulls)),
        }));
        assert!(panicked.is_err());
        assert!((4..=5).contains(&pulls.get()), "{} of {kind}", pulls.get());
    }
}

/// D27: a failure is seen before the source is asked again.
#[test]
fn d27_nothing_is_pulled_once_a_failure_is_there() {
    on_every_dispatch!(heard_of);
}
