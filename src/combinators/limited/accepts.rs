//! What a view accepts, and how it admits it: as its pool does.

use std::future::Future;

use super::Limited;
use super::in_order::Lane;
use super::view::View;
use crate::engine::{Engine, SubmitOptions, ThroughView};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::pool::{Accepts, AnyPool, Item};
use crate::queue::LazyBatch;
use crate::semaphore::Semaphore;
use crate::sync::Arc;
use crate::task::in_view::InView;
use crate::task::state::{ReplySender, Run, TaskState};

impl<P: AnyPool> AnyPool for Limited<P> {
    type Runner = P::Runner;
    type Dispatch = P::Dispatch;
    type Lane = Lane<P::Runner, P::Dispatch>;
    type Shared = Arc<View<P::Runner, P::Dispatch>>;

    fn lane(&self, key: u64) -> Self::Lane {
        self.view.lane(key)
    }

    fn engine(&self) -> &Arc<Engine<P::Runner, P::Dispatch>> {
        self.view.engine()
    }

    fn budget(&self) -> Option<Semaphore> {
        AnyPool::budget(&self.view)
    }

    fn shared(&self) -> Self::Shared {
        Arc::clone(&self.view)
    }

    #[cfg(feature = "tower")]
    async fn room(&self) {
        AnyPool::room(&self.view).await;
    }

    fn is_closed(&self) -> bool {
        AnyPool::is_closed(&self.view)
    }

    fn note_refusal(&self, _kind: SubmitErrorKind) {}

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn crate::pool::Reentry<Item<P>>> {
        self.view.reentry()
    }

    fn in_view(&self) -> Option<InView> {
        AnyPool::in_view(&self.view)
    }

    fn through_view(&self) -> Option<ThroughView<P::Runner>> {
        AnyPool::through_view(&self.view)
    }

    fn admit<I>(
        &self,
        input: I,
        make: impl FnOnce(I) -> Item<P>,
        view: Option<&InView>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>> {
        self.view.admit(input, make, view, options)
    }

    fn admit_batch(&self, batch: &mut impl LazyBatch<Item<P>>, options: &SubmitOptions<'_>) -> usize {
        self.view.admit_batch(batch, options)
    }

    fn admit_async<'p>(
        &'p self,
        item: Item<P>,
        view: Option<&'p InView>,
        options: SubmitOptions<'p>,
    ) -> impl Future<Output = Result<(), SubmitError<Item<P>>>> + Send {
        self.view.admit_async(item, view, options)
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
