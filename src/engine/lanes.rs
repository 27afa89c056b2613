//! Who waits at which door, in order: what a line keeps under its lock.
//!
//! A thread that is called comes. A future may never be polled again, so it holds up those behind it for [`GRACE`] at most: if it has
//! not come by then it is set aside, and the next is called. When it is polled after all it is in line again, at its old place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicUsize, IS_CHECKED, Mutex, Ordering};

/// How long those behind a future that was called wait for it: executors poll what is woken within some microseconds. A checker has
/// no clock: there they do not wait at all.
const GRACE: Duration = if IS_CHECKED { Duration::ZERO } else { Duration::from_millis(2) };

pub(super) struct Submitter {
    /// Taken out to wake a future, which leaves another when it is polled.
    waiter: Mutex<Option<Waiter>>,
    /// Whether it certainly comes when it is called.
    is_prompt: bool,
    /// How often it was called; the first call is its own, when it joins.
    calls: AtomicUsize,
    /// How many of these calls its last try has answered.
    answered: AtomicUsize,
}

impl Submitter {
    pub(super) fn new(waiter: Waiter) -> Arc<Self> {
        Arc::new(Submitter {
            is_prompt: waiter.is_prompt(),
            waiter: Mutex::new(Some(waiter)),
            calls: AtomicUsize::new(1),
            answered: AtomicUsize::new(0),
        })
    }

    pub(super) fn is_prompt(&self) -> bool {
        self.is_prompt
    }

    pub(super) fn note_call(&self) {
        // ORDERING: Release pairs with the Acquire in `calls`: the submitter sees the room made.
        self.calls.fetch_add(1, Ordering::Release);
    }

    pub(super) fn calls(&self) -> usize {
        // ORDERING: Acquire, see `note_call`.
        self.calls.load(Ordering::Acquire)
    }

    /// Its last try has answered so many calls.
    pub(super) fn answer(&self, calls: usize) {
        // ORDERING: Relaxed, see `is_called`.
        self.answered.store(calls, Ordering::Relaxed);
    }

    /// Whether it will try, or is about to.
    pub(super) fn is_called(&self) -> bool {
        // ORDERING: Relaxed. The submitter's own; another reader that finds the number too low believes it a while longer to be
        // on its way, until it is told (see `InLine`).
        self.calls() != self.answered.load(Ordering::Relaxed)
    }

    /// What wakes it. `None` for a future that was woken and has not been polled since.
    pub(super) fn waiter(&self) -> Option<Waiter> {
        let mut waiter = self.waiter.lock();
        match &*waiter {
            // The clone of a waker is somebody else's code, and this is a lock.
            Some(Waiter::Task(_) | Waiter::Inline(_)) => waiter.take(),
            other => other.clone(),
        }
    }

    /// Has another waiter woken from now on.
    pub(super) fn set_waiter(&self, waiter: Waiter) {
        let before = self.waiter.lock().replace(waiter);
        // Not under the lock: the drop of a waker is somebody else's code.
        before.into_iter().for_each(Waiter::dismiss);
    }

    /// Has nobody woken any more.
    pub(super) fn forget_waiter(&self) {
        let before = self.waiter.lock().take();
        before.into_iter().for_each(Waiter::dismiss);
    }
}

struct Awaited {
    submitter: Arc<Submitter>,
    /// When it was called, if it has not come since.
    called: Option<Instant>,
}

impl Awaited {
    fn is_late(&self, now: Instant) -> bool {
        self.called.is_some_and(|called| now.saturating_duration_since(called) >= GRACE)
    }
}

/// Those who wait at one door, by ticket.
#[derive(Default)]
struct Lane {
    prompt: BTreeMap<u64, Arc<Submitter>>,
    /// Those that may not come.
    futures: BTreeMap<u64, Awaited>,
    /// How many futures at once were set aside last: twice as many are called next. So any number that never come are passed soon,
    /// and of those that do not many are woken for one place.
    set_aside: usize,
}

impl Lane {
    fn first(&self) -> Option<u64> {
        let (prompt, future) = (self.prompt.keys().next(), self.futures.keys().next());
        prompt.into_iter().chain(future).min().copied()
    }

    /// The first, if it certainly comes.
    fn first_prompt(&self) -> Option<&Arc<Submitter>> {
        let (ticket, submitter) = self.prompt.first_key_value()?;
        (self.first() == Some(*ticket)).then_some(submitter)
    }

    /// The first, if it may not come.
    fn first_future(&self) -> Option<&Awaited> {
        let (ticket, future) = self.futures.first_key_value()?;
        (self.first() == Some(*ticket)).then_some(future)
    }

    /// Takes the futures out that nobody in line has to wait for any more; says whether there were any.
    fn set_aside(&mut self, now: Instant) -> bool {
        let mut set_aside = 0;
        while self.first_future().is_some_and(|future| future.is_late(now)) {
            self.futures.pop_first();
            set_aside += 1;
        }
        if set_aside > 0 {
            self.set_aside = set_aside;
        }
        set_aside > 0
    }

