//! Rates of views: which tasks wait for their time, and until when.
//!
//! A task that has its turn and could have its permits asks each rate of its views for a start. One that gets none leaves the waiting tasks
//! and waits for its time, in a queue for each rate and key. The first of a queue goes back to the waiting tasks when its time has come, or
//! when the one before it has started; so each queue has at most one task there, and however many wait for their time, a step looks at few.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::task::{Wake, Waker};
use std::time::Instant;

use super::state::{State, Unstarted};
use super::view::ViewTree;
use crate::engine::Runner;
use crate::queue::Dispatch;
use crate::sync::clock;
use crate::sync::timer::TIMER;
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, MutexGuard};
use crate::task::in_view::ViewId;
use crate::task::liveness::Liveness;

/// A rate of starts.
pub(super) trait Pace: Send + Sync {
    /// The key under which a task with this key counts.
    fn key(&self, key: Option<u64>) -> u64;
    /// Takes a start, or says when there will be one.
    fn take(&self, key: u64) -> Result<(), Instant>;
}

/// A rate, by its view, and a key of it.
pub(super) type PaceKey = (ViewId, u64);

/// Tasks that wait for their time, of one rate and key.
struct Delay<R: Runner, D: Dispatch> {
    /// `None` while the first is among the waiting tasks.
    until: Option<Instant>,
    tasks: BTreeMap<u64, Unstarted<R, D>>,
}

/// All tasks that wait for their time.
pub(super) struct Delays<R: Runner, D: Dispatch> {
    delays: BTreeMap<PaceKey, Delay<R, D>>,
    /// Those with a time.
    times: BTreeSet<(Instant, PaceKey)>,
    /// Where each task is, by its view and number.
    places: BTreeMap<(ViewId, u64), PaceKey>,
    /// When the alarm goes off, if one is set.
    alarm: Option<Instant>,
}

impl<R: Runner, D: Dispatch> Default for Delays<R, D> {
    fn default() -> Self {
        let (delays, times, places) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Delays { delays, times, places, alarm: None }
    }
}

impl<R: Runner, D: Dispatch> Delays<R, D> {
    fn add(&mut self, key: PaceKey, until: Option<Instant>, number: u64, task: Unstarted<R, D>) {
        let delay = self.delays.entry(key).or_insert_with(|| Delay { until: None, tasks: BTreeMap::new() });
        self.places.insert((task.view.id(), number), key);
        delay.tasks.insert(number, task);
        if let Some(until) = until {
            delay.until = Some(until);
            self.times.insert((until, key));
        }
    }

    /// Takes the first out of its queue. A queue without any ends.
    fn pop_first(&mut self, key: PaceKey) -> Option<(u64, Unstarted<R, D>)> {
        let delay = self.delays.get_mut(&key)?;
        if let Some(until) = delay.until.take() {
            self.times.remove(&(until, key));
        }
        let first = delay.tasks.pop_first();
        match &first {
            Some((number, task)) => _ = self.places.remove(&(task.view.id(), *number)),
            None => _ = self.delays.remove(&key),
        }
        first
    }

    /// Takes a task out. A queue that waits for a time, and has no other, ends.
    pub(super) fn remove(&mut self, view: ViewId, number: u64) -> Option<Unstarted<R, D>> {
        let key = self.places.remove(&(view, number))?;
        let delay = self.delays.get_mut(&key)?;
        let task = delay.tasks.remove(&number);
        if let (true, Some(until)) = (delay.tasks.is_empty(), delay.until) {
            self.times.remove(&(until, key));
            self.delays.remove(&key);
        }
        task
    }

    #[cfg(all(test, feature = "rate"))]
    pub(super) fn is_empty(&self) -> bool {
        self.delays.is_empty() && self.times.is_empty() && self.places.is_empty()
    }

    pub(super) fn contains(&self, view: ViewId, number: u64) -> bool {
        self.places.contains_key(&(view, number))
    }

    /// The task of this view that came first, and where it is.
    pub(super) fn first_of(&self, view: ViewId) -> Option<(u64, PaceKey)> {
        let (&(_, number), key) = self.places.range((view, 0)..=(view, u64::MAX)).next()?;
        Some((number, *key))
    }

    /// Takes out those that `is_taken`.
    pub(super) fn extract(
        &mut self,
        is_taken: &mut impl FnMut(&Unstarted<R, D>) -> bool,
    ) -> Vec<(u64, Unstarted<R, D>)> {
        let all = self.delays.values().flat_map(|delay| &delay.tasks);
        let taken: Vec<_> =
            all.filter(|(_, task)| is_taken(task)).map(|(number, task)| (task.view.id(), *number)).collect();
        taken.into_iter().filter_map(|(view, number)| Some((number, self.remove(view, number)?))).collect()
    }

    /// The time of the next alarm, if it is to be set.
    fn next_alarm(&mut self) -> Option<Instant> {
        let (first, _) = *self.times.first()?;
        if self.alarm.is_some_and(|alarm| alarm <= first) {
            return None;
        }
        self.alarm = Some(first);
        Some(first)
    }
}

impl<R: Runner, D: Dispatch> State<R, D> {
    /// Whether a rate applies to the tasks of this view.
    pub(super) fn is_paced(&self, chain: &[ViewId]) -> bool {
        chain.iter().filter_map(|id| self.nodes.get(id)).any(|node| node.pace.is_some())
    }

