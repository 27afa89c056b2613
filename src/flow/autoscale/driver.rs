//! The driver: takes a sample in each period, asks the controller, and sets the size.

use std::collections::VecDeque;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::change::Change;
use super::control_thread::{self, Turn};
use super::controller::{Controller, Decision, Reason};
use super::target::{Look, Target};
use crate::sync::clock;
use crate::sync::timer::{Alarm, TIMER};
use crate::sync::user_code::catch_user_panic;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, Mutex, MutexGuard, Ordering};

/// How long the thread of the turns sleeps where there is no timer thread.
const SLEEP_WITHOUT_TIMER: Duration = Duration::from_millis(5);

pub(super) type Handler = Box<dyn Fn(&Change) + Send + Sync>;

/// What stays the same.
pub(super) struct Plan {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) period: Duration,
    /// How many changes are kept.
    pub(super) history: usize,
    pub(super) handler: Option<Handler>,
}

pub(super) struct Driver {
    target: Target,
    plan: Plan,
    started: Instant,
    /// `None` while a turn has it: no user code runs under a lock.
    steering: Mutex<Option<Steering>>,
    state: Mutex<State>,
    turns: AtomicU64,
    panics: AtomicU64,
    this: Weak<Driver>,
}

/// What a turn works with.
struct Steering {
    controller: Box<dyn Controller>,
    before: Option<Look>,
    /// For how long no task has ended although some were queued.
    stalled: Duration,
}

struct State {
    phase: Phase,
    /// When the next turn is due.
    next: Instant,
    alarm: Option<Alarm>,
    /// The windows of before a pause do not count.
    forgets: bool,
    history: VecDeque<Change>,
    latest: Option<Decision>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Paused,
    /// For good: it was stopped, or the pool is gone.
    Stopped,
}

/// The waker of the alarm. It does not keep the driver, whose end is not for the timer thread.
struct Due(Weak<Driver>);

impl Wake for Due {
    fn wake(self: Arc<Self>) {
        let driver: Weak<Driver> = Weak::clone(&self.0);
        control_thread::take_turn(driver);
    }
}

impl Driver {
    pub(super) fn start(target: Target, controller: Box<dyn Controller>, plan: Plan) -> Arc<Self> {
        let now = clock::now();
        let before = target.look();
        let driver = Arc::new_cyclic(|this| Driver {
            target,
            started: now,
            steering: Mutex::new(Some(Steering { controller, before, stalled: Duration::ZERO })),
            state: Mutex::new(State {
                phase: Phase::Running,
                next: after(now, plan.period),
                alarm: None,
                forgets: false,
                history: VecDeque::new(),
                latest: None,
            }),
            plan,
            turns: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            this: Weak::clone(this),
        });
        driver.arm();
        driver
    }

    // What its owner does with it.

    pub(super) fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    pub(super) fn pause(&self) {
        self.leave(Phase::Paused);
    }

    pub(super) fn resume(&self) {
        let now = clock::now();
        let mut state = self.state.lock();
        if state.phase != Phase::Stopped {
            state.phase = Phase::Running;
            state.next = after(now, self.plan.period);
            state.forgets = true;
            drop(state);
            self.arm();
        }
    }

    pub(super) fn stop(&self) {
        self.leave(Phase::Stopped);
    }

    fn leave(&self, phase: Phase) {
        let mut state = self.state.lock();
        if state.phase != Phase::Stopped {
            state.phase = phase;
        }
        let alarm = state.alarm.take();
        drop(state);
        drop(alarm);
    }

    pub(super) fn history(&self) -> Vec<Change> {
        self.state.lock().history.iter().copied().collect()
    }

