//! Tasks of a scope that the pool did not take: they run on the spawning thread, one after the other and not one in another.

use std::cell::RefCell;
use std::sync::Arc;

use super::{ScopedJob, State};
use crate::sync::thread_local;

thread_local! {
    /// The scopes whose refused tasks the calling thread is in the middle of, the innermost last, by address.
    static RUNNING: RefCell<Vec<(usize, Deferred)>> = const { RefCell::new(Vec::new()) };
}

/// What was refused in the middle of another refused task of the same scope.
#[derive(Default)]
struct Deferred {
    /// The next one last.
    errands: Vec<Arc<dyn ScopedJob>>,
    /// How many of them were there when the last one was taken.
    older: usize,
}

impl Deferred {
    /// The first of those that the last one has spawned; if there are none, the one after that.
    fn next(&mut self) -> Option<Arc<dyn ScopedJob>> {
        self.errands[self.older..].reverse();
        let next = self.errands.pop();
        self.older = self.errands.len();
        next
    }
}

impl State {
    /// Runs what the pool did not take on this thread: now or, if that is in the middle of another such task of this scope, when
    /// that one has ended. So a chain of them takes no more stack than one. Each thread does its own, so none waits for another.
    pub(super) fn run_refused(&self, errand: Arc<dyn ScopedJob>) {
        let scope = std::ptr::from_ref(self).addr();
        let mut next = Some(errand);
        let has_list = RUNNING.try_with(|running| {
            let mut running = running.borrow_mut();
            match running.iter_mut().rfind(|(other, _)| *other == scope) {
                Some((_, later)) => later.errands.extend(next.take()),
                None => running.push((scope, Deferred::default())),
            }
        });
        while let Some(errand) = next {
            self.run_returned(&*errand);
            // A thread whose locals are gone cannot put anything off.
            next = has_list.ok().and_then(|()| Self::next_deferred());
        }
    }

    /// What the calling thread has put off of the scope that it is at; there is no list any more when nothing is left.
    fn next_deferred() -> Option<Arc<dyn ScopedJob>> {
        RUNNING.with(|running| {
            let mut running = running.borrow_mut();
            let next = running.last_mut().and_then(|(_, later)| later.next());
            if next.is_none() {
                running.pop();
            }
            next
        })
    }
}
