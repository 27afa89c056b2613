//! Loom models of tasks beyond the bound: they are found, and no limit or figure misses them.

use loom::thread;

use super::model_pool::{LONG, ModelPool, OPENS, with_workers};
use crate::queue::deques::Victims;
use crate::queue::{OwnQueue, Queue, QueueCx};
use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicBool, Ordering};

/// The list that a model puts its nested tasks into.
#[derive(Clone, Copy)]
pub(super) enum List {
    Shared,
    /// That of a worker which does nothing else.
    Own,
}

impl List {
    fn make(self) -> Option<OwnQueue<usize>> {
        match self {
            List::Shared => None,
            List::Own => Some(OwnQueue::new()),
        }
    }
}

/// A task beyond the bound, with one within it or without, and a worker that falls asleep: each task is found.
pub(super) fn a_nested_task_is_found<Q: Queue<usize>>(list: List, beside: bool) {
    explore(3 - usize::from(beside), move || {
        let (pool, own) = (ModelPool::<Q>::new(1, 8, 1 + usize::from(beside)), list.make());
        with_workers(&pool, 1, || {
            assert!(!beside || pool.try_enter(1).is_ok());
            assert!(pool.enter_nested(2, own.as_ref()).is_ok());
        });
        assert_eq!(pool.queue.load().queued, 0);
    });
}

/// No task beyond the bound waits while a worker sleeps: the first task ends only when the second has run.
pub(super) fn no_nested_task_waits_for_a_long_one<Q: Queue<usize>>(list: List) {
    explore(1, move || {
        let (pool, own) = (ModelPool::<Q>::new(2, 8, 2), list.make());
        with_workers(&pool, 2, || {
            assert!(pool.try_enter(LONG).is_ok());
            assert!(pool.enter_nested(OPENS, own.as_ref()).is_ok());
        });
    });
}

/// A task in the slot of a claimed worker does not wait behind one beyond the bound, which ends only after it.
pub(super) fn a_task_handed_over_comes_first<Q: Queue<usize>>() {
    // Queues without such slots leave little to explore.
    explore(1 + usize::from(Q::HANDS_OVER), || {
        let pool = ModelPool::<Q>::new(2, 8, 2);
        with_workers(&pool, 2, || {
            assert!(pool.try_enter(OPENS).is_ok());
            assert!(pool.enter_nested(LONG, None).is_ok());
        });
    });
}

/// Two workers run two tasks, from the queue or stolen, and never both at a time.
pub(super) fn run_two_one_at_a_time<Q: Queue<usize>>(pool: &Arc<ModelPool<Q>>) {
    let workers = [0, 1].map(|id| {
        let pool = Arc::clone(pool);
        thread::spawn(move || {
            let (cx, victims) = (pool.queue.cx(id), Victims::new(0));
            while pool.done.load(Ordering::SeqCst) < 2 {
                let steal = || if pool.deques.is_used() { pool.steal(&cx, &victims) } else { None };
                if pool.queue.pop(&cx).or_else(steal).is_some() {
                    assert_eq!(pool.busy.fetch_add(1, Ordering::SeqCst), 0, "two run at a time");
                    pool.busy.fetch_sub(1, Ordering::SeqCst);
                    pool.queue.finished(&cx);
                    pool.done.fetch_add(1, Ordering::SeqCst);
                }
                thread::yield_now();
            }
        })
    });
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
}

/// Where one task may run, one worker takes a task beyond the bound and another one within it: one runs at a time, and both run.
pub(super) fn one_limit_for_both<Q: Queue<usize>>(list: List) {
    explore(2, move || {
        let (pool, own) = (ModelPool::<Q>::new(2, 8, 2), list.make());
        pool.queue.set_limits(Some(1), 2);
        assert!(pool.try_enter(1).is_ok());
        assert!(pool.enter_nested(2, own.as_ref()).is_ok());
        run_two_one_at_a_time(&pool);
        let load = pool.queue.load();
        assert_eq!((load.queued, load.running, load.accepted), (0, 0, 2));
    });
}

/// A worker that steals moves a task to its own list, and runs one that ends only when the moved one has run, while the first list's owner takes
/// what is left there: the other worker finds the moved task, though it may have been falling asleep.
pub(super) fn what_is_moved_is_found<Q: Queue<usize>>() {
    explore(1, || {
        let pool = ModelPool::<Q>::new(2, 8, 4);
        let cx = pool.queue.cx(2);
        for item in [LONG, OPENS, 0, 0] {
            assert!(pool.enter_nested(item, Some(cx.own_queue())).is_ok());
        }
        with_workers(&pool, 2, || {
            for _ in 0..2 {
                if let Some(item) = pool.queue.pop(&cx) {
                    pool.run(item, &cx);
                }
            }
        });
    });
}

/// The queues are emptied while a worker steals and moves: each task is taken once.
pub(super) fn a_drain_against_a_thief<Q: Queue<usize>>() {
    explore(3, || {
        let (pool, own) = (ModelPool::<Q>::new(2, 8, 4), OwnQueue::new());
        for item in [1, 2, 4, 8] {
            assert!(pool.enter_nested(item, Some(&own)).is_ok());
        }
        let thief = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let cx: QueueCx<usize, Q::Cx> = pool.queue.cx(0);
                let taken = [pool.queue.pop(&cx), pool.queue.pop(&cx)];
                taken.into_iter().flatten().sum::<usize>()
            })
        };
        let drained: usize = pool.queue.drain().into_iter().sum();
        let taken = thief.join().expect("no panic");
        let left: usize = pool.queue.drain().into_iter().sum();
        // What was moved before the first drain was drained with the rest.
        assert_eq!((drained + taken, left), (15, 0));
    });
}

/// A task submits another one, which starts when the first has ended: the pool is not found without tasks in between.
pub(super) fn a_pool_with_tasks_is_not_at_rest<Q: Queue<usize>>() {
    explore(3, || {
        let (pool, is_ending) = (ModelPool::<Q>::new(1, 8, 2), Arc::new(AtomicBool::new(false)));
        assert!(pool.try_enter(1).is_ok());
        let worker = {
            let (pool, is_ending) = (Arc::clone(&pool), Arc::clone(&is_ending));
            thread::spawn(move || {
                let cx = pool.queue.cx(0);
                assert_eq!(pool.queue.pop(&cx), Some(1));
                assert!(pool.enter_nested(2, Some(cx.own_queue())).is_ok());
                pool.queue.finished(&cx);
                assert_eq!(pool.queue.pop(&cx), Some(2));
                is_ending.store(true, Ordering::SeqCst);
                pool.queue.finished(&cx);
            })
        };
        let load = pool.queue.load();
        assert!(load.queued + load.running > 0 || is_ending.load(Ordering::SeqCst), "{load:?}");
        assert!(load.running <= 1, "{load:?}");
        worker.join().expect("no panic");
    });
}
