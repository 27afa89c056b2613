//! No submitter stays blocked while there is room, and no task stays queued while a worker is free.

use std::sync::Arc;
use std::time::Duration;

use crate::support::on_every_dispatch;
use crate::support::races::{panicking, shift, together};
use crate::support::{AnyPool, Count, Gate, Setup, assert_conserved, eventually, for_each};
use formicary::{Context, Dispatch, StatefulPool, Task, Worker, WorkerPool};

/// A thread that submits `task` and gets in at some time.
fn submitter(pool: &AnyPool, task: Task) -> std::thread::JoinHandle<bool> {
    let pool = Arc::clone(pool);
    std::thread::spawn(move || pool.submit(task).is_ok())
}

/// A pool all of whose workers wait at the gate.
fn held(variant: crate::support::Variant, setup: Setup) -> (AnyPool, Gate) {
    let workers = setup.workers.unwrap();
    let (pool, gate) = (variant.build(setup), Gate::new());
    for _ in 0..workers {
        pool.submit(gate.task()).unwrap();
    }
    gate.await_arrivals(workers);
    (pool, gate)
}

/// B01: the end of the only worker's task is a panic; the blocked submitter gets in all the same.
#[test]
fn b01_panic_lets_a_blocked_submitter_in() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(1, 0)), Gate::new());
        let wait = gate.clone();
        pool.submit(Task::new(move || {
            wait.wait();
            crate::support::races::quiet_panic();
        }))
        .unwrap();
        let ran = Count::new();
        let blocked = submitter(&pool, ran.task());
        eventually("the submitter waits", || pool.waiting() == 1);
        gate.open();
        assert!(blocked.join().unwrap());
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 1);
    });
}

/// B01: tasks that all panic, from many submitters, through a pool without a queue.
#[test]
fn b01_workers_that_all_panic_strand_no_submitter() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(2, 0));
        together(6, |_| {
            for _ in 0..100 {
                pool.submit(panicking()).unwrap();
            }
        });
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().panicked, 600);
        assert_conserved(&*pool);
    });
}

/// B01: the only worker has decided to expire and has not exited yet: a task that comes now runs.
#[test]
fn b01_a_task_that_meets_a_leaving_worker_runs() {
    for_each(|variant| {
        let leaving = Gate::new();
        let hook = leaving.clone();
        let mut setup = Setup::new(1, 4);
        setup.min_workers = Some(0);
        setup.expiry = Some(Some(Duration::from_millis(1)));
        setup.on_thread_stop = Some(Arc::new(move |_| hook.wait()));
        let (pool, ran) = (variant.build(setup), Count::new());
        pool.submit(ran.task()).unwrap();
        leaving.await_arrivals(1);
        pool.submit(ran.task()).unwrap();
        leaving.open();
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 2);
    });
}

/// B01: workers that expire all the time, and submitters that come at about that moment.
#[test]
fn b01_submits_racing_with_expiry_all_run() {
    for_each(|variant| {
        let mut setup = Setup::new(2, 1);
        setup.min_workers = Some(0);
        setup.expiry = Some(Some(Duration::from_millis(1)));
        let (pool, ran) = (variant.build(setup), Count::new());
        for round in 0..300 {
            together(3, |_| pool.submit(ran.task()).unwrap());
            assert!(pool.wait_idle());
            assert_eq!(ran.get(), 3 * (round + 1));
            shift(Duration::from_micros(900 + 10 * (round as u64 % 30)));
        }
        assert_conserved(&*pool);
    });
}

/// B01: growing lets in every submitter that there is room for, not only the head of the wait queue.
#[test]
fn b01_tune_up_lets_every_blocked_submitter_in() {
    for_each(|variant| {
        let (pool, gate) = held(variant, Setup::new(1, 0));
        let blocked: Vec<_> = (0..5).map(|_| submitter(&pool, gate.task())).collect();
        eventually("all wait", || pool.waiting() == 5);
        pool.tune(6).unwrap();
        for submitter in blocked {
            assert!(submitter.join().unwrap());
        }
        gate.await_arrivals(6);
        gate.open();
    });
}

