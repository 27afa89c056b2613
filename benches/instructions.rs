//! Small programs for `ci/instructions.sh`, which has valgrind count what each thread of them executes: the same number on
//! every run, whatever else the machine does. By itself this only shows that they work.
//!
//! In a program one worker and one submitter take turns and never run at the same time: the waiting one is parked, and no thread
//! spins. So these figures leave out the cost of waiting and waking: how long a thread spins before it parks depends on the
//! scheduler, and `benches/roundtrip.rs` times it. A program exits as soon as it has done its job, so they leave out the pool's
//! shutdown, too.
#![allow(clippy::expect_used)] // a program that cannot start fails by panicking

mod common;

use std::process::{Command, exit};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::thread::{self, Thread};

use common::support::Setup;
use common::{each_dispatch, steady, table};
use formicary::{Context, Dispatch, Pool, PoolWithFunc, StatefulPool, Worker};

/// Asks for one program, in two words: its name, and how many operations.
const PROGRAM: &str = "--program";
/// The most operations: queues are built for so many, since building must cost the same for any number.
const MOST: usize = 20_000;

/// Whose turn it is: the submitter's and the worker's.
static TURN: AtomicBool = AtomicBool::new(WORKER);
const SUBMITTER: bool = true;
const WORKER: bool = false;
static WORKER_THREAD: OnceLock<Thread> = OnceLock::new();

/// What the tasks do.
static SUM: AtomicU64 = AtomicU64::new(0);

/// Numbers that are tasks of another kind: the first, and the last.
const FIRST: u64 = u64::MAX;
const LAST: u64 = u64::MAX - 1;

fn await_turn(whose: bool) {
    while TURN.load(Acquire) != whose {
        thread::park();
    }
}

fn give_turn(whose: bool, thread: &Thread) {
    TURN.store(whose, Release);
    thread.unpark();
}

/// A task. The first keeps the worker until the others are queued; the last keeps it for ever.
fn work(n: u64, submitter: &Thread) -> u64 {
    match n {
        FIRST => {
            WORKER_THREAD.get_or_init(thread::current);
            give_turn(SUBMITTER, submitter);
            await_turn(WORKER);
        }
        LAST => {
            give_turn(SUBMITTER, submitter);
            loop {
                thread::park();
            }
        }
        n => {
            SUM.fetch_add(n, Relaxed);
        }
    }
    n
}

/// Submits all while the worker is held, then has them run; gives back what was given for each.
fn take_turns<H>(count: u64, submit: impl Fn(u64) -> Option<H>) -> Vec<H> {
    let submit = |n| submit(n).expect("there is room");
    let mut given = Vec::with_capacity(MOST);
    let _first = hold_worker(submit);
    given.extend((0..count).map(submit));
    let _last = let_worker_run(count, submit);
    given
}

fn hold_worker<H>(submit: impl Fn(u64) -> H) -> H {
    let first = submit(FIRST);
    await_turn(SUBMITTER);
    first
}

fn let_worker_run<H>(count: u64, submit: impl Fn(u64) -> H) -> H {
    let last = submit(LAST);
    give_turn(WORKER, WORKER_THREAD.get().expect("the worker has begun"));
    await_turn(SUBMITTER);
    assert_eq!(SUM.load(Relaxed), (0..count).sum::<u64>(), "every task ran once");
    last
}

fn setup() -> Setup {
    let mut setup = steady(1);
    setup.queue = Some(Some(MOST + 2));
    setup
}

fn closures<D: Dispatch>(count: u64) {
    let pool = setup().on(Pool::builder()).dispatch::<D>().build().expect("the setup is good");
    let submitter = thread::current();
    take_turns(count, |n| {
        let submitter = if n >= LAST { Some(submitter.clone()) } else { None };
        pool.submit(move || match submitter {
            Some(submitter) => _ = work(n, &submitter),
            None => _ = SUM.fetch_add(n, Relaxed),
        })
        .ok()
    });
    exit(0);
}

fn of_payloads<D: Dispatch>() -> PoolWithFunc<u64, D, u64> {
    let submitter = thread::current();
    let builder = setup().on(PoolWithFunc::builder(move |n| work(n, &submitter)));
    builder.dispatch::<D>().build().expect("the setup is good")
}

fn payloads<D: Dispatch>(count: u64) {
    let pool = of_payloads::<D>();
    take_turns(count, |n| pool.submit(n).ok());
    exit(0);
}

fn batches<D: Dispatch>(count: u64) {
    let pool = of_payloads::<D>();
    let submit = |n| pool.submit(n).expect("there is room");
    hold_worker(submit);
    assert_eq!(pool.submit_all(0..count).expect("there is room") as u64, count);
    let_worker_run(count, submit);
    exit(0);
}

struct Works(Thread);

impl Worker for Works {
    type Input = u64;
    type Output = u64;

    fn process(&mut self, n: u64, _cx: &Context<'_>) -> u64 {
        work(n, &self.0)
    }
}

fn with_state<D: Dispatch>() -> StatefulPool<Works, D> {
    let submitter = thread::current();
    let builder = setup().on(StatefulPool::builder(move |_| Ok(Works(submitter.clone()))));
    builder.dispatch::<D>().build().expect("the setup is good")
}

/// What `process` does, but for the waiting: the answer is there when it is asked for.
fn answers<D: Dispatch>(count: u64) {
    let pool = with_state::<D>();
    let handles = take_turns(count, |n| pool.spawn(n).ok());
    let answers = handles.into_iter().map(|handle| handle.join().expect("it was answered"));
    assert_eq!(answers.sum::<u64>(), (0..count).sum::<u64>());
    exit(0);
}

type Program = (String, fn(u64));

fn programs() -> Vec<Program> {
    let mut all: Vec<Program> = Vec::new();
    macro_rules! add {
        ($dispatch:ty, $name:literal) => {
            all.push((format!("closures/{}", $name), closures::<$dispatch>));
            all.push((format!("payloads/{}", $name), payloads::<$dispatch>));
            all.push((format!("batches/{}", $name), batches::<$dispatch>));
            all.push((format!("answers/{}", $name), answers::<$dispatch>));
        };
    }
    each_dispatch!(add);
    all
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == PROGRAM) {
        let count = args[at + 2].parse().expect("a number of operations");
        assert!(count <= MOST as u64, "queues are built for {MOST}");
        let programs = programs();
        let (_, program) = programs.iter().find(|(name, _)| *name == args[at + 1]).expect("there is such a program");
        program(count);
    }
    for (name, _) in programs().iter().filter(|(name, _)| table::is_wanted(&format!("instructions/{name}"))) {
        let itself = std::env::current_exe().expect("this runs");
        let status = Command::new(itself).args([PROGRAM, name, "100"]).status();
        assert!(status.is_ok_and(|status| status.success()), "{name}");
        println!("instructions/{name}: works; counted by ci/instructions.sh");
    }
}
