//! Closing a pool while everything else goes on.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::on_every_dispatch;
use crate::support::races::{shift, together};
use crate::support::{AnyPool, Count, Gate, Setup, assert_conserved, eventually, for_each};
use formicary::{
    BuildError, CallError, Context, Dispatch, MAX_WORKERS, Pool, PoolWithFunc, StatefulPool, SubmitErrorKind, Task,
    Worker,
};

/// Ways to end a pool; each returns how many tasks it gave back.
const ENDS: [fn(&AnyPool) -> usize; 3] = [
    |pool| usize::from(!pool.shutdown().is_complete()),
    |pool| usize::from(!pool.shutdown_timeout(Duration::from_secs(3600)).is_complete()),
    |pool| pool.shutdown_now().len(),
];

/// B03 and B06: many submits of every kind race with every kind of end. None panics or hangs, each is accepted or told that the
/// pool is closed, and each accepted task has run or is given back.
#[test]
fn b03_b06_submits_racing_with_the_end() {
    for (kind, end) in ENDS.into_iter().enumerate() {
        for_each(move |variant| {
            for round in 0..10 {
                let pool = variant.build(Setup::new(3, if round % 2 == 0 { 0 } else { 64 }));
                let (ran, accepted, returned) = (Count::new(), Count::new(), Count::new());
                together(5, |n| {
                    if n == 4 {
                        shift(Duration::from_micros(300 * round));
                        (0..end(&pool)).for_each(|_| _ = returned.up());
                        return;
                    }
                    for i in 0..250 {
                        let result = match (n + i) % 4 {
                            0 => pool.try_submit(ran.task()),
                            1 => pool.submit_timeout(ran.task(), Duration::from_secs(3600)),
                            2 => {
                                let mut one = std::iter::once(ran.task());
                                pool.submit_all(&mut one).map(drop).map_err(|(_, error)| error)
                            }
                            _ => pool.submit(ran.task()),
                        };
                        match result.map_err(|refusal| refusal.kind()) {
                            Ok(()) => _ = accepted.up(),
                            Err(SubmitErrorKind::Closed) => {}
                            Err(SubmitErrorKind::Full) => assert_eq!((n + i) % 4, 0),
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
                assert_eq!(ran.get() + returned.get(), accepted.get(), "end {kind}, round {round}");
                assert_eq!(pool.stats().submitted, accepted.get() as u64);
                assert_conserved(&*pool);
                assert!(pool.submit(ran.task()).unwrap_err().is_closed());
            }
        });
    }
}

/// B06: ten thousand submits and one shutdown among them: as many have run as were accepted when it returns.
#[test]
fn b06_ten_thousand_submits_and_a_shutdown() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(4, 256));
        let (ran, accepted) = (Count::new(), Count::new());
        together(8, |n| {
            for i in 0..1250 {
                if n == 0 && i == 300 {
                    assert!(pool.shutdown().is_complete());
                }
                if pool.submit(ran.task()).is_ok() {
                    accepted.up();
                }
            }
        });
        assert_eq!(ran.get(), accepted.get());
        assert!(accepted.get() >= 300);
        assert_conserved(&*pool);
    });
}

/// B06: the last worker has seen the pool closed while a task is still being submitted: again and again, as close as possible.
#[test]
fn b06_one_submit_against_one_shutdown() {
    for_each(|variant| {
        for _ in 0..300 {
            let mut setup = Setup::new(1, 4);
            setup.min_workers = Some(0);
            let (pool, ran, accepted) = (variant.build(setup), Count::new(), Count::new());
            together(2, |n| match n {
                0 => drop(pool.shutdown()),
                _ => {
                    for _ in 0..3 {
                        if pool.submit(ran.task()).is_ok() {
                            accepted.up();
                        }
                    }
                }
            });
            assert_eq!(ran.get(), accepted.get());
        }
    });
}

