//! The service under load, as its clients see it: too many requests, clients that leave, deadlines, and the end.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod client;

use std::cell::RefCell;
use std::thread;

use client::{ENDLESS, Server, eventually};

const RUNNING: &str = "formicary_tasks_running";
const QUEUED: &str = "formicary_tasks_queued";
const ACCEPTED: &str = "formicary_tasks_accepted_total";

/// The figure of tasks that ended so.
fn ended(outcome: &str) -> String {
    format!("formicary_tasks_ended_total{{pool=\"web\",outcome=\"{outcome}\"}}")
}

#[test]
fn no_request_in_flight_is_lost_at_the_end() {
    const REQUESTS: u64 = 40;
    let mut server = Server::start(&["--workers=2", "--queue=64", "--per-client=64"]);
    let requests: Vec<_> = (0..REQUESTS).map(|client| server.send("/primes/50000", client % 3)).collect();
    // However far they are: this figure only grows.
    server.await_figure(ACCEPTED, REQUESTS);
    server.terminate();
    // That some were in flight shows that the test sees something.
    let line = server.line();
    let in_flight = line.strip_prefix("draining: ").and_then(|line| line.strip_suffix(" in flight")).unwrap();
    assert!((1..=REQUESTS).contains(&in_flight.parse().unwrap()), "{line}");
    for request in requests {
        let response = request.response().unwrap();
        assert_eq!((response.status, response.body.as_str()), (200, "5133\n"));
    }
    assert_eq!(server.line(), format!("ended: {REQUESTS} ran, 0 never started, 0 still run"));
    assert!(server.end().success());
}

#[test]
fn too_many_requests_are_refused_and_told_when_to_come_again() {
    let server = Server::start(&["--workers=1", "--queue=2", "--per-client=1"]);
    let mut held = vec![server.send(ENDLESS, "greedy")];
    server.await_figure(RUNNING, 1);
    held.push(server.send(ENDLESS, "greedy"));
    server.await_figure(QUEUED, 1);
    server.send(ENDLESS, "greedy").response().unwrap().assert_refused(429);
    // Another client has room, until there is none for anybody.
    held.push(server.send(ENDLESS, "modest"));
    server.await_figure(QUEUED, 2);
    // A hundred at once, and all are answered.
    thread::scope(|scope| {
        for client in 0..10 {
            let server = &server;
            scope.spawn(move || {
                for _ in 0..10 {
                    server.send("/primes/10", client).response().unwrap().assert_refused(503);
                }
            });
        }
    });
    assert_eq!(server.figure("formicary_submissions_refused_total{pool=\"web\",reason=\"full\"}"), 101);
    assert_eq!((server.figure(RUNNING), server.figure(QUEUED)), (1, 2));
    // There is room again when the others have left.
    drop(held);
    server.await_figure(RUNNING, 0);
    assert_eq!(server.get("/primes/10").body, "4\n");
}

#[test]
fn the_task_of_a_client_that_leaves_is_cancelled() {
    let server = Server::start(&["--workers=1", "--queue=1"]);
    let running = server.send(ENDLESS, "a");
    server.await_figure(RUNNING, 1);
    let queued = server.send(ENDLESS, "b");
    server.await_figure(ACCEPTED, 2);
    drop(queued);
    // Its room is free as soon as the server has noticed, while the task before it still runs.
    let next = RefCell::new(None);
    eventually("there is room", || {
        *next.borrow_mut() = Some(server.send("/primes/10", "c"));
        server.figure(ACCEPTED) == 3
    });
    assert_eq!((server.figure(&ended("cancelled")), server.figure(RUNNING)), (1, 1));
    drop(running);
    // Told to stop, it ends by itself.
    assert_eq!(next.take().unwrap().response().unwrap().body, "4\n");
    assert_eq!(server.figure(&ended("completed")), 2);
}

#[test]
fn a_request_that_takes_too_long_is_stopped() {
    let server = Server::start(&["--workers=1", "--deadline=30"]);
    let (running, behind) = (server.send(ENDLESS, "a"), server.send(ENDLESS, "b"));
    running.response().unwrap().assert_refused(503);
    behind.response().unwrap().assert_refused(503);
    server.await_figure(RUNNING, 0);
    assert_eq!(server.get("/primes/10").body, "4\n");
}

#[test]
fn the_load_balancer_is_told_before_the_service_ends() {
    let mut server = Server::start(&["--lag=60000"]);
    assert_eq!(server.get("/ready").status, 200);
    server.terminate();
    assert_eq!(server.line(), "draining: 0 in flight");
    server.get("/ready").assert_refused(503);
    assert_eq!(server.get("/primes/10").body, "4\n");
}

#[test]
fn what_is_not_done_in_time_is_stopped_and_counted() {
    let mut server = Server::start(&["--workers=1", "--drain=30"]);
    let running = server.send(ENDLESS, "a");
    server.await_figure(RUNNING, 1);
    let behind = server.send(ENDLESS, "b");
    server.await_figure(QUEUED, 1);
    server.terminate();
    assert_eq!(server.line(), "draining: 2 in flight");
    running.response().unwrap().assert_refused(503);
    behind.response().unwrap().assert_refused(503);
    assert_eq!(server.line(), "out of time: 1 ran, 1 never started, 0 still run");
    assert_eq!(server.end().code(), Some(1));
}
