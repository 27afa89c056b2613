//! Jobs in the workers' local deques: their owners push them and take them back, and idle workers steal them.
//!
//! The first half of a fork, and what the owner of a job takes back, are parts of the task that has pushed it. A job that is stolen becomes a
//! task of its own: it is counted as submitted and as running, and starts only if the limit on running tasks allows it.
//!
//! A task leaves no job in the deque. A fork and a scope take back what they have pushed. What a task has pushed for a scope of another
//! thread runs at the end of the task ([`Engine::run_left_jobs`]).

use super::observer::Observer;
use super::worker::{WorkerCx, WorkerLocal};
use super::{Engine, Runner};
use crate::queue::Dispatch;
use crate::queue::deques::LocalDeque;
use crate::sync::Arc;
use crate::task::current_worker;
use crate::task::state::{Completion, JobRef, RunOutcome, StolenJob, SuspendedTask};

/// At the end of a task at most so many jobs run that it has left for threads outside the pool. The others are queued, so that what was
/// submitted meanwhile gets its turn.
const MAX_LEFT_JOBS: usize = 61;

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Pushes a job of the calling worker, and wakes or starts a worker that may steal it.
    #[inline]
    pub(crate) fn push_job(self: &Arc<Self>, deque: &LocalDeque<JobRef>, job: JobRef) {
        deque.push(job);
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
        self.deque_of(&me.local);
        let stolen = self.queue.start_stolen(&me.queue_cx, || {
            me.victims.steal(&self.deques).and_then(|job| R::stolen(StolenJob::new(job, me.id)))
        })?;
        self.tell(Observer::accepted);
        Some(self.with_time(stolen))
    }

    /// Whether an idle worker could steal a job.
    pub(super) fn has_jobs(&self, me: &WorkerCx<R, D>) -> bool {
        self.deques.is_used() && me.victims.has_jobs(&self.deques) && self.queue.may_start_overflowed()
    }

    /// Runs a job that was stolen from `thief`'s deque by a worker that waits for `thief`, inside its current task.
    pub(crate) fn run_stolen_job(&self, worker: usize, job: JobRef) {
        let job = StolenJob::new(job, worker);
        current_worker::run_here_unbounded(self.id(), |completion| {
            self.note_direct();
            job.run(completion)
        });
    }

    /// Runs a job that was taken back from the calling worker's own deque, inside its current task. It counts as a task.
    pub(crate) fn run_own_job(&self, local: &WorkerLocal<R::Item>, job: JobRef) {
        let _outer = SuspendedTask::new();
        local.tally.direct();
        self.tell(Observer::accepted);
        let mut completion = Completion::default();
        let run = |completion: &mut Completion| {
            // SAFETY: the caller has taken the job back, and passes the right to run it.
            unsafe { job.run(completion) };
            RunOutcome::Ran
        };
        let panic = self.call(local, &mut completion, |completion| self.observe(local.worker, completion, run));
        // The outer task goes on, so nobody waits for this end but the scope.
        self.catch_user_panic(|| drop(completion.send(panic)));
    }

    /// Runs what a task has left in the deque above `height`: jobs of scopes that other threads wait for. Where fewer tasks may run than there
    /// are workers, as in a paused pool, they go to those threads if these are workers, and else into the queue.
    #[cold]
    pub(super) fn run_left_jobs(&self, local: &WorkerLocal<R::Item>, height: usize) {
        let deque = self.deque_of(local);
        let (mut has_run, mut has_queued) = (0, false);
        while deque.height() > height {
            let Some(job) = deque.pop() else { continue };
            // SAFETY: the job was taken back.
            let owner_is_inside = unsafe { job.owner_is_inside() };
            let is_limited = self.queue.is_limited();
            if !is_limited && (owner_is_inside || has_run < MAX_LEFT_JOBS) {
                has_run += 1;
                self.run_own_job(local, job);
            } else if let (false, Some(item)) = (owner_is_inside, R::stolen(StolenJob::new(job, local.worker))) {
                self.queue.push_left(self.with_time(item), &local.queue);
                self.tell(Observer::accepted);
                has_queued = true;
            }
        }
        if has_queued {
            self.wake();
        }
    }
}
