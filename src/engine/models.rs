//! loom models of the parking protocol over the real queue, and of the line at the door.
//!
//! Run by `ci/loom.sh`. Each model is one named claim of `parking.md`: loom tries every order in which the
//! threads can run (up to a bound on preemptions) and fails on a deadlock, which is what a lost wake-up is.

use std::task::Waker;
use std::time::{Duration, Instant};

use loom::thread;

use super::admission::{Line, Place};
use super::bulletin::{Bulletin, Inbox, Order};
use super::parking::{Errand, Parking, Sleeper, Source};
use crate::dispatch::{Balance, MAIN_DOOR, Queue, Refused, RingQueue, Shape, ShardedQueue, StackQueue};
use crate::error::JoinError;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, current, park, wait};
use crate::waiter::Waiter;

/// A pool with nothing but a queue, its sleepers and its line.
struct Nest<Q> {
    queue: Q,
    parking: Parking,
    bulletin: Bulletin<usize>,
    line: Line,
    closed: AtomicBool,
    /// Tasks that have run.
    done: AtomicUsize,
    /// A worker leaves when so many have.
    enough: usize,
    /// Opened by [`OPENS`], for [`LONG`].
    gate: (Mutex<bool>, Condvar),
}

/// A task that ends only after the task [`OPENS`].
const LONG: usize = 100;
const OPENS: usize = 101;

impl<Q: Queue<usize>> Nest<Q> {
    fn new(workers: usize, bound: usize, enough: usize) -> Arc<Self> {
        let shape =
            Shape { workers, bound: Some(bound), shards: Some(2.min(workers + bound)), balance: Balance::default() };
        let queue = Q::new(&shape).expect("the shape is good");
        let parking = Parking::new();
        let (closed, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let gate = (Mutex::new(false), Condvar::new());
        let (bulletin, line) = (Bulletin::new(), Line::new());
        Arc::new(Nest { queue, parking, bulletin, line, closed, done, enough, gate })
    }

    /// The engine's way to let a task in.
    fn try_enter(&self, item: usize) -> Result<(), Refused<usize>> {
        let idle = self.parking.claim();
        self.queue.push(item, MAIN_DOOR, idle.as_ref().map(|claim| claim.worker()))?;
        drop(idle);
        self.parking.notify(|| self.queue.has_work());
        Ok(())
    }

    /// The engine's way to wait at the door.
    fn submit(&self, mut item: usize) -> bool {
        let place = self.line.join(MAIN_DOOR, usize::MAX, Waiter::Thread(current())).expect("there is no limit");
        loop {
            if place.is_first() {
                match self.try_enter(item) {
                    Ok(()) => return true,
                    Err(Refused::Closed(_)) => return false,
                    Err(Refused::Full(back)) => item = back,
                }
            } else if self.closed.load(Ordering::SeqCst) {
                return false;
            }
            place.wait(None);
        }
    }

    /// The engine's way to poll a future that stands in line: `None` if it has to wait on.
    fn poll_in_line(&self, place: &Place<'_>, item: usize, waiter: Waiter) -> Option<bool> {
        place.set_waiter(waiter);
        loop {
            if place.is_first() {
                match self.try_enter(item) {
                    Ok(()) => return Some(true),
                    Err(Refused::Closed(_)) => return Some(false),
                    Err(Refused::Full(_)) => {}
                }
            } else if self.closed.load(Ordering::SeqCst) {
                return Some(false);
            }
            if !place.is_called() {
                return None;
            }
        }
    }

    /// A future that is polled by somebody who leaves it, and then by this thread until it is in.
    fn submit_async(&self, item: usize) -> bool {
        let nobody = Waiter::Task(Waker::noop().clone());
        let place = self.line.join(MAIN_DOOR, usize::MAX, nobody.clone()).expect("there is no limit");
        let mut polled = self.poll_in_line(&place, item, nobody);
        while polled.is_none() {
            polled = self.poll_in_line(&place, item, Waiter::Thread(current()));
            if polled.is_none() {
                park(None);
            }
        }
        polled.unwrap_or_default()
    }

    /// The engine's worker: finds, runs, lets in, until enough is done or the pool is closed and empty.
    fn work(&self, id: usize) {
        let me = Sleeper::for_current(id);
        let seat = self.queue.seat(id);
        let inbox = Inbox::new();
        let mut state = 0;
        drop(self.bulletin.enlist(id, &inbox));
        loop {
            let item = match self.parking.find(&me, &At { nest: self, seat: &seat, inbox: &inbox }) {
                Errand::Task(item) => item,
                Errand::Orders => {
                    attend(&inbox, id, &mut state);
                    continue;
                }
                Errand::Leave => break,
            };
            self.run(item);
            self.queue.finished(&seat);
            self.line.call(|door| self.queue.has_room(door));
            if self.done.fetch_add(1, Ordering::SeqCst) + 1 == self.enough {
                self.parking.wake_all();
            }
        }
        while !self.bulletin.retire(id, &inbox) {
            attend(&inbox, id, &mut state);
        }
        self.parking.wake_all();
    }

    fn run(&self, item: usize) {
        let (open, changed) = &self.gate;
        let mut open = open.lock();
        *open |= item == OPENS;
        changed.notify_all();
        while item == LONG && !*open {
            wait(changed, &mut open, None);
        }
    }

    fn close(&self) {
        self.queue.close();
        self.closed.store(true, Ordering::SeqCst);
        self.line.call_all();
        self.parking.wake_all();
    }
}

/// The engine's way to do what it was told.
fn attend(inbox: &Inbox<usize>, id: usize, state: &mut usize) {
    while let Some(posting) = inbox.next() {
        posting.order.run(id, state);
    }
}

/// An order that counts.
struct CountUp(AtomicUsize);

impl Order<usize> for CountUp {
    fn run(&self, _worker: usize, state: &mut usize) {
        *state += 1;
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn repeat(&self, _state: &mut usize) {}

    fn fail(&self, _worker: usize, _error: JoinError) {}
}

struct At<'a, Q: Queue<usize>> {
    nest: &'a Nest<Q>,
    seat: &'a Q::Seat,
    inbox: &'a Inbox<usize>,
}

impl<Q: Queue<usize>> Source for At<'_, Q> {
    type Item = usize;

