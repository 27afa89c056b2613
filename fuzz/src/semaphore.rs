//! The target `semaphore`: permits that are tried for, awaited, kept, and given back, while the size changes, against a list of who waits.
//! One thread does it all, so the list says exactly who has what after each step.
//!
//! A future that was given permits and is not polled keeps them for a grace only, if others want them. So a plan that takes as long ends
//! unchecked from there on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use formicary::{Acquire, AcquireError, CancelToken, Semaphore, SemaphorePermit};

use super::Sequence;

/// Less than the grace.
const GRACE: Duration = Duration::from_micros(1500);

#[derive(Arbitrary, Debug)]
pub(crate) struct Plan {
    permits: u8,
    operations: Sequence<Operation>,
}

choices! {
    #[derive(Debug)]
    enum Operation {
        Try(u8),
        /// With a time that is over, or a token that is cancelled.
        InVain(u8, bool),
        /// A future is made and polled.
        Poll(u8),
        /// One is made, and polled later or never.
        Make(u8),
        PollAgain(u8),
        DropFuture(u8),
        DropPermit(u8),
        Resize(u8),
        /// Seldom, because not much can follow: only for the last number.
        Close(u8),
        /// All that were woken are polled.
        PollWoken,
        DropAllPermits,
        Huge(bool),
    }
}

struct Waking(AtomicUsize);

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Unpolled,
    Waits,
    Granted,
    Refused(AcquireError),
}

struct Waiting {
    future: Pin<Box<Acquire>>,
    waking: Arc<Waking>,
    n: usize,
    stage: Stage,
}

struct World {
    semaphore: Semaphore,
    permits: usize,
    is_closed: bool,
    held: Vec<SemaphorePermit>,
    /// Every future that is not over.
    futures: Vec<Waiting>,
    /// Those that wait, in their order, by address of what they wake.
    queue: Vec<*const Waking>,
    /// Since a future has had permits that it has not taken.
    granted_since: Option<Instant>,
}

pub(crate) fn drive(plan: &Plan) {
    let permits = usize::from(plan.permits % 16);
    let mut world = World {
        semaphore: Semaphore::new(permits),
        permits,
        is_closed: false,
        held: Vec::new(),
        futures: Vec::new(),
        queue: Vec::new(),
        granted_since: None,
    };
    for operation in &plan.operations.0 {
        let begin = Instant::now();
        let outcome = world.carry_out(operation);
        world.grant(begin);
        let is_late = world.granted_since.is_some_and(|since| since.elapsed() >= GRACE);
        if is_late {
            break;
        }
        outcome.check(operation);
        world.check();
    }
    world.end();
}

/// What an operation gave, and should have given.
enum Outcome {
    None,
    Acquired(Result<usize, AcquireError>, Result<usize, AcquireError>),
    Polled(Poll<Result<usize, AcquireError>>, Poll<Result<usize, AcquireError>>),
}

impl Outcome {
    fn check(self, operation: &Operation) {
        match self {
            Outcome::None => {}
            Outcome::Acquired(is, should) => assert_eq!(is, should, "{operation:?}"),
            Outcome::Polled(is, should) => assert_eq!(is, should, "{operation:?}"),
        }
    }
}

impl World {
    fn in_use(&self) -> usize {
        let granted = self.futures.iter().filter(|waiting| waiting.stage == Stage::Granted);
        self.held.iter().map(SemaphorePermit::permits).sum::<usize>() + granted.map(|waiting| waiting.n).sum::<usize>()
    }

    fn free(&self) -> usize {
        self.permits.saturating_sub(self.in_use())
    }

    /// What a newcomer gets.
    fn newcomer(&self, n: usize) -> Poll<Result<usize, AcquireError>> {
        if self.is_closed {
            return Poll::Ready(Err(AcquireError::Closed));
        }
        if n > self.permits {
            return Poll::Ready(Err(AcquireError::TooLarge));
        }
        if n == 0 || self.queue.is_empty() && n <= self.free() { Poll::Ready(Ok(n)) } else { Poll::Pending }
    }

    /// Gives permits to those who wait longest.
    fn grant(&mut self, now: Instant) {
        while let Some(first) = self.queue.first() {
            let (first, free) = (*first, self.free());
            let waiting = self.futures.iter_mut().find(|waiting| Arc::as_ptr(&waiting.waking) == first);
            let waiting = waiting.expect("it waits");
            if waiting.n > free {
                break;
            }
            waiting.stage = Stage::Granted;
            self.queue.remove(0);
            self.granted_since.get_or_insert(now);
        }
        if !self.futures.iter().any(|waiting| waiting.stage == Stage::Granted) {
            self.granted_since = None;
        }
    }

    fn keep(&mut self, acquired: Result<SemaphorePermit, AcquireError>) -> Result<usize, AcquireError> {
        acquired.map(|permit| {
            let n = permit.permits();
            self.held.push(permit);
            n
        })
    }

