//! One figure out of several counters that others go on writing.

use super::Load;

/// Counts that only grow, each at most the next one: finished, started, accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) finished: u64,
    pub(super) started: u64,
    pub(super) accepted: u64,
}

/// So often the counts are asked again if they have changed while they were read.
const TRIES: usize = 8;

impl Counts {
    /// The load that two readings in a row agree on, which was so at one moment; or, if they never do, one of about that
    /// time, in which no more than `workers` run and no more than `room` are there.
    ///
    /// `read` reads finished before started before accepted, so that no task is missed: the answer is that there is no
    /// task only if there was none.
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

/// What a queue holds fits into memory, so its count fits into a word.
pub(super) fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
