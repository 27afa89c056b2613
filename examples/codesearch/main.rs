//! Searches source trees for a regular expression, as `grep -rnE` does.
//!
//! Each worker of the pool compiles the pattern once, and keeps it and its buffer from file to file. `--compile-per-file` compiles it for
//! each file instead, to show the difference.

mod report;
mod searcher;
mod walk;

use std::io;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::thread;

use clap::Parser;
use formicary::{BoxError, BuildError, DEFAULT_QUEUE, Handle, StatefulPool};

use report::{Report, say};
use searcher::{Plan, Searcher};

/// Searches files for a regular expression and prints matching lines as path:line:text.
///
/// Files are those that `grep -r` reads: hidden ones too, no links, no binary files. Ends with 0 if there were
/// matches, 1 if there were none, 2 if anything could not be read, 130 after Ctrl-C.
#[derive(Parser)]
#[command(name = "codesearch")]
struct Args {
    /// What to search for, in the syntax of the regex crate.
    #[arg(default_value = r"\bunsafe\s+impl\b")]
    pattern: String,
    /// Files and directories; without any, the sources of this crate's dependencies.
    paths: Vec<PathBuf>,
    /// How many threads search; one for each processor unless given.
    #[arg(long)]
    workers: Option<usize>,
    /// How many files may wait for a worker.
    #[arg(long, default_value_t = DEFAULT_QUEUE as u16)]
    queue: u16,
    /// Print the summary only.
    #[arg(long)]
    count: bool,
    /// Compile the pattern anew for each file.
    #[arg(long)]
    compile_per_file: bool,
    /// Name the files that are skipped.
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    run(Args::parse()).unwrap_or_else(|error| {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        say(format_args!("codesearch: {error}{causes}"));
        ExitCode::from(2)
    })
}

fn run(args: Args) -> Result<ExitCode, BoxError> {
    let roots = roots(args.paths)?;
    let plan =
        Arc::new(Plan { pattern: args.pattern, count_only: args.count, compile_per_file: args.compile_per_file });
    let mut builder = StatefulPool::builder(move |_worker| Ok(Searcher::new(Arc::clone(&plan))?))
        .queue(args.queue.into())
        .thread_name("search");
    if let Some(workers) = args.workers {
        builder = builder.workers(workers);
    }
    let pool = Arc::new(builder.build().map_err(|error| match error {
        // The pattern is wrong, and the regex crate says where.
        BuildError::Factory { source, .. } => source,
        other => other.into(),
    })?);
    let interrupted = stop_on_interrupt(&pool)?;

    let mut report = Report::new(args.verbose);
    match search(&pool, args.queue.into(), &roots, &mut report) {
        // The reader of the output has closed it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        searched => searched?,
    }
    pool.shutdown();
    report.summary(&pool.stats());
    let code = if interrupted.load(Relaxed) {
        130
    } else if report.has_failures() {
        2
    } else {
        u8::from(!report.has_matches())
    };
    Ok(ExitCode::from(code))
}

/// Walks the directories on a thread of its own, which submits each file, and prints the results on the calling thread.
///
/// Memory is bounded: the walk waits if the pool is full, and no more results wait to be printed than the pool can hold files. Results are
/// printed in the order of the walk.
fn search(pool: &StatefulPool<Searcher>, queue: usize, roots: &[PathBuf], report: &mut Report) -> io::Result<()> {
    let (sender, handles) = sync_channel(pool.capacity() + queue);
    thread::scope(|scope| {
        scope.spawn(move || {
            for file in walk::files(roots) {
                let handle = match file.map(|path| pool.spawn(path)) {
                    Ok(Ok(handle)) => Ok(handle),
                    // Ctrl-C has shut the pool down.
                    Ok(Err(refused)) if refused.is_closed() => return,
                    Ok(Err(refused)) => Err(BoxError::from(refused)),
                    Err(unreadable) => Err(unreadable.into()),
                };
                if sender.send(handle).is_err() {
                    return; // the printing has ended
                }
            }
        });
        for handle in handles {
            match handle.map(Handle::join) {
                Ok(Ok(found)) => report.file(found)?,
                Ok(Err(cancelled)) if cancelled.is_cancelled() => {}
                Ok(Err(panicked)) => report.failure(panicked),
                Err(lost) => report.failure(lost),
            }
        }
        Ok(())
    })
}

/// The first Ctrl-C finishes the files that are being searched and starts no more; the second ends the process.
fn stop_on_interrupt(pool: &Arc<StatefulPool<Searcher>>) -> Result<Arc<AtomicBool>, ctrlc::Error> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let (pool, again) = (Arc::clone(pool), Arc::clone(&interrupted));
    ctrlc::set_handler(move || {
        if again.swap(true, Relaxed) {
            process::exit(130);
        }
        // No file is started from here on. Closing the pool waits for running tasks, so another thread does it: this one must be free for
        // the next Ctrl-C.
        let pause = pool.pause();
        say("interrupted, finishing the files that are being searched");
        let pool = Arc::clone(&pool);
        thread::spawn(move || {
            drop(pool.shutdown_now());
            drop(pause);
        });
    })?;
    Ok(interrupted)
}

/// The paths to search: those given, which must exist, or else this crate's dependencies.
fn roots(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, String> {
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return Err(format!("{}: no such file or directory", missing.display()));
    }
    if !paths.is_empty() {
        return Ok(paths);
    }
    let packages = walk::dependencies();
    if packages.is_empty() {
        say("no sources of dependencies in the local cargo registry (`cargo fetch` gets them)");
        say("searching the current directory");
        return Ok(vec![".".into()]);
    }
    say(format_args!("searching the sources of {} dependencies", packages.len()));
    Ok(packages)
}
