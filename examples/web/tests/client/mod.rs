//! The service as a process, and as much of an HTTP client as the tests need: a request for each connection.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Turns a hang into a failure.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// More than anybody can count to in the time of a test.
pub(crate) const ENDLESS: &str = "/primes/1000000000000";

/// Waits for a state, and fails if it does not come.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "not in time: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The service. It is killed when the test is over.
pub(crate) struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    /// With a limit of time that no test reaches, unless the options name a shorter one.
    pub(crate) fn start(options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_web"));
        command.args(["--port=0", "--lag=0", "--deadline=60000", "--drain=60000"]).args(options);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut server = Server { child, lines, address: String::new() };
        server.address = server.line().strip_prefix("listening on ").unwrap().to_owned();
        server
    }

    /// The next line that it prints, without its end. Empty when there is no more.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn terminate(&self) {
        // SAFETY: no memory is involved, and the child has not been waited for, so the number is its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) }, 0);
    }

    pub(crate) fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends a request of a client, and does not wait for the response.
    pub(crate) fn send(&self, path: &str, client: impl Display) -> Request {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nX-Client: {client}\r\nConnection: close\r\n\r\n").unwrap();
        Request(stream)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.send(path, "test").response().unwrap()
    }

    /// The value of a figure, which begins with the name and the labels that are given; 0 if there is none.
    pub(crate) fn figure(&self, begin: &str) -> u64 {
        let scrape = self.get("/metrics").body;
        let line = scrape.lines().find(|line| line.starts_with(begin));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub(crate) fn await_figure(&self, begin: &str, value: u64) {
        eventually(begin, || self.figure(begin) == value);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request that has been sent. Dropping it is a client that leaves.
pub(crate) struct Request(TcpStream);

impl Request {
    /// An error if the connection ends before the response does.
    pub(crate) fn response(mut self) -> io::Result<Response> {
        let mut text = String::new();
        self.0.read_to_string(&mut text)?;
        let lost = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(lost)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(lost)?;
        let response = Response { status, head: head.to_lowercase(), body: body.to_owned() };
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        if length == Some(body.len()) { Ok(response) } else { Err(lost()) }
    }
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    /// Its name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// A refusal says when to come again.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16) {
        assert_eq!((self.status, self.header("retry-after")), (status, Some("1")), "{self:?}");
    }
}
