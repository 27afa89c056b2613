//! A small HTTP server: one thread polls the connections, and submits a task for each request. The task blocks: it reads the request, works for
//! 20 µs, writes the answer, and has the connection polled again.
//!
//! The load is one thread that has a request under way on each connection, and sends the next when it has read the answer. It is the
//! row's main thread, and the time that it takes is the same for all. `CPU us` is the processor time of the other threads for each request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Ask, Row};
use crate::epoll::{Epoll, Report};
use crate::measure::{Meter, TALLY, Times, nanoseconds, thread_cpu};
use crate::pools::{Closures, Plan};
use crate::work;

const WORKERS: usize = 8;
const CONNECTIONS: usize = 64;

const REQUEST: usize = "GET /00000000000000000000 HTTP/1.1\r\nHost: rivals\r\n\r\n".len();
const ANSWER: usize = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n00000000000000000000".len();

pub struct Server {
    epoll: Epoll,
    connections: Vec<TcpStream>,
    /// Steps of work for a request.
    steps: u64,
}

impl Server {
    /// Waits for requests, at most for so many at once, and calls `each` with each connection that has one.
    pub fn poll(&self, most: usize, each: impl FnMut(usize)) {
        self.epoll.wait(most, each);
    }

    /// Serves the request of a connection that has one.
    pub fn serve(&self, connection: usize) {
        let mut stream = &self.connections[connection];
        let mut request = [0; 256];
        let mut length = 0;
        while !request[..length].ends_with(b"\r\n\r\n") {
            let more = stream.read(&mut request[length..]).expect("the client sends");
            assert_ne!(more, 0, "a request has an end and is not too long");
            length += more;
        }
        let n = number(&request[..length]).expect("the path is a number");
        work::steps(self.steps);
        let mut answer = [0; ANSWER];
        write!(&mut answer[..], "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{:020}", n + 1).expect("it fits");
        stream.write_all(&answer).expect("the client receives");
        self.epoll.arm_again(stream, connection);
        TALLY.one();
    }
}

/// The path of a request, as a number.
fn number(request: &[u8]) -> Option<u64> {
    str::from_utf8(request).ok()?.strip_prefix("GET /")?.split(' ').next()?.parse().ok()
}

struct Client {
    stream: TcpStream,
    n: u64,
    sent: Instant,
}

impl Client {
    fn send(&mut self, n: u64) {
        let mut request = [0; REQUEST];
        write!(&mut request[..], "GET /{n:020} HTTP/1.1\r\nHost: rivals\r\n\r\n").expect("it fits");
        (self.n, self.sent) = (n, Instant::now());
        self.stream.write_all(&request).expect("the server receives");
    }

    /// Reads the answer, and returns how long it took.
    fn receive(&mut self) -> u64 {
        let mut answer = [0; ANSWER];
        self.stream.read_exact(&mut answer).expect("the server answers");
        let time = nanoseconds(self.sent.elapsed());
        let body = str::from_utf8(&answer[ANSWER - 20..]).ok().and_then(|body| body.parse().ok());
        assert_eq!(body, Some(self.n + 1), "each request has its own answer");
        time
    }
}

struct Load {
    epoll: Epoll,
    clients: Vec<Client>,
}

impl Load {
    /// Sends so many requests, and returns how long each took.
    fn send(&mut self, requests: u64) -> Vec<u64> {
        let mut times = Vec::with_capacity(requests as usize);
        let mut left = 0..requests;
        self.clients.iter_mut().zip(&mut left).for_each(|(client, n)| client.send(n));
        while times.len() < requests as usize {
            self.epoll.wait(CONNECTIONS, |client| {
                let client = &mut self.clients[client];
                times.push(client.receive());
                if let Some(n) = left.next() {
                    client.send(n);
                }
            });
        }
        times
    }
}

fn connect(steps: u64) -> (Server, Load) {
    let mut server = Server { epoll: Epoll::new(), connections: Vec::new(), steps };
    let mut load = Load { epoll: Epoll::new(), clients: Vec::new() };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a port");
    let address = listener.local_addr().expect("it is bound");
    for n in 0..CONNECTIONS {
        let client = TcpStream::connect(address).expect("the server listens");
        let (connection, _) = listener.accept().expect("a client connects");
        for stream in [&client, &connection] {
            stream.set_nodelay(true).expect("it is connected");
        }
        load.epoll.add(&client, n, Report::Always);
        server.epoll.add(&connection, n, Report::Once);
        load.clients.push(Client { stream: client, n: 0, sent: Instant::now() });
        server.connections.push(connection);
    }
    (server, load)
}

/// Measures `serve(server, requests)`, which returns when it has seen so many requests. The tasks count them.
pub fn requests(ask: Ask, serve: impl Fn(&'static Server, u64) + Sync) -> Row {
    let (server, mut load) = connect(work::steps_for(Duration::from_micros(20)));
    let server: &'static Server = Box::leak(Box::new(server));
    let mut run = |requests| {
        TALLY.begin(requests);
        let times = std::thread::scope(|scope| {
            scope.spawn(|| serve(server, requests));
            load.send(requests)
        });
        TALLY.wait();
        times
    };
    let requests = ask.count(20_000, 200);
    run(requests / 10);
    let (meter, before) = (Meter::start(), thread_cpu());
    let times = run(requests);
    let time = meter.elapsed();
    let (row, own) = (meter.row(), thread_cpu() - before);
    let cpu = row.cpu_ms * 1e3 - own.as_secs_f64() * 1e6;
    let times = Times::new(times);
    row.with("requests/s", requests as f64 / time.as_secs_f64())
        .with("p50 us", times.quantile(0.5) / 1e3)
        .with("p99 us", times.quantile(0.99) / 1e3)
        .with("CPU us", cpu / requests as f64)
}

pub fn server<C: Closures>(ask: Ask) -> Row {
    let pool = C::build(&Plan::new(WORKERS));
    let row = requests(ask, |server, requests| {
        let mut seen = 0;
        while seen < requests {
            server.poll(CONNECTIONS, |connection| {
                pool.submit(move || server.serve(connection));
                seen += 1;
            });
        }
    });
    pool.end();
    TALLY.check();
    row
}
