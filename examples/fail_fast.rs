//! Checks the checksums of files against a list, several at a time, and stops at the first that is wrong.
//!
//! ```sh
//! fail_fast LIST [ROOT]   # each line of LIST: 16 hex digits of FNV-1a, a space, a path below ROOT
//! fail_fast               # makes a tree of its own, checks it, spoils one file, and checks again
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use formicary::{CancelToken, Pool};

/// FNV-1a, 64 bits. Checks the token between two reads.
fn checksum(path: &Path, token: &CancelToken) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    while !token.is_cancelled() {
        match file.read(&mut buffer)? {
            0 => return Ok(sum),
            read => {
                for byte in &buffer[..read] {
                    sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::Interrupted, "another file was wrong"))
}

/// Checks every file of the list. Returns how many were right, or the first that was not. `opened` counts the files that were opened.
fn check(pool: &Pool, list: &Path, root: &Path, opened: &Arc<AtomicUsize>) -> Result<usize, Box<dyn Error>> {
    let group = pool.group();
    for line in BufReader::new(File::open(list)?).lines() {
        let line = line?;
        let (sum, name) = line.split_once(' ').ok_or_else(|| format!("not a line of a list: {line}"))?;
        let (expected, path) = (u64::from_str_radix(sum, 16)?, root.join(name));
        let opened = Arc::clone(opened);
        let accepted = group.spawn(move |token| {
            opened.fetch_add(1, Ordering::Relaxed);
            match checksum(&path, token) {
                Ok(sum) if sum == expected => Ok(()),
                Ok(sum) => Err(io::Error::other(format!("{}: is {sum:016x}, not {expected:016x}", path.display()))),
                Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            }
        });
        if accepted.is_err() {
            // One was wrong, or the pool is closed: `wait` says which.
            break;
        }
    }
    Ok(group.wait()?.len())
}

/// A directory of this process's own, removed on drop.
struct Tree(PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const FILES: usize = 400;

/// Writes a tree of files and a list of them.
fn make_tree() -> io::Result<Tree> {
    let tree = Tree(std::env::temp_dir().join(format!("fail_fast-{}", std::process::id())));
    let mut list = String::new();
    for n in 0..FILES {
        let name = format!("{}/{n}.txt", n % 20);
        let path = tree.0.join(&name);
        fs::create_dir_all(tree.0.join((n % 20).to_string()))?;
        fs::write(&path, format!("file {n}\n").repeat(n * 10))?;
        list += &format!("{:016x} {name}\n", checksum(&path, &CancelToken::new())?);
    }
    fs::write(tree.0.join("list"), list)?;
    Ok(tree)
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder().workers(4).queue(16).build()?;
    let opened = Arc::new(AtomicUsize::new(0));
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    if let Some(list) = args.next() {
        let root = args.next().unwrap_or_default();
        println!("{} files are right", check(&pool, &list, &root, &opened)?);
        return Ok(());
    }
    let tree = make_tree()?;
    let list = tree.0.join("list");
    let right = check(&pool, &list, &tree.0, &opened)?;
    println!("{right} files are right");
    assert_eq!((right, opened.swap(0, Ordering::Relaxed)), (FILES, FILES));

    fs::write(tree.0.join("10/10.txt"), "spoiled")?;
    let error = check(&pool, &list, &tree.0, &opened).err().ok_or("one file is spoiled, and none was found")?;
    let opened = opened.load(Ordering::Relaxed);
    let reason = error.source().map(ToString::to_string).unwrap_or_default();
    println!("{error}: {reason} ({opened} of {FILES} files opened)");
    assert!(error.to_string().starts_with("task 10 of the group: ") && reason.contains("10.txt: is "));
    assert!(opened <= FILES);
    Ok(())
}
