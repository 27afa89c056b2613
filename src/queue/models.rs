//! loom models of the queues alone: which worker gets which task, which push is refused, and which task may start.
//!
//! Run by `ci/loom.sh`. Each model checks one promise of [`Queue`] for every kind of queue.

mod batches;

use loom::thread;

use super::{
    DEFAULT_LANE, Dispatch, Fair, Priority, Queue, Refused, RingQueue, Shape, ShardedQueue, StackQueue, TaskQueue,
};
use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Ordering};

/// A queue for one worker and `room` unfinished tasks, with a shard for each task but two at most.
fn queue<Q: Queue<usize>>(room: usize) -> Arc<Q> {
    let shape = Shape { workers: 1, bound: Some(room - 1), shards: Some(room.min(2)), ..Shape::default() };
    Arc::new(Q::new(&shape).expect("the shape is good"))
}

/// Pushes, and retries while the queue is full.
fn push<Q: Queue<usize>>(queue: &Q, item: usize) {
    loop {
        match queue.push(&mut Some(item), DEFAULT_LANE, 0, None) {
            Ok(()) => return,
            Err(Refused::Full) => {}
            Err(Refused::Closed) => unreachable!("the model does not close the queue"),
        }
        thread::yield_now();
    }
}

/// Pops and finishes one task, and retries while there is none.
fn run<Q: Queue<usize>>(queue: &Q, cx: &Q::Cx) -> usize {
    loop {
        if let Some(item) = queue.pop(cx) {
            queue.finished(cx);
            return item;
        }
        thread::yield_now();
    }
}

/// Three tasks pass a queue for two, in order. The third waits for room, in a ring for the first one's slot.
fn tasks_go_round<Q: Queue<usize>>() {
    explore(5, || {
        let queue = queue::<Q>(2);
        let submitter = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || (1..=3).for_each(|item| push(&*queue, item)))
        };
        let cx = queue.cx(0);
        let sum: usize = (0..3).map(|_| run(&*queue, &cx)).sum();
        assert_eq!(sum, 6);
        submitter.join().expect("no panic");
        assert_eq!((queue.load().queued, queue.load().running), (0, 0));
        assert!(!queue.has_work());
    });
}

/// Two submitters, two workers: each task goes to exactly one worker.
fn each_task_goes_to_one_worker<Q: Queue<usize>>() {
    explore(2, || {
        let queue = queue::<Q>(2);
        let (other, third) = (Arc::clone(&queue), Arc::clone(&queue));
        let submitter = thread::spawn(move || push(&*other, 1));
        let worker = thread::spawn(move || {
            let cx = third.cx(1);
            run(&*third, &cx)
        });
        push(&*queue, 2);
        let mine = run(&*queue, &queue.cx(0));
        assert_eq!(mine + worker.join().expect("no panic"), 3);
        submitter.join().expect("no panic");
        assert_eq!(queue.load().accepted, 2);
    });
}

/// Room for one: exactly one of two pushes succeeds.
fn the_bound_is_exact<Q: Queue<usize>>() {
    explore(5, || {
        let queue = queue::<Q>(1);
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.push(&mut Some(1), DEFAULT_LANE, 0, None).is_ok())
        };
        let entered = queue.push(&mut Some(2), DEFAULT_LANE, 0, None).is_ok();
        assert!(entered != other.join().expect("no panic"));
    });
}

/// A push after the close is refused, and accepted tasks are there.
fn closing_is_final<Q: Queue<usize>>() {
    explore(5, || {
        let (queue, closed) = (queue::<Q>(2), Arc::new(AtomicBool::new(false)));
        let submitter = {
            let (queue, closed) = (Arc::clone(&queue), Arc::clone(&closed));
            thread::spawn(move || {
                let mut entered = 0;
                for item in 0..2 {
                    let late = closed.load(Ordering::SeqCst);
                    let enters = queue.push(&mut Some(item), DEFAULT_LANE, 0, None).is_ok();
                    assert!(!(late && enters), "accepted after the close");
                    entered += usize::from(enters);
                }
                entered
            })
        };
        queue.close();
        closed.store(true, Ordering::SeqCst);
        let entered = submitter.join().expect("no panic");
        assert_eq!(queue.drain().len(), entered);
    });
}

