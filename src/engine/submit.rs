//! The way of a task into the pool: enter, or wait in line, or come back with the reason.

use std::convert;
use std::hash::{BuildHasher, Hash, RandomState};
use std::ops::Deref;
use std::time::{Duration, Instant};

use super::counters::count;
use super::wait_queue::WaitNode;
use super::{Engine, Runner};
use crate::cancel::{CancelReason, CancelToken, earlier};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::{DEFAULT_LANE, Dispatch, LazyItem, LazyWith, Queue, Refused};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, IS_CHECKED, current, spin_loop, yield_now};
use crate::task::block_permits;
use crate::task::current_worker::{self, CurrentPool};
use crate::task::state::{TaskRef, TaskState};

/// How often a submitter tries before it stands in line, and how long it pauses before each try: some microseconds in all, about
/// what a sleep and a wake-up cost.
const SPIN_ROUNDS: usize = 2;
const SPINS_PER_ROUND: usize = if IS_CHECKED { 1 } else { 100 };

/// How long the first in line sleeps before it asks to be called, where the workers have enough to do meanwhile: so many tasks each,
/// and so many in all. They end some tasks in that time, and wake it once instead of for each.
const FIRST_PARK: Duration = Duration::from_micros(50);
const BACKLOG_PER_WORKER: usize = 8;
const BACKLOG_TOTAL: usize = 64;

/// How long a submitter is willing to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitMode {
    Never,
    Until(Instant),
    Forever,
}

impl WaitMode {
    /// For a duration; one that the clock cannot hold is for ever.
    pub(crate) fn at_most(limit: Duration) -> Self {
        Instant::now().checked_add(limit).map_or(WaitMode::Forever, WaitMode::Until)
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            WaitMode::Until(deadline) => Some(deadline),
            _ => None,
        }
    }
}

/// By which door a task wants in, how long its submitter waits there, and what makes it give up.
#[derive(Clone, Copy, Debug)]
pub struct SubmitOptions<'t> {
    lane: usize,
    mode: WaitMode,
    token: Option<&'t CancelToken>,
    /// Its future is polled where it is woken, and let into the line however many wait.
    is_inline: bool,
    /// The submitter keeps what finds no room and comes again with it: that is not counted as a refusal.
    is_retry: bool,
    /// Counts against the bound, whichever thread brings it.
    is_bounded: bool,
}

impl From<WaitMode> for SubmitOptions<'_> {
    /// By the main door.
    fn from(mode: WaitMode) -> Self {
        SubmitOptions { lane: DEFAULT_LANE, mode, token: None, is_inline: false, is_retry: false, is_bounded: false }
    }
}

impl<'t> SubmitOptions<'t> {
    /// Gives up when the token is cancelled.
    pub(crate) fn with_token(self, token: Option<&'t CancelToken>) -> Self {
        SubmitOptions { token, ..self }
    }

    /// For a future that is polled where it is woken. It blocks nobody, so `max_blocking` does not keep it out.
    pub(crate) fn inline(self) -> Self {
        SubmitOptions { is_inline: true, ..self }
    }

    pub(super) fn is_inline(&self) -> bool {
        self.is_inline
    }

    pub(crate) fn retried(self) -> Self {
        SubmitOptions { is_retry: true, ..self }
    }

    /// The task is not the calling thread's own: it goes in within the bound, also if that is a worker of the pool.
    pub(crate) fn bounded(self) -> Self {
        SubmitOptions { is_bounded: true, ..self }
    }

    /// Enters by this lane.
    pub(crate) fn in_lane(self, lane: usize) -> Self {
        SubmitOptions { lane, ..self }
    }

    pub(crate) fn with_mode(self, mode: WaitMode) -> Self {
        SubmitOptions { mode, ..self }
    }

    pub(crate) fn lane(&self) -> usize {
        self.lane
    }

    pub(crate) fn mode(&self) -> WaitMode {
        self.mode
    }

    /// Why to give up waiting, if so.
    pub(crate) fn end(&self) -> Option<SubmitErrorKind> {
        let is_late = || self.mode.deadline().is_some_and(|d| Instant::now() >= d);
        self.cancelled().or_else(|| is_late().then_some(SubmitErrorKind::TimedOut))
    }

