//! Restoring the minimum of workers after a thread was refused or a state could not be made.
//!
//! An idle worker tries again, first soon and then less and less often, so that the minimum comes back without load. Under load each
//! submit tries anyway. Where no worker is alive, the next submit starts one.

use std::time::{Duration, Instant};

use super::{Engine, Runner};
use crate::queue::Dispatch;
use crate::sync::clock;
use crate::sync::{AtomicBool, IS_CHECKED, Mutex, Ordering};

/// The delay of the first attempt.
const FIRST_DELAY: Duration = Duration::from_millis(10);
/// The longest delay between two attempts.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// What is known of missing workers.
#[derive(Default)]
pub(super) struct Minimum {
    /// Whether a worker of the minimum is missing; a copy for frequent readers.
    is_missing: AtomicBool,
    tries: Mutex<Tries>,
}

#[derive(Default)]
struct Tries {
    /// When the next attempt is due; `None` while one is under way, or none is needed.
    next: Option<Instant>,
    /// How many attempts have failed since the last success.
    failed: u32,
}

impl Minimum {
    /// Whether an attempt is needed. Costs one load.
    pub(super) fn is_missing(&self) -> bool {
        // ORDERING: Relaxed. Sleeping workers are woken after it is set (parking.md, **sleep**).
        self.is_missing.load(Ordering::Relaxed)
    }

    /// Records that a worker has its state: the next failure counts as the first.
    pub(super) fn succeeded(&self) {
        self.tries.lock().failed = 0;
    }

    /// Plans the next attempt, unless one is planned. Returns whether sleeping workers must compute their alarms again.
    fn plan(&self) -> bool {
        let mut tries = self.tries.lock();
        let is_new = tries.next.is_none();
        if is_new {
            let wait = FIRST_DELAY.saturating_mul(1 << tries.failed.min(16)).min(MAX_DELAY);
            tries.next = clock::now().checked_add(wait);
            tries.failed = tries.failed.saturating_add(1);
            self.is_missing.store(true, Ordering::Relaxed);
        }
        is_new
    }

    /// Takes the attempt that is due. Otherwise the error says when the next one is.
    fn take(&self) -> Result<(), Option<Instant>> {
        let mut tries = self.tries.lock();
        if tries.next.is_none_or(|next| next > clock::now()) {
            return Err(tries.next);
        }
        tries.next = None;
        Ok(())
    }

    fn next(&self) -> Option<Instant> {
        self.tries.lock().next
    }

    /// Cancels the attempts if `is_so`, which is called under the lock: a thread that finds a worker missing later plans after this.
    fn clear_if(&self, is_so: impl FnOnce() -> bool) -> bool {
        let mut tries = self.tries.lock();
        let clears = is_so();
        if clears {
            tries.next = None;
            self.is_missing.store(false, Ordering::Relaxed);
        }
        clears
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Records that a worker could not be started, or has left because its state could not be made.
    #[cold]
    pub(super) fn note_missing(&self) {
        // Loom and shuttle have no clock.
        if !IS_CHECKED && self.missing() > 0 && self.minimum.plan() {
            // Sleeping workers compute their alarms again.
            self.parking.wake_all();
        }
    }

    fn missing(&self) -> usize {
        if self.lifecycle.is_closed() { 0 } else { self.threads.missing() }
    }

    /// Tries to restore the minimum, if an attempt is due. Returns when the next one is.
    pub(super) fn restore_minimum(&self) -> Option<Instant> {
        if self.minimum.is_missing() { self.try_to_restore() } else { None }
    }

    #[cold]
    fn try_to_restore(&self) -> Option<Instant> {
        if self.minimum.clear_if(|| self.missing() == 0) {
            return None;
        }
        if let Err(next) = self.minimum.take() {
            return next;
        }
        let engine = self.this.upgrade()?;
        // Bounded by the number that is missing now, because workers whose states cannot be made end at once.
        for _ in 0..self.missing() {
            match engine.spawn_worker(None) {
                // If its state cannot be made, that worker plans the next attempt itself.
                Ok(Some(_)) => {}
                // Workers that are about to end still have the numbers.
                Ok(None) => {
                    self.minimum.plan();
                    break;
                }
                Err(_) => break,
            }
        }
        self.minimum.next()
    }
}
