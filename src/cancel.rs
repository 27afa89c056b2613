//! Telling work to stop.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::{Duration, Instant};

use crate::sync::{Arc, AtomicBool, AtomicU8, Mutex, Ordering, current, park};
use crate::timer::{self, Alarm};
use crate::waiter::Waiter;

/// Whether work should stop, shared by whoever may say so and whoever does the work.
///
/// Clones are the same token. A [`child`](Self::child) is cancelled with its parent, but not the other way round. Cancelling
/// cannot be undone. A token is a flag that running code looks at ([`is_cancelled`](Self::is_cancelled)) or waits for; a task
/// that has a token and is still queued when it is cancelled never runs.
///
/// A time limit ([`cancel_after`](Self::cancel_after)) needs no thread: whoever looks or waits knows the time. (Only while
/// somebody awaits a token with a time limit in asynchronous code does the crate have one thread that keeps the time.)
///
/// ```
/// use formicary::CancelToken;
///
/// let all = CancelToken::new();
/// let one = all.child();
/// one.cancel();
/// assert!(one.is_cancelled() && !all.is_cancelled());
///
/// let other = all.child();
/// all.cancel();
/// assert!(other.is_cancelled());
/// ```
#[derive(Clone)]
pub struct CancelToken(Arc<Node>);

/// Why a token is cancelled.
///
/// ```
/// use formicary::{CancelReason, CancelToken};
///
/// let token = CancelToken::new();
/// token.cancel();
/// assert_eq!(token.reason(), Some(CancelReason::Asked));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// Somebody called [`cancel`](CancelToken::cancel), on this token or on one above it.
    Asked,
    /// Its time was up, or that of one above it.
    Deadline,
}

/// How often a token of this process was cancelled, or given a deadline: whoever wants to know whether any was since. Not one of `sync`'s
/// atomics: a static of loom's cannot be made.
static CANCELLATIONS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// A number that is another one after the next cancellation.
pub(crate) fn cancellations() -> u64 {
    // ORDERING: Acquire pairs with the Release of those who count: who sees the number sees the token cancelled.
    CANCELLATIONS.load(Ordering::Acquire)
}

/// Something was cancelled.
pub(crate) fn note_cancellation() {
    // ORDERING: Release, see `cancellations`.
    CANCELLATIONS.fetch_add(1, Ordering::Release);
}

const LIVE: u8 = 0;
const ASKED: u8 = 1;
const OVERDUE: u8 = 2;

struct Node {
    parent: Option<CancelToken>,
    state: AtomicU8,
    /// Whether there is a deadline, so that who looks at a token without one reads no clock.
    is_timed: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    deadline: Option<Instant>,
    /// Who waits for this token or for one below it.
    listeners: BTreeMap<u64, Waiter>,
    next_listener: u64,
}

impl Node {
    /// Why this node, and not one above it, is cancelled.
    fn own_reason(&self) -> Option<CancelReason> {
        // ORDERING: Acquire pairs with the Release in `CancelToken::cancel`: what the canceller did before is seen. A deadline
        // has nobody who did anything.
        match self.state.load(Ordering::Acquire) {
            LIVE => (self.is_overdue()).then_some(CancelReason::Deadline),
            OVERDUE => Some(CancelReason::Deadline),
            _ => Some(CancelReason::Asked),
        }
    }

    /// The first reason that was seen stays, whatever befalls this token or one above it later.
    fn settle(&self, reason: CancelReason) -> CancelReason {
        let state = match reason {
            CancelReason::Asked => ASKED,
            CancelReason::Deadline => OVERDUE,
        };
        // ORDERING: AcqRel, see `own_reason`: what the canceller of a token above did is passed on.
        match self.state.compare_exchange(LIVE, state, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => reason,
            Err(OVERDUE) => CancelReason::Deadline,
            Err(_) => CancelReason::Asked,
        }
    }

    fn is_overdue(&self) -> bool {
        // ORDERING: Relaxed. Waiters are woken after it is set, through the lock; to others any time may do.
        let is_overdue = self.is_timed.load(Ordering::Relaxed)
            && self.inner.lock().deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_overdue {
            // The reason stays, also if somebody asks as well. If somebody asked first, that stays.
            let _ = self.state.compare_exchange(LIVE, OVERDUE, Ordering::AcqRel, Ordering::Acquire);
        }
        is_overdue
    }
}

