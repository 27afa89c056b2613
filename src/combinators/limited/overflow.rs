//! What a full view does with a task, by the policy of its pool, where its submitter does not wait.

use super::admission::{Entered, Newcomer};
use super::view::View;
use crate::engine::options::Overflow;
use crate::engine::{Runner, SubmitOptions};
use crate::error::SubmitErrorKind;
use crate::queue::Dispatch;
use crate::sync::Arc;

impl<R: Runner, D: Dispatch> View<R, D> {
    /// Applies the pool's overflow policy to a task that has found no room. `None`: its submitter waits, or is refused.
    pub(super) fn overflow<I, F: FnOnce(I) -> R::Item>(
        self: &Arc<Self>,
        task: &mut Newcomer<'_, I, F>,
        options: &SubmitOptions<'_>,
    ) -> Result<Option<Entered<R, D>>, SubmitErrorKind> {
        match self.engine().overflow_policy() {
            _ if options.is_accepted() => return Ok(None),
            Overflow::DropNewest => {}
            Overflow::DropOldest => {
                while self.drop_oldest(task.lane) {
                    match self.try_enter(task, 0, true)? {
                        Entered::Full => {}
                        entered => return Ok(Some(entered)),
                    }
                }
            }
            _ => return Ok(None),
        }
        self.engine().drop_newest(&mut task.lazy);
        Ok(Some(Entered::In))
    }

    /// Drops the task of this view that waits longest or, if none does, one of the pool. Returns whether there was one.
    fn drop_oldest(&self, lane: usize) -> bool {
        let oldest = self.tree.state.lock().pop_oldest(&self.chain);
        match oldest {
            Some(oldest) => {
                self.tree.left(1);
                oldest.drop_oldest();
                self.tree.wake_awaiting();
                true
            }
            None => self.engine().drop_oldest(lane),
        }
    }
}
