//! A runner reserves what its pools have room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use formicary::Pool;
use formicary_jobs::{Counts, Runner};

use crate::support::gate::Gate;
use crate::support::server::{LEASE, for_each_store};
use crate::support::{Count, Other, count, eventually, other};

const POLL: Duration = Duration::from_millis(10);

#[test]
fn all_jobs_run_once_and_are_acknowledged_after_the_work() {
    for_each_store(|server| {
        let store = server.open();
        store.push(&(0..200).map(count).collect::<Vec<_>>()).unwrap();
        let (pool, sum) = (Arc::new(Pool::new(4).unwrap()), Arc::new(AtomicUsize::new(0)));
        let (own, in_work) = (server.open(), Arc::clone(&sum));
        let running = Runner::new(store)
            .poll(POLL)
            .prefetch(20)
            .on(&pool, move |Count(n), _| {
                assert!(own.counts()?.reserved > 0, "this job is reserved while it runs");
                in_work.fetch_add(n as usize, Ordering::Relaxed);
                Ok(())
            })
            .start()
            .unwrap();
        eventually("all are acknowledged", || running.stats().completed == 200);
        let stats = running.shutdown();
        assert_eq!(
            (sum.load(Ordering::Relaxed), stats.reserved, stats.store),
            (199 * 100, 200, Some(Counts::default())),
            "{stats}"
        );
        assert_eq!(stats.pools[0].1.completed, 200);
    });
}

#[test]
fn no_more_are_reserved_than_the_view_has_room_for() {
    for_each_store(|server| {
        let store = server.open();
        store.push(&(0..30).flat_map(|n| [count(n), other(n)]).collect::<Vec<_>>()).unwrap();
        let pool = Arc::new(Pool::new(4).unwrap());
        // Both kinds share the view.
        let view = Arc::new(pool.limited(2));
        let most = Arc::new(AtomicU64::new(0));
        let look = || {
            let (own, most) = (server.open(), Arc::clone(&most));
            move || most.fetch_max(own.counts().unwrap().reserved, Ordering::Relaxed)
        };
        let (in_count, in_other) = (look(), look());
        let running = Runner::new(store)
            .poll(POLL)
            .on(&view, move |Count(_), _| {
                in_count();
                Ok(())
            })
            .on(&view, move |Other(_), _| {
                in_other();
                Ok(())
            })
            .start()
            .unwrap();
        eventually("all are done", || running.stats().completed == 60);
        running.shutdown();
        assert!(
            (1..=2).contains(&most.load(Ordering::Relaxed)),
            "{} were reserved at once",
            most.load(Ordering::Relaxed)
        );
    });
}

#[test]
fn a_pool_that_is_full_of_other_tasks_gets_no_jobs_until_it_has_room() {
    for_each_store(|server| {
        let store = server.open();
        let (pool, gate) = (Arc::new(Pool::builder().workers(1).queue(0).build().unwrap()), Gate::default());
        let task = gate.clone();
        pool.submit(move || task.pass()).unwrap();
        gate.await_arrivals(1);
        store.push(&[count(1), other(1)]).unwrap();
        let elsewhere = Arc::new(Pool::new(1).unwrap());
        let running = Runner::new(store.clone())
            .poll(POLL)
            .on(&pool, |Count(_), _| Ok(()))
            .on(&elsewhere, |Other(_), _| Ok(()))
            .start()
            .unwrap();
        // The runner has been through all kinds.
        eventually("the other kind ran", || running.stats().completed == 1);
        assert_eq!((running.stats().reserved, store.counts().unwrap().ready), (1, 1));
        gate.open();
        eventually("then it runs", || running.stats().completed == 2);
        assert_eq!(running.shutdown().released, 0);
    });
}

#[test]
fn a_job_that_its_pool_drops_goes_back_and_runs_later() {
    for_each_store(|server| {
        let store = server.open();
        store.push(&[count(1)]).unwrap();
        let pool = Arc::new(Pool::new(1).unwrap());
        pool.shutdown();
        let running = Runner::new(store.clone()).poll(POLL).on(&pool, |Count(_), _| Ok(())).start().unwrap();
        eventually("it was refused and released, again and again", || running.stats().released > 6);
        pool.restart().unwrap();
        eventually("then it runs, which is its first attempt", || running.stats().completed == 1);
        assert_eq!(running.shutdown().buried, 0);
    });
}

#[test]
fn a_long_job_is_not_taken_twice() {
    for_each_store(|server| {
        let store = server.open_short();
        store.push(&[count(1)]).unwrap();
        let (gate, pools) = (Gate::default(), [Arc::new(Pool::new(2).unwrap()), Arc::new(Pool::new(2).unwrap())]);
        let start = |pool| {
            let job = gate.clone();
            let run = move |Count(_), _: &_| {
                job.pass();
                Ok(())
            };
            Runner::new(server.open_short()).lease(LEASE).poll(POLL).leave_unknown().on(pool, run).start().unwrap()
        };
        let runners = pools.each_ref().map(start);
        gate.await_arrivals(1);
        // A job that nobody runs shows how often a lease could have ended.
        store.push(&[other(1)]).unwrap();
        let mut ends = 0;
        eventually("leases end", || {
            ends += store.reserve("other", 1, LEASE).unwrap().len();
            ends == 4
        });
        assert_eq!(gate.arrivals(), 1);
        gate.open();
        eventually("it is done", || runners.iter().map(|runner| runner.stats().completed).sum::<u64>() == 1);
        assert_eq!(gate.arrivals(), 1);
        assert_eq!(runners.map(|runner| runner.shutdown().lost), [0, 0]);
    });
}
