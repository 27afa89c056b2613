//! The dispatch `Fair`: shares, weights and figures. `fair_room.rs` has the rest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::OnceLock;

use crate::support::log::Log;
use crate::support::{Count, Gate, LIMIT, Setup, assert_conserved, eventually, quiet_panics, within};
use formicary::{Fair, Pool, Tenant, TenantStats};

type FairPool = Pool<Fair>;

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
                    let (pool, log, gate) = (weighted(Setup::unbounded(workers), weights), Log::new(), Gate::new());
                    let greedy = pool.with().tenant(GREEDY);
                    (0..100_000).for_each(|_| greedy.submit(log.held(GREEDY, &gate)).unwrap());
                    gate.pass(started_before - workers);
                    gate.await_arrivals(started_before);
                    let before = log.entries().len();
                    pool.with().tenant(QUIET).submit(log.task(QUIET)).unwrap();
                    gate.open();
                    eventually("the quiet one has started", || log.has(&QUIET));
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
        let (pool, log) = (weighted(Setup::unbounded(1), &WEIGHTS), Log::new());
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
        let (pool, log) = (pool(Setup::roomy(1)), Log::new());
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
        let (pool, log) = (weighted(Setup::unbounded(1), &[1, 9]), Log::new());
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
    fn come(pool: &Arc<FairPool>, log: &Log<usize>, tenant: usize) {
        log.task(tenant)();
        // Two of them wait all the time.
        if log.among(usize::MAX, 0) < 20 {
            let (inner, log) = (Arc::clone(pool), log.clone());
            pool.with().tenant(tenant + 2).submit(move || come(&inner, &log, tenant + 2)).unwrap();
        }
    }
    within(LIMIT, "newcomers", || {
        let (pool, log) = (pool(Setup::unbounded(1)), Log::new());
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
