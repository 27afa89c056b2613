//! Starting workers: at least one before a task is accepted, more where there are more tasks than workers. Where the system gives no
//! thread, the calling thread becomes an inline worker.

use std::io;

use super::counters::count;
use super::shutdown::Ending;
use super::threads::{ExitReason, WorkerSlot};
use super::{Engine, Runner};
use crate::error::{BoxError, BuildError};
use crate::queue::Dispatch;
use crate::sync::mpsc::{Sender, channel};
use crate::sync::{Arc, Ordering, fence};

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Starts the workers of the minimum. Waits until each has its state, or has at least begun where user code may notice. On an error
    /// the pool is closed and empty again.
    pub(super) fn start_minimum(self: &Arc<Self>) -> Result<(), BuildError> {
        // Where no user code runs on a new thread, the thread cannot fail.
        let cannot_fail =
            !R::HAS_FACTORY && self.options.on_thread_start.is_none() && self.options.spawn_handler.is_none();
        let mut starts = Vec::new();
        let mut refused = None;
        let mut any_lives = false;
        for _ in 0..self.threads.min() {
            let (sender, receiver) = if cannot_fail { (None, None) } else { Some(channel()).unzip() };
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
                // A thread on which a spawn handler did not run the worker counts as refused.
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

    /// Makes sure that a worker is alive before a task is accepted. It does not wait for a thread that another submitter starts, because
    /// that may take long, or need the caller.
    pub(super) fn ensure_alive(self: &Arc<Self>) -> io::Result<()> {
        if self.threads.has_worker() || self.lifecycle.is_closed() { Ok(()) } else { self.spawn_first() }
    }

    /// Starts a worker where none is alive. It relies on a thread that may still be refused only where the capacity has no room for one
    /// more: then the thread that fails to start it runs the task.
    #[cold]
    fn spawn_first(self: &Arc<Self>) -> io::Result<()> {
        if self.threads.has_worker_now() || !self.starts_threads() {
            return Ok(());
        }
        let Err(refusal) = self.spawn_worker(None) else { return Ok(()) };
        // Other submitters may have relied on this worker for their tasks.
        self.ensure_workers();
        // A worker may have been started for those tasks, or by another submitter.
        if self.threads.has_worker_now() { Ok(()) } else { Err(refusal) }
    }

    /// Makes sure that there are workers for the queued tasks. A refused thread is counted, and the living workers run the tasks; if none
    /// is alive, the calling thread does. So accepted tasks run.
    #[inline]
    pub(crate) fn ensure_workers(self: &Arc<Self>) {
        let (staying, capacity) = self.threads.population();
        if staying < capacity && self.spawn_to_demand().is_err() {
            self.run_inline_worker();
        }
    }

    /// Starts workers while there are more unfinished tasks than workers, the capacity allows more, and the queue is long enough. One call starts at most as many
    /// as the capacity, because workers whose states cannot be made end at once.
    #[inline(never)]
    pub(super) fn spawn_to_demand(self: &Arc<Self>) -> io::Result<()> {
        let mut pending = 0;
        loop {
            let (staying, capacity) = self.threads.population();
            if staying >= capacity || pending >= capacity {
                return Ok(());
            }
            let load = self.entries();
            let able = if R::READY_BLOCKS { staying.saturating_sub(self.counters.unready()) } else { staying };
            let suffices = load.queued + load.running <= able || self.leaves_to_living(load, able);
            if suffices || self.spawn_worker(None)?.is_none() {
                return Ok(());
            }
            pending += 1;
        }
    }

    /// Starts one more worker if the capacity allows. Returns its number, or the system's refusal.
    pub(super) fn spawn_worker(
        self: &Arc<Self>,
        ready: Option<Sender<Result<(), BoxError>>>,
    ) -> io::Result<Option<usize>> {
        if !self.starts_threads() {
            return Err(Self::no_threads());
        }
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
        // The worker may have been the last one, and may have ended.
        self.threads.notify_end();
        pending
    }

    /// Whether there is work, or may be. A submitter that found the pool open may push late.
    fn wants_workers(&self) -> bool {
        !self.lifecycle.is_closed() || self.queue.load().queued > 0
    }

    /// Records that a worker could not start. Workers that wait for the pool may have relied on it. The thread that tried to start it
    /// checks for tasks that relied on it after this.
    pub(super) fn on_spawn_failed(&self) {
        // ORDERING: SeqCst fence between the worker's removal from the registry and that check of the queue, as in `after_exit`.
        fence(Ordering::SeqCst);
        count(&self.counters.failed_starts);
        self.threads.set_spawn_failing(true);
        self.recheck_waits();
        self.note_missing();
    }
}

/// Inline workers: threads that run tasks as long as no other worker can be had.
impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Makes the calling thread a worker for as long as there is no other. A submitter may need this although it found a worker alive
    /// before it pushed, because that worker may have expired since.
    #[cold]
    fn run_inline_worker(self: &Arc<Self>) {
        while self.threads.population().0 == 0 && self.runs_inline() && self.has_startable_work() {
            // Without a free number, the workers that have them are about to end, and will come here.
            let Some(worker_slot) = self.threads.reserve(|| self.wants_workers()) else { return };
            let inline_worker = self.threads.adopt_caller(worker_slot);
            Arc::clone(self).work(inline_worker, None);
            // Another worker may need the number now.
            if self.spawn_to_demand().is_ok() {
                return;
            }
        }
    }

    /// Whether a task can start now, or when a pause ends by itself, for which a worker must be up.
    pub(super) fn has_startable_work(&self) -> bool {
        self.queue.has_work() || self.queue.load().queued > 0 && self.end_of_pause().is_some()
    }

    /// Asks for another worker to take over from an inline worker, because the system may give threads again. Returns whether the inline
    /// worker has exited for that. If only one worker is allowed, it must exit first.
    pub(super) fn try_hand_over(self: &Arc<Self>, has_run: bool) -> bool {
        drop(self.spawn_to_demand());
        // In a pool without threads nobody else comes, but for the next step.
        let is_only_slot = if self.starts_threads() { self.capacity() == 1 } else { !self.runs_inline() };
        let why = if has_run && is_only_slot { ExitReason::Done } else { ExitReason::Relieved };
        self.threads.try_exit(why)
    }
}

/// A worker that was reserved and has not begun. Dropping it releases the worker, because its thread will not come. If the spawn handler
/// had promised the thread, tasks may have been accepted in reliance on it; the thread that drops this runs them.
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
