//! Walks a directory on a pool of one worker, whose tasks spawn and wait at each level, and counts files and bytes.
//!
//! ```sh
//! recursive_walk [DIR]    # without DIR: this crate's own sources, checked against a walk without a pool
//! ```
//!
//! A worker that waits for tasks of its own pool runs them itself, so one worker is enough.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use formicary::Pool;

/// The contents of a directory and of those below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    files: u64,
    bytes: u64,
}

impl std::ops::AddAssign for Found {
    fn add_assign(&mut self, other: Found) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// The files of a directory, and its subdirectories. Links are not followed. Build output is left out, since it may change.
fn list(dir: &Path) -> io::Result<(Found, Vec<PathBuf>)> {
    let (mut found, mut dirs) = (Found::default(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if entry.file_name() != "target" && entry.file_name() != ".git" {
                dirs.push(entry.path());
            }
        } else if kind.is_file() {
            found += Found { files: 1, bytes: entry.metadata()?.len() };
        }
    }
    Ok((found, dirs))
}

/// One task for each directory: lists it, spawns one for each directory in it, and waits for them.
fn walk(pool: &Pool, dir: &Path) -> io::Result<Found> {
    let (found, dirs) = list(dir)?;
    let total = Mutex::new(Ok(found));
    pool.scope(|s| {
        for dir in &dirs {
            s.spawn(|| {
                let below = walk(pool, dir);
                let mut total = total.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                match (&mut *total, below) {
                    (Ok(total), Ok(below)) => *total += below,
                    (Ok(_), Err(error)) => *total = Err(error),
                    (Err(_), _) => {}
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The same on one thread.
fn plain_walk(dir: &Path) -> io::Result<Found> {
    let (mut found, dirs) = list(dir)?;
    for dir in dirs {
        found += plain_walk(&dir)?;
    }
    Ok(found)
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = given.clone().unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    // One worker, and a queue that is soon full.
    let pool = Pool::builder().workers(1).queue(4).build()?;
    let found = walk(&pool, &dir)?;
    println!("{}: {} files, {} bytes, {} tasks", dir.display(), found.files, found.bytes, pool.stats().submitted);
    if given.is_none() {
        assert_eq!(found, plain_walk(&dir)?);
        assert!(found.files > 0);
    }
    Ok(())
}
