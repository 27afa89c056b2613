//! The dispatch `Fair`: shares, bounds, and that room goes to all tenants.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as Poller, Waker};

use crate::support::{Count, Gate, LIMIT, Setup, assert_conserved, await_waiting, eventually, quiet_panics, within};
use formicary::{
    CancelToken, Context, Fair, Nested, Overflow, Pool, PoolWithFunc, StatefulPool, Tenant, TenantStats, Worker,
};
use parking_lot::Mutex;

type FairPool = Pool<Fair>;

/// What has started, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<usize>>>);

impl Log {
    fn task(&self, entry: usize) -> impl FnOnce() + Send + 'static + use<> {
        let log = self.clone();
        move || log.0.lock().push(entry)
    }

    /// A task that waits at a gate when it has started.
    fn held(&self, entry: usize, gate: &Gate) -> impl FnOnce() + Send + 'static + use<> {
        let (log, gate) = (self.clone(), gate.clone());
        move || {
            log.0.lock().push(entry);
            gate.wait();
        }
    }

    fn entries(&self) -> Vec<usize> {
        self.0.lock().clone()
    }

    /// How many of the first `starts` were of this tenant.
    fn among(&self, starts: usize, tenant: usize) -> usize {
        self.0.lock().iter().take(starts).filter(|of| **of == tenant).count()
    }
}

fn pool(setup: Setup) -> Arc<FairPool> {
    Arc::new(setup.on(Pool::builder().dispatch::<Fair>()).build().unwrap())
}

/// Tenants are numbers; the weight of each is in a list.
fn weighted(setup: Setup, weights: &'static [u32]) -> Arc<FairPool> {
    let weight = |tenant: &Tenant| weights[usize::try_from(tenant.number().unwrap()).unwrap()];
    Arc::new(setup.on(Pool::builder().dispatch::<Fair>()).share(weight).build().unwrap())
}

/// A hundred thousand tasks of one tenant are queued, some of them running, when one of another comes: it starts after no more of them than
/// there are workers.
#[test]
fn a_backlog_delays_another_tenant_by_one_task_for_each_worker() {
    const GREEDY: usize = 1;
    const QUIET: usize = 2;
    within(LIMIT, "delay", || {
        for workers in [1, 4] {
            for started_before in [workers, 500] {
                for weights in [&[1; 3], &[1, 50, 1], &[1, 1, 50_u32]] {
                    let (pool, log, gate) = (weighted(Setup::unbounded(workers), weights), Log::default(), Gate::new());
                    let greedy = pool.with().tenant(GREEDY);
                    (0..100_000).for_each(|_| greedy.submit(log.held(GREEDY, &gate)).unwrap());
                    gate.pass(started_before - workers);
                    gate.await_arrivals(started_before);
                    let before = log.entries().len();
                    pool.with().tenant(QUIET).submit(log.task(QUIET)).unwrap();
                    gate.open();
                    eventually("the quiet one has started", || log.entries().contains(&QUIET));
                    let delay = log.entries()[before..].iter().position(|of| *of == QUIET);
                    // Each worker may have taken its next task and not yet noted it.
                    assert!(delay <= Some(workers), "{delay:?} with {workers} workers and weights {weights:?}");
                    drop(pool.shutdown_now());
                }
            }
        }
    });
}

/// While all have tasks each gets its share, at any moment but for one turn.
#[test]
fn starts_are_in_proportion_to_the_weights() {
    within(LIMIT, "weights", || {
        const WEIGHTS: [u32; 4] = [1, 2, 5, 8];
        let (pool, log) = (weighted(Setup::unbounded(1), &WEIGHTS), Log::default());
        let pause = pool.pause();
        for (tenant, weight) in WEIGHTS.iter().enumerate() {
            for _ in 0..100 * weight {
                pool.with().tenant(tenant).submit(log.task(tenant)).unwrap();
            }
        }
        let weights: Vec<_> = pool.tenants().iter().map(|stats| stats.weight).collect();
        assert_eq!(weights, WEIGHTS);
        drop(pause);
        assert!(pool.wait_idle());
        for starts in 0..1600 {
            for (tenant, weight) in WEIGHTS.iter().enumerate() {
                let share = starts as f64 * f64::from(*weight) / 16.0;
                let difference = (log.among(starts, tenant) as f64 - share).abs();
                assert!(difference < 2.0, "tenant {tenant} after {starts}: {difference} off");
            }
        }
    });
}

