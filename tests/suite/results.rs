//! Results: synchronous calls and handles.

use std::fmt::Debug;
use std::panic::panic_any;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::{Count, Gate, LIMIT, await_waiting, eventually, quiet_panics, within};
use formicary::{CallError, Pool, PoolWithFunc, SubmitErrorKind};

#[derive(Debug, PartialEq)]
struct Burnt(u32);

/// A pool of `workers` workers behind an `Arc`, with `queue` places.
#[expect(clippy::unwrap_used, reason = "a test's helper")]
fn shared(workers: usize, queue: usize) -> Arc<Pool> {
    Arc::new(Pool::builder().workers(workers).queue(queue).build().unwrap())
}

fn limited<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    within(LIMIT, "this test", body)
}

fn is_static<T: Debug + Send + 'static>(_: &T) {}

/// A15
#[test]
fn a15_a_bound_function_maps_input_to_output() {
    limited(|| {
        let pool = Arc::new(PoolWithFunc::builder(|n: u32| n * 2).workers(3).build().unwrap());
        for n in 0..10 {
            assert_eq!(pool.run(n).unwrap(), 2 * n);
        }
        let callers: Vec<_> = (0..10)
            .map(|n| {
                let pool = pool.clone();
                thread::spawn(move || pool.run(n).unwrap())
            })
            .collect();
        let answers: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        assert_eq!(answers, (0..10).map(|n| 2 * n).collect::<Vec<_>>());
        assert_eq!(pool.stats().completed, 20);
    });
}

/// A20
#[test]
fn a20_a_tasks_error_and_its_panic_come_out_of_the_handle() {
    quiet_panics();
    limited(|| {
        let pool = Pool::new(2).unwrap();
        let failed = pool.spawn(|| Err::<(), _>(Burnt(1))).unwrap();
        let panicked = pool.spawn(|| -> u32 { panic_any(Burnt(2)) }).unwrap();
        let text = pool.spawn(|| -> u32 { panic!("{} of {}", 3, 4) }).unwrap();
        assert_eq!(failed.join().unwrap(), Err(Burnt(1)));
        let error = panicked.join().unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled() && !error.is_timed_out());
        assert_eq!(error.into_panic().unwrap().downcast_ref(), Some(&Burnt(2)));
        assert!(text.join().unwrap_err().to_string().ends_with("3 of 4"));
        pool.wait_idle();
        assert_eq!((pool.stats().completed, pool.stats().panicked), (1, 2));
    });
}

/// A33: a handle is joined once; a timed join may be asked again and again.
#[test]
fn a33_a_timed_join_hands_the_result_out_once() {
    limited(|| {
        let (pool, gate) = (Pool::new(1).unwrap(), Gate::new());
        let held = gate.clone();
        let mut handle = pool
            .spawn(move || {
                held.wait();
                String::from("once")
            })
            .unwrap();
        for _ in 0..3 {
            assert!(handle.join_timeout(Duration::from_millis(1)).is_none());
            assert!(!handle.is_finished());
        }
        gate.open();
        assert_eq!(handle.join_timeout(LIMIT).unwrap().unwrap(), "once");
        for _ in 0..3 {
            assert!(handle.is_finished());
            let taken = handle.join_timeout(LIMIT).unwrap().unwrap_err();
            assert!(taken.to_string().contains("taken"), "{taken}");
            assert!(!taken.is_panic() && !taken.is_cancelled() && !taken.is_timed_out());
            assert!(taken.into_panic().is_err());
        }
        assert!(handle.join().unwrap_err().to_string().contains("taken"));
    });
}

/// A33: many threads wait, each for its own.
#[test]
fn a33_many_threads_join_at_once() {
    limited(|| {
        let (pool, gate) = (shared(2, 100), Gate::new());
        let joiners: Vec<_> = (0..20)
            .map(|n| {
                let held = gate.clone();
                let handle = pool
                    .spawn(move || {
                        held.wait();
                        n
                    })
                    .unwrap();
                thread::spawn(move || handle.join().unwrap())
            })
            .collect();
        gate.open();
        assert_eq!(joiners.into_iter().map(|joiner| joiner.join().unwrap()).sum::<u32>(), 190);
    });
}