    /// Whether its token is cancelled: the refusal then.
    pub(crate) fn cancelled(&self) -> Option<SubmitErrorKind> {
        self.token.and_then(CancelToken::reason).map(|reason| match reason {
            CancelReason::Deadline => SubmitErrorKind::TimedOut,
            CancelReason::Asked => SubmitErrorKind::Cancelled,
        })
    }

    pub(crate) fn token(&self) -> Option<&'t CancelToken> {
        self.token
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        earlier(self.mode.deadline(), self.token.and_then(CancelToken::deadline))
    }
}

/// A place in line. Workers that wait may have relied on who stands there ([`CurrentPool::progress_capacity`]), so they are told when that one
/// has left, as when it was called in vain.
pub(super) struct WaitGuard<'e, R: Runner, D: Dispatch> {
    // In this order: it has left when they are told.
    place: WaitNode<'e>,
    _shrinks: ShrinksPermits<'e, R, D>,
}

impl<'e, R: Runner, D: Dispatch> Deref for WaitGuard<'e, R, D> {
    type Target = WaitNode<'e>;

    fn deref(&self) -> &WaitNode<'e> {
        &self.place
    }
}

struct ShrinksPermits<'e, R: Runner, D: Dispatch>(&'e Engine<R, D>);

impl<R: Runner, D: Dispatch> Drop for ShrinksPermits<'_, R, D> {
    fn drop(&mut self) {
        self.0.block_permits.shrink(|| self.0.progress_capacity());
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// The way of a task, which may have a key.
    pub(crate) fn options(&self, key: Option<u64>, mode: WaitMode) -> SubmitOptions<'static> {
        SubmitOptions { lane: key.map_or(DEFAULT_LANE, |key| self.queue.lane(key)), ..SubmitOptions::from(mode) }
    }

    /// What the queue knows a key by: the same number for the same key, in this pool.
    pub(crate) fn number_of(&self, key: impl Hash) -> u64 {
        self.seed.hash_one(key)
    }

    /// The shard of a key that `hash` hashes.
    pub(crate) fn shard_of(&self, hash: &dyn Fn(&RandomState) -> u64) -> usize {
        self.queue.shard_of_lane(self.queue.lane(hash(&self.seed)))
    }

    /// One try to get a task in, if there is room for it and for `reserved` more: push, and wake somebody for it. Whoever has
    /// pushed must then [`ensure_workers`](Self::ensure_workers), when others do not wait for it any more.
    #[inline]
    fn try_enter(
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

    /// After a refusal: tries once more if there may be room now that what is dead has left the queue.
    #[cold]
    fn sweep_and_push(
        &self,
        refused: Refused,
        item: &mut dyn LazyItem<R::Item>,
        lane: usize,
        reserved: usize,
    ) -> Result<(), Refused> {
        let may_help = refused == Refused::Full && self.sweep();
        if may_help { self.queue.push(item, lane, reserved, None) } else { Err(refused) }
    }

    /// Submits one task, made of `input`; on a refusal that comes back.
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
        if !(options.is_retry && kind.is_for_now()) {
            self.counters.count_refusal(kind);
        }
    }

    /// Submits the task of a slot; on a refusal the input comes back out of it.
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

    /// If the calling thread is a worker of this pool, runs the task of a slot on it; says whether it did.
    pub(crate) fn run_inline<I, O>(&self, task_state: &Arc<TaskState<I, O>>, f: impl FnOnce(I) -> O) -> bool
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        if self.lifecycle.is_closed() {
            return false;
        }
        current_worker::run_here_unbounded(self.id(), |completion| {
            count(&self.counters.direct);
            TaskRef::new(task_state).run(completion, None, |input, _| f(input))
        })
    }

    /// There are tasks: wakes somebody for them.
    pub(super) fn wake(&self) {
        self.parking.notify(|| self.queue.has_work(), || self.queue.has_more());
    }

    /// There is room: lets the first in line try.
    #[inline]
    pub(super) fn notify_blocked(&self) {
        self.wait_queue.notify_one(|lane| self.queue.has_room(lane));
    }

    /// Notifies the submitters, at the pool and at its views, that are behind futures which were notified and have not come.
    pub(super) fn pass_late_futures(&self) {
        self.wait_queue.pass_late_futures(|lane| self.queue.has_room(lane));
        self.pass_late_futures_at_views();
    }

    /// When a future that was notified, and has not come, is to be passed over.
    pub(super) fn grace_ends(&self) -> Option<Instant> {
        earlier(self.wait_queue.grace_ends(), self.grace_ends_at_views())
    }

    /// `submit`'s patience as the options have it.
    pub(crate) fn default_mode(&self) -> WaitMode {
        if self.settings.nonblocking() { WaitMode::Never } else { WaitMode::Forever }
    }

    #[cold]
    fn wait_for_room(
        self: &Arc<Self>,
        item: &mut dyn LazyItem<R::Item>,
        options: &SubmitOptions<'_>,
    ) -> Result<(), SubmitErrorKind> {
        if let WaitMode::Never = options.mode {
            return Err(SubmitErrorKind::Full);
        }
        if self.spin_before_wait(item, options)? {
            return Ok(());
        }
        let has_fallback = self.runner.spare_state().is_some();
        match block_permits::enter_wait_for_room(self.id(), options.deadline(), has_fallback) {
            Ok(guard) => self.wait_in_queue(item, options, &guard)?,
            Err(block_permits::WouldDeadlock) => self.make_room(item, options.lane)?,
        }
        // It has left the line: those behind need not wait until a guest has done its work.
        self.ensure_workers();
        Ok(())
    }

    /// Waits a moment at a full queue before anyone is asked to call; says whether the task is in. Workers at small tasks make room
    /// for many in that time, if nobody looks at their books for each single place; a sleep would cost more.
    fn spin_before_wait(
        self: &Arc<Self>,
        item: &mut dyn LazyItem<R::Item>,
        options: &SubmitOptions<'_>,
    ) -> Result<bool, SubmitErrorKind> {
        for _ in 0..SPIN_ROUNDS {
            if self.wait_queue.waiting() > 0 || options.end().is_some() {
                break;
            }
            (0..SPINS_PER_ROUND).for_each(|_| spin_loop());
            yield_now();
            if self.enter_now(item, options)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets a task in if there is room; says whether it did. Otherwise it has to wait.
    #[inline]
    pub(crate) fn enter_now(
        self: &Arc<Self>,
        item: &mut (impl LazyItem<R::Item> + ?Sized),
        options: &SubmitOptions<'_>,
    ) -> Result<bool, SubmitErrorKind> {
        if let Some(kind) = options.cancelled() {
            return Err(kind);
        }
        if self.ensure_worker().is_err() {
            return Err(SubmitErrorKind::Spawn);
        }
        if current_worker::is_inside(self.id()) {
            if let Some(result) = self.enter_nested(item, options) {
                return result;
            }
        }
        // Whoever comes later than the threads in line must not take their places; but if there are more, it need not wait until all
        // of those have woken up. To futures, which may never come, nothing is kept.
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

    /// Lets a task of one of the pool's own workers in, beyond the bound. `None` if it has to go the way of all others.
    #[cold]
    fn enter_nested(
        self: &Arc<Self>,
        item: &mut (impl LazyItem<R::Item> + ?Sized),
        options: &SubmitOptions<'_>,
    ) -> Option<Result<bool, SubmitErrorKind>> {
        if options.is_bounded {
            return None;
        }
        self.sweep_if_worth_it();
        let mut pushed = self.queue.push_nested(item, options.lane);
        if pushed == Err(Refused::Full) && self.sweep() {
            pushed = self.queue.push_nested(item, options.lane);
        }
        match pushed {
            Ok(()) => {
                self.wake();
                self.ensure_workers();
                Some(Ok(true))
            }
            Err(Refused::Closed) => Some(Err(SubmitErrorKind::Closed)),
            Err(Refused::Full) => None,
        }
    }

    /// A place in the line of its door, unless too many wait.
    pub(super) fn enqueue(&self, options: &SubmitOptions<'_>, waiter: Waiter) -> Option<WaitGuard<'_, R, D>> {
        let most = if options.is_inline { usize::MAX } else { self.settings.max_blocking() };
        let place = self.wait_queue.join(options.lane, most, waiter)?;
        Some(WaitGuard { place, _shrinks: ShrinksPermits(self) })
    }

    /// A try of somebody in line; says whether the task is in, and then that one has to leave the line and to
    /// [`ensure_workers`](Self::ensure_workers). Otherwise it has to wait on.
    pub(super) fn retry_from_queue(
        self: &Arc<Self>,
        item: &mut (impl LazyItem<R::Item> + ?Sized),
        options: &SubmitOptions<'_>,
        place: &WaitNode<'_>,
    ) -> Result<bool, SubmitErrorKind> {
        let mut is_head = true;
        let answer = place.consume_notification(|| {
            is_head = place.is_head();
            match is_head {
                true => self.try_enter(item, options.lane, 0),
                false if self.lifecycle.is_closed() => Err(Refused::Closed),
                false => Err(Refused::Full),
            }
        });
        match answer {
            Ok(()) => Ok(true),
            Err(Refused::Closed) => Err(SubmitErrorKind::Closed),
            Err(Refused::Full) => {
                self.block_permits.shrink(|| self.progress_capacity());
                if !is_head {
                    // Perhaps whoever is before it does not come.
                    self.pass_late_futures();
                }
                Ok(false)
            }
        }
    }

    fn wait_in_queue(
        self: &Arc<Self>,
        item: &mut dyn LazyItem<R::Item>,
        options: &SubmitOptions<'_>,
        guard: &block_permits::BlockGuard,
    ) -> Result<(), SubmitErrorKind> {
        let me = Waiter::Thread(current());
        let _listening = options.token.map(|token| token.listen(me.clone()));
        let Some(place) = self.enqueue(options, me) else { return Err(SubmitErrorKind::Overloaded) };
        let mut may_park_first = self.has_backlog() && !IS_CHECKED;
        while !self.retry_from_queue(item, options, &place)? {
            if may_park_first && place.is_head() {
                may_park_first = false;
                let end = Instant::now() + FIRST_PARK;
                place.timed_park(options.deadline().map_or(end, |deadline| end.min(deadline)));
                continue;
            }
            if guard.is_revoked() {
                drop(place);
                return self.make_room(item, options.lane);
            }
            if let Some(kind) = options.end() {
                return Err(kind);
            }
            place.wait(options.deadline());
        }
        Ok(())
    }

    /// Whether a full queue keeps the workers busy for a while.
    fn has_backlog(&self) -> bool {
        let most = BACKLOG_TOTAL.max(self.capacity().saturating_mul(BACKLOG_PER_WORKER));
        self.settings.queue().is_some_and(|queue| queue >= most)
    }

    /// The last worker that could make room stands at the door itself: it runs queued tasks until there is
    /// room, or, where nothing is queued, the task in hand.
    fn make_room(self: &Arc<Self>, item: &mut dyn LazyItem<R::Item>, lane: usize) -> Result<(), SubmitErrorKind> {
        loop {
            match self.try_enter(item, lane, 0) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed) => return Err(SubmitErrorKind::Closed),
                Err(Refused::Full) if self.help() => {}
                Err(Refused::Full) => return self.run_in_hand(item),
            }
        }
    }

    /// Runs a task that was not let in on this worker, in the middle of the one that it is at.
    fn run_in_hand(&self, item: &mut dyn LazyItem<R::Item>) -> Result<(), SubmitErrorKind> {
        let Some(mut state) = self.runner.spare_state() else { return Err(SubmitErrorKind::WouldDeadlock) };
        let has_run = current_worker::run_here(self.id(), |completion| {
            count(&self.counters.direct);
            self.runner.run(&mut state, item.build(), completion)
        });
        if has_run { Ok(()) } else { Err(SubmitErrorKind::WouldDeadlock) }
    }
}
