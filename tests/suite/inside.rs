//! D09: what a pool's own tasks submit to it goes in beyond the bound, whatever the pool's kind, dispatch and size.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use crate::support::closures::{assert_quiet, occupy, pool};
use crate::support::waking::block_on;
use crate::support::{Count, Gate, LIMIT, Setup, assert_conserved, eventually, for_each, on_every_dispatch, within};
use formicary::{Dispatch, Nested, Pool, Sharded, SubmitErrorKind, Task, WorkerPool};
use parking_lot::Mutex;

fn grow_tree<D: Dispatch>(pool: &Weak<Pool<D>>, ran: &Arc<AtomicUsize>, levels: u32) {
    ran.fetch_add(1, SeqCst);
    for _ in 0..if levels > 1 { 2 } else { 0 } {
        let (inner, ran) = (Weak::clone(pool), Arc::clone(ran));
        pool.upgrade().unwrap().submit(move || grow_tree(&inner, &ran, levels - 1)).unwrap();
    }
}

/// D09: two children a node, on the default queue: every node runs, and none is refused. A million nodes where the code is optimised.
fn tree<D: Dispatch>() {
    let levels = if cfg!(debug_assertions) { 18 } else { 20 };
    for workers in [1, 2, 4] {
        let (pool, ran) = (Arc::new(Pool::<D>::with_workers(workers).unwrap()), Arc::new(AtomicUsize::new(0)));
        let (inner, count) = (Arc::downgrade(&pool), Arc::clone(&ran));
        pool.submit(move || grow_tree(&inner, &count, levels)).unwrap();
        assert!(pool.wait_idle());
        let stats = pool.stats();
        assert_eq!((ran.load(SeqCst), stats.rejected, stats.panicked), ((1 << levels) - 1, 0, 0));
        assert!(stats.peak_running <= workers && stats.overcommitted == 0, "{stats:?}");
        assert_conserved(&*pool);
    }
}

#[test]
fn d09_a_tree_of_nested_submits() {
    on_every_dispatch!(tree);
}

/// D09: the same with a hundred roots from outside at once, dropping the pool instead of waiting for it: what was accepted runs.
fn dropped_with_trees<D: Dispatch>() {
    let ran = Count::new();
    let pool = pool::<D>(2, 10);
    for _ in 0..100 {
        let (inner, ran) = (Arc::downgrade(&pool), ran.clone());
        pool.submit(move || {
            ran.up();
            let children = (0..10).map(|_| ran.clone()).map(|ran| move || _ = ran.up());
            // Refused once the pool is closed.
            if let Some(pool) = inner.upgrade() {
                let accepted = pool.submit_all(children).unwrap_or_else(|error| error.accepted());
                assert!(accepted == 10 || pool.is_closed());
            }
        })
        .unwrap();
    }
    let stats = || pool.stats();
    assert!(pool.wait_idle());
    assert_eq!((stats().completed, stats().overcommitted), (1100, 0));
    drop(pool);
    assert_eq!(ran.get(), 1100);
}

#[test]
fn d09_what_was_accepted_inside_runs() {
    on_every_dispatch!(dropped_with_trees);
}

/// D09: every verb of every kind, from a task of a pool of one that is full, blocking or not: accepted at once, and run.
#[test]
fn d09_no_verb_is_refused_for_lack_of_room() {
    for_each(|variant| {
        for nonblocking in [false, true] {
            let setup = Setup { nonblocking, max_blocking: Some(0), ..Setup::new(1, 1) };
            let (pool, ran, gate) = (variant.build(setup), Count::new(), Gate::new());
            let (inner, count, wait) = (Arc::downgrade(&pool), ran.clone(), gate.clone());
            let (sender, receiver) = mpsc::channel();
            pool.submit(Task::new(move || {
                wait.wait();
                let pool = inner.upgrade().unwrap();
                let mut kinds = Vec::new();
                for _ in 0..3 {
                    kinds.push(pool.submit(count.task()).map_err(|refusal| refusal.kind()));
                    kinds.push(pool.try_submit(count.task()).map_err(|refusal| refusal.kind()));
                    kinds.push(pool.submit_timeout(count.task(), Duration::ZERO).map_err(|refusal| refusal.kind()));
                }
                let all = pool.submit_all(&mut std::iter::repeat_with(|| count.task()).take(10));
                sender.send((kinds, all.map_err(|(_, refusal)| refusal.kind()), pool.stats().overcommitted)).unwrap();
            }))
            .unwrap();
            gate.await_arrivals(1);
            pool.submit(ran.task()).unwrap();
            gate.open();
            assert_eq!(receiver.recv().unwrap(), (vec![Ok(()); 9], Ok(10), 19));
            assert!(pool.wait_idle());
            assert_eq!((ran.get(), pool.stats().rejected), (20, 0));
            assert_conserved(&*pool);
        }
    });
}

