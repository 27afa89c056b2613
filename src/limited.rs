//! A view of a pool that runs at most so many tasks at once.
//!
//! A task takes one of the view's places before it goes to the pool, and leaves it when it has run. What finds no place waits in
//! the view, where it costs no worker. At a full pool it stands in line as a future does, so nobody waits there either.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use crate::dispatch::{Dispatch, MAIN_DOOR, Stack};
use crate::engine::admission::Line;
use crate::engine::{Engine, Patience, Way};
use crate::error::{CallError, Cause, SubmitError, SubmitErrorKind};
use crate::handle::Handle;
use crate::pool::{CallTask, Pool, answered};
use crate::slot::{Recalled, Reply, Run, Slot, Terms, Verdict};
use crate::stats::LimitedStats;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering, current, wait};
use crate::task::{Body, Task};
use crate::waiter::Waiter;
use crate::worker_pool::deadline;

/// A view of a [`Pool`] that runs at most so many tasks at once, on the pool's workers; made by [`Pool::limited`].
///
/// It has a queue of its own, with as much room as the pool's, and figures of its own. A task that waits in it occupies no
/// worker. In the pool's figures each of its tasks is one task, from when it goes there.
///
/// It may be used from inside the pool's tasks: they never wait for room in it, but are refused with `WouldDeadlock`; and a task
/// of the view that waits for another one runs that in its own place. (A limit is a limit: two tasks of two views that each
/// wait for a place in the other's wait for ever.)
///
/// Dropping the view closes it, and drops what has not gone to the pool.
///
/// ```
/// use formicary::Pool;
///
/// let pool = Pool::new(4)?;
/// let disk = pool.limited(1);
/// let handles: Vec<_> = (0..10).map(|n| disk.spawn(move || n).unwrap()).collect();
/// assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<u32>(), 45);
/// assert_eq!((disk.stats().completed, disk.stats().peak_running), (10, 1));
/// # Ok::<(), formicary::BuildError>(())
/// ```
pub struct Limited<D: Dispatch = Stack> {
    view: Arc<View<D>>,
}

struct View<D: Dispatch> {
    engine: Arc<Engine<CallTask, D>>,
    id: u64,
    limit: usize,
    state: Mutex<State>,
    /// Submitters that found the view full.
    line: Line,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Task>,
    /// Places taken: tasks on their way to the pool, in it, or running.
    places: usize,
    /// Somebody is giving out places; whoever else has one to give leaves it to that one.
    is_feeding: bool,
    is_closed: bool,
    figures: LimitedStats,
}

impl<D: Dispatch> Pool<D> {
    /// A view of this pool that runs at most `limit` tasks at once; 0 is taken as 1. Does not keep the pool open: when the pool
    /// is closed, so is the view, and what waits in the view is dropped and counted as cancelled.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let one_by_one = pool.limited(1);
    /// assert_eq!(one_by_one.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn limited(&self, limit: usize) -> Limited<D> {
        // Not one of `sync`'s atomics: a static of loom's cannot be made.
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let view = View {
            engine: Arc::clone(&self.engine),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            limit: limit.max(1),
            state: Mutex::new(State::default()),
            line: Line::new(),
            idle: Condvar::new(),
        };
        Limited { view: Arc::new(view) }
    }
}

