//! The program, run as its users run it: its matches against those of grep, what fits a screen, every kind of bad input, a closed pipe,
//! Ctrl-C.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // in helpers, too

mod failures;
mod interrupts;
mod matches;
mod screen;
#[path = "../../../../tests/support/mod.rs"]
mod support;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use support::{LIMIT, within};

fn codesearch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codesearch"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(command: &mut Command) -> Output {
    let child = command.spawn().unwrap();
    within(LIMIT, "codesearch", move || child.wait_with_output().unwrap())
}

fn search<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    output(codesearch().args(arguments))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory that is deleted when the test is over.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("formicary-codesearch-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Tree(path)
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
