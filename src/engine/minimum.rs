//! Restoring the minimum of workers where a thread was refused or a state could not be made.
//!
//! A worker that is idle tries again, first soon and then less and less often. So it does not take load to have them back; under load
//! each submit tries anyway. Where no worker is alive, the next submit starts one.

use std::time::{Duration, Instant};

use super::{Engine, Runner};
use crate::queue::Dispatch;
use crate::sync::{AtomicBool, IS_CHECKED, Mutex, Ordering};

/// The time before the first try.
const AT_FIRST: Duration = Duration::from_millis(10);
/// The longest time between two.
const AT_MOST: Duration = Duration::from_secs(2);

/// What is known of missing workers.
#[derive(Default)]
pub(super) struct Minimum {
    /// Whether a worker of the minimum is missing; a copy for those that look often.
    is_missing: AtomicBool,
    tries: Mutex<Tries>,
}

#[derive(Default)]
struct Tries {
    /// When the next one is due; `None` while one is under way.
    next: Option<Instant>,
    /// How many have failed since one succeeded.
    failed: u32,
}

impl Minimum {
    /// Whether somebody has to try. Costs one load.
    pub(super) fn is_missing(&self) -> bool {
        // ORDERING: Relaxed. Sleepers are woken after it is set (parking.md, **sleep**).
        self.is_missing.load(Ordering::Relaxed)
    }

    /// A worker has its state: the next failure is a first one.
    pub(super) fn succeeded(&self) {
        self.tries.lock().failed = 0;
    }

    /// Plans the next try, unless there is one; says whether those who sleep must know.
    fn plan(&self) -> bool {
        let mut tries = self.tries.lock();
        let is_new = tries.next.is_none();
        if is_new {
            let wait = AT_FIRST.saturating_mul(1 << tries.failed.min(16)).min(AT_MOST);
            tries.next = Instant::now().checked_add(wait);
            tries.failed = tries.failed.saturating_add(1);
            self.is_missing.store(true, Ordering::Relaxed);
        }
        is_new
    }

    /// Takes on the try that is due. Otherwise says when the next one is.
    fn take(&self) -> Result<(), Option<Instant>> {
        let mut tries = self.tries.lock();
        if tries.next.is_none_or(|next| next > Instant::now()) {
            return Err(tries.next);
        }
        tries.next = None;
        Ok(())
    }

    fn next(&self) -> Option<Instant> {
        self.tries.lock().next
    }

    /// Nothing is left to do if that `is_so`, which is asked under the lock: whoever finds a worker missing later plans after this.
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
    /// A worker could not be started, or has left for want of a state.
    #[cold]
    pub(super) fn note_missing(&self) {
        // A checker has no clock.
        if !IS_CHECKED && self.missing() > 0 && self.minimum.plan() {
            // They set their alarms anew.
            self.parking.wake_all();
        }
    }

    fn missing(&self) -> usize {
        if self.lifecycle.is_closed() { 0 } else { self.threads.missing() }
    }

    /// Tries to restore the minimum, if that is due; says when it will be.
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
        // No more than are missing now: those whose states cannot be made are gone again at once.
        for _ in 0..self.missing() {
            match engine.spawn_worker(None) {
                // If its state cannot be made, it plans the next try itself.
                Ok(Some(_)) => {}
                // Those that have the places are about to end.
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
