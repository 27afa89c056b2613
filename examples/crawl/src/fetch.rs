//! As much of HTTP and HTML as a crawl of the example's own site needs.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a host may take for each read and write.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest page that is read.
const LONGEST: u64 = 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Url {
    /// With its port.
    pub(crate) host: String,
    pub(crate) path: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
    }
}

/// The text of a page.
pub(crate) fn fetch(url: &Url) -> io::Result<String> {
    let mut stream = TcpStream::connect(&url.host)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(stream, "GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", url.path, url.host)?;
    let mut response = String::new();
    stream.take(LONGEST).read_to_string(&mut response)?;
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(response.lines().next().unwrap_or("no answer").to_owned())),
    }
}

/// The pages that a text links to.
pub(crate) fn links(from: &Url, text: &str) -> Vec<Url> {
    let targets = text.split("href=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0));
    let urls = targets.filter_map(|target| match target.strip_prefix("http://") {
        Some(rest) => {
            let (host, path) = rest.split_once('/')?;
            Some(Url { host: host.to_owned(), path: format!("/{path}") })
        }
        None => target.starts_with('/').then(|| Url { host: from.host.clone(), path: target.to_owned() }),
    });
    urls.collect()
}