    /// Calls the first if it was not called, or cannot be waited for any longer.
    fn call(&mut self, now: Instant, woken: &mut Vec<Arc<Submitter>>) {
        loop {
            self.set_aside(now);
            if let Some(first) = self.first_prompt() {
                first.note_call();
                woken.push(Arc::clone(first));
                return;
            }
            let most = (2 * std::mem::take(&mut self.set_aside)).max(1);
            let end = self.prompt.keys().next().copied().unwrap_or(u64::MAX);
            let before = woken.len();
            for (_, future) in self.futures.range_mut(..end).take(most).filter(|(_, future)| future.called.is_none()) {
                future.called = Some(now);
                future.submitter.note_call();
                woken.push(Arc::clone(&future.submitter));
            }
            let has_called = woken.len() > before;
            if has_called && GRACE.is_zero() {
                continue;
            }
            // It may have to pass them, and so needs to know when.
            woken.extend(self.prompt.values().next().filter(|_| has_called).cloned());
            return;
        }
    }
}

/// The lanes in which somebody waits, by door.
pub(super) struct Lanes {
    by_door: BTreeMap<usize, Lane>,
    tickets: u64,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Lanes { by_door: BTreeMap::new(), tickets: 0 }
    }

    /// A place at the end of a lane.
    pub(super) fn join(&mut self, door: usize, me: &Arc<Submitter>) -> u64 {
        let ticket = self.tickets;
        self.tickets += 1;
        self.insert(door, ticket, me);
        ticket
    }

    fn insert(&mut self, door: usize, ticket: u64, me: &Arc<Submitter>) {
        let (lane, me) = (self.by_door.entry(door).or_default(), Arc::clone(me));
        if me.is_prompt {
            lane.prompt.insert(ticket, me);
        } else {
            lane.futures.insert(ticket, Awaited { submitter: me, called: None });
        }
    }

    /// A future has come: whatever it was called for, it is about to see. If it had been set aside it is in line again.
    pub(super) fn came(&mut self, door: usize, ticket: u64, me: &Arc<Submitter>) {
        match self.by_door.get_mut(&door).and_then(|lane| lane.futures.get_mut(&ticket)) {
            Some(future) => future.called = None,
            None => self.insert(door, ticket, me),
        }
    }

    /// Gives a place up; says whether it was the first. It may have been set aside.
    pub(super) fn leave(&mut self, door: usize, ticket: u64) -> bool {
        let Some(lane) = self.by_door.get_mut(&door) else { return false };
        let was_first = lane.first() == Some(ticket);
        lane.prompt.remove(&ticket);
        lane.futures.remove(&ticket);
        self.clear(door);
        was_first
    }

    /// A lane is there while somebody waits in it.
    fn clear(&mut self, door: usize) {
        if self.by_door.get(&door).is_some_and(|lane| lane.first().is_none()) {
            self.by_door.remove(&door);
        }
    }

    pub(super) fn is_first(&self, door: usize, ticket: u64) -> bool {
        self.by_door.get(&door).and_then(Lane::first) == Some(ticket)
    }

    /// How many in a lane certainly come.
    pub(super) fn prompt(&self, door: usize) -> usize {
        self.by_door.get(&door).map_or(0, |lane| lane.prompt.len())
    }

    pub(super) fn door_after(&self, door: Option<usize>) -> Option<usize> {
        let from = door.map_or(0, |door| door + 1);
        self.by_door.range(from..).next().map(|(door, _)| *door)
    }

    /// The first of a lane, if that is the only one, and it certainly comes.
    pub(super) fn only_first(&self, door: usize) -> Option<&Arc<Submitter>> {
        let first = self.by_door.get(&door)?.first_prompt();
        if self.by_door.len() == 1 { first } else { None }
    }

    pub(super) fn len(&self) -> usize {
        self.by_door.len()
    }

    /// Calls the first of a lane; who is to be woken.
    pub(super) fn call(&mut self, door: usize, woken: &mut Vec<Arc<Submitter>>) {
        if let Some(lane) = self.by_door.get_mut(&door) {
            // The clock is for futures only.
            let now = if lane.futures.is_empty() { None } else { Some(Instant::now()) };
            match now {
                Some(now) => lane.call(now, woken),
                None => woken.extend(lane.first_prompt().inspect(|first| first.note_call()).cloned()),
            }
            self.clear(door);
        }
    }

    /// Sets aside the futures that were called and have not come; the doors of those lanes.
    pub(super) fn set_aside(&mut self, now: Instant) -> Vec<usize> {
        let lanes = self.by_door.iter_mut();
        let moved: Vec<_> = lanes.filter_map(|(door, lane)| lane.set_aside(now).then_some(*door)).collect();
        moved.iter().for_each(|door| self.clear(*door));
        moved
    }

    /// When the next future is to be set aside.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        let called = self.by_door.values().filter_map(|lane| lane.first_future()?.called);
        called.min().and_then(|called| called.checked_add(GRACE))
    }

    /// Whether somebody is certainly on the way in, or to learn that there is no room after all.
    pub(super) fn moves(&self) -> bool {
        self.by_door.values().filter_map(Lane::first_prompt).any(|first| first.is_called())
    }

    /// Everybody, in order in each lane. Those set aside have been woken.
    pub(super) fn all(&self) -> Vec<Arc<Submitter>> {
        let mut all = Vec::new();
        for (door, lane) in &self.by_door {
            all.extend(lane.prompt.iter().map(|(ticket, submitter)| (door, ticket, submitter)));
            all.extend(lane.futures.iter().map(|(ticket, future)| (door, ticket, &future.submitter)));
        }
        all.sort_unstable_by_key(|(door, ticket, _)| (**door, **ticket));
        all.into_iter().map(|(_, _, submitter)| Arc::clone(submitter)).collect()
    }
}
