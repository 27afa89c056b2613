//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use formicary::{BoxError, DEFAULT_QUEUE};
use lexopt::{Arg, Parser, ValueExt};

use crate::report::FIRST;

/// What is searched for without a pattern.
const PATTERN: &str = r"\bunsafe\s+impl\b";

pub(crate) struct Args {
    pub(crate) pattern: String,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) workers: Option<usize>,
    pub(crate) queue: usize,
    pub(crate) all: bool,
    pub(crate) count: bool,
    pub(crate) compile_per_file: bool,
    pub(crate) verbose: bool,
}

/// Parses the arguments of the process. Returns `None` after printing the help.
pub(crate) fn parse() -> Result<Option<Args>, BoxError> {
    let mut parser = Parser::from_env();
    let (mut pattern, mut paths) = (None, Vec::new());
    let mut args = Args {
        pattern: String::new(),
        paths: Vec::new(),
        workers: None,
        queue: DEFAULT_QUEUE,
        all: false,
        count: false,
        compile_per_file: false,
        verbose: false,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("all") => args.all = true,
            Arg::Long("count") => args.count = true,
            Arg::Long("compile-per-file") => args.compile_per_file = true,
            Arg::Short('v') | Arg::Long("verbose") => args.verbose = true,
            Arg::Long("workers") => args.workers = Some(number("--workers", &mut parser)?),
            Arg::Long("queue") => args.queue = usize::from(number::<u16>("--queue", &mut parser)?),
            Arg::Short('h') | Arg::Long("help") => {
                help();
                return Ok(None);
            }
            Arg::Value(value) if pattern.is_none() => pattern = Some(value.string()?),
            Arg::Value(value) => paths.push(value.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(Args { pattern: pattern.unwrap_or_else(|| PATTERN.into()), paths, ..args }))
}

fn number<T>(option: &str, parser: &mut Parser) -> Result<T, BoxError>
where
    T: FromStr<Err: Into<BoxError>>,
{
    let value = parser.value()?;
    value.parse().map_err(|error| format!("{option}: {error}").into())
}

fn help() {
    println!(
        "Searches files for a regular expression and prints matching lines as path:line:text.

usage: codesearch [OPTIONS] [PATTERN [PATHS]...]

  PATTERN             in the syntax of the regex crate [default: {PATTERN}]
  PATHS               files and directories [default: the sources of this workspace's dependencies]

  --all               print every matching line, whole; without it, the first {FIRST}, cut to fit a screen
  --count             print the summary only
  --workers N         how many threads search [default: one for each processor]
  --queue N           how many files may wait for a worker, up to 65,535 [default: {DEFAULT_QUEUE}]
  --compile-per-file  compile the pattern anew for each file
  -v, --verbose       name the files that are skipped
  -h, --help          print this

Files are those that `grep -r` reads: hidden ones too, no links, no binary files. Ends with 0 if there were
matches, 1 if there were none, 2 if anything could not be read, 130 after Ctrl-C."
    );
}
