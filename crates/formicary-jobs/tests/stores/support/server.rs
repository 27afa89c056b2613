//! The real servers, each on a free port, with its data in a temporary folder; and a file for SQLite.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use formicary_jobs::{Sqlite, Store};
use rusqlite::Connection;

use super::{Folder, SERVER_LOG, eventually, logged};

/// Of worker processes, and of consumers of NATS.
pub(crate) const LEASE: Duration = Duration::from_secs(4);

/// Of everything else.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// Time limits of calls: where a test would fail, and where it waits for a failure.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);
pub(crate) const HASTY: Duration = Duration::from_secs(1);

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    #[cfg(feature = "redis")]
    Redis,
    #[cfg(feature = "nats")]
    Nats,
}

const KINDS: &[Kind] = &[
    Kind::Sqlite,
    #[cfg(feature = "redis")]
    Kind::Redis,
    #[cfg(feature = "nats")]
    Kind::Nats,
];

/// Runs a test with each store, in turn, or with that of the environment variable `FORMICARY_JOBS_ONLY`. A server that is not installed is a
/// failure where they are required.
pub(crate) fn for_each_store(test: impl Fn(&mut Server)) {
    let only = std::env::var("FORMICARY_JOBS_ONLY").ok();
    for &kind in KINDS {
        if only.as_ref().is_some_and(|only| !format!("{kind:?}").eq_ignore_ascii_case(only)) {
            continue;
        }
        if let Some(mut server) = Server::start(kind) {
            println!("with {kind:?}");
            test(&mut server);
        }
    }
}

/// A server, which ends with this, or a file.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    folder: Folder,
    port: u16,
    child: Option<Child>,
    lock: Option<Connection>,
}

impl Server {
    pub(crate) fn start(kind: Kind) -> Option<Self> {
        let mut server = Server { kind, folder: Folder::new(), port: 0, child: None, lock: None };
        if let Some(program) = server.command().map(|command| command.get_program().to_owned()) {
            if Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
                assert!(
                    std::env::var("CI_SERVERS").as_deref() != Ok("required"),
                    "no {program:?}, which is required here"
                );
                eprintln!("skipped: no {program:?}");
                return None;
            }
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            server.restart();
        }
        Some(server)
    }

    fn command(&self) -> Option<Command> {
        match self.kind {
            Kind::Sqlite => None,
            #[cfg(feature = "redis")]
            Kind::Redis => {
                let mut command = Command::new("redis-server");
                command
                    .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--dir"])
                    .arg(self.folder.path());
                command.args(["--appendonly", "yes", "--appendfsync", "always"]);
                Some(command)
            }
            #[cfg(feature = "nats")]
            Kind::Nats => {
                let mut command = Command::new("nats-server");
                command.args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"]).arg(self.folder.path());
                Some(command)
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The port of the server; none of a file.
    pub(crate) fn port(&self) -> Option<u16> {
        (self.port != 0).then_some(self.port)
    }

    /// What `open` takes, by way of another port if one is given.
    pub(crate) fn address(&self, by_way_of: Option<u16>) -> String {
        let _port = by_way_of.unwrap_or(self.port);
        match self.kind {
            Kind::Sqlite => format!("file:{}", self.folder.path().join("jobs.db").display()),
            #[cfg(feature = "redis")]
            Kind::Redis => format!("redis://127.0.0.1:{_port}/"),
            #[cfg(feature = "nats")]
            Kind::Nats => format!("nats://127.0.0.1:{_port}"),
        }
    }

    /// The store, with long leases.
    pub(crate) fn open(&self) -> Arc<dyn Store> {
        open(&self.address(None), LONG, PATIENT)
    }

    /// The store, with leases that end soon.
    pub(crate) fn open_short(&self) -> Arc<dyn Store> {
        open(&self.address(None), LEASE, PATIENT)
    }

    /// The store, whose calls fail soon.
    pub(crate) fn open_hasty(&self, lease: Duration) -> Arc<dyn Store> {
        open(&self.address(None), lease, HASTY)
    }

    /// Kills the server as the system would: no chance to write anything.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks the server to end, and waits until it has.
    #[cfg(feature = "nats")]
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, libc::SIGTERM);
            child.wait().unwrap();
        }
    }

    pub(crate) fn restart(&mut self) {
        let Some(mut command) = self.command() else { return };
        let port = self.port;
        self.child = Some(logged(&mut command, self.folder.path(), SERVER_LOG).spawn().unwrap());
        eventually("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// The server answers nobody, and is there: it is stopped, or another process has the file.
    pub(crate) fn stall(&mut self) {
        match &self.child {
            Some(child) => signal(child, libc::SIGSTOP),
            None => {
                let lock = Connection::open(self.folder.path().join("jobs.db")).unwrap();
                lock.busy_timeout(super::LIMIT).unwrap();
                lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
                self.lock = Some(lock);
            }
        }
    }

    pub(crate) fn resume(&mut self) {
        match &self.child {
            Some(child) => signal(child, libc::SIGCONT),
            None => self.lock = None, // rolls back
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: `kill` takes any numbers, and has no effect on memory. The child has not been waited for, so its number is its own.
    assert_eq!(unsafe { libc::kill(child.id().try_into().unwrap(), signal) }, 0);
}

/// A store by its address. Only consumers of NATS have a lease of their own.
pub(crate) fn open(address: &str, lease: Duration, limit: Duration) -> Arc<dyn Store> {
    let _ = lease;
    match address.split_once(':').unwrap() {
        ("file", path) => Arc::new(Sqlite::open(path).unwrap().busy_timeout(limit)),
        #[cfg(feature = "redis")]
        ("redis", _) => Arc::new(formicary_jobs::Redis::new(address, "test").unwrap().time_limit(limit)),
        #[cfg(feature = "nats")]
        ("nats", _) => Arc::new(formicary_jobs::Nats::new(address, "test").unwrap().time_limit(limit).lease(lease)),
        _ => panic!("{address} is no store"),
    }
}
