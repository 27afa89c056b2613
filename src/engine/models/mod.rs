//! loom models of the parking protocol and of the wait queues, over the real queues.
//!
//! Run by `ci/loom.sh`. Each model checks one claim of `parking.md`: loom tries every order in which the threads can run, up to a bound on
//! preemptions, and fails on a deadlock, which is what a lost wake-up is.

mod blocked_workers;
mod kept;
mod lanes;
mod model_pool;
mod nested;
mod stealing;

use std::task::Waker;

use loom::thread;

use crate::queue::{DEFAULT_LANE, Queue, RingQueue, ShardedQueue, StackQueue};
use crate::sync::explore::explore;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicUsize, Ordering};

use model_pool::{CountUp, LONG, ModelPool, OPENS, with_workers};

/// No wake-up and no task is lost: one worker, which may be searching, falling asleep, or asleep.
fn one_worker_gets_every_task<Q: Queue<usize>>() {
    explore(3, || {
        let pool = ModelPool::<Q>::new(1, 8, 2);
        with_workers(&pool, 1, || {
            assert!(pool.try_enter(1).is_ok());
            assert!(pool.try_enter(2).is_ok());
        });
        assert_eq!(pool.queue.load().queued, 0);
    });
}

/// The same with two workers, one of which may take what the other was woken for.
fn two_workers_get_every_task<Q: Queue<usize>>() {
    explore(2, || {
        let pool = ModelPool::<Q>::new(2, 8, 2);
        with_workers(&pool, 2, || {
            assert!(pool.try_enter(1).is_ok());
            assert!(pool.try_enter(2).is_ok());
        });
        assert_eq!(pool.done.load(Ordering::SeqCst), 2);
    });
}

/// No task waits while a worker sleeps: the first task ends only when the second has run.
fn no_task_waits_for_a_long_one<Q: Queue<usize>>() {
    explore(2, || {
        let pool = ModelPool::<Q>::new(2, 8, 2);
        with_workers(&pool, 2, || {
            assert!(pool.try_enter(LONG).is_ok());
            assert!(pool.try_enter(OPENS).is_ok());
        });
    });
}

/// No worker is woken in vain: one task claims one worker at most, whatever the two workers do.
fn one_task_wakes_one_worker<Q: Queue<usize>>() {
    explore(2, || {
        let pool = ModelPool::<Q>::new(2, 8, 1);
        with_workers(&pool, 2, || {
            let idle = pool.parking.claim();
            let claimed = idle.is_some();
            assert!(pool.queue.push(&mut Some(1), DEFAULT_LANE, 0, idle.as_ref().map(|claim| claim.worker())).is_ok());
            // It is a searcher until it has searched, so no other worker may be claimed.
            assert!(!claimed || pool.parking.claim().is_none());
            drop(idle);
            pool.parking.notify(|| pool.queue.has_work(), |searching| pool.queue.has_more(searching));
        });
        assert!(pool.parking.claims() <= 1, "one task claimed two workers");
    });
}

/// Two concurrent submitters: neither relies on a wake-up that the other one has not made.
fn two_submitters_are_both_served<Q: Queue<usize>>() {
    explore(2, || {
        let pool = ModelPool::<Q>::new(1, 8, 2);
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(pool.try_enter(1).is_ok()))
        };
        with_workers(&pool, 1, || assert!(pool.try_enter(2).is_ok()));
        other.join().expect("a submitter does not panic");
    });
}

/// A worker that falls asleep while the pool closes still ends.
fn closing_ends_every_worker<Q: Queue<usize>>() {
    explore(2, || {
        let pool = ModelPool::<Q>::new(2, 8, usize::MAX);
        with_workers(&pool, 2, || pool.close());
    });
}

/// A broadcast to a worker that starts, falls asleep, sleeps, or has a task: its sender does not wait for ever.
fn a_broadcast_is_handled<Q: Queue<usize>>(tasks: usize) {
    explore(2, move || {
        let pool = ModelPool::<Q>::new(1, 8, usize::MAX);
        with_workers(&pool, 1, || {
            for item in 0..tasks {
                assert!(pool.try_enter(item).is_ok());
            }
            let broadcast = Arc::new(CountUp(AtomicUsize::new(0)));
            let latch = pool.mailboxes.post(Arc::clone(&broadcast) as _, None);
            pool.parking.wake_all();
            latch.wait(None);
            assert!(broadcast.0.load(Ordering::SeqCst) <= 1);
            pool.close();
        });
        assert_eq!(pool.done.load(Ordering::SeqCst), tasks);
    });
}