/// D09: and those of closures only: handles, futures, groups, scopes, maps and views.
fn closures<D: Dispatch>() {
    for nonblocking in [false, true] {
        let builder = Pool::builder().workers(1).queue(0).nonblocking(nonblocking).max_blocking(0);
        let pool = Arc::new(builder.dispatch::<D>().build().unwrap());
        let inner = Arc::downgrade(&pool);
        let sum = pool.run(move || {
            let pool = inner.upgrade().unwrap();
            let handles: Vec<_> = (0..20).map(|_| pool.spawn(|| 1).unwrap()).collect();
            let mut sum: u64 = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
            for _ in 0..20 {
                block_on(pool.submit_async(|| ())).unwrap();
                sum += block_on(pool.spawn_async(|| 1)).unwrap().join().unwrap();
            }
            let group = pool.group::<u64, ()>();
            (0..20).for_each(|_| group.spawn(|_| Ok(1)).unwrap());
            sum += group.wait().unwrap().iter().sum::<u64>();
            let count = AtomicUsize::new(0);
            pool.scope(|s| (0..20).for_each(|_| s.spawn(|| count.fetch_add(1, SeqCst))));
            sum += pool.map(0..20_u64, |_| 1).sum::<u64>() + count.into_inner() as u64;
            let view = pool.limited(1);
            let handles: Vec<_> = (0..20).map(|_| view.spawn(|| ()).unwrap()).collect();
            drop(handles);
            view.submit(|| ()).unwrap();
            // What waits in the view goes with it.
            sum
        });
        assert_eq!(sum.unwrap(), 100);
        assert_quiet(&pool);
        assert_eq!(pool.stats().rejected, 0);
    }
}

#[test]
fn d09_no_task_of_a_closure_is_refused_for_lack_of_room() {
    on_every_dispatch!(closures);
}

/// D09: nested tasks take no room from outside submitters, which find exactly as much as without them; and nested tasks are
/// counted.
#[test]
fn d09_the_bound_is_for_outsiders() {
    for_each(|variant| {
        let (pool, gate, ran) = (variant.build(Setup::new(1, 2)), Gate::new(), Count::new());
        let (inner, wait, count) = (Arc::downgrade(&pool), gate.clone(), ran.clone());
        pool.submit(Task::new(move || {
            let pool = inner.upgrade().unwrap();
            (0..50).for_each(|_| pool.submit(count.task()).unwrap());
            wait.wait();
        }))
        .unwrap();
        gate.await_arrivals(1);
        let stats = pool.stats();
        assert_eq!((stats.overcommitted, stats.queued, stats.running, stats.submitted), (50, 50, 1, 51));
        for _ in 0..2 {
            pool.try_submit(ran.task()).unwrap();
        }
        assert!(pool.try_submit(ran.task()).unwrap_err().is_full());
        assert_eq!((pool.queued(), pool.stats().overcommitted), (52, 50));
        gate.open();
        assert!(pool.wait_idle());
        assert_eq!((ran.get(), pool.stats().overcommitted), (52, 0));
        assert_conserved(&*pool);
    });
}

