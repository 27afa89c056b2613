//! A consistent snapshot of several counters that other threads keep changing.

use super::Load;

/// Counts that never decrease, each at most the next one: finished, started, accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) finished: u64,
    pub(super) started: u64,
    pub(super) accepted: u64,
}

/// How often the counts are read again if they change meanwhile.
const TRIES: usize = 8;

impl Counts {
    /// The load that two consecutive readings agree on, which held at one moment. If they never agree, an approximation in which
    /// no more than `workers` tasks run and no more than `room` tasks are present.
    ///
    /// `read` must read finished before started before accepted, so that no task is missed: the load is empty only if there was
    /// no task at some moment.
    pub(super) fn load(read: impl Fn() -> Counts, workers: usize, room: u64) -> Load {
        let mut before = read();
        let mut tries = 0;
        loop {
            let now = read();
            let Counts { finished, started, accepted } = now;
            let (mut running, mut queued) = (started - finished, accepted - started);
            tries += 1;
            let gives_up = tries >= TRIES && accepted > finished;
            if gives_up && now != before {
                running = running.min(workers as u64);
                queued = queued.min(room.saturating_sub(running));
            }
            if gives_up || now == before {
                return Load { accepted, queued: to_usize(queued), running: to_usize(running) };
            }
            before = now;
        }
    }
}

/// A queue's tasks fit into memory, so their number fits into a word.
pub(super) fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
