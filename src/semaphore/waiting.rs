//! Waiting for permits, as a thread or as a future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use super::state::{Progress, State};
use super::{Semaphore, SemaphorePermit};
use crate::error::AcquireError;
use crate::sync::clock;
use crate::sync::timer::{Alarm, TIMER};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, Mutex, current, park};

/// What the handles, permits and waiters of a semaphore share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// For the end of a grace. Held until the next one is set.
    alarm: Mutex<Option<Alarm>>,
}

impl Shared {
    pub(super) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Shared { state: Mutex::new(State::new(permits)), alarm: Mutex::new(None) })
    }

    /// Reads or changes the state, then wakes without the lock whom `change` has collected.
    pub(super) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, &mut Vec<Waiter>) -> T) -> T {
        let mut woken = Vec::new();
        let mut state = self.state.lock();
        let result = change(&mut state, &mut woken);
        let grace_ends = if state.has_alarm { None } else { state.grace_ends() };
        state.has_alarm |= grace_ends.is_some();
        drop(state);
        if let Some(grace_ends) = grace_ends {
            self.set_alarm(grace_ends);
        }
        woken.into_iter().for_each(Waiter::wake);
        result
    }

    #[cold]
    fn set_alarm(self: &Arc<Self>, at: Instant) {
        let waker = Waker::from(Arc::new(EndsGrace(Arc::downgrade(self))));
        match TIMER.try_at(at, Waiter::Inline(waker)) {
            Ok(alarm) => {
                let before = self.alarm.lock().replace(alarm);
                drop(before);
            }
            // Without a timer there is no grace.
            Err(_) => self.end_grace(at),
        }
    }

    fn end_grace(self: &Arc<Self>, now: Instant) {
        self.change(|state, woken| {
            state.has_alarm = false;
            state.revoke_late(now, woken);
        });
    }

    /// Gives permits that are free at once.
    pub(super) fn take(self: &Arc<Self>, weight: usize) -> Result<Option<SemaphorePermit>, AcquireError> {
        let has_taken = self.change(|state, woken| state.take(weight, clock::now, woken))?;
        Ok(has_taken.then(|| SemaphorePermit::new(self, weight)))
    }

    /// Gives permits at once, or lets the newcomer wait.
    fn enter(self: &Arc<Self>, weight: usize, waiter: Waiter) -> Result<Entered, AcquireError> {
        let mut waiter = Some(waiter);
        let number = self.change(|state, woken| {
            if state.take(weight, clock::now, woken)? {
                return Ok(None);
            }
            Ok(waiter.take().map(|waiter| state.push(weight, waiter)))
        });
        waiter.into_iter().for_each(Waiter::discard);
        Ok(match number? {
            Some(number) => Entered::Waits(Place { shared: Arc::clone(self), weight, number, is_over: false }),
            None => Entered::Has(SemaphorePermit::new(self, weight)),
        })
    }

    pub(super) fn release(self: &Arc<Self>, weight: usize) {
        if weight > 0 {
            self.change(|state, woken| state.release(weight, clock::now, woken));
        }
    }
}

/// Ends the grace of futures that were not polled.
struct EndsGrace(Weak<Shared>);

impl Wake for EndsGrace {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.end_grace(clock::now());
        }
    }
}

enum Entered {
    Has(SemaphorePermit),
    Waits(Place),
}

/// A place in the queue. Dropping it gives back what it was granted.
struct Place {
    shared: Arc<Shared>,
    weight: usize,
    number: u64,
    /// It was granted or refused.
    is_over: bool,
}

impl Place {
    /// `None` while it has to wait; then `waiter`, if there is one, is woken in place of the one before.
    fn look(&mut self, mut waiter: Option<Waiter>) -> Option<Result<SemaphorePermit, AcquireError>> {
        let number = self.number;
        let progress = self.shared.change(|state, woken| state.look(number, &mut waiter, clock::now, woken));
        waiter.into_iter().for_each(Waiter::discard);
        self.is_over = progress != Progress::Waits;
        match progress {
            Progress::Waits => None,
            Progress::Granted => Some(Ok(SemaphorePermit::new(&self.shared, self.weight))),
            Progress::Refused(error) => Some(Err(error)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_over {
            let left = self.shared.change(|state, woken| state.leave(self.number, clock::now, woken));
            left.into_iter().for_each(Waiter::discard);
        }
    }
}

impl Semaphore {
    /// Blocks until there are permits, or until `stop` says why not. It is asked again at the `deadline`; what else changes its answer unparks
    /// the thread.
    pub(crate) fn wait(
        &self,
        weight: usize,
        deadline: impl Fn() -> Option<Instant>,
        stop: impl Fn() -> Option<AcquireError>,
    ) -> Result<SemaphorePermit, AcquireError> {
        if let Some(permit) = self.shared.take(weight)? {
            return Ok(permit);
        }
        let mut place = match self.shared.enter(weight, Waiter::Thread(current()))? {
            Entered::Has(permit) => return Ok(permit),
            Entered::Waits(place) => place,
        };
        loop {
            if let Some(result) = place.look(None) {
                return result;
            }
            if let Some(error) = stop() {
                return Err(error);
            }
            park(deadline());
        }
    }
}

/// A future that acquires permits. Made by [`Semaphore::acquire_async`].
///
/// It enters the queue when it is polled for the first time, and keeps its place until it is ready or dropped. Dropping it gives back what
/// it was granted.
///
/// ```
/// let semaphore = formicary::Semaphore::new(1);
/// let acquire: formicary::Acquire = semaphore.acquire_async(1);
/// drop(acquire);
/// assert_eq!(semaphore.available(), 1);
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub struct Acquire {
    shared: Arc<Shared>,
    weight: usize,
    place: Option<Place>,
    is_over: bool,
}

impl Acquire {
    pub(super) fn new(shared: &Arc<Shared>, weight: usize) -> Self {
        Acquire { shared: Arc::clone(shared), weight, place: None, is_over: false }
    }

    fn advance(&mut self, waker: &Waker) -> Option<Result<SemaphorePermit, AcquireError>> {
        let waiter = || Waiter::Task(waker.clone());
        if let Some(place) = &mut self.place {
            return place.look(Some(waiter()));
        }
        match self.shared.take(self.weight) {
            Ok(None) => {}
            other => return other.transpose(),
        }
        match self.shared.enter(self.weight, waiter()) {
            Ok(Entered::Has(permit)) => Some(Ok(permit)),
            Ok(Entered::Waits(place)) => {
                self.place = Some(place);
                None
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl Future for Acquire {
    type Output = Result<SemaphorePermit, AcquireError>;

    /// # Panics
    /// If it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.is_over, "polled after it was ready");
        let Some(result) = self.advance(poller.waker()) else { return Poll::Pending };
        self.is_over = true;
        self.place = None;
        Poll::Ready(result)
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("permits", &self.weight)
            .field("waits", &self.place.is_some())
            .finish_non_exhaustive()
    }
}