/// B08: after a close every waiting function can still be called, and returns.
#[test]
fn b08_waiting_works_after_the_close() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(1, 8)), Gate::new());
        let ran = Count::new();
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        (0..3).for_each(|_| pool.submit(ran.task()).unwrap());
        let report = pool.shutdown_timeout(Duration::from_millis(1));
        assert_eq!((report.workers, report.running, report.queued), (1, 1, 3));
        assert!(!pool.wait_idle_timeout(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let waiters = [scope.spawn(|| pool.wait_idle()), scope.spawn(|| pool.shutdown().is_complete())];
            gate.open();
            assert!(waiters.map(|waiter| waiter.join().unwrap()).iter().all(|done| *done));
        });
        assert_eq!(ran.get(), 3);
        assert!(pool.wait_idle() && pool.pause().wait_quiet());
    });
}

/// B08: a timed close with an hour to spare returns when the pool has ended.
#[test]
fn b08_a_timed_close_ends_with_the_pool() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(2, 8));
        let ran = Count::new();
        (0..8).for_each(|_| pool.submit(ran.task()).unwrap());
        assert!(pool.shutdown_timeout(Duration::from_secs(3600)).is_complete());
        assert_eq!(ran.get(), 8);
        assert!(pool.wait_idle_timeout(Duration::from_secs(3600)));
    });
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(1, 8)), Gate::new());
        pool.submit(gate.task()).unwrap();
        gate.await_arrivals(1);
        std::thread::scope(|scope| {
            let closer = scope.spawn(|| pool.shutdown_timeout(Duration::from_secs(3600)));
            eventually("closed", || pool.is_closed());
            gate.open();
            assert!(closer.join().unwrap().is_complete());
        });
    });
}

/// A thread that waits for the answer that `f` gives.
fn caller<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(f)
}

/// B14: tasks that are taken out of the queue leave no caller waiting: handles say cancelled, callers get their input back.
fn give_back_closures<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(1).queue(8).dispatch::<D>().build().unwrap());
    let gate = Gate::new();
    let running = pool
        .spawn({
            let gate = gate.clone();
            move || {
                gate.wait();
                7
            }
        })
        .unwrap();
    gate.await_arrivals(1);
    let mut handles: Vec<_> = (0..2).map(|n| pool.spawn(move || n).unwrap()).collect();
    let joined = handles.pop().unwrap();
    let join = caller(move || joined.join().unwrap_err().is_cancelled());
    let own = Arc::clone(&pool);
    let run = caller(move || match own.run(|| 9) {
        Err(CallError::Refused(refusal)) => (refusal.kind(), refusal.into_task()()),
        _ => panic!("it was given back"),
    });
    eventually("three are queued", || pool.queued() == 3);
    let own = Arc::clone(&pool);
    let end = caller(move || own.shutdown_now().len());
    // While the running task still runs:
    assert!(join.join().unwrap());
    assert_eq!(run.join().unwrap(), (SubmitErrorKind::Closed, 9));
    assert!(handles.pop().unwrap().join().unwrap_err().is_cancelled());
    gate.open();
    assert_eq!(end.join().unwrap(), 2, "the caller has the third");
    assert_eq!(running.join().unwrap(), 7);
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed, stats.returned, stats.cancelled), (4, 1, 3, 0));
}

#[test]
fn b14_closures_given_back_leave_no_caller_waiting() {
    on_every_dispatch!(give_back_closures);
}

struct Waits(Gate);

impl Worker for Waits {
    type Input = u32;
    type Output = u32;

    fn process(&mut self, input: u32, _: &Context<'_>) -> u32 {
        self.0.wait();
        input
    }
}

