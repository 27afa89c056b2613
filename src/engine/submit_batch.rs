//! How tasks that are all at hand enter the pool: as many in one step as there is room for.

use super::parking::MOST_SEARCHERS;
use super::submit_options::SubmitOptions;
use super::{Engine, Runner};
use crate::queue::{Dispatch, LazyBatch};
use crate::sync::Arc;
use crate::task::current_worker;

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// Pushes as many tasks of a batch as there is room for now, and wakes workers for them. Returns how many.
    ///
    /// It never waits and refuses nothing, and leaves a single task alone, which a submit may hand to an idle worker. Where it returns 0, a
    /// [`submit`](Self::submit) of the next task finds out why, and waits if it may. As a newcomer it leaves the room that threads wait for to them.
    pub(crate) fn submit_batch(
        self: &Arc<Self>,
        batch: &mut impl LazyBatch<R::Item>,
        options: &SubmitOptions<'_>,
    ) -> usize {
        // Observers are told of each task.
        let is_single = current_worker::is_inside(self.id()) || self.observers.is_some();
        if is_single || batch.remaining() < 2 || options.cancelled().is_some() || self.ensure_alive().is_err() {
            return 0;
        }
        let pushed = self.queue.push_batch(batch, options.lane, self.wait_queue.reserved_for(options.lane));
        if pushed > 0 {
            // Several workers at once; each that finds a task wakes the next.
            (0..pushed.min(MOST_SEARCHERS)).for_each(|_| self.wake());
            self.ensure_workers();
        }
        pushed
    }
}