/// Runs, and submits itself again until it is told to stop; in one round it waits at a gate.
fn respawn(pool: &Weak<dyn WorkerPool<Task>>, rounds: &Arc<AtomicUsize>, stop: &Arc<AtomicBool>, gate: &Gate) {
    const HELD: usize = 100;
    if rounds.fetch_add(1, SeqCst) + 1 == HELD {
        gate.wait();
    }
    if !stop.load(SeqCst) {
        let (inner, rounds, stop, gate) = (Weak::clone(pool), Arc::clone(rounds), Arc::clone(stop), gate.clone());
        pool.upgrade().unwrap().submit(Task::new(move || respawn(&inner, &rounds, &stop, &gate))).unwrap();
    }
}

/// D09: outside submissions do not wait for ever behind a task that submits itself again: one of them starts in every 61 tasks.
#[test]
fn d09_outsiders_do_not_starve() {
    for_each(|variant| {
        let (pool, gate) = (variant.build(Setup::new(1, 20)), Gate::new());
        let (rounds, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (inner, count, end, held) = (Arc::downgrade(&pool), Arc::clone(&rounds), Arc::clone(&stop), gate.clone());
        pool.submit(Task::new(move || respawn(&inner, &count, &end, &held))).unwrap();
        gate.await_arrivals(1);
        let started = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..10 {
            let (rounds, started) = (Arc::clone(&rounds), Arc::clone(&started));
            pool.submit(Task::new(move || started.lock().push(rounds.load(SeqCst)))).unwrap();
        }
        let before = rounds.load(SeqCst);
        gate.open();
        eventually("all outsiders have run", || started.lock().len() == 10);
        stop.store(true, SeqCst);
        assert!(pool.wait_idle());
        for (place, start) in started.lock().iter().enumerate() {
            assert!(start - before <= 61 * (place + 1), "outsider {place} waited for {} tasks", start - before);
        }
        // Nor do the nested ones behind outsiders.
        assert!(variant.orders_nested || started.lock()[9] > before + 61 * 8, "{:?}", started.lock());
        assert_conserved(&*pool);
    });
}

/// D09: up to the cap they go in beyond the bound, and what is more keeps to it.
#[test]
fn d09_a_cap_on_nested_tasks() {
    for_each(|variant| {
        let setup = Setup { nested: Some(Nested::AtMost(3)), ..Setup::new(1, 1) };
        let (pool, ran) = (variant.build(setup), Count::new());
        for _ in 0..2 {
            let (inner, count) = (Arc::downgrade(&pool), ran.clone());
            let (sender, receiver) = mpsc::channel();
            pool.submit(Task::new(move || {
                let pool = inner.upgrade().unwrap();
                // Three beyond the bound, and one within.
                let accepted = (0..4).filter(|_| pool.try_submit(count.task()).is_ok()).count();
                let full = pool.try_submit(count.task()).unwrap_err().is_full();
                let last = pool.submit(count.task()).map_err(|refusal| refusal.kind());
                sender.send((accepted, pool.stats().overcommitted, full, last)).unwrap();
            }))
            .unwrap();
            // One that helps runs the one within the bound, and has room for the last. Where they have an order, that is the fourth.
            let last = if variant.helps { Ok(()) } else { Err(SubmitErrorKind::WouldDeadlock) };
            let beyond = if variant.helps && variant.orders_nested { 0 } else { 3 };
            assert_eq!(receiver.recv().unwrap(), (4, beyond, true, last));
            assert!(pool.wait_idle());
            assert_conserved(&*pool);
        }
        assert_eq!(ran.get(), if variant.helps { 10 } else { 8 });
    });
}

/// D09: after the close they are refused; what was accepted before is given back by `shutdown_now`.
#[test]
fn d09_nested_tasks_at_the_end() {
    for_each(|variant| {
        let (pool, gate, ran) = (variant.build(Setup::new(1, 0)), Gate::new(), Count::new());
        let (inner, wait, count) = (Arc::downgrade(&pool), gate.clone(), ran.clone());
        let (sender, receiver) = mpsc::channel();
        pool.submit(Task::new(move || {
            let pool = inner.upgrade().unwrap();
            (0..5).for_each(|_| pool.submit(count.task()).unwrap());
            wait.wait();
            sender.send(pool.submit(count.task()).unwrap_err().kind()).unwrap();
        }))
        .unwrap();
        gate.await_arrivals(1);
        let returned = std::thread::scope(|scope| {
            let closer = scope.spawn(|| pool.shutdown_now());
            eventually("closed", || pool.is_closed());
            gate.open();
            closer.join().unwrap()
        });
        assert_eq!((receiver.recv().unwrap(), returned.len(), ran.get()), (SubmitErrorKind::Closed, 5, 0));
        assert_conserved(&*pool);
        pool.restart().unwrap();
        let (inner, count) = (Arc::downgrade(&pool), ran.clone());
        pool.submit(Task::new(move || inner.upgrade().unwrap().submit(count.task()).unwrap())).unwrap();
        assert!(pool.wait_idle());
        assert_eq!(ran.get(), 1);
    });
}

/// D09: a limit on running tasks holds for both together: nothing starts in a pause, and after `tune` no more run than may.
#[test]
fn d09_pause_and_tune_hold_for_nested_tasks() {
    for_each(|variant| {
        let (pool, meet, gate, busy) = (variant.build(Setup::new(3, 100)), Gate::new(), Gate::new(), Count::new());
        let task = {
            let busy = busy.clone();
            move || {
                let busy = busy.clone();
                Task::new(move || {
                    busy.up();
                    std::thread::yield_now();
                    busy.down();
                })
            }
        };
        for _ in 0..3 {
            let (inner, meet, wait, task) = (Arc::downgrade(&pool), meet.clone(), gate.clone(), task.clone());
            pool.submit(Task::new(move || {
                let pool = inner.upgrade().unwrap();
                // So that no worker is free for what the others submit.
                meet.wait();
                (0..100).for_each(|_| pool.submit(task()).unwrap());
                wait.wait();
            }))
            .unwrap();
        }
        meet.await_arrivals(3);
        meet.open();
        gate.await_arrivals(3);
        (0..50).for_each(|_| pool.submit(task()).unwrap());
        let pause = pool.pause();
        pool.tune(2).unwrap();
        gate.open();
        assert!(pause.wait_quiet());
        assert_eq!((busy.peak(), pool.queued(), pool.stats().running), (0, 350, 0));
        drop(pause);
        assert!(pool.wait_idle());
        assert!(busy.peak() <= 2, "{} ran at a time", busy.peak());
        assert_conserved(&*pool);
    });
}

/// D09: tasks with a key keep their lane beyond the bound, too: those of one tenant do not wait for all of another's.
#[test]
fn d09_keys_keep_their_lanes() {
    within(LIMIT, "Sharded", || {
        let pool = Arc::new(Pool::builder().workers(1).queue(4).dispatch::<Sharded>().shards(2).build().unwrap());
        let order = Arc::new(Mutex::new(Vec::new()));
        let (inner, log) = (Arc::downgrade(&pool), Arc::clone(&order));
        pool.submit(move || {
            let pool = inner.upgrade().unwrap();
            let note = |name: u32| {
                let log = Arc::clone(&log);
                move || log.lock().push(name)
            };
            (0..100).for_each(|_| pool.with().key(0).submit(note(0)).unwrap());
            (1..20).for_each(|key| pool.with().key(key).try_submit(note(key)).unwrap());
        })
        .unwrap();
        assert_quiet(&pool);
        // Some of the keys have the other shard.
        let first = order.lock().iter().position(|name| *name > 0).unwrap();
        assert_eq!((first, order.lock().len()), (1, 119));
    });
}

/// D09: a worker of one pool that also works for another, and one that only submits to the other.
fn two_pools<D: Dispatch>() {
    let (full, other) = (pool::<D>(1, 0), pool::<D>(1, 0));
    let gate = occupy(&full);
    let stranger = Arc::clone(&full);
    let kind = other.run(move || stranger.try_submit(|| ()).unwrap_err().kind()).unwrap();
    assert_eq!(kind, SubmitErrorKind::Full, "a worker of another pool is an outsider");
    gate.open();
    assert_quiet(&full);
    assert_quiet(&other);
}

#[test]
fn d09_workers_of_other_pools_are_outsiders() {
    on_every_dispatch!(two_pools);
}
