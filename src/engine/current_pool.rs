//! What a thread that works for a pool asks of its engine.

use super::worker::TaskCx;
use super::{Engine, Runner, WorkerLocal};
use crate::queue::Dispatch;
use crate::task::blocked_workers::BlockedWorkers;
use crate::task::current_worker::{self, CurrentPool, PoolId};
use crate::task::pending_polls::PendingPolls;
use crate::task::running_tasks::{Overdue, RunningTasks};
use crate::task::state::{Completion, RunOutcome};

impl<R: Runner, D: Dispatch> CurrentPool for Engine<R, D> {
    fn id(&self) -> PoolId {
        self.identity.id()
    }

    fn blocked_workers(&self) -> &BlockedWorkers {
        &self.blocked_workers
    }

    fn overdue(&self) -> &Overdue {
        self.runner.overdue()
    }

    fn running_tasks(&self) -> &RunningTasks {
        &self.running_tasks
    }

    fn progress_capacity(&self) -> usize {
        let (staying, capacity) = self.threads.population();
        let workers = if self.threads.is_spawn_failing() { staying } else { staying.max(capacity) };
        // A submitter that is about to try queues a task, or lets the next one do so.
        workers + self.threads.callers() + usize::from(self.wait_queue.makes_progress())
    }

    fn has_free_workers(&self) -> bool {
        let (staying, capacity) = self.threads.population();
        // Where threads can be had, a worker was started for each queued task (`ensure_workers`), unless the queue may get longer first.
        let counts_living = self.threads.is_spawn_failing() || self.options.grow_when > 0;
        let able = if counts_living { staying.min(capacity) } else { capacity };
        let load = self.entries();
        !self.lifecycle.is_paused() && load.queued + load.running <= able
    }

    fn pending_polls(&self) -> &PendingPolls {
        &self.pending_polls
    }

    fn begin_wait(&self) -> bool {
        self.begin_counted_wait()
    }

    fn end_wait(&self) {
        self.end_counted_wait();
    }

    fn note_poll(&self) {
        self.grow_for_waiter();
    }

    fn help(&self) -> bool {
        let Some(mut state) = self.runner.spare_state() else { return false };
        let mut has_run = false;
        let pop = || self.with_local(|local| self.queue.pop_instead(local.map(|local| &*local.queue)));
        current_worker::run_here(self.id(), |completion| match pop() {
            Some(item) => {
                has_run = true;
                // The task no longer takes room in the queue, however long it runs here.
                self.notify_blocked();
                self.runner.run(&mut state, item, completion)
            }
            None => RunOutcome::Elsewhere,
        });
        has_run
    }

    fn run_nested(&self, body: &mut dyn FnMut(&mut Completion) -> RunOutcome) {
        let run = |local: &WorkerLocal<R::Item>| {
            let cx = TaskCx { local, queue_cx: None };
            self.execute(&cx, |completion| self.observe(local.worker, completion, body));
        };
        self.with_local(|local| local.map(run));
    }
}