/// B01: with a queue in between, growing both starts queued tasks and lets blocked submitters in.
#[test]
fn b01_tune_up_starts_what_is_queued() {
    for_each(|variant| {
        let (pool, gate) = held(variant, Setup::new(1, 2));
        (0..2).for_each(|_| pool.submit(gate.task()).unwrap());
        let blocked: Vec<_> = (0..3).map(|_| submitter(&pool, gate.task())).collect();
        eventually("all wait", || pool.waiting() == 3);
        pool.tune(6).unwrap();
        gate.await_arrivals(6);
        for submitter in blocked {
            assert!(submitter.join().unwrap());
        }
        gate.open();
    });
}

/// B01: a submitter that gives up at the moment it is notified passes the notification on.
#[test]
fn b01_giving_up_passes_the_wake_up_on() {
    for_each(|variant| {
        for round in 0..100 {
            let (pool, gate) = held(variant, Setup::new(1, 0));
            let ran = Count::new();
            let limit = Duration::from_micros(1000);
            std::thread::scope(|scope| {
                let hasty = scope.spawn(|| pool.submit_timeout(ran.task(), limit).is_ok());
                let patient = scope.spawn(|| pool.submit(ran.task()).is_ok());
                shift(Duration::from_micros(900 + 5 * (round % 40)));
                gate.open();
                assert!(patient.join().unwrap());
                let accepted = 1 + usize::from(hasty.join().unwrap());
                assert!(pool.wait_idle());
                assert_eq!(ran.get(), accepted);
            });
        }
    });
}

/// B01: closing wakes both producers, while the worker is still at work.
#[test]
fn b01_close_wakes_two_blocked_producers() {
    for_each(|variant| {
        let (pool, gate) = held(variant, Setup::new(1, 0));
        let ran = Count::new();
        std::thread::scope(|scope| {
            let producers: Vec<_> = (0..2).map(|_| scope.spawn(|| pool.submit(ran.task()).unwrap_err())).collect();
            eventually("both wait", || pool.waiting() == 2);
            let closer = scope.spawn(|| pool.shutdown());
            for producer in producers {
                let refusal = producer.join().unwrap();
                assert!(refusal.is_closed());
                refusal.into_task().run();
            }
            gate.open();
            assert!(closer.join().unwrap().is_complete());
        });
        assert_eq!(ran.get(), 2, "both tasks came back whole");
    });
}

/// B13: with a queue of zero, too, one more worker is one more place.
#[test]
fn b13_tune_up_with_a_queue_of_zero_wakes_the_submitter() {
    for_each(|variant| {
        let (pool, gate) = held(variant, Setup::new(2, 0));
        let blocked = submitter(&pool, gate.task());
        eventually("it waits", || pool.waiting() == 1);
        pool.tune(3).unwrap();
        assert!(blocked.join().unwrap());
        gate.await_arrivals(3);
        gate.open();
    });
}

/// B17: as many tasks as there are parked workers, one right after the other: each finds a worker, though the first one woken is
/// not running yet when the next tasks are submitted.
#[test]
fn b17_every_sleeper_is_woken_when_it_is_needed() {
    for_each(|variant| {
        let mut setup = Setup::new(4, 8);
        setup.min_workers = Some(4);
        setup.expiry = Some(None);
        let pool = variant.build(setup);
        for round in 0..300 {
            let gate = Gate::new();
            if round % 2 == 0 {
                (0..4).for_each(|_| pool.submit(gate.task()).unwrap());
            } else {
                together(2, |_| (0..2).for_each(|_| pool.submit(gate.task()).unwrap()));
            }
            gate.await_arrivals(4);
            gate.open();
            assert!(pool.wait_idle());
        }
        assert_eq!(pool.stats().spawned, 4);
    });
}

/// B17: workers that have to be started first: no task waits while there may be one more.
#[test]
fn b17_workers_are_started_while_tasks_wait() {
    for_each(|variant| {
        for _ in 0..30 {
            let mut setup = Setup::new(4, 8);
            setup.min_workers = Some(0);
            let (pool, gate) = (variant.build(setup), Gate::new());
            together(2, |_| (0..2).for_each(|_| pool.submit(gate.task()).unwrap()));
            gate.await_arrivals(4);
            gate.open();
        }
    });
}

/// B17: no task waits behind a long one while another worker is free.
#[test]
fn b17_a_long_task_holds_up_no_other() {
    for_each(|variant| {
        let pool = variant.build(Setup::roomy(2));
        for _ in 0..50 {
            let (gate, ran) = (Gate::new(), Count::new());
            pool.submit(gate.task()).unwrap();
            (0..20).for_each(|_| pool.submit(ran.task()).unwrap());
            eventually("the short ones ran", || ran.get() == 20);
            gate.open();
            assert!(pool.wait_idle());
        }
    });
}

