//! Charges orders: a producer pushes a job for each, and two consumers, processes of their own, run them. One of the two is killed in the
//! middle, and the other finishes the work. No order is lost, and each is charged once.
//!
//! ```sh
//! cargo run -p jobs                                     # the jobs are in a SQLite file
//! cargo run -p jobs --features redis -- --redis         # in a Redis server, which it starts; --redis=URL takes one that runs
//! cargo run -p jobs --features nats -- --nats           # in a NATS server, in the same way
//! ```
//!
//! - `consumer.rs` runs the jobs: a pool, a handler, and what to do at the end.
//! - `effects.rs` is the world that jobs change: a log of all runs, and a table in which each order is charged once.
//! - `server.rs` is where the jobs are: a file or a server.
//!
//! This process is the producer, kills, and checks. `--jobs N` is the number of orders, 2000 unless said otherwise. On a server that runs already
//! it uses a name of its own, and leaves behind what the server remembers of it: keys, and with NATS the streams.

mod consumer;
mod effects;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use consumer::{CONSUMER, Charge};
use effects::Effects;
use formicary_jobs::{BoxError, Counts, Push, Pushed, Store, StoreErrorKind};
use lexopt::{Arg, Parser, ValueExt};
use server::{Kind, Place};

/// Turns a hang into a failure.
const LIMIT: Duration = Duration::from_secs(300);

/// How many jobs are pushed at once.
const BATCH: usize = 100;

struct Args {
    jobs: u32,
    kind: Kind,
    /// Of a server that runs already.
    url: Option<String>,
}

/// `None` in a consumer.
fn arguments() -> Result<Option<Args>, lexopt::Error> {
    let mut args = Args { jobs: 2000, kind: Kind::Sqlite, url: None };
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Value(role) if role == CONSUMER => return Ok(None),
            Arg::Long("jobs") => args.jobs = parser.value()?.parse()?,
            Arg::Long("redis") => (args.kind, args.url) = (Kind::Redis, url(&mut parser)?),
            Arg::Long("nats") => (args.kind, args.url) = (Kind::Nats, url(&mut parser)?),
            other => return Err(other.unexpected()),
        }
    }
    if args.jobs < 100 {
        return Err("fewer than 100 jobs have no middle".into());
    }
    Ok(Some(args))
}

fn url(parser: &mut Parser) -> Result<Option<String>, lexopt::Error> {
    parser.optional_value().map(|url| url.string()).transpose()
}

fn main() -> Result<(), BoxError> {
    let Some(args) = arguments()? else { return consumer::run() };
    let folder = Folder::new()?;
    let place = Place::start(args.kind, args.url, &folder.0)?;
    println!("{} jobs, in {place}", args.jobs);
    produce(args.jobs, &place, &folder.0)
}

/// The work, from the first push to the account.
fn produce(jobs: u32, place: &Place, folder: &Path) -> Result<(), BoxError> {
    let store = place.open()?;
    let effects = Effects::open(folder)?;
    let mut consumers = [start_consumer(1, place, folder)?, start_consumer(2, place, folder)?];
    let orders: Vec<Push> = (1..=jobs).map(order).collect::<Result<_, _>>()?;
    let (first, second) = orders.split_at(orders.len() / 2);
    push(&*store, first)?;

    // In the middle, however fast the machine is: the other half is pushed afterwards.
    eventually("a quarter of the jobs has run", || Ok(effects.runs()? >= u64::from(jobs) / 4))?;
    let (killed, other) = if effects.runs_of(1)? > effects.runs_of(2)? { (1, 2) } else { (2, 1) };
    consumers[killed - 1].kill()?;
    let before = effects.runs_of(other)?;
    println!("consumer {killed} is killed after {} runs; consumer {other} has made {before}", effects.runs_of(killed)?);

    push(&*store, second)?;
    // As after an answer that was lost: the store remembers the keys.
    let again = push(&*store, first)?;
    println!("{} jobs are pushed, {} of them twice: {again} are stored again", orders.len(), first.len());
    assert_eq!(again, 0, "no key is stored twice");

    eventually("the other consumer finishes", || Ok(store.counts().is_ok_and(|counts| counts == Counts::default())))?;
    consumers[other - 1].end()?;
    account(jobs, killed, other, before, &effects)
}

/// A job with a key: it is stored once, however often it is pushed, and its effect can be made once, however often it runs.
fn order(number: u32) -> Result<Push, BoxError> {
    Ok(Push::of(&Charge { order: number, cents: cents(number) })?.key(format!("order-{number}")))
}

fn cents(order: u32) -> u64 {
    u64::from(order % 97) * 100 + 99
}

/// Pushes jobs, in batches. Returns how many were not there yet.
fn push(store: &dyn Store, jobs: &[Push]) -> Result<usize, BoxError> {
    let mut new = 0;
    for batch in jobs.chunks(BATCH) {
        let mut pushed = store.push(batch);
        for _ in 0..10 {
            match pushed {
                // Nobody knows whether it happened. With keys a repetition does no harm.
                Err(error) if error.kind() == StoreErrorKind::Unavailable => pushed = store.push(batch),
                _ => break,
            }
        }
        new += pushed?.iter().filter(|pushed| matches!(pushed, Pushed::New(_))).count();
    }
    Ok(new)
}

/// Prints what has become of the jobs, and checks it.
fn account(jobs: u32, killed: usize, other: usize, before: u64, effects: &Effects) -> Result<(), BoxError> {
    let after = effects.runs_of(other)? - before;
    let second = effects.second_attempts()?;
    println!("consumer {other} has made {after} more, {second} of them of jobs that somebody had reserved before");
    let (ran, runs) = (effects.orders_that_ran()?, effects.runs()?);
    println!("at least once: {ran} of {jobs} orders ran, in {runs} runs");
    let (charged, sum) = effects.charged()?;
    println!("once, with the key: {charged} of {jobs} orders are charged, {sum} cents");

    assert_eq!(ran, u64::from(jobs), "none is lost");
    assert_eq!(charged, u64::from(jobs), "none is charged twice, or not at all");
    assert_eq!(sum, (1..=jobs).map(cents).sum::<u64>(), "each with its amount");
    assert!(effects.runs_of(killed)? > 0 && after > 0, "both had a part in it");
    println!("nothing is lost, and nothing is charged twice");
    Ok(())
}

/// A process that runs jobs. It ends with its input, so never later than this process.
struct Consumer(Child);

fn start_consumer(number: usize, place: &Place, folder: &Path) -> Result<Consumer, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([CONSUMER, &number.to_string(), &place.address, &place.name]).arg(folder);
    Ok(Consumer(command.stdin(Stdio::piped()).spawn()?))
}

impl Consumer {
    /// At once, in the middle of whatever it does.
    fn kill(&mut self) -> Result<(), BoxError> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    fn end(&mut self) -> Result<(), BoxError> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a consumer failed: {status}").into()) }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> Result<bool, BoxError>) -> Result<(), BoxError> {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > LIMIT {
            return Err(format!("did not happen in {LIMIT:?}: {what}").into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A temporary folder, which is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("formicary-jobs-example-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
