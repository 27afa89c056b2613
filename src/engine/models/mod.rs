//! loom models of the parking protocol over the real queue, and of the line at the door.
//!
//! Run by `ci/loom.sh`. Each model is one named claim of `parking.md`: loom tries every order in which the
//! threads can run (up to a bound on preemptions) and fails on a deadlock, which is what a lost wake-up is.

mod kept;
mod nest;
mod permits;

use std::task::Waker;

use loom::thread;

use crate::queue::{DEFAULT_LANE, Queue, RingQueue, ShardedQueue, StackQueue};
use crate::sync::explore::explore;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicUsize, Ordering};

use nest::{CountUp, LONG, Nest, OPENS, with_workers};

/// No lost wake-up and no lost task: one worker, which may be looking, falling asleep, or asleep.
fn one_worker_gets_every_task<Q: Queue<usize>>() {
    explore(3, || {
        let nest = Nest::<Q>::new(1, 8, 2);
        with_workers(&nest, 1, || {
            assert!(nest.try_enter(1).is_ok());
            assert!(nest.try_enter(2).is_ok());
        });
        assert_eq!(nest.queue.load().queued, 0);
    });
}

/// The same with two workers, one of which may take what the other was woken for.
fn two_workers_get_every_task<Q: Queue<usize>>() {
    explore(2, || {
        let nest = Nest::<Q>::new(2, 8, 2);
        with_workers(&nest, 2, || {
            assert!(nest.try_enter(1).is_ok());
            assert!(nest.try_enter(2).is_ok());
        });
        assert_eq!(nest.done.load(Ordering::SeqCst), 2);
    });
}

/// No task waits while a worker sleeps: the first task ends only when the second has run.
fn no_task_waits_for_a_long_one<Q: Queue<usize>>() {
    explore(2, || {
        let nest = Nest::<Q>::new(2, 8, 2);
        with_workers(&nest, 2, || {
            assert!(nest.try_enter(LONG).is_ok());
            assert!(nest.try_enter(OPENS).is_ok());
        });
    });
}

/// Nobody is woken for nothing: one task claims one worker at most, however the two workers stand.
fn one_task_wakes_one_worker<Q: Queue<usize>>() {
    explore(2, || {
        let nest = Nest::<Q>::new(2, 8, 1);
        with_workers(&nest, 2, || {
            let idle = nest.parking.claim();
            let claimed = idle.is_some();
            assert!(nest.queue.push(&mut Some(1), DEFAULT_LANE, 0, idle.as_ref().map(|claim| claim.worker())).is_ok());
            // Still a searcher until it has looked, so nobody else may be claimed.
            assert!(!claimed || nest.parking.claim().is_none());
            drop(idle);
            nest.parking.notify(|| nest.queue.has_work(), || nest.queue.has_more());
        });
        assert!(nest.parking.claims() <= 1, "one task claimed two workers");
    });
}

/// Two submitters at once: neither relies on a wake-up that the other one gave away.
fn two_submitters_are_both_served<Q: Queue<usize>>() {
    explore(2, || {
        let nest = Nest::<Q>::new(1, 8, 2);
        let other = {
            let nest = Arc::clone(&nest);
            thread::spawn(move || assert!(nest.try_enter(1).is_ok()))
        };
        with_workers(&nest, 1, || assert!(nest.try_enter(2).is_ok()));
        other.join().expect("a submitter does not panic");
    });
}

/// Park against shutdown: a worker that is falling asleep while the pool closes still ends.
fn closing_ends_every_worker<Q: Queue<usize>>() {
    explore(2, || {
        let nest = Nest::<Q>::new(2, 8, usize::MAX);
        with_workers(&nest, 2, || nest.close());
    });
}

/// An order against a worker that starts, falls asleep, sleeps, or has a task: whoever gave it need not wait for ever.
fn an_order_is_carried_out<Q: Queue<usize>>(tasks: usize) {
    explore(2, move || {
        let nest = Nest::<Q>::new(1, 8, usize::MAX);
        with_workers(&nest, 1, || {
            for item in 0..tasks {
                assert!(nest.try_enter(item).is_ok());
            }
            let broadcast = Arc::new(CountUp(AtomicUsize::new(0)));
            let latch = nest.mailboxes.post(Arc::clone(&broadcast) as _, None);
            nest.parking.wake_all();
            latch.wait(None);
            assert!(broadcast.0.load(Ordering::SeqCst) <= 1);
            nest.close();
        });
        assert_eq!(nest.done.load(Ordering::SeqCst), tasks);
    });
}

/// A task beyond the bound against a worker that is falling asleep, with one within it or without: each is found.
fn a_nested_task_is_found<Q: Queue<usize>>(beside: bool) {
    explore(3, move || {
        let nest = Nest::<Q>::new(1, 8, 1 + usize::from(beside));
        with_workers(&nest, 1, || {
            assert!(!beside || nest.try_enter(1).is_ok());
            assert!(nest.enter_nested(2).is_ok());
        });
        assert_eq!(nest.queue.load().queued, 0);
    });
}

