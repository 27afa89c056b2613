//! Tasks of a scope that the pool refused: they run on the spawning thread, one after the other and never nested.

use std::cell::RefCell;
use std::sync::Arc;

use super::queued::ScopedJob;
use super::state::State;
use crate::sync::thread_local;

thread_local! {
    /// The scopes of which the calling thread runs a refused task, by address, the innermost last.
    static RUNNING: RefCell<Vec<(usize, Deferred)>> = const { RefCell::new(Vec::new()) };
}

/// Tasks that were refused while another refused task of the same scope was running.
#[derive(Default)]
struct Deferred {
    /// In reverse: the next one last.
    jobs: Vec<Arc<dyn ScopedJob>>,
    /// How many there were when the last one was taken.
    older: usize,
}

impl Deferred {
    /// The next task: the first that the last one spawned, or else the one after that.
    fn next(&mut self) -> Option<Arc<dyn ScopedJob>> {
        self.jobs[self.older..].reverse();
        let next = self.jobs.pop();
        self.older = self.jobs.len();
        next
    }
}

impl State {
    /// Runs a refused task on the calling thread: now or, if the thread is running another refused task of this scope, when that one has
    /// ended. So a chain of them takes no more stack than one. Each thread has a list of its own, so no thread waits for another.
    pub(super) fn run_refused(&self, job: Arc<dyn ScopedJob>) {
        let scope = std::ptr::from_ref(self).addr();
        let mut next = Some(job);
        let has_list = RUNNING.try_with(|running| {
            let mut running = running.borrow_mut();
            match running.iter_mut().rfind(|(other, _)| *other == scope) {
                Some((_, deferred)) => deferred.jobs.extend(next.take()),
                None => running.push((scope, Deferred::default())),
            }
        });
        while let Some(job) = next {
            self.run_returned(&*job);
            // A thread whose thread-locals are gone cannot defer a task.
            next = has_list.ok().and_then(|()| Self::next_deferred());
        }
    }

    /// The next deferred task of the innermost scope. Removes the scope's list when it is empty.
    fn next_deferred() -> Option<Arc<dyn ScopedJob>> {
        RUNNING.with(|running| {
            let mut running = running.borrow_mut();
            let next = running.last_mut().and_then(|(_, deferred)| deferred.next());
            if next.is_none() {
                running.pop();
            }
            next
        })
    }
}
