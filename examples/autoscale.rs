//! Calls a server that takes 10 ms to answer: little at first, then many calls at once, then none. The pool has two workers, grows to what
//! the burst needs, and shrinks again.
//!
//! ```sh
//! cargo run --release --example autoscale
//! ```

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use formicary::PoolWithFunc;
use formicary::autoscale::{Autoscaler, ByLoad, Reason};
use formicary::sizing::Sizing;

const ANSWER_TIME: Duration = Duration::from_millis(10);
const MIN: usize = 2;
const MAX: usize = 16;
const BURST: u64 = 600;

/// Doubles a number, slowly.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut number = [0; 8];
    stream.read_exact(&mut number)?;
    thread::sleep(ANSWER_TIME);
    stream.write_all(&(2 * u64::from_le_bytes(number)).to_le_bytes())
}

/// A server on a port of its own, for as long as the program runs.
fn serve() -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let connections = PoolWithFunc::builder(answer).workers(2 * MAX).thread_name("server").build()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(connections.submit(stream));
        }
    });
    Ok(address)
}

fn call(server: SocketAddr, number: u64) -> io::Result<u64> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(&number.to_le_bytes())?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    Ok(u64::from_le_bytes(answer))
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = serve()?;
    let pool = PoolWithFunc::builder(move |number| call(server, number)).workers(MIN).latencies().build()?;
    let scaler = Autoscaler::between(MIN, MAX).controller(ByLoad::new()).period(Duration::from_millis(20));
    let tuner = scaler.on_change(|change| println!("{change}")).start(&pool)?;

    for number in 0..20 {
        assert_eq!(pool.run(number)??, 2 * number);
    }

    let begun = Instant::now();
    let calls: Vec<_> = (0..BURST).map(|number| pool.spawn(number)).collect::<Result<_, _>>()?;
    for (number, call) in (0..).zip(calls) {
        assert_eq!(call.join()??, 2 * number);
    }
    let took = begun.elapsed();
    let alone = ANSWER_TIME * BURST as u32 / MIN as u32;
    println!("{BURST} calls took {took:.1?}; {MIN} workers would have taken {alone:.1?} at least");
    let most = tuner.changes().iter().map(|change| change.to).max();
    assert_eq!(most, Some(MAX), "the burst needed all");

    let end = Instant::now() + Duration::from_secs(60);
    while pool.capacity() > MIN {
        assert!(Instant::now() < end, "it does not shrink: {:?}", tuner.latest());
        thread::sleep(Duration::from_millis(1));
    }
    let changes = tuner.changes();
    assert!(changes.iter().all(|change| (MIN..=MAX).contains(&change.to)));
    let ups = changes.iter().filter(|change| change.reason == Reason::QueueWait).count();
    let downs = changes.iter().filter(|change| change.reason == Reason::Underused).count();
    println!("grew {ups} times, and shrank {downs} times");

    // The same by calculation, if so many calls came all the time.
    let run_time = pool.latencies().ok_or("it measures latencies")?.run_time.mean();
    let demand = Sizing::new().arrivals_per_second(1000.0).service_time(run_time).cpu_share(0.05);
    println!("for 1000 calls per second: {}", demand.downstream_limit(2 * MAX).recommend()?);
    Ok(())
}
