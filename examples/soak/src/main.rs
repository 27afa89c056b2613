//! Uses every kind of pool with every dispatch at random, with faults made on purpose, for as long as you like: pools that are built and
//! ended all the time, beside nine that stay. Linux only: it reads memory and threads from `/proc`.
//!
//! ```sh
//! cargo run --release -p soak -- --minutes 2          # prints its seed
//! cargo run --release -p soak -- --minutes 2 --seed 7 # the same pools and tasks; the machine decides their order
//! ```
//!
//! One line a second, then a verdict: what ran, which faults were made, what was lost (nothing), whether memory or threads grew.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure ends the program, with a message

#[path = "../../../tests/support/mod.rs"]
mod support;

mod faults;
mod ledger;
mod lives;
mod users;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use std::{fs, panic, thread};

use lexopt::{Arg, Parser, ValueExt};
use lives::{Life, POOLS, Totals, variants};
use parking_lot::Mutex;
use support::allocator::{Counting, bytes};
use support::random::Random;
use support::{eventually, threads_named};
use users::Soaked;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HELP: &str = "Uses pools of all kinds at random, and checks that nothing is lost.

usage: soak [OPTIONS]

  --minutes N  how long; a fraction will do [default: 1]
  --seed N     the seed of the random numbers [default: another one for each run]
  --lanes N    how many pools live at a time, beside the nine that stay [default: 3]
  -h, --help   print this";

struct Args {
    minutes: f64,
    seed: Option<u64>,
    lanes: u64,
}

impl Args {
    /// Parses the arguments of the process. Returns `None` after printing the help.
    fn parse() -> Result<Option<Args>, lexopt::Error> {
        let mut parser = Parser::from_env();
        let mut args = Args { minutes: 1.0, seed: None, lanes: 3 };
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("minutes") => args.minutes = parser.value()?.parse()?,
                Arg::Long("seed") => args.seed = Some(parser.value()?.parse()?),
                Arg::Long("lanes") => args.lanes = parser.value()?.parse()?,
                Arg::Short('h') | Arg::Long("help") => {
                    println!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(args))
    }
}

/// A step of a lane that takes longer hangs. It is longer than the limits of the steps' own waits, whose failures say more.
const HANGS_AFTER: Duration = Duration::from_secs(90);
/// How much memory may grow after the first part of the run: what the allocator keeps varies.
const MAY_GROW_KIB: u64 = 16 * 1024;

/// What a lane is doing, with which pool, and since when.
struct Beat {
    since: Instant,
    what: String,
    pool: Option<Weak<dyn Soaked>>,
}

impl Beat {
    fn new(what: String, life: Option<&Life>) -> Self {
        Beat { since: Instant::now(), what, pool: life.map(Life::pool) }
    }
}

/// What the lanes have done, and what each is doing.
#[derive(Default)]
struct Board {
    totals: Mutex<Totals>,
    beats: Mutex<Vec<Beat>>,
    error: Mutex<Option<String>>,
    lives: AtomicU64,
}

impl Board {
    fn beat(&self, lane: usize, what: String, life: Option<&Life>) {
        self.beats.lock()[lane] = Beat::new(what, life);
    }

    fn add(&self, totals: Result<Totals, String>, seed: u64) {
        match totals {
            Ok(totals) => {
                let mut sum = self.totals.lock();
                sum.pools += totals.pools;
                sum.ran += totals.ran;
                sum.not_run += totals.not_run;
                sum.lost += totals.lost;
            }
            Err(error) => _ = self.error.lock().get_or_insert(format!("a life with seed {seed}: {error}")),
        }
    }

    fn is_over(&self, end: Instant) -> bool {
        Instant::now() >= end || self.error.lock().is_some()
    }
}

/// One pool after the other.
fn short_lives(board: &Board, lane: usize, mut random: Random, end: Instant) {
    let builds = variants();
    while !board.is_over(end) {
        let seed = random.next();
        let mut random = Random(seed);
        let variant = random.below(builds.len());
        board.beat(lane, format!("a life of variant {variant} with seed {seed}"), None);
        let build = builds[variant];
        let mut life = Life::begin(build, board.lives.fetch_add(1, SeqCst), random.split());
        board.beat(lane, format!("a life of variant {variant} with seed {seed}"), Some(&life));
        life.exercise(random.micros(60_000));
        board.beat(lane, format!("the end of variant {variant} with seed {seed}"), Some(&life));
        board.add(life.end(), seed);
    }
}