    /// The task that waits longest of those whose permits are free, and which may start as far as the rates go.
    pub(super) fn pop_ready(&mut self) -> Option<(u64, Unstarted<R, D>)> {
        loop {
            let (number, task) = self.pop_first()?;
            if task.paced == task.view.chain.len() || !self.is_paced(&task.view.chain) && task.leads.is_none() {
                return Some((number, task));
            }
            if let Some(task) = self.pass_paces(number, task) {
                return Some((number, task));
            }
        }
    }

    fn pop_first(&mut self) -> Option<(u64, Unstarted<R, D>)> {
        let waiting = self.nodes.values().filter_map(|node| Some((node.waiting.first()?, node)));
        let ready = waiting.filter(|(_, node)| self.has_permits(&node.chain));
        let (number, chain) = ready.min_by_key(|(number, _)| *number).map(|(n, node)| (n, Arc::clone(&node.chain)))?;
        let task = self.nodes.get_mut(&chain[0])?.waiting.remove(number)?;
        self.each(&chain, |node| node.waiting_below -= 1);
        Some((number, task))
    }

    /// Returns the task if it may start, or is dead, as far as the rates go. Otherwise it waits for its time.
    fn pass_paces(&mut self, number: u64, mut task: Unstarted<R, D>) -> Option<Unstarted<R, D>> {
        let chain = Arc::clone(&task.view.chain);
        let is_dead = R::liveness(&task.item) == Liveness::Dead;
        while let (false, Some(view)) = (is_dead, chain.get(task.paced)) {
            let Some(pace) = self.nodes.get(view).and_then(|node| node.pace.clone()) else {
                task.paced += 1;
                continue;
            };
            // A task of a lane never overtakes one that came before it, also if that has another key of the rate.
            let before = task.view.lane.as_ref().and_then(|_| self.delays.first_of(task.view.id()));
            let before = before.filter(|(first, _)| *first < number);
            let own = (*view, pace.key(task.rate_key));
            let key = before.map_or(own, |(_, key)| key);
            let comes_after_others =
                before.is_some() || task.leads != Some(key) && self.delays.delays.contains_key(&key);
            let until = if comes_after_others { None } else { pace.take(key.1).err() };
            if comes_after_others || until.is_some() {
                // Nobody follows one that leads a queue and waits on for its time.
                let others = task.leads.take().filter(|leads| until.is_none() || *leads != key);
                self.each(&chain, |node| node.waiting_below += 1);
                self.delays.add(key, until, number, task);
                others.into_iter().for_each(|leads| self.lead(leads));
                return None;
            }
            task.paced += 1;
            self.follow(&mut task);
        }
        self.follow(&mut task);
        Some(task)
    }

    /// A task that was the first to wait for its time does not any more: the next one follows.
    pub(super) fn follow(&mut self, task: &mut Unstarted<R, D>) {
        if let Some(key) = task.leads.take() {
            self.lead(key);
        }
    }

    /// Puts the first of a queue among the waiting tasks.
    fn lead(&mut self, key: PaceKey) {
        let Some((number, mut task)) = self.delays.pop_first(key) else { return };
        task.leads = Some(key);
        let view = task.view.id();
        if let Some(node) = self.nodes.get_mut(&view) {
            node.waiting.insert(number, task);
        }
    }

    /// Puts those among the waiting tasks whose time has come.
    fn lead_due(&mut self, now: Instant) {
        while let Some(&(until, key)) = self.delays.times.first() {
            if until > now {
                return;
            }
            self.lead(key);
        }
    }
}

impl<R: Runner, D: Dispatch> ViewTree<R, D> {
    /// Sets the alarm for the next task that waits for its time, without the lock. Returns whether it had to be set: then something may have
    /// come meanwhile.
    pub(super) fn set_alarm<'s>(
        self: &'s Arc<Self>,
        mut state: MutexGuard<'s, State<R, D>>,
    ) -> (MutexGuard<'s, State<R, D>>, bool) {
        let Some(at) = state.delays.next_alarm() else { return (state, false) };
        drop(state);
        let waker = Waker::from(Arc::new(OnTime(Arc::downgrade(self))));
        let alarm = TIMER.at(at, Waiter::Inline(waker));
        let before = self.alarm.lock().replace(alarm);
        drop(before);
        (self.state.lock(), true)
    }

    /// The time of a task has come.
    fn on_time(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.delays.alarm = None;
        state.lead_due(clock::now());
        drop(state);
        self.dispatch_waiting();
    }

    /// The pool was closed: what waits for its time will not start.
    pub(super) fn drop_delayed(&self) {
        let mut state = self.state.lock();
        if !self.engine.is_closed() {
            return;
        }
        let mut delayed = state.delays.extract(&mut |_| true);
        for (_, task) in &mut delayed {
            let chain = Arc::clone(&task.view.chain);
            state.each(&chain, |node| node.waiting_below -= 1);
        }
        drop(state);
        self.left(delayed.len());
        delayed.sort_by_key(|(number, _)| *number);
        delayed.into_iter().for_each(|(_, task)| task.discard());
    }
}

/// Wakes a view at a time. The entry of a task goes to the pool on the timer's thread, as on any thread that releases a permit: it may start
/// a worker.
struct OnTime<R: Runner, D: Dispatch>(Weak<ViewTree<R, D>>);

impl<R: Runner, D: Dispatch> Wake for OnTime<R, D> {
    fn wake(self: Arc<Self>) {
        if let Some(tree) = self.0.upgrade() {
            tree.on_time();
        }
    }
}
