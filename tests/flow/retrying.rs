//! Retries: how often, what for, and what ends them. When they are is in `tests/flow_clock.rs`; the dead letters and the keys are in
//! `retry_letters.rs`.

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;

use crate::support::tries::{Try, fails, fails_always, on_each_kind};
use crate::support::waking::block_on;
use crate::support::{Gate, eventually, on_every_dispatch, quiet_panics};
use formicary::observe::{Observer, RetryInfo};
use formicary::{
    CancelToken, Context, DeadLetters, Dispatch, GaveUp, Pool, PoolWithFunc, Retry, RetryStats, Semaphore,
};

/// No test lasts as long as this.
const HOUR: Duration = Duration::from_secs(3600);

fn at_once<E>() -> Retry<E> {
    Retry::fixed(Duration::ZERO)
}

fn assert_settled(stats: RetryStats) {
    assert_eq!(stats.submitted, stats.succeeded + stats.failed + stats.cancelled, "{stats:?}");
    assert_eq!(stats.waiting, 0, "{stats:?}");
}

/// An attempt has what its options say of the view: a weight of the view's budget, and a time at which it enters there.
fn in_a_view<D: Dispatch>() {
    let pool = Pool::builder().workers(2).dispatch::<D>().build().unwrap();
    let budget = Semaphore::new(3);
    let view = pool.limited(1).budget(&budget);
    let seen = budget.clone();
    let weighs = view.with().weight(2).retrying(at_once::<()>());
    assert_eq!(weighs.run(move || Ok(seen.available())).unwrap().unwrap(), 1);
    assert_eq!(budget.available(), 3);
    let later = view.with().after(Duration::from_millis(1)).retrying(at_once::<()>());
    assert_eq!(later.run(|| Ok(7)).unwrap().unwrap(), 7);
    assert!(view.wait_idle());
    assert_eq!((view.stats().submitted, view.stats().completed), (2, 2));
}

#[test]
fn attempts_keep_to_their_view() {
    on_every_dispatch!(in_a_view);
}