/// A submitter against a close: what was accepted runs, what was not comes back.
fn accepted_is_run<Q: Queue<usize>>() {
    explore(3, || {
        let pool = ModelPool::<Q>::new(1, 8, usize::MAX);
        let submitter = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || usize::from(pool.try_enter(1).is_ok()))
        };
        with_workers(&pool, 1, || pool.close());
        let accepted = submitter.join().expect("a submitter does not panic");
        assert_eq!(pool.done.load(Ordering::SeqCst), accepted);
    });
}

/// A blocked submitter is admitted by the end of a task.
fn room_admits_a_waiter<Q: Queue<usize>>(bound: usize) {
    explore(3, move || {
        let pool = ModelPool::<Q>::full(bound, 2 + bound);
        with_workers(&pool, 1, || assert!(pool.submit(9)));
    });
}

/// Two submitters wait, and both are admitted: the first one notifies the second.
fn the_wait_queue_moves_on<Q: Queue<usize>>(bound: usize) {
    // With two preemptions it holds as well, and takes some minutes.
    explore(1, move || {
        let pool = ModelPool::<Q>::full(bound, 3 + bound);
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(pool.submit(8)))
        };
        with_workers(&pool, 1, || assert!(pool.submit(9)));
        other.join().expect("a submitter does not panic");
    });
}

/// A waiting submitter against a close: it is admitted or refused, and does not wait for ever.
fn closing_refuses_waiters<Q: Queue<usize>>(bound: usize) {
    explore(2, move || {
        let pool = ModelPool::<Q>::full(bound, usize::MAX);
        let waiter = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || usize::from(pool.submit(9)))
        };
        with_workers(&pool, 1, || pool.close());
        let admitted = waiter.join().expect("a submitter does not panic");
        assert_eq!(pool.done.load(Ordering::SeqCst), 1 + bound + admitted);
    });
}

/// A waiting future is notified, whichever waker it has then.
fn room_admits_a_future<Q: Queue<usize>>(bound: usize) {
    explore(3, move || {
        let pool = ModelPool::<Q>::full(bound, 2 + bound);
        with_workers(&pool, 1, || assert!(pool.submit_async(9)));
    });
}

/// A waiting future is dropped, before or after it is notified: the submitter behind it is notified.
fn a_dropped_future_passes_the_notification_on<Q: Queue<usize>>(bound: usize) {
    explore(2, move || {
        let pool = ModelPool::<Q>::full(bound, 2 + bound);
        let noop = Waiter::Task(Waker::noop().clone());
        let node = pool.wait_queue.join(DEFAULT_LANE, usize::MAX, noop).expect("there is no limit");
        let behind = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(pool.submit(9)))
        };
        with_workers(&pool, 1, || drop(node));
        behind.join().expect("a submitter does not panic");
    });
}

/// A future is notified and never polled again: the thread behind it is admitted.
fn a_future_that_is_not_polled_is_passed<Q: Queue<usize>>(bound: usize) {
    explore(2, move || {
        let pool = ModelPool::<Q>::full(bound, 2 + bound);
        let noop = Waiter::Task(Waker::noop().clone());
        let node = pool.wait_queue.join(DEFAULT_LANE, usize::MAX, noop).expect("there is no limit");
        let behind = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(pool.submit(9)))
        };
        with_workers(&pool, 1, || ());
        behind.join().expect("a submitter does not panic");
        drop(node);
    });
}

/// A future that was passed is polled after all, while the thread behind it tries: both are admitted.
fn a_future_that_is_polled_late_is_admitted<Q: Queue<usize>>(bound: usize) {
    explore(1, move || {
        let pool = ModelPool::<Q>::full(bound, 3 + bound);
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || assert!(pool.submit(8)))
        };
        with_workers(&pool, 1, || assert!(pool.submit_async(9)));
        other.join().expect("a submitter does not panic");
    });
}