/// Once the limit is 0 no task starts, not even one that a worker is just popping.
fn nothing_starts_in_a_pause<Q: Queue<usize>>() {
    explore(5, || {
        let (queue, paused) = (queue::<Q>(2), Arc::new(AtomicBool::new(false)));
        push(&*queue, 1);
        let worker = {
            let (queue, paused) = (Arc::clone(&queue), Arc::clone(&paused));
            thread::spawn(move || {
                let cx = queue.cx(0);
                let late = paused.load(Ordering::SeqCst);
                let started = queue.pop(&cx).is_some();
                assert!(!(late && started), "started in a pause");
                started
            })
        };
        queue.set_limits(Some(0), 1);
        paused.store(true, Ordering::SeqCst);
        let load = queue.load();
        let started = worker.join().expect("no panic");
        assert_eq!((load.queued, load.running), (usize::from(!started), usize::from(started)));
        assert!(!queue.has_work());
        queue.set_limits(None, 1);
        assert_eq!(queue.has_work(), !started);
    });
}

/// Two workers and a limit of one: no two tasks run at the same time.
fn no_more_run_than_may<Q: Queue<usize>>() {
    explore(4, || {
        let (queue, running) = (queue::<Q>(2), Arc::new(AtomicUsize::new(0)));
        push(&*queue, 1);
        push(&*queue, 2);
        queue.set_limits(Some(1), 1);
        let work = |queue: Arc<Q>, running: Arc<AtomicUsize>, worker| {
            move || {
                let cx = queue.cx(worker);
                if queue.pop(&cx).is_some() {
                    assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two run");
                    running.fetch_sub(1, Ordering::SeqCst);
                    queue.finished(&cx);
                }
                queue.leave(cx);
            }
        };
        let other = thread::spawn(work(Arc::clone(&queue), Arc::clone(&running), 1));
        work(Arc::clone(&queue), Arc::clone(&running), 0)();
        other.join().expect("no panic");
        assert_eq!(queue.load().running, 0);
    });
}

/// Two tasks that run until both have started are both counted in the peak, although neither worker reads it later.
fn the_peak_is_found<Q: Queue<usize, Cx: Send>>() {
    explore(3, || {
        let shape = Shape { workers: 1, bound: Some(1), shards: Some(2), ..Shape::default() };
        let queue = Arc::new(TaskQueue::<usize, Q>::new(&shape, 0).expect("the shape is good"));
        for item in [1, 2] {
            assert!(queue.push(&mut Some(item), DEFAULT_LANE, 0, None).is_ok());
        }
        let start = |queue: Arc<TaskQueue<usize, Q>>, worker| {
            move || {
                let cx = queue.cx(worker);
                while queue.pop(&cx).is_none() {
                    thread::yield_now();
                }
                cx
            }
        };
        let other = thread::spawn(start(Arc::clone(&queue), 1));
        let mine = start(Arc::clone(&queue), 0)();
        let finished_counters = [mine, other.join().expect("no panic")];
        finished_counters.iter().for_each(|cx| queue.finished(cx));
        assert_eq!((queue.load().running, queue.peak_running()), (0, 2));
    });
}

/// A task is pushed, popped and drained at the same time: exactly one thread gets it.
fn draining_leaves_and_doubles_nothing<Q: Queue<usize>>() {
    explore(4, || {
        let queue = queue::<Q>(2);
        push(&*queue, 1);
        let submitter = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || push(&*queue, 2))
        };
        let worker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let cx = queue.cx(0);
                let got = queue.pop(&cx);
                got.inspect(|_| queue.finished(&cx)).unwrap_or(0)
            })
        };
        let drained: usize = queue.drain().into_iter().sum();
        let ran = worker.join().expect("no panic");
        submitter.join().expect("no panic");
        let left: usize = queue.drain().into_iter().sum();
        assert_eq!(drained + ran + left, 3);
        assert_eq!((queue.load().queued, queue.load().running), (0, 0));
    });
}

