//! Submissions that wait for room without a thread, polled by hand: when they are woken, without a wake-up, or with another waker
//! than before; dropped before they are polled, or while they wait.
//!
//! A future is polled to its end only when it is woken, so a lost wake-up hangs the plan.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use formicary::{CancelToken, SubmitErrorKind};

use super::super::job::What;
use super::super::subjects::{Entered, Entering, Subject};
use super::Driver;

choices! {
    #[derive(Debug)]
    pub(super) enum FutureStep {
        Submit(AsyncMode, What),
        /// Made and dropped without a poll.
        Unpolled(AsyncMode, What),
        Poll(u8),
        Drop(u8),
        /// Waits for all of them.
        Settle,
        /// A handle is awaited; if that might never end, it is polled and dropped.
        Await(u8),
    }
}

choices! {
    #[derive(Clone, Copy, Debug)]
    pub(super) enum AsyncMode {
        Plain,
        Handle,
        Token(u8),
        HandleToken(u8),
    }
}

/// A submission that has been polled.
pub(super) struct Kept {
    id: usize,
    future: Entering<'static>,
    waking: Arc<Waking>,
    token: Option<CancelToken>,
}

/// Wakes the plan's thread, and records that it did.
struct Waking {
    is_woken: AtomicBool,
    thread: Thread,
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Waking {
    fn new() -> Arc<Self> {
        Arc::new(Waking { is_woken: AtomicBool::new(false), thread: std::thread::current() })
    }

    fn is_woken(&self) -> bool {
        self.is_woken.load(SeqCst)
    }
}

/// Polls with a new waker, which is the one to be woken from now on.
fn poll<F: Future + ?Sized>(future: Pin<&mut F>, waking: &mut Arc<Waking>) -> Poll<F::Output> {
    *waking = Waking::new();
    let waker = Waker::from(Arc::clone(waking));
    future.poll(&mut Context::from_waker(&waker))
}

fn wait_for<F: Future>(future: F) -> F::Output {
    let (mut future, mut waking) = (pin!(future), Waking::new());
    loop {
        if let Poll::Ready(output) = poll(future.as_mut(), &mut waking) {
            return output;
        }
        while !waking.is_woken() {
            std::thread::park();
        }
    }
}

impl FutureStep {
    pub(super) fn what(&self) -> Option<What> {
        if let Self::Submit(_, what) | Self::Unpolled(_, what) = self { Some(*what) } else { None }
    }
}

impl<S: Subject> Driver<'_, S> {
    pub(super) fn future(&mut self, step: &FutureStep) {
        let count = self.futures.len();
        match step {
            FutureStep::Submit(mode, what) if count < 4 => self.submit_async(*mode, *what),
            FutureStep::Submit(..) => {}
            FutureStep::Unpolled(mode, what) => {
                let (token, has_handle) = self.mode(*mode);
                let job = self.ledger.job(*what);
                self.ledger.dropped(job.id);
                let pool = Arc::clone(&self.pool);
                // The drop of the job's captures may be meant to panic.
                let _dropped = catch_unwind(AssertUnwindSafe(|| drop(pool.entering(job, token.as_ref(), has_handle))));
            }
            FutureStep::Poll(which) if count > 0 => self.poll_kept(usize::from(*which) % count),
            FutureStep::Drop(which) if count > 0 => {
                let Kept { id, future, .. } = self.futures.swap_remove(usize::from(*which) % count);
                self.ledger.dropped(id);
                let _dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
            }
            FutureStep::Poll(_) | FutureStep::Drop(_) => {}
            FutureStep::Settle => self.resume(),
            FutureStep::Await(which) => self.await_handle(*which),
        }
    }

    fn mode(&self, mode: AsyncMode) -> (Option<CancelToken>, bool) {
        match mode {
            AsyncMode::Plain => (None, false),
            AsyncMode::Handle => (None, true),
            AsyncMode::Token(token) => (Some(self.token(token)), false),
            AsyncMode::HandleToken(token) => (Some(self.token(token)), true),
        }
    }

    fn submit_async(&mut self, mode: AsyncMode, what: What) {
        let (token, has_handle) = self.mode(mode);
        let job = self.ledger.job(what);
        let id = job.id;
        self.holds |= what.holds();
        if let Some(token) = &token {
            self.ledger.has_token(id, token);
        }
        let (pool, its_token) = (Arc::clone(&self.pool), token.clone());
        let future = Box::pin(async move { pool.entering(job, its_token.as_ref(), has_handle).await });
        self.futures.push(Kept { id, future, waking: Waking::new(), token });
        self.poll_kept(self.futures.len() - 1);
    }

    fn poll_kept(&mut self, at: usize) {
        let Kept { future, waking, .. } = &mut self.futures[at];
        if let Poll::Ready(entered) = poll(future.as_mut(), waking) {
            let Kept { id, token, .. } = self.futures.swap_remove(at);
            self.has_entered(id, entered, token.as_ref());
        }
    }

    fn has_entered(&mut self, id: usize, entered: Entered, token: Option<&CancelToken>) {
        match entered {
            Ok(handle) => {
                self.ledger.accepted(id);
                self.handles.extend(handle.map(|handle| (id, handle)));
            }
            Err(kind) => {
                self.ledger.refused(id);
                let is_right = match kind {
                    SubmitErrorKind::Cancelled => token.is_some_and(CancelToken::is_cancelled),
                    _ => self.may_refuse(kind),
                };
                assert!(is_right, "refused as {kind:?}");
            }
        }
    }

    /// Submissions whose token is cancelled have been woken, and give up.
    pub(super) fn poll_cancelled(&mut self) {
        let is_cancelled = |kept: &Kept| kept.token.as_ref().is_some_and(CancelToken::is_cancelled);
        while let Some(at) = self.futures.iter().position(is_cancelled) {
            let Kept { id, waking, .. } = &self.futures[at];
            assert!(waking.is_woken(), "submission {id}, whose token is cancelled");
            let count = self.futures.len();
            self.poll_kept(at);
            assert!(self.futures.len() < count, "a submission whose token is cancelled waits on");
        }
    }

    /// The plan has closed the pool: all waiting submissions have been woken.
    pub(super) fn check_told(&self) {
        let mut ids = self.futures.iter().filter(|kept| !kept.waking.is_woken()).map(|kept| kept.id);
        // A task that closes it as well may be in the middle of waking them.
        assert!(self.holds_closers() || ids.next().is_none(), "a submission still waits for a closed pool");
    }

    /// Polls those that are woken until all are over. The pool must be at work, or closed.
    pub(super) fn settle_futures(&mut self) {
        while !self.futures.is_empty() {
            match self.futures.iter().position(|kept| kept.waking.is_woken()) {
                Some(at) => self.poll_kept(at),
                None => std::thread::park(),
            }
        }
    }

    fn await_handle(&mut self, which: u8) {
        let is_stuck = self.is_stuck();
        let Some((id, mut handle)) = self.handle(which) else { return };
        if is_stuck {
            let result = poll(Pin::new(&mut handle), &mut Waking::new());
            if let Poll::Ready(result) = result {
                self.check_result(id, result);
            }
        } else {
            let result = wait_for(handle);
            self.check_result(id, result);
        }
    }
}
