//! What a view accepts, and how it admits it: as its pool does.

use std::future::Future;

use super::Limited;
use super::in_order::Lane;
use crate::engine::{Engine, SubmitOptions};
use crate::error::SubmitError;
use crate::pool::{Accepts, AnyPool, Item};
use crate::queue::LazyBatch;
use crate::sync::Arc;
use crate::task::in_view::InView;
use crate::task::state::{ReplySender, Run, TaskState};

impl<P: AnyPool> AnyPool for Limited<P> {
    type Runner = P::Runner;
    type Dispatch = P::Dispatch;
    type Lane = Lane<P::Runner, P::Dispatch>;
    type Shared = Lane<P::Runner, P::Dispatch>;

    fn share(&self) -> Self::Shared {
        Lane::at(&self.view)
    }

    fn refuses_all(&self) -> bool {
        self.view.is_closed(&self.view.tree.state.lock())
    }

    fn lane(&self, key: u64) -> Self::Lane {
        Lane::of_view(&self.view, key)
    }

    fn engine(&self) -> &Arc<Engine<P::Runner, P::Dispatch>> {
        self.view.engine()
    }

    #[cfg(feature = "tower")]
    async fn room(&self) {
        self.view.room().await;
    }

    #[cfg(feature = "tower")]
    fn is_closed(&self) -> bool {
        self.view.is_closed(&self.view.tree.state.lock())
    }

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn crate::pool::Reentry<Item<P>>> {
        Arc::clone(&self.view) as _
    }

    fn in_view(&self) -> Option<InView> {
        Some(self.view.in_view())
    }

    fn admit<I>(
        &self,
        input: I,
        make: impl FnOnce(I) -> Item<P>,
        view: Option<&InView>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>> {
        self.view.submit(input, make, view, options)
    }

    /// Each task may have to wait for a permit of its own.
    fn admit_batch(&self, _batch: &mut impl LazyBatch<Item<P>>, _options: &SubmitOptions<'_>) -> usize {
        0
    }

    fn admit_async<'p>(
        &'p self,
        item: Item<P>,
        view: Option<&'p InView>,
        options: SubmitOptions<'p>,
    ) -> impl Future<Output = Result<(), SubmitError<Item<P>>>> + Send {
        self.view.submit_async(item, view, options)
    }
}

/// Whatever the pool accepts.
impl<P: Accepts<X>, X: Send + 'static> Accepts<X> for Limited<P> {
    type Output = P::Output;

    const RUN_HERE: Option<Run<X, P::Output>> = P::RUN_HERE;

    fn plain(x: X) -> Item<P> {
        P::plain(x)
    }

    fn into_input(item: Item<P>) -> X {
        P::into_input(item)
    }

    fn called(x: X, sender: ReplySender<X, P::Output>) -> Item<P> {
        P::called(x, sender)
    }

    fn answered(task_state: &Arc<TaskState<X, P::Output>>) -> Item<P> {
        P::answered(task_state)
    }

    fn run_inline(&self, task_state: &Arc<TaskState<X, P::Output>>) -> bool {
        self.view.run_inline(|| P::answered(task_state))
    }
}
