//! The permits of a semaphore and those who wait for them: what is under its lock.

use std::collections::BTreeMap;
use std::mem::{swap, take};
use std::time::{Duration, Instant};

use crate::error::AcquireError;
use crate::sync::IS_CHECKED;
use crate::sync::waiter::Waiter;

/// How long permits are kept for a future that was woken and not polled since, while others wait for them. Executors poll a woken future
/// within some microseconds. The wait queues of pools have the same limit. No time passes in a model.
const GRACE: Duration = if IS_CHECKED { Duration::MAX } else { Duration::from_millis(2) };

/// In the queue, and waiting for its permits.
struct Queued {
    weight: usize,
    waiter: Waiter,
}

/// Permits that were given to a waiter which has not taken them yet.
struct Grant {
    weight: usize,
    /// When, if the waiter is a future, which may never take them.
    revocable_since: Option<Instant>,
}

/// What has become of a waiter.
#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    Granted,
    Waits,
    Refused(AcquireError),
}

/// A waiter is in one of the three maps, by the number of its coming, or it was refused.
#[derive(Default)]
pub(super) struct State {
    pub(super) permits: usize,
    /// Those of granted waiters included. More than `permits` after a shrink.
    pub(super) in_use: usize,
    pub(super) is_closed: bool,
    last: u64,
    queue: BTreeMap<u64, Queued>,
    granted: BTreeMap<u64, Grant>,
    /// Futures that did not take their permits in time, with their weights. They hold up nobody until they are polled.
    late: BTreeMap<u64, usize>,
    /// An alarm is set for the end of a grace.
    pub(super) has_alarm: bool,
}

impl State {
    pub(super) fn new(permits: usize) -> Self {
        State { permits, ..State::default() }
    }

    pub(super) fn free(&self) -> usize {
        self.permits.saturating_sub(self.in_use)
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len() + self.late.len()
    }

    fn refusal(&self, weight: usize) -> Option<AcquireError> {
        if self.is_closed {
            return Some(AcquireError::Closed);
        }
        (weight > self.permits).then_some(AcquireError::TooLarge)
    }

    /// Takes permits for a newcomer, who comes after all who wait. No permits are always free.
    pub(super) fn take(
        &mut self,
        weight: usize,
        now: impl FnOnce() -> Instant,
        woken: &mut Vec<Waiter>,
    ) -> Result<bool, AcquireError> {
        if let Some(error) = self.refusal(weight) {
            return Err(error);
        }
        if weight > 0 && !self.may_take(weight) {
            if self.granted.is_empty() {
                return Ok(false);
            }
            self.revoke_late(now(), woken);
            if !self.may_take(weight) {
                return Ok(false);
            }
        }
        self.in_use += weight;
        Ok(true)
    }

    fn may_take(&self, weight: usize) -> bool {
        self.queue.is_empty() && weight <= self.free()
    }

    /// A newcomer waits. Returns its number.
    pub(super) fn push(&mut self, weight: usize, waiter: Waiter) -> u64 {
        self.last += 1;
        self.queue.insert(self.last, Queued { weight, waiter });
        self.last
    }

    /// Gives free permits to those who wait longest. Nobody overtakes the first, however few the others want.
    pub(super) fn grant(&mut self, now: impl Fn() -> Instant, woken: &mut Vec<Waiter>) {
        while let Some(first) = self.queue.first_entry() {
            let weight = first.get().weight;
            if weight > self.permits.saturating_sub(self.in_use) {
                return;
            }
            let (number, Queued { waiter, .. }) = first.remove_entry();
            self.in_use += weight;
            let revocable_since = (!waiter.is_prompt()).then(&now);
            self.granted.insert(number, Grant { weight, revocable_since });
            woken.push(waiter);
        }
    }

    /// Takes the permits back from futures that have had them for [`GRACE`], and gives them to the next.
    pub(super) fn revoke_late(&mut self, now: Instant, woken: &mut Vec<Waiter>) {
        let is_late =
            |grant: &Grant| grant.revocable_since.is_some_and(|since| now.saturating_duration_since(since) >= GRACE);
        let late: Vec<_> = self.granted.iter().filter(|(_, grant)| is_late(grant)).map(|(number, _)| *number).collect();
        for number in late {
            if let Some(Grant { weight, .. }) = self.granted.remove(&number) {
                self.in_use -= weight;
                self.late.insert(number, weight);
            }
        }
        self.grant(|| now, woken);
    }

    /// When the next grace ends, if anybody waits for it.
    pub(super) fn grace_ends(&self) -> Option<Instant> {
        if self.queue.is_empty() {
            return None;
        }
        let since = self.granted.values().filter_map(|grant| grant.revocable_since).min()?;
        since.checked_add(GRACE)
    }

    /// A waiter looks. If it is granted its permits, they are its own from here on. A late future is back in its place.
    pub(super) fn look(
        &mut self,
        number: u64,
        waiter: &mut Option<Waiter>,
        now: impl Fn() -> Instant,
        woken: &mut Vec<Waiter>,
    ) -> Progress {
        if let (Some(queued), Some(new)) = (self.queue.get_mut(&number), waiter.as_mut()) {
            swap(&mut queued.waiter, new);
        } else if let Some(weight) = self.late.remove(&number) {
            let back = waiter.take().map(|waiter| Queued { weight, waiter });
            self.queue.extend(back.map(|queued| (number, queued)));
            self.grant(now, woken);
        }
        if self.granted.remove(&number).is_some() {
            return Progress::Granted;
        }
        if self.queue.contains_key(&number) {
            return Progress::Waits;
        }
        Progress::Refused(if self.is_closed { AcquireError::Closed } else { AcquireError::TooLarge })
    }

    /// A waiter gives up, with what it was granted. Its waiter is to be dropped without the lock.
    pub(super) fn leave(&mut self, number: u64, now: impl Fn() -> Instant, woken: &mut Vec<Waiter>) -> Option<Waiter> {
        let left = self.queue.remove(&number).map(|queued| queued.waiter);
        self.late.remove(&number);
        if let Some(Grant { weight, .. }) = self.granted.remove(&number) {
            self.in_use -= weight;
        }
        self.grant(now, woken);
        left
    }

    pub(super) fn release(&mut self, weight: usize, now: impl Fn() -> Instant, woken: &mut Vec<Waiter>) {
        self.in_use -= weight;
        self.grant(now, woken);
    }

    /// Changes the number of permits, and refuses those who wait for more.
    pub(super) fn resize(&mut self, permits: usize, now: impl Fn() -> Instant, woken: &mut Vec<Waiter>) {
        self.permits = permits;
        self.late.retain(|_, weight| *weight <= permits);
        let (kept, refused): (_, BTreeMap<_, _>) =
            take(&mut self.queue).into_iter().partition(|(_, queued)| queued.weight <= permits);
        self.queue = kept;
        woken.extend(refused.into_values().map(|queued| queued.waiter));
        self.grant(now, woken);
    }

    /// Refuses all who wait, and who will come.
    pub(super) fn close(&mut self, woken: &mut Vec<Waiter>) {
        self.is_closed = true;
        self.late.clear();
        woken.extend(take(&mut self.queue).into_values().map(|queued| queued.waiter));
    }
}
