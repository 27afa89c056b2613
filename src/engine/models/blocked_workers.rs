//! loom models of the count of blocked workers (`task/blocked_workers/`).

use loom::thread;

use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, park};
use crate::task::blocked_workers::BlockedWorkers;

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
        let worker = blocked.enter_regardless(1, || 2);
        let (asking, over) = other;
        let last = thread::spawn(move || {
            assert!(asking.enter(0, || 2, false).is_err());
            assert!(!asking.recheck(|| 2), "it waits");
            over.store(1, Ordering::SeqCst);
        });
        while is_over.load(Ordering::SeqCst) == 0 {
            let round = worker.look();
            worker.confirm(round);
            loom::thread::yield_now();
        }
        worker.leave();
        last.join().unwrap();
    });
}
