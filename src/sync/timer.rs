//! The timer thread, which wakes waiters at a time.
//!
//! The first alarm starts it, and it exits when there have been no alarms for a second. It runs only the wakers of its alarms,
//! one at a time and without the lock, and catches their panics. Closures, hooks and tasks run elsewhere.
//!
//! If the system refuses the thread, setting an alarm sleeps for a moment on the calling thread and wakes the waiter early. So a
//! future is polled every few milliseconds and does not keep a CPU busy.
//!
//! A child of `fork` does not have the thread. The first alarm set there starts one, unless the lock was held during the fork.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::sync::clock::Clock;
use crate::sync::waiter::Waiter;
use crate::sync::{Parker, StaticMutex, StaticMutexGuard, Unparker, static_mutex};

#[cfg(all(test, formicary_loom))]
mod models;
#[cfg(all(test, not(formicary_loom)))]
mod tests;

/// The process's timer.
pub(crate) static TIMER: Timer = Timer::new(Clock::System, start_thread);

#[cfg(test)]
impl Timer {
    /// A timer for a test of what is built on it.
    pub(crate) const fn scripted(script: &'static crate::sync::clock::scripted::Script) -> Timer {
        Timer::new(Clock::Scripted(script), start_thread)
    }

    /// The same, for which the system has no thread.
    pub(crate) const fn scripted_without_thread(script: &'static crate::sync::clock::scripted::Script) -> Timer {
        Timer::new(Clock::Scripted(script), |_| Err(io::Error::other("a test's refusal")))
    }

    /// The times of the alarms that are set.
    pub(crate) fn alarms(&'static self) -> Vec<Instant> {
        self.state.lock().alarms.keys().map(|key| key.0).collect()
    }
}

