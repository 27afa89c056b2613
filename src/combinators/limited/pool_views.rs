//! What the engine asks of views: to give up dead tasks, and to notify submitters.

use std::time::Instant;

use super::view::ViewTree;
use crate::engine::{PoolViews, Runner};
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::liveness::Liveness;

impl<R: Runner, D: Dispatch> PoolViews<R::Item> for ViewTree<R, D> {
    fn sweep(self: Arc<Self>, is_dead: &mut dyn FnMut(Liveness) -> bool) -> Option<Box<dyn FnOnce()>> {
        let dead = self.state.lock().extract_waiting(|task| is_dead(R::liveness(&task.item)));
        if dead.is_empty() {
            return None;
        }
        self.left(dead.len());
        Some(Box::new(move || {
            dead.into_iter().for_each(|(_, task)| task.discard());
            self.notify_blocked();
            self.wake_awaiting();
        }))
    }

    fn pass_late_futures(&self) {
        for (wait_queue, chain) in self.blocked() {
            ViewTree::pass_late_futures(self, &wait_queue, &chain);
        }
    }

    fn grace_ends(&self) -> Option<Instant> {
        self.blocked().iter().filter_map(|(wait_queue, _)| wait_queue.grace_ends()).min()
    }

    fn notify_all(&self) {
        self.blocked().iter().for_each(|(wait_queue, _)| wait_queue.notify_all());
    }
}
