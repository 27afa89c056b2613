//! Work that may crash, or that nobody trusts, in child processes: a pool whose workers each have one. A pool is no sandbox; a process is
//! the beginning of one.
//!
//! `cargo run -p children` has some documents parsed, of which one overflows the parser's stack and one makes it hang. With `-`, it reads
//! documents from its input, one in each line, and prints the answers in the same order:
//!
//! ```sh
//! seq 3 | sed 's/.*/((&)())/' | cargo run -p children -- -
//! ```
//!
//! - A crash costs a child and nothing else. The task learns of it and is attempted again, on another child (`--attempts`), and every
//!   document has an answer, if only that it was given up.
//! - A child that takes too long is killed (`--limit`, in milliseconds).
//! - `SIGTERM` or Ctrl-C: no more documents are read, and those that were are answered. The second kills the children.
//!
//! What a child may do beyond its work is the system's to limit: an own user, a namespace, `seccomp`, `setrlimit`. The place for that is
//! `Child::start` in `parent.rs`.

mod child;
mod parent;

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use formicary::{Handle, Linked, Retry, RetryError, Retrying, SignalShutdown, StatefulPool};
use lexopt::{Arg, Parser, ValueExt};
use parent::{Children, Lost, Parent};
use parking_lot::Mutex;

type Answer = Result<String, RetryError<Lost>>;
type Tasks = Retrying<Linked<StatefulPool<Parent>>, Lost>;

struct Args {
    workers: usize,
    attempts: u32,
    limit: Duration,
    reads: bool,
}

/// `None` in a child.
fn arguments() -> Result<Option<Args>, lexopt::Error> {
    let mut args = Args { workers: 4, attempts: 3, limit: Duration::from_secs(1), reads: false };
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long(child::ARGUMENT) => return Ok(None),
            Arg::Long("workers") => args.workers = parser.value()?.parse()?,
            Arg::Long("attempts") => args.attempts = parser.value()?.parse()?,
            Arg::Long("limit") => args.limit = Duration::from_millis(parser.value()?.parse()?),
            Arg::Value(dash) if dash == "-" => args.reads = true,
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(args))
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(args) = arguments()? else {
        child::run()?;
        return Ok(ExitCode::SUCCESS);
    };
    let children = Arc::new(Children::new(args.workers));
    let (of_worker, slow) = (Arc::clone(&children), Arc::clone(&children));
    let pool = StatefulPool::builder(move |worker| Ok(Parent::new(&of_worker, worker)?))
        .workers(args.workers)
        .slow_after(args.limit, move |task| slow.kill(task.worker))
        .build()?;
    let tasks = pool.retrying(Retry::exponential(Duration::from_millis(1)).attempts(args.attempts));
    let ending = formicary::shutdown_on_signal()?;
    ending.add(&pool);
    let is_right = if args.reads { filter(tasks, &ending)? } else { demonstrate(&tasks)? };
    pool.shutdown();
    eprintln!("{} children were started for {} attempts", children.started(), pool.stats().completed);
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Has some documents parsed, and returns whether the answers are right.
fn demonstrate(tasks: &Tasks) -> Result<bool, Box<dyn Error>> {
    const HOSTILE: usize = 50;
    const ENDLESS: usize = 70;
    let documents = (0..100).map(|n| match n {
        HOSTILE => "(".repeat(1_000_000),
        ENDLESS => "@".to_owned(),
        n => "(".repeat(n) + &")".repeat(n),
    });
    let handles: Vec<_> = documents.map(|document| tasks.spawn(Arc::from(document))).collect::<Result<_, _>>()?;
    let mut is_right = true;
    for (n, handle) in handles.into_iter().enumerate() {
        let answer = handle.join()?;
        if n == HOSTILE || n == ENDLESS {
            println!("document {n}: {}", text(&answer));
        }
        is_right &= answer.ok() == (n != HOSTILE && n != ENDLESS).then(|| n.to_string());
    }
    println!("the other 98 were parsed");
    Ok(is_right)
}

/// Reads documents on a thread of its own, and prints the answers on the calling one until there are no more, or a signal has come.
fn filter(tasks: Tasks, ending: &SignalShutdown) -> Result<bool, Box<dyn Error>> {
    // What has been read is kept until it can be printed, so there is a limit for that.
    let (sender, answers) = sync_channel(1024);
    // Held from the submission of a document until its handle is sent. So what is sent last comes after all that were accepted.
    let intake: Arc<Mutex<SyncSender<Option<Handle<Answer>>>>> = Arc::new(Mutex::new(sender));
    let reader = Arc::clone(&intake);
    thread::spawn(move || {
        for document in io::stdin().lock().lines().map_while(Result::ok) {
            let sender = reader.lock();
            // Refused if a signal has closed the pool.
            let Ok(handle) = tasks.spawn(Arc::from(document)) else { break };
            if sender.send(Some(handle)).is_err() {
                return;
            }
        }
        let _ = reader.lock().send(None);
    });
    // It waits for the next line when a signal comes, and not for the signal.
    ending.add_step(move || drop(intake.lock().send(None)));

    let mut out = io::stdout().lock();
    while let Some(answer) = answers.recv()? {
        writeln!(out, "{}", text(&answer.join()?))?;
    }
    Ok(true)
}

fn text(answer: &Answer) -> String {
    match answer {
        Ok(depth) => depth.clone(),
        Err(error) => {
            let why = error.error().map_or_else(|| error.reason().to_string(), Lost::to_string);
            format!("given up after {} attempts: {why}", error.attempts())
        }
    }
}