thread_local! {
    static IS_TIMER_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread keeps the time, and so must not run what takes long.
pub(crate) fn is_timer_thread() -> bool {
    IS_TIMER_THREAD.try_with(Cell::get).unwrap_or(false)
}

/// How long the thread stays alive without alarms.
const IDLE_LIFETIME: Duration = Duration::from_secs(1);

/// How long setting an alarm sleeps without a thread, if there is only one such waiter.
const FALLBACK_SLEEP: Duration = Duration::from_millis(8);

/// Up to this many waiters without a thread share the sleep, so that the last one is not late when one thread polls all of them.
const FALLBACK_SHARES: u32 = 32;

type Body = Box<dyn FnOnce() + Send>;

fn start_thread(body: Body) -> io::Result<()> {
    // No time passes in the models of other parts.
    if cfg!(formicary_loom) {
        return Err(io::Error::other("a model"));
    }
    Builder::new().name("formicary-timer".into()).stack_size(256 * 1024).spawn(body).map(drop)
}

pub(crate) struct Timer {
    clock: Clock,
    start_thread: fn(Body) -> io::Result<()>,
    state: StaticMutex<State>,
}

struct State {
    /// Empty while there is no thread.
    alarms: BTreeMap<Key, Waiter>,
    next: u64,
    thread: Option<TimerThread>,
    /// Alarms set without a thread.
    without_thread: u32,
}

/// A time, and a number that makes it unique.
type Key = (Instant, u64);

/// The running timer thread.
struct TimerThread {
    handle: Unparker,
    /// A child of `fork` has no thread of its parent.
    process: u32,
    /// `None` while it is awake: it checks the alarms again before it sleeps.
    asleep_until: Option<Instant>,
    /// When the last alarm was removed.
    idle_since: Instant,
    /// Whether it wakes a waiter just now, without the lock.
    is_waking: bool,
}

impl Timer {
    const fn new(clock: Clock, start_thread: fn(Body) -> io::Result<()>) -> Self {
        let state = static_mutex!(State { alarms: BTreeMap::new(), next: 0, thread: None, without_thread: 0 });
        Timer { clock, start_thread, state }
    }

    /// Wakes `waiter` at `time`, unless the returned guard is dropped before. Without a timer thread this sleeps briefly on the
    /// calling thread and then wakes `waiter`, perhaps early: a woken waiter checks the clock and sets another alarm.
    pub(crate) fn at(&'static self, time: Instant, waiter: Waiter) -> Alarm {
        let mut state = self.state.lock();
        let key = state.key(time);
        if !self.ensure_thread(&mut state) {
            return self.sleep_briefly(state, key, waiter);
        }
        self.set(state, key, waiter)
    }

    /// As [`at`](Self::at), but returns the waiter if there is no timer thread. Never sleeps.
    pub(crate) fn try_at(&'static self, time: Instant, waiter: Waiter) -> Result<Alarm, Waiter> {
        let mut state = self.state.lock();
        if !self.ensure_thread(&mut state) {
            return Err(waiter);
        }
        let key = state.key(time);
        Ok(self.set(state, key, waiter))
    }

    fn set(&'static self, mut state: StaticMutexGuard<'_, State>, key: Key, waiter: Waiter) -> Alarm {
        state.alarms.insert(key, waiter);
        state.wake_thread_by(key.0);
        Alarm { timer: self, key, is_listed: true }
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The time was set: the thread looks at it again.
    #[cfg(feature = "test-util")]
    pub(crate) fn time_was_set(&'static self) {
        if let Some(thread) = &mut self.state.lock().thread {
            thread.idle_since = thread.idle_since.min(self.clock.now());
            thread.asleep_until = None;
            thread.handle.unpark();
        }
    }

    /// Waits until the thread has woken all whose time has come. On the thread itself it does nothing.
    #[cfg(feature = "test-util")]
    pub(crate) fn await_due(&self) {
        while !is_timer_thread() && self.state.lock().is_behind(self.clock.now()) {
            std::thread::yield_now();
        }
    }

    /// Starts the thread if there is none, and returns whether there is one. Starts it under the lock: no alarm relies on a
    /// thread that the system refuses.
    fn ensure_thread(&'static self, state: &mut State) -> bool {
        let process = std::process::id();
        if state.thread.as_ref().is_none_or(|thread| thread.process != process) {
            let idle_since = self.clock.now();
            let parker = Parker::new();
            let handle = parker.unparker().clone();
            let is_started = (self.start_thread)(Box::new(move || self.run(&parker))).is_ok();
            let thread = TimerThread { handle, process, asleep_until: None, idle_since, is_waking: false };
            state.thread = is_started.then_some(thread);
        }
        state.thread.is_some()
    }

    #[cold]
    fn sleep_briefly(&'static self, mut state: StaticMutexGuard<'_, State>, key: Key, waiter: Waiter) -> Alarm {
        let share = FALLBACK_SLEEP / state.without_thread.clamp(1, FALLBACK_SHARES);
        state.without_thread += 1;
        drop(state);
        self.clock.sleep(share.min(key.0.saturating_duration_since(self.clock.now())));
        waiter.wake();
        Alarm { timer: self, key, is_listed: false }
    }

    /// The thread's loop.
    fn run(&'static self, parker: &Parker) {
        IS_TIMER_THREAD.set(true);
        loop {
            let mut state = self.state.lock();
            state.note_awake();
            let now = self.clock.now();
            if let Some(waiter) = state.take_due(now) {
                state.note_waking();
                drop(state);
                waiter.wake();
                continue;
            }
            let first = state.alarms.first_key_value().map(|(key, _)| key.0);
            let Some(thread) = &mut state.thread else { return };
            let until = first.unwrap_or(thread.idle_since + IDLE_LIFETIME);
            if first.is_none() && until <= now {
                state.thread = None;
                return;
            }
            thread.asleep_until = Some(until);
            drop(state);
            self.clock.park_until(parker, until);
        }
    }
}

impl State {
    fn key(&mut self, time: Instant) -> Key {
        self.next += 1;
        (time, self.next)
    }

    /// Removes and returns the waiter of the first alarm if it is due.
    fn take_due(&mut self, now: Instant) -> Option<Waiter> {
        let first = self.alarms.first_entry().filter(|first| first.key().0 <= now)?;
        let waiter = first.remove();
        self.note_idle(now);
        Some(waiter)
    }

    /// Whether an alarm is due, or its waiter is being woken.
    #[cfg(feature = "test-util")]
    fn is_behind(&self, now: Instant) -> bool {
        let is_due = self.alarms.first_key_value().is_some_and(|(key, _)| key.0 <= now);
        is_due || self.thread.as_ref().is_some_and(|thread| thread.is_waking)
    }

    fn note_awake(&mut self) {
        if let Some(thread) = &mut self.thread {
            thread.asleep_until = None;
            thread.is_waking = false;
        }
    }

    fn note_waking(&mut self) {
        if let Some(thread) = &mut self.thread {
            thread.is_waking = true;
        }
    }

    fn note_idle(&mut self, now: Instant) {
        if let (true, Some(thread)) = (self.alarms.is_empty(), &mut self.thread) {
            thread.idle_since = now;
        }
    }

    /// Unparks the thread if it would sleep beyond `time`.
    fn wake_thread_by(&mut self, time: Instant) {
        if let Some(thread) = &mut self.thread {
            if thread.asleep_until.is_some_and(|until| until > time) {
                // One unpark is enough however many alarms are set before the thread is awake.
                thread.asleep_until = None;
                thread.handle.unpark();
            }
        }
    }
}

/// An alarm that is set. Dropping it cancels it.
pub(crate) struct Alarm {
    timer: &'static Timer,
    key: Key,
    is_listed: bool,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut state = self.timer.state.lock();
        if !self.is_listed {
            state.without_thread -= 1;
            return;
        }
        let Some(unwanted) = state.alarms.remove(&self.key) else { return };
        if state.alarms.is_empty() {
            let now = self.timer.clock.now();
            state.note_idle(now);
            // The thread need not sleep until the time of this alarm.
            state.wake_thread_by(now + IDLE_LIFETIME);
        }
        drop(state);
        unwanted.discard();
    }
}
