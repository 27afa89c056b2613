//! B05: a pool that is used from inside its own tasks never hangs; also where these keep to the bound (`Nested::Bounded`). What goes
//! beyond it is in `inside.rs`.

use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::time::Duration;

use crate::support::on_every_dispatch;
use crate::support::races::together;
use crate::support::{Count, Gate, Setup, assert_conserved, eventually, for_each};
use formicary::{
    BuildError, Context, Dispatch, Nested, Pool, PoolWithFunc, StatefulPool, SubmitErrorKind, Task, Worker, WorkerPool,
};

type Inner = Weak<dyn WorkerPool<Task>>;

/// Submits from inside; when the pool refuses because it would deadlock, the task runs on the spot.
fn submit_or_run(pool: &Inner, task: Task) {
    if let Err(refusal) = pool.upgrade().expect("the pool is alive").submit(task) {
        assert_eq!(refusal.kind(), SubmitErrorKind::WouldDeadlock);
        refusal.into_task().run();
    }
}

/// B05: one worker, no queue: its task submits to the pool that it fills itself.
#[test]
fn b05_submit_to_a_pool_of_one_that_is_full() {
    for_each(|variant| {
        let (pool, ran) = (variant.build(Setup::new(1, 0).bounded()), Count::new());
        let (inner, count) = (Arc::downgrade(&pool), ran.clone());
        let (tell, told) = mpsc::channel();
        pool.submit(Task::new(move || {
            let result = inner.upgrade().unwrap().submit(count.task());
            tell.send(result.map_err(|refusal| refusal.kind())).unwrap();
        }))
        .unwrap();
        let result = told.recv().unwrap();
        assert!(pool.wait_idle());
        let expected = if variant.helps { Ok(()) } else { Err(SubmitErrorKind::WouldDeadlock) };
        assert_eq!(result, expected);
        assert_eq!(ran.get(), usize::from(variant.helps));
        assert_conserved(&*pool);
    });
}

/// B05: a wait with a time limit ends by itself, so the last worker may wait, too.
#[test]
fn b05_a_timed_submit_to_a_pool_of_one_that_is_full() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(1, 0).bounded());
        let inner = Arc::downgrade(&pool);
        let (tell, told) = mpsc::channel();
        pool.submit(Task::new(move || {
            let result = inner.upgrade().unwrap().submit_timeout(Task::new(|| ()), Duration::from_millis(1));
            tell.send(result.map_err(|refusal| refusal.kind())).unwrap();
        }))
        .unwrap();
        assert_eq!(told.recv().unwrap(), Err(SubmitErrorKind::TimedOut));
    });
}

/// B05: with a queue that is full the waiting worker runs what is queued, oldest first, and then gets in.
#[test]
fn b05_the_waiting_worker_runs_what_is_queued() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(1, 2).bounded()), Gate::new());
        let (tell, told) = mpsc::channel();
        let say = |what: &'static str| {
            let tell = tell.clone();
            Task::new(move || tell.send(what).unwrap())
        };
        let (inner, wait, child) = (Arc::downgrade(&pool), gate.clone(), say("child"));
        let end = say("parent");
        pool.submit(Task::new(move || {
            wait.wait();
            submit_or_run(&inner, child);
            end.run();
        }))
        .unwrap();
        gate.await_arrivals(1);
        pool.submit(say("first")).unwrap();
        pool.submit(say("second")).unwrap();
        gate.open();
        assert!(pool.wait_idle());
        drop(tell);
        let order: Vec<_> = told.iter().take(4).collect();
        if variant.helps {
            assert_eq!(order, ["first", "parent", "second", "child"]);
        } else {
            assert_eq!(order, ["child", "parent", "first", "second"]);
        }
        assert_conserved(&*pool);
    });
}

/// B05, A37: in a paused pool the waiting worker starts nothing that is queued; only the task in hand, as a part of its own.
#[test]
fn b05_a37_a_waiting_worker_starts_nothing_in_a_paused_pool() {
    for_each(|variant| {
        let (pool, ran) = (variant.build(Setup::new(1, 1).bounded()), Count::new());
        let (inner, count) = (Arc::downgrade(&pool), ran.clone());
        let (tell, told) = mpsc::channel();
        pool.submit(Task::new(move || {
            let pool = inner.upgrade().unwrap();
            let pause = pool.pause();
            pool.submit(count.task()).unwrap();
            let result = pool.submit(Task::new(|| ())).map_err(|refusal| refusal.kind());
            tell.send((result, count.get())).unwrap();
            drop(pause);
        }))
        .unwrap();
        let expected = if variant.helps { Ok(()) } else { Err(SubmitErrorKind::WouldDeadlock) };
        assert_eq!(told.recv().unwrap(), (expected, 0));
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 1);
        assert_conserved(&*pool);
    });
}

