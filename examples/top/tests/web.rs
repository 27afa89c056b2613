//! The server by itself: what it answers, what it refuses, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::time::Instant;

use formicary::Pool;
use formicary::observe::registry;
use formicary_top::web::{Server, serve};
use serde_json::Value;
use support::{LIMIT, connect, read_head, send};

fn start() -> Server {
    serve("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// A registered pool and its number there.
fn registered(name: &str) -> (Pool, u64) {
    let pool = Pool::builder().name(name).workers(2).latencies().running_tasks().build().unwrap();
    registry().add(&pool);
    let id = registry().pools().iter().find(|registered| registered.name() == name).unwrap().id();
    (pool, id)
}

const JSON: &str = "Content-Type: application/json";

fn post(addr: SocketAddr, path: &str, headers: &[&str], body: &str) -> (u16, String) {
    let line = format!("POST {path} HTTP/1.1");
    let reply = send(addr, &[&[line.as_str()], headers].concat(), body).unwrap();
    (reply.status, reply.text().to_owned())
}

/// An open stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(addr: SocketAddr) -> std::io::Result<Events> {
        let mut stream = connect(addr)?;
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut reader = BufReader::new(stream);
        let reply = read_head(&mut reader)?;
        assert_eq!(reply.status, 200);
        assert!(reply.head.iter().any(|line| line == "content-type: text/event-stream"));
        Ok(Events(reader))
    }

    /// The next snapshot of a pool.
    fn next(&mut self, name: &str) -> Value {
        let mut line = String::new();
        while !line.starts_with("data: ") {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream has ended");
        }
        let snapshot: Value = serde_json::from_str(&line["data: ".len()..]).unwrap();
        let pools = snapshot["pools"].as_array().unwrap();
        pools.iter().find(|pool| pool["name"] == name).cloned().unwrap_or_default()
    }
}

