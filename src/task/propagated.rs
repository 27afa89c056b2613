//! What a task takes along from the thread that submits it: a span, a request's id, a locale.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::Mutex;
use crate::sync::user_code::catch_user_panic;

/// Captures a value on the submitter's thread, and enters it on the worker's.
pub(crate) trait Propagator: Send + Sync {
    fn capture(&self) -> Box<dyn Captured>;
}

/// A value on its way to the worker.
pub(crate) trait Captured: Send {
    fn enter(self: Box<Self>) -> Box<dyn Guard>;
}

/// Keeps a value entered until it is dropped.
pub(crate) trait Guard {}

impl<G> Guard for G {}

/// A propagator of two closures.
pub(crate) struct Functions<C, E> {
    pub(crate) capture: C,
    pub(crate) enter: Arc<E>,
}

impl<C, E, T, G> Propagator for Functions<C, E>
where
    C: Fn() -> T + Send + Sync,
    E: Fn(T) -> G + Send + Sync + 'static,
    T: Send + 'static,
    G: 'static,
{
    fn capture(&self) -> Box<dyn Captured> {
        Box::new(Value { value: (self.capture)(), enter: Arc::clone(&self.enter) })
    }
}

struct Value<T, E> {
    value: T,
    enter: Arc<E>,
}

impl<T, G, E> Captured for Value<T, E>
where
    E: Fn(T) -> G + Send + Sync,
    T: Send,
    G: 'static,
{
    fn enter(self: Box<Self>) -> Box<dyn Guard> {
        let Value { value, enter } = *self;
        Box::new(enter(value))
    }
}

/// The propagators of a pool.
pub(crate) struct Propagators {
    all: Vec<Arc<dyn Propagator>>,
    panics: AtomicU64,
}

impl Propagators {
    /// `None` if there are none.
    pub(crate) fn new(all: &[Arc<dyn Propagator>]) -> Option<Arc<Self>> {
        let is_some = !all.is_empty();
        is_some.then(|| Arc::new(Propagators { all: all.to_vec(), panics: AtomicU64::new(0) }))
    }

    /// Captures the values of the calling thread. A propagator that panics has none.
    pub(crate) fn capture(self: &Arc<Self>) -> Propagated {
        let captured = self.all.iter().filter_map(|propagator| self.catch(|| propagator.capture())).collect();
        Propagated { captured: Mutex::new(captured), of: Arc::clone(self) }
    }

    fn catch<O>(&self, f: impl FnOnce() -> O) -> Option<O> {
        let output = catch_user_panic(f);
        if output.is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        output
    }

    /// How often user code of theirs has panicked.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

/// What was captured for one task.
pub(crate) struct Propagated {
    captured: Mutex<Vec<Box<dyn Captured>>>,
    of: Arc<Propagators>,
}

impl Propagated {
    /// Enters the values on the calling thread, in the order of the propagators, until the returned guard is dropped. Later calls enter none.
    #[cold]
    #[inline(never)]
    pub(crate) fn enter(&self) -> Entered<'_> {
        let guards = self.take().into_iter().filter_map(|value| self.of.catch(|| value.enter())).collect();
        Entered { guards, of: &self.of }
    }

    fn take(&self) -> Vec<Box<dyn Captured>> {
        std::mem::take(&mut *self.captured.lock())
    }
}

/// Values that are entered on this thread.
pub(crate) struct Entered<'p> {
    guards: Vec<Box<dyn Guard>>,
    of: &'p Propagators,
}

impl Drop for Entered<'_> {
    /// Leaves them in the reverse order.
    fn drop(&mut self) {
        while let Some(guard) = self.guards.pop() {
            self.of.catch(|| drop(guard));
        }
    }
}

impl Drop for Propagated {
    /// Of a task that has not run.
    fn drop(&mut self) {
        for value in self.take() {
            self.of.catch(|| drop(value));
        }
    }
}