/// B05: while another worker is free to make room, the submitting one waits for it and is not refused; nor the next time, when that
/// wait is over.
#[test]
fn b05_a_worker_waits_while_another_is_free() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(2, 0).bounded());
        for _ in 0..2 {
            let (busy, ran) = (Gate::new(), Count::new());
            let (inner, count) = (Arc::downgrade(&pool), ran.clone());
            pool.submit(busy.task()).unwrap();
            busy.await_arrivals(1);
            let (tell, told) = mpsc::channel();
            pool.submit(Task::new(move || {
                tell.send(inner.upgrade().unwrap().submit(count.task()).is_ok()).unwrap();
            }))
            .unwrap();
            eventually("it waits for room in its own pool", || pool.waiting() == 1);
            busy.open();
            assert!(told.recv().unwrap());
            assert!(pool.wait_idle());
            assert_eq!(ran.get(), 1);
        }
    });
}

/// B05: the same, and the other worker submits too: one of the two must not wait.
#[test]
fn b05_all_workers_wait_for_room_at_once() {
    for workers in [2, 3, 4] {
        for_each(move |variant| {
            for _ in 0..50 {
                let (pool, meet) = (variant.build(Setup::new(workers, 0).bounded()), Gate::new());
                let ran = Count::new();
                for _ in 0..workers {
                    let (inner, meet, count) = (Arc::downgrade(&pool), meet.clone(), ran.clone());
                    pool.submit(Task::new(move || {
                        meet.wait();
                        submit_or_run(&inner, count.task());
                    }))
                    .unwrap();
                }
                meet.await_arrivals(workers);
                meet.open();
                assert!(pool.wait_idle());
                assert_eq!((ran.get(), pool.stats().panicked), (workers, 0));
            }
        });
    }
}

/// B05: two workers wait for the third, and the pool shrinks: when the third exits, the others lose their permit to wait.
#[test]
fn b05_shrinking_revokes_the_permit_to_wait() {
    for_each(|variant| {
        let (pool, meet, busy) = (variant.build(Setup::new(3, 0).bounded()), Gate::new(), Gate::new());
        let ran = Count::new();
        pool.submit(busy.task()).unwrap();
        for _ in 0..2 {
            let (inner, meet, count) = (Arc::downgrade(&pool), meet.clone(), ran.clone());
            pool.submit(Task::new(move || {
                meet.wait();
                submit_or_run(&inner, count.task());
            }))
            .unwrap();
        }
        meet.await_arrivals(2);
        meet.open();
        eventually("both wait", || pool.waiting() == 2);
        pool.tune(1).unwrap();
        busy.open();
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 2);
        assert_conserved(&*pool);
    });
}

fn grow_tree(pool: &Inner, ran: &Count, depth: usize) {
    ran.up();
    if depth == 0 {
        return;
    }
    for _ in 0..3 {
        let (inner, ran) = (pool.clone(), ran.clone());
        submit_or_run(pool, Task::new(move || grow_tree(&inner, &ran, depth - 1)));
    }
}

/// B05: many tasks that each submit children to a tiny queue, from many sides.
#[test]
fn b05_trees_of_tasks_on_a_tiny_queue() {
    for (workers, queue) in [(1, 0), (1, 1), (2, 1), (4, 2)] {
        for_each(move |variant| {
            let (pool, ran) = (variant.build(Setup::new(workers, queue).bounded()), Count::new());
            together(3, |_| {
                let (inner, ran) = (Arc::downgrade(&pool), ran.clone());
                pool.submit(Task::new(move || grow_tree(&inner, &ran, 5))).unwrap();
            });
            assert!(pool.wait_idle());
            assert_eq!((ran.get(), pool.stats().panicked), (3 * 364, 0));
            assert_conserved(&*pool);
        });
    }
}

fn descend(pool: &Inner, ran: &Count, depth: usize) {
    ran.up();
    if depth > 0 {
        let (inner, ran) = (pool.clone(), ran.clone());
        submit_or_run(pool, Task::new(move || descend(&inner, &ran, depth - 1)));
    }
}

/// B05: a hundred deep, on a pool of one worker and no queue.
#[test]
fn b05_deep_nesting_ends() {
    for_each(|variant| {
        let (pool, ran) = (variant.build(Setup::new(1, 0).bounded()), Count::new());
        let (inner, count) = (Arc::downgrade(&pool), ran.clone());
        pool.submit(Task::new(move || descend(&inner, &count, 100))).unwrap();
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 101);
        assert_conserved(&*pool);
    });
}

