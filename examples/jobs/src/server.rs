//! Where the jobs are: a SQLite file, or a Redis or NATS server, which this starts on a free port unless one is given.

use std::fmt;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use formicary_jobs::{BoxError, Sqlite, Store};

/// How long jobs stay reserved after the death of their consumer. A real program takes longer ones: a minute is usual.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// How long a call of the store may take: less than a third of the lease.
const CALL: Duration = Duration::from_millis(900);

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Sqlite,
    Redis,
    Nats,
}

pub(crate) struct Place {
    kind: Kind,
    /// What `open` takes.
    pub(crate) address: String,
    pub(crate) name: String,
    /// A server that this has started.
    server: Option<Child>,
}

impl Place {
    /// Takes the server with this URL, or starts one that keeps its data in the folder.
    pub(crate) fn start(kind: Kind, url: Option<String>, folder: &Path) -> Result<Self, BoxError> {
        let name = format!("example-{}", std::process::id());
        let file = || format!("file:{}", folder.join("jobs.db").display());
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (scheme, mut command) = match kind {
            Kind::Sqlite => return Ok(Place { kind, address: file(), name, server: None }),
            Kind::Redis => ("redis", redis(port, folder)),
            Kind::Nats => ("nats", nats(port, folder)),
        };
        if let Some(address) = url {
            return Ok(Place { kind, address, name, server: None });
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = started.map_err(|error| format!("{program} does not start: {error}"))?;
        let mut place = Place { kind, address: format!("{scheme}://127.0.0.1:{port}"), name, server: Some(server) };
        place.await_start(port)?;
        Ok(place)
    }

    fn await_start(&mut self, port: u16) -> Result<(), BoxError> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().transpose()).transpose()?;
            if ended.is_some() || start.elapsed() > START {
                return Err(format!("{self} does not listen").into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        open(&self.address, &self.name)
    }
}

/// Each write is on the disk before it is acknowledged.
fn redis(port: u16, folder: &Path) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(folder);
    command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    command
}

fn nats(port: u16, folder: &Path) -> Command {
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder);
    command
}

/// A store by its address, in the producer and in consumers.
pub(crate) fn open(address: &str, name: &str) -> Result<Arc<dyn Store>, BoxError> {
    let _ = name;
    match address.split_once(':') {
        Some(("file", path)) => Ok(Arc::new(Sqlite::open(path)?.busy_timeout(CALL))),
        #[cfg(feature = "redis")]
        Some(("redis" | "rediss", _)) => Ok(Arc::new(formicary_jobs::Redis::new(address, name)?.time_limit(CALL))),
        #[cfg(feature = "nats")]
        Some(("nats" | "tls", _)) => {
            Ok(Arc::new(formicary_jobs::Nats::new(address, name)?.time_limit(CALL).lease(LEASE)))
        }
        _ => Err(format!("no store for {address}: is the feature on (`--features redis,nats`)?").into()),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.server) {
            (Kind::Sqlite, _) => f.write_str("a SQLite file"),
            (kind, Some(_)) => write!(f, "a {kind:?} server of their own"),
            (kind, None) => write!(f, "a {kind:?} server, under the name {}", self.name),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
