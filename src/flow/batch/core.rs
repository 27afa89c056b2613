//! What the owner of a batcher, its items and its batches share.

use std::sync::OnceLock;
use std::task::Wake;
use std::time::Duration;

use super::BatchStats;
use crate::engine::WaitMode;
use crate::error::{Cause, JoinError, SubmitErrorKind};
use crate::flow::Continuation;
use crate::flow::room::Room;
use crate::flow::sending::{Sender, sender};
use crate::pool::{Accepts, Admit};
use crate::sync::clock::deadline;
use crate::sync::detached_future::DetachedFuture;
use crate::sync::sleep::Sleep;
use crate::sync::user_code::catch_user_panic;
use crate::sync::{Arc, Mutex};
use crate::task::current_worker::{self, PoolId};
use crate::task::handle::{Awaited, Handle, Link};
use crate::task::state::{RunOutcome, TaskMeta, TaskState};

type Item<T, R> = Arc<TaskState<T, R>>;

/// What is known of the pool or view.
struct Target<R: Send + 'static> {
    id: PoolId,
    send: Sender<Continuation<Vec<R>>, Vec<R>>,
    mode: Box<dyn Fn() -> WaitMode + Send + Sync>,
    is_closed: Box<dyn Fn() -> bool + Send + Sync>,
}

pub(super) struct Core<T: Send + 'static, R: Send + 'static> {
    max: usize,
    max_delay: Duration,
    queue: usize,
    f: Arc<dyn Fn(Vec<T>) -> Vec<R> + Send + Sync>,
    target: Target<R>,
    state: Mutex<State<T, R>>,
    room: Room,
}

struct State<T: Send + 'static, R: Send + 'static> {
    /// The batch that takes items.
    open: Option<Open<T, R>>,
    is_closed: bool,
    stats: BatchStats,
}

struct Open<T: Send + 'static, R: Send + 'static> {
    /// Cancelled ones among them, which go when they are more than the others.
    items: Vec<Item<T, R>>,
    /// How many were not cancelled.
    left: usize,
    batch: Arc<Batch<T, R>>,
    /// Sends it at its time.
    alarm: Option<Arc<DetachedFuture>>,
}

/// Items that are processed together.
pub(super) struct Batch<T: Send + 'static, R: Send + 'static> {
    core: Arc<Core<T, R>>,
    items: Mutex<Vec<Item<T, R>>>,
    /// The task of the pool, once the batch was sent.
    task: OnceLock<Arc<dyn Awaited>>,
}

impl<R: Send + 'static> Target<R> {
    fn of<P>(pool: &P) -> Self
    where
        P: Accepts<Continuation<Vec<R>>, Output = Vec<R>>,
    {
        let (open, modes) = (pool.shared().clone(), pool.shared().clone());
        Target {
            id: pool.engine().id(),
            send: sender(pool),
            mode: Box::new(move || modes.engine().default_mode()),
            is_closed: Box::new(move || open.is_closed()),
        }
    }
}

