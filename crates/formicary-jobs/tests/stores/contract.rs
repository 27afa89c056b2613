//! What every store promises, without a runner.

use std::time::Duration;

use formicary_jobs::{Counts, Lease, Pushed, Reserved, Settle, Store};

use crate::support::server::{LEASE, LONG, for_each_store};
use crate::support::{count, eventually, other};

fn payloads(jobs: &[Reserved]) -> Vec<&str> {
    jobs.iter().map(|job| std::str::from_utf8(&job.payload).unwrap()).collect()
}

#[track_caller]
fn reserve_one(store: &dyn Store, lease: Duration) -> Reserved {
    let mut jobs = store.reserve("count", 1, lease).unwrap();
    assert_eq!(jobs.len(), 1);
    jobs.remove(0)
}

fn settle(store: &dyn Store, lease: &Lease, end: Settle) -> bool {
    store.settle(&[(lease.clone(), end)]).unwrap()[0]
}

fn retry() -> Settle {
    Settle::Retry { after: Duration::ZERO, error: "once more".to_owned() }
}

fn bury() -> Settle {
    Settle::Bury { error: "hopeless".to_owned() }
}

#[test]
fn jobs_of_a_kind_come_oldest_first_and_once() {
    for_each_store(|server| {
        let store = server.open();
        store.push(&[count(1), other(2), count(3), count(4)]).unwrap();
        let first = store.reserve("count", 2, LONG).unwrap();
        assert_eq!(payloads(&first), ["1", "3"]);
        assert_eq!(payloads(&store.reserve("count", 9, LONG).unwrap()), ["4"]);
        assert_eq!(payloads(&store.reserve("other", 9, LONG).unwrap()), ["2"]);
        assert!(store.reserve("count", 9, LONG).unwrap().is_empty());
        assert_eq!(store.counts().unwrap(), Counts { ready: 0, reserved: 4, dead: 0 });
        let done: Vec<_> = first.into_iter().map(|job| (job.lease, Settle::Done)).collect();
        assert_eq!(store.settle(&done).unwrap(), [true, true]);
        assert_eq!(store.settle(&done).unwrap(), [false, false], "they are gone");
        assert_eq!(store.counts().unwrap(), Counts { ready: 0, reserved: 2, dead: 0 });
    });
}

#[test]
fn a_key_is_stored_once() {
    for_each_store(|server| {
        let store = server.open();
        assert!(matches!(
            store.push(&[count(1).key("a"), count(2).key("a"), count(3).key("b")]).unwrap()[..],
            [Pushed::New(_), Pushed::Duplicate, Pushed::New(_)]
        ));
        let job = reserve_one(&*store, LONG);
        assert_eq!(job.key.as_deref(), Some("a"));
        assert!(settle(&*store, &job.lease, Settle::Done));
        assert_eq!(
            store.push(&[count(4).key("a")]).unwrap(),
            [Pushed::Duplicate],
            "it is remembered when the job is done"
        );
        assert_eq!(store.counts().unwrap().ready, 1);
    });
}

#[test]
fn a_job_whose_lease_ended_is_ready_again_and_the_lease_is_void() {
    for_each_store(|server| {
        let store = server.open_short();
        store.push(&[count(1)]).unwrap();
        let first = reserve_one(&*store, LEASE);
        let mut again = Vec::new();
        eventually("the lease ends", || {
            again = store.reserve("count", 1, LONG).unwrap();
            !again.is_empty()
        });
        assert_eq!((again[0].lease.id.as_str(), again[0].attempt), (first.lease.id.as_str(), 2));
        assert!(!settle(&*store, &first.lease, retry()), "it is not the holder of the first lease's any more");
        assert_eq!(store.extend(std::slice::from_ref(&first.lease), LONG).unwrap(), [false]);
        assert_eq!(store.counts().unwrap().reserved, 1);
        assert!(settle(&*store, &again[0].lease, Settle::Done));
    });
}

#[test]
fn work_that_is_done_is_done_whoever_has_the_lease_by_then() {
    for_each_store(|server| {
        let store = server.open_short();
        store.push(&[count(1)]).unwrap();
        let first = reserve_one(&*store, LEASE);
        eventually("somebody else reserves it", || !store.reserve("count", 1, LONG).unwrap().is_empty());
        assert!(settle(&*store, &first.lease, Settle::Done));
        assert_eq!(store.counts().unwrap(), Counts::default());
    });
}

