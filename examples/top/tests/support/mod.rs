//! A client for servers that answer with one response for each connection, and waiting with a limit.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)] // each test uses its own part, and fails by panicking

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before it counts as hanging.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// The lines of the head, in lower case.
    pub head: Vec<String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Sends a request whose head is given without `Content-Length`, and reads the response.
pub fn send(addr: SocketAddr, head: &[&str], body: &str) -> io::Result<Reply> {
    let mut stream = connect(addr)?;
    let head = head.join("\r\n");
    // In one write: the server may answer and close before a second one.
    let request = format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut reply = read_head(&mut reader)?;
    let length = reply.head.iter().find_map(|line| line.strip_prefix("content-length:"));
    match length.map(|length| length.trim().parse().unwrap()) {
        Some(length) => {
            reply.body = vec![0; length];
            reader.read_exact(&mut reply.body)?;
        }
        None => drop(reader.read_to_end(&mut reply.body)?),
    }
    Ok(reply)
}

/// Reads the head of a response.
pub fn read_head(reader: &mut impl BufRead) -> io::Result<Reply> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_lowercase()),
        }
    }
    let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Reply { status, head, body: Vec::new() })
}

/// Waits until `value` returns something.
pub fn eventually<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
