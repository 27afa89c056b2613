//! Submitters that run their own tasks, because the pool is full ([`Overflow::CallerRuns`](crate::Overflow::CallerRuns)).
//!
//! Such a thread is a worker of the pool for one task: what its task does with the pool, it does as from any worker. It has a number, and its
//! place in the registry of threads, so that a shutdown waits for it. It does not count as alive, and takes no task from the queue.

use std::cell::OnceCell;
use std::rc::Rc;

use super::threads::WorkerSlot;
use super::worker::{TaskCx, WorkerLocal};
use super::{Engine, Runner};
use crate::queue::{Dispatch, LazyItem};
use crate::sync::{Arc, Ordering, fence};
use crate::task::current_worker::EnterGuard;

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Runs the task on the calling thread, unless the pool is paused or closed, or the kind of pool does not allow it. Returns whether it
    /// did.
    #[cold]
    pub(super) fn run_on_caller(self: &Arc<Self>, item: &mut dyn LazyItem<R::Item>) -> bool {
        if self.is_inside() {
            return false;
        }
        let Some(mut state) = self.runner.spare_state() else { return false };
        // Under the lock of the phase, so that the task starts before a pause does, or not at all.
        let admitted = self.lifecycle.edit(|phase| {
            let may_start = !phase.is_paused() && !phase.is_closed();
            may_start.then(|| self.threads.add_caller())
        });
        let Some(worker_slot) = admitted else { return false };
        let number = worker_slot.number;
        let own_queue = self.queue.caller_cx(number);
        let local = Rc::new(WorkerLocal {
            worker: number,
            tally: self.counters.tally(number),
            queue: Rc::clone(own_queue.own_queue()),
            deque: OnceCell::new(),
        });
        let entered = EnterGuard::enter(Arc::clone(self) as _, number, Rc::clone(&local) as _);
        self.note_direct();
        let item = item.build();
        let cx = TaskCx { local: &local, queue_cx: None };
        self.execute(&cx, |completion| {
            self.observe(number, completion, |completion| self.runner.run(&mut state, item, completion))
        });
        self.queue.caller_leaves(&own_queue);
        drop((local, entered));
        self.caller_has_run(worker_slot);
        true
    }

    fn caller_has_run(self: &Arc<Self>, worker_slot: WorkerSlot) {
        self.threads.exited(worker_slot);
        // ORDERING: SeqCst fence between what the task has queued and the looks for sleepers and waiters below.
        fence(Ordering::SeqCst);
        self.wake();
        self.ensure_workers();
        self.recheck_waits();
        self.threads.thread_ended(worker_slot);
        self.notify_waiters();
    }
}
