//! loom models of the count of blocked workers (`task/blocked_workers/`).

use loom::thread;

use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, Thread, current, park};
use crate::task::blocked_workers::{BlockGuard, BlockedWorkers};

/// Of two workers one waits for room, or is about to, and the other waits regardless. The first is evicted or may not block, so
/// one worker is active in any case.
#[test]
fn a_regardless_wait_evicts_a_wait_for_room() {
    explore(3, || {
        let blocked = Arc::new(BlockedWorkers::new());
        let other = Arc::clone(&blocked);
        let for_room = thread::spawn(move || {
            if let Ok(worker) = other.enter(1, || 2, true) {
                while !worker.is_evicted() {
                    park(None);
                }
            }
        });
        blocked.enter_regardless(0, || 2);
        for_room.join().unwrap();
    });
}

/// The last worker waits for a task that another thread brings from a view's queue to the pool's. The worker is neither refused nor
/// left asleep when the task is there.
#[test]
fn a_task_in_flight_is_waited_for() {
    #[derive(Default)]
    struct View {
        waiting: usize,
        is_dispatching: bool,
    }
    explore(3, || {
        let (blocked, view, queued) = (BlockedWorkers::new(), Mutex::new(View::default()), AtomicUsize::new(0));
        let shared = Arc::new((blocked, view, queued));
        let other = Arc::clone(&shared);
        let dispatcher = thread::spawn(move || {
            let (blocked, view, queued) = &*other;
            blocked.begin_inflight();
            view.lock().is_dispatching = true;
            loop {
                let mut view = view.lock();
                if view.waiting == 0 {
                    view.is_dispatching = false;
                    break;
                }
                view.waiting -= 1;
                drop(view);
                queued.fetch_add(1, Ordering::SeqCst);
            }
            blocked.end_inflight(|| 1);
        });
        let (blocked, view, queued) = &*shared;
        let mut open = view.lock();
        match open.is_dispatching {
            true => open.waiting += 1,
            false => queued.store(1, Ordering::SeqCst),
        }
        drop(open);
        while queued.swap(0, Ordering::SeqCst) == 0 {
            let Ok(worker) = blocked.enter(0, || 1, false) else {
                assert_eq!(queued.swap(0, Ordering::SeqCst), 1, "refused while the task was in flight");
                break;
            };
            while !worker.is_evicted() {
                park(None);
            }
            worker.leave();
        }
        dispatcher.join().unwrap();
    });
}

/// A worker that only just still counts as blocked, because its wait is over already, does not have the last one refused.
#[test]
fn a_worker_that_leaves_is_not_blocked() {
    explore(3, || {
        let blocked = Arc::new(BlockedWorkers::new());
        let worker = blocked.enter(1, || 2, false).unwrap();
        let leaving = thread::spawn(move || worker.leave());
        let last = blocked.enter(0, || 2, false);
        assert!(last.is_ok() || blocked.recheck(|| 2), "refused");
        leaving.join().unwrap();
    });
}

/// A worker that waits on confirms it, once it has looked, and the last one is refused.
#[test]
fn a_worker_that_waits_on_confirms_it() {
    explore(3, || {
        let (blocked, is_over) = (Arc::new(BlockedWorkers::new()), Arc::new(AtomicUsize::new(0)));
        let other = (Arc::clone(&blocked), Arc::clone(&is_over));
        let guard = BlockGuard::of(blocked.enter_regardless(1, || 2));
        let (asking, over) = other;
        let last = thread::spawn(move || {
            assert!(asking.enter(0, || 2, false).is_err());
            assert!(!asking.recheck(|| 2), "it waits");
            over.store(1, Ordering::SeqCst);
        });
        while is_over.load(Ordering::SeqCst) == 0 {
            guard.park(thread::yield_now);
        }
        drop(guard);
        last.join().unwrap();
    });
}

/// The two workers of a pool, which wait for each other. Whoever is refused goes on, and the other one has what it waits for.
struct Circle {
    blocked: BlockedWorkers,
    refused: AtomicUsize,
    workers: Mutex<Vec<Thread>>,
}

impl Circle {
    fn new() -> Arc<Self> {
        Arc::new(Circle { blocked: BlockedWorkers::new(), refused: AtomicUsize::new(0), workers: Mutex::default() })
    }

    fn is_over(&self) -> bool {
        self.refused.load(Ordering::SeqCst) > 0
    }

    /// Waits as a join does.
    fn wait(&self, number: usize) {
        self.workers.lock().push(current());
        while !self.is_over() {
            if let Ok(worker) = self.blocked.enter(number, || 2, false) {
                let guard = BlockGuard::of(worker);
                while !self.is_over() && !guard.is_evicted() {
                    guard.park(|| park(None));
                }
            } else if !self.is_over() && !self.blocked.recheck(|| 2) {
                self.refused.fetch_add(1, Ordering::SeqCst);
                self.workers.lock().iter().for_each(Thread::unpark);
            }
        }
    }

    /// Waits as the owner of a scope does.
    fn wait_regardless(&self, number: usize) {
        self.workers.lock().push(current());
        let guard = BlockGuard::of(self.blocked.enter_regardless(number, || 2));
        while !self.is_over() {
            guard.park(|| park(None));
        }
    }
}

/// Of two workers that wait for each other exactly one is refused, in bounded time.
#[test]
fn of_two_that_wait_for_each_other_one_is_refused() {
    explore(3, || {
        let circle = Circle::new();
        let other = Arc::clone(&circle);
        let waits = thread::spawn(move || other.wait(1));
        circle.wait(0);
        waits.join().unwrap();
        assert_eq!(circle.refused.load(Ordering::SeqCst), 1);
    });
}

/// One of the two waits regardless. So the other one is refused, also if it has waited before.
#[test]
fn a_wait_for_one_that_waits_regardless_is_refused() {
    explore(3, || {
        let circle = Circle::new();
        let other = Arc::clone(&circle);
        let owner = thread::spawn(move || other.wait_regardless(1));
        circle.wait(0);
        owner.join().unwrap();
        assert_eq!(circle.refused.load(Ordering::SeqCst), 1);
    });
}