#[test]
fn a_lease_that_is_extended_does_not_end() {
    for_each_store(|server| {
        let store = server.open_short();
        store.push(&[count(1), count(2)]).unwrap();
        let jobs = store.reserve("count", 2, LEASE).unwrap();
        // The other one shows that leases end meanwhile.
        let mut ended = Vec::new();
        eventually("the lease that is not extended ends", || {
            assert_eq!(store.extend(&[jobs[0].lease.clone()], LEASE).unwrap(), [true]);
            ended = store.reserve("count", 2, LEASE).unwrap();
            !ended.is_empty()
        });
        assert_eq!(payloads(&ended), ["2"]);
        assert!(settle(&*store, &jobs[0].lease, Settle::Done));
    });
}

#[test]
fn a_release_is_no_attempt_and_a_retry_is_one() {
    for_each_store(|server| {
        let store = server.open();
        store.push(&[count(1)]).unwrap();
        let job = reserve_one(&*store, LONG);
        assert!(settle(&*store, &job.lease, Settle::Release));
        let job = reserve_one(&*store, LONG);
        assert_eq!(job.attempt, 1, "the release was no attempt");
        assert!(settle(&*store, &job.lease, retry()));
        let job = reserve_one(&*store, LONG);
        assert_eq!((job.attempt, job.attempts), (2, 5));
        assert!(settle(&*store, &job.lease, Settle::Retry { after: LONG, error: "later".to_owned() }));
        assert!(store.reserve("count", 1, LONG).unwrap().is_empty(), "it is not due");
        let counts = store.counts().unwrap();
        assert_eq!(counts.ready + counts.reserved, 1, "it is there");
    });
}

#[test]
fn dead_letters_say_why_and_can_be_replayed_or_discarded() {
    for_each_store(|server| {
        let store = server.open();
        store.push(&[count(1).key("k").attempts(1), other(2)]).unwrap();
        for kind in ["count", "other"] {
            let job = store.reserve(kind, 1, LONG).unwrap().remove(0);
            assert!(settle(&*store, &job.lease, bury()));
        }
        let dead = store.dead(10).unwrap();
        let texts: Vec<_> = dead
            .iter()
            .map(|dead| (dead.kind.as_str(), dead.key.as_deref(), dead.attempt, dead.error.as_str()))
            .collect();
        assert_eq!(texts, [("count", Some("k"), 1, "hopeless"), ("other", None, 1, "hopeless")]);
        assert_eq!((dead[0].version, dead[0].payload.as_slice()), (1, &b"1"[..]));
        assert_eq!(store.dead(1).unwrap().len(), 1);
        assert!(store.reserve("count", 1, LONG).unwrap().is_empty());

        let ids: Vec<_> = dead.iter().map(|dead| dead.id.clone()).collect();
        assert_eq!(store.replay(&ids[..1]).unwrap(), 1);
        assert_eq!(store.replay(&ids[..1]).unwrap(), 0);
        assert_eq!(store.counts().unwrap(), Counts { ready: 1, reserved: 0, dead: 1 });
        let job = reserve_one(&*store, LONG);
        assert_eq!((job.attempt, job.attempts, job.key.as_deref()), (1, 1, Some("k")), "with all attempts");
        assert_eq!(store.discard(&ids).unwrap(), 1);
        assert_eq!(store.counts().unwrap(), Counts { ready: 0, reserved: 1, dead: 0 });
    });
}

#[test]
fn a_job_that_never_comes_back_is_dead_after_its_last_attempt() {
    for_each_store(|server| {
        let store = server.open_short();
        store.push(&[count(1).attempts(1)]).unwrap();
        reserve_one(&*store, LEASE);
        eventually("it is dead", || {
            store.reserve("count", 1, LEASE).unwrap().is_empty() && store.counts().unwrap().dead == 1
        });
        assert!(store.dead(1).unwrap()[0].error.contains("attempt 1"), "{}", store.dead(1).unwrap()[0].error);
    });
}

#[test]
fn kinds_that_may_be_ready_are_listed() {
    for_each_store(|server| {
        let store = server.open();
        assert!(store.kinds().unwrap().is_empty());
        store.push(&[other(1), count(2), count(3)]).unwrap();
        let mut kinds = store.kinds().unwrap();
        kinds.sort();
        assert_eq!(kinds, ["count", "other"]);
    });
}

#[test]
fn calls_with_nothing_do_nothing() {
    for_each_store(|server| {
        let store = server.open();
        assert!(store.push(&[]).unwrap().is_empty());
        assert!(store.settle(&[]).unwrap().is_empty());
        assert!(store.extend(&[], LONG).unwrap().is_empty());
        assert_eq!((store.replay(&[]).unwrap(), store.discard(&["17".to_owned()]).unwrap()), (0, 0));
        assert!(store.reserve("count", 0, LONG).unwrap().is_empty());
    });
}