    fn pop(&self) -> Option<usize> {
        self.nest.queue.pop(self.seat)
    }

    fn glance(&self) -> bool {
        self.nest.queue.glance()
    }

    fn has_work(&self) -> bool {
        self.nest.queue.has_work()
    }

    fn is_called(&self) -> bool {
        self.inbox.is_called()
    }

    fn must_leave(&self) -> bool {
        self.nest.done.load(Ordering::SeqCst) >= self.nest.enough
            || (self.nest.closed.load(Ordering::SeqCst) && self.nest.queue.load().queued == 0)
    }

    fn leave(&self) -> bool {
        self.must_leave()
    }

    fn expiry(&self) -> Option<Duration> {
        None
    }

    fn expire(&self) -> bool {
        false
    }

    fn alarm(&self) -> Option<Instant> {
        None
    }
}

pub(crate) fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Runs `workers` workers beside `main` and waits for all of them.
fn with_workers<Q: Queue<usize>>(nest: &Arc<Nest<Q>>, workers: usize, main: impl FnOnce()) {
    let threads: Vec<_> = (0..workers)
        .map(|id| {
            let nest = Arc::clone(nest);
            thread::spawn(move || nest.work(id))
        })
        .collect();
    main();
    for thread in threads {
        thread.join().expect("a worker does not panic");
    }
}

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
            assert!(nest.queue.push(1, MAIN_DOOR, idle.as_ref().map(|claim| claim.worker())).is_ok());
            // Still a searcher until it has looked, so nobody else may be claimed.
            assert!(!claimed || nest.parking.claim().is_none());
            drop(idle);
            nest.parking.notify(|| nest.queue.has_work());
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
            let order = Arc::new(CountUp(AtomicUsize::new(0)));
            let turnout = nest.bulletin.post(Arc::clone(&order) as _, None);
            nest.parking.wake_all();
            turnout.wait();
            assert!(order.0.load(Ordering::SeqCst) <= 1);
            nest.close();
        });
        assert_eq!(nest.done.load(Ordering::SeqCst), tasks);
    });
}

/// Submitter against closing: what was accepted runs, what was not comes back.
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
        let place = nest.line.join(MAIN_DOOR, usize::MAX, nobody).expect("there is no limit");
        let behind = {
            let nest = Arc::clone(&nest);
            thread::spawn(move || assert!(nest.submit(9)))
        };
        with_workers(&nest, 1, || drop(place));
        behind.join().expect("a submitter does not panic");
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
            fn closing_sends_waiters_away() {
                super::closing_sends_waiters_away::<$queue>($bound);
            }
        }
    };
}

models!(stack, StackQueue<usize>, 0);
models!(ring, RingQueue<usize>, 0);
models!(sharded, ShardedQueue<usize>, 0);
