//! Jobs in the workers' local deques: their owners push them, and idle workers steal them.
//!
//! A job is a part of the task that pushed it. It becomes a task of its own when it is stolen: then it is counted as submitted and as
//! running, and it starts only if the limit on running tasks allows it.

use std::rc::Rc;

use super::counters::count;
use super::worker::WorkerCx;
use super::{Engine, Runner};
use crate::queue::Dispatch;
use crate::queue::deques::LocalDeque;
use crate::sync::Arc;
use crate::task::current_worker;
use crate::task::state::{JobRef, StolenJob};

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// The calling worker's own deque. `None` if the calling thread is not a worker of this pool.
    #[inline]
    pub(crate) fn local_deque(&self) -> Option<Rc<LocalDeque<JobRef>>> {
        current_worker::local_deque(self.id(), |worker| self.deques.register(worker))
    }

    /// Pushes a job of the calling worker, and wakes or starts a worker that may steal it.
    #[inline]
    pub(crate) fn push_job(self: &Arc<Self>, local: &LocalDeque<JobRef>, job: JobRef) {
        local.push(job);
        self.parking.wake_for(|| true);
        let (staying, capacity) = self.threads.population();
        if staying < capacity {
            self.spawn_thief();
        }
    }

    /// Starts one more worker, unless it would be of no use. A refused thread is counted; the job's owner runs the job then.
    #[cold]
    fn spawn_thief(self: &Arc<Self>) {
        if !self.threads.is_spawn_failing() && !self.lifecycle.is_paused() {
            drop(self.spawn_worker(None));
        }
    }

    /// Takes a job of another worker, for an idle worker.
    pub(super) fn steal(&self, me: &WorkerCx<R, D>) -> Option<R::Item> {
        if self.deques.is_used() && me.victims.has_jobs(&self.deques) { self.steal_job(me) } else { None }
    }

    #[cold]
    fn steal_job(&self, me: &WorkerCx<R, D>) -> Option<R::Item> {
        // The victim may wait for this worker, and steals what it pushes: so it must find the deque.
        let _own = self.local_deque();
        self.queue.start_stolen(&me.queue_cx, || {
            me.victims.steal(&self.deques).and_then(|job| R::stolen(StolenJob::new(job, me.id)))
        })
    }

    /// Whether an idle worker could steal a job.
    pub(super) fn has_jobs(&self, me: &WorkerCx<R, D>) -> bool {
        self.deques.is_used() && me.victims.has_jobs(&self.deques) && self.queue.may_start_stolen()
    }

    /// Runs a job that was stolen from `thief`'s deque by a worker that waits for `thief`, inside its current task.
    pub(crate) fn run_job(&self, worker: usize, job: JobRef) {
        let job = StolenJob::new(job, worker);
        current_worker::run_here_unbounded(self.id(), |completion| {
            count(&self.counters.direct);
            job.run(completion)
        });
    }
}
