//! How jobs end that do not succeed, and how a runner ends.

use std::sync::Arc;
use std::time::Duration;

use formicary::Pool;
use formicary_jobs::{Counts, Push, Runner};

use crate::support::gate::{Gate, OpenAtEnd};
use crate::support::server::{LONG, for_each_store};
use crate::support::{Count, Other, count, eventually, other};

const POLL: Duration = Duration::from_millis(10);

#[test]
fn what_has_not_begun_goes_back_at_once_when_a_runner_is_shut_down() {
    for_each_store(|server| {
        let store = server.open();
        store.push(&(0..10).map(count).collect::<Vec<_>>()).unwrap();
        let (pool, gate) = (Arc::new(Pool::new(1).unwrap()), Gate::default());
        let job = gate.clone();
        let run = move |Count(_), _: &_| {
            job.pass();
            Ok(())
        };
        let running = Runner::new(store.clone()).poll(POLL).prefetch(20).on(&pool, run).start().unwrap();
        gate.await_arrivals(1);
        eventually("all are reserved", || store.counts().unwrap().reserved == 10);
        std::thread::scope(|scope| {
            let ending = scope.spawn(|| running.shutdown());
            let _open = OpenAtEnd(gate.clone());
            let mut back = Vec::new();
            eventually("nine can be reserved by others while the first runs", || {
                back.extend(store.reserve("count", 20, LONG).unwrap());
                back.len() >= 9
            });
            assert!(
                back.len() == 9 && back.iter().all(|job| job.attempt == 1),
                "to be reserved was no attempt: {back:?}"
            );
            assert!(!ending.is_finished(), "it waits for what runs");
            gate.open();
            let stats = ending.join().unwrap();
            assert_eq!((stats.completed, stats.released, stats.in_flight), (1, 9, 0), "{stats}");
        });
        pool.wait_idle();
        assert_eq!(gate.arrivals(), 1, "what went back does not run");
    });
}

#[test]
fn a_shutdown_with_a_limit_leaves_what_runs() {
    for_each_store(|server| {
        let store = server.open();
        store.push(&[count(1)]).unwrap();
        let (pool, gate) = (Arc::new(Pool::new(1).unwrap()), Gate::default());
        let job = gate.clone();
        let run = move |Count(_), _: &_| {
            job.pass();
            Ok(())
        };
        let running = Runner::new(store.clone()).poll(POLL).on(&pool, run).start().unwrap();
        gate.await_arrivals(1);
        assert_eq!(running.shutdown_timeout(Duration::from_millis(50)).in_flight, 1);
        assert_eq!(store.counts().unwrap().reserved, 1);
        gate.open();
    });
}

#[test]
fn errors_and_panics_are_failed_attempts_and_end_as_dead_letters_that_can_be_replayed() {
    for_each_store(|server| {
        let store = server.open();
        store.push(&[count(1).attempts(3), other(1).attempts(2)]).unwrap();
        let pool = Arc::new(Pool::builder().workers(2).panic_handler(|_| ()).build().unwrap());
        let runner = || Runner::new(store.clone()).poll(POLL).backoff(POLL, POLL);
        let running = runner()
            .on(&pool, |Count(_), cx| Err(format!("failed {} of {}", cx.attempt(), cx.attempts()).into()))
            .on(&pool, |Other(n), _| panic!("no {n}"))
            .start()
            .unwrap();
        eventually("both are dead", || store.counts().unwrap().dead == 2);
        let stats = running.shutdown();
        assert_eq!((stats.retried, stats.buried, stats.completed), (3, 2, 0), "{stats}");
        assert_eq!(stats.pools[0].1.panicked, 2, "the pool knows of the panics as well");
        let mut dead = store.dead(10).unwrap();
        dead.sort_by(|a, b| a.kind.cmp(&b.kind));
        let texts: Vec<_> = dead.iter().map(|dead| (dead.attempt, dead.error.as_str())).collect();
        assert_eq!(texts, [(3, "failed 3 of 3"), (2, "panicked: no 1")]);

        let ids: Vec<_> = dead.into_iter().map(|dead| dead.id).collect();
        assert_eq!(store.replay(&ids).unwrap(), 2);
        let running = runner().on(&pool, |Count(_), _| Ok(())).on(&pool, |Other(_), _| Ok(())).start().unwrap();
        eventually("both are done", || running.stats().completed == 2);
        assert_eq!(running.shutdown().store, Some(Counts::default()));
    });
}

#[test]
fn unknown_kinds_versions_and_payloads_are_dead_letters_at_once() {
    for_each_store(|server| {
        let store = server.open();
        let strange = ["unknown", "count", "count"]
            .into_iter()
            .zip([1, 7, 1])
            .map(|(kind, version)| Push::raw(kind, version, "no number"));
        store.push(&strange.collect::<Result<Vec<_>, _>>().unwrap()).unwrap();
        let pool = Arc::new(Pool::new(1).unwrap());
        let running = Runner::new(store.clone()).poll(POLL).on(&pool, |Count(_), _| Ok(())).start().unwrap();
        eventually("all are dead", || store.counts().unwrap().dead == 3);
        let mut errors: Vec<_> = store.dead(9).unwrap().into_iter().map(|dead| (dead.attempt, dead.error)).collect();
        errors.sort();
        assert_eq!(errors[0], (1, "no handler for jobs of kind `unknown`".to_owned()));
        assert!(errors[1].1.starts_with("the payload does not decode: expected"), "{errors:?}");
        assert!(errors[2].1.contains("version 7 of `count` cannot be read"), "{errors:?}");
        let stats = running.shutdown();
        assert_eq!((stats.reserved, stats.buried, stats.retried), (3, 3, 0), "{stats}");
    });
}

#[test]
fn unknown_kinds_are_left_if_that_was_asked_for() {
    for_each_store(|server| {
        let store = server.open();
        store.push(&[other(1), count(1)]).unwrap();
        let pool = Arc::new(Pool::new(1).unwrap());
        let running =
            Runner::new(store.clone()).poll(POLL).leave_unknown().on(&pool, |Count(_), _| Ok(())).start().unwrap();
        eventually("its own job is done", || running.stats().completed == 1);
        assert_eq!(running.shutdown().store, Some(Counts { ready: 1, reserved: 0, dead: 0 }));
    });
}

#[test]
#[should_panic(expected = "two handlers for `count`")]
fn a_kind_has_one_handler() {
    let pool = Arc::new(Pool::new(1).unwrap());
    let store = Arc::new(formicary_jobs::Sqlite::in_memory().unwrap());
    let _ = Runner::new(store).on(&pool, |Count(_), _| Ok(())).on(&pool, |Count(_), _| Ok(()));
}
