//! The output: matches on stdout, everything else on stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use formicary::Stats;
use indicatif::{ProgressBar, ProgressStyle};

use crate::searcher::{Content, Found};

/// Adds up what was found and prints it file by file.
pub(crate) struct Report {
    verbose: bool,
    started: Instant,
    progress: ProgressBar,
    files: u64,
    bytes: usize,
    matches: u64,
    unreadable: u64,
    binary: u64,
}

impl Report {
    pub(crate) fn new(verbose: bool) -> Self {
        Report {
            verbose,
            started: Instant::now(),
            progress: progress(),
            files: 0,
            bytes: 0,
            matches: 0,
            unreadable: 0,
            binary: 0,
        }
    }

    /// Counts a searched file and prints its matches, in one write.
    pub(crate) fn file(&mut self, Found { path, content }: Found) -> io::Result<()> {
        self.progress.inc(1);
        match content {
            Ok(Content::Text { bytes, matches, lines }) => {
                self.files += 1;
                self.bytes += bytes;
                self.matches += matches;
                if !lines.is_empty() {
                    return self.progress.suspend(|| io::stdout().write_all(&lines));
                }
            }
            Ok(Content::Binary) => {
                self.binary += 1;
                self.detail(format_args!("{}: binary, skipped", path.display()));
            }
            Err(error) => self.failure(format_args!("{}: {error}", path.display())),
        }
        Ok(())
    }

    /// Counts a file that could not be searched.
    pub(crate) fn failure(&mut self, what: impl Display) {
        self.unreadable += 1;
        self.detail(what);
    }

    fn detail(&self, what: impl Display) {
        if self.verbose {
            self.progress.suspend(|| say(what));
        }
    }

    pub(crate) fn summary(&self, stats: &Stats) {
        self.progress.finish_and_clear();
        let elapsed = self.started.elapsed();
        let Report { files, matches, unreadable, binary, .. } = self;
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

/// Prints a line on stderr. If stderr is closed, the error is ignored, since there is nowhere to report it.
pub(crate) fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

fn rate(bytes: usize, elapsed: Duration) -> f64 {
    bytes as f64 / 1e6 / elapsed.as_secs_f64()
}

/// A counter of files during the search, on a terminal only.
fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {pos} files, {elapsed}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