/// No task beyond the bound waits while a worker sleeps: the first ends only when the second has run.
fn no_nested_task_waits_for_a_long_one<Q: Queue<usize>>() {
    explore(2, || {
        let nest = Nest::<Q>::new(2, 8, 2);
        with_workers(&nest, 2, || {
            assert!(nest.try_enter(LONG).is_ok());
            assert!(nest.enter_nested(OPENS).is_ok());
        });
    });
}

/// A task that was put where only the worker woken for it looks does not wait for one beyond the bound: that one ends only after it.
fn a_task_handed_over_comes_first<Q: Queue<usize>>() {
    // Where none is handed over there is little to explore.
    explore(1 + usize::from(Q::HANDS_OVER), || {
        let nest = Nest::<Q>::new(2, 8, 2);
        with_workers(&nest, 2, || {
            assert!(nest.try_enter(OPENS).is_ok());
            assert!(nest.enter_nested(LONG).is_ok());
        });
    });
}

/// With room for one at work, one worker reaches for a task beyond the bound and one for a task within it: one starts at a time, and
/// both do.
fn one_limit_for_both<Q: Queue<usize>>() {
    explore(3, || {
        let nest = Nest::<Q>::new(2, 8, 2);
        let seats = [0, 1].map(|id| nest.queue.cx(id));
        // The first one has begun at the queue, so it goes on with the list.
        assert!(nest.enter_nested(0).is_ok());
        assert_eq!(nest.queue.pop(&seats[0]), Some(0));
        nest.queue.finished(&seats[0]);
        nest.queue.set_limits(Some(1), 2);
        assert!(nest.try_enter(1).is_ok());
        assert!(nest.enter_nested(2).is_ok());
        let workers = seats.map(|cx| {
            let nest = Arc::clone(&nest);
            thread::spawn(move || {
                while nest.done.load(Ordering::SeqCst) < 2 {
                    if nest.queue.pop(&cx).is_some() {
                        assert_eq!(nest.busy.fetch_add(1, Ordering::SeqCst), 0, "two run at a time");
                        nest.busy.fetch_sub(1, Ordering::SeqCst);
                        nest.queue.finished(&cx);
                        nest.done.fetch_add(1, Ordering::SeqCst);
                    }
                    thread::yield_now();
                }
            })
        });
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
        let load = nest.queue.load();
        assert_eq!((load.queued, load.running, load.accepted), (0, 0, 3));
    });
}

/// BlockedSubmitter against closing: what was accepted runs, what was not comes back.
fn accepted_is_run<Q: Queue<usize>>() {
    explore(3, || {
        let nest = Nest::<Q>::new(1, 8, usize::MAX);
        let submitter = {
            let nest = Arc::clone(&nest);
            thread::spawn(move || usize::from(nest.try_enter(1).is_ok()))
        };
        with_workers(&nest, 1, || nest.close());
        let accepted = submitter.join().expect("a submitter does not panic");
        assert_eq!(nest.done.load(Ordering::SeqCst), accepted);
    });
}

/// A blocked submitter is let in by the end of a task.
fn room_lets_a_waiter_in<Q: Queue<usize>>(bound: usize) {
    explore(3, move || {
        let nest = Nest::<Q>::new(1, bound, 2 + bound);
        for item in 0..=bound {
            assert!(nest.try_enter(item).is_ok());
        }
        with_workers(&nest, 1, || assert!(nest.submit(9)));
    });
}

/// Two wait in line, and both get in: the first one's place is passed on.
fn the_line_moves_on<Q: Queue<usize>>(bound: usize) {
    // With two preemptions it holds as well, and takes some minutes.
    explore(1, move || {
        let nest = Nest::<Q>::new(1, bound, 3 + bound);
        for item in 0..=bound {
            assert!(nest.try_enter(item).is_ok());
        }
        let other = {
            let nest = Arc::clone(&nest);
            thread::spawn(move || assert!(nest.submit(8)))
        };
        with_workers(&nest, 1, || assert!(nest.submit(9)));
        other.join().expect("a submitter does not panic");
    });
}

/// Waiting submitter against closing: it is let in or sent away, never left standing.
fn closing_sends_waiters_away<Q: Queue<usize>>(bound: usize) {
    explore(2, move || {
        let nest = Nest::<Q>::new(1, bound, usize::MAX);
        for item in 0..=bound {
            assert!(nest.try_enter(item).is_ok());
        }
        let waiter = {
            let nest = Arc::clone(&nest);
            thread::spawn(move || usize::from(nest.submit(9)))
        };
        with_workers(&nest, 1, || nest.close());
        let entered = waiter.join().expect("a submitter does not panic");
        assert_eq!(nest.done.load(Ordering::SeqCst), 1 + bound + entered);
    });
}