impl<D: Dispatch> Limited<D> {
    /// Submits a closure; blocks while the view is full (or, if the pool is
    /// [`nonblocking`](crate::Builder::nonblocking), refuses). Never waits for room in the pool.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// view.submit(|| ())?;
    /// assert!(view.wait_idle());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure, if the view or its pool is closed, if it is full and not to be waited for, if too many
    /// wait already, or with `WouldDeadlock` if it is full and the caller is a worker of the pool.
    pub fn submit<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, self.view.engine.default_patience())
    }

    /// Submits a closure if there is room in the view; never blocks.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().workers(4).queue(0).build()?;
    /// let view = pool.limited(1);
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// view.submit(move || drop(gate.recv()))?;
    /// assert!(view.try_submit(|| ()).unwrap_err().is_full());
    /// # drop(done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`], with the closure; of kind `Full` if there is no room.
    pub fn try_submit<F>(&self, f: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enter(f, Patience::None)
    }

    fn enter<F>(&self, f: F, patience: Patience) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let task = Task::from_body(Counted { f, entry: Entry::new(&self.view) });
        self.view.admit(task, patience).map_err(|e| e.map(|task| task.into_body::<Counted<F>>().refused()))
    }

    /// Submits a closure and returns a handle to its result; blocks as [`submit`](Self::submit).
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(1).spawn(|| 7)?.join()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `submit`.
    pub fn spawn<F, T>(&self, f: F) -> Result<Handle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (slot, task) = self.slot(f, false);
        match self.view.admit(task, self.view.engine.default_patience()) {
            Ok(()) => Ok(Handle::new(slot)),
            Err(refusal) => Err(slot.refused(refusal.kind).map(Counted::refused)),
        }
    }

    /// Runs a closure on a worker and waits for its result. From inside a task of the same view it runs on the spot.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// assert_eq!(pool.limited(1).run(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError`]: refused, with the closure, or failed: the closure panicked.
    pub fn run<F, T>(&self, f: F) -> Result<T, CallError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (slot, task) = self.slot(f, true);
        let is_here = !self.view.is_closed()
            && holds_place(self.view.id)
            && self.view.engine.run_on_the_spot(&slot, |counted| {
                counted.accepted();
                counted.run()
            });
        if !is_here {
            let admitted = self.view.admit(task, self.view.engine.default_patience());
            admitted.map_err(|refusal| slot.refused(refusal.kind).map(Counted::refused))?;
        }
        slot.call().into_result().map_err(|error| match error {
            CallError::Refused(refusal) => CallError::Refused(refusal.map(|counted| counted.f)),
            CallError::Failed(failed) => CallError::Failed(failed),
        })
    }

    /// A slot for a closure, and the task that stands for it.
    fn slot<F, T>(&self, f: F, is_call: bool) -> (Arc<Slot<Counted<F>, T>>, Task)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let counted = Counted { f, entry: Entry::new(&self.view) };
        let run: Run<Counted<F>, T> = |counted, _| counted.run();
        let (pool, view) = (self.view.engine.id(), Some(self.view.id));
        answered(counted, run, Terms { pool, is_call, deadline: None, token: None, run_here: Some(run), view })
    }

    /// Blocks until the view has nothing that waits or runs, and leaves it open. Returns `true`; called from a task of the
    /// pool, which might wait for itself, it returns `false` at once.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(2);
    /// view.submit(|| ())?;
    /// assert!(view.wait_idle());
    /// assert_eq!(view.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_idle(&self) -> bool {
        self.view.wait_idle(None)
    }

    /// The same for at most `limit`; says whether the view is idle.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert!(pool.limited(2).wait_idle_timeout(std::time::Duration::from_secs(1)));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn wait_idle_timeout(&self, limit: Duration) -> bool {
        self.view.wait_idle(deadline(limit))
    }

    /// A snapshot of the view's figures.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(2).stats().submitted, 0);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn stats(&self) -> LimitedStats {
        self.view.state.lock().figures
    }

    /// The most tasks that it runs at once.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// assert_eq!(pool.limited(2).limit(), 2);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    pub fn limit(&self) -> usize {
        self.view.limit
    }

    /// Refuses all that comes from now on, and gives back what waits in the view. What has gone to the pool goes on; the pool
    /// stays open. A task that is given back counts as completed if it is run after all, else as cancelled when it is dropped.
    /// Does not wait.
    ///
    /// ```
    /// let pool = formicary::Pool::new(4)?;
    /// let view = pool.limited(1);
    /// assert!(view.close().is_empty());
    /// assert!(view.submit(|| ()).unwrap_err().is_closed());
    /// assert_eq!(pool.run(|| 7)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&self) -> Vec<Task> {
        self.view.close()
    }
}

impl<D: Dispatch> Drop for Limited<D> {
    fn drop(&mut self) {
        self.close().into_iter().for_each(discard);
    }
}

impl<D: Dispatch> fmt::Debug for Limited<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited").field("limit", &self.view.limit).field("stats", &self.stats()).finish()
    }
}

/// Drops a task on a thread that must not have its panic.
fn discard(task: Task) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(task))) {
        std::mem::forget(payload);
    }
}

impl<D: Dispatch> View<D> {
    fn is_closed(&self) -> bool {
        self.engine.is_closed() || self.state.lock().is_closed
    }

    /// Whether one more may come in.
    fn has_room(&self, state: &State) -> bool {
        let house = state.places + state.waiting.len();
        self.engine.queue_bound().is_none_or(|queue| house < self.limit.saturating_add(queue))
    }

