//! loom models of the permits to block (`block_permits.rs`).

use loom::thread;

use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, park};
use crate::task::block_permits::BlockPermits;

/// Of two workers one waits for room, or is about to, and the other waits regardless. The first loses its permit or does not get one, so
/// one worker is active in any case.
#[test]
fn a_regardless_wait_revokes_a_wait_for_room() {
    explore(3, || {
        let permits = Arc::new(BlockPermits::new());
        let other = Arc::clone(&permits);
        let for_room = thread::spawn(move || {
            if let Ok(permit) = other.enter(|| 2, true) {
                while !permit.is_revoked() {
                    park(None);
                }
            }
        });
        permits.enter_regardless(|| 2);
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
        let (permits, view, queued) = (BlockPermits::new(), Mutex::new(View::default()), AtomicUsize::new(0));
        let shared = Arc::new((permits, view, queued));
        let other = Arc::clone(&shared);
        let dispatcher = thread::spawn(move || {
            let (permits, view, queued) = &*other;
            permits.begin_inflight();
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
            permits.end_inflight(|| 1);
        });
        let (permits, view, queued) = &*shared;
        let mut open = view.lock();
        match open.is_dispatching {
            true => open.waiting += 1,
            false => queued.store(1, Ordering::SeqCst),
        }
        drop(open);
        while queued.swap(0, Ordering::SeqCst) == 0 {
            let Ok(permit) = permits.enter(|| 1, false) else {
                assert_eq!(queued.swap(0, Ordering::SeqCst), 1, "refused while the task was in flight");
                break;
            };
            while !permit.is_revoked() {
                park(None);
            }
            permit.give_back();
        }
        dispatcher.join().unwrap();
    });
}