/// A future in line is called, whichever waker it has just then.
fn room_lets_a_future_in<Q: Queue<usize>>(bound: usize) {
    explore(3, move || {
        let nest = Nest::<Q>::new(1, bound, 2 + bound);
        for item in 0..=bound {
            assert!(nest.try_enter(item).is_ok());
        }
        with_workers(&nest, 1, || assert!(nest.submit_async(9)));
    });
}

/// A future is dropped in line, before or after it is called: the call goes to the one behind it.
fn a_future_that_goes_passes_the_call_on<Q: Queue<usize>>(bound: usize) {
    explore(2, move || {
        let nest = Nest::<Q>::new(1, bound, 2 + bound);
        for item in 0..=bound {
            assert!(nest.try_enter(item).is_ok());
        }
        let nobody = Waiter::Task(Waker::noop().clone());
        let place = nest.wait_queue.join(DEFAULT_LANE, usize::MAX, nobody).expect("there is no limit");
        let behind = {
            let nest = Arc::clone(&nest);
            thread::spawn(move || assert!(nest.submit(9)))
        };
        with_workers(&nest, 1, || drop(place));
        behind.join().expect("a submitter does not panic");
    });
}

/// A future is called and never polled again: the thread behind it gets in.
fn a_future_that_does_not_come_is_passed<Q: Queue<usize>>(bound: usize) {
    explore(2, move || {
        let nest = Nest::<Q>::new(1, bound, 2 + bound);
        for item in 0..=bound {
            assert!(nest.try_enter(item).is_ok());
        }
        let nobody = Waiter::Task(Waker::noop().clone());
        let place = nest.wait_queue.join(DEFAULT_LANE, usize::MAX, nobody).expect("there is no limit");
        let behind = {
            let nest = Arc::clone(&nest);
            thread::spawn(move || assert!(nest.submit(9)))
        };
        with_workers(&nest, 1, || ());
        behind.join().expect("a submitter does not panic");
        drop(place);
    });
}

/// A future that was passed is polled after all, while the thread behind it tries: both get in.
fn a_future_that_comes_late_gets_in<Q: Queue<usize>>(bound: usize) {
    explore(1, move || {
        let nest = Nest::<Q>::new(1, bound, 3 + bound);
        for item in 0..=bound {
            assert!(nest.try_enter(item).is_ok());
        }
        let other = {
            let nest = Arc::clone(&nest);
            thread::spawn(move || assert!(nest.submit(8)))
        };
        with_workers(&nest, 1, || assert!(nest.submit_async(9)));
        other.join().expect("a submitter does not panic");
    });
}

/// Every model over one queue; `$bound` is the smallest that it can have.
macro_rules! models {
    ($name:ident, $queue:ty, $bound:expr) => {
        mod $name {
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
            fn an_order_is_carried_out() {
                super::an_order_is_carried_out::<$queue>(0);
                super::an_order_is_carried_out::<$queue>(1);
            }
            #[test]
            fn a_nested_task_is_found() {
                super::a_nested_task_is_found::<$queue>(false);
                super::a_nested_task_is_found::<$queue>(true);
            }
            #[test]
            fn no_nested_task_waits_for_a_long_one() {
                super::no_nested_task_waits_for_a_long_one::<$queue>();
            }
            #[test]
            fn a_task_handed_over_comes_first() {
                super::a_task_handed_over_comes_first::<$queue>();
            }
            #[test]
            fn one_limit_for_both() {
                super::one_limit_for_both::<$queue>();
            }
            #[test]
            fn accepted_is_run() {
                super::accepted_is_run::<$queue>();
            }
            #[test]
            fn room_lets_a_waiter_in() {
                super::room_lets_a_waiter_in::<$queue>($bound);
            }
            #[test]
            fn the_line_moves_on() {
                super::the_line_moves_on::<$queue>($bound);
            }
            #[test]
            fn room_lets_a_future_in() {
                super::room_lets_a_future_in::<$queue>($bound);
            }
            #[test]
            fn a_future_that_goes_passes_the_call_on() {
                super::a_future_that_goes_passes_the_call_on::<$queue>($bound);
            }
            #[test]
            fn a_future_that_does_not_come_is_passed() {
                super::a_future_that_does_not_come_is_passed::<$queue>($bound);
            }
            #[test]
            fn a_future_that_comes_late_gets_in() {
                super::a_future_that_comes_late_gets_in::<$queue>($bound);
            }
            #[test]
            fn closing_sends_waiters_away() {
                super::closing_sends_waiters_away::<$queue>($bound);
            }
        }
    };
}

models!(stack, StackQueue<usize>, 0);
models!(ring, RingQueue<usize>, 0);
models!(sharded, ShardedQueue<usize>, 0);
