//! As much of HTTP/1.1 as the page needs: one request for each connection, with limits of size and time.
//!
//! No server crate is used: `tiny_http`, the usual blocking one, sets no timeouts on its sockets, so a client that stalls keeps a thread
//! for ever, and the server cannot end. Here every read and write has a limit.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The largest head of a request. Browsers send less than 2 KiB.
const MAX_HEAD: usize = 8 * 1024;
/// The largest body. The actions have some twenty bytes.
const MAX_BODY: usize = 1024;
const MAX_HEADERS: usize = 64;
/// How long a client may take to send a request, and to take what is written to it.
const LIMIT: Duration = Duration::from_secs(5);

/// A request whose body has been read.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The names are in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header that occurs once. One that occurs several times has no value: which of them counts is ambiguous.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next();
        if values.next().is_some() { None } else { value }
    }

    /// Reads a request.
    ///
    /// # Errors
    ///
    /// `InvalidData` if it is no request or too large, otherwise the error of the socket.
    pub(crate) fn read(stream: &mut TcpStream) -> io::Result<Request> {
        let until = Instant::now() + LIMIT;
        stream.set_write_timeout(Some(LIMIT))?;
        let mut bytes = Vec::new();
        let (mut request, head) = loop {
            receive(stream, &mut bytes, until)?;
            if let Some(parsed) = parse(&bytes)? {
                break parsed;
            }
            if bytes.len() >= MAX_HEAD {
                return Err(invalid("the head is too large"));
            }
        };
        let length = match request.header("content-length") {
            Some(length) => length.parse().map_err(|_| invalid("a wrong content length"))?,
            None => 0,
        };
        if length > MAX_BODY {
            return Err(invalid("the body is too large"));
        }
        while bytes.len() < head + length {
            receive(stream, &mut bytes, until)?;
        }
        request.body = bytes[head..head + length].to_vec();
        Ok(request)
    }
}

/// Adds what the client sends next.
fn receive(stream: &mut TcpStream, bytes: &mut Vec<u8>, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut buffer = [0; 2048];
    match stream.read(&mut buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(length) => {
            bytes.extend_from_slice(&buffer[..length]);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(error) => Err(error),
    }
}

/// The request, without its body, and the length of its head. `None` if the head is not complete.
fn parse(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let head = match parsed.parse(bytes).map_err(invalid)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let headers = parsed.headers.iter().map(|header| {
        let value = std::str::from_utf8(header.value).map_err(invalid)?;
        Ok((header.name.to_ascii_lowercase(), value.to_owned()))
    });
    let request = Request {
        headers: headers.collect::<io::Result<_>>()?,
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        body: Vec::new(),
    };
    Ok(Some((request, head)))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    UnsupportedMediaType,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::UnsupportedMediaType => "415 Unsupported Media Type",
        }
    }
}

/// What every response says: nothing is kept, nothing is loaded from elsewhere, and no other page may show it in a frame.
const HEADERS: &str = "Connection: close\r\n\
    Cache-Control: no-store\r\n\
    Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
    Referrer-Policy: no-referrer\r\n\
    X-Content-Type-Options: nosniff\r\n";

/// Writes a whole response.
pub(crate) fn respond(stream: &mut TcpStream, status: Status, content_type: &str, body: &str) -> io::Result<()> {
    let (line, length) = (status.line(), body.len());
    let head = format!("HTTP/1.1 {line}\r\n{HEADERS}Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())
}

/// Writes the head of a stream of events, which ends with the connection.
pub(crate) fn begin_events(stream: &mut TcpStream) -> io::Result<()> {
    // A write is an event, which must not wait for the next one.
    stream.set_nodelay(true)?;
    let head = format!("HTTP/1.1 {}\r\n{HEADERS}Content-Type: text/event-stream\r\n\r\n", Status::Ok.line());
    stream.write_all(head.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_parsed_when_it_is_complete() {
        let text = b"POST /pools/1/tune HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 2\r\n\r\n{}";
        let head = text.len() - 2;
        for length in 0..head {
            assert!(parse(&text[..length]).unwrap().is_none(), "{length}");
        }
        let (request, found) = parse(text).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str(), found), ("POST", "/pools/1/tune", head));
        assert_eq!(request.header("host"), Some("localhost:80"));
        assert_eq!(request.header("origin"), None);
    }

    #[test]
    fn a_header_that_occurs_twice_has_no_value() {
        let text = b"GET / HTTP/1.1\r\nHost: localhost\r\nhost: elsewhere\r\n\r\n";
        let (request, _) = parse(text).unwrap().unwrap();
        assert_eq!(request.header("host"), None);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in ["\x16\x03\x01", "GET\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text:?}");
        }
    }
}
