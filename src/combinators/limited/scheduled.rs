//! Tasks that enter a view at a time. They are in the schedule of its pool until then.

use std::future::Future;
use std::pin::Pin;

use super::view::View;
use crate::cancel::CancelToken;
use crate::engine::{Entrance, Runner, Scheduled, SubmitOptions, ThroughView, WayIn};
use crate::error::SubmitError;
use crate::queue::Dispatch;
use crate::sync::Arc;
use crate::task::in_view::InView;

impl<R: Runner, D: Dispatch> View<R, D> {
    /// The way in for a scheduled task. It keeps the view of a key, which goes with its last task: a scheduled one is not yet there.
    pub(super) fn entrance(self: &Arc<Self>) -> ThroughView<R> {
        let way_in = match &self.lane {
            Some(_) => WayIn::Kept(Arc::clone(self) as _),
            None => WayIn::Weak(Arc::downgrade(self) as _),
        };
        ThroughView { way_in, chain: Arc::clone(&self.chain) }
    }
}

impl<R: Runner, D: Dispatch> Entrance<R> for View<R, D> {
    fn enter(self: Arc<Self>, task: Scheduled<R>, options: SubmitOptions<'_>) -> Result<(), SubmitError<Scheduled<R>>> {
        let state = task.state();
        let in_view = state.as_ref().and_then(|state| state.in_view());
        self.submit(task, |task| self.engine().entered(task), in_view, options)
    }

    fn enter_async(
        self: Arc<Self>,
        task: Scheduled<R>,
        token: CancelToken,
    ) -> Pin<Box<dyn Future<Output = Result<(), SubmitError<Scheduled<R>>>> + Send>> {
        Box::pin(async move {
            let (state, options) = (task.state(), task.patient(&token));
            let in_view = state.as_ref().and_then(|state| state.in_view());
            self.submit_async(task, |task| self.engine().entered(task), in_view, options).await
        })
    }

    fn is_closed(&self) -> bool {
        View::is_closed(self, &self.tree.state.lock())
    }

    fn in_view(self: Arc<Self>) -> Option<InView> {
        Some(View::in_view(&self))
    }
}
