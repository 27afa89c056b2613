//! loom models of the permits to wait (`block_permits.rs`).

use loom::thread;

use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, park};
use crate::task::block_permits::BlockPermits;

/// Of two workers one stands at the door, or is about to, and the other waits regardless: the first is sent away from the
/// door or not let wait there, so one is at work in any case.
#[test]
fn a_wait_regardless_leaves_nobody_at_the_door() {
    explore(3, || {
        let waits = Arc::new(BlockPermits::new());
        let other = Arc::clone(&waits);
        let at_the_door = thread::spawn(move || {
            if let Ok(permit) = other.enter(|| 2, true) {
                while !permit.is_revoked() {
                    park(None);
                }
            }
        });
        waits.enter_regardless(|| 2);
        at_the_door.join().unwrap();
    });
}

/// The last worker waits for a task that another thread has in hand, on the way from a view's queue to the pool's: it is neither
/// refused, nor left asleep when the task is there.
#[test]
fn a_task_on_its_way_in_is_waited_for() {
    #[derive(Default)]
    struct View {
        waiting: usize,
        is_feeding: bool,
    }
    explore(3, || {
        let (waits, view, queued) = (BlockPermits::new(), Mutex::new(View::default()), AtomicUsize::new(0));
        let shared = Arc::new((waits, view, queued));
        let other = Arc::clone(&shared);
        let feeder = thread::spawn(move || {
            let (waits, view, queued) = &*other;
            waits.begin_inflight();
            view.lock().is_feeding = true;
            loop {
                let mut view = view.lock();
                if view.waiting == 0 {
                    view.is_feeding = false;
                    break;
                }
                view.waiting -= 1;
                drop(view);
                queued.fetch_add(1, Ordering::SeqCst);
            }
            waits.end_inflight(|| 1);
        });
        let (waits, view, queued) = &*shared;
        let mut open = view.lock();
        match open.is_feeding {
            true => open.waiting += 1,
            false => queued.store(1, Ordering::SeqCst),
        }
        drop(open);
        while queued.swap(0, Ordering::SeqCst) == 0 {
            let Ok(permit) = waits.enter(|| 1, false) else {
                assert_eq!(queued.swap(0, Ordering::SeqCst), 1, "refused while the task was on its options");
                break;
            };
            while !permit.is_revoked() {
                park(None);
            }
            permit.give_back();
        }
        feeder.join().unwrap();
    });
}