/// B14: the same where payloads are queued, for both kinds of pool that queue them.
fn give_back_payloads<D: Dispatch>() {
    let gate = Gate::new();
    let hold = gate.clone();
    let builder = StatefulPool::builder(move |_| Ok(Waits(hold.clone())));
    let pool = Arc::new(builder.workers(1).queue(8).dispatch::<D>().build().unwrap());
    let running = pool.spawn(1).unwrap();
    gate.await_arrivals(1);
    let handle = pool.spawn(2).unwrap();
    let joined = pool.spawn(3).unwrap();
    let join = caller(move || joined.join().unwrap_err().is_cancelled());
    let own = Arc::clone(&pool);
    let process = caller(move || own.run(4).unwrap_err().into_input());
    let own = Arc::clone(&pool);
    let timed = caller(move || own.with().timeout(Duration::from_secs(3600)).run(5).unwrap_err().into_input());
    eventually("four are queued", || pool.queued() == 4);
    let own = Arc::clone(&pool);
    let end = caller(move || own.shutdown_now());
    assert!(join.join().unwrap());
    assert_eq!((process.join().unwrap(), timed.join().unwrap()), (Some(4), Some(5)));
    assert!(handle.join().unwrap_err().is_cancelled());
    gate.open();
    assert_eq!(end.join().unwrap(), [2, 3]);
    assert_eq!(running.join().unwrap(), 1);

    let gate = Gate::new();
    let hold = gate.clone();
    let builder = PoolWithFunc::builder(move |n: u32| {
        hold.wait();
        n
    })
    .workers(1)
    .queue(8);
    let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
    pool.submit(1).unwrap();
    gate.await_arrivals(1);
    pool.submit(2).unwrap();
    let own = Arc::clone(&pool);
    let call = caller(move || own.run(3).unwrap_err().into_input());
    eventually("two are queued", || pool.queued() == 2);
    let own = Arc::clone(&pool);
    let end = caller(move || own.shutdown_now());
    assert_eq!(call.join().unwrap(), Some(3));
    gate.open();
    assert_eq!(end.join().unwrap(), [2]);
}

#[test]
fn b14_payloads_given_back_leave_no_caller_waiting() {
    on_every_dispatch!(give_back_payloads);
}

/// B15: a second end, a fifth, all at once and of all kinds; and a drop after all of them.
#[test]
fn b15_ending_more_than_once() {
    for_each(|variant| {
        for _ in 0..20 {
            let (pool, ran) = (variant.build(Setup::new(2, 64)), Count::new());
            (0..40).for_each(|_| pool.submit(ran.task()).unwrap());
            let returned = Count::new();
            together(6, |n| {
                let given_back = ENDS[n % 3](&pool);
                (0..given_back).for_each(|_| _ = returned.up());
                assert_eq!(pool.stats().live, 0, "every caller waits for the end");
            });
            assert_eq!(ran.get() + returned.get(), 40);
            for end in ENDS {
                assert_eq!(end(&pool), 0);
            }
            pool.restart().unwrap();
            assert!(matches!(pool.restart(), Err(BuildError::StillRunning)));
            pool.submit(ran.task()).unwrap();
            assert!(pool.shutdown().is_complete() && pool.shutdown().is_complete());
        }
    });
}

/// B15: impossible sizes are errors that name them, at build and later, and change nothing.
#[test]
fn b15_impossible_sizes_are_errors() {
    for_each(|variant| {
        let build = |setup| variant.try_build(setup).err().expect("no pool can be like that");
        assert!(matches!(build(Setup::new(0, 1)), BuildError::ZeroWorkers));
        for asked in [MAX_WORKERS + 1, usize::MAX] {
            let error = build(Setup::new(asked, 1));
            assert!(matches!(error, BuildError::TooManyWorkers { asked: a, .. } if a == asked), "{error}");
        }
        let mut setup = Setup::new(2, 1);
        setup.min_workers = Some(3);
        assert!(matches!(build(setup), BuildError::MinAboveMax { min: 3, max: 2 }));

        let pool = variant.build(Setup::new(2, 1));
        assert!(matches!(pool.tune(0), Err(BuildError::ZeroWorkers)));
        assert!(matches!(pool.tune(usize::MAX), Err(BuildError::TooManyWorkers { .. })));
        assert_eq!(pool.capacity(), 2);
        let (tell, told) = mpsc::channel();
        pool.submit(Task::new(move || tell.send(()).unwrap())).unwrap();
        told.recv().unwrap();
    });
}
