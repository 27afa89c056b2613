//! A counter of files while the search runs, on a terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The least time between two updates.
const INTERVAL: Duration = Duration::from_millis(100);
/// The width of the counter, with spaces behind it. After a write the cursor is at the start of the line.
const WIDTH: usize = 40;

/// The last line of the terminal that stderr is. Does nothing if stderr is not a terminal.
pub(crate) struct Progress {
    is_terminal: bool,
    /// When the counter was last written.
    updated: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress { is_terminal: io::stderr().is_terminal(), updated: None, is_shown: false }
    }

    /// Writes the counter, unless that was done a moment ago.
    pub(crate) fn update(&mut self, files: u64, matches: u64) {
        if !self.is_terminal || self.updated.is_some_and(|updated| updated.elapsed() < INTERVAL) {
            return;
        }
        self.updated = Some(Instant::now());
        self.is_shown = true;
        let text = format!("{files} files, {matches} matches");
        write(&format!("{text:<WIDTH$}\r"));
    }

    /// Removes the counter, so that a line can be printed in its place.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            write(&format!("{:WIDTH$}\r", ""));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Writes to the terminal in one call. An error is ignored: there is nowhere to report it.
fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
