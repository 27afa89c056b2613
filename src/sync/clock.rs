//! The current time, and sleeping until a time. Tests can use a clock that only advances when they say so.

use std::thread;
use std::time::{Duration, Instant};

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

// The standard library's threads in models too: no model has time pass, so none runs a timer.
impl Clock {
    pub(crate) fn now(&self) -> Instant {
        match self {
            Clock::System => now(),
            #[cfg(test)]
            Clock::Scripted(script) => script.now(),
        }
    }

    /// Sleeps until `time` or until the calling thread is unparked. May wake spuriously.
    pub(crate) fn park_until(&self, time: Instant) {
        match self {
            Clock::System => {
                let left = sleep_until(time).saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    thread::park_timeout(left);
                }
            }
            #[cfg(test)]
            Clock::Scripted(script) => script.park_until(time),
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
    //! A clock for tests, which only advances when a test says so.

    use std::sync::OnceLock;
    use std::thread::{self, Thread};
    use std::time::{Duration, Instant};

    use parking_lot::{Condvar, Mutex};

    pub(crate) struct Script {
        start: OnceLock<Instant>,
        state: Mutex<State>,
        /// Notified when a thread goes to sleep.
        slept: Condvar,
    }

    struct State {
        passed: Duration,
        sleepers: Vec<(Instant, Thread)>,
    }

    impl Script {
        pub(crate) const fn new() -> Self {
            let state = Mutex::new(State { passed: Duration::ZERO, sleepers: Vec::new() });
            Script { start: OnceLock::new(), state, slept: Condvar::new() }
        }

        /// The time at which the clock starts.
        pub(crate) fn start(&self) -> Instant {
            *self.start.get_or_init(Instant::now)
        }

        pub(crate) fn now(&self) -> Instant {
            self.start() + self.state.lock().passed
        }

        pub(crate) fn advance(&self, time: Duration) {
            let mut state = self.state.lock();
            state.passed += time;
            let now = self.start() + state.passed;
            state.sleepers.iter().filter(|(until, _)| *until <= now).for_each(|(_, thread)| thread.unpark());
        }

        /// Blocks until some thread sleeps until exactly `time`.
        pub(crate) fn await_sleeper(&self, time: Instant) {
            let limit = Instant::now() + Duration::from_secs(60);
            let mut state = self.state.lock();
            while !state.sleepers.iter().any(|(until, _)| *until == time) {
                assert!(!self.slept.wait_until(&mut state, limit).timed_out(), "no thread sleeps until then");
            }
        }

        pub(super) fn park_until(&self, time: Instant) {
            let me = thread::current();
            let mut state = self.state.lock();
            if time <= self.start() + state.passed {
                return;
            }
            state.sleepers.push((time, me.clone()));
            drop(state);
            self.slept.notify_all();
            thread::park();
            self.state.lock().sleepers.retain(|(_, thread)| thread.id() != me.id());
        }
    }
}