/// Each attempt is a task of the pool.
#[test]
fn a_task_is_attempted_until_it_succeeds() {
    fn check<D: Dispatch>() {
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let retrying = $pool.retrying(at_once());
                let handle = retrying.spawn($make(fails(2))).unwrap();
                assert_eq!(handle.join().unwrap().unwrap(), 3);
                $control.wait_idle();
                let stats = $control.stats();
                assert_eq!((stats.submitted, stats.completed), (3, 3));
                let stats = retrying.stats();
                assert_eq!((stats.submitted, stats.succeeded, stats.retried), (1, 1, 2));
                let error = retrying.run($make(fails_always())).unwrap().unwrap_err();
                assert_eq!((error.reason(), error.attempts()), (GaveUp::Exhausted, 5));
                assert_eq!(error.into_error().as_deref(), Some("failure 4"));
                assert_settled(retrying.stats());
                // The verbs that wait for nothing, or as futures.
                assert_eq!(retrying.try_run($make(fails(1))).unwrap().unwrap(), 2);
                assert_eq!(block_on(retrying.run_async($make(fails(1)))).unwrap().unwrap(), 2);
                let handle = block_on(retrying.spawn_async($make(fails(1)))).unwrap();
                assert_eq!(block_on(handle).unwrap().unwrap(), 2);
                assert_eq!(retrying.try_spawn($make(fails(1))).unwrap().join().unwrap().unwrap(), 2);
                retrying.submit($make(fails(1))).unwrap();
                retrying.try_submit($make(fails(1))).unwrap();
                block_on(retrying.submit_async($make(fails(1)))).unwrap();
                eventually("all have succeeded", || retrying.stats().succeeded == 8);
                assert_settled(retrying.stats());
            };
        }
        on_each_kind!(D, workers: 2, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// A closure that is not `Clone` is called again as it is.
#[test]
fn a_closure_keeps_its_state() {
    let pool = Pool::new(1).unwrap();
    let mut seen = vec![Box::new(0)];
    let result = pool.retrying(at_once()).run(move || {
        seen.push(Box::new(seen.len()));
        if seen.len() < 4 { Err(()) } else { Ok(std::mem::take(&mut seen)) }
    });
    assert_eq!(result.unwrap().unwrap().iter().map(|n| **n).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

/// Neither the stack nor a list grows with the number of attempts.
#[test]
fn a_hundred_thousand_attempts_at_once() {
    fn check<D: Dispatch>() {
        let pool = PoolWithFunc::builder(|task: Try| task()).workers(1).dispatch::<D>().build().unwrap();
        let retrying = pool.retrying(at_once().attempts(100_001));
        assert_eq!(retrying.run(fails(100_000)).unwrap().unwrap(), 100_001);
    }
    on_every_dispatch!(check);
}

#[test]
fn many_tasks_are_counted_each_once() {
    fn check<D: Dispatch>() {
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let retrying = $pool.retrying(at_once().attempts(2));
                let spawn = |n: usize| retrying.spawn($make(fails(n % 3))).unwrap();
                let handles: Vec<_> = (0..300).map(spawn).collect();
                let failed = handles.into_iter().filter_map(|handle| handle.join().unwrap().err()).count();
                assert_eq!(failed, 100);
                let stats = retrying.stats();
                assert_eq!((stats.submitted, stats.succeeded, stats.failed, stats.retried), (300, 200, 100, 200));
                $control.wait_idle();
                assert_eq!($control.stats().completed, 500);
            };
        }
        on_each_kind!(D, workers: 2, queue: 3, check);
    }
    on_every_dispatch!(check);
}

#[test]
fn only_what_is_temporary_is_retried() {
    quiet_panics();
    let pool = Pool::new(1).unwrap();
    let policy = at_once().when(|error: &u8| *error != 7);
    let mut left = 9;
    let error = pool.retrying(policy).run(move || -> Result<(), u8> {
        left -= 1;
        Err(left)
    });
    let error = error.unwrap().unwrap_err();
    assert_eq!((error.reason(), error.attempts(), error.error()), (GaveUp::Permanent, 2, Some(&7)));
    // A predicate that panics retries nothing.
    let broken = at_once().when(|_: &u8| panic_any("a test's panic"));
    let error = pool.retrying(broken).run(|| Err::<(), u8>(0)).unwrap().unwrap_err();
    assert_eq!((error.reason(), error.attempts()), (GaveUp::Permanent, 1));
}

#[test]
fn a_panic_is_retried_if_asked() {
    fn check<D: Dispatch>() {
        quiet_panics();
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let panics: Try = Arc::new(|| panic_any("a test's panic"));
                let error = $pool.retrying(at_once()).run($make(Arc::clone(&panics))).unwrap().unwrap_err();
                assert_eq!((error.reason(), error.attempts()), (GaveUp::Permanent, 1));
                assert!(error.join_error().unwrap().is_panic() && error.error().is_none());
                let policy = at_once().attempts(3).on_panic(true);
                let error = $pool.retrying(policy).run($make(panics)).unwrap().unwrap_err();
                assert_eq!((error.reason(), error.attempts()), (GaveUp::Exhausted, 3));
                $control.wait_idle();
                assert_eq!($control.stats().panicked, 4);
            };
        }
        on_each_kind!(D, workers: 1, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// The policy's own iterator and jitter.
#[test]
fn the_delays_end_the_attempts() {
    let pool = Pool::new(1).unwrap();
    let attempts = |policy: Retry<()>| pool.retrying(policy).run(|| Err::<(), _>(())).unwrap().unwrap_err().attempts();
    assert_eq!(attempts(Retry::delays([Duration::ZERO; 3])), 4);
    assert_eq!(attempts(Retry::delays([Duration::ZERO; 3]).attempts(2)), 2);
    assert_eq!(attempts(Retry::delays(Vec::new())), 1);
    assert_eq!(attempts(Retry::fixed(HOUR).jitter_with(|_| Duration::ZERO)), 5);
    assert_eq!(attempts(Retry::none()), 1);
    #[derive(Clone)]
    struct Broken;
    impl Iterator for Broken {
        type Item = Duration;
        fn next(&mut self) -> Option<Duration> {
            panic_any("a test's panic")
        }
    }
    assert_eq!(attempts(Retry::delays(Broken)), 1);
    // Later than the clock can represent.
    let error = pool.retrying(Retry::fixed(Duration::MAX)).run(|| Err::<(), _>(())).unwrap().unwrap_err();
    assert_eq!((error.reason(), error.attempts()), (GaveUp::TimeUp, 1));
    let error = pool.retrying(Retry::fixed(HOUR).within(HOUR / 2)).run(|| Err::<(), _>(())).unwrap().unwrap_err();
    assert_eq!((error.reason(), error.attempts()), (GaveUp::TimeUp, 1));
}

/// A cancel ends a delay at once, drops what the task has captured, and is no dead letter.
#[test]
fn a_cancel_ends_a_delay() {
    fn check<D: Dispatch>() {
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let letters = DeadLetters::queue(9);
                let (token, captured) = (CancelToken::new(), Arc::new(()));
                let retrying = $pool.retrying(Retry::fixed(HOUR)).token(&token).dead_letters(&letters);
                let handles = [(); 2].map(|()| {
                    let (captured, fails) = (Arc::clone(&captured), fails_always());
                    let task: Try = Arc::new(move || (fails(), &captured).0);
                    retrying.spawn($make(task)).unwrap()
                });
                eventually("both wait", || retrying.stats().waiting == 2);
                let [by_handle, by_token] = handles;
                assert!(!by_handle.cancel());
                assert!(by_handle.is_finished() && !by_token.is_finished());
                assert_eq!(Arc::strong_count(&captured), 2);
                token.cancel();
                assert!(by_token.is_finished());
                assert_eq!(Arc::strong_count(&captured), 1);
                for handle in [by_handle, by_token] {
                    let error = handle.join().unwrap().unwrap_err();
                    assert_eq!((error.reason(), error.attempts()), (GaveUp::Cancelled, 1));
                }
                assert_eq!((retrying.stats().cancelled, letters.stats().received), (2, 0));
                assert_settled(retrying.stats());
                // A cancelled token lets nothing in.
                assert!(retrying.spawn($make(fails(0))).unwrap_err().is_cancelled());
                assert_eq!(retrying.stats().submitted, 2);
            };
        }
        on_each_kind!(D, workers: 1, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// An attempt that waits in the queue does not start; one that runs is told, and its result counts.
#[test]
fn a_cancel_ends_an_attempt() {
    fn check<D: Dispatch>() {
        let pool = Pool::builder().workers(1).dispatch::<D>().build().unwrap();
        let retrying = pool.retrying(at_once::<String>());
        let pause = pool.pause();
        let queued = retrying.spawn(|| Ok(1)).unwrap();
        queued.cancel();
        assert_eq!(queued.join().unwrap().unwrap_err().attempts(), 0);
        drop(pause);
        pool.wait_idle();
        assert_eq!((pool.stats().cancelled, pool.stats().completed), (1, 0));

        let gate = Gate::new();
        let waits = gate.clone();
        let running = retrying.spawn(move || {
            waits.wait();
            assert_eq!(Context::with(|cx| cx.is_cancelled()), Some(true));
            Ok(7)
        });
        let running = running.unwrap();
        gate.await_arrivals(1);
        running.cancel();
        assert!(!running.is_finished());
        gate.open();
        assert_eq!(running.join().unwrap().unwrap(), 7);
        // A failure of one that was cancelled is not retried.
        let gate = Gate::new();
        let waits = gate.clone();
        let running = retrying.spawn(move || -> Result<(), _> {
            waits.wait();
            Err("stopped".to_owned())
        });
        let running = running.unwrap();
        gate.await_arrivals(1);
        running.cancel();
        gate.open();
        let error = running.join().unwrap().unwrap_err();
        assert_eq!((error.reason(), error.attempts()), (GaveUp::Cancelled, 1));
        assert_settled(retrying.stats());
    }
    on_every_dispatch!(check);
}

/// A pause holds the attempts back, in the queue.
#[test]
fn a_pause_holds_attempts_back() {
    fn check<D: Dispatch>() {
        macro_rules! check {
            ($pool:expr, $control:expr, $make:expr) => {
                let gate = Gate::new();
                let (waits, runs) = (gate.clone(), AtomicUsize::new(0));
                let task: Try = Arc::new(move || {
                    waits.wait();
                    if runs.fetch_add(1, SeqCst) == 0 { Err("once".to_owned()) } else { Ok(2) }
                });
                let retrying = $pool.retrying(at_once());
                let handle = retrying.spawn($make(task)).unwrap();
                gate.await_arrivals(1);
                let pause = $control.pause();
                gate.open();
                eventually("the second attempt is queued", || {
                    $control.stats().queued == 1 && $control.stats().completed == 1
                });
                assert!(!handle.is_finished() && gate.arrived() == 1);
                drop(pause);
                assert_eq!(handle.join().unwrap().unwrap(), 2);
            };
        }
        on_each_kind!(D, workers: 1, queue: 10, check);
    }
    on_every_dispatch!(check);
}

/// The first attempt is refused with its task. The later ones wait for room, without a thread.
#[test]
fn attempts_need_room() {
    fn check<D: Dispatch>() {
        let pool = Pool::builder().workers(1).queue(0).dispatch::<D>().build().unwrap();
        let retrying = pool.retrying(Retry::fixed(Duration::from_millis(1)));
        let mut runs = 0;
        let handle = retrying.spawn(move || {
            runs += 1;
            if runs == 1 { Err("once") } else { Ok(runs) }
        });
        eventually("it waits, or is through", || retrying.stats().retried == 1);
        let gate = Gate::new();
        let occupies = pool.spawn(gate.closure()).unwrap();
        gate.await_arrivals(1);
        let refusal = retrying.try_spawn(|| Ok(3)).unwrap_err();
        assert!(refusal.is_full());
        assert_eq!(refusal.into_task()(), Ok(3));
        let handle = handle.unwrap();
        eventually("the attempt waits, or has run before", || pool.waiting() == 1 || handle.is_finished());
        gate.open();
        occupies.join().unwrap();
        assert_eq!(handle.join().unwrap().unwrap(), 2);
        assert_settled(retrying.stats());
    }
    on_every_dispatch!(check);
}

/// A worker that waits for a task of its own pool runs the attempts.
#[test]
fn a_worker_may_wait_for_a_task_that_is_retried() {
    fn check<D: Dispatch>() {
        let pool = Arc::new(Pool::builder().workers(1).dispatch::<D>().build().unwrap());
        let inner = Arc::clone(&pool);
        let result = pool.run(move || inner.retrying(at_once()).run(crate::support::tries::closure(fails(3))));
        assert_eq!(result.unwrap().unwrap().unwrap(), 4);
        // During a delay it would wait for ever, if no other worker is there.
        let inner = Arc::clone(&pool);
        let retrying = pool.retrying(Retry::fixed(HOUR));
        let for_task = retrying.clone();
        let error = inner.run(move || for_task.run(|| Err::<(), _>("no")).unwrap_err().is_would_deadlock());
        assert!(error.unwrap());
        eventually("it waits all the same", || retrying.stats().waiting == 1);
        pool.shutdown();
        assert_eq!(retrying.stats().failed, 1);
    }
    on_every_dispatch!(check);
}

#[test]
fn observers_are_told_of_retries() {
    type Note = (Option<String>, u32, Duration);
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<Note>>>);
    impl Observer for Notes {
        fn retried(&self, retry: &RetryInfo<'_>) {
            self.0.lock().push((retry.name.map(str::to_owned), retry.attempts, retry.delay));
        }
    }
    let notes = Notes::default();
    let pool = Pool::builder().workers(1).observer(Arc::new(notes.clone())).build().unwrap();
    let policy = Retry::delays([0, 1, 2].map(Duration::from_micros));
    pool.retrying(policy).name("fetch").run(|| Err::<(), _>("no")).unwrap().unwrap_err();
    let told: Vec<_> = (0..3).map(|n| (Some("fetch".to_owned()), n + 1, Duration::from_micros(n.into()))).collect();
    assert_eq!(*notes.0.lock(), told);
}

/// What the submitter carries goes to each attempt, on whichever thread it is submitted. So does the name.
#[test]
fn attempts_take_along_what_the_first_did() {
    use std::cell::Cell;
    thread_local!(static REQUEST: Cell<u32> = const { Cell::new(0) });
    struct Reset(u32);
    impl Drop for Reset {
        fn drop(&mut self) {
            REQUEST.set(self.0);
        }
    }
    let builder = Pool::builder().workers(2).propagate(|| REQUEST.get(), |request| Reset(REQUEST.replace(request)));
    let pool = builder.build().unwrap();
    REQUEST.set(17);
    let mut seen = Vec::new();
    let retrying = pool.retrying(Retry::fixed(Duration::from_millis(1))).name("fetch");
    let seen = retrying.run(move || {
        seen.push((REQUEST.get(), Context::with(|cx| cx.name() == Some("fetch"))));
        if seen.len() < 4 { Err(()) } else { Ok(seen.clone()) }
    });
    assert_eq!(seen.unwrap().unwrap(), [(17, Some(true)); 4]);
}

/// Each attempt goes to the shard of its key.
#[test]
fn attempts_keep_their_options() {
    let builder = PoolWithFunc::builder(|task: Try| {
        assert_eq!(Context::with(|cx| cx.name() == Some("deliver")), Some(true));
        task()
    });
    let pool = builder.workers(4).queue(40).dispatch::<formicary::Sharded>().build().unwrap();
    let retrying = pool.with().key("acme").name("deliver").retrying(Retry::fixed(Duration::from_millis(1)));
    let handles: Vec<_> = (0..10).map(|_| retrying.spawn(fails(1)).unwrap()).collect();
    handles.into_iter().for_each(|handle| assert_eq!(handle.join().unwrap().unwrap(), 2));
    let submitted: Vec<_> = pool.stats().shards.iter().map(|shard| shard.submitted).collect();
    assert_eq!((submitted[pool.shard_of("acme")], submitted.iter().sum::<u64>()), (20, 20));
}

#[test]
fn bad_policies_panic() {
    let message = |make: fn() -> Retry<()>| {
        let payload = std::panic::catch_unwind(|| drop(make())).unwrap_err();
        payload.downcast_ref::<String>().cloned().or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).into()))
    };
    type Case = (fn() -> Retry<()>, &'static str);
    let cases: [Case; 5] = [
        (|| Retry::exponential(Duration::ZERO), "`base` is 0"),
        (|| Retry::exponential(HOUR).max(HOUR / 2), "`max` is 1800s, which is below the first delay, 3600s"),
        (|| Retry::fixed(HOUR).max(HOUR / 2), "`max` is 1800s"),
        (|| Retry::none().attempts(0), "`attempts` is 0"),
        (|| Retry::none().within(Duration::ZERO), "`limit` is 0"),
    ];
    for (make, text) in cases {
        let found = message(make).unwrap();
        assert!(found.starts_with(text), "{found}");
    }
    // A base above the default limit raises that.
    drop(Retry::<()>::exponential(HOUR));
}
