//! Servers on this machine that fail now and then, and note what comes.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// With status 500.
    Failed,
    /// The connection is closed without an answer, after the event was taken: it will come again.
    Lost,
    /// There is no answer until the client leaves.
    Hung,
}

/// What came for one event.
#[derive(Clone, Copy, Default)]
pub struct Arrivals {
    pub requests: usize,
    pub delivered: usize,
    /// How many requests of the greedy tenant had come before its first.
    pub greedy_before: usize,
}

#[derive(Default)]
struct Notes {
    events: HashMap<usize, Arrivals>,
    greedy: usize,
    /// When requests came, by host.
    times: Vec<Vec<Instant>>,
    failures: [usize; 3],
}

/// Some servers with notes in common.
pub struct Servers {
    pub hosts: Vec<String>,
    notes: Mutex<Notes>,
    came: Condvar,
    is_repaired: AtomicBool,
}

impl Servers {
    /// Starts `n` servers, each on a free port, for as long as the process runs.
    pub fn start(n: usize) -> io::Result<Arc<Self>> {
        let listeners = (0..n).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<io::Result<Vec<_>>>()?;
        let addresses: io::Result<Vec<_>> = listeners.iter().map(|l| Ok(l.local_addr()?.to_string())).collect();
        let servers = Arc::new(Servers {
            hosts: addresses?,
            notes: Mutex::new(Notes { times: vec![Vec::new(); n], ..Notes::default() }),
            came: Condvar::new(),
            is_repaired: AtomicBool::new(false),
        });
        for (host, listener) in listeners.into_iter().enumerate() {
            let servers = Arc::clone(&servers);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let servers = Arc::clone(&servers);
                    thread::spawn(move || servers.serve(host, stream));
                }
            });
        }
        Ok(servers)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on no request fails.
    pub fn repair(&self) {
        self.is_repaired.store(true, Ordering::SeqCst);
    }

    /// How many requests of the greedy tenant have come.
    pub fn greedy(&self) -> usize {
        self.notes().greedy
    }

    /// Blocks until so many of them have come.
    pub fn await_greedy(&self, requests: usize) {
        let notes = self.came.wait_while(self.notes(), |notes| notes.greedy < requests);
        drop(notes);
    }

    pub fn arrivals(&self, event: usize) -> Arrivals {
        self.notes().events.get(&event).copied().unwrap_or_default()
    }

    /// How many requests failed with a status, were lost, and hung.
    pub fn failures(&self) -> [usize; 3] {
        self.notes().failures
    }

    /// When requests came, by host, in order.
    pub fn times(&self) -> Vec<Vec<Instant>> {
        let mut times = self.notes().times.clone();
        times.iter_mut().for_each(|times| times.sort());
        times
    }

    fn serve(&self, host: usize, mut stream: TcpStream) -> io::Result<()> {
        let (event, tenant) = read_request(&mut stream)?;
        let fate = self.note(host, event, tenant);
        let status = match fate {
            Fate::Lost => return Ok(()),
            Fate::Hung => return stream.read(&mut [0]).map(drop),
            Fate::Answered => "200 OK",
            Fate::Failed => "500 Internal Server Error",
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    fn note(&self, host: usize, event: usize, tenant: usize) -> Fate {
        let mut notes = self.notes();
        notes.times[host].push(Instant::now());
        let greedy_before = notes.greedy;
        if tenant == 0 {
            notes.greedy += 1;
            self.came.notify_all();
        }
        let arrivals = notes.events.entry(event).or_insert(Arrivals { greedy_before, ..Arrivals::default() });
        arrivals.requests += 1;
        let fate =
            if self.is_repaired.load(Ordering::SeqCst) { Fate::Answered } else { fate(event, arrivals.requests) };
        if matches!(fate, Fate::Answered | Fate::Lost) {
            arrivals.delivered += 1;
        }
        match fate {
            Fate::Answered => {}
            Fate::Failed => notes.failures[0] += 1,
            Fate::Lost => notes.failures[1] += 1,
            Fate::Hung => notes.failures[2] += 1,
        }
        fate
    }
}

/// The same in each run, whatever the order of requests is. Some events fail until the servers are repaired.
fn fate(event: usize, request: usize) -> Fate {
    match (event % 60 == 7, (event * 31 + request * 17) % 50) {
        (true, _) | (_, 0..=4) => Fate::Failed,
        (_, 5..=7) => Fate::Lost,
        (_, 8) => Fate::Hung,
        _ => Fate::Answered,
    }
}

/// The event and its tenant: the body of a request is both numbers.
fn read_request(stream: &mut TcpStream) -> io::Result<(usize, usize)> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "not a request of this example");
    let mut request = Vec::new();
    loop {
        let mut bytes = [0; 512];
        let read = stream.read(&mut bytes)?;
        request.extend_from_slice(&bytes[..read]);
        let text = std::str::from_utf8(&request).map_err(|_| bad())?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if read == 0 {
                return Err(bad());
            }
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.ok_or_else(bad)? {
            let (event, tenant) = body.split_once(' ').ok_or_else(bad)?;
            return Ok((event.parse().map_err(|_| bad())?, tenant.parse().map_err(|_| bad())?));
        }
        if read == 0 {
            return Err(bad());
        }
    }
}