impl CancelToken {
    /// A token that is not cancelled. Costs one allocation.
    ///
    /// ```
    /// assert!(!formicary::CancelToken::new().is_cancelled());
    /// ```
    pub fn new() -> Self {
        Self::below(None)
    }

    /// A token that is cancelled with this one, or by itself.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// let child = token.child();
    /// token.cancel();
    /// assert!(child.is_cancelled());
    /// ```
    pub fn child(&self) -> Self {
        Self::below(Some(self.clone()))
    }

    fn below(parent: Option<CancelToken>) -> Self {
        CancelToken(Arc::new(Node {
            parent,
            state: AtomicU8::new(LIVE),
            is_timed: AtomicBool::new(false),
            inner: Mutex::new(Inner::default()),
        }))
    }

    /// The token itself and those above it.
    fn line(&self) -> impl Iterator<Item = &Node> {
        std::iter::successors(Some(&*self.0), |node| node.parent.as_ref().map(|parent| &*parent.0))
    }

    /// Cancels. Takes the time to wake whoever waits; tasks are not touched. Doing it again changes nothing. If the waker of one
    /// who awaits the token panics, the others are woken all the same, and the panic ends here.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// token.cancel();
    /// token.cancel();
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancel(&self) {
        // If it is cancelled from above, that stays the reason, and who waits is woken from there.
        // ORDERING: Release, see `own_reason`.
        if self.reason().is_none()
            && self.0.state.compare_exchange(LIVE, ASKED, Ordering::Release, Ordering::Relaxed).is_ok()
        {
            note_cancellation();
            self.wake();
        }
    }

    /// Cancels when `limit` has passed, unless that is so earlier: of several limits the shortest holds.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let token = formicary::CancelToken::new();
    /// token.cancel_after(Duration::from_secs(3600));
    /// assert!(!token.is_cancelled());
    /// token.cancel_after(Duration::ZERO);
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancel_after(&self, limit: Duration) {
        // A time that the clock cannot hold never comes.
        if let Some(deadline) = Instant::now().checked_add(limit) {
            self.cancel_at(deadline);
        }
    }

    /// Cancels at `deadline`, as [`cancel_after`](Self::cancel_after).
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let token = formicary::CancelToken::new();
    /// token.cancel_at(Instant::now());
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancel_at(&self, deadline: Instant) {
        let mut inner = self.0.inner.lock();
        if inner.deadline.is_none_or(|before| deadline < before) {
            inner.deadline = Some(deadline);
            // ORDERING: Relaxed, see `is_overdue`.
            self.0.is_timed.store(true, Ordering::Relaxed);
            drop(inner);
            note_cancellation();
            // They wait until another time now.
            self.wake();
        }
    }

    fn wake(&self) {
        // Not under the lock: a waker is somebody else's code.
        let listeners: Vec<Waiter> = self.0.inner.lock().listeners.values().cloned().collect();
        listeners.into_iter().for_each(Waiter::wake);
    }

    /// Whether the token is cancelled. Costs one load, and one more for each token above; with a time limit, a look at the
    /// clock.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// let mut steps = 0;
    /// while !token.is_cancelled() {
    ///     steps += 1;
    ///     if steps == 3 {
    ///         token.cancel();
    ///     }
    /// }
    /// assert_eq!(steps, 3);
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Why the token is cancelled, if it is.
    ///
    /// ```
    /// use formicary::{CancelReason, CancelToken};
    /// use std::time::Duration;
    ///
    /// let token = CancelToken::new();
    /// assert_eq!(token.reason(), None);
    /// token.cancel_after(Duration::ZERO);
    /// assert_eq!(token.reason(), Some(CancelReason::Deadline));
    /// ```
    pub fn reason(&self) -> Option<CancelReason> {
        self.line().find_map(Node::own_reason).map(|reason| self.0.settle(reason))
    }

