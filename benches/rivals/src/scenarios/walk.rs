//! A walk through the sources in the local cargo registry, or, if there are none, through directories that are made for it. A task reads one
//! directory: it counts the files and their bytes, and submits a task for each directory in it. Symbolic links are not followed.
//!
//! A walk by one thread, before the first by the pool, finds the expected counts and has the system cache the directories.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Ask, Row};
use crate::measure::{TALLY, repeated};
use crate::pools::{Closures, Plan, with_reachable};

pub const WORKERS: usize = 2;

/// What a walk counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub dirs: u64,
    pub files: u64,
    pub bytes: u64,
}

impl Found {
    pub fn add(&mut self, other: Found) {
        self.dirs += other.dirs;
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// The counts of all threads.
#[derive(Default)]
pub struct Sum {
    dirs: AtomicU64,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Sum {
    pub fn add(&self, found: Found) {
        self.dirs.fetch_add(found.dirs, Relaxed);
        self.files.fetch_add(found.files, Relaxed);
        self.bytes.fetch_add(found.bytes, Relaxed);
    }

    pub fn take(&self) -> Found {
        let take = |count: &AtomicU64| count.swap(0, Relaxed);
        Found { dirs: take(&self.dirs), files: take(&self.files), bytes: take(&self.bytes) }
    }
}

/// Reads one directory, and calls `enter` with each in it.
fn read(dir: &Path, mut enter: impl FnMut(PathBuf)) -> Found {
    let mut found = Found { dirs: 1, ..Found::default() };
    for entry in fs::read_dir(dir).expect("the directory can be read") {
        let entry = entry.expect("the directory can be read");
        let kind = entry.file_type().expect("the entry has a type");
        if kind.is_dir() {
            enter(entry.path());
        } else if kind.is_file() {
            found.files += 1;
            found.bytes += entry.metadata().expect("the file has a size").len();
        }
    }
    found
}

fn walk_alone(dir: &Path) -> Found {
    let mut below = Found::default();
    let mut found = read(dir, |dir| below.add(walk_alone(&dir)));
    found.add(below);
    found
}

/// The directories to walk through.
struct Tree {
    root: PathBuf,
    is_made: bool,
}

impl Tree {
    /// Fewer directories than this are not worth a walk.
    const LEAST: usize = 10;

    fn find() -> Self {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
        // Each registry's directory has one for each package.
        let packages =
            |registries: fs::ReadDir| registries.flatten().flat_map(|one| fs::read_dir(one.path())).flatten();
        match home.map(|home| home.join("registry").join("src")) {
            Some(root) if fs::read_dir(&root).is_ok_and(|all| packages(all).nth(Self::LEAST).is_some()) => {
                Tree { root, is_made: false }
            }
            _ => Self::make(),
        }
    }

    /// 1,111 directories on four levels, with six files each.
    fn make() -> Self {
        fn fill(dir: &Path, levels: u32) {
            fs::create_dir(dir).expect("there is room for directories");
            for n in 0..6 {
                fs::write(dir.join(format!("file{n}")), vec![b'x'; 300 * n]).expect("there is room for files");
            }
            if levels > 1 {
                (0..10).for_each(|n| fill(&dir.join(format!("dir{n}")), levels - 1));
            }
        }
        let root = env::temp_dir().join(format!("formicary-rivals-{}", std::process::id()));
        fill(&root, 4);
        Tree { root, is_made: true }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.is_made {
            // What is left is in the directory for temporary files.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// Measures `walk(root, directories)`, given how many directories there are.
pub fn walks(ask: Ask, walk: impl Fn(&Path, u64) -> Found) -> Row {
    let tree = Tree::find();
    let expected = walk_alone(&tree.root);
    let check = |found: Found| assert_eq!(found, expected, "each file is counted exactly once");
    let (row, times) = repeated(ask.count(10, 1), || (), |()| walk(&tree.root, expected.dirs), check);
    row.with("p50 ms", times.quantile(0.5) / 1e6)
        .with("max ms", times.max() / 1e6)
        .with("us/dir", times.quantile(0.5) / 1e3 / expected.dirs as f64)
        .with("dirs", expected.dirs as f64)
        .with("files", expected.files as f64)
}

fn visit<C: Closures>(pool: &'static C, sum: &'static Sum, dir: PathBuf) {
    pool.submit(move || {
        sum.add(read(&dir, |dir| visit(pool, sum, dir)));
        TALLY.one();
    });
}

pub fn walk<C: Closures>(ask: Ask) -> Row {
    let sum: &'static Sum = Box::leak(Box::default());
    // SAFETY: a task counts itself last.
    unsafe {
        with_reachable::<C, _>(&Plan::new(WORKERS), |pool| {
            walks(ask, |root, dirs| {
                TALLY.begin(dirs);
                visit(pool, sum, root.to_owned());
                TALLY.wait();
                sum.take()
            })
        })
    }
}