struct SlowToBeReady(Gate, usize);

impl Worker for SlowToBeReady {
    type Input = ();
    type Output = usize;

    fn process(&mut self, _: (), _: &Context<'_>) -> usize {
        self.1
    }

    const READY_BLOCKS: bool = true;

    fn ready(&mut self) {
        if self.1 == 0 {
            self.0.wait();
        }
    }
}

/// B17: no task relies on a worker that is not ready to take work.
fn a_worker_that_is_not_ready<D: Dispatch>() {
    let gate = Gate::new();
    let hold = gate.clone();
    let pool = StatefulPool::builder(move |worker| Ok(SlowToBeReady(hold.clone(), worker)))
        .workers(2)
        .dispatch::<D>()
        .build()
        .unwrap();
    gate.await_arrivals(1);
    let served = pool.spawn(()).unwrap().join_timeout(Duration::from_secs(20));
    gate.open();
    assert_eq!(served.expect("the task is left to a worker that is not ready").unwrap(), 1);
}

#[test]
fn b17_a_worker_that_is_not_ready_is_not_counted_on() {
    on_every_dispatch!(a_worker_that_is_not_ready);
}

/// A task submits three children by `submit`, and then blocks until all of them have met.
fn children_meet(min_workers: usize, submit: fn(&dyn WorkerPool<Task>, &Gate)) {
    for_each(move |variant| {
        let mut setup = Setup::new(4, 8);
        setup.min_workers = Some(min_workers);
        setup.expiry = Some(None);
        let pool = variant.build(setup);
        for _ in 0..100 {
            let (children, done) = (Gate::new(), Gate::new());
            let (inner, met, end) = (Arc::downgrade(&pool), children.clone(), done.clone());
            pool.submit(Task::new(move || {
                submit(&*inner.upgrade().unwrap(), &met);
                end.wait();
            }))
            .unwrap();
            children.await_arrivals(3);
            children.open();
            done.open();
            assert!(pool.wait_idle());
        }
    });
}

/// B18: a worker that submits and then blocks: its children run elsewhere, without its help.
#[test]
fn b18_children_of_a_blocking_task_run_elsewhere() {
    for min_workers in [0, 4] {
        children_meet(min_workers, |pool, met| (0..3).for_each(|_| pool.submit(met.task()).unwrap()));
    }
}

/// B18: the same for many at once.
#[test]
fn b18_children_submitted_all_at_once_run_elsewhere() {
    for min_workers in [0, 4] {
        children_meet(min_workers, |pool, met| {
            pool.submit_all(&mut (0..3).map(|_| met.task())).unwrap();
        });
    }
}

/// B18: an iterator blocks before its next task (on a channel, say): the tasks that it has given out run meanwhile.
#[test]
fn b18_a_blocking_iterator_strands_no_task() {
    for_each(|variant| {
        let mut setup = Setup::new(2, 8);
        setup.min_workers = Some(2);
        let (pool, gate) = (variant.build(setup), Gate::new());
        for round in 1..=20 {
            let mut tasks = (0..2).map(|n| {
                // The second task comes when the first has run.
                gate.await_arrivals(2 * round - 2 + n);
                gate.task()
            });
            gate.open();
            // Most likely the workers are asleep then, which is the harder case.
            shift(Duration::from_millis(2));
            assert_eq!(pool.submit_all(&mut tasks).unwrap(), 2);
            assert!(pool.wait_idle());
        }
    });
}

/// B18: an iterator panics: the tasks that it has given out are accepted, and run.
#[test]
fn b18_a_panicking_iterator_strands_no_task() {
    for_each(|variant| {
        let (pool, ran) = (variant.build(Setup::new(2, 8)), Count::new());
        for round in 1..=20 {
            let mut tasks = (0..2).map(|n| {
                if n == 1 {
                    crate::support::races::quiet_panic();
                }
                ran.task()
            });
            let submitting = std::panic::AssertUnwindSafe(|| pool.submit_all(&mut tasks).is_ok());
            assert!(std::panic::catch_unwind(submitting).is_err());
            assert!(pool.wait_idle());
            assert_eq!(ran.get(), round);
        }
    });
}
