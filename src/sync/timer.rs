//! The one thread that keeps the time: it wakes whoever has set an alarm.
//!
//! It is started for the first alarm and ends when there has been none for a while. It calls nothing but the wakers of its alarms,
//! each by itself and not under its lock; a panic of one ends there. Closures, hooks and tasks run elsewhere.
//!
//! Where the system refuses the thread, setting an alarm takes its place: that sleeps for a moment and wakes the waiter early. So a
//! future is polled every few milliseconds then, and no processor is kept busy.
//!
//! A child of `fork` does not have the thread. The first alarm that is set there starts one, unless the lock was held at the fork.

use std::collections::BTreeMap;
use std::io;
use std::thread::{Builder, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::sync::clock::Clock;
use crate::sync::waiter::Waiter;

#[cfg(test)]
mod tests;

/// The process's own.
// With a real lock, also in a model: a static cannot be one of loom's.
pub(crate) static TIMER: Timer = Timer::new(Clock::System, start_thread);

/// How long the thread stays without an alarm.
const IDLE_LIFETIME: Duration = Duration::from_secs(1);

/// How long a waiter sleeps where there is no thread, if it is the only one.
const FALLBACK_SLEEP: Duration = Duration::from_millis(8);

/// Among so many waiters a nap is shared, so that the last one is not late when one thread polls all of them.
const FALLBACK_SHARES: u32 = 32;

type Body = Box<dyn FnOnce() + Send>;

fn start_thread(body: Body) -> io::Result<Thread> {
    let thread = Builder::new().name("formicary-timer".into()).stack_size(256 * 1024).spawn(body)?;
    Ok(thread.thread().clone())
}

pub(crate) struct Timer {
    clock: Clock,
    start_thread: fn(Body) -> io::Result<Thread>,
    state: Mutex<State>,
}

struct State {
    /// Only while there is a thread.
    alarms: BTreeMap<Key, Waiter>,
    next: u64,
    keeper: Option<TimerThread>,
    /// Alarms that were set without a thread.
    unkept: u32,
}

/// A time, and a number that makes it unique.
type Key = (Instant, u64);

/// The thread that keeps the time.
struct TimerThread {
    thread: Thread,
    /// A child of `fork` has no thread of its parent.
    process: u32,
    /// `None` while it is awake, and so looks at the alarms once more.
    asleep_until: Option<Instant>,
    /// When the last alarm went.
    idle_since: Instant,
}

impl Timer {
    const fn new(clock: Clock, start_thread: fn(Body) -> io::Result<Thread>) -> Self {
        let state = State { alarms: BTreeMap::new(), next: 0, keeper: None, unkept: 0 };
        Timer { clock, start_thread, state: Mutex::new(state) }
    }

    /// Has `waiter` woken at `time`, unless the answer is dropped before. It may be woken early, after a nap on the calling thread,
    /// where there is no thread to keep the time: who is woken looks at the clock, and sets another alarm.
    pub(crate) fn at(&'static self, time: Instant, waiter: Waiter) -> Alarm {
        let mut state = self.state.lock();
        let key = (time, state.next);
        state.next += 1;
        if !self.has_thread(&mut state) {
            return self.sleep_briefly(state, key, waiter);
        }
        state.alarms.insert(key, waiter);
        state.wake_thread_by(time);
        Alarm { timer: self, key, is_kept: true }
    }

    /// Whether there is a thread, be it a new one. It is started under the lock: no alarm relies on a thread that is refused.
    fn has_thread(&'static self, state: &mut State) -> bool {
        let process = std::process::id();
        if state.keeper.as_ref().is_none_or(|keeper| keeper.process != process) {
            let idle_since = self.clock.now();
            let thread = (self.start_thread)(Box::new(|| self.run())).ok();
            state.keeper = thread.map(|thread| TimerThread { thread, process, asleep_until: None, idle_since });
        }
        state.keeper.is_some()
    }

    #[cold]
    fn sleep_briefly(&'static self, mut state: MutexGuard<'_, State>, key: Key, waiter: Waiter) -> Alarm {
        let share = FALLBACK_SLEEP / state.unkept.clamp(1, FALLBACK_SHARES);
        state.unkept += 1;
        drop(state);
        self.clock.sleep(share.min(key.0.saturating_duration_since(self.clock.now())));
        waiter.wake();
        Alarm { timer: self, key, is_kept: false }
    }

    /// What the thread does.
    fn run(&self) {
        loop {
            let mut state = self.state.lock();
            state.note_awake();
            let now = self.clock.now();
            if let Some(waiter) = state.take_due(now) {
                drop(state);
                waiter.wake();
                continue;
            }
            let first = state.alarms.first_key_value().map(|(key, _)| key.0);
            let Some(keeper) = &mut state.keeper else { return };
            let until = first.unwrap_or(keeper.idle_since + IDLE_LIFETIME);
            if first.is_none() && until <= now {
                state.keeper = None;
                return;
            }
            keeper.asleep_until = Some(until);
            drop(state);
            self.clock.park_until(until);
        }
    }
}

impl State {
    /// The waiter of the first alarm, if it is due.
    fn take_due(&mut self, now: Instant) -> Option<Waiter> {
        let first = self.alarms.first_entry().filter(|first| first.key().0 <= now)?;
        let waiter = first.remove();
        self.note_idle(now);
        Some(waiter)
    }

    fn note_awake(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.asleep_until = None;
        }
    }

    fn note_idle(&mut self, now: Instant) {
        if let (true, Some(keeper)) = (self.alarms.is_empty(), &mut self.keeper) {
            keeper.idle_since = now;
        }
    }

    /// The thread has something to do at `time`.
    fn wake_thread_by(&mut self, time: Instant) {
        if let Some(keeper) = &mut self.keeper {
            if keeper.asleep_until.is_some_and(|until| until > time) {
                // One is enough, however many times are set before it is awake.
                keeper.asleep_until = None;
                keeper.thread.unpark();
            }
        }
    }
}

/// An alarm that was set; dropping it unsets it.
pub(crate) struct Alarm {
    timer: &'static Timer,
    key: Key,
    is_kept: bool,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut state = self.timer.state.lock();
        if !self.is_kept {
            state.unkept -= 1;
            return;
        }
        let Some(unwanted) = state.alarms.remove(&self.key) else { return };
        if state.alarms.is_empty() {
            let now = self.timer.clock.now();
            state.note_idle(now);
            // It need not stay until the time of this alarm.
            state.wake_thread_by(now + IDLE_LIFETIME);
        }
        drop(state);
        unwanted.discard();
    }
}
