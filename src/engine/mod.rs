//! The one engine behind every pool: the way of a task from submit to its end.
//!
//! ```text
//! submit ── submit.rs      a worker alive? room? else the reason
//!        ── admission.rs   full: wait in line
//!        ── dispatch/      push: hand to an idle worker, or queue
//!        ── parking.rs     wake a worker only if nobody is looking for work
//!        ── threads.rs     start one more if there are more tasks than workers
//! worker ── worker.rs      pop, run, account, let the next submitter in; or look, then sleep
//!        ── bulletin.rs    orders for all workers, between their tasks
//! end    ── lifecycle.rs   pause, close, wait
//! ```

pub(crate) mod admission;
mod bulletin;
mod control;
mod counters;
mod entering;
mod habit;
mod lifecycle;
#[cfg(all(test, formicary_loom))]
pub(crate) mod models;
pub(crate) mod nested;
mod parking;
mod stops;
mod submit;
mod threads;
mod worker;

pub(crate) use bulletin::Order;
pub(crate) use control::{EngineRef, PauseControl};
pub(crate) use lifecycle::PauseId;
pub(crate) use submit::{Patience, Way};

use std::io;

use crate::dispatch::{Dispatch, Queue, Shape};
use crate::error::{BoxError, BuildError, Cause, SubmitErrorKind};
use crate::options::Options;
use crate::slot::{Recalled, Reply, Verdict};
use crate::sync::mpsc::{Sender, channel};
use crate::sync::{Arc, Mutex};

use admission::Line;
use bulletin::Bulletin;
use counters::{Counters, count};
use lifecycle::Life;
use nested::{Inside, PoolId, Waits};
use parking::Parking;
pub(crate) use stops::Stop;
use stops::Stops;
use threads::{Post, Threads};
use worker::Doing;

/// What a worker does with a task: the first axis of a pool's type.
pub(crate) trait Runner: Send + Sync + Sized + 'static {
    /// What is queued.
    type Item: Send + 'static;
    /// What a worker keeps between tasks. It is made, used and dropped on the worker's thread.
    type State;
    /// What the user gets back of a task that never ran.
    type Returned;

    /// Whether a state is made by somebody else's code, which can fail.
    const HAS_FACTORY: bool = false;

    /// Makes the state of worker `worker`.
    fn start(&self, worker: usize) -> Result<Self::State, BoxError>;

    /// Whether `ready` may block, so that a worker in it cannot be counted on.
    const READY_BLOCKS: bool = false;

    /// Called before the worker takes work.
    fn ready(&self, _state: &mut Self::State) {}

    /// Whether workers are given orders ([`Order`]) between tasks.
    const TAKES_ORDERS: bool = false;

    /// Runs a task. Must set `reply` before any user code runs.
    fn run(&self, state: &mut Self::State, item: Self::Item, reply: &mut Reply) -> Verdict;

    /// Ends a worker's state.
    fn stop(&self, _state: Self::State) {}

    /// Tells the tasks that run, and those that still will, whether they should stop.
    fn set_overdue(&self, _overdue: bool) {}

    /// Whether the state is made anew after a panic.
    fn discards_after_panic(&self) -> bool {
        false
    }

    /// A state to run a task with in the middle of another, if that takes none of the worker's own.
    fn spare_state(&self) -> Option<Self::State> {
        None
    }

    /// Undoes a task that was taken out of the queue.
    fn recall(item: Self::Item, kind: SubmitErrorKind, cause: Cause) -> Recalled<Self::Returned>;
}

pub(crate) struct Engine<R: Runner, D: Dispatch> {
    id: PoolId,
    runner: R,
    options: Options,
    queue: D::Queue<R::Item>,
    parking: Parking,
    bulletin: Bulletin<R::State>,
    line: Line,
    threads: Threads,
    waits: Waits,
    life: Life,
    counters: Counters,
    stops: Stops,
    /// Held while the first worker is being started.
    founding: Mutex<()>,
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Checks the options and starts the minimum of workers.
    pub(crate) fn build(options: Options, runner: R) -> Result<Arc<Self>, BuildError> {
        options.check()?;
        let shape =
            Shape { workers: options.workers, bound: options.queue, shards: options.shards, balance: options.balance };
        let queue = D::Queue::new(&shape).map_err(|reason| BuildError::Queue { dispatch: D::NAME, reason })?;
        let engine = Arc::new(Engine {
            id: nested::next_id(),
            runner,
            queue,
            parking: Parking::new(options.min_workers),
            bulletin: Bulletin::new(),
            line: Line::new(),
            threads: Threads::new(options.workers, options.min_workers),
            waits: Waits::new(),
            life: Life::new(),
            counters: Counters::default(),
            stops: Stops::default(),
            founding: Mutex::new(()),
            options,
        });
        engine.start_minimum()?;
        Ok(engine)
    }

