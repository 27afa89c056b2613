//! A worker that waits for its own pool while the pool changes under it.

mod support;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use formicary::{Context, Pool, StatefulPool, Worker};
use support::*;

/// A task that the draining pool has accepted can still be joined by the task that submitted it, on one worker.
#[test]
fn b05_joining_a_queued_task_works_while_the_pool_drains() {
    within(LIMIT, "join while draining", || {
        let pool = Arc::new(Pool::new(1).unwrap());
        let (started, begun) = mpsc::channel();
        let gate = Gate::new();
        let inner = (Arc::clone(&pool), gate.clone());
        let outer = pool
            .spawn(move || {
                let (pool, gate) = inner;
                let child = pool.spawn(|| 7).unwrap();
                started.send(()).unwrap();
                gate.wait();
                child.join().unwrap()
            })
            .unwrap();
        begun.recv().unwrap();
        let closer = Arc::clone(&pool);
        let closing = std::thread::spawn(move || closer.shutdown());
        eventually("the pool closes", || pool.is_closed());
        gate.open();
        assert_eq!(outer.join().unwrap(), 7);
        assert!(closing.join().unwrap().is_complete());
    });
}

struct Nested;

impl Worker for Nested {
    type Input = Box<dyn FnOnce() -> bool + Send>;
    type Output = bool;

    fn process(&mut self, task: Self::Input, _cx: &Context<'_>) -> bool {
        task()
    }
}

/// Two workers: one waits for a result that the other could make. When the pool shrinks to the one that waits, it
/// is told instead of waiting for ever.
#[test]
fn b05_shrinking_takes_the_leave_to_wait_back() {
    within(LIMIT, "shrink while waiting", || {
        let pool = Arc::new(StatefulPool::new(2, |_| Ok(Nested)).unwrap());
        let (busy, waits) = (Gate::new(), Gate::new());
        let long = busy.clone();
        let other = pool
            .submit(Box::new(move || {
                long.wait();
                true
            }))
            .unwrap();
        busy.await_arrivals(1);
        let (inner, about) = (Arc::clone(&pool), waits.clone());
        let waiting = pool
            .submit(Box::new(move || {
                about.wait();
                // Queued behind nothing, but the only other worker is busy.
                inner.process(Box::new(|| true)).unwrap_err().is_would_deadlock()
            }))
            .unwrap();
        waits.await_arrivals(1);
        waits.open();
        eventually("the nested input is queued", || pool.queued() == 1);
        pool.tune(1).unwrap();
        busy.open();
        assert!(other.join().unwrap());
        assert!(waiting.join().unwrap(), "the wait was refused as a deadlock");
    });
}

/// A pause with a time limit ends by itself even if it was hidden behind one without.
#[test]
fn a37_a_timed_pause_under_an_open_one_still_ends() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(2, 8));
        let count = Count::new();
        pool.submit(count.task()).unwrap();
        pool.wait_idle();
        let open = pool.pause();
        let timed = pool.pause_timeout(Duration::from_millis(20));
        pool.submit(count.task()).unwrap();
        // Gives the worker time to fall asleep without an alarm, which is the case to be tested; in the other
        // case the test passes too.
        std::thread::sleep(Duration::from_millis(5));
        drop(open);
        pool.wait_idle();
        assert_eq!(count.get(), 2);
        drop(timed);
    });
}
