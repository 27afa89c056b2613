//! Capturing what tasks take along from their submitters' threads, in pools that were asked to.

use super::{Engine, Runner};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::propagated::Propagated;
use crate::task::state::{Extra, TaskMeta};

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Whether a task takes values along. Then it needs a task state.
    #[inline]
    pub(crate) fn propagates(&self) -> bool {
        self.propagators.is_some()
    }

    /// What a task that the calling thread submits takes along.
    #[inline]
    pub(crate) fn capture(&self) -> Option<Propagated> {
        self.propagators.as_ref().map(|propagators| propagators.capture())
    }

    /// The options of a task that the calling thread submits.
    pub(crate) fn task_meta<I, O>(&self) -> TaskMeta<I, O> {
        let extra =
            self.capture().map(|propagated| Arc::new(Extra { propagated: Some(propagated), ..Extra::default() }));
        TaskMeta { extra, ..TaskMeta::new(self.id()) }
    }
}
