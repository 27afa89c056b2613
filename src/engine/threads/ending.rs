//! The end of a pool's threads: each is joined, and those that wait for the last one are woken.

use std::task::Waker;
use std::time::Instant;

use super::{ThreadState, Threads, WorkerSlot};
use crate::sync::JoinHandle;
use crate::sync::clock;
use crate::sync::waiter::Waiter;
use crate::sync::waiter_list::Registration;

impl Threads {
    /// The last thing that a worker does. Its thread can be joined from now on, and joins those that have ended before. After this only
    /// the destructors of the thread's thread-locals run. They join no thread of the pool, which could be this one or one that joins it.
    pub(crate) fn thread_ended(&self, worker_slot: WorkerSlot) {
        let to_join = self.edit(|registry| {
            // The thread of an inline worker may be one of those that have ended.
            let before = if worker_slot.is_inline_worker { Vec::new() } else { registry.take_ended() };
            let handle = registry.remove_thread(worker_slot.serial, ThreadState::Ended);
            registry.ended.extend(handle);
            before
        });
        self.changed.notify_all();
        match to_join.is_empty() {
            true => self.notify_end(),
            false => to_join.into_iter().for_each(|handle| self.join(handle)),
        }
    }

    fn join(&self, handle: JoinHandle<()>) {
        // A worker catches panics. One that escapes in spite of that is discarded here.
        drop(handle.join());
        self.registry.lock().joining -= 1;
        self.changed.notify_all();
        self.notify_end();
    }

    /// Wakes the futures that wait for the end if every thread has ended. It must be called without a lock after a thread that may have
    /// been the last: it runs wakers.
    pub(crate) fn notify_end(&self) {
        let is_over = self.registry.lock().is_over();
        if is_over {
            self.futures.wake_all();
        }
    }

    /// Whether every thread has ended and is joined. Joins those that have ended, and waits for no other. If one is left, `waker` is woken
    /// when there may be none.
    pub(crate) fn poll_end<'t>(&'t self, registration: &mut Option<Registration<'t>>, waker: &Waker) -> bool {
        loop {
            *registration = Some(self.futures.register(Waiter::Task(waker.clone())));
            let mut registry = self.registry.lock();
            let Some(next) = registry.ended.pop() else { return registry.is_over() };
            registry.joining += 1;
            drop(registry);
            // The join must not wake this poll.
            *registration = None;
            self.join(next);
        }
    }

    /// Waits until every thread has ended and is joined, or until `deadline` if one is left then. A caller without a deadline blocks in the
    /// joins themselves, and so is woken once for each thread. It must not be called by a thread that must not wait for the pool's end
    /// ([`wait_for_end`](crate::engine::end_wait::wait_for_end)).
    pub(crate) fn join_all(&self, deadline: Option<Instant>) {
        let mut registry = self.registry.lock();
        loop {
            let next = registry.ended.pop().or_else(|| if deadline.is_none() { registry.take_living() } else { None });
            if let Some(next) = next {
                registry.joining += 1;
                drop(registry);
                self.join(next);
                registry = self.registry.lock();
            } else if registry.is_over() {
                return;
            } else {
                // Threads that are being joined have ended, so the deadline does not matter for them.
                let deadline = deadline.filter(|_| !registry.threads.is_empty());
                if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                    return;
                }
                crate::sync::wait(&self.changed, &mut registry, deadline);
            }
        }
    }
}
