//! A stage that collects items for the next one. It has no pool: the thread that brings an item, makes room, or keeps the time passes a batch on.
//!
//! There is one alarm at a time, for the oldest item when it was set. It may ring early, and is then set anew; so a batch that is full in
//! time costs none.

use std::collections::VecDeque;
use std::sync::Weak;
use std::task::Wake;
use std::time::{Duration, Instant};

use super::forward::{Results, Step, Turn, forward};
use super::stage::{AnyStage, End, Inlet, Outlet, Position};
use super::stats::StageStats;
use crate::sync::clock;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::sleep::Sleep;
use crate::sync::user_code::catch_user_panic;
use crate::sync::{Arc, Mutex};

pub(super) struct BatchStage<T: Send + 'static> {
    this: Weak<Self>,
    position: Position<Vec<T>>,
    buffer: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    max: usize,
    max_delay: Duration,
    /// The oldest items, if there was no room for them in the next stage. As a batch: every newcomer tries again, and must not move them all.
    refused: Vec<T>,
    /// The items that are in no batch yet.
    items: VecDeque<T>,
    /// When each item came in that was not passed on, the oldest first.
    since: VecDeque<Instant>,
    /// The items that have come in.
    entered: u64,
    end: Option<End>,
    alarm: Option<Arc<DetachedFuture>>,
    turn: Turn,
}

impl<T: Send + 'static> BatchStage<T> {
    pub(super) fn new(position: Position<Vec<T>>, max: usize, max_delay: Duration) -> Arc<Self> {
        let state = State {
            max,
            max_delay,
            refused: Vec::new(),
            items: VecDeque::new(),
            since: VecDeque::new(),
            entered: 0,
            end: None,
            alarm: None,
            turn: Turn::default(),
        };
        Arc::new_cyclic(|this| BatchStage {
            this: Weak::clone(this),
            buffer: position.settings.buffer.unwrap_or(max),
            position,
            state: Mutex::new(state),
        })
    }

    /// Has the timer thread pass the items on when they have waited long enough.
    fn set_alarm(&self) {
        let mut state = self.state.lock();
        if state.turn.is_over {
            let unwanted = state.alarm.take();
            drop(state);
            unwanted.into_iter().for_each(|alarm| alarm.abort());
            return;
        }
        if state.alarm.is_some() || state.due().is_none() {
            return;
        }
        let this = Weak::clone(&self.this);
        let alarm = DetachedFuture::new(async move {
            while let Some(due) = this.upgrade().and_then(|stage| stage.next_due()) {
                Sleep::until(due).await;
                this.upgrade().into_iter().for_each(|stage| stage.forward());
            }
        });
        state.alarm = Some(Arc::clone(&alarm));
        drop(state);
        alarm.wake();
    }

    /// When the alarm is to ring next. `None` ends it.
    fn next_due(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let due = state.due();
        if due.is_none() {
            state.alarm = None;
        }
        due
    }
}

impl<T> State<T> {
    /// When the oldest item has waited long enough. `None` if there is none, or somebody passes it on without an alarm: this calls
    /// [`BatchStage::set_alarm`] afterwards.
    fn due(&self) -> Option<Instant> {
        self.since.front().filter(|_| self.turn.is_free())?.checked_add(self.max_delay)
    }

    fn is_due(&self) -> bool {
        let waited = |since: &Instant| clock::now().saturating_duration_since(*since);
        self.since.front().is_some_and(|since| waited(since) >= self.max_delay)
    }
}

impl<T> Results for State<T> {
    type Output = Vec<T>;
    /// The number of items in the batch.
    type Place = usize;

    fn turn(&mut self) -> &mut Turn {
        &mut self.turn
    }

    fn step(&mut self) -> Step<usize, Vec<T>> {
        let more = self.items.len().min(self.max - self.refused.len());
        let size = self.refused.len() + more;
        if size == 0 {
            return self.end.take().map_or(Step::Nothing, Step::End);
        }
        if size < self.max && self.end.is_none() && !self.is_due() {
            return Step::Nothing;
        }
        let mut batch = std::mem::take(&mut self.refused);
        batch.extend(self.items.drain(..more));
        Step::Put(size, batch)
    }

    fn passed(&mut self, items: usize) {
        // It was cleared if the stage was abandoned meanwhile.
        self.since.drain(..items.min(self.since.len()));
    }

    fn put_back(&mut self, _: usize, batch: Vec<T>) {
        self.refused = batch;
    }
}

impl<T: Send + 'static> Inlet<T> for BatchStage<T> {
    fn put(&self, x: T) -> Result<(), T> {
        let now = clock::now();
        let mut state = self.state.lock();
        if state.turn.is_over {
            drop(state);
            catch_user_panic(|| drop(x));
            return Ok(());
        }
        if state.since.len() >= self.buffer {
            return Err(x);
        }
        state.since.push_back(now);
        state.items.push_back(x);
        state.entered += 1;
        drop(state);
        self.forward();
        Ok(())
    }

    fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.since.len() < self.buffer && !state.turn.is_over
    }

    fn end(&self, end: End) {
        let Some(end) = self.position.end_in_order(end) else { return };
        let mut state = self.state.lock();
        if !state.turn.is_over && state.end.is_none() {
            state.end = Some(end);
        }
        drop(state);
        self.forward();
    }
}

impl<T: Send + 'static> Outlet for BatchStage<T> {
    fn forward(&self) {
        forward(&self.state, &self.position);
        self.set_alarm();
    }

    fn abandon(&self) {
        let mut state = self.state.lock();
        state.turn.end();
        state.since.clear();
        let (refused, items) = (std::mem::take(&mut state.refused), std::mem::take(&mut state.items));
        drop(state);
        self.set_alarm();
        for item in refused.into_iter().chain(items) {
            catch_user_panic(|| drop(item));
        }
        if let Some(before) = self.position.before() {
            before.abandon();
        }
    }
}

impl<T: Send + 'static> AnyStage for BatchStage<T> {
    fn set_before(&self, before: Weak<dyn Outlet>) {
        _ = self.position.before.set(before);
    }

    fn stats(&self) -> StageStats {
        let state = self.state.lock();
        StageStats {
            name: self.position.settings.name.clone(),
            buffer: self.buffer,
            entered: state.entered,
            left: state.entered - state.since.len() as u64,
            waiting_for_room: state.since.len(),
            blocked: state.turn.blocked(),
            ..StageStats::default()
        }
    }

    fn run_one(&self) -> bool {
        false
    }
}