impl<T: Send + 'static, R: Send + 'static> Core<T, R> {
    pub(super) fn new<P>(
        pool: &P,
        max: usize,
        max_delay: Duration,
        f: Arc<dyn Fn(Vec<T>) -> Vec<R> + Send + Sync>,
    ) -> Self
    where
        P: Accepts<Continuation<Vec<R>>, Output = Vec<R>>,
    {
        let state = State { open: None, is_closed: false, stats: BatchStats::default() };
        Core {
            max,
            max_delay,
            queue: max.saturating_mul(super::DEFAULT_BATCHES),
            f,
            target: Target::of(pool),
            state: Mutex::new(state),
            room: Room::new(),
        }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn set_queue(&mut self, items: usize) {
        self.queue = items;
    }

    pub(super) fn mode(&self) -> WaitMode {
        (self.target.mode)()
    }

    pub(super) fn stats(&self) -> BatchStats {
        let mut stats = self.state.lock().stats;
        stats.blocked = self.room.waiting();
        stats
    }

    /// Takes an item in, and waits for room as `mode` says.
    pub(super) fn add(self: &Arc<Self>, mut x: T, mode: WaitMode) -> Result<Handle<R>, (SubmitErrorKind, T)> {
        match self.try_add(x, self.room.reserved()) {
            Err((SubmitErrorKind::Full, back)) => x = back,
            added => return added,
        }
        let deadline = match mode {
            WaitMode::Never => return Err((SubmitErrorKind::Full, x)),
            WaitMode::Until(deadline) => Some(deadline),
            WaitMode::Forever => None,
        };
        let mut x = Some(x);
        let added = self.room.wait(deadline, |is_first| self.retry(&mut x, is_first));
        added.unwrap_or(Err(SubmitErrorKind::TimedOut)).map_err(|kind| (kind, super::taken(x)))
    }

    /// The same as a future.
    pub(super) async fn add_async(self: Arc<Self>, mut x: T) -> Result<Handle<R>, (SubmitErrorKind, T)> {
        match self.try_add(x, self.room.reserved()) {
            Err((SubmitErrorKind::Full, back)) => x = back,
            added => return added,
        }
        let mut x = Some(x);
        let added = self.room.wait_async(|is_first| self.retry(&mut x, is_first)).await;
        added.unwrap_or(Err(SubmitErrorKind::Overloaded)).map_err(|kind| (kind, super::taken(x)))
    }

    fn retry(self: &Arc<Self>, x: &mut Option<T>, is_first: bool) -> Option<Result<Handle<R>, SubmitErrorKind>> {
        let reserved = if is_first { 0 } else { usize::MAX };
        match self.try_add(x.take()?, reserved) {
            Ok(handle) => Some(Ok(handle)),
            Err((kind, back)) => {
                *x = Some(back);
                (kind != SubmitErrorKind::Full).then_some(Err(kind))
            }
        }
    }

    /// Takes an item in, if there is room beside `reserved` submitters.
    fn try_add(self: &Arc<Self>, x: T, reserved: usize) -> Result<Handle<R>, (SubmitErrorKind, T)> {
        let is_inside = current_worker::is_inside(self.target.id);
        let is_target_closed = (self.target.is_closed)();
        let mut state = self.state.lock();
        if state.is_closed || is_target_closed {
            return Err((SubmitErrorKind::Closed, x));
        }
        // A worker of the pool is part of what makes room, so it must not wait for it.
        if !is_inside && state.stats.waiting.saturating_add(reserved) >= self.queue {
            return Err((SubmitErrorKind::Full, x));
        }
        state.stats.submitted += 1;
        state.stats.waiting += 1;
        let item = TaskState::new(x, TaskMeta::new(PoolId::none()));
        let is_first = state.open.is_none();
        let open = state.open.get_or_insert_with(|| Open::new(self));
        open.items.push(Arc::clone(&item));
        open.left += 1;
        let batch = Arc::clone(&open.batch);
        let is_full = open.left == self.max;
        let handle = Handle::linked_to(item, Arc::clone(&batch) as _, self.target.id);
        if is_full {
            let open = state.open.take();
            drop(state);
            open.into_iter().for_each(Open::send);
        } else if is_first {
            drop(state);
            self.set_alarm(&batch);
        }
        Ok(handle)
    }

    /// Has the timer thread send the batch when its first item has waited long enough.
    fn set_alarm(self: &Arc<Self>, batch: &Arc<Batch<T, R>>) {
        let Some(until) = deadline(self.max_delay) else { return };
        let due = Arc::downgrade(batch);
        let alarm = DetachedFuture::new(async move {
            Sleep::until(until).await;
            due.upgrade().into_iter().for_each(|batch| batch.send());
        });
        let mut state = self.state.lock();
        // It may have been sent meanwhile.
        let is_open = state.open.as_mut().filter(|open| Arc::ptr_eq(&open.batch, batch));
        let is_set = is_open.map(|open| open.alarm = Some(Arc::clone(&alarm))).is_some();
        drop(state);
        if is_set {
            alarm.wake();
        }
    }

    /// Sends the batch that takes items, if it has any.
    pub(super) fn flush(&self) {
        let open = self.state.lock().open.take();
        open.into_iter().for_each(Open::send);
    }

    /// Refuses what comes from now on. Returns the items that are in no batch yet.
    pub(super) fn close(&self) -> Vec<T> {
        let mut state = self.state.lock();
        state.is_closed = true;
        let open = state.open.take();
        drop(state);
        self.room.notify_all();
        let Some(open) = open else { return Vec::new() };
        open.stop_alarm();
        let mut back = Vec::new();
        for item in open.items {
            if let Some(x) = item.take_outside(RunOutcome::Cancelled) {
                back.push(x);
                item.end_outside(Err(JoinError::new(Cause::Cancelled)));
            }
        }
        self.count(|stats| {
            stats.waiting -= back.len();
            stats.cancelled += back.len() as u64;
        });
        back
    }

    /// Closes it for what comes, and sends what has come.
    pub(super) fn finish(&self) {
        self.state.lock().is_closed = true;
        self.room.notify_all();
        self.flush();
    }

    /// Changes the figures, and notifies those who wait for room.
    fn count(&self, change: impl FnOnce(&mut BatchStats)) {
        let mut state = self.state.lock();
        change(&mut state.stats);
        drop(state);
        self.room.notify(|| self.state.lock().stats.waiting < self.queue);
    }

    /// Processes a batch, as a task of the pool.
    fn process(&self, batch: &Batch<T, R>) -> Vec<R> {
        let mut inputs = Vec::new();
        // What was cancelled has gone.
        batch.items.lock().retain(|item| {
            let input = item.take_outside(RunOutcome::Cancelled);
            let is_taken = input.is_some();
            inputs.extend(input);
            is_taken
        });
        let taken = inputs.len();
        self.count(|stats| {
            stats.waiting -= taken;
            stats.running += taken;
            stats.batches += u64::from(taken > 0);
        });
        if inputs.is_empty() { Vec::new() } else { (self.f)(inputs) }
    }

    /// Hands out the results of a batch whose task has ended.
    fn deliver(&self, batch: &Batch<T, R>, ended: Result<Vec<R>, JoinError>) {
        let items = std::mem::take(&mut *batch.items.lock());
        let (mut results, error) = match ended {
            Ok(results) => (results.into_iter(), JoinError::new(Cause::NoResult)),
            Err(error) => (Vec::new().into_iter(), error),
        };
        let (mut unstarted, mut ends) = (Vec::new(), Vec::new());
        let mut completed = 0;
        for item in items {
            if let Some(input) = item.take_outside(RunOutcome::Cancelled) {
                // The task never ran.
                unstarted.push(input);
                ends.push((item, Err(error.share())));
            } else {
                let result = results.next().ok_or_else(|| error.share());
                completed += usize::from(result.is_ok());
                ends.push((item, result));
            }
        }
        self.count(|stats| {
            let started = ends.len() - unstarted.len();
            stats.running -= started;
            stats.completed += completed as u64;
            stats.failed += (started - completed) as u64;
            stats.waiting -= unstarted.len();
            stats.cancelled += unstarted.len() as u64;
        });
        for input in unstarted {
            catch_user_panic(|| drop(input));
        }
        for (item, result) in ends {
            // Without a handle, the result is dropped here.
            catch_user_panic(|| item.end_outside(result));
        }
        catch_user_panic(|| drop(results));
    }
}

impl<T: Send + 'static, R: Send + 'static> Open<T, R> {
    fn new(core: &Arc<Core<T, R>>) -> Self {
        let batch = Batch { core: Arc::clone(core), items: Mutex::new(Vec::new()), task: OnceLock::new() };
        Open { items: Vec::new(), left: 0, batch: Arc::new(batch), alarm: None }
    }

