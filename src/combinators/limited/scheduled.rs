//! Tasks that enter a view at a time. They are in the schedule of its pool until then.

use std::future::Future;
use std::pin::Pin;

use super::view::View;
use crate::cancel::CancelToken;
use crate::engine::{Entrance, Runner, Scheduled, SubmitOptions, ThroughView};
use crate::error::SubmitError;
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::in_view::InView;

impl<R: Runner, D: Dispatch> View<R, D> {
    /// The way in for a scheduled task with this number, if it has a state.
    pub(super) fn entrance(self: &Arc<Self>, number: Option<u64>) -> ThroughView<R> {
        let entrance = Arc::downgrade(self) as _;
        ThroughView { entrance, chain: Arc::clone(&self.chain), number }
    }
}

impl<R: Runner, D: Dispatch> Entrance<R> for View<R, D> {
    fn enter(self: Arc<Self>, task: Scheduled<R>, options: SubmitOptions<'_>) -> Result<(), SubmitError<Scheduled<R>>> {
        let number = task.number();
        self.submit(task, |task| self.engine().entered(task), number, options)
    }

    fn enter_async(
        self: Arc<Self>,
        task: Scheduled<R>,
        token: CancelToken,
    ) -> Pin<Box<dyn Future<Output = Result<(), SubmitError<Scheduled<R>>>> + Send>> {
        Box::pin(async move {
            let (number, options) = (task.number(), task.patient(&token));
            self.submit_async(task, |task| self.engine().entered(task), number, options).await
        })
    }

    fn is_closed(&self) -> bool {
        View::is_closed(self, &self.tree.state.lock())
    }

    fn in_view(self: Arc<Self>) -> Option<InView> {
        Some(View::in_view(&self))
    }

    fn through(self: Arc<Self>, task: Option<u64>) -> Option<ThroughView<R>> {
        Some(self.entrance(task))
    }
}
