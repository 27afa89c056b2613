//! How many threads the pools of this process may have at a time.
//!
//! A thread that the system refuses is an error, and the living workers do its work. But beyond a limit on memory maps the system
//! gives a thread, and not the memory for its signal stack: the standard library then ends the process. So pools stay well below what
//! the system says it can give.

use std::io;
use std::sync::OnceLock;
// No model builds threads, and these are static.
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many may be had without asking the system.
const UNASKED: usize = 256;
/// The limit where the system does not tell.
const UNKNOWN: usize = 8_192;
/// Memory maps of one thread: its stack, its signal stack, and a guard page for each.
const MAPS: usize = 4;

/// Threads that pools have started and that have not ended.
static LIVING: AtomicUsize = AtomicUsize::new(0);

/// What the system gave, measured once.
static LIMIT: OnceLock<usize> = OnceLock::new();

/// A place for a thread; given back when it is dropped, at the thread's end.
pub(super) struct ThreadPermit(());

impl ThreadPermit {
    /// Takes one, or says that there is none.
    pub(super) fn take() -> io::Result<ThreadPermit> {
        // ORDERING: Relaxed, here and below. Only the number counts.
        let others = LIVING.fetch_add(1, Ordering::Relaxed);
        let permit = ThreadPermit(());
        if others < UNASKED || others < limit() { Ok(permit) } else { Err(refusal(others + 1)) }
    }
}

impl Drop for ThreadPermit {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Refuses a number of threads that there can never be at a time.
pub(super) fn check(threads: usize) -> io::Result<()> {
    if threads <= UNASKED || threads <= limit() { Ok(()) } else { Err(refusal(threads)) }
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
        // Of version 2; where the limit is in a group above, the system refuses a thread, which is an error as any other.
        let group = read("/proc/self/cgroup")
            .and_then(|all| Some(all.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned()));
        let ids = group.and_then(|group| number(&format!("/sys/fs/cgroup{group}/pids.max")));
        room(living, maps, [number("/proc/sys/kernel/threads-max"), ids])
    })
}

/// The limit for a process whose pools have `living` threads. `maps` are those that there may be, and those that there are.
fn room(living: usize, maps: Option<(usize, usize)>, threads: [Option<usize>; 2]) -> usize {
    // An eighth is left to others.
    let most = |number: usize| number - number / 8;
    let by_maps = maps.map(|(most_maps, in_use)| living + most(most_maps.saturating_sub(in_use)) / MAPS);
    let by_threads = threads.into_iter().flatten().map(most);
    by_threads.chain(by_maps).min().unwrap_or(UNKNOWN)
}

#[cfg(all(test, not(any(formicary_loom, formicary_shuttle))))]
mod tests {
    use super::room;

    /// D06: the limit is what is left of the scarcest, and less than that.
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
