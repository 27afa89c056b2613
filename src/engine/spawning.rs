//! Seeing to it that there are workers: at least one before a task is let in, more where there are more tasks, and the calling thread
//! where the system gives none.

use std::io;

use super::counters::count;
use super::shutdown::Ending;
use super::threads::{ExitReason, WorkerSlot};
use super::{Engine, Runner};
use crate::error::{BoxError, BuildError};
use crate::queue::Dispatch;
use crate::sync::mpsc::{Sender, channel};
use crate::sync::{Arc, Ordering, fence};
use crate::task::current_worker::CurrentPool;

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Starts the workers of the minimum and waits until each has its state, or has at least begun where its user
    /// may notice. On an error the pool is closed and empty again.
    pub(super) fn start_minimum(self: &Arc<Self>) -> Result<(), BuildError> {
        // Nothing can go wrong with a thread that is there unless somebody else's code is to run on it.
        let is_sure = !R::HAS_FACTORY && self.options.on_thread_start.is_none() && self.options.spawn_handler.is_none();
        let mut starts = Vec::new();
        let mut refused = None;
        let mut any_lives = false;
        for _ in 0..self.threads.min() {
            let (sender, receiver) = if is_sure { (None, None) } else { Some(channel()).unzip() };
            match (self.spawn_worker(sender), receiver) {
                (Ok(Some(worker)), Some(receiver)) => starts.push((worker, receiver)),
                (Ok(Some(_)), None) => any_lives = true,
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
                Ok(Ok(())) => any_lives = true,
            }
        }
        let failure = match (failure, refused) {
            (Some(failure), _) => failure,
            (None, Some(error)) if !any_lives => BuildError::Spawn(error),
            _ => return Ok(()),
        };
        self.shutdown(None);
        Err(failure)
    }

    /// Sees to it that a worker is alive before a task is let in. Nobody waits for a thread that another one is starting: that may take
    /// long, or need the caller.
    pub(super) fn ensure_worker(self: &Arc<Self>) -> io::Result<()> {
        if self.threads.has_worker() || self.lifecycle.is_closed() { Ok(()) } else { self.spawn_first() }
    }

    /// A thread that may yet be refused is relied on only where there is no place for one more: then whoever is refused it sees to the
    /// task.
    #[cold]
    fn spawn_first(self: &Arc<Self>) -> io::Result<()> {
        if self.threads.has_worker_now() {
            return Ok(());
        }
        let Err(refusal) = self.spawn_worker(None) else { return Ok(()) };
        // Tasks may have been let in on the strength of this one.
        self.ensure_workers();
        // For them, or by another submitter, a worker may have been started.
        if self.threads.has_worker_now() { Ok(()) } else { Err(refusal) }
    }

    /// Sees to it that there are workers for what is queued. A refused thread leaves the tasks to the living workers, and is counted; if
    /// there is none, the calling thread does the work: tasks that were accepted run.
    #[inline]
    pub(crate) fn ensure_workers(self: &Arc<Self>) {
        let (staying, capacity) = self.threads.population();
        if staying < capacity && self.spawn_to_demand().is_err() {
            self.run_inline_worker();
        }
    }

    /// Starts workers while there are more tasks in the house than workers, and room for more. No more than the capacity in one
    /// call: those whose states cannot be built are gone again at once.
    #[inline(never)]
    pub(super) fn spawn_to_demand(self: &Arc<Self>) -> io::Result<()> {
        let mut pending = 0;
        loop {
            let (staying, capacity) = self.threads.population();
            if staying >= capacity || pending >= capacity {
                return Ok(());
            }
            let load = self.queue.load();
            let able = if R::READY_BLOCKS { staying.saturating_sub(self.counters.unready()) } else { staying };
            if load.queued + load.running <= able || self.spawn_worker(None)?.is_none() {
                return Ok(());
            }
            pending += 1;
        }
    }

    /// Starts one more worker if the capacity allows: its number, or the system's refusal.
    pub(super) fn spawn_worker(
        self: &Arc<Self>,
        ready: Option<Sender<Result<(), BoxError>>>,
    ) -> io::Result<Option<usize>> {
        let Some(worker_slot) = self.threads.reserve(|| self.wants_workers()) else { return Ok(None) };
        let pending = PendingWorker { engine: Arc::clone(self), worker_slot, has_run: false };
        let started = self.threads.start(&self.options, worker_slot, Box::new(move || pending.work(ready)));
        let pending = match started {
            Ok(()) => Ok(Some(worker_slot.number)),
            Err(error) => {
                self.on_spawn_failed();
                Err(error)
            }
        };
        // It may have been the last one, and be gone again.
        self.threads.notify_end();
        pending
    }

    /// Whether there is, or may yet come, something to do. A submitter that found the pool open may be late.
    fn wants_workers(&self) -> bool {
        !self.lifecycle.is_closed() || self.queue.load().queued > 0
    }

    /// A worker could not start. Those that wait for the pool may have waited for that one. Whoever starts workers looks for tasks
    /// that relied on it after this.
    pub(super) fn on_spawn_failed(&self) {
        // ORDERING: SeqCst fence between the worker's leaving the book and that look at the queue, as in `after_departure`.
        fence(Ordering::SeqCst);
        count(&self.counters.failed_starts);
        self.threads.set_spawn_failing(true);
        self.block_permits.shrink(|| self.progress_capacity());
        self.note_missing();
    }
}

