//! What can be changed about a pool while it works, as those see it who submit and those who are idle.

use std::time::Duration;

use crate::engine::options::Options;
use crate::engine::reconfigure::Reconfigure;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Stands for no bound, and for no expiry.
const NONE: u64 = u64::MAX;

/// Written under the lock of the phase.
///
/// ORDERING: Relaxed everywhere in this file. Each is a figure of its own, and changing it is no promise about what is under way. A
/// sleeper that must not miss another expiry has a fence (see [`Settings::expiry_word`]).
pub(super) struct Settings {
    /// The bound of the queue itself has the last word; this is for those who reckon with it.
    queue: AtomicU64,
    nonblocking: AtomicBool,
    max_blocking: AtomicUsize,
    /// In nanoseconds.
    expiry: AtomicU64,
}

impl Settings {
    pub(super) fn new(options: &Options) -> Self {
        Settings {
            queue: AtomicU64::new(queue_word(options.queue)),
            nonblocking: AtomicBool::new(options.nonblocking),
            max_blocking: AtomicUsize::new(options.max_blocking),
            expiry: AtomicU64::new(expiry_word(options.expiry)),
        }
    }

    /// Changes what is given.
    pub(super) fn change(&self, change: &Reconfigure) {
        if let Some(queue) = change.queue {
            self.queue.store(queue_word(queue), Ordering::Relaxed);
        }
        if let Some(nonblocking) = change.nonblocking {
            self.nonblocking.store(nonblocking, Ordering::Relaxed);
        }
        if let Some(submitters) = change.max_blocking {
            self.max_blocking.store(submitters, Ordering::Relaxed);
        }
        if let Some(expiry) = change.expiry {
            self.expiry.store(expiry_word(expiry), Ordering::Relaxed);
        }
    }

    pub(super) fn queue(&self) -> Option<usize> {
        let word = self.queue.load(Ordering::Relaxed);
        (word != NONE).then(|| usize::try_from(word).unwrap_or(usize::MAX))
    }

    #[inline]
    pub(super) fn nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
    }

    pub(super) fn max_blocking(&self) -> usize {
        self.max_blocking.load(Ordering::Relaxed)
    }

    pub(super) fn expiry(&self) -> Option<Duration> {
        let word = self.expiry_word();
        (word != NONE).then(|| Duration::from_nanos(word))
    }

    /// Another one for each other expiry: an idle worker that finds it changed asks for the expiry again. Whoever changes it has all
    /// sleepers woken after that, which has a fence; a sleeper has the other between its entry in their list and its look at this.
    pub(super) fn expiry_word(&self) -> u64 {
        self.expiry.load(Ordering::Relaxed)
    }
}

fn queue_word(queue: Option<usize>) -> u64 {
    queue.map_or(NONE, |tasks| tasks as u64)
}

/// What does not fit is for ever: some centuries.
fn expiry_word(expiry: Option<Duration>) -> u64 {
    expiry.and_then(|expiry| u64::try_from(expiry.as_nanos()).ok()).unwrap_or(NONE)
}
