//! A process that is killed, again and again, leaves every row once.
#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etl::data::expected_cents;
use etl::store::Store;
use support::{LIMIT, within};

const ROWS: i64 = 48_000;
const BATCH: i64 = 3;

/// After how many lines of output a process is killed. The first comes before the CSV is there, the second before a transaction, and then
/// there is one for each.
const LINES: [usize; 8] = [1, 3, 30, 2, 4, 100, 7, 300];

/// How often.
const KILLS: usize = 32;

/// How much later each time, so that it is at another point of a transaction.
const LATER: Duration = Duration::from_micros(15);

/// So many processes cannot be done, however late they are killed: nobody reads their output, and a pipe and a reader hold 72 kB, which are
/// less than 5000 lines.
const UNFINISHED: usize = 3;

/// Killed on drop.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etl"));
    command.args(["--rows", &ROWS.to_string(), "--batch", &BATCH.to_string(), "--dir"]).arg(folder);
    command
}

/// A folder of this test's own, removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("formicary-etl-killed-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// How many rows are in the database: the first so many, each once, or this panics.
    fn rows(&self) -> i64 {
        let store = Store::open(&self.0.join(format!("{ROWS}.db"))).unwrap();
        let rows = store.progress().unwrap().rows;
        assert_eq!(store.totals().unwrap(), (rows, expected_cents(rows).unwrap()));
        rows
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn killed_at_any_time_it_goes_on_where_it_was() {
    within(LIMIT, "etl", || {
        let scratch = Scratch::new();
        let mut before = 0;
        for (killed, lines) in LINES.into_iter().cycle().take(KILLS).enumerate() {
            let mut child = Killed(command(&scratch.0).stdout(Stdio::piped()).spawn().unwrap());
            let mut reader = BufReader::new(child.0.stdout.take().unwrap());
            let output: Vec<_> = reader.by_ref().lines().take(lines).map(Result::unwrap).collect();
            let end = Instant::now() + LATER * killed as u32;
            while Instant::now() < end {
                std::hint::spin_loop();
            }
            drop(child);
            drop(reader);
            if output.len() > 1 {
                assert_eq!(output[1], format!("from row {before}"));
            }
            let rows = scratch.rows();
            assert!(rows < ROWS || killed >= UNFINISHED, "it ended by itself: {output:?}");
            assert!(rows == ROWS || rows >= before + BATCH * (lines as i64 - 2), "{before} + {lines} lines: {rows}");
            before = rows;
        }
        let end = command(&scratch.0).output().unwrap();
        assert!(end.status.success(), "{end:?}");
        assert_eq!(scratch.rows(), ROWS);
        // There is nothing left to do.
        let again = command(&scratch.0).output().unwrap();
        assert!(again.status.success() && !String::from_utf8(again.stdout).unwrap().contains("committed"));
    });
}
