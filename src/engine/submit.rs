//! The way of a task into the pool: enter, or wait in line, or come back with the reason.

use std::convert;
use std::hash::{BuildHasher, Hash, RandomState};
use std::ops::Deref;
use std::time::{Duration, Instant};

use super::admission::Place;
use super::counters::count;
use super::{Engine, Runner};
use crate::cancel::{CancelReason, CancelToken, earlier};
use crate::error::{SubmitError, SubmitErrorKind};
use crate::queue::{Dispatch, MAIN_DOOR, Made, Parcel, Queue, Refused};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, IS_CHECKED, current, spin_loop, yield_now};
use crate::task::block_permits;
use crate::task::current_worker::{self, CurrentPool};
use crate::task::slot::{Slot, Ticket};

/// How often a submitter tries before it stands in line, and how long it pauses before each try: some microseconds in all, about
/// what a sleep and a wake-up cost.
const LINGERS: usize = 2;
const PAUSES: usize = if IS_CHECKED { 1 } else { 100 };

/// How long the first in line sleeps before it asks to be called, where the workers have enough to do meanwhile: so many tasks each,
/// and so many in all. They end some tasks in that time, and wake it once instead of for each.
const NAP: Duration = Duration::from_micros(50);
const NAP_BACKLOG: usize = 8;
const NAP_BACKLOG_IN_ALL: usize = 64;

/// How long a submitter is willing to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    None,
    Until(Instant),
    Forever,
}

impl Patience {
    /// For a duration; one that the clock cannot hold is for ever.
    pub(crate) fn at_most(limit: Duration) -> Self {
        Instant::now().checked_add(limit).map_or(Patience::Forever, Patience::Until)
    }

    fn deadline(self) -> Option<Instant> {
        match self {
            Patience::Until(deadline) => Some(deadline),
            _ => None,
        }
    }
}

/// By which door a task wants in, how long its submitter waits there, and what makes it give up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'t> {
    door: usize,
    patience: Patience,
    token: Option<&'t CancelToken>,
    /// Its future is polled where it is woken, and let into the line however many wait.
    is_inline: bool,
    /// The submitter keeps what finds no room and comes again with it: that is not counted as a refusal.
    comes_again: bool,
    /// Counts against the bound, whichever thread brings it.
    is_bounded: bool,
}

impl From<Patience> for Way<'_> {
    /// By the main door.
    fn from(patience: Patience) -> Self {
        Way { door: MAIN_DOOR, patience, token: None, is_inline: false, comes_again: false, is_bounded: false }
    }
}

impl<'t> Way<'t> {
    /// Gives up when the token is cancelled.
    pub(crate) fn unless(self, token: Option<&'t CancelToken>) -> Self {
        Way { token, ..self }
    }

    /// For a future that is polled where it is woken. It blocks nobody, so `max_blocking` does not keep it out.
    pub(crate) fn inline(self) -> Self {
        Way { is_inline: true, ..self }
    }

    pub(super) fn is_inline(&self) -> bool {
        self.is_inline
    }

    pub(crate) fn coming_again(self) -> Self {
        Way { comes_again: true, ..self }
    }

    /// The task is not the calling thread's own: it goes in within the bound, also if that is a worker of the pool.
    pub(crate) fn bounded(self) -> Self {
        Way { is_bounded: true, ..self }
    }

    /// Why to give up waiting, if so.
    fn end(&self) -> Option<SubmitErrorKind> {
        let is_late = || self.patience.deadline().is_some_and(|d| Instant::now() >= d);
        self.cancelled().or_else(|| is_late().then_some(SubmitErrorKind::TimedOut))
    }

    /// Whether its token is cancelled: the refusal then.
    pub(crate) fn cancelled(&self) -> Option<SubmitErrorKind> {
        self.token.and_then(CancelToken::reason).map(|reason| match reason {
            CancelReason::Deadline => SubmitErrorKind::TimedOut,
            CancelReason::Asked => SubmitErrorKind::Cancelled,
        })
    }

    pub(super) fn token(&self) -> Option<&'t CancelToken> {
        self.token
    }

    fn deadline(&self) -> Option<Instant> {
        earlier(self.patience.deadline(), self.token.and_then(CancelToken::deadline))
    }
}

