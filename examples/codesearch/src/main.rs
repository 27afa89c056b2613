//! Searches source trees for a regular expression, as `grep -rnE` does.
//!
//! Each worker of the pool compiles the pattern once, and keeps it and its buffer from file to file. `--compile-per-file` compiles it for
//! each file instead, to show the difference.

mod args;
mod progress;
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

use formicary::{BoxError, BuildError, Handle, StatefulPool};

use args::Args;
use report::{FIRST, Report, say};
use searcher::{Plan, Searcher};

fn main() -> ExitCode {
    let searched = match args::parse() {
        Ok(Some(args)) => run(args),
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => Err(error),
    };
    searched.unwrap_or_else(|error| {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        say(format_args!("codesearch: {error}{causes}"));
        ExitCode::from(2)
    })
}

fn run(args: Args) -> Result<ExitCode, BoxError> {
    let Roots { paths, hidden } = roots(args.paths)?;
    let limit = if args.count { Some(0) } else { (!args.all).then_some(FIRST) };
    let hidden = if args.all { Vec::new() } else { hidden };
    let plan = Arc::new(Plan { pattern: args.pattern, limit, hidden, compile_per_file: args.compile_per_file });
    let mut builder = StatefulPool::builder(move |_worker| Ok(Searcher::new(Arc::clone(&plan))?))
        .queue(args.queue)
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

    let mut report = Report::new(limit, args.verbose);
    match search(&pool, args.queue, &paths, &mut report) {
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

/// What is searched.
struct Roots {
    paths: Vec<PathBuf>,
    /// Directories that need not be named in the output.
    hidden: Vec<PathBuf>,
}

/// The paths that were given, which must exist, or else the sources of this workspace's dependencies.
fn roots(paths: Vec<PathBuf>) -> Result<Roots, String> {
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return Err(format!("{}: no such file or directory", missing.display()));
    }
    if !paths.is_empty() {
        return Ok(Roots { paths, hidden: Vec::new() });
    }
    let registries = walk::registries();
    let packages = walk::dependencies(&registries);
    if packages.is_empty() {
        say("no sources of dependencies in the local cargo registry (`cargo fetch` gets them)");
        say("searching the current directory");
        return Ok(Roots { paths: vec![".".into()], hidden: Vec::new() });
    }
    say(format_args!("searching the sources of {} dependencies", packages.len()));
    Ok(Roots { paths: packages, hidden: registries })
}
