//! How the engine of a pool, and a view, admit tasks. The order of a key is a view, too.

use std::convert;
use std::future::Future;

use super::lanes::Lanes;
use super::view::View;
use crate::engine::{Engine, Runner, SubmitOptions, ThroughView, WaitMode};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::pool::{Admit, Takes};
use crate::queue::{Dispatch, LazyBatch};
use crate::semaphore::Semaphore;
use crate::sync::Arc;
use crate::task::in_view::InView;
use crate::task::state::TaskState;

impl<R: Runner, D: Dispatch> Admit for Arc<Engine<R, D>> {
    type Runner = R;
    type Dispatch = D;
    type Lane = Arc<View<R, D>>;

    fn lane(&self, key: u64) -> Self::Lane {
        let lanes = Arc::clone(self.lanes(|| {
            let lanes = Lanes::<R, D>::new();
            self.add_views(Arc::as_ptr(&lanes).addr(), Arc::downgrade(&lanes) as _);
            lanes
        }));
        let Ok(lanes) = lanes.downcast::<Lanes<R, D>>() else { unreachable!("an engine has one type") };
        lanes.view(self, None, key)
    }

    fn engine(&self) -> &Self {
        self
    }

    fn budget(&self) -> Option<Semaphore> {
        Engine::budget(self).cloned()
    }

    #[cfg(feature = "tower")]
    fn room(&self) -> impl Future<Output = ()> + Send {
        Engine::room(self)
    }

    fn is_closed(&self) -> bool {
        Engine::is_closed(self)
    }

    fn note_refusal(&self, kind: SubmitErrorKind) {
        Engine::note_refusal(self, &SubmitOptions::from(WaitMode::Never), kind);
    }

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn crate::pool::Reentry<R::Item>> {
        Arc::clone(self) as _
    }

    fn in_view(&self) -> Option<InView> {
        None
    }

    fn through_view(&self) -> Option<ThroughView<R>> {
        None
    }

    #[inline]
    fn admit<I>(
        &self,
        input: I,
        make: impl FnOnce(I) -> R::Item,
        _view: Option<&InView>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>> {
        self.submit(input, make, options)
    }

    fn admit_batch(&self, batch: &mut impl LazyBatch<R::Item>, options: &SubmitOptions<'_>) -> usize {
        self.submit_batch(batch, options)
    }

    fn admit_async<'p>(
        &'p self,
        item: R::Item,
        _view: Option<&'p InView>,
        options: SubmitOptions<'p>,
    ) -> impl Future<Output = Result<(), SubmitError<R::Item>>> + Send {
        self.submit_async(item, options)
    }

    fn run_inline<X>(&self, task_state: &Arc<TaskState<X, R::Output>>) -> bool
    where
        R: Takes<X>,
        X: Send + 'static,
    {
        R::run_inline(self, task_state)
    }
}

impl<R: Runner, D: Dispatch> Admit for Arc<View<R, D>> {
    type Runner = R;
    type Dispatch = D;
    type Lane = Self;

    fn lane(&self, key: u64) -> Self {
        match &self.lane {
            Some(_) => Arc::clone(self),
            None => self.lanes.get_or_init(Lanes::new).view(View::engine(self), Some(self), key),
        }
    }

    fn engine(&self) -> &Arc<Engine<R, D>> {
        View::engine(self)
    }

    fn budget(&self) -> Option<Semaphore> {
        let budget = self.tree.state.lock().budget(&self.chain);
        budget.or_else(|| Engine::budget(View::engine(self)).cloned())
    }

    #[cfg(feature = "tower")]
    fn room(&self) -> impl Future<Output = ()> + Send {
        View::room(self)
    }

    fn is_closed(&self) -> bool {
        View::is_closed(self, &self.tree.state.lock())
    }

    fn note_refusal(&self, _kind: SubmitErrorKind) {}

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn crate::pool::Reentry<R::Item>> {
        Arc::clone(self) as _
    }

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

    fn run_inline<X>(&self, task_state: &Arc<TaskState<X, R::Output>>) -> bool
    where
        R: Takes<X>,
        X: Send + 'static,
    {
        self.lane.is_none() && View::run_inline(self, || R::answered(task_state))
    }
}