/// A pool of each kind that stays to the end.
fn long_lives(board: &Board, lane: usize, mut random: Random, end: Instant) {
    let number = || board.lives.fetch_add(1, SeqCst);
    let mut lives: Vec<Life> =
        variants().into_iter().map(|build| Life::begin(build, number(), random.split())).collect();
    while !board.is_over(end) {
        let which = random.below(lives.len());
        board.beat(lane, format!("a turn of the pool that stays of variant {which}"), Some(&lives[which]));
        lives[which].exercise(random.micros(40_000));
        board.beat(lane, format!("the counts of the pool that stays of variant {which}"), Some(&lives[which]));
        if let Err(error) = lives[which].settle() {
            board.add(Err(error), 0);
        }
    }
    lives.into_iter().for_each(|life| board.add(life.end(), 0));
}

/// A figure from `/proc/self/status`.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(Some(args)) => args,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::from(2);
        }
    };
    let seed = args.seed.unwrap_or_else(|| u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()));
    println!("seed {seed}");
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Other threads panic on purpose, or are joined at the end.
        if thread::current().name() == Some("main") {
            hook(info);
        }
    }));
    let start = Instant::now();
    let length = Duration::from_secs_f64(args.minutes * 60.0);
    // Memory is compared from here on. At first it grows, while more and more code runs for the first time.
    let settled = length.div_f64(4.0).min(Duration::from_secs(300));
    let lanes = usize::try_from(args.lanes).unwrap() + 1;
    let beats = (0..lanes).map(|_| Beat::new(String::new(), None)).collect();
    let board = Arc::new(Board { beats: Mutex::new(beats), ..Board::default() });

    let mut random = Random(seed);
    let threads: Vec<_> = (0..lanes)
        .map(|lane| {
            let (board, random) = (Arc::clone(&board), random.split());
            let work = if lane == 0 { long_lives } else { short_lives };
            thread::Builder::new()
                .name("lane".into())
                .spawn(move || work(&board, lane, random, start + length))
                .unwrap()
        })
        .collect();

    let mut first = None;
    while threads.iter().any(|thread| !thread.is_finished()) {
        thread::sleep(Duration::from_secs(1));
        let (rss, seconds) = (status("VmRSS"), start.elapsed().as_secs());
        let totals = *board.totals.lock();
        let faults: u64 = faults::FAULTS.all().iter().map(|(_, times)| times).sum();
        println!(
            "{seconds:>5} s  {:>6} pools ended  {:>9} tasks ran  {faults:>8} faults  {:>3} threads  {rss:>7} KiB, {:>5} on the heap",
            totals.pools,
            totals.ran,
            status("Threads"),
            bytes() / 1024,
        );
        if start.elapsed() >= settled {
            first.get_or_insert(rss);
        }
        for (thread, beat) in threads.iter().zip(&*board.beats.lock()) {
            if !thread.is_finished() && beat.since.elapsed() > HANGS_AFTER {
                println!("verdict: hangs in {} (seed {seed})", beat.what);
                if let Some(pool) = beat.pool.as_ref().and_then(Weak::upgrade) {
                    println!("{:#?}", pool.stats());
                }
                // A core dump or a debugger shows where.
                std::process::abort();
            }
        }
    }
    let panicked = threads.into_iter().find_map(|thread| thread.join().err());
    eventually("no pool's thread is left", || threads_named(POOLS) == 0);

    let (totals, last) = (*board.totals.lock(), status("VmRSS"));
    let first = first.unwrap_or(last);
    println!("\n{} pools, {} tasks ran, {} were cancelled or given back", totals.pools, totals.ran, totals.not_run);
    for (what, times) in faults::FAULTS.all() {
        println!("{times:>9} {what}");
    }
    println!(
        "memory: {first} KiB after {} s, {last} KiB at the end, {} of them on the heap",
        settled.as_secs(),
        bytes() / 1024
    );
    println!("lost: {}", totals.lost);
    let error = board.error.lock().take();
    let grew = (last > first + MAY_GROW_KIB).then(|| "memory has grown".to_owned());
    let panicked = panicked.map(|payload| match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(_) => "a lane panicked".to_owned(),
    });
    match error.or(panicked).or(grew) {
        None => {
            println!("verdict: good");
            ExitCode::SUCCESS
        }
        Some(error) => {
            println!("verdict: {error} (seed {seed})");
            ExitCode::FAILURE
        }
    }
}
