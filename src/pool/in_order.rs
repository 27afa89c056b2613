//! A pool for the tasks of one key.

use std::future::Future;

use super::accepts::{Accepts, AnyPool, Item};
use crate::engine::{Engine, SubmitOptions, ThroughView};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::LazyBatch;
use crate::semaphore::Semaphore;
use crate::sync::Arc;
use crate::task::in_view::InView;
use crate::task::state::{ReplySender, Run, TaskState};

/// A pool or a view, for the tasks of one key. It accepts what that accepts, and admits it where the tasks of the key wait for their turn.
pub(crate) struct InOrder<P: AnyPool>(P::Lane);

impl<P: AnyPool> InOrder<P> {
    pub(super) fn new(pool: &P, key: u64) -> Self {
        InOrder(pool.lane(key))
    }
}

impl<P: AnyPool> AnyPool for InOrder<P> {
    type Runner = P::Runner;
    type Dispatch = P::Dispatch;
    type Lane = <P::Lane as AnyPool>::Lane;
    type Shared = <P::Lane as AnyPool>::Shared;

    fn lane(&self, key: u64) -> Self::Lane {
        self.0.lane(key)
    }

    fn engine(&self) -> &Arc<Engine<P::Runner, P::Dispatch>> {
        self.0.engine()
    }

    fn shared(&self) -> Self::Shared {
        self.0.shared()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn budget(&self) -> Option<Semaphore> {
        self.0.budget()
    }

    fn note_refusal(&self, kind: SubmitErrorKind) {
        self.0.note_refusal(kind);
    }

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn super::Reentry<Item<P>>> {
        self.0.reentry()
    }

    fn in_view(&self) -> Option<InView> {
        self.0.in_view()
    }

    fn through_view(&self) -> Option<ThroughView<P::Runner>> {
        self.0.through_view()
    }

    fn admit<I>(
        &self,
        input: I,
        make: impl FnOnce(I) -> Item<P>,
        view: Option<&InView>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>> {
        self.0.admit(input, make, view, options)
    }

    fn admit_batch(&self, batch: &mut impl LazyBatch<Item<P>>, options: &SubmitOptions<'_>) -> usize {
        self.0.admit_batch(batch, options)
    }

    fn admit_async<'p>(
        &'p self,
        item: Item<P>,
        view: Option<&'p InView>,
        options: SubmitOptions<'p>,
    ) -> impl Future<Output = Result<(), SubmitError<Item<P>>>> + Send {
        self.0.admit_async(item, view, options)
    }
}

impl<P: Accepts<X>, X: Send + 'static> Accepts<X> for InOrder<P> {
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
}