    /// One try to take a task in; it comes back if there is no room.
    fn try_enter(self: &Arc<Self>, task: Task) -> Result<Option<Task>, SubmitError<Task>> {
        let mut state = self.state.lock();
        if state.is_closed || self.engine.is_closed() {
            drop(state);
            return Err(SubmitError::new(SubmitErrorKind::Closed, task));
        }
        if !self.has_room(&state) {
            return Ok(Some(task));
        }
        state.figures.submitted += 1;
        state.figures.queued += 1;
        state.waiting.push_back(task);
        drop(state);
        self.feed();
        Ok(None)
    }

    fn admit(self: &Arc<Self>, mut task: Task, patience: Patience) -> Result<(), SubmitError<Task>> {
        if !self.line.is_waited_at(MAIN_DOOR) {
            match self.try_enter(task)? {
                None => return Ok(()),
                Some(back) => task = back,
            }
        }
        if let Patience::None = patience {
            return Err(SubmitError::new(SubmitErrorKind::Full, task));
        }
        if self.engine.is_inside() {
            return Err(SubmitError::new(SubmitErrorKind::WouldDeadlock, task));
        }
        let Some(place) = self.line.join(MAIN_DOOR, self.engine.max_blocking(), Waiter::Thread(current())) else {
            return Err(SubmitError::new(SubmitErrorKind::Overloaded, task));
        };
        loop {
            let answer = place.answer(|| match place.is_first() {
                true => self.try_enter(task),
                false if self.is_closed() => Err(SubmitError::new(SubmitErrorKind::Closed, task)),
                false => Ok(Some(task)),
            });
            match answer? {
                None => return Ok(()),
                Some(back) => task = back,
            }
            place.wait(None);
        }
    }

    /// Gives the free places to those that wait longest.
    fn feed(self: &Arc<Self>) {
        // From here on a worker that waits for one of these tasks may count on this thread.
        let _arrival = self.engine.arrival();
        let mut state = self.state.lock();
        // One at a time: a pool that refuses gives the place back in the middle of this.
        if std::mem::replace(&mut state.is_feeding, true) {
            return;
        }
        while state.places < self.limit {
            let Some(task) = state.waiting.pop_front() else { break };
            state.places += 1;
            drop(state);
            self.send(task);
            state = self.state.lock();
        }
        state.is_feeding = false;
        drop(state);
        self.line.call(|_| self.has_room(&self.state.lock()));
    }

    /// Sends a task with a place to the pool: at once, or from the pool's line when its turn comes.
    fn send(self: &Arc<Self>, task: Task) {
        let way = Way::from(Patience::Forever).exempt();
        let task = Task::from_body(Placed { task, place: Place(Arc::clone(self)) });
        match self.engine.enter_at_once(task, &way) {
            Ok(None) => {}
            Ok(Some(task)) => {
                let engine = Arc::clone(&self.engine);
                let entering = async move {
                    if let Err(refusal) = engine.submit_async(task, way).await {
                        discard(refusal.task);
                    }
                };
                let errand = Errand { future: Mutex::new(Some(Box::pin(entering))), calls: AtomicU64::new(0) };
                std::sync::Arc::new(errand).wake();
            }
            // The pool is closed, or has no thread: nobody will run it.
            Err(refusal) => discard(refusal.task),
        }
    }

    fn close(self: &Arc<Self>) -> Vec<Task> {
        let mut state = self.state.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.line.call_all();
        let recalled = waiting.into_iter().map(|task| task.recall(SubmitErrorKind::Closed, Cause::Cancelled));
        recalled.filter_map(|recalled| if let Recalled::Here(task) = recalled { Some(task) } else { None }).collect()
    }

    fn wait_idle(&self, deadline: Option<Instant>) -> bool {
        if self.engine.is_inside() {
            return false;
        }
        let mut state = self.state.lock();
        while !state.figures.is_idle() {
            if deadline.is_some_and(|d| Instant::now() >= d) {
                return false;
            }
            wait(&self.idle, &mut state, deadline);
        }
        true
    }
}

/// A future that is polled on the threads that wake it.
struct Errand {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    /// Wake-ups that no poll has followed yet; whoever makes it 1 polls.
    calls: AtomicU64,
}

impl Wake for Errand {
    fn wake(self: std::sync::Arc<Self>) {
        // ORDERING: AcqRel: what was done before a wake-up is seen by the poll after it, on whichever thread.
        if self.calls.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let waker = Waker::from(std::sync::Arc::clone(&self));
        loop {
            let seen = self.calls.load(Ordering::Acquire);
            let mut future = self.future.lock().take();
            let is_over = match &mut future {
                Some(running) => running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready(),
                None => true,
            };
            if !is_over {
                *self.future.lock() = future;
            }
            if self.calls.fetch_sub(seen, Ordering::AcqRel) == seen {
                return;
            }
        }
    }
}