    fn stop_alarm(&self) {
        self.alarm.iter().for_each(|alarm| alarm.abort());
    }

    fn send(self) {
        self.stop_alarm();
        let Open { items, batch, .. } = self;
        *batch.items.lock() = items;
        let core = Arc::clone(&batch.core);
        let run = Arc::clone(&batch);
        let sent = (core.target.send)(Box::new(move || run.core.process(&run)));
        _ = batch.task.set(sent.awaited());
        DetachedFuture::new(async move {
            let ended = sent.ended(|entering| entering).await;
            core.deliver(&batch, ended);
        })
        .wake();
    }
}

impl<T: Send + 'static, R: Send + 'static> Batch<T, R> {
    /// Sends it, unless it was sent.
    fn send(&self) {
        let mut state = self.core.state.lock();
        let is_open = state.open.as_ref().is_some_and(|open| std::ptr::eq(&*open.batch, self));
        let open = if is_open { state.open.take() } else { None };
        drop(state);
        open.into_iter().for_each(Open::send);
    }
}

impl<T: Send + 'static, R: Send + 'static> Link for Batch<T, R> {
    /// The task of the batch. A worker of the pool cannot wait for more items: it might be the one that brings them.
    fn next(&self) -> Option<Arc<dyn Awaited>> {
        if !current_worker::is_inside(self.core.target.id) {
            return None;
        }
        self.send();
        self.task.get().filter(|task| !task.is_finished()).cloned()
    }

    fn has_entered(&self) -> bool {
        false
    }

    /// An item was cancelled, which leaves its batch if that is open.
    fn cancelled(&self) {
        let mut state = self.core.state.lock();
        let mut gone = Vec::new();
        if let Some(open) = state.open.as_mut().filter(|open| std::ptr::eq(&*open.batch, self)) {
            open.left -= 1;
            // Rarely, since it looks at all of them.
            if open.items.len() > 2 * open.left {
                (open.items, gone) = std::mem::take(&mut open.items).into_iter().partition(|item| item.is_queued());
            }
        }
        let empty = match &state.open {
            Some(open) if open.left == 0 => state.open.take(),
            _ => None,
        };
        drop(state);
        empty.iter().for_each(Open::stop_alarm);
        drop((gone, empty));
        self.core.count(|stats| {
            stats.waiting -= 1;
            stats.cancelled += 1;
        });
    }
}
