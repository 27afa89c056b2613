//! An end in the middle of the crawl.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Turns a hang into a failure.
const LIMIT: Duration = Duration::from_secs(60);

/// Killed when the test is over.
struct Crawl(Child);

impl Drop for Crawl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The rate has the pages of hours wait when the signal comes.
#[test]
fn a_signal_ends_the_crawl_and_counts_what_is_left() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crawl"));
    command.args(["--pages=100000", "--rate=2"]).stdout(Stdio::piped());
    let mut crawl = Crawl(command.spawn().unwrap());
    let (sender, lines) = channel();
    let out = BufReader::new(crawl.0.stdout.take().unwrap());
    thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));

    let mut fetched = vec![lines.recv_timeout(LIMIT).unwrap()];
    // SAFETY: no memory is involved, and the process has not been waited for, so the number is its own.
    assert_eq!(unsafe { libc::kill(crawl.0.id() as i32, libc::SIGTERM) }, 0);
    while let Ok(line) = lines.recv_timeout(LIMIT) {
        fetched.push(line);
    }
    assert_eq!(crawl.0.wait().unwrap().code(), Some(130));
    let summary = fetched.pop().unwrap();
    let left: usize = summary
        .strip_prefix(&format!("{} fetched, ", fetched.len()))
        .unwrap()
        .strip_suffix(" left")
        .unwrap()
        .parse()
        .unwrap();
    assert!(left > 0, "{summary}");
    let pages: HashSet<_> = fetched.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(pages.len(), fetched.len());
}