    pub(crate) fn id(&self) -> PoolId {
        self.id
    }

    /// The most tasks that wait beyond those with a worker.
    pub(crate) fn queue_bound(&self) -> Option<usize> {
        self.options.queue
    }

    pub(crate) fn max_blocking(&self) -> usize {
        self.options.max_blocking
    }

    /// Whether the calling thread is a worker of this pool.
    pub(crate) fn is_inside(&self) -> bool {
        nested::is_inside(self.id)
    }

    /// Until it is dropped, the calling thread is about to bring tasks in that no worker can find yet, and workers that
    /// wait may count on it. To be made before the tasks are out of sight.
    pub(crate) fn arrival(&self) -> Arrival<'_, R, D> {
        self.waits.arrive();
        Arrival(self)
    }

    pub(crate) fn runner(&self) -> &R {
        &self.runner
    }

    /// Starts the workers of the minimum and waits until each has its state, or has at least begun where its user
    /// may notice. On an error the pool is closed and empty again.
    fn start_minimum(self: &Arc<Self>) -> Result<(), BuildError> {
        // Nothing can go wrong with a thread that is there unless somebody else's code is to run on it.
        let is_sure = !R::HAS_FACTORY && self.options.on_thread_start.is_none() && self.options.spawn_handler.is_none();
        let mut starts = Vec::new();
        let mut refused = None;
        let mut living = 0;
        for _ in 0..self.threads.min() {
            let (sender, receiver) = if is_sure { (None, None) } else { Some(channel()).unzip() };
            match (self.hire(sender), receiver) {
                (Ok(Some(worker)), Some(receiver)) => starts.push((worker, receiver)),
                (Ok(Some(_)), None) => living += 1,
                (Ok(None), _) => break,
                (Err(error), _) => refused = Some(error),
            }
        }
        let mut failure = None;
        for (worker, receiver) in starts {
            match receiver.recv() {
                Ok(Err(source)) => {
                    failure.get_or_insert(BuildError::Factory { worker, source });
                }
                // A thread that a spawn handler made away with counts as refused.
                Err(_) => refused = Some(io::Error::other("the worker's thread never ran it")),
                Ok(Ok(())) => living += 1,
            }
        }
        let failure = match (failure, refused) {
            (Some(failure), _) => failure,
            (None, Some(error)) if living == 0 => BuildError::Spawn(error),
            _ => return Ok(()),
        };
        self.shutdown(None);
        Err(failure)
    }

    /// Whether there is, or may yet come, something to do. A submitter that found the pool open may be late.
    fn wants_workers(&self) -> bool {
        !self.life.is_closed() || self.queue.load().queued > 0
    }

    /// Starts one more worker if the capacity allows: its number, or the system's refusal.
    fn hire(self: &Arc<Self>, ready: Option<Sender<Result<(), BoxError>>>) -> io::Result<Option<usize>> {
        let Some(post) = self.threads.hire(|| self.wants_workers()) else { return Ok(None) };
        let hired = Hired { engine: Arc::clone(self), post, has_run: false };
        let started = self.threads.start(&self.options, post, Box::new(move || hired.work(ready)));
        match started {
            Ok(()) => Ok(Some(post.number)),
            Err(error) => {
                self.falls_short();
                Err(error)
            }
        }
    }

    /// Sees to it that there are workers for what is queued. A refused thread leaves the tasks to the living workers, and is counted; if
    /// there is none, the calling thread does the work: tasks that were accepted run.
    #[inline]
    fn staff(self: &Arc<Self>) {
        let (staying, capacity) = self.threads.population();
        if staying < capacity && self.grow().is_err() {
            self.lend_a_hand();
        }
    }

    /// Makes the calling thread a worker for as long as there is no other. Where the submitter found a worker alive before its task went in,
    /// that one can have expired since.
    #[cold]
    fn lend_a_hand(self: &Arc<Self>) {
        while self.threads.population().0 == 0 && self.has_to_be_seen_to() {
            // If there is no place, those that have it are about to end, and come here.
            let Some(post) = self.threads.hire(|| self.wants_workers()) else { return };
            let guest = self.threads.take_caller_as(post);
            Arc::clone(self).work(guest, None);
            // Its place may be another's now.
            if self.grow().is_ok() {
                return;
            }
        }
    }

    /// Whether a task can start, or will be able to when a pause ends by itself, for which a worker must be up.
    fn has_to_be_seen_to(&self) -> bool {
        self.queue.has_work() || self.queue.load().queued > 0 && self.end_of_pause().is_some()
    }

    /// A worker could not start. Those that wait for the pool may have waited for that one.
    fn falls_short(&self) {
        count(&self.counters.failed_starts);
        self.threads.set_short(true);
        self.waits.shrink(|| self.strength());
    }

    /// Starts workers while there are more tasks in the house than workers, and room for more. No more than the capacity in one
    /// call: those whose states cannot be built are gone again at once.
    #[inline(never)]
    fn grow(self: &Arc<Self>) -> io::Result<()> {
        let mut hired = 0;
        loop {
            let (staying, capacity) = self.threads.population();
            if staying >= capacity || hired >= capacity {
                return Ok(());
            }
            let load = self.queue.load();
            let able = if R::READY_BLOCKS { staying.saturating_sub(self.counters.unready()) } else { staying };
            if load.queued + load.running <= able || self.hire(None)?.is_none() {
                return Ok(());
            }
            hired += 1;
        }
    }
}