/// Every model over one queue; `$bound` is the smallest that it can have.
macro_rules! models {
    ($name:ident, $queue:ty, $bound:expr) => {
        mod $name {
            use super::nested::List;
            use super::*;

            #[test]
            fn one_worker_gets_every_task() {
                super::one_worker_gets_every_task::<$queue>();
            }
            #[test]
            fn two_workers_get_every_task() {
                super::two_workers_get_every_task::<$queue>();
            }
            #[test]
            fn no_task_waits_for_a_long_one() {
                super::no_task_waits_for_a_long_one::<$queue>();
            }
            #[test]
            fn one_task_wakes_one_worker() {
                super::one_task_wakes_one_worker::<$queue>();
            }
            #[test]
            fn two_submitters_are_both_served() {
                super::two_submitters_are_both_served::<$queue>();
            }
            #[test]
            fn closing_ends_every_worker() {
                super::closing_ends_every_worker::<$queue>();
            }
            #[test]
            fn a_broadcast_is_handled() {
                super::a_broadcast_is_handled::<$queue>(0);
                super::a_broadcast_is_handled::<$queue>(1);
            }
            #[test]
            fn a_nested_task_is_found() {
                for list in [List::Shared, List::Own] {
                    nested::a_nested_task_is_found::<$queue>(list, false);
                    nested::a_nested_task_is_found::<$queue>(list, true);
                }
            }
            #[test]
            fn no_nested_task_waits_for_a_long_one() {
                nested::no_nested_task_waits_for_a_long_one::<$queue>(List::Shared);
                nested::no_nested_task_waits_for_a_long_one::<$queue>(List::Own);
            }
            #[test]
            fn a_task_handed_over_comes_first() {
                nested::a_task_handed_over_comes_first::<$queue>();
            }
            #[test]
            fn one_limit_for_both() {
                nested::one_limit_for_both::<$queue>(List::Shared);
                nested::one_limit_for_both::<$queue>(List::Own);
            }
            #[test]
            fn what_is_moved_is_found() {
                nested::what_is_moved_is_found::<$queue>();
            }
            #[test]
            fn a_drain_against_a_thief() {
                nested::a_drain_against_a_thief::<$queue>();
            }
            #[test]
            fn a_pool_with_tasks_is_not_at_rest() {
                nested::a_pool_with_tasks_is_not_at_rest::<$queue>();
            }
            #[test]
            fn a_job_is_stolen() {
                stealing::a_job_is_stolen::<$queue>();
            }
            #[test]
            fn no_job_waits_for_its_owner() {
                stealing::no_job_waits_for_its_owner::<$queue>();
            }
            #[test]
            fn one_limit_for_stolen_jobs() {
                stealing::one_limit_for_stolen_jobs::<$queue>();
            }
            #[test]
            fn accepted_is_run() {
                super::accepted_is_run::<$queue>();
            }
            #[test]
            fn room_admits_a_waiter() {
                super::room_admits_a_waiter::<$queue>($bound);
            }
            #[test]
            fn the_wait_queue_moves_on() {
                super::the_wait_queue_moves_on::<$queue>($bound);
            }
            #[test]
            fn room_admits_a_future() {
                super::room_admits_a_future::<$queue>($bound);
            }
            #[test]
            fn a_dropped_future_passes_the_notification_on() {
                super::a_dropped_future_passes_the_notification_on::<$queue>($bound);
            }
            #[test]
            fn a_future_that_is_not_polled_is_passed() {
                super::a_future_that_is_not_polled_is_passed::<$queue>($bound);
            }
            #[test]
            fn a_future_that_is_polled_late_is_admitted() {
                super::a_future_that_is_polled_late_is_admitted::<$queue>($bound);
            }
            #[test]
            fn closing_refuses_waiters() {
                super::closing_refuses_waiters::<$queue>($bound);
            }
        }
    };
}

models!(stack, StackQueue<usize>, 0);
models!(ring, RingQueue<usize>, 0);
models!(sharded, ShardedQueue<usize>, 0);
