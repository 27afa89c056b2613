//! The output: matches on stdout, everything else on stderr.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use formicary::Stats;

use crate::progress::Progress;
use crate::searcher::{Content, Found};

/// How many matching lines are printed unless all are asked for.
pub(crate) const FIRST: usize = 20;
/// How many characters of such a line are printed.
const WIDTH: usize = 100;

/// Adds up what was found and prints it file by file.
pub(crate) struct Report {
    /// How many lines may be printed. `None` is all of them, whole.
    limit: Option<usize>,
    verbose: bool,
    started: Instant,
    progress: Progress,
    printed: usize,
    files: u64,
    bytes: usize,
    matches: u64,
    unreadable: u64,
    binary: u64,
}

impl Report {
    pub(crate) fn new(limit: Option<usize>, verbose: bool) -> Self {
        Report {
            limit,
            verbose,
            started: Instant::now(),
            progress: Progress::new(),
            printed: 0,
            files: 0,
            bytes: 0,
            matches: 0,
            unreadable: 0,
            binary: 0,
        }
    }

    /// Counts a searched file and prints its matches.
    pub(crate) fn file(&mut self, Found { path, content }: Found) -> io::Result<()> {
        match content {
            Ok(Content::Text { bytes, matches, lines }) => {
                self.files += 1;
                self.bytes += bytes;
                self.matches += matches;
                self.print(&lines)?;
            }
            Ok(Content::Binary) => {
                self.binary += 1;
                self.detail(format_args!("{}: binary, skipped", path.display()));
            }
            Err(error) => self.failure(format_args!("{}: {error}", path.display())),
        }
        self.progress.update(self.files, self.matches);
        Ok(())
    }

    /// Prints the lines of a file in one write, as far as the limit allows.
    fn print(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(limit) = self.limit else { return self.write(lines) };
        let text = String::from_utf8_lossy(lines);
        let first: Vec<_> = text.lines().take(limit - self.printed).map(cut_to_width).collect();
        self.printed += first.len();
        self.write(first.concat().as_bytes())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.progress.clear();
        io::stdout().write_all(lines)
    }

    /// Counts a file that could not be searched.
    pub(crate) fn failure(&mut self, what: impl Display) {
        self.unreadable += 1;
        self.detail(what);
    }

    fn detail(&mut self, what: impl Display) {
        if self.verbose {
            self.progress.clear();
            say(what);
        }
    }

    pub(crate) fn summary(&mut self, stats: &Stats) {
        self.progress.clear();
        let elapsed = self.started.elapsed();
        let Report { files, matches, unreadable, binary, .. } = self;
        // A name with a line break in it makes two lines of a match.
        let more = matches.saturating_sub(self.printed as u64);
        if self.printed > 0 && more > 0 {
            say(format_args!("... and {more} more; --all prints every line, whole"));
        }
        say(format_args!(
            "{files} files, {} bytes, {matches} matches, {unreadable} unreadable, {binary} binary skipped",
            self.bytes
        ));
        say(format_args!("{:.3} s, {:.1} MB/s", elapsed.as_secs_f64(), rate(self.bytes, elapsed)));
        say(stats);
    }

    pub(crate) fn has_matches(&self) -> bool {
        self.matches > 0
    }

    pub(crate) fn has_failures(&self) -> bool {
        self.unreadable > 0
    }
}

/// A line of text with its end, without what is beyond the width.
fn cut_to_width(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}...\n", &line[..end]),
        None => format!("{line}\n"),
    }
}

/// Prints a line on stderr. If stderr is closed, the error is ignored, since there is nowhere to report it.
pub(crate) fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

fn rate(bytes: usize, elapsed: Duration) -> f64 {
    bytes as f64 / 1e6 / elapsed.as_secs_f64()
}