impl<R: Runner, D: Dispatch> Inside for Engine<R, D> {
    fn id(&self) -> PoolId {
        self.id
    }

    fn waits(&self) -> &Waits {
        &self.waits
    }

    fn stops(&self) -> &Stops {
        &self.stops
    }

    fn strength(&self) -> usize {
        let (staying, capacity) = self.threads.population();
        let workers = if self.threads.is_short() { staying } else { staying.max(capacity) };
        // Whoever is on the way in brings a task, or lets the next one in line bring one.
        workers + usize::from(self.line.moves())
    }

    fn help(&self) -> bool {
        let Some(mut state) = self.runner.spare_state() else { return false };
        let mut has_run = false;
        nested::run_here(self.id, |reply| match self.queue.pop_instead() {
            Some(item) => {
                has_run = true;
                // Its place in the queue is free now, however long it runs here.
                self.call_line();
                self.runner.run(&mut state, item, reply)
            }
            None => Verdict::Elsewhere,
        });
        has_run
    }

    fn run_nested(&self, worker: usize, body: &mut dyn FnMut(&mut Reply) -> Verdict) {
        let tally = self.counters.tally(worker);
        self.execute(&Doing { worker, tally: &tally, seat: None }, body);
    }
}

/// See [`Engine::arrival`].
pub(crate) struct Arrival<'e, R: Runner, D: Dispatch>(&'e Engine<R, D>);

impl<R: Runner, D: Dispatch> Drop for Arrival<'_, R, D> {
    fn drop(&mut self) {
        self.0.waits.arrived(|| self.0.strength());
    }
}

/// A worker that was hired and has not begun. If its thread never comes, dropping this fires it again.
struct Hired<R: Runner, D: Dispatch> {
    engine: Arc<Engine<R, D>>,
    post: Post,
    has_run: bool,
}

impl<R: Runner, D: Dispatch> Hired<R, D> {
    fn work(mut self, ready: Option<Sender<Result<(), BoxError>>>) {
        self.has_run = true;
        Arc::clone(&self.engine).work(self.post, ready);
    }
}

impl<R: Runner, D: Dispatch> Drop for Hired<R, D> {
    fn drop(&mut self) {
        if !self.has_run {
            self.engine.threads.fire(self.post);
        }
    }
}
