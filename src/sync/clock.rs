//! The current time, and sleeping until a time. Tests can use a clock that only advances when they say so.

use std::thread;
use std::time::{Duration, Instant};

use crate::sync::Parker;

/// The time. All limits are measured by it.
#[inline]
pub(crate) fn now() -> Instant {
    #[cfg(feature = "test-util")]
    if let Some(now) = super::test_clock::now() {
        return now;
    }
    Instant::now()
}

/// Until when, by the real clock, a thread sleeps that has nothing to do before `deadline`. It checks the time afterwards.
#[cfg_attr(any(formicary_loom, formicary_shuttle), allow(dead_code))]
pub(crate) fn sleep_until(deadline: Instant) -> Instant {
    #[cfg(feature = "test-util")]
    if let Some(look) = super::test_clock::next_look(deadline) {
        return look;
    }
    deadline
}

/// The time `limit` from now; `None`, which means never, if the clock cannot represent it.
pub(crate) fn deadline(limit: Duration) -> Option<Instant> {
    now().checked_add(limit)
}

/// The source of the time for [`Timer`](super::timer::Timer).
pub(crate) enum Clock {
    System,
    #[cfg(test)]
    Scripted(&'static scripted::Script),
}

impl Clock {
    pub(crate) fn now(&self) -> Instant {
        match self {
            Clock::System => now(),
            #[cfg(test)]
            Clock::Scripted(script) => script.now(),
        }
    }

    /// Sleeps until `time` or until the parker's thread, the calling one, is unparked. May wake spuriously.
    pub(crate) fn park_until(&self, parker: &Parker, time: Instant) {
        match self {
            Clock::System => parker.park_deadline(sleep_until(time)),
            #[cfg(test)]
            Clock::Scripted(script) => script.park_until(parker, time),
        }
    }

    /// Sleeps for `time`. A scripted clock is advanced by `time` instead.
    pub(crate) fn sleep(&self, time: Duration) {
        match self {
            Clock::System => thread::sleep(time),
            #[cfg(test)]
            Clock::Scripted(script) => script.advance(time),
        }
    }
}

#[cfg(test)]
pub(crate) mod scripted {
    //! A clock for tests and models, which only advances when they say so.

    use std::collections::BTreeMap;
    use std::sync::OnceLock;
    use std::thread;
    use std::time::{Duration, Instant};

    use crate::sync::{Parker, StaticMutex, Unparker, static_mutex};

    pub(crate) struct Script {
        start: OnceLock<Instant>,
        state: StaticMutex<State>,
    }

    struct State {
        passed: Duration,
        /// By a number.
        sleepers: BTreeMap<u64, (Instant, Unparker)>,
        next: u64,
    }

    impl Script {
        pub(crate) const fn new() -> Self {
            let state = static_mutex!(State { passed: Duration::ZERO, sleepers: BTreeMap::new(), next: 0 });
            Script { start: OnceLock::new(), state }
        }

        /// The time at which the clock starts.
        pub(crate) fn start(&self) -> Instant {
            *self.start.get_or_init(Instant::now)
        }

        pub(crate) fn now(&'static self) -> Instant {
            self.start() + self.state.lock().passed
        }

        pub(crate) fn advance(&'static self, time: Duration) {
            let mut state = self.state.lock();
            state.passed += time;
            let now = self.start() + state.passed;
            state.sleepers.values().filter(|(until, _)| *until <= now).for_each(|(_, thread)| thread.unpark());
        }

        /// Blocks until some thread sleeps until exactly `time`.
        pub(crate) fn await_sleeper(&'static self, time: Instant) {
            let limit = Instant::now() + Duration::from_secs(60);
            while !self.state.lock().sleepers.values().any(|(until, _)| *until == time) {
                assert!(Instant::now() < limit, "no thread sleeps until then");
                thread::yield_now();
            }
        }

        pub(super) fn park_until(&'static self, parker: &Parker, time: Instant) {
            let mut state = self.state.lock();
            if time <= self.start() + state.passed {
                return;
            }
            let number = state.next;
            state.next += 1;
            state.sleepers.insert(number, (time, parker.unparker().clone()));
            drop(state);
            parker.park();
            self.state.lock().sleepers.remove(&number);
        }
    }
}
