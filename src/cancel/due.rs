//! A deadline that threads read without a lock.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::sync::clock;
use crate::sync::{AtomicU64, Ordering};

/// A point in time as one number: nanoseconds, where `ORIGIN` is a moment during the life of the process. The range is 292 years
/// to either side; times beyond it are clamped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

const ORIGIN: u64 = 1 << 63;
const NEVER: Moment = Moment(u64::MAX);

fn origin() -> Instant {
    // The standard library's type in models too: they do not model time.
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl From<Instant> for Moment {
    fn from(time: Instant) -> Self {
        let origin = origin();
        match time.checked_duration_since(origin) {
            Some(after) => Moment(ORIGIN.saturating_add(nanoseconds(after)).min(NEVER.0 - 1)),
            None => Moment(ORIGIN.saturating_sub(nanoseconds(origin - time))),
        }
    }
}

impl Moment {
    fn instant(self) -> Option<Instant> {
        match self.0.checked_sub(ORIGIN) {
            _ if self == NEVER => None,
            Some(after) => origin().checked_add(Duration::from_nanos(after)),
            None => origin().checked_sub(Duration::from_nanos(ORIGIN - self.0)),
        }
    }
}

/// The time at which a token's deadline passes, or never.
pub(super) struct Due(AtomicU64);

impl Due {
    pub(super) fn never() -> Self {
        Due(AtomicU64::new(NEVER.0))
    }

    pub(super) fn get(&self) -> Moment {
        // ORDERING: Acquire pairs with the Release in `set`: a thread that sees a token's deadline sees the deadlines of the
        // tokens below it, which are set first.
        Moment(self.0.load(Ordering::Acquire))
    }

    pub(super) fn set(&self, moment: Moment) {
        // ORDERING: Release, see `get`.
        self.0.store(moment.0, Ordering::Release);
    }

    pub(super) fn instant(&self) -> Option<Instant> {
        self.get().instant()
    }

    /// Whether the deadline has passed. Reads the clock only if there is a deadline.
    pub(super) fn has_passed(&self) -> bool {
        let due = self.get();
        due != NEVER && Moment::from(clock::now()) >= due
    }
}
