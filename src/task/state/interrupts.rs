//! Interrupting a task that runs.
//!
//! An interrupter is user code. It runs without the lock of the task's state, so it may use its own handle. It must not reach the
//! worker's next task: when the task has ended, no further interrupt can begin, and the worker waits until one that has begun returns.

use super::{Stage, State, TaskState};
use crate::sync::user_code::catch_user_panic;
use crate::sync::{MutexGuard, Ordering, Thread, current, park};

/// The call of a task's interrupter. There is at most one.
#[derive(Default)]
pub(super) struct Interrupt {
    is_under_way: bool,
    /// The worker, while it waits for the call to return.
    worker: Option<Thread>,
}

impl<I, O> State<I, O> {
    pub(super) fn is_interrupting(&self) -> bool {
        self.interrupt.is_under_way
    }
}

impl<I, O> TaskState<I, O> {
    /// Tells the task to stop if it runs, and calls its interrupter if that was not called yet. A panic of the interrupter is caught.
    pub(super) fn tell_to_stop(&self, mut state: MutexGuard<'_, State<I, O>>) {
        let Stage::Running(interrupter) = &mut state.stage else { return };
        let interrupter = interrupter.take();
        self.request_stop();
        let Some(interrupter) = interrupter else { return };
        state.interrupt.is_under_way = true;
        drop(state);
        catch_user_panic(move || interrupter.interrupt());
        let mut state = self.state.lock();
        state.interrupt.is_under_way = false;
        let worker = state.interrupt.worker.take();
        drop(state);
        if let Some(worker) = worker {
            worker.unpark();
        }
    }

    /// Marks that the task should stop. It is called under the lock, see [`Cancellable::token`](super::Cancellable::token).
    pub(super) fn request_stop(&self) {
        // ORDERING: Release, see `is_stop_requested`.
        self.stop_requested.store(true, Ordering::Release);
    }

    /// Blocks the worker, which has ended the task, until no call of the interrupter is under way.
    #[cold]
    fn await_interrupt(&self) {
        let worker = current();
        loop {
            let mut state = self.state.lock();
            if !state.interrupt.is_under_way {
                return;
            }
            state.interrupt.worker = Some(worker.clone());
            drop(state);
            park(None);
        }
    }
}

/// When it is dropped, blocks the worker until the task that it has ended is not being interrupted.
pub(super) struct WaitForInterrupt<'a, I, O>(pub(super) &'a TaskState<I, O>);

impl<I, O> Drop for WaitForInterrupt<'_, I, O> {
    fn drop(&mut self) {
        self.0.await_interrupt();
    }
}

#[cfg(all(test, formicary_loom))]
mod models {
    //! Interrupts against the end of the task that they are for.

    use loom::thread;

    use crate::sync::explore::explore;
    use crate::sync::{Arc, AtomicUsize, Ordering};
    use crate::task::interrupter::Interrupter;
    use crate::task::state::{Completion, RunOutcome, TaskMeta, TaskRef, TaskState};

    /// `cancellers` threads cancel a task while a worker runs it. Loom finds a worker that is not woken.
    fn cancelled_by(cancellers: usize, preemptions: usize) {
        explore(preemptions, move || {
            let task_state = TaskState::new((), TaskMeta::of_no_pool());
            let under_way = Arc::new(AtomicUsize::new(0));
            let worker = {
                let (task_ref, under_way) = (TaskRef::new(&task_state), Arc::clone(&under_way));
                thread::spawn(move || {
                    let seen = Arc::clone(&under_way);
                    let interrupter = Interrupter::new(move || {
                        under_way.store(1, Ordering::Relaxed);
                        under_way.store(0, Ordering::Relaxed);
                    });
                    let mut completion = Completion::default();
                    let outcome = task_ref.run(&mut completion, Some(&interrupter), |(), _| ());
                    assert!(completion.send(None).is_none());
                    // From here on the worker runs its next task.
                    assert_eq!(seen.load(Ordering::Relaxed), 0, "an interrupt reaches the next task");
                    outcome
                })
            };
            let others: Vec<_> = (1..cancellers)
                .map(|_| {
                    let task_state = Arc::clone(&task_state);
                    thread::spawn(move || task_state.cancel())
                })
                .collect();
            let mut was_queued = task_state.cancel();
            others.into_iter().for_each(|other| was_queued |= other.join().unwrap());
            assert_eq!(worker.join().unwrap(), if was_queued { RunOutcome::Cancelled } else { RunOutcome::Ran });
        });
    }

    #[test]
    fn the_worker_waits_for_an_interrupt() {
        cancelled_by(1, 4);
    }

    #[test]
    fn one_of_two_interrupts_and_the_worker_waits() {
        cancelled_by(2, 3);
    }
}