thread_local! {
    /// The views whose places the tasks on this thread's stack have.
    static HELD: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Whether the calling thread is in a task of this view.
pub(crate) fn holds_place(view: u64) -> bool {
    HELD.try_with(|held| held.borrow().contains(&view)).unwrap_or(false)
}

/// Marks the calling thread as one in a task of the view until dropped. What that task runs in its own place is not counted
/// twice.
struct Held<'a, D: Dispatch>(&'a View<D>);

impl<'a, D: Dispatch> Held<'a, D> {
    fn by(view: &'a View<D>) -> Self {
        HELD.with(|held| held.borrow_mut().push(view.id));
        view.count(&mut |figures| {
            figures.running += 1;
            figures.peak_running = figures.peak_running.max(figures.running);
        });
        Held(view)
    }
}

impl<D: Dispatch> Drop for Held<'_, D> {
    fn drop(&mut self) {
        HELD.with(|held| held.borrow_mut().pop());
        self.0.count(&mut |figures| figures.running -= 1);
    }
}

/// One of the view's places; dropping it gives it to the next.
struct Place<D: Dispatch>(Arc<View<D>>);

impl<D: Dispatch> Drop for Place<D> {
    fn drop(&mut self) {
        self.0.state.lock().places -= 1;
        self.0.feed();
    }
}

/// A task with its place, as the pool has it.
struct Placed<D: Dispatch> {
    // In this order: the place is free when the task is gone.
    task: Task,
    place: Place<D>,
}

impl<D: Dispatch> Body for Placed<D> {
    fn call(self, reply: &mut Reply) -> Verdict {
        let Placed { task, place } = self;
        // Dropped in the reverse order, also by a panic.
        let place = place;
        let _held = Held::by(&place.0);
        task.call(reply)
    }

    fn recall(self, kind: SubmitErrorKind, cause: Cause) -> Recalled<Task> {
        self.task.recall(kind, cause)
    }
}

/// What counts a task: dropped unstarted, it was cancelled; started and not ended, it panicked.
struct Entry {
    counts: Arc<dyn Counts>,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Queued,
    Running,
    /// It was counted, or is not to be.
    Over,
}

trait Counts: Send + Sync {
    fn count(&self, change: &mut dyn FnMut(&mut LimitedStats));
}

impl<D: Dispatch> Counts for View<D> {
    fn count(&self, change: &mut dyn FnMut(&mut LimitedStats)) {
        let mut state = self.state.lock();
        change(&mut state.figures);
        if state.figures.is_idle() {
            self.idle.notify_all();
        }
    }
}

impl Entry {
    fn new<D: Dispatch>(view: &Arc<View<D>>) -> Self {
        Entry { counts: Arc::clone(view) as _, fate: Fate::Queued }
    }

    fn start(&mut self) {
        self.fate = Fate::Running;
        self.counts.count(&mut |figures| figures.queued -= 1);
    }

    fn complete(mut self) {
        self.fate = Fate::Over;
        self.counts.count(&mut |figures| figures.completed += 1);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        match self.fate {
            Fate::Over => {}
            Fate::Queued => self.counts.count(&mut |figures| {
                figures.queued -= 1;
                figures.cancelled += 1;
            }),
            Fate::Running => self.counts.count(&mut |figures| figures.panicked += 1),
        }
    }
}

/// A closure that is counted.
struct Counted<F> {
    // In this order: what it captured is dropped before it counts as ended.
    f: F,
    entry: Entry,
}

impl<F> Counted<F> {
    fn run<T>(self) -> T
    where
        F: FnOnce() -> T,
    {
        let Counted { f, mut entry } = self;
        entry.start();
        let output = f();
        entry.complete();
        output
    }

    /// It runs without having been let in.
    fn accepted(&self) {
        self.entry.counts.count(&mut |figures| {
            figures.submitted += 1;
            figures.queued += 1;
        });
    }

    /// It was not let in, and so was never counted.
    fn refused(mut self) -> F {
        self.entry.fate = Fate::Over;
        self.f
    }
}

impl<F: FnOnce() + Send + 'static> Body for Counted<F> {
    fn call(self, _reply: &mut Reply) -> Verdict {
        self.run();
        Verdict::Ran
    }

    fn recall(self, _kind: SubmitErrorKind, _cause: Cause) -> Recalled<Task> {
        Recalled::Here(Task::from_body(self))
    }
}
