//! A NATS server that was killed may have forgotten acknowledgements whose messages it has removed.

use std::path::PathBuf;
use std::time::Duration;

use formicary_jobs::{Counts, Settle, StoreError};

use crate::support::server::{Kind, LEASE, Server, for_each_store, open};
use crate::support::{count, eventually, other};

/// What the consumer of a kind knows of its deliveries. The server writes it in the background, ten times a second at most, so a kill
/// leaves an older one beside a stream that is newer.
fn state_of(kind: &str, server: &Server) -> PathBuf {
    server.folder().join("jetstream/$G/streams/test/obs").join(kind).join("o.dat")
}

/// Stops the server in between, so that all of it is in files.
fn while_stopped<T>(server: &mut Server, f: impl FnOnce(&Server) -> T) -> T {
    server.stop();
    let result = f(server);
    server.restart();
    result
}

fn call<T>(what: &str, mut f: impl FnMut() -> Result<T, StoreError>) -> T {
    let mut result = None;
    eventually(what, || {
        result = f().ok();
        result.is_some()
    });
    result.unwrap()
}

#[test]
fn deliveries_of_removed_jobs_hold_up_nobody() {
    for_each_store(|server| {
        if server.kind != Kind::Nats {
            return;
        }
        // Patient enough for a slow machine, and not so patient that the search has to be waited for.
        let store = open(&server.address(None), LEASE, Duration::from_secs(4));
        // A job that stays, in front of the others: without it, the server would see that they are gone.
        store.push(&[other(0)]).unwrap();
        store.push(&(0..100).map(count).collect::<Vec<_>>()).unwrap();
        let jobs = store.reserve("count", 100, LEASE).unwrap();
        assert_eq!(jobs.len(), 100);
        let read = |server: &Server| std::fs::read(state_of("count", server)).unwrap();
        let reserved = while_stopped(server, read);
        let ends: Vec<_> = jobs.into_iter().map(|job| (job.lease, Settle::Done)).collect();
        call("all are settled", || store.settle(&ends));
        while_stopped(server, |server| std::fs::write(state_of("count", server), reserved).unwrap());

        let counts = call("the server is there", || store.counts());
        assert_eq!(counts, Counts { ready: 1, reserved: 100, dead: 0 }, "it has forgotten");
        // More of them than can be asked for, one at a time, before their leases end again.
        eventually("it is reminded", || {
            let reserved = store.reserve("count", 10, LEASE).unwrap_or_default();
            assert!(reserved.is_empty());
            store.counts().is_ok_and(|counts| counts == Counts { ready: 1, reserved: 0, dead: 0 })
        });
        call("a push succeeds", || store.push(&[count(7).key("next")]));
        let next = call("the next job comes", || store.reserve("count", 10, LEASE));
        assert_eq!((next.len(), &*next[0].payload), (1, &b"7"[..]));
    });
}