/// A tenant's own tasks start in order, those without a tenant too, which have weight 1 among the others.
#[test]
fn each_tenant_has_one_queue() {
    within(LIMIT, "order", || {
        let (pool, log) = (pool(Setup::roomy(1)), Log::default());
        let pause = pool.pause();
        for n in 0..300 {
            match n % 3 {
                0 => pool.submit(log.task(n)).unwrap(),
                1 => pool.with().tenant("one").submit(log.task(n)).unwrap(),
                _ => pool.with().tenant(String::from("two")).submit(log.task(n)).unwrap(),
            }
        }
        let tenants: Vec<_> = pool.tenants().into_iter().map(|stats| stats.tenant).collect();
        assert_eq!(tenants, [None, Some(Tenant::from("one")), Some(Tenant::from("two"))]);
        drop(pause);
        assert!(pool.wait_idle());
        let started = log.entries();
        for tenant in 0..3 {
            assert!(started.iter().filter(|n| *n % 3 == tenant).is_sorted());
        }
        assert!(started.chunks(3).all(|three| (0..3).all(|tenant| three.iter().any(|n| n % 3 == tenant))));
    });
}

/// A tenant that has one task at a time, and so is idle again and again, gets no more than its share.
#[test]
fn a_tenant_that_comes_back_at_once_gets_no_more_than_its_share() {
    within(LIMIT, "coming back", || {
        let (pool, log) = (weighted(Setup::unbounded(1), &[1, 9]), Log::default());
        let pause = pool.pause();
        (0..900).for_each(|_| pool.with().tenant(1).submit(log.task(1)).unwrap());
        let own = Arc::clone(&pool);
        let entries = log.clone();
        let persistent = std::thread::spawn(move || {
            while entries.entries().len() < 900 {
                own.with().tenant(0).run(entries.task(0)).unwrap();
            }
        });
        eventually("both have tasks", || pool.tenants().len() == 2);
        drop(pause);
        persistent.join().unwrap();
        assert!(pool.wait_idle());
        assert!(log.among(900, 0) <= 92, "{} of 900", log.among(900, 0));
    });
}

/// New tenants come without end, each with one task: one with a backlog gets its next turn all the
/// same, when the newcomers since its last one have had as much.
#[test]
fn newcomers_without_end_starve_nobody() {
    fn come(pool: &Arc<FairPool>, log: &Log, tenant: usize) {
        log.task(tenant)();
        // Two of them wait all the time.
        if log.among(usize::MAX, 0) < 20 {
            let (inner, log) = (Arc::clone(pool), log.clone());
            pool.with().tenant(tenant + 2).submit(move || come(&inner, &log, tenant + 2)).unwrap();
        }
    }
    within(LIMIT, "newcomers", || {
        let (pool, log) = (pool(Setup::unbounded(1)), Log::default());
        let pause = pool.pause();
        (0..20).for_each(|_| pool.with().tenant(0).submit(log.task(0)).unwrap());
        for tenant in [1, 2] {
            let (inner, log) = (Arc::clone(&pool), log.clone());
            pool.with().tenant(tenant).submit(move || come(&inner, &log, tenant)).unwrap();
        }
        drop(pause);
        assert!(pool.wait_idle());
        // Each newcomer counts for a turn, so there are two more in each round.
        let mut gap = 0;
        let mut rounds = 0;
        for tenant in log.entries() {
            gap += 1;
            if tenant == 0 {
                (rounds, gap) = (rounds + 1, 0);
            }
            assert!(gap <= 4 + 2 * rounds, "{gap} starts of others after {rounds} of its own");
        }
        assert_eq!(rounds, 20);
    });
}

/// The function for the weight is called once when a tenant becomes active, under no lock: it may use the pool.
#[test]
fn the_weight_is_asked_for_when_a_tenant_becomes_active() {
    within(LIMIT, "weights", || {
        let (asked, cell) = (Count::new(), Arc::new(OnceLock::<std::sync::Weak<FairPool>>::new()));
        let (count, inner) = (asked.clone(), Arc::clone(&cell));
        let weight = move |_: &Tenant| {
            if let Some(pool) = inner.get().and_then(std::sync::Weak::upgrade) {
                assert!(pool.tenants().len() <= 2);
                pool.submit(|| ()).unwrap();
            }
            u32::try_from(count.up()).unwrap()
        };
        let pool = Arc::new(Pool::builder().workers(1).dispatch::<Fair>().share(weight).build().unwrap());
        cell.set(Arc::downgrade(&pool)).unwrap();
        for round in 1..=3 {
            let pause = pool.pause();
            let acme = pool.with().tenant("acme");
            (0..5).for_each(|_| acme.submit(|| ()).unwrap());
            let handle = pool.with().tenant("acme").spawn(|| ()).unwrap();
            assert_eq!(asked.get(), round);
            let stats = pool.tenants().into_iter().find(|stats| stats.tenant.is_some()).unwrap();
            assert_eq!((stats.weight as usize, stats.queued, stats.submitted), (round, 6, 6));
            drop(pause);
            handle.join().unwrap();
            assert!(pool.wait_idle());
            assert!(pool.tenants().is_empty());
        }
    });
}

