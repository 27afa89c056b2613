//! Finds the files to search: those that `grep -r` searches.

use std::env;
use std::fs;
use std::path::PathBuf;

use walkdir::{DirEntry, Error, WalkDir};

/// The files under `roots`, in the order of the walk, and the errors of entries that could not be read.
pub(crate) fn files(roots: &[PathBuf]) -> impl Iterator<Item = Result<PathBuf, Error>> {
    let entries = roots.iter().flat_map(WalkDir::new);
    entries.filter_map(|entry| match entry {
        Ok(entry) => is_searched(&entry).then(|| Ok(entry.into_path())),
        Err(error) => Some(Err(error)),
    })
}

/// A path that was given is read whatever it is, also a pipe or a link. An entry that the walk finds is read only if it is a plain file, so
/// that no link is followed and no device is waited for.
fn is_searched(entry: &DirEntry) -> bool {
    match entry.depth() {
        0 => !entry.path().is_dir(),
        _ => entry.file_type().is_file(),
    }
}

/// The sources of this workspace's dependencies, as far as they are in `registries`.
pub(crate) fn dependencies(registries: &[PathBuf]) -> Vec<PathBuf> {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
    let packages = packages(&fs::read_to_string(lock).unwrap_or_default());
    let directories = registries.iter().flat_map(|registry| packages.iter().map(|package| registry.join(package)));
    directories.filter(|directory| directory.is_dir()).collect()
}

/// Where cargo keeps sources on this machine: a directory for each registry.
pub(crate) fn registries() -> Vec<PathBuf> {
    let sources = cargo_home().and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    sources.into_iter().flatten().flatten().map(|registry| registry.path()).collect()
}

/// The packages of a lock file, by the names of their directories.
fn packages(lock: &str) -> Vec<String> {
    let mut name = "";
    let mut packages = Vec::new();
    for line in lock.lines() {
        if let Some(value) = value_of("name", line) {
            name = value;
        } else if let Some(version) = value_of("version", line) {
            packages.push(format!("{name}-{version}"));
        }
    }
    packages
}

fn value_of<'a>(key: &str, line: &'a str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')
}

fn cargo_home() -> Option<PathBuf> {
    let home = || env::var_os("HOME").or_else(|| env::var_os("USERPROFILE"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| home().map(|home| PathBuf::from(home).join(".cargo")))
}