#[test]
fn is_finished_says_whether_a_join_would_wait() {
    quiet_panics();
    limited(|| {
        let (pool, gate) = (shared(1, 2), Gate::new());
        let held = gate.clone();
        let running = pool.spawn(move || held.wait()).unwrap();
        let queued = pool.spawn(|| panic_any(Burnt(0))).unwrap();
        gate.await_arrivals(1);
        assert!(!running.is_finished() && !queued.is_finished());
        gate.open();
        pool.wait_idle();
        assert!(running.is_finished() && queued.is_finished());
        assert!(running.join().is_ok() && queued.join().unwrap_err().is_panic());
    });
}

#[test]
fn dropping_a_handle_detaches_and_drops_the_result() {
    limited(|| {
        let (pool, gate, value) = (shared(1, 2), Gate::new(), Arc::new(()));
        let (held, running, queued) = (gate.clone(), value.clone(), value.clone());
        let first = pool
            .spawn(move || {
                held.wait();
                running
            })
            .unwrap();
        drop(pool.spawn(move || queued).unwrap());
        gate.await_arrivals(1);
        drop(first);
        gate.open();
        pool.wait_idle();
        assert_eq!((pool.stats().completed, Arc::strong_count(&value)), (2, 1));
        // And one that has ended before.
        let late = value.clone();
        let ended = pool.spawn(move || late).unwrap();
        pool.wait_idle();
        drop(ended);
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

#[test]
fn what_shutdown_now_gives_back_is_cancelled_for_its_handle() {
    limited(|| {
        let (pool, gate, count) = (shared(1, 4), Gate::new(), Count::new());
        let (held, counter) = (gate.clone(), count.clone());
        let running = pool.spawn(move || held.wait()).unwrap();
        gate.await_arrivals(1);
        let queued = pool.spawn(move || counter.up()).unwrap();
        let ender = thread::spawn({
            let pool = pool.clone();
            move || pool.shutdown_now()
        });
        let error = queued.join().unwrap_err();
        assert!(error.is_cancelled() && !error.is_panic());
        gate.open();
        assert!(running.join().is_ok());
        let returned = ender.join().unwrap();
        assert_eq!((returned.len(), count.get()), (1, 0));
        returned.into_iter().for_each(formicary::Task::run);
        assert_eq!(count.get(), 1, "it still can be run");
        assert_eq!((pool.stats().returned, pool.stats().completed), (1, 1));
    });
}

#[test]
fn a_caller_whose_task_is_given_back_has_its_input_back() {
    limited(|| {
        let gate = Gate::new();
        let held = gate.clone();
        let pool = Arc::new(PoolWithFunc::builder(move |_: String| held.wait()).workers(1).queue(4).build().unwrap());
        pool.submit("running".into()).unwrap();
        gate.await_arrivals(1);
        let caller = thread::spawn({
            let pool = pool.clone();
            move || pool.run("kept".into())
        });
        eventually("it is queued", || pool.queued() == 1);
        let ender = thread::spawn({
            let pool = pool.clone();
            move || pool.shutdown_now()
        });
        match caller.join().unwrap().unwrap_err() {
            CallError::Refused(refused) => {
                assert_eq!((refused.kind(), refused.into_task().as_str()), (SubmitErrorKind::Closed, "kept"));
            }
            other => panic!("{other}"),
        }
        gate.open();
        assert!(ender.join().unwrap().is_empty(), "the caller has it");
        assert_eq!((pool.stats().returned, pool.stats().completed), (1, 1));
    });
}

#[test]
fn run_and_call_hand_refused_inputs_back_and_report_panics() {
    quiet_panics();
    limited(|| {
        let pool = PoolWithFunc::new(1, |n: u32| if n == 0 { panic_any(Burnt(n)) } else { n }).unwrap();
        let error = pool.run(0).unwrap_err();
        is_static(&error);
        assert!(error.is_panic() && error.into_input().is_none());
        assert_eq!(pool.run(1).unwrap(), 1);
        pool.shutdown();
        assert_eq!(pool.run(7).unwrap_err().into_input(), Some(7));

        let pool = Pool::new(1).unwrap();
        assert!(pool.run(|| -> u32 { panic_any(Burnt(1)) }).unwrap_err().is_panic());
        let word = String::from("kept");
        let length = move || word.len();
        pool.shutdown();
        let back = pool.run(length).unwrap_err().into_input().unwrap();
        assert_eq!(back(), 4);
        assert!(pool.spawn(|| 1).unwrap_err().is_closed());
    });
}

#[test]
fn spawn_and_run_wait_for_room_like_submit() {
    limited(|| {
        let (pool, gate) = (shared(1, 0), Gate::new());
        let held = gate.clone();
        pool.submit(move || held.wait()).unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|n| {
                let pool = pool.clone();
                thread::spawn(move || {
                    if n % 2 == 0 {
                        pool.run(move || n).unwrap()
                    } else {
                        pool.spawn(move || n).unwrap().join().unwrap()
                    }
                })
            })
            .collect();
        await_waiting(&*pool, 4);
        gate.open();
        assert_eq!(waiting.into_iter().map(|caller| caller.join().unwrap()).sum::<u32>(), 6);
    });
}

/// The only worker waits for a task that only it can run: it runs the task itself.
#[test]
fn a_worker_may_wait_for_its_own_pool() {
    limited(|| {
        for (workers, queue) in [(1, 0), (1, 10), (2, 1)] {
            let pool = shared(workers, queue);
            let inner = pool.clone();
            let sum = pool.run(move || {
                let called = inner.run(|| 1).unwrap();
                let deeper = inner.clone();
                let twice = inner.run(move || deeper.run(|| 10).unwrap()).unwrap();
                let handle = inner.spawn(|| 100).unwrap();
                called + twice + handle.join().unwrap()
            });
            assert_eq!(sum.unwrap(), 111);
            pool.wait_idle();
            let stats = pool.stats();
            assert_eq!((stats.submitted, stats.completed, stats.peak_running.max(workers)), (5, 5, workers));
        }
    });
}

#[test]
fn a_bound_function_may_call_itself_through_its_pool() {
    limited(|| {
        let pool: Arc<std::sync::OnceLock<PoolWithFunc<u64, formicary::Stack, u64>>> = Arc::default();
        let own = Arc::downgrade(&pool);
        let factorial = move |n: u64| match n {
            0 => 1,
            _ => n * own.upgrade().unwrap().get().unwrap().run(n - 1).unwrap(),
        };
        let built = PoolWithFunc::builder(factorial).workers(1).queue(0).build().unwrap();
        assert!(pool.set(built).is_ok());
        assert_eq!(pool.get().unwrap().run(10).unwrap(), 3_628_800);
    });
}

/// Workers that join tasks of their own pool, all at once, with every worker taken.
#[test]
fn many_workers_may_join_tasks_of_their_own_pool() {
    limited(|| {
        for workers in 1..=3 {
            let pool = shared(workers, 100);
            let parents: Vec<_> = (0..20_u32)
                .map(|n| {
                    let inner = pool.clone();
                    pool.spawn(move || {
                        let children: Vec<_> = (0..3).map(|k| inner.spawn(move || n + k).unwrap()).collect();
                        children.into_iter().map(|child| child.join().unwrap()).sum::<u32>()
                    })
                    .unwrap()
                })
                .collect();
            let sums: Vec<_> = parents.into_iter().map(|parent| parent.join().unwrap()).collect();
            assert_eq!(sums, (0..20).map(|n| 3 * n + 3).collect::<Vec<_>>());
            pool.wait_idle();
            assert_eq!((pool.stats().submitted, pool.stats().completed), (80, 80));
        }
    });
}

/// The answer is part of the work: an idle pool has given all of them.
#[test]
fn after_wait_idle_every_handle_is_finished() {
    limited(|| {
        let pool = Pool::new(2).unwrap();
        for _ in 0..2000 {
            let handle = pool.spawn(|| [0u8; 4096]).unwrap();
            pool.wait_idle();
            assert!(handle.is_finished());
        }
    });
}
