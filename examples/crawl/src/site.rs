//! The hosts that are crawled, on ports of this machine. They count what they are asked for.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use formicary::PoolWithFunc;
use parking_lot::{Condvar, Mutex};

/// How long the two pages of a gate wait for each other.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Site {
    hosts: Vec<String>,
    counts: Vec<Arc<Counts>>,
}

/// Of one host.
struct Counts {
    inner: Mutex<Inner>,
    arrived: Condvar,
}

struct Inner {
    /// How often each page was asked for.
    asked: Vec<usize>,
    at_once: usize,
    peak: usize,
}

impl Site {
    /// Serves until the process ends. A host with a gate answers its pages 1 and 2 only when it was asked for both.
    pub(crate) fn start(hosts: usize, pages: usize, has_gate: bool) -> io::Result<Self> {
        let listeners = (0..hosts).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
        let names = listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string()));
        let mut site = Site { hosts: names.collect::<io::Result<_>>()?, counts: Vec::new() };
        for (n, listener) in listeners.into_iter().enumerate() {
            let inner = Inner { asked: vec![0; pages], at_once: 0, peak: 0 };
            let counts = Arc::new(Counts { inner: Mutex::new(inner), arrived: Condvar::new() });
            site.counts.push(Arc::clone(&counts));
            let next = site.hosts[(n + 1) % hosts].clone();
            let serve = move |stream| drop(serve(stream, &counts, &next, has_gate));
            // More than a polite crawler needs.
            let pool = PoolWithFunc::new(16, serve).map_err(io::Error::other)?;
            thread::spawn(move || listener.incoming().flatten().try_for_each(|stream| pool.submit(stream)));
        }
        Ok(site)
    }

    pub(crate) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The most requests that each host had at once.
    #[cfg(test)]
    pub(crate) fn peaks(&self) -> Vec<usize> {
        self.counts.iter().map(|counts| counts.inner.lock().peak).collect()
    }

    /// Whether each page was asked for once, and no host had more than `per_host` requests at once.
    pub(crate) fn check(&self, per_host: usize) -> Result<(), String> {
        for (host, counts) in self.hosts.iter().zip(&self.counts) {
            let counts = counts.inner.lock();
            if let Some((page, times)) = counts.asked.iter().enumerate().find(|(_, times)| **times != 1) {
                return Err(format!("{host} was asked {times} times for page {page}"));
            }
            if counts.peak > per_host {
                return Err(format!("{host} had {} requests at once", counts.peak));
            }
        }
        Ok(())
    }
}

/// Answers one request. Page `n` links to two further ones of its host, which makes a tree, and to a page of the next host.
fn serve(mut stream: TcpStream, counts: &Counts, next: &str, has_gate: bool) -> io::Result<()> {
    let mut line = String::new();
    let mut lines = BufReader::new(stream.try_clone()?);
    lines.read_line(&mut line)?;
    // The rest of the head, up to its empty line. A socket that is closed with something unread resets the connection.
    lines.lines().map_while(Result::ok).find(String::is_empty);
    let page: Option<usize> = line.strip_prefix("GET /").and_then(|rest| rest.split(' ').next()?.parse().ok());
    let pages = counts.inner.lock().asked.len();
    let Some(page) = page.filter(|page| *page < pages) else {
        return stream.write_all(b"HTTP/1.0 404 Not Found\r\n\r\n");
    };
    counts.begin(page);
    if has_gate && (page == 1 || page == 2) {
        counts.await_both();
    }
    let below = [2 * page + 1, 2 * page + 2].into_iter().filter(|below| *below < pages);
    let mut body: String = below.map(|below| format!("<a href=\"/{below}\">{below}</a>\n")).collect();
    body += &format!("<a href=\"http://{next}/{page}\">the same elsewhere</a>\n");
    // Before the answer: when the crawler has it, this request is over.
    counts.inner.lock().at_once -= 1;
    stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes())
}

impl Counts {
    fn begin(&self, page: usize) {
        let mut inner = self.inner.lock();
        inner.asked[page] += 1;
        inner.at_once += 1;
        inner.peak = inner.peak.max(inner.at_once);
        self.arrived.notify_all();
    }

    fn await_both(&self) {
        let mut inner = self.inner.lock();
        self.arrived.wait_while_for(&mut inner, |inner| inner.asked[1].min(inner.asked[2]) == 0, LIMIT);
    }
}
