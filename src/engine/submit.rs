//! How a task enters the pool: it is pushed, or its submitter waits for room, or it comes back with the reason.

use std::convert;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Instant;

use super::submit_options::{SubmitOptions, WaitMode};
use super::{Engine, Runner};
use crate::cancel::earlier;
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::{DEFAULT_LANE, Dispatch, LazyItem, LazyWith, Queue, Refused};
use crate::sync::Arc;
use crate::task::current_worker;
use crate::task::state::{TaskRef, TaskState};

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// The submit options of a task, which may have a key.
    pub(crate) fn options(&self, key: Option<u64>, mode: WaitMode) -> SubmitOptions<'static> {
        SubmitOptions { lane: key.map_or(DEFAULT_LANE, |key| self.queue.lane(key)), ..SubmitOptions::from(mode) }
    }

    /// The number that the queue knows a key by: the same for the same key, within this pool.
    pub(crate) fn number_of(&self, key: impl Hash) -> u64 {
        self.seed.hash_one(key)
    }

    /// The shard of the key that `hash` hashes.
    pub(crate) fn shard_of(&self, hash: &dyn Fn(&RandomState) -> u64) -> usize {
        self.queue.shard_of_lane(self.queue.lane(hash(&self.seed)))
    }

    /// Pushes a task if there is room for it and for `reserved` more, and wakes a worker for it. After a push the caller has to call
    /// [`ensure_workers`](Self::ensure_workers), once it has left the wait queue: that may take long.
    #[inline]
    pub(super) fn try_enter(
        self: &Arc<Self>,
        item: &mut (impl LazyItem<R::Item> + ?Sized),
        lane: usize,
        reserved: usize,
    ) -> Result<(), Refused> {
        if self.observers.is_some() {
            return self.enter_observed(item, |item| self.push_and_wake(item, lane, reserved));
        }
        self.push_and_wake(item, lane, reserved)
    }

    #[inline]
    fn push_and_wake(
        self: &Arc<Self>,
        item: &mut (impl LazyItem<R::Item> + ?Sized),
        lane: usize,
        reserved: usize,
    ) -> Result<(), Refused> {
        let hands_over = D::Queue::<R::Item>::HANDS_OVER && !self.lifecycle.is_paused();
        let idle = if hands_over { self.parking.claim() } else { None };
        let pushed = self.queue.push(item, lane, reserved, idle.as_ref().map(|claim| claim.worker()));
        drop(idle);
        if let Err(refused) = pushed {
            let mut again = item;
            self.sweep_and_push(refused, &mut again, lane, reserved)?;
        }
        self.wake();
        Ok(())
    }

    /// After a refusal: takes the dead tasks out of the queue, and pushes again if that may have made room.
    #[cold]
    fn sweep_and_push(
        &self,
        refused: Refused,
        item: &mut dyn LazyItem<R::Item>,
        lane: usize,
        reserved: usize,
    ) -> Result<(), Refused> {
        let has_made_room = refused == Refused::Full && self.sweep();
        if has_made_room { self.queue.push(item, lane, reserved, None) } else { Err(refused) }
    }

    /// Submits the task that `make` makes of `input`. A refusal returns the input.
    #[inline]
    pub(crate) fn submit<'t, I>(
        self: &Arc<Self>,
        input: I,
        make: impl FnOnce(I) -> R::Item,
        options: impl Into<SubmitOptions<'t>>,
    ) -> Result<(), SubmitError<I>> {
        let (mut item, options) = (LazyWith::new(input, make), options.into());
        let admitted = match self.enter_now(&mut item, &options) {
            Ok(true) => return Ok(()),
            Ok(false) => self.wait_for_room(&mut item, &options),
            Err(kind) => Err(kind),
        };
        admitted.map_err(|kind| {
            self.note_refusal(&options, kind);
            SubmitError::new(kind, item.into_input())
        })
    }

    #[cold]
    pub(super) fn note_refusal(&self, options: &SubmitOptions<'_>, kind: SubmitErrorKind) {
        if !(options.is_retry && kind.is_temporary()) {
            self.counters.count_refusal(kind);
            self.tell(|observer| observer.refused(kind));
        }
    }

    /// Submits a task that has a state. A refusal returns the input out of the state.
    pub(crate) fn submit_state<'t, I, O>(
        self: &Arc<Self>,
        task_state: &TaskState<I, O>,
        item: R::Item,
        options: impl Into<SubmitOptions<'t>>,
    ) -> Result<(), SubmitError<I>> {
        self.submit(item, convert::identity, options).map_err(|refusal| task_state.refused(refusal.kind()))?;
        self.note_cancellable(task_state.meta().token.as_ref());
        self.sweep_if_worth_it();
        Ok(())
    }

    /// If the calling thread is a worker of this pool, runs the task on it. Returns whether it did.
    pub(crate) fn run_inline<I, O>(&self, task_state: &Arc<TaskState<I, O>>, f: impl FnOnce(I) -> O) -> bool
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        if self.lifecycle.is_closed() {
            return false;
        }
        current_worker::run_here_unbounded(self.id(), |completion| {
            self.note_direct();
            TaskRef::new(task_state).run(completion, None, |input, _| f(input))
        })
    }

    /// Wakes a worker for queued tasks.
    pub(super) fn wake(&self) {
        self.parking.notify(|| self.queue.has_work(), |searching| self.queue.has_more(searching));
    }

    /// There is room: notifies the first blocked submitter of each lane that has some.
    #[inline]
    pub(super) fn notify_blocked(&self) {
        self.wait_queue.notify_heads(|lane| self.queue.has_room(lane));
    }

    /// Notifies the submitters, at the pool and at its views, behind futures that were notified and have not been polled.
    pub(super) fn pass_late_futures(&self) {
        self.wait_queue.pass_late_futures(|lane| self.queue.has_room(lane));
        self.pass_late_futures_at_views();
    }

    /// When a future that was notified, and has not been polled, is to be passed.
    pub(super) fn grace_ends(&self) -> Option<Instant> {
        earlier(self.wait_queue.grace_ends(), self.grace_ends_at_views())
    }

    /// Whether a task would find room now. Unlike the queue's own answer it is not wrongly `true`, unless others submit.
    #[cfg(any(feature = "async", feature = "tower"))]
    pub(crate) fn has_room(&self) -> bool {
        let Some(bound) = self.queue_bound() else { return true };
        let load = self.queue.bounded_load();
        let room = self.capacity().saturating_add(self.given_up.tasks()).saturating_add(bound);
        load.queued + load.running < room && self.queue.has_room(DEFAULT_LANE)
    }

    /// How long `submit` waits for room by the pool's settings.
    pub(crate) fn default_mode(&self) -> WaitMode {
        if self.settings.nonblocking() { WaitMode::Never } else { WaitMode::Forever }
    }

    /// Pushes a task if there is room now. Returns whether it did.
    #[inline]
    pub(crate) fn enter_now(
        self: &Arc<Self>,
        item: &mut (impl LazyItem<R::Item> + ?Sized),
        options: &SubmitOptions<'_>,
    ) -> Result<bool, SubmitErrorKind> {
        if let Some(kind) = options.cancelled() {
            return Err(kind);
        }
        if self.ensure_alive().is_err() {
            return Err(SubmitErrorKind::Spawn);
        }
        if current_worker::is_inside(self.id()) {
            if let Some(result) = self.enter_nested(item, options) {
                return result;
            }
        }
        // Room is reserved for the threads that wait already, so a newcomer cannot overtake them; where there is more, it need not wait
        // until all of them have woken up. Nothing is reserved for futures, which may never be polled.
        match self.try_enter(item, options.lane, self.wait_queue.reserved_for(options.lane)) {
            Ok(()) => {
                self.ensure_workers();
                Ok(true)
            }
            Err(Refused::Closed) => Err(SubmitErrorKind::Closed),
            Err(Refused::Full) if self.lifecycle.is_closed() => Err(SubmitErrorKind::Closed),
            Err(Refused::Full) => Ok(false),
        }
    }

    /// Pushes a task that one of the pool's own workers submits, beyond the bound. `None`: the bound applies to it as to any other.
    #[inline(never)]
    fn enter_nested(
        self: &Arc<Self>,
        item: &mut (impl LazyItem<R::Item> + ?Sized),
        options: &SubmitOptions<'_>,
    ) -> Option<Result<bool, SubmitErrorKind>> {
        if options.is_bounded {
            return None;
        }
        self.sweep_if_worth_it();
        let mut pushed = self.push_nested(item, options.lane);
        if pushed == Err(Refused::Full) && self.sweep() {
            pushed = self.push_nested(item, options.lane);
        }
        match pushed {
            Ok(()) => {
                self.parking.notify(|| self.queue.may_start_overflowed(), |searching| self.queue.has_more(searching));
                self.ensure_workers();
                Some(Ok(true))
            }
            Err(Refused::Closed) => Some(Err(SubmitErrorKind::Closed)),
            Err(Refused::Full) => None,
        }
    }

    fn push_nested(&self, item: &mut (impl LazyItem<R::Item> + ?Sized), lane: usize) -> Result<(), Refused> {
        if self.observers.is_some() {
            return self.enter_observed(item, |item| self.push_to_own_list(item, lane));
        }
        self.push_to_own_list(item, lane)
    }

    fn push_to_own_list(&self, item: &mut (impl LazyItem<R::Item> + ?Sized), lane: usize) -> Result<(), Refused> {
        self.with_local(|local| self.queue.push_nested(item, lane, local.map(|local| &*local.queue)))
    }
}
