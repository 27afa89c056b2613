//! The settings that can be changed while a pool runs, as submitters and idle workers read them.

use std::time::Duration;

use crate::engine::options::Options;
use crate::engine::reconfigure::Reconfigure;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// No bound, or no expiry.
const NONE: u64 = u64::MAX;

/// The changeable settings. They are written under the lock of the phase.
///
/// ORDERING: Relaxed everywhere in this file. Each setting stands alone, and a change promises nothing about operations under way. A
/// sleeping worker that must not miss a new expiry has a fence (see [`Settings::expiry_word`]).
pub(super) struct Settings {
    /// A copy of the bound for computations. The queue itself enforces the bound.
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

    /// Applies the changes that are set.
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

    /// A word that differs for different expiries: an idle worker that finds it changed reads the expiry again. A change wakes all sleeping
    /// workers afterwards, which has a fence; a worker has the other one between its entry on the list and its read of this.
    pub(super) fn expiry_word(&self) -> u64 {
        self.expiry.load(Ordering::Relaxed)
    }
}

fn queue_word(queue: Option<usize>) -> u64 {
    queue.map_or(NONE, |tasks| tasks as u64)
}

/// A time that does not fit, some centuries, counts as for ever.
fn expiry_word(expiry: Option<Duration>) -> u64 {
    expiry.and_then(|expiry| u64::try_from(expiry.as_nanos()).ok()).unwrap_or(NONE)
}
