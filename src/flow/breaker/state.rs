//! The states of a breaker. This file knows no pools and no threads.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Whether a [`Breaker`](crate::Breaker) lets tasks through.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let calls = pool.guarded(formicary::Breaker::ratio(0.5));
/// assert_eq!(calls.state(), formicary::BreakerState::Closed);
/// # Ok::<(), formicary::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// It lets all tasks through.
    Closed,
    /// It refuses all tasks.
    Open,
    /// Its rest is over: it lets one task through as a probe.
    HalfOpen,
}

/// The numbers of a breaker, checked.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) ratio: f64,
    pub(super) window: usize,
    pub(super) minimum: usize,
    pub(super) rest: Duration,
    pub(super) longest_rest: Duration,
}

enum Phase {
    /// The outcomes that count, the oldest first: whether each was a failure.
    Closed {
        outcomes: VecDeque<bool>,
        failures: usize,
    },
    Open {
        until: Instant,
    },
    /// When the next probe may begin, although the current one has not ended; `None` if there is none.
    HalfOpen {
        next_probe: Option<Instant>,
    },
}

/// A breaker without its lock.
pub(super) struct Machine {
    limits: Limits,
    phase: Phase,
    /// The length of the current rest, or of the next one.
    rest: Duration,
    /// Changes with each phase and each probe. The outcome of a call counts only in its own.
    epoch: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallEnd {
    Succeeded,
    Failed,
    /// It did not run.
    Lost,
}

/// A call that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed(u64);

impl Machine {
    pub(super) fn new(limits: Limits) -> Self {
        Machine { limits, phase: closed(), rest: limits.rest, epoch: 0 }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until } if now < until => BreakerState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How long a call would be refused.
    pub(super) fn retry_after(&self, now: Instant) -> Option<Duration> {
        let (Phase::Open { until } | Phase::HalfOpen { next_probe: Some(until) }) = self.phase else { return None };
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Lets a call through, or says after what time the next one may be. `Some` is the state that the machine has changed to.
    pub(super) fn begin(&mut self, now: Instant) -> Result<(Passed, Option<BreakerState>), Duration> {
        if let Some(left) = self.retry_after(now) {
            return Err(left);
        }
        let change = match self.phase {
            Phase::Closed { .. } => return Ok((Passed(self.epoch), None)),
            Phase::Open { .. } => Some(BreakerState::HalfOpen),
            Phase::HalfOpen { .. } => None,
        };
        // The settings see to it that the clock can represent the times.
        self.phase = Phase::HalfOpen { next_probe: now.checked_add(self.rest) };
        self.epoch += 1;
        Ok((Passed(self.epoch), change))
    }

    /// A call has ended. Returns the state that the machine has changed to.
    pub(super) fn end(&mut self, now: Instant, call: Passed, end: CallEnd) -> Option<BreakerState> {
        if call.0 != self.epoch {
            return None;
        }
        match (&mut self.phase, end) {
            (Phase::Closed { outcomes, failures }, CallEnd::Succeeded | CallEnd::Failed) => {
                let limits = &self.limits;
                if outcomes.len() == limits.window {
                    *failures -= usize::from(outcomes.pop_front() == Some(true));
                }
                let is_failure = end == CallEnd::Failed;
                outcomes.push_back(is_failure);
                *failures += usize::from(is_failure);
                // A success never opens it, though it may make the minimum complete.
                let is_enough = outcomes.len() >= limits.minimum && is_failure;
                (is_enough && *failures as f64 >= limits.ratio * outcomes.len() as f64).then(|| self.open(now))
            }
            (Phase::HalfOpen { next_probe }, CallEnd::Lost) => {
                *next_probe = None;
                None
            }
            (Phase::HalfOpen { .. }, CallEnd::Failed) => {
                self.rest = self.rest.saturating_mul(2).min(self.limits.longest_rest);
                Some(self.open(now))
            }
            (Phase::HalfOpen { .. }, CallEnd::Succeeded) => {
                (self.phase, self.rest) = (closed(), self.limits.rest);
                self.epoch += 1;
                Some(BreakerState::Closed)
            }
            (Phase::Closed { .. }, CallEnd::Lost) | (Phase::Open { .. }, _) => None,
        }
    }

    fn open(&mut self, now: Instant) -> BreakerState {
        self.phase = Phase::Open { until: now.checked_add(self.rest).unwrap_or(now) };
        self.epoch += 1;
        BreakerState::Open
    }
}

fn closed() -> Phase {
    Phase::Closed { outcomes: VecDeque::new(), failures: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(10);

    fn machine(ratio: f64, window: usize, minimum: usize) -> (Machine, Instant) {
        let limits = Limits { ratio, window, minimum, rest: REST, longest_rest: 4 * REST };
        (Machine::new(limits), Instant::now())
    }

    /// Runs a call to its end, and returns the change that it made.
    fn call(machine: &mut Machine, now: Instant, end: CallEnd) -> Option<BreakerState> {
        let (passed, began) = machine.begin(now).unwrap();
        machine.end(now, passed, end).or(began)
    }

    use BreakerState::{Closed, HalfOpen, Open};
    use CallEnd::{Failed, Lost, Succeeded};

    #[test]
    fn it_opens_at_the_ratio_and_not_before_the_minimum() {
        let (mut machine, now) = machine(0.5, 4, 3);
        for _ in 0..2 {
            assert_eq!(call(&mut machine, now, Failed), None);
        }
        assert_eq!(call(&mut machine, now, Lost), None);
        assert_eq!(call(&mut machine, now, Failed), Some(Open));
        assert_eq!(machine.begin(now), Err(REST));
        assert_eq!(machine.begin(now + REST / 2), Err(REST / 2));
    }

    #[test]
    fn only_the_window_counts() {
        let (mut machine, now) = machine(0.5, 4, 4);
        // Failures that leave the window before there are two of four.
        for _ in 0..10 {
            for end in [Failed, Succeeded, Succeeded, Succeeded] {
                assert_eq!(call(&mut machine, now, end), None);
            }
        }
        assert_eq!(call(&mut machine, now, Failed), None);
        assert_eq!(call(&mut machine, now, Failed), Some(Open));
    }

    #[test]
    fn one_probe_at_a_time() {
        let (mut machine, now) = machine(1.0, 1, 1);
        assert_eq!(call(&mut machine, now, Failed), Some(Open));
        let later = now + REST;
        assert_eq!(machine.state(later), HalfOpen);
        let (probe, change) = machine.begin(later).unwrap();
        assert_eq!(change, Some(HalfOpen));
        assert_eq!(machine.begin(later), Err(REST));
        assert_eq!(machine.end(later, probe, Lost), None);
        // The next one is a probe again.
        let (probe, change) = machine.begin(later).unwrap();
        assert_eq!((change, machine.end(later, probe, Succeeded)), (None, Some(Closed)));
        assert!(machine.begin(later).is_ok() && machine.begin(later).is_ok());
    }

    #[test]
    fn a_probe_that_does_not_end_is_followed_by_another() {
        let (mut machine, now) = machine(1.0, 1, 1);
        call(&mut machine, now, Failed);
        let (stuck, _) = machine.begin(now + REST).unwrap();
        let (probe, _) = machine.begin(now + 2 * REST).unwrap();
        // The first one is too late.
        assert_eq!(machine.end(now + 2 * REST, stuck, Failed), None);
        assert_eq!(machine.end(now + 2 * REST, probe, Succeeded), Some(Closed));
    }

    #[test]
    fn rests_grow_to_the_limit_while_probes_fail() {
        let (mut machine, mut now) = machine(1.0, 1, 1);
        call(&mut machine, now, Failed);
        for rest in [1, 2, 4, 4].map(|times| times * REST) {
            assert_eq!(machine.begin(now), Err(rest));
            now += rest;
            assert_eq!(call(&mut machine, now, Failed), Some(Open));
        }
        now += 4 * REST;
        assert_eq!(call(&mut machine, now, Succeeded), Some(Closed));
        call(&mut machine, now, Failed);
        assert_eq!(machine.begin(now), Err(REST));
    }

    #[test]
    fn a_call_from_before_the_opening_does_not_count() {
        let (mut machine, now) = machine(1.0, 1, 1);
        let (old, _) = machine.begin(now).unwrap();
        call(&mut machine, now, Failed);
        assert_eq!(machine.end(now, old, Succeeded), None);
        let (probe, _) = machine.begin(now + REST).unwrap();
        assert_eq!(machine.end(now + REST, old, Failed), None);
        assert_eq!(machine.end(now + REST, probe, Succeeded), Some(Closed));
    }
}