/// A place in line. Workers that wait may have relied on who stands there ([`CurrentPool::progress_capacity`]), so they are told when that one
/// has left, as when it was called in vain.
pub(super) struct InLine<'e, R: Runner, D: Dispatch> {
    // In this order: it has left when they are told.
    place: Place<'e>,
    _left: Left<'e, R, D>,
}

impl<'e, R: Runner, D: Dispatch> Deref for InLine<'e, R, D> {
    type Target = Place<'e>;

    fn deref(&self) -> &Place<'e> {
        &self.place
    }
}

struct Left<'e, R: Runner, D: Dispatch>(&'e Engine<R, D>);

impl<R: Runner, D: Dispatch> Drop for Left<'_, R, D> {
    fn drop(&mut self) {
        self.0.block_permits.shrink(|| self.0.progress_capacity());
    }
}

impl<R: Runner, D: Dispatch> Engine<R, D> {
    /// The way of a task, which may have a key.
    pub(crate) fn way(&self, key: Option<u64>, patience: Patience) -> Way<'static> {
        Way { door: key.map_or(MAIN_DOOR, |key| self.queue.door(key)), ..Way::from(patience) }
    }

    /// What the queue knows a key by: the same number for the same key, in this pool.
    pub(crate) fn number_of(&self, key: impl Hash) -> u64 {
        self.seed.hash_one(key)
    }

    /// The shard of a key that `hash` hashes.
    pub(crate) fn shard_of(&self, hash: &dyn Fn(&RandomState) -> u64) -> usize {
        self.queue.shard_behind(self.queue.door(hash(&self.seed)))
    }

    /// One try to get a task in, if there is room for it and for `keep` more: push, and wake somebody for it. Whoever has
    /// pushed must then [`staff`](Self::staff), when others do not wait for it any more.
    #[inline]
    fn try_enter(
        self: &Arc<Self>,
        item: &mut (impl Parcel<R::Item> + ?Sized),
        door: usize,
        keep: usize,
    ) -> Result<(), Refused> {
        let hands_over = D::Queue::<R::Item>::HANDS_OVER && !self.life.is_paused();
        let idle = if hands_over { self.parking.claim() } else { None };
        let pushed = self.queue.push(item, door, keep, idle.as_ref().map(|claim| claim.worker()));
        drop(idle);
        if let Err(refused) = pushed {
            let mut again = item;
            self.sweep_and_push(refused, &mut again, door, keep)?;
        }
        self.wake();
        Ok(())
    }

    /// After a refusal: tries once more if there may be room now that what is dead has left the queue.
    #[cold]
    fn sweep_and_push(
        &self,
        refused: Refused,
        item: &mut dyn Parcel<R::Item>,
        door: usize,
        keep: usize,
    ) -> Result<(), Refused> {
        let may_help = refused == Refused::Full && self.sweep();
        if may_help { self.queue.push(item, door, keep, None) } else { Err(refused) }
    }

    /// Submits one task, made of `input`; on a refusal that comes back.
    #[inline]
    pub(crate) fn submit<'t, I>(
        self: &Arc<Self>,
        input: I,
        make: impl FnOnce(I) -> R::Item,
        way: impl Into<Way<'t>>,
    ) -> Result<(), SubmitError<I>> {
        let (mut item, way) = (Made::new(input, make), way.into());
        let admitted = match self.enter_at_once(&mut item, &way) {
            Ok(true) => return Ok(()),
            Ok(false) => self.wait_at_door(&mut item, &way),
            Err(kind) => Err(kind),
        };
        admitted.map_err(|kind| {
            self.note_refusal(&way, kind);
            SubmitError::new(kind, item.back())
        })
    }

    #[cold]
    fn note_refusal(&self, way: &Way<'_>, kind: SubmitErrorKind) {
        if !(way.comes_again && kind.is_for_now()) {
            self.counters.count_refusal(kind);
        }
    }

    /// Submits the task of a slot; on a refusal the input comes back out of it.
    pub(crate) fn submit_slot<'t, I, O>(
        self: &Arc<Self>,
        slot: &Slot<I, O>,
        item: R::Item,
        way: impl Into<Way<'t>>,
    ) -> Result<(), SubmitError<I>> {
        self.submit(item, convert::identity, way).map_err(|refusal| slot.refused(refusal.kind()))?;
        self.note_cancellable(slot.terms().token.as_ref());
        self.sweep_if_worth_it();
        Ok(())
    }

    /// If the calling thread is a worker of this pool, runs the task of a slot on it; says whether it did.
    pub(crate) fn run_on_the_spot<I, O>(&self, slot: &Arc<Slot<I, O>>, f: impl FnOnce(I) -> O) -> bool
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        if self.life.is_closed() {
            return false;
        }
        current_worker::run_here_however_deep(self.id(), |reply| {
            count(&self.counters.direct);
            Ticket::new(slot).run(reply, None, |input, _| f(input))
        })
    }

    /// There are tasks: wakes somebody for them.
    pub(super) fn wake(&self) {
        self.parking.notify(|| self.queue.has_work(), || self.queue.has_more());
    }

    /// There is room: lets the first in line try.
    #[inline]
    pub(super) fn call_line(&self) {
        self.line.call(|door| self.queue.has_room(door));
    }

    /// Lets those in line try who are behind futures that were called and have not come.
    pub(super) fn pass_the_late(&self) {
        self.line.pass_the_late(|door| self.queue.has_room(door));
    }

    /// `submit`'s patience as the options have it.
    pub(crate) fn default_patience(&self) -> Patience {
        if self.settings.nonblocking() { Patience::None } else { Patience::Forever }
    }

    #[cold]
    fn wait_at_door(self: &Arc<Self>, item: &mut dyn Parcel<R::Item>, way: &Way<'_>) -> Result<(), SubmitErrorKind> {
        if let Patience::None = way.patience {
            return Err(SubmitErrorKind::Full);
        }
        if self.linger(item, way)? {
            return Ok(());
        }
        let has_way_out = self.runner.spare_state().is_some();
        match block_permits::enter_wait_at_door(self.id(), way.deadline(), has_way_out) {
            Ok(guard) => self.wait_in_line(item, way, &guard)?,
            Err(block_permits::WouldDeadlock) => self.make_room(item, way.door)?,
        }
        // It has left the line: those behind need not wait until a guest has done its work.
        self.staff();
        Ok(())
    }

    /// Waits a moment at a full queue before anyone is asked to call; says whether the task is in. Workers at small tasks make room
    /// for many in that time, if nobody looks at their books for each single place; a sleep would cost more.
    fn linger(self: &Arc<Self>, item: &mut dyn Parcel<R::Item>, way: &Way<'_>) -> Result<bool, SubmitErrorKind> {
        for _ in 0..LINGERS {
            if self.line.waiting() > 0 || way.end().is_some() {
                break;
            }
            (0..PAUSES).for_each(|_| spin_loop());
            yield_now();
            if self.enter_at_once(item, way)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets a task in if there is room; says whether it did. Otherwise it has to wait.
    #[inline]
    pub(crate) fn enter_at_once(
        self: &Arc<Self>,
        item: &mut (impl Parcel<R::Item> + ?Sized),
        way: &Way<'_>,
    ) -> Result<bool, SubmitErrorKind> {
        if let Some(kind) = way.cancelled() {
            return Err(kind);
        }
        if self.ensure_worker().is_err() {
            return Err(SubmitErrorKind::Spawn);
        }
        if current_worker::is_inside(self.id()) {
            if let Some(result) = self.enter_nested(item, way) {
                return result;
            }
        }
        // Whoever comes later than the threads in line must not take their places; but if there are more, it need not wait until all
        // of those have woken up. To futures, which may never come, nothing is kept.
        match self.try_enter(item, way.door, self.line.waiting_at(way.door)) {
            Ok(()) => {
                self.staff();
                Ok(true)
            }
            Err(Refused::Closed) => Err(SubmitErrorKind::Closed),
            Err(Refused::Full) if self.life.is_closed() => Err(SubmitErrorKind::Closed),
            Err(Refused::Full) => Ok(false),
        }
    }

    /// Lets a task of one of the pool's own workers in, beyond the bound. `None` if it has to go the way of all others.
    #[cold]
    fn enter_nested(
        self: &Arc<Self>,
        item: &mut (impl Parcel<R::Item> + ?Sized),
        way: &Way<'_>,
    ) -> Option<Result<bool, SubmitErrorKind>> {
        if way.is_bounded {
            return None;
        }
        self.sweep_if_worth_it();
        let mut pushed = self.queue.push_nested(item, way.door);
        if pushed == Err(Refused::Full) && self.sweep() {
            pushed = self.queue.push_nested(item, way.door);
        }
        match pushed {
            Ok(()) => {
                self.wake();
                self.staff();
                Some(Ok(true))
            }
            Err(Refused::Closed) => Some(Err(SubmitErrorKind::Closed)),
            Err(Refused::Full) => None,
        }
    }

    /// A place in the line of its door, unless too many wait.
    pub(super) fn join_line(&self, way: &Way<'_>, waiter: Waiter) -> Option<InLine<'_, R, D>> {
        let most = if way.is_inline { usize::MAX } else { self.settings.max_blocking() };
        let place = self.line.join(way.door, most, waiter)?;
        Some(InLine { place, _left: Left(self) })
    }

    /// A try of somebody in line; says whether the task is in, and then that one has to leave the line and to
    /// [`staff`](Self::staff). Otherwise it has to wait on.
    pub(super) fn enter_from_line(
        self: &Arc<Self>,
        item: &mut (impl Parcel<R::Item> + ?Sized),
        way: &Way<'_>,
        place: &Place<'_>,
    ) -> Result<bool, SubmitErrorKind> {
        let mut is_first = true;
        let answer = place.answer(|| {
            is_first = place.is_first();
            match is_first {
                true => self.try_enter(item, way.door, 0),
                false if self.life.is_closed() => Err(Refused::Closed),
                false => Err(Refused::Full),
            }
        });
        match answer {
            Ok(()) => Ok(true),
            Err(Refused::Closed) => Err(SubmitErrorKind::Closed),
            Err(Refused::Full) => {
                self.block_permits.shrink(|| self.progress_capacity());
                if !is_first {
                    // Perhaps whoever is before it does not come.
                    self.pass_the_late();
                }
                Ok(false)
            }
        }
    }

    fn wait_in_line(
        self: &Arc<Self>,
        item: &mut dyn Parcel<R::Item>,
        way: &Way<'_>,
        guard: &block_permits::BlockGuard,
    ) -> Result<(), SubmitErrorKind> {
        let me = Waiter::Thread(current());
        let _listening = way.token.map(|token| token.listen(me.clone()));
        let Some(place) = self.join_line(way, me) else { return Err(SubmitErrorKind::Overloaded) };
        let mut may_nap = self.has_backlog() && !IS_CHECKED;
        while !self.enter_from_line(item, way, &place)? {
            if may_nap && place.is_first() {
                may_nap = false;
                let end = Instant::now() + NAP;
                place.nap(way.deadline().map_or(end, |deadline| end.min(deadline)));
                continue;
            }
            if guard.is_revoked() {
                drop(place);
                return self.make_room(item, way.door);
            }
            if let Some(kind) = way.end() {
                return Err(kind);
            }
            place.wait(way.deadline());
        }
        Ok(())
    }

    /// Whether a full queue keeps the workers busy for a while.
    fn has_backlog(&self) -> bool {
        let most = NAP_BACKLOG_IN_ALL.max(self.capacity().saturating_mul(NAP_BACKLOG));
        self.settings.queue().is_some_and(|queue| queue >= most)
    }

    /// The last worker that could make room stands at the door itself: it runs queued tasks until there is
    /// room, or, where nothing is queued, the task in hand.
    fn make_room(self: &Arc<Self>, item: &mut dyn Parcel<R::Item>, door: usize) -> Result<(), SubmitErrorKind> {
        loop {
            match self.try_enter(item, door, 0) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed) => return Err(SubmitErrorKind::Closed),
                Err(Refused::Full) if self.help() => {}
                Err(Refused::Full) => return self.run_in_hand(item),
            }
        }
    }

    /// Runs a task that was not let in on this worker, in the middle of the one that it is at.
    fn run_in_hand(&self, item: &mut dyn Parcel<R::Item>) -> Result<(), SubmitErrorKind> {
        let Some(mut state) = self.runner.spare_state() else { return Err(SubmitErrorKind::WouldDeadlock) };
        let has_run = current_worker::run_here(self.id(), |reply| {
            count(&self.counters.direct);
            self.runner.run(&mut state, item.unpack(), reply)
        });
        if has_run { Ok(()) } else { Err(SubmitErrorKind::WouldDeadlock) }
    }
}