#[test]
fn the_page_is_one_file_that_loads_nothing_else() {
    let server = start();
    let reply = send(server.addr(), &["GET / HTTP/1.1", "Host: localhost"], "").unwrap();
    assert_eq!(reply.status, 200);
    let policy = reply.head.iter().find(|line| line.starts_with("content-security-policy:")).unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    let page = reply.text();
    assert!(page.contains("<title>formicary-top</title>"));
    for outside in ["http:", "https:", "src=", "@import", "innerHTML"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn events_are_snapshots_that_move_on() {
    let (pool, id) = registered("events");
    let server = start();
    let (release, gate) = channel::<()>();
    pool.with().name("held").submit(move || gate.recv()).unwrap();
    let mut events = Events::open(server.addr()).unwrap();
    let task = |pool: &Value| {
        let cells = pool["cells"].as_array().unwrap();
        let task = cells.iter().find_map(|cell| cell["tasks"].get(0)).cloned();
        task.map(|task| (task["name"].as_str().unwrap().to_owned(), task["for_us"].as_u64().unwrap()))
    };
    let started = Instant::now();
    let (name, before) = loop {
        let pool = events.next("events");
        assert_eq!(pool["id"], id);
        if let Some(task) = task(&pool) {
            break task;
        }
        assert!(started.elapsed() < LIMIT, "the task does not start");
    };
    let (_, after) = task(&events.next("events")).unwrap();
    assert!(name == "held" && after > before, "{name}: {before} to {after}");
    drop(release);
    drop(pool);
    while !events.next("events").is_null() {
        assert!(started.elapsed() < LIMIT, "the pool does not leave");
    }
}

#[test]
fn actions_change_the_pool() {
    let (pool, id) = registered("actions");
    let server = start();
    let post = |action: &str, body: &str| {
        post(server.addr(), &format!("/pools/{id}/{action}"), &["Host: localhost", JSON], body)
    };
    assert_eq!(post("tune", r#"{"workers": 7}"#), (200, "{}".into()));
    assert_eq!(pool.capacity(), 7);
    assert_eq!(post("pause", "{}"), (200, "{}".into()));
    assert!(pool.is_paused());
    assert_eq!(post("resume", "{}"), (200, "{}".into()));
    assert!(!pool.is_paused());
    for (action, body, status) in [
        ("tune", r#"{"workers": 0}"#, 400),
        ("tune", r#"{"workers": 70000}"#, 400),
        ("tune", r#"{"workers": -1}"#, 400),
        ("tune", r#"{"workers": "8"}"#, 400),
        ("tune", "{}", 400),
        ("tune", "workers", 400),
        ("pause", "", 400),
        ("drop", "{}", 404),
    ] {
        let (answered, reply) = post(action, body);
        assert_eq!(answered, status, "{action} {body}: {reply}");
        let reply: Value = serde_json::from_str(&reply).unwrap();
        assert!(reply["error"].as_str().is_some_and(|error| !error.is_empty()));
    }
    assert_eq!((pool.capacity(), pool.is_paused()), (7, false));
    drop(pool);
    assert_eq!(post("pause", "{}").0, 404);
}

#[test]
fn what_other_sites_can_send_is_refused() {
    let (pool, id) = registered("refused");
    let server = start();
    let path = format!("/pools/{id}/pause");
    for (headers, status) in [
        // A name of another site that points here.
        (&["Host: example.com:7878", JSON][..], 403),
        (&[JSON], 403),
        (&["Host: localhost", "Host: example.com", JSON], 403),
        // What a form or a script of another site sends without asking.
        (&["Host: localhost", "Content-Type: text/plain"], 415),
        (&["Host: localhost", "Content-Type: application/x-www-form-urlencoded"], 415),
        (&["Host: localhost"], 415),
    ] {
        assert_eq!(post(server.addr(), &path, headers, "{}").0, status, "{headers:?}");
    }
    for (line, status) in [
        (format!("GET {path} HTTP/1.1"), 405),
        (format!("OPTIONS {path} HTTP/1.1"), 405),
        ("GET /other HTTP/1.1".into(), 404),
        ("POST / HTTP/1.1".into(), 405),
        ("GET /pools/1 HTTP/1.1".into(), 404),
        ("no request".into(), 400),
    ] {
        let reply = send(server.addr(), &[&line, "Host: localhost"], "").unwrap();
        assert_eq!(reply.status, status, "{line}");
        assert!(!reply.head.iter().any(|line| line.starts_with("access-control")));
    }
    assert!(!pool.is_paused());
    // The page itself is of use to another site only with its own name.
    assert_eq!(send(server.addr(), &["GET /events HTTP/1.1", "Host: example.com"], "").unwrap().status, 403);
}

#[test]
fn a_request_has_a_limit() {
    let server = start();
    let body = " ".repeat(1100);
    assert_eq!(post(server.addr(), "/pools/1/pause", &["Host: localhost", JSON], &body).0, 400);
    let mut stream = connect(server.addr()).unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(8192));
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // What was not read may reset the connection before the answer is.
    if stream.read_to_end(&mut answer).is_ok() {
        assert!(answer.starts_with(b"HTTP/1.1 400"));
    }
}

#[test]
fn more_connections_than_the_limit_are_closed() {
    let server = start();
    let mut open: Vec<_> = (0..32).map(|_| Events::open(server.addr()).unwrap()).collect();
    assert!(Events::open(server.addr()).is_err());
    for events in &mut open {
        events.next("none");
    }
}

#[test]
fn a_dropped_server_ends_its_streams() {
    let server = start();
    let addr = server.addr();
    let mut events = Events::open(addr).unwrap();
    // One that sends nothing.
    let mut silent = connect(addr).unwrap();
    let (ended, end) = channel();
    let thread = std::thread::spawn(move || {
        drop(server);
        ended.send(()).unwrap();
    });
    end.recv_timeout(LIMIT).expect("the server does not end");
    thread.join().unwrap();
    events.0.read_to_end(&mut Vec::new()).unwrap();
    // It was closed as well; reset, if the server ended before it was accepted.
    let closed = silent.read(&mut [0]);
    let is_closed = match &closed {
        Ok(length) => *length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    assert!(is_closed, "{closed:?}");
}
