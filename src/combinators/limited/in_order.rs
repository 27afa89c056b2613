//! Order per key: how a pool or a view finds the view of a key, and what the verbs do with it.

use std::convert;
use std::future::Future;

use super::lanes::Lanes;
use super::view::View;
use crate::engine::{Engine, Runner, SubmitOptions, ThroughView};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::pool::{AnyPool, CallFunc, CallTask, Item, Pool, PoolWithFunc, RunWorker, StatefulPool};
use crate::queue::{Dispatch, LazyBatch};
use crate::semaphore::Semaphore;
use crate::sync::Arc;
use crate::task::in_view::InView;
use crate::task::worker::Worker;

/// A pool, or a view, for the tasks of one key: they run one at a time, in the order in which they were accepted.
pub struct Lane<R: Runner, D: Dispatch> {
    view: Arc<View<R, D>>,
}

impl<R: Runner, D: Dispatch> Clone for Lane<R, D> {
    fn clone(&self) -> Self {
        Lane { view: Arc::clone(&self.view) }
    }
}

impl<R: Runner, D: Dispatch> Lane<R, D> {
    /// Of a pool.
    pub(super) fn of_pool(engine: &Arc<Engine<R, D>>, key: u64) -> Self {
        let lanes = Arc::clone(engine.lanes(|| {
            let lanes = Lanes::<R, D>::new();
            engine.add_views(Arc::as_ptr(&lanes).addr(), Arc::downgrade(&lanes) as _);
            lanes
        }));
        let Ok(lanes) = lanes.downcast::<Lanes<R, D>>() else { unreachable!("an engine has one type") };
        Lane { view: lanes.view(engine, None, key) }
    }

    /// Of a view of a pool.
    pub(super) fn of_view(view: &Arc<View<R, D>>, key: u64) -> Self {
        let lanes = view.lanes.get_or_init(Lanes::new);
        Lane { view: lanes.view(view.engine(), Some(view), key) }
    }
}

impl<R: Runner, D: Dispatch> AnyPool for Lane<R, D> {
    type Runner = R;
    type Dispatch = D;
    type Lane = Self;
    type Shared = Self;

    fn lane(&self, _key: u64) -> Self {
        self.clone()
    }

    fn shared(&self) -> Self {
        self.clone()
    }

    fn engine(&self) -> &Arc<Engine<R, D>> {
        self.view.engine()
    }

    fn is_closed(&self) -> bool {
        AnyPool::is_closed(&self.view)
    }

    fn budget(&self) -> Option<Semaphore> {
        AnyPool::budget(&self.view)
    }

    fn note_refusal(&self, _kind: SubmitErrorKind) {}

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn crate::pool::Reentry<Item<Self>>> {
        Arc::clone(&self.view) as _
    }

    fn in_view(&self) -> Option<InView> {
        Some(self.view.in_view())
    }

    /// Kept: the view of a key goes with its last task, and a scheduled one is not yet there.
    fn through_view(&self) -> Option<ThroughView<R>> {
        Some(self.view.kept_entrance())
    }

    fn admit<I>(
        &self,
        input: I,
        make: impl FnOnce(I) -> Item<Self>,
        view: Option<&InView>,
        options: SubmitOptions<'_>,
    ) -> Result<(), SubmitError<I>> {
        self.view.submit(input, make, view, options)
    }

    fn admit_batch(&self, _batch: &mut impl LazyBatch<Item<Self>>, _options: &SubmitOptions<'_>) -> usize {
        0
    }

    fn admit_async<'p>(
        &'p self,
        item: Item<Self>,
        view: Option<&'p InView>,
        options: SubmitOptions<'p>,
    ) -> impl Future<Output = Result<(), SubmitError<Item<Self>>>> + Send {
        self.view.submit_async(item, convert::identity, view, options)
    }
}

impl<D: Dispatch> AnyPool for Pool<D> {
    type Runner = CallTask;
    type Dispatch = D;
    type Lane = Lane<CallTask, D>;
    type Shared = Arc<Engine<Self::Runner, D>>;

    fn lane(&self, key: u64) -> Self::Lane {
        Lane::of_pool(&self.engine, key)
    }

    fn engine(&self) -> &Arc<Engine<CallTask, D>> {
        &self.engine
    }

    fn shared(&self) -> Self::Shared {
        Arc::clone(&self.engine)
    }

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn crate::pool::Reentry<Item<Self>>> {
        Arc::clone(&self.engine) as _
    }
}

impl<T: Send + 'static, D: Dispatch, R: Send + 'static> AnyPool for PoolWithFunc<T, D, R> {
    type Runner = CallFunc<T, R>;
    type Dispatch = D;
    type Lane = Lane<Self::Runner, D>;
    type Shared = Arc<Engine<Self::Runner, D>>;

    fn lane(&self, key: u64) -> Self::Lane {
        Lane::of_pool(&self.engine, key)
    }

    fn engine(&self) -> &Arc<Engine<Self::Runner, D>> {
        &self.engine
    }

    fn shared(&self) -> Self::Shared {
        Arc::clone(&self.engine)
    }

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn crate::pool::Reentry<Item<Self>>> {
        Arc::clone(&self.engine) as _
    }
}

impl<W: Worker, D: Dispatch> AnyPool for StatefulPool<W, D> {
    type Runner = RunWorker<W>;
    type Dispatch = D;
    type Lane = Lane<RunWorker<W>, D>;
    type Shared = Arc<Engine<Self::Runner, D>>;

    fn lane(&self, key: u64) -> Self::Lane {
        Lane::of_pool(&self.engine, key)
    }

    fn engine(&self) -> &Arc<Engine<RunWorker<W>, D>> {
        &self.engine
    }

    fn shared(&self) -> Self::Shared {
        Arc::clone(&self.engine)
    }

    #[cfg(feature = "async")]
    fn reentry(&self) -> Arc<dyn crate::pool::Reentry<Item<Self>>> {
        Arc::clone(&self.engine) as _
    }
}
