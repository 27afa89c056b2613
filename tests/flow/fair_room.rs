//! The dispatch `Fair`: room, nested tasks, what leaves without having run, views, futures, and the other kinds of pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as Poller, Waker};

use crate::support::log::Log;
use crate::support::{Gate, LIMIT, Setup, assert_conserved, await_waiting, eventually, within};
use formicary::{CancelToken, Fair, Nested, Overflow, Pool, PoolWithFunc, StatefulPool, Tenant};

type FairPool = Pool<Fair>;

fn pool(setup: Setup) -> Arc<FairPool> {
    Arc::new(setup.on(Pool::builder().dispatch::<Fair>()).build().unwrap())
}

/// A tenant fills its own bound and no more. Its submitters wait until one of its tasks starts, whatever the others do.
#[test]
fn a_tenant_has_a_bound_of_its_own() {
    within(LIMIT, "bound", || {
        let builder = Pool::builder().workers(1).queue(9).dispatch::<Fair>().tenant_queue(3);
        let (pool, log, gate) = (Arc::new(builder.build().unwrap()), Log::new(), Gate::new());
        pool.submit(gate.closure()).unwrap();
        gate.await_arrivals(1);
        let greedy = pool.with().tenant(1);
        assert_eq!((0..).take_while(|_| greedy.try_submit(log.held(1, &gate)).is_ok()).count(), 3);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (own, task) = (Arc::clone(&pool), log.held(1, &gate));
                std::thread::spawn(move || own.with().tenant(1).submit(task).unwrap())
            })
            .collect();
        await_waiting(&*pool, 2);
        // They reserve nothing for themselves that is not theirs.
        let batch = (0..3).map(|_| log.held(2, &gate)).collect::<Vec<_>>();
        assert_eq!(pool.with().tenant(2).submit_all(batch).unwrap(), 3);
        assert!(pool.with().tenant(2).try_submit(log.task(2)).unwrap_err().is_full());
        assert!(pool.with().tenant(3).try_submit(log.held(3, &gate)).is_ok());
        assert_eq!(pool.waiting(), 2);
        gate.pass(1);
        gate.await_arrivals(2);
        assert_eq!(log.entries(), [1]);
        // One of its tasks has started, and runs: its place in the queue is free.
        eventually("one submitter is in", || pool.waiting() == 1);
        gate.open();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(pool.wait_idle());
        assert_eq!((log.among(99, 1), log.among(99, 2), log.among(99, 3)), (5, 3, 1));
        assert_conserved(&*pool);
    });
}

/// At a full pool the submitters of different tenants take turns, however many wait for each. A future that is not polled holds up none.
#[test]
fn room_goes_to_the_tenants_in_turn() {
    for has_future in [false, true] {
        within(LIMIT, "room", move || {
            let (pool, log, gate) = (pool(Setup::new(1, 0)), Log::new(), Gate::new());
            pool.submit(gate.closure()).unwrap();
            gate.await_arrivals(1);
            let never = pool.with().tenant(9);
            let mut future = Box::pin(never.submit_async(log.held(9, &gate)));
            if has_future {
                assert!(future.as_mut().poll(&mut Poller::from_waker(Waker::noop())).is_pending());
            }
            let (futures, mut threads) = (usize::from(has_future), Vec::new());
            for (tenant, count) in [(1, 20), (2, 3), (3, 1)] {
                for _ in 0..count {
                    let (own, task) = (Arc::clone(&pool), log.held(tenant, &gate));
                    threads.push(std::thread::spawn(move || own.with().tenant(tenant).submit(task).unwrap()));
                    await_waiting(&*pool, threads.len() + futures);
                }
            }
            for n in 0..threads.len() {
                gate.pass(1);
                gate.await_arrivals(n + 2);
            }
            drop(future);
            gate.open();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert!(pool.wait_idle());
            assert_eq!(log.entries().len(), 24);
            if !has_future {
                assert!(log.among(4, 3) == 1 && log.among(9, 2) == 3, "{:?}", log.entries());
            }
            assert_conserved(&*pool);
            assert!(pool.tenants().is_empty());
        });
    }
}

