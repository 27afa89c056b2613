//! The store goes away and comes back, while a runner lives on.

use std::sync::Arc;
use std::time::Duration;

use formicary::Pool;
use formicary_jobs::{Counts, Runner, Running, Store};

use crate::support::gate::Gate;
use crate::support::proxy::Proxy;
use crate::support::server::{HASTY, LEASE, LONG, Server, for_each_store, open};
use crate::support::{Count, count, eventually};

const POLL: Duration = Duration::from_millis(10);

/// A runner whose jobs wait at a gate.
fn start(store: Arc<dyn Store>, lease: Duration, gate: &Gate) -> (Running, Arc<Pool>) {
    let (pool, job) = (Arc::new(Pool::new(2).unwrap()), gate.clone());
    let run = move |Count(_), _: &_| {
        job.pass();
        Ok(())
    };
    (Runner::new(store).lease(lease).poll(POLL).on(&pool, run).start().unwrap(), pool)
}

fn await_errors(running: &Running, more: u64) {
    let errors = running.stats().store_errors;
    eventually("calls of the store fail", || running.stats().store_errors >= errors + more);
}

/// A fault, and its end.
fn a_runner_survives(fault: impl Fn(&mut Server), end: impl Fn(&mut Server)) {
    for_each_store(|server| {
        let gate = Gate::default();
        let store = server.open();
        store.push(&[count(1)]).unwrap();
        let (running, _pool) = start(server.open_hasty(LONG), LONG, &gate);
        gate.await_arrivals(1);
        fault(server);
        await_errors(&running, 2);
        gate.open(); // the job ends while nobody can be told
        await_errors(&running, 1);
        end(server);
        eventually("the acknowledgement was not lost", || running.stats().completed == 1);
        eventually("a push succeeds again", || store.push(&[count(2).key("second")]).is_ok());
        eventually("and is run", || running.stats().completed == 2);
        let stats = running.shutdown();
        assert_eq!((gate.arrivals(), stats.lost, stats.store), (2, 0, Some(Counts::default())), "{stats}");
    });
}

#[test]
fn a_runner_survives_a_stall_of_its_store() {
    a_runner_survives(Server::stall, Server::resume);
}

#[test]
fn a_runner_survives_the_death_of_its_server() {
    // A file has no server: another process takes it in its place.
    let (kill, restart) = (
        |server: &mut Server| if server.port().is_some() { server.kill() } else { server.stall() },
        |server: &mut Server| if server.port().is_some() { server.restart() } else { server.resume() },
    );
    a_runner_survives(kill, restart);
}

#[test]
fn a_job_whose_lease_ends_in_a_stall_is_not_started_again_by_who_runs_it() {
    for_each_store(|server| {
        let gate = Gate::default();
        let store = server.open_short();
        store.push(&[count(1)]).unwrap();
        let (running, _pool) = start(server.open_hasty(LEASE), LEASE, &gate);
        gate.await_arrivals(1);
        server.stall();
        // The leases are the server's, by its clock, which goes on.
        std::thread::sleep(LEASE * 2);
        server.resume();
        eventually("a push succeeds again", || store.push(&[count(2).key("second")]).is_ok());
        gate.await_arrivals(2); // the runner has reserved what there is
        gate.open();
        eventually("both are done", || running.stats().completed == 2);
        assert_eq!(gate.arrivals(), 2, "each ran once");
        assert_eq!(running.shutdown().lost, 0);
    });
}

#[test]
fn a_runner_survives_a_cut_of_the_network() {
    for_each_store(|server| {
        let Some(port) = server.port() else { return };
        let proxy = Proxy::to(port);
        let gate = Gate::default();
        let store = server.open();
        store.push(&[count(1), count(2)]).unwrap();
        let (running, _pool) = start(open(&server.address(Some(proxy.port())), LONG, HASTY), LONG, &gate);
        gate.await_arrivals(2);
        proxy.cut();
        await_errors(&running, 2);
        gate.open();
        store.push(&[count(3)]).unwrap();
        await_errors(&running, 1);
        proxy.heal();
        eventually("all are done", || running.stats().completed == 3);
        let stats = running.shutdown();
        assert_eq!((gate.arrivals(), stats.store), (3, Some(Counts::default())), "{stats}");
    });
}

#[test]
fn a_runner_may_start_before_its_server() {
    for_each_store(|server| {
        if server.port().is_none() {
            return;
        }
        let gate = Gate::default();
        gate.open();
        server.open().push(&[count(1)]).unwrap();
        server.kill();
        let (running, _pool) = start(server.open_hasty(LEASE), LEASE, &gate);
        await_errors(&running, 2);
        server.restart();
        eventually("it runs", || running.stats().completed == 1);
        running.shutdown();
    });
}
