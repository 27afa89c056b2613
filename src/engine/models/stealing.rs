//! Loom models of jobs in local deques: no wake-up is lost, and the limit on running tasks counts what is stolen.

use super::model_pool::{LONG, ModelPool, OPENS, with_workers};
use super::nested::run_two_one_at_a_time;
use crate::queue::Queue;
use crate::sync::explore::explore;

/// A job in another worker's deque, and a worker that falls asleep: the worker steals it. The first job is pushed with a new deque.
pub(super) fn a_job_is_stolen<Q: Queue<usize>>() {
    explore(2, || {
        let pool = ModelPool::<Q>::new(1, 8, 2);
        let mut kept = None;
        with_workers(&pool, 1, || {
            let local = pool.deques.register(1);
            pool.push_job(&local, 1);
            pool.push_job(&local, 2);
            kept = Some(local);
        });
        assert_eq!(kept.and_then(|local| local.pop()), None);
        let load = pool.queue.load();
        assert_eq!((load.queued, load.running, load.accepted), (0, 0, 2));
    });
}

/// No job waits while a worker sleeps: the task of its owner ends only when the job was stolen.
pub(super) fn no_job_waits_for_its_owner<Q: Queue<usize>>() {
    explore(1, || {
        let pool = ModelPool::<Q>::new(2, 8, 2);
        let local = pool.deques.register(2);
        with_workers(&pool, 2, || {
            assert!(pool.try_enter(LONG).is_ok());
            pool.push_job(&local, OPENS);
        });
        assert_eq!(local.pop(), None);
    });
}

/// Where one task may run, a stolen job and a task of the queue run one at a time, and both run.
pub(super) fn one_limit_for_stolen_jobs<Q: Queue<usize>>() {
    explore(3, || {
        let pool = ModelPool::<Q>::new(2, 8, 2);
        pool.queue.set_limits(Some(1), 2);
        let local = pool.deques.register(2);
        local.push(1);
        assert!(pool.try_enter(2).is_ok());
        run_two_one_at_a_time(&pool);
        let load = pool.queue.load();
        assert_eq!((load.queued, load.running, load.accepted), (0, 0, 2));
    });
}
