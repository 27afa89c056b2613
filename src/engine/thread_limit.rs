//! A limit on the threads that all pools of the process have at a time.
//!
//! A thread that the system refuses is an error, and the other workers do its work. But beyond a limit on memory maps the system
//! gives a thread without the memory for its signal stack, and the standard library then aborts the process. So pools stay well below
//! what the system says it can give.

use std::io;
use std::sync::OnceLock;
// Not `sync`'s atomics: loom's cannot be in a static, and no model starts threads.
use std::sync::atomic::{AtomicUsize, Ordering};

/// This number of threads is allowed without asking the system.
const SAFE_THREADS: usize = 256;
/// The limit where the system does not tell its own.
const DEFAULT_LIMIT: usize = 8_192;
/// Memory maps of one thread: its stack, its signal stack, and a guard page for each.
const MAPS_PER_THREAD: usize = 4;

/// Threads that pools have started and that have not ended.
static LIVING: AtomicUsize = AtomicUsize::new(0);

/// The limit, read from the system once.
static LIMIT: OnceLock<usize> = OnceLock::new();

/// A permit for one thread. It is released when it is dropped, at the thread's end.
pub(super) struct ThreadPermit(());

impl ThreadPermit {
    /// Takes a permit, or fails if none is left.
    pub(super) fn take() -> io::Result<ThreadPermit> {
        // ORDERING: Relaxed, here and below. Only the number counts.
        let others = LIVING.fetch_add(1, Ordering::Relaxed);
        let permit = ThreadPermit(());
        if others < SAFE_THREADS || others < limit() { Ok(permit) } else { Err(refusal(others + 1)) }
    }
}

impl Drop for ThreadPermit {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Fails if the number of threads is above the limit.
pub(super) fn check(threads: usize) -> io::Result<()> {
    if threads <= SAFE_THREADS || threads <= limit() { Ok(()) } else { Err(refusal(threads)) }
}

#[cold]
fn refusal(threads: usize) -> io::Error {
    let text = format!("{threads} threads are more than the {} that the system has room for", limit());
    io::Error::new(io::ErrorKind::WouldBlock, text)
}

#[cold]
fn limit() -> usize {
    *LIMIT.get_or_init(|| {
        let living = LIVING.load(Ordering::Relaxed);
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let number = |path: &str| read(path)?.trim().parse::<usize>().ok();
        let maps = number("/proc/sys/vm/max_map_count").zip(read("/proc/self/maps").map(|maps| maps.lines().count()));
        // Control groups of version 2. Where a parent group has the limit, the system refuses the thread, which is an ordinary error.
        let group = read("/proc/self/cgroup")
            .and_then(|all| Some(all.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned()));
        let ids = group.and_then(|group| number(&format!("/sys/fs/cgroup{group}/pids.max")));
        room(living, maps, [number("/proc/sys/kernel/threads-max"), ids])
    })
}

/// The limit for a process whose pools have `living` threads. `maps` is the limit of memory maps, and how many are in use.
fn room(living: usize, maps: Option<(usize, usize)>, threads: [Option<usize>; 2]) -> usize {
    // An eighth is left to other users.
    let most = |number: usize| number - number / 8;
    let by_maps = maps.map(|(most_maps, in_use)| living + most(most_maps.saturating_sub(in_use)) / MAPS_PER_THREAD);
    let by_threads = threads.into_iter().flatten().map(most);
    by_threads.chain(by_maps).min().unwrap_or(DEFAULT_LIMIT)
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::room;

    /// D06: the scarcest resource sets the limit, and some of it is left to others.
    #[test]
    fn d06_the_scarcest_counts() {
        assert_eq!(room(0, None, [None, None]), 8_192);
        assert_eq!(room(0, Some((65_530, 0)), [None, None]), 14_334);
        assert_eq!(room(256, Some((65_530, 65_130)), [None, None]), 256 + 87);
        assert_eq!(room(256, Some((65_530, 65_530)), [Some(100_000), None]), 256);
        assert_eq!(room(256, Some((65_530, 70_000)), [None, Some(100)]), 88);
        assert_eq!(room(0, Some((1 << 20, 100)), [Some(800), Some(8_000)]), 700);
    }
}