    fn carry_out(&mut self, operation: &Operation) -> Outcome {
        match *operation {
            Operation::Try(n) => self.attempt(usize::from(n % 20)),
            Operation::Huge(is_all) => self.attempt(if is_all { self.permits } else { usize::MAX }),
            Operation::InVain(n, by_token) => {
                let n = usize::from(n % 20);
                let should = match self.newcomer(n) {
                    Poll::Pending => Err(AcquireError::TimedOut),
                    Poll::Ready(result) => result,
                };
                if by_token {
                    let token = CancelToken::new();
                    token.cancel();
                    let refused = self.semaphore.acquire_with(n, &token).map(|permit| permit.permits());
                    return Outcome::Acquired(refused, Err(AcquireError::Cancelled));
                }
                let acquired = self.semaphore.acquire_timeout(n, Duration::ZERO);
                Outcome::Acquired(self.keep(acquired), should)
            }
            Operation::Make(n) => {
                self.make(n);
                Outcome::None
            }
            Operation::Poll(n) => {
                self.make(n);
                self.poll(self.futures.len() - 1)
            }
            Operation::PollAgain(of) => match self.futures.len() {
                0 => Outcome::None,
                count => self.poll(usize::from(of) % count),
            },
            Operation::PollWoken => {
                let woken = |waiting: &Waiting| waiting.waking.0.load(SeqCst) > 0;
                match self.futures.iter().position(woken) {
                    Some(at) => self.poll(at),
                    None => Outcome::None,
                }
            }
            Operation::DropFuture(of) => {
                if !self.futures.is_empty() {
                    let gone = self.futures.remove(usize::from(of) % self.futures.len());
                    self.leave(&gone.waking);
                    drop(gone);
                }
                Outcome::None
            }
            Operation::DropPermit(of) => {
                if !self.held.is_empty() {
                    drop(self.held.remove(usize::from(of) % self.held.len()));
                }
                Outcome::None
            }
            Operation::DropAllPermits => {
                self.held.clear();
                Outcome::None
            }
            Operation::Resize(permits) => {
                self.permits = usize::from(permits % 20);
                self.semaphore.resize(self.permits);
                self.refuse(|waiting, permits| waiting.n > permits, AcquireError::TooLarge);
                Outcome::None
            }
            Operation::Close(u8::MAX) => {
                self.is_closed = true;
                self.semaphore.close();
                self.refuse(|_, _| true, AcquireError::Closed);
                Outcome::None
            }
            Operation::Close(_) => Outcome::None,
        }
    }

    fn attempt(&mut self, n: usize) -> Outcome {
        let should = match self.newcomer(n) {
            Poll::Pending => Err(AcquireError::Full),
            Poll::Ready(result) => result,
        };
        let acquired = self.semaphore.try_acquire(n);
        Outcome::Acquired(self.keep(acquired), should)
    }

    fn make(&mut self, n: u8) {
        let n = usize::from(n % 20);
        let future = Box::pin(self.semaphore.acquire_async(n));
        self.futures.push(Waiting { future, waking: Arc::new(Waking(AtomicUsize::new(0))), n, stage: Stage::Unpolled });
    }

    /// Polls a future, with another waker than before.
    fn poll(&mut self, at: usize) -> Outcome {
        let should = match self.futures[at].stage {
            Stage::Unpolled => self.newcomer(self.futures[at].n),
            Stage::Waits => Poll::Pending,
            Stage::Granted => Poll::Ready(Ok(self.futures[at].n)),
            // One that was refused by a resize says so also after a close, which refuses all.
            Stage::Refused(_) if self.is_closed => Poll::Ready(Err(AcquireError::Closed)),
            Stage::Refused(error) => Poll::Ready(Err(error)),
        };
        let before = Arc::clone(&self.futures[at].waking);
        let waking = Arc::new(Waking(AtomicUsize::new(0)));
        let waiting = &mut self.futures[at];
        let polled = waiting.future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&waking))));
        waiting.waking = Arc::clone(&waking);
        let is = match polled {
            Poll::Pending => {
                match self.queue.iter().position(|waits| *waits == Arc::as_ptr(&before)) {
                    Some(place) => self.queue[place] = Arc::as_ptr(&waking),
                    None => self.queue.push(Arc::as_ptr(&waking)),
                }
                self.futures[at].stage = Stage::Waits;
                Poll::Pending
            }
            Poll::Ready(result) => {
                self.leave(&before);
                drop(self.futures.remove(at));
                Poll::Ready(self.keep(result))
            }
        };
        Outcome::Polled(is, should)
    }

    fn leave(&mut self, waking: &Arc<Waking>) {
        self.queue.retain(|waits| *waits != Arc::as_ptr(waking));
    }

    /// Those who wait are refused.
    fn refuse(&mut self, which: impl Fn(&Waiting, usize) -> bool, error: AcquireError) {
        let permits = self.permits;
        for waiting in self.futures.iter_mut().filter(|waiting| waiting.stage == Stage::Waits) {
            if which(waiting, permits) {
                waiting.stage = Stage::Refused(error);
                self.queue.retain(|waits| *waits != Arc::as_ptr(&waiting.waking));
            }
        }
    }

    fn check(&self) {
        let seen = (self.semaphore.permits(), self.semaphore.available(), self.semaphore.waiting());
        assert_eq!(seen, (self.permits, self.free(), self.queue.len()));
        assert_eq!(self.semaphore.is_closed(), self.is_closed);
        for waiting in &self.futures {
            let is_woken = waiting.waking.0.load(SeqCst) > 0;
            let is_answered = matches!(waiting.stage, Stage::Granted | Stage::Refused(_));
            assert_eq!(is_woken, is_answered, "{:?} of {}", waiting.stage, waiting.n);
        }
    }

    /// Everything comes back.
    fn end(self) {
        let World { semaphore, permits, held, futures, .. } = self;
        drop(futures);
        drop(held);
        assert_eq!((semaphore.available(), semaphore.waiting()), (permits, 0));
    }
}