/// A blocked submitter that gives up passes the room on to another tenant.
#[test]
fn a_submitter_that_gives_up_leaves_the_room_to_another_tenant() {
    within(LIMIT, "giving up", || {
        for has_bounds in [false, true].repeat(25) {
            let builder = Pool::builder().workers(1).queue(0).dispatch::<Fair>();
            let builder = if has_bounds { builder.tenant_queue(1) } else { builder };
            let (pool, gate, token) = (Arc::new(builder.build().unwrap()), Gate::new(), CancelToken::new());
            pool.submit(gate.closure()).unwrap();
            gate.await_arrivals(1);
            let submit = |tenant: &'static str, token: CancelToken| {
                let pool = Arc::clone(&pool);
                std::thread::spawn(move || pool.with().tenant(tenant).token(&token).submit(|| ()).is_ok())
            };
            let (first, second) = (submit("first", token.clone()), submit("second", CancelToken::new()));
            await_waiting(&*pool, 2);
            gate.open();
            token.cancel();
            first.join().unwrap();
            assert!(second.join().unwrap());
            assert!(pool.wait_idle());
            assert_conserved(&*pool);
        }
    });
}

/// Nested tasks belong to the tenant that they name, go beyond both bounds, and keep to the order.
#[test]
fn nested_tasks_keep_the_tenant_that_they_name_and_inherit_none() {
    within(LIMIT, "nested", || {
        let builder = Pool::builder().workers(1).queue(0).dispatch::<Fair>().tenant_queue(1);
        let (pool, log) = (Arc::new(builder.build().unwrap()), Log::new());
        let (inner, entries) = (Arc::clone(&pool), log.clone());
        let nest = move || {
            (0..50).for_each(|_| inner.with().tenant(1).submit(entries.task(1)).unwrap());
            (0..3).for_each(|_| inner.with().tenant(2).submit(entries.task(2)).unwrap());
            inner.submit(entries.task(3)).unwrap();
            assert_eq!((inner.stats().overcommitted, inner.queued()), (54, 54));
            let mut tenants = inner.tenants();
            tenants.sort_by_key(|stats| stats.queued);
            assert_eq!(tenants.iter().map(|stats| stats.queued).collect::<Vec<_>>(), [0, 1, 3, 50]);
            assert_eq!(tenants[0].tenant, Some(Tenant::from("outer")));
            assert_eq!(tenants[1].tenant, None);
        };
        pool.with().tenant("outer").submit(nest).unwrap();
        assert!(pool.wait_idle());
        assert!(log.among(3, 3) == 1 && log.among(8, 2) == 3, "{:?}", log.entries());
        assert_eq!(pool.stats().overcommitted, 0);
        assert_conserved(&*pool);
    });
    within(LIMIT, "limited in number", || {
        let setup = Setup { nested: Some(Nested::AtMost(3)), ..Setup::new(1, 0) };
        let pool = pool(setup);
        let inner = Arc::clone(&pool);
        let taken = pool.run(move || {
            let acme = inner.with().tenant("acme");
            (0..).take_while(|_| acme.try_submit(|| ()).is_ok()).count()
        });
        assert_eq!(taken.unwrap(), 3);
        assert!(pool.wait_idle());
        assert_conserved(&*pool);
    });
}

