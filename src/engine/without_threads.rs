//! Pools that start no thread, for tests of programs that use pools (feature `test-util`).
//!
//! Such a pool behaves as one to which the system gives no thread: a thread that submits, or steps, becomes an inline worker, and runs
//! tasks through the same code as any other worker.

use std::io;

use super::{Engine, Runner};
use crate::queue::Dispatch;

/// Which threads run the tasks of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RunOn {
    /// The pool's own.
    #[default]
    Workers,
    /// The thread that submits, before it goes on.
    #[cfg(feature = "test-util")]
    Submitter,
    /// A thread that asks for the next task, and the one that closes the pool.
    #[cfg(feature = "test-util")]
    Stepper,
}

impl RunOn {
    /// Whether a thread that has queued a task in a pool without workers runs it.
    pub(super) fn is_stepper(self) -> bool {
        #[cfg(feature = "test-util")]
        if self == RunOn::Stepper {
            return true;
        }
        false
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    pub(super) fn starts_threads(&self) -> bool {
        self.options.run_on == RunOn::Workers
    }

    /// The error in place of a thread.
    pub(super) fn no_threads() -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, "the pool has no threads")
    }

    /// Whether a thread may become an inline worker to run what is queued.
    pub(super) fn runs_inline(&self) -> bool {
        !self.options.run_on.is_stepper() || self.lifecycle.is_closed()
    }
}

/// Running one task.
pub(crate) trait Step: Send + Sync {
    /// Runs the next task on the calling thread. Returns whether there was one.
    #[cfg(feature = "test-util")]
    fn step(&self) -> bool;
}

impl<R: Runner, D: Dispatch> Step for Engine<R, D> {
    #[cfg(feature = "test-util")]
    fn step(&self) -> bool {
        let Some(engine) = self.shared().filter(|_| self.options.run_on.is_stepper()) else { return false };
        engine.enter_due();
        if !self.has_startable_work() {
            return false;
        }
        let Some(worker_slot) = self.threads.reserve(|| true) else { return false };
        // It exits after its first task, because it has the only number.
        engine.work(self.threads.adopt_caller(worker_slot), None);
        true
    }
}
