//! What all references to a pool or a view share admits as the pool or the view does.

use std::convert;
use std::future::Future;

use super::in_order::Lane;
use super::view::View;
use crate::engine::{Engine, Runner, SubmitOptions, ThroughView};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::pool::AnyPool;
use crate::queue::{Dispatch, LazyBatch};
use crate::semaphore::Semaphore;
use crate::sync::Arc;
use crate::task::in_view::InView;

impl<R: Runner, D: Dispatch> AnyPool for Arc<Engine<R, D>> {
    type Runner = R;
    type Dispatch = D;
    type Lane = Lane<R, D>;
    type Shared = Self;

    fn lane(&self, key: u64) -> Self::Lane {
        Lane::of_pool(self, key)
    }

    fn engine(&self) -> &Self {
        self
    }

    fn shared(&self) -> Self {
        Arc::clone(self)
    }

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn crate::pool::Reentry<R::Item>> {
        Arc::clone(self) as _
    }
}

impl<R: Runner, D: Dispatch> AnyPool for Arc<View<R, D>> {
    type Runner = R;
    type Dispatch = D;
    type Lane = Lane<R, D>;
    type Shared = Self;

    fn lane(&self, key: u64) -> Self::Lane {
        Lane::of_view(self, key)
    }

    fn engine(&self) -> &Arc<Engine<R, D>> {
        View::engine(self)
    }

    fn shared(&self) -> Self {
        Arc::clone(self)
    }

    #[cfg(feature = "tower")]
    async fn room(&self) {
        View::room(self).await;
    }

    fn is_closed(&self) -> bool {
        View::is_closed(self, &self.tree.state.lock())
    }

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn crate::pool::Reentry<R::Item>> {
        Arc::clone(self) as _
    }

    fn budget(&self) -> Option<Semaphore> {
        let budget = self.tree.state.lock().budget(&self.chain);
        budget.or_else(|| Engine::budget(View::engine(self)).cloned())
    }

    fn note_refusal(&self, _kind: SubmitErrorKind) {}

    fn in_view(&self) -> Option<InView> {
        Some(View::in_view(self))
    }

    fn through_view(&self) -> Option<ThroughView<R>> {
        Some(self.entrance())
    }

    fn admit<I>(
        &self,
        input: I,
        make: impl FnOnce(I) -> R::Item,
        view: Option<&InView>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>> {
        self.submit(input, make, view, options)
    }

    /// Each task may have to wait for a permit of its own.
    fn admit_batch(&self, _batch: &mut impl LazyBatch<R::Item>, _options: &SubmitOptions<'_>) -> usize {
        0
    }

    fn admit_async<'p>(
        &'p self,
        item: R::Item,
        view: Option<&'p InView>,
        options: SubmitOptions<'p>,
    ) -> impl Future<Output = Result<(), SubmitError<R::Item>>> + Send {
        self.submit_async(item, convert::identity, view, options)
    }
}