/// Cancelled tasks leave when their room is needed, the tenant's or the pool's, and count no more for the tenant.
#[test]
fn cancelled_tasks_make_room() {
    within(LIMIT, "sweep", || {
        let builder = Pool::builder().workers(1).queue(7).dispatch::<Fair>().tenant_queue(4);
        let (pool, log, token) = (Arc::new(builder.build().unwrap()), Log::new(), CancelToken::new());
        let pause = pool.pause();
        for tenant in [1, 1, 1, 1, 2, 2, 2, 2] {
            pool.with().tenant(tenant).token(&token).submit(log.task(9)).unwrap();
        }
        assert!(pool.with().tenant(1).try_submit(log.task(9)).unwrap_err().is_full());
        token.cancel();
        assert!(pool.with().tenant(3).try_submit(log.task(3)).is_ok());
        assert_eq!(pool.tenants().len(), 1);
        for tenant in [1, 1, 1, 2] {
            assert!(pool.with().tenant(tenant).try_submit(log.task(tenant)).is_ok());
        }
        drop(pause);
        assert!(pool.wait_idle());
        let mut started = log.entries();
        assert_eq!(started[..3], [3, 1, 2]);
        started.sort_unstable();
        assert_eq!((started, pool.stats().cancelled), (vec![1, 1, 1, 2, 3], 8));
        assert_conserved(&*pool);
        assert!(pool.tenants().is_empty());
    });
}

/// A full pool drops a task of the tenant with most of them for its weight, or of the one whose own bound is reached.
#[test]
fn the_oldest_task_of_the_greediest_is_dropped() {
    within(LIMIT, "dropping", || {
        let drops = || Pool::builder().workers(1).queue(5).overflow(Overflow::DropOldest).dispatch::<Fair>();
        let weight = |tenant: &Tenant| if tenant.number() == Some(1) { 8 } else { 1 };
        let (pool, log) = (drops().share(weight).build().unwrap(), Log::new());
        let pause = pool.pause();
        for n in [10, 11, 12, 20, 21, 30] {
            pool.with().tenant(n / 10).submit(log.task(n)).unwrap();
        }
        for n in [31, 40] {
            pool.with().tenant(n / 10).submit(log.task(n)).unwrap();
        }
        drop(pause);
        assert!(pool.wait_idle());
        let mut started = log.entries();
        started.sort_unstable();
        assert!([vec![10, 11, 12, 21, 31, 40], vec![10, 11, 12, 21, 30, 40]].contains(&started), "{started:?}");
        assert_conserved(&pool);
        assert!(pool.tenants().is_empty());

        let (pool, log) = (drops().tenant_queue(2).build().unwrap(), Log::new());
        let pause = pool.pause();
        for n in [10, 20, 21, 11, 12, 13] {
            pool.with().tenant(n / 10).submit(log.task(n)).unwrap();
        }
        drop(pause);
        assert!(pool.wait_idle());
        let mut started = log.entries();
        started.sort_unstable();
        assert_eq!(started, [12, 13, 20, 21]);
        assert_conserved(&pool);
    });
}

#[test]
fn what_has_not_started_comes_back() {
    within(LIMIT, "shutdown", || {
        let (pool, gate) = (pool(Setup::roomy(2)), Gate::new());
        for tenant in 0..15 {
            (0..2).for_each(|_| pool.with().tenant(tenant).submit(gate.closure()).unwrap());
        }
        gate.await_arrivals(2);
        pool.tune(1).unwrap();
        gate.pass(1);
        eventually("one has ended", || pool.stats().completed == 1);
        assert_eq!((pool.running(), pool.queued(), gate.arrived()), (1, 28, 2));
        let pause = pool.pause();
        gate.pass(1);
        assert!(pause.wait_quiet());
        assert_eq!(pool.tenants().iter().map(|stats| stats.queued).sum::<usize>(), 28);
        assert_eq!(pool.shutdown_now().len(), 28);
        assert_conserved(&*pool);
        assert!(pool.tenants().is_empty());
        drop(pause);
        assert!(pool.with().tenant(1).submit(|| ()).unwrap_err().is_closed());
        pool.restart().unwrap();
        assert_eq!(pool.with().tenant(1).run(|| 7).unwrap(), 7);
    });
}

