//! Stopping the task of a slot while it runs.
//!
//! An interrupter is the user's code and runs without the slot's lock, so that it may ask its own handle anything. It must not reach
//! the task after its own: the worker, when it has ended the task and nobody can begin to interrupt it any more, waits until one
//! that is under way has returned.

use super::{Stage, State, TaskState};
use crate::sync::user_code::catch_user_panic;
use crate::sync::{MutexGuard, Ordering, Thread, current, park};

/// The one call of a task's interrupter.
#[derive(Default)]
pub(super) struct Interrupt {
    is_under_way: bool,
    /// The worker, when it waits for the call to return.
    worker: Option<Thread>,
}

impl<I, O> State<I, O> {
    pub(super) fn is_interrupting(&self) -> bool {
        self.interrupt.is_under_way
    }
}

impl<I, O> TaskState<I, O> {
    /// Tells the task to stop if it runs, and interrupts it if nobody has. A panic of the interrupter ends here.
    pub(super) fn tell_to_stop(&self, mut state: MutexGuard<'_, State<I, O>>) {
        let Stage::Running(interrupter) = &mut state.stage else { return };
        let interrupter = interrupter.take();
        self.note_given_up();
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

    /// The task should stop. Under the lock, so that a token that is made at the same time hears of it.
    pub(super) fn note_given_up(&self) {
        // ORDERING: Release, see `has_given_up`.
        self.given_up.store(true, Ordering::Release);
    }

    /// For the worker, when the task does not run any more.
    #[cold]
    fn await_interrupt(&self) {
        let me = current();
        loop {
            let mut state = self.state.lock();
            if !state.interrupt.is_under_way {
                return;
            }
            state.interrupt.worker = Some(me.clone());
            drop(state);
            park(None);
        }
    }
}

/// When it is dropped, the worker waits until the task that it has ended is not being interrupted.
pub(super) struct AwaitsInterrupt<'a, I, O>(pub(super) &'a TaskState<I, O>);

impl<I, O> Drop for AwaitsInterrupt<'_, I, O> {
    fn drop(&mut self) {
        self.0.await_interrupt();
    }
}

#[cfg(all(test, formicary_loom))]
mod models {
    //! An interrupt against the end of the task that it is for.

    use loom::thread;

    use crate::sync::explore::explore;
    use crate::sync::{Arc, AtomicUsize, Ordering};
    use crate::task::interrupter::Interrupter;
    use crate::task::state::{Completion, RunOutcome, TaskMeta, TaskRef, TaskState};

    /// So many threads cancel a task while a worker runs it. Loom finds a worker that is not woken.
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
                    // From here on the worker is at its next task.
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