    /// When the token will be cancelled by itself: the earliest limit of its own and of those above it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let token = formicary::CancelToken::new();
    /// assert_eq!(token.deadline(), None);
    /// token.cancel_after(Duration::from_secs(60));
    /// assert!(token.child().deadline().is_some());
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        // ORDERING: Relaxed, see `is_overdue`.
        let timed = self.line().filter(|node| node.is_timed.load(Ordering::Relaxed));
        timed.filter_map(|node| node.inner.lock().deadline).min()
    }

    /// Blocks until the token is cancelled.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// let other = token.clone();
    /// let thread = std::thread::spawn(move || other.cancel());
    /// token.wait();
    /// assert!(token.is_cancelled());
    /// # thread.join().unwrap();
    /// ```
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Blocks until the token is cancelled, for at most `limit`; says whether it is.
    ///
    /// ```
    /// let token = formicary::CancelToken::new();
    /// assert!(!token.wait_timeout(std::time::Duration::from_millis(1)));
    /// ```
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(limit))
    }

    fn wait_until(&self, limit: Option<Instant>) -> bool {
        let _listening = self.listen(Waiter::Thread(current()));
        loop {
            if self.is_cancelled() {
                return true;
            }
            if limit.is_some_and(|limit| Instant::now() >= limit) {
                return false;
            }
            park(earlier(limit, self.deadline()));
        }
    }

    /// Completes when the token is cancelled. Works on any executor.
    ///
    /// ```
    /// # fn block_on<F: std::future::Future>(f: F) -> F::Output {
    /// #     let mut f = std::pin::pin!(f);
    /// #     struct Unpark(std::thread::Thread);
    /// #     impl std::task::Wake for Unpark { fn wake(self: std::sync::Arc<Self>) { self.0.unpark() } }
    /// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    /// #     loop {
    /// #         match f.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
    /// #             std::task::Poll::Ready(out) => return out,
    /// #             std::task::Poll::Pending => std::thread::park(),
    /// #         }
    /// #     }
    /// # }
    /// let token = formicary::CancelToken::new();
    /// token.cancel_after(std::time::Duration::from_millis(1));
    /// block_on(token.cancelled());
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancelled(&self) -> Cancelled<'_> {
        Cancelled { token: self, listening: None, alarm: None }
    }

    /// Has `waiter` woken when the token is cancelled or its deadline changes, until the answer is dropped. Look after this.
    pub(crate) fn listen(&self, waiter: Waiter) -> Listening<'_> {
        let enter = |node: &Node| {
            let mut inner = node.inner.lock();
            let id = inner.next_listener;
            inner.next_listener += 1;
            inner.listeners.insert(id, waiter.clone());
            id
        };
        Listening { token: self, entries: self.line().map(enter).collect() }
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("reason", &self.reason()).finish_non_exhaustive()
    }
}

/// The earlier of two times, where `None` is never.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

/// An entry in the lists of a token and of those above it.
pub(crate) struct Listening<'a> {
    token: &'a CancelToken,
    /// One for each token of the line.
    entries: Vec<u64>,
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        for (node, id) in self.token.line().zip(&self.entries) {
            let unwanted = node.inner.lock().listeners.remove(id);
            // Dropping a waker is somebody else's code: not under the lock.
            unwanted.into_iter().for_each(Waiter::dismiss);
        }
    }
}

/// Completes when a token is cancelled; made by [`CancelToken::cancelled`].
///
/// ```
/// let token = formicary::CancelToken::new();
/// let cancelled: formicary::Cancelled<'_> = token.cancelled();
/// # drop(cancelled);
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Cancelled<'a> {
    token: &'a CancelToken,
    listening: Option<Listening<'a>>,
    alarm: Option<Alarm>,
}

impl Future for Cancelled<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<()> {
        let token = self.token;
        if token.is_cancelled() {
            return Poll::Ready(());
        }
        self.listening = Some(token.listen(Waiter::Task(poller.waker().clone())));
        self.alarm = token.deadline().map(|deadline| timer::wake_at(deadline, poller.waker().clone()));
        if token.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Cancelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled").field("token", self.token).finish_non_exhaustive()
    }
}
