//! The web page: one HTML file, a stream of snapshots, and three actions.
//!
//! | request | response |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /events` | a [`Snapshot`](crate::snapshot::Snapshot) as JSON four times a second, as server-sent events |
//! | `POST /pools/ID/pause`, `POST /pools/ID/resume` | does that; the body is `{}` |
//! | `POST /pools/ID/tune` | sets the capacity; the body is `{"workers": N}` |
//!
//! An action is answered with `{}`, or with `{"error": "…"}`. The crate's page says who can reach all this, and who cannot.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use formicary::observe::registry;
use formicary::{CancelToken, Pool};
use serde_json::{Value, json};

use crate::action::{Action, ActionError, apply};
use crate::http::{Request, Status, begin_events, respond};
use crate::sampler::Sampler;

/// Where the page is unless another address is given.
pub const DEFAULT_ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7878);
/// The time between two snapshots.
const INTERVAL: Duration = Duration::from_millis(250);
/// How many connections are served at a time. An open page has one; more are closed at once.
const CONNECTIONS: usize = 32;
const PAGE: &str = include_str!("page.html");

/// A running server. Dropping it closes its connections and joins its threads, which takes 5 seconds at most.
///
/// ```
/// let server = formicary_top::web::serve("127.0.0.1:0".parse()?)?;
/// assert!(server.addr().port() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    stop: CancelToken,
    thread: Option<JoinHandle<()>>,
}

/// Serves the page on this address until the server is dropped. Port 0 is any free port.
///
/// ```
/// let server = formicary_top::web::serve("127.0.0.1:0".parse()?)?;
/// println!("http://{}/", server.addr());
///
/// let everywhere = formicary_top::web::serve("0.0.0.0:0".parse()?);
/// assert_eq!(everywhere.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// `InvalidInput` if the address is not a loopback address: the page controls pools, and has no login. Otherwise the error of the
/// listener, such as `AddrInUse`, or of its threads.
pub fn serve(addr: SocketAddr) -> io::Result<Server> {
    if !addr.ip().is_loopback() {
        let reason = format!("{} is not a loopback address: the page has no login", addr.ip());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let listener = TcpListener::bind(addr)?;
    let addr = listener.local_addr()?;
    let stop = CancelToken::new();
    let connections = Pool::builder().name("formicary-top").workers(CONNECTIONS).queue(0);
    let connections = connections.build().map_err(io::Error::other)?;
    let stopped = stop.clone();
    let accept = move || accept(&listener, &connections, &stopped);
    let thread = thread::Builder::new().name("formicary-top".into()).spawn(accept)?;
    Ok(Server { addr, stop, thread: Some(thread) })
}

impl Server {
    /// The address that it listens on, with the port that was found if 0 was asked for.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        // Ends the wait for a connection.
        let _ = TcpStream::connect_timeout(&self.addr, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Accepts connections until the server stops. The pool of connections ends with the caller's closure, and waits for them.
fn accept(listener: &TcpListener, connections: &Pool, stop: &CancelToken) {
    while !stop.is_cancelled() {
        let Ok((mut stream, _)) = listener.accept() else {
            // Out of file descriptors, for example: another try at once would fail as well.
            let _ = stop.wait_timeout(Duration::from_millis(50));
            continue;
        };
        let stop = stop.clone();
        // A refusal drops the stream, and so closes the connection. So does an error: there is nobody to tell.
        let _ = connections.try_submit(move || drop(answer(&mut stream, &stop)));
    }
}

fn answer(stream: &mut TcpStream, stop: &CancelToken) -> io::Result<()> {
    let request = match Request::read(stream) {
        Ok(request) => request,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return respond(stream, Status::BadRequest, "text/plain", &error.to_string());
        }
        Err(error) => return Err(error),
    };
    if !is_local(request.header("host")) {
        return respond(stream, Status::Forbidden, "text/plain", "not a local host");
    }
    let path = request.path.split('?').next().unwrap_or_default();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    match (request.method.as_str(), path.as_slice()) {
        ("GET", [""]) => respond(stream, Status::Ok, "text/html; charset=utf-8", PAGE),
        ("GET", ["events"]) => send_events(stream, stop),
        ("POST", ["pools", pool, action]) => {
            let (status, reply) = act(&request, pool, action);
            respond(stream, status, "application/json", &reply.to_string())
        }
        (_, ["" | "events"] | ["pools", _, _]) => {
            respond(stream, Status::MethodNotAllowed, "text/plain", "no such method")
        }
        _ => respond(stream, Status::NotFound, "text/plain", "no such page"),
    }
}

/// Sends snapshots until the client or the server ends.
fn send_events(stream: &mut TcpStream, stop: &CancelToken) -> io::Result<()> {
    begin_events(stream)?;
    let mut sampler = Sampler::new();
    loop {
        let snapshot = sampler.sample(&registry().pools(), Instant::now());
        let event = format!("data: {}\n\n", serde_json::to_string(&snapshot)?);
        stream.write_all(event.as_bytes())?;
        if stop.wait_timeout(INTERVAL) {
            return Ok(());
        }
    }
}

/// Does what a POST asks for.
fn act(request: &Request, pool: &str, action: &str) -> (Status, Value) {
    let failed = |status, error: &str| (status, json!({ "error": error }));
    // A browser sends this type to another site only after it has asked that site, which gets no answer that allows it.
    if request.header("content-type").map(str::trim) != Some("application/json") {
        return failed(Status::UnsupportedMediaType, "the content type must be application/json");
    }
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return failed(Status::BadRequest, "the body must be JSON");
    };
    let Ok(pool) = pool.parse() else {
        return failed(Status::NotFound, "no such pool");
    };
    let action = match action {
        "pause" => Action::Pause,
        "resume" => Action::Resume,
        "tune" => match body["workers"].as_u64().and_then(|workers| usize::try_from(workers).ok()) {
            Some(workers) => Action::Tune(workers),
            None => return failed(Status::BadRequest, "workers must be a number"),
        },
        _ => return failed(Status::NotFound, "no such action"),
    };
    match apply(pool, action) {
        Ok(()) => (Status::Ok, json!({})),
        Err(error @ ActionError::Gone) => failed(Status::NotFound, &error.to_string()),
        Err(error @ ActionError::Refused(_)) => failed(Status::BadRequest, &error.to_string()),
    }
}

/// Whether a request was meant for this machine. A site whose name was changed to point here (DNS rebinding) has its own name in `Host`.
fn is_local(host: Option<&str>) -> bool {
    let Some(host) = host else { return false };
    if let Ok(addr) = host.parse::<SocketAddr>() {
        return addr.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let ip = name.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || ip.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        let hosts = ["localhost", "LOCALHOST:7878", "127.0.0.1", "127.0.0.1:7878", "127.8.9.1", "[::1]", "[::1]:7878"];
        for host in hosts {
            assert!(is_local(Some(host)), "{host}");
        }
        let hosts = [
            "",
            "example.com",
            "example.com:7878",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "localhost:7878:1",
            "localhost:http",
            "10.0.0.1:7878",
            "0.0.0.0",
            "[::]",
            "[fe80::1]:80",
        ];
        for host in hosts {
            assert!(!is_local(Some(host)), "{host}");
        }
        assert!(!is_local(None));
    }
}