#[test]
fn a_weight_of_zero_is_a_panic_and_a_panic_is_a_weight_of_one() {
    quiet_panics();
    within(LIMIT, "weights", || {
        let weight = |tenant: &Tenant| match tenant.name() {
            Some("zero") => 0,
            _ => panic!("a test's panic"),
        };
        let pool = Pool::builder().workers(1).dispatch::<Fair>().share(weight).build().unwrap();
        for _ in 0..2 {
            let submits = AssertUnwindSafe(|| pool.with().tenant("zero").submit(|| ()));
            let panic = catch_unwind(submits).unwrap_err();
            let text = panic.downcast_ref::<String>().unwrap();
            assert_eq!(text, "the weight of tenant zero is 0: it would never get a worker");
        }
        assert_eq!(pool.with().tenant("odd").run(|| 7).unwrap(), 7);
        assert_eq!(pool.stats().handler_panics, 1);
        let pause = pool.pause();
        pool.with().tenant("odd").submit(|| ()).unwrap();
        assert_eq!(pool.tenants()[0].weight, 1);
        drop(pause);
        let error = Pool::builder().dispatch::<Fair>().tenant_queue(0).build().unwrap_err();
        assert_eq!(error.to_string(), "dispatch Fair: `tenant_queue` is 0: no task of a tenant could be queued");
        let elsewhere = Pool::builder().dispatch::<Fair>().share(|_| 1).dispatch::<formicary::Stack>();
        let error = elsewhere.build().unwrap_err();
        assert_eq!(error.to_string(), "dispatch Stack: `share` is set, and it has no tenants");
    });
}

#[test]
fn figures_are_each_tenants_own() {
    within(LIMIT, "figures", || {
        let (pool, gate) = (pool(Setup::roomy(2)), Gate::new());
        for (tenant, tasks) in [("a", 1), ("b", 4), ("c", 3)] {
            (0..tasks).for_each(|_| pool.with().tenant(tenant).submit(gate.closure()).unwrap());
            if tenant == "b" {
                gate.await_arrivals(2);
            }
        }
        let figures = |stats: TenantStats| (stats.tenant.unwrap().to_string(), stats.queued, stats.running);
        let all: Vec<_> = pool.tenants().into_iter().map(figures).collect();
        assert_eq!(all, [("a".into(), 0, 1), ("b".into(), 3, 1), ("c".into(), 3, 0)]);
        gate.open();
        assert!(pool.wait_idle());
        assert!(pool.tenants().is_empty());
        assert_conserved(&*pool);
    });
}

/// A tenant fills its own bound and no more. Its submitters wait until one of its tasks starts, whatever the others do.
#[test]
fn a_tenant_has_a_bound_of_its_own() {
    within(LIMIT, "bound", || {
        let builder = Pool::builder().workers(1).queue(9).dispatch::<Fair>().tenant_queue(3);
        let (pool, log, gate) = (Arc::new(builder.build().unwrap()), Log::default(), Gate::new());
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
            let (pool, log, gate) = (pool(Setup::new(1, 0)), Log::default(), Gate::new());
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
        let (pool, log) = (Arc::new(builder.build().unwrap()), Log::default());
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
        let (pool, log, token) = (Arc::new(builder.build().unwrap()), Log::default(), CancelToken::new());
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
        let (pool, log) = (drops().share(weight).build().unwrap(), Log::default());
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

        let (pool, log) = (drops().tenant_queue(2).build().unwrap(), Log::default());
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
        let (pool, log) = (pool(Setup::new(1, 0)), Log::default());
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

struct Noted(Log);

impl Worker for Noted {
    type Input = usize;
    type Output = usize;

    fn process(&mut self, n: usize, _: &Context<'_>) -> usize {
        self.0.task(n)();
        n + 1
    }
}

#[test]
fn the_other_kinds_have_tenants() {
    within(LIMIT, "PoolWithFunc", || {
        let log = Log::default();
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
        let log = Log::default();
        let noted = log.clone();
        let builder = StatefulPool::builder(move |_| Ok(Noted(noted.clone()))).workers(1).dispatch::<Fair>();
        let pool = builder.build().unwrap();
        let pause = pool.pause();
        let handles: Vec<_> = (0..9).chain([100]).map(|n| pool.with().tenant(n / 10).spawn(n).unwrap()).collect();
        assert_eq!(pool.tenants().len(), 2);
        drop(pause);
        assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>(), 36 + 100 + 10);
        assert_eq!(log.entries()[..2], [0, 100]);
    });
}