    pub(super) fn latest(&self) -> Option<Decision> {
        self.state.lock().latest
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    // The alarm.

    /// Sets the alarm of the next turn. Where there is no timer thread, that of the turns waits.
    fn arm(&self) {
        if !self.try_arm(self.state.lock()) {
            let driver: Weak<Driver> = Weak::clone(&self.this);
            control_thread::take_turn(driver);
        }
    }

    fn try_arm(&self, mut state: MutexGuard<'_, State>) -> bool {
        if state.phase != Phase::Running {
            return true;
        }
        let waker = Waker::from(Arc::new(Due(Weak::clone(&self.this))));
        let (before, is_set) = match TIMER.try_at(state.next, Waiter::Task(waker)) {
            Ok(alarm) => (state.alarm.replace(alarm), true),
            Err(_) => (state.alarm.take(), false),
        };
        drop(state);
        drop(before);
        is_set
    }

    // A turn.

    /// Whether a turn is due, and the time for which it is.
    fn due(&self) -> Option<Instant> {
        let state = self.state.lock();
        (state.phase == Phase::Running && clock::now() >= state.next).then_some(state.next)
    }

    /// Looks and decides. Returns whether the target is still there.
    fn steer(&self, steering: &mut Steering) -> bool {
        let Some(look) = self.target.look() else { return false };
        if std::mem::take(&mut self.state.lock().forgets) {
            steering.before = None;
            steering.stalled = Duration::ZERO;
        }
        let decision = self.decide(steering, &look);
        steering.before = Some(look);
        if let Some((from, decision)) = decision {
            self.apply(from, decision);
        }
        true
    }

    /// The decision, within the bounds, and the size until now. `None` if there is nothing to compare with, or the controller has panicked.
    fn decide(&self, steering: &mut Steering, look: &Look) -> Option<(usize, Decision)> {
        let (from, bounds) = (look.size, (self.plan.min, self.plan.max));
        let within = from.clamp(self.plan.min, self.plan.max);
        if within != from {
            return Some((from, Decision::to(within, Reason::OutOfBounds)));
        }
        if look.is_held {
            // What was before says nothing about what comes after.
            self.state.lock().forgets = true;
            return Some((from, Decision::to(from, Reason::Held)));
        }
        let sample = look.since(steering.before.as_ref()?, bounds, &mut steering.stalled);
        match catch_user_panic(|| steering.controller.next(&sample)) {
            Some(decision) => {
                let size = decision.size.clamp(self.plan.min, self.plan.max);
                Some((from, Decision::to(size, decision.reason)))
            }
            None => {
                self.panics.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Makes a change, if it is one, and tells of it.
    fn apply(&self, from: usize, decision: Decision) {
        let mut state = self.state.lock();
        // Its owner may have paused or stopped it meanwhile.
        if state.phase != Phase::Running {
            return;
        }
        state.latest = Some(decision);
        drop(state);
        if decision.size == from {
            return;
        }
        // Observers and spawn handlers of the pool; what they may do is caught there.
        if catch_user_panic(|| self.target.set(decision.size)).is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        let after = clock::now().saturating_duration_since(self.started);
        let change = Change { after, from, to: decision.size, reason: decision.reason };
        self.note(change);
        if let Some(handler) = &self.plan.handler {
            if catch_user_panic(|| handler(&change)).is_none() {
                self.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn note(&self, change: Change) {
        let mut state = self.state.lock();
        while state.history.len() >= self.plan.history {
            if state.history.pop_front().is_none() {
                return;
            }
        }
        state.history.push_back(change);
    }

    /// After a turn that was due at `due`: when is the next? Periods that were missed are left out.
    fn plan_next(&self, due: Instant) {
        let now = clock::now();
        let mut state = self.state.lock();
        // Otherwise it was resumed meanwhile.
        if state.next == due {
            let next = after(due, self.plan.period);
            state.next = if next > now { next } else { after(now, self.plan.period) };
        }
    }
}

impl Turn for Driver {
    fn turn(&self) {
        let due = self.due();
        let taken = if due.is_some() { self.steering.lock().take() } else { None };
        let is_turn = taken.is_some();
        if let (Some(mut steering), Some(due)) = (taken, due) {
            let is_there = self.steer(&mut steering);
            *self.steering.lock() = Some(steering);
            if !is_there {
                return self.stop();
            }
            self.plan_next(due);
        }
        if !self.try_arm(self.state.lock()) {
            // This thread is the timer then. It sleeps once for each turn that is not due, one after the other.
            thread::sleep(SLEEP_WITHOUT_TIMER);
            let driver: Weak<Driver> = Weak::clone(&self.this);
            control_thread::take_turn(driver);
        }
        // Last, so that who sees it can advance a clock to the next.
        self.turns.fetch_add(u64::from(is_turn), Ordering::Relaxed);
    }

    fn skip(&self) {
        if let Some(due) = self.due() {
            self.plan_next(due);
        }
        // With neither thread it stands still.
        self.try_arm(self.state.lock());
    }
}

/// A time that the clock cannot represent is a century away.
fn after(time: Instant, period: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    time.checked_add(period).or_else(|| time.checked_add(CENTURY)).unwrap_or(time)
}