/// What waits in a view for a permit keeps its tenant, although no submitter of it is left.
#[test]
fn a_view_keeps_the_tenant() {
    within(LIMIT, "views", || {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let weight = move |_: &Tenant| u32::try_from(count.fetch_add(1, SeqCst) + 1).unwrap();
        let builder = Pool::builder().workers(2).queue(100).dispatch::<Fair>().share(weight);
        let (pool, gate) = (Arc::new(builder.build().unwrap()), Gate::new());
        let view = pool.limited(1);
        for tenant in ["a", "b", "a", "b"] {
            view.with().tenant(tenant).submit(gate.closure()).unwrap();
        }
        for n in 1..=4 {
            gate.await_arrivals(n);
            let running: Vec<_> = pool.tenants().into_iter().filter(|stats| stats.running > 0).collect();
            assert_eq!(running.len(), 1);
            let expected = if n % 2 == 1 { ("a", 1) } else { ("b", 2) };
            let found = (running[0].tenant.as_ref().unwrap().name().unwrap(), running[0].weight);
            assert_eq!(found, expected, "the tenants were active all the time");
            gate.pass(1);
        }
        assert!(view.wait_idle() && pool.wait_idle());
        assert_eq!(asked.load(SeqCst), 2);
        view.with().tenant("a").run(|| ()).unwrap();
        assert_eq!(asked.load(SeqCst), 3, "it has been idle");
        // A view that ends with tasks lets go of their tenants.
        gate.pass(0);
        view.with().tenant("c").submit(gate.closure()).unwrap();
        gate.await_arrivals(5);
        (0..9).for_each(|n| view.with().tenant(n).submit(|| ()).unwrap());
        assert_eq!(view.close().len(), 9);
        gate.open();
        assert!(pool.wait_idle());
        assert!(pool.tenants().is_empty());
        assert_conserved(&*pool);
    });
}

/// Tenants are as good from futures, whose submitters wait for room too.
#[test]
fn futures_have_tenants() {
    within(LIMIT, "futures", || {
        let (pool, log) = (pool(Setup::new(1, 0)), Log::new());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let tasks: Vec<_> = (0..200)
            .map(|n| {
                let (pool, task) = (Arc::clone(&pool), log.task(n % 7));
                runtime.spawn(async move {
                    let with = pool.with().tenant(n % 7);
                    match n % 3 {
                        0 => with.submit_async(task).await.unwrap(),
                        1 => with.spawn_async(task).await.unwrap().await.unwrap(),
                        _ => with.token(&CancelToken::new()).run_async(task).await.unwrap(),
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| runtime.block_on(task).unwrap());
        assert!(pool.wait_idle());
        assert_eq!(log.entries().len(), 200);
        assert!(pool.tenants().is_empty());
        assert_conserved(&*pool);
    });
}

#[test]
fn the_other_kinds_have_tenants() {
    within(LIMIT, "PoolWithFunc", || {
        let log = Log::new();
        let noted = log.clone();
        let func = move |n: usize| noted.task(n)();
        let pool = PoolWithFunc::builder(func).workers(1).dispatch::<Fair>().build().unwrap();
        let pause = pool.pause();
        (0..9).chain([100]).for_each(|n| pool.with().tenant(n / 10).submit(n).unwrap());
        assert_eq!(pool.tenants().len(), 2);
        drop(pause);
        assert!(pool.wait_idle());
        assert_eq!(log.entries()[..2], [0, 100]);
    });
    within(LIMIT, "StatefulPool", || {
        let log = Log::new();
        let noted = log.clone();
        let builder = StatefulPool::builder(move |_| Ok(noted.clone())).workers(1).dispatch::<Fair>();
        let pool = builder.build().unwrap();
        let pause = pool.pause();
        let handles: Vec<_> = (0..9).chain([100]).map(|n| pool.with().tenant(n / 10).spawn(n).unwrap()).collect();
        assert_eq!(pool.tenants().len(), 2);
        drop(pause);
        assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>(), 36 + 100 + 10);
        assert_eq!(log.entries()[..2], [0, 100]);
    });
}
