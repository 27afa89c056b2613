//! What the tests share.

pub(crate) mod effects;
pub(crate) mod gate;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod server;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use formicary_jobs::{Job, Push};
use serde::{Deserialize, Serialize};

/// A limit that turns a hang into a failure.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Waits for a state, which something else brings about.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "did not happen in {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder that is removed at the end.
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

impl Drop for Folder {
    fn drop(&mut self) {
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
