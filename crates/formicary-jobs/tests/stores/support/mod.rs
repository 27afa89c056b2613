//! What the tests share.

pub(crate) mod effects;
pub(crate) mod gate;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod server;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use formicary_jobs::{Job, Push};
use serde::{Deserialize, Serialize};

/// A limit that turns a hang into a failure.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// What the server and the worker processes of a test print.
pub(crate) const SERVER_LOG: &str = "server.log";
pub(crate) const WORKER_LOG: &str = "worker.log";

/// Waits for a state, which something else brings about.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    step_by_step(what, || (), holds);
}

/// The same for a state that is far away: the limit is for each step towards it, so that a slow machine is no failure.
#[track_caller]
pub(crate) fn step_by_step<T: PartialEq>(what: &str, mut steps: impl FnMut() -> T, mut holds: impl FnMut() -> bool) {
    let (mut start, mut last) = (Instant::now(), steps());
    while !holds() {
        let next = steps();
        if next != last {
            (start, last) = (Instant::now(), next);
        }
        assert!(start.elapsed() < LIMIT, "did not happen in {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder that is removed at the end. If the test fails, the ends of the logs in it are printed before.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("formicary-jobs-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// Has a program write to a log in a folder, after what is there.
pub(crate) fn logged<'a>(command: &'a mut Command, folder: &Path, name: &str) -> &'a mut Command {
    let log = File::options().append(true).create(true).open(folder.join(name)).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log)
}

impl Drop for Folder {
    fn drop(&mut self) {
        for name in [SERVER_LOG, WORKER_LOG].into_iter().filter(|_| std::thread::panicking()) {
            let log = std::fs::read(self.0.join(name)).unwrap_or_default();
            eprintln!("the end of {name}:\n{}", String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]));
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A job with a number.
#[derive(Serialize, Deserialize)]
pub(crate) struct Count(pub(crate) u32);

impl Job for Count {
    const KIND: &'static str = "count";
}

pub(crate) fn count(n: u32) -> Push {
    Push::of(&Count(n)).unwrap()
}

/// A job of another kind.
#[derive(Serialize, Deserialize)]
pub(crate) struct Other(pub(crate) u32);

impl Job for Other {
    const KIND: &'static str = "other";
}

pub(crate) fn other(n: u32) -> Push {
    Push::of(&Other(n)).unwrap()
}