/// B05: a worker that runs queued tasks while it waits for room makes room, also for other waiting submitters: here its task goes
/// on only when the outside submitter has got in.
#[test]
fn b05_room_made_by_helping_is_announced() {
    for_each(|variant| {
        if !variant.helps {
            return;
        }
        let (pool, start, entered) = (variant.build(Setup::new(1, 1).bounded()), Gate::new(), Gate::new());
        let (inner, wait) = (Arc::downgrade(&pool), start.clone());
        pool.submit(Task::new(move || {
            wait.wait();
            submit_or_run(&inner, Task::new(|| ()));
        }))
        .unwrap();
        start.await_arrivals(1);
        pool.submit(entered.task()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pool.submit(Task::new(|| ())).unwrap();
                entered.open();
            });
            eventually("the outsider waits", || pool.waiting() == 1);
            start.open();
        });
        assert!(pool.wait_idle());
        assert_eq!(pool.stats().completed, 4);
    });
}

/// B05: `wait_idle` and the shutdowns do not wait for the task that calls them.
#[test]
fn b05_waiting_for_the_end_from_inside() {
    for_each(|variant| {
        let pool = variant.build(Setup::new(1, 4));
        let inner = Arc::downgrade(&pool);
        let (tell, told) = mpsc::channel();
        pool.submit(Task::new(move || {
            let pool = inner.upgrade().unwrap();
            let idle = [pool.wait_idle(), pool.wait_idle_timeout(Duration::from_secs(3600))];
            let quiet = pool.pause().wait_quiet();
            let ends = [pool.shutdown(), pool.shutdown_timeout(Duration::from_secs(3600))];
            let returned = pool.shutdown_now().len();
            let again = matches!(pool.restart(), Err(BuildError::StillRunning));
            let refused = pool.submit(Task::new(|| ())).unwrap_err().kind();
            let complete = ends.map(|report| report.is_complete());
            tell.send((idle, quiet, complete, returned, again, refused)).unwrap();
        }))
        .unwrap();
        let seen = told.recv().unwrap();
        assert_eq!(seen, ([false; 2], false, [false; 2], 0, true, SubmitErrorKind::Closed));
        assert!(pool.shutdown().is_complete());
        pool.restart().unwrap();
        pool.submit(Task::new(|| ())).unwrap();
    });
}

/// B05: the last owner of the pool is one of its own tasks.
#[test]
fn b05_dropping_the_pool_from_inside() {
    for_each(|variant| {
        let mut setup = Setup::new(1, 4);
        setup.thread_name = Some("b05drop".into());
        let (pool, gate, ran) = (variant.build(setup), Gate::new(), Count::new());
        let (own, wait) = (Arc::clone(&pool), gate.clone());
        pool.submit(Task::new(move || {
            wait.wait();
            drop(own);
        }))
        .unwrap();
        pool.submit(ran.task()).unwrap();
        gate.await_arrivals(1);
        drop(pool);
        gate.open();
        eventually("its queue has run", || ran.get() == 1);
        eventually("its thread is gone", || crate::support::threads_named("b05drop") == 0);
    });
}

/// B05: `run`, and `join` of a spawned task, on a pool whose only worker asks for them.
fn run_and_join<D: Dispatch>() {
    for queue in [0, 1, 8] {
        let pool = Pool::builder().workers(1).queue(queue).dispatch::<D>().build().unwrap();
        let pool = Arc::new(pool);
        let inner = Arc::downgrade(&pool);
        let sum = pool.run(move || {
            let pool = inner.upgrade().unwrap();
            let run = pool.run(|| 1).unwrap();
            let join = pool.spawn(|| 10).unwrap().join().unwrap();
            let handles = [100, 200].map(|n| pool.spawn(move || n).unwrap());
            let both: i32 = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
            let panicked = pool.run(crate::support::races::quiet_panic).unwrap_err().is_panic();
            run + join + both + i32::from(panicked)
        });
        assert_eq!(sum.unwrap(), 312);
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    }
}

#[test]
fn b05_run_and_join_from_inside() {
    on_every_dispatch!(run_and_join);
}

/// B05: while the pool drains its queue before its end, a task may still wait for one that it had spawned.
fn join_while_closing<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(1).queue(8).dispatch::<D>().build().unwrap());
    let (inner, gate) = (Arc::downgrade(&pool), Gate::new());
    let wait = gate.clone();
    let parent = pool
        .spawn(move || {
            let pool = inner.upgrade().unwrap();
            let child = pool.spawn(|| 7).unwrap();
            wait.wait();
            child.join()
        })
        .unwrap();
    gate.await_arrivals(1);
    std::thread::scope(|scope| {
        let closer = scope.spawn(|| pool.shutdown());
        eventually("closed", || pool.is_closed());
        gate.open();
        assert!(closer.join().unwrap().is_complete());
    });
    assert_eq!(parent.join().unwrap().expect("the child was accepted"), 7);
}