/// A sweep while one task is pushed and another popped: the dead task is swept or popped, the live ones are popped in order, and
/// no task appears twice.
fn a_sweep_takes_the_dead_only<Q: Queue<usize>>() {
    explore(3, || {
        let queue = queue::<Q>(3);
        push(&*queue, 1);
        push(&*queue, DEAD);
        let submitter = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || push(&*queue, 2))
        };
        let worker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let cx = queue.cx(0);
                let got = queue.pop(&cx);
                got.inspect(|_| queue.finished(&cx))
            })
        };
        let swept = queue.sweep(&mut |item| *item == DEAD);
        assert!(swept.is_empty() || swept == [DEAD]);
        let first = worker.join().expect("no panic");
        submitter.join().expect("no panic");
        let cx = queue.cx(1);
        let rest = std::iter::from_fn(|| queue.pop(&cx).inspect(|_| queue.finished(&cx)));
        let mut all: Vec<_> = first.into_iter().chain(rest).collect();
        assert!(!queue.has_work());
        if queue.shards().len() < 2 {
            assert!(all.iter().filter(|item| **item != DEAD).is_sorted(), "{all:?}");
        }
        all.extend(swept);
        all.sort_unstable();
        assert_eq!(all, [1, 2, DEAD]);
        assert_eq!((queue.load().queued, queue.load().running), (0, 0));
        // The room is as large as before.
        (0..3).for_each(|item| assert!(queue.push(&mut Some(item), DEFAULT_LANE, 0, None).is_ok()));
    });
}

const DEAD: usize = 9;

/// A worker that is about to sleep finds the survivors of a sweep, and nothing starts while the limit is 0.
fn a_sweep_hides_nothing<Q: Queue<usize>>() {
    explore(4, || {
        let queue = queue::<Q>(2);
        push(&*queue, DEAD);
        push(&*queue, 1);
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                queue.set_limits(Some(0), 1);
                let cx = queue.cx(0);
                assert!(queue.pop(&cx).is_none() && !queue.has_work(), "started in a pause");
                queue.set_limits(None, 1);
                queue.leave(cx);
            })
        };
        assert_eq!(queue.sweep(&mut |item| *item == DEAD), [DEAD]);
        other.join().expect("no panic");
        assert!(queue.has_work() && queue.peek());
        assert_eq!(queue.pop(&queue.cx(1)), Some(1));
    });
}

macro_rules! models {
    ($($name:ident: $queue:ty),* $(,)?) => { $(
        mod $name {
            #[test]
            fn tasks_go_round() {
                super::tasks_go_round::<$queue>();
            }
            #[test]
            fn each_task_goes_to_one_worker() {
                super::each_task_goes_to_one_worker::<$queue>();
            }
            #[test]
            fn batches_go_round() {
                super::batches::go_round::<$queue>();
            }
            #[test]
            fn batches_are_accepted_as_far_as_there_is_room() {
                super::batches::are_accepted_as_far_as_there_is_room::<$queue>();
            }
            #[test]
            fn the_bound_is_exact() {
                super::the_bound_is_exact::<$queue>();
            }
            #[test]
            fn closing_is_final() {
                super::closing_is_final::<$queue>();
            }
            #[test]
            fn nothing_starts_in_a_pause() {
                super::nothing_starts_in_a_pause::<$queue>();
            }
            #[test]
            fn no_more_run_than_may() {
                super::no_more_run_than_may::<$queue>();
            }
            #[test]
            fn the_peak_is_found() {
                super::the_peak_is_found::<$queue>();
            }
            #[test]
            fn a_sweep_takes_the_dead_only() {
                super::a_sweep_takes_the_dead_only::<$queue>();
            }
            #[test]
            fn a_sweep_hides_nothing() {
                super::a_sweep_hides_nothing::<$queue>();
            }
            #[test]
            fn draining_leaves_and_doubles_nothing() {
                super::draining_leaves_and_doubles_nothing::<$queue>();
            }
        }
    )* };
}

models! {
    stack: super::StackQueue<usize>,
    ring: super::RingQueue<usize>,
    sharded: super::ShardedQueue<usize>,
    priority: <super::Priority as super::Dispatch>::Queue<usize>,
    fair: <super::Fair as super::Dispatch>::Queue<usize>,
}
