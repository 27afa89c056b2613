//! What has started, in order.

use std::sync::Arc;

use formicary::{Context, Worker};
use parking_lot::Mutex;

use super::Gate;

/// The entries of tasks, in the order in which these started.
#[derive(Clone)]
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone + PartialEq + Send + 'static> Log<T> {
    pub fn new() -> Self {
        Log(Arc::default())
    }

    pub fn note(&self, entry: T) {
        self.0.lock().push(entry);
    }

    /// A task that notes its start.
    pub fn task(&self, entry: T) -> impl FnOnce() + Send + 'static + use<T> {
        let log = self.clone();
        move || log.note(entry)
    }

    /// A task that waits at a gate when it has started.
    pub fn held(&self, entry: T, gate: &Gate) -> impl FnOnce() + Send + 'static + use<T> {
        let (log, gate) = (self.clone(), gate.clone());
        move || {
            log.note(entry);
            gate.wait();
        }
    }

    pub fn entries(&self) -> Vec<T> {
        self.0.lock().clone()
    }

    pub fn has(&self, entry: &T) -> bool {
        self.0.lock().contains(entry)
    }

    /// How many of the first `starts` are such entries.
    pub fn among(&self, starts: usize, entry: T) -> usize {
        self.0.lock().iter().take(starts).filter(|of| **of == entry).count()
    }
}

/// The worker of a stateful pool that notes what it processes.
impl Worker for Log<usize> {
    type Input = usize;
    type Output = usize;

    fn process(&mut self, n: usize, _: &Context<'_>) -> usize {
        self.note(n);
        n + 1
    }
}