#[test]
fn b05_join_from_inside_while_closing() {
    on_every_dispatch!(join_while_closing);
}

/// B05: a function that calls its own pool.
fn call_from_inside<D: Dispatch>() {
    type Sums<D> = PoolWithFunc<u64, D, u64>;
    for (workers, queue) in [(1, 0), (1, 4), (3, 0)] {
        let place: Arc<OnceLock<Weak<Sums<D>>>> = Arc::default();
        let own = Arc::clone(&place);
        let sum = move |n| match n {
            0 => 0,
            n => n + own.get().unwrap().upgrade().unwrap().run(n - 1).unwrap(),
        };
        let builder = PoolWithFunc::builder(sum).workers(workers).queue(queue);
        let pool: Arc<Sums<D>> = Arc::new(builder.dispatch().build().unwrap());
        place.set(Arc::downgrade(&pool)).unwrap();
        together(4, |_| assert_eq!(pool.run(10).unwrap(), 55));
        assert!(pool.wait_idle());
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.completed), (44, 44));
    }
}

#[test]
fn b05_call_from_inside() {
    on_every_dispatch!(call_from_inside);
}

/// Calls its own pool with one less, `input` times; returns how many of the calls were refused.
struct Asks<D: Dispatch>(Arc<OnceLock<Asked<D>>>);

type Asked<D> = Weak<StatefulPool<Asks<D>, D>>;

impl<D: Dispatch> Worker for Asks<D> {
    type Input = u32;
    type Output = u32;

    fn process(&mut self, depth: u32, _: &Context<'_>) -> u32 {
        let Some(next) = depth.checked_sub(1) else { return 0 };
        let pool = self.0.get().unwrap().upgrade().unwrap();
        match pool.run(next) {
            Ok(refused) => refused,
            Err(error) => {
                assert!(error.is_would_deadlock(), "{error}");
                1
            }
        }
    }
}

fn process_from_inside<D: Dispatch>() {
    for queue in [0, 8] {
        let place = Arc::new(OnceLock::new());
        let own = Arc::clone(&place);
        let builder = StatefulPool::builder(move |_| Ok(Asks::<D>(Arc::clone(&own))));
        let pool = Arc::new(builder.workers(3).queue(queue).dispatch().build().unwrap());
        place.set(Arc::downgrade(&pool)).unwrap();
        assert_eq!(pool.run(2).unwrap(), 0, "three workers are enough for two nested calls");
        assert!(pool.wait_idle());
        assert_eq!(pool.run(3).unwrap(), 1, "and not for three");
        together(4, |_| assert!(pool.run(5).unwrap() <= 1));
        assert!(pool.wait_idle());
        let stats = pool.stats();
        assert_eq!((stats.panicked, stats.submitted), (0, stats.completed + stats.cancelled));
    }
}

#[test]
fn b05_process_from_inside() {
    on_every_dispatch!(process_from_inside);
}

/// B05: a task ends its pool, and then joins a child that was given back and submits one more: it gets an error for both, and each
/// task is counted once.
fn join_what_was_given_back<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(1).queue(8).dispatch::<D>().build().unwrap());
    let inner = Arc::downgrade(&pool);
    let parent = pool.spawn(move || {
        let pool = inner.upgrade().unwrap();
        let child = pool.spawn(|| 7).unwrap();
        let returned = pool.shutdown_now().len();
        let cancelled = child.join().unwrap_err().is_cancelled();
        (returned, cancelled, pool.run(|| ()).is_err())
    });
    assert_eq!(parent.unwrap().join().unwrap(), (1, true, true));
    assert!(pool.shutdown().is_complete());
    assert_conserved(&*pool);
}

#[test]
fn b05_join_from_inside_of_what_was_given_back() {
    on_every_dispatch!(join_what_was_given_back);
}

/// One worker waits for room with a task, and the other waits for that one's task: the first has to run its task itself.
fn one_waits_for_room<D: Dispatch>() {
    let pool = Arc::new(Pool::builder().workers(2).queue(0).nested(Nested::Bounded).dispatch::<D>().build().unwrap());
    let inner = pool.clone();
    let sum = pool.run(move || {
        let waits = inner.clone();
        let handle = inner.spawn(move || waits.spawn(|| 20).unwrap().join().unwrap() + 1).unwrap();
        eventually("the other one waits for room", || inner.waiting() == 1);
        handle.join().unwrap() + 1
    });
    assert_eq!(sum.unwrap(), 22);
}

#[test]
fn b05_a_worker_waits_for_one_that_waits_for_room() {
    on_every_dispatch!(one_waits_for_room);
}