/// Guests: threads that are workers for as long as no other can be had.
impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Makes the calling thread a worker for as long as there is no other. Where the submitter found a worker alive before its task went in,
    /// that one can have expired since.
    #[cold]
    fn run_inline_worker(self: &Arc<Self>) {
        while self.threads.population().0 == 0 && self.has_startable_work() {
            // If there is no place, those that have it are about to end, and come here.
            let Some(worker_slot) = self.threads.reserve(|| self.wants_workers()) else { return };
            let inline_worker = self.threads.adopt_caller(worker_slot);
            Arc::clone(self).work(inline_worker, None);
            // Its place may be another's now.
            if self.spawn_to_demand().is_ok() {
                return;
            }
        }
    }

    /// Whether a task can start, or will be able to when a pause ends by itself, for which a worker must be up.
    pub(super) fn has_startable_work(&self) -> bool {
        self.queue.has_work() || self.queue.load().queued > 0 && self.end_of_pause().is_some()
    }

    /// Asks for another worker in place of a guest that goes on otherwise: perhaps the system has threads again. Says whether the guest
    /// has taken leave for that, as it must where there may be one worker only.
    pub(super) fn try_hand_over(self: &Arc<Self>, has_run: bool) -> bool {
        drop(self.spawn_to_demand());
        let is_in_the_way = self.capacity() == 1;
        let why = if has_run && is_in_the_way { ExitReason::Done } else { ExitReason::Relieved };
        self.threads.try_exit(why)
    }
}

/// A worker that was hired and has not begun. If its thread never comes, dropping this fires it again; and if that is after the
/// spawn handler has promised one, tasks may have been let in on the strength of it, which whoever drops it sees to.
struct PendingWorker<R: Runner, D: Dispatch> {
    engine: Arc<Engine<R, D>>,
    worker_slot: WorkerSlot,
    has_run: bool,
}

impl<R: Runner, D: Dispatch> PendingWorker<R, D> {
    fn work(mut self, ready: Option<Sender<Result<(), BoxError>>>) {
        self.has_run = true;
        Arc::clone(&self.engine).work(self.worker_slot, ready);
    }
}

impl<R: Runner, D: Dispatch> Drop for PendingWorker<R, D> {
    fn drop(&mut self) {
        if !self.has_run && self.engine.threads.abandon(self.worker_slot) {
            self.engine.on_spawn_failed();
            self.engine.run_inline_worker();
            self.engine.threads.notify_end();
        }
    }
}
