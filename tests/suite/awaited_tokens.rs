//! Futures that wait for tokens: their wakers, and their order.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::time::Duration;

use crate::support::tokens::{chain, on_a_small_stack};
use crate::support::waking::{Bell, poll_with};
use crate::support::{Count, LIMIT, eventually, within};
use formicary::{CancelToken, Cancelled};
use parking_lot::Mutex;

fn poll_all(futures: &mut [Pin<Box<Cancelled<'_>>>], bell: &Arc<Bell>) {
    assert!(futures.iter_mut().all(|future| poll_with(future.as_mut(), bell).is_pending()));
}

/// D15: adding and removing a waiter costs the same at any depth and with any number of other waiters.
#[test]
fn d15_waiting_is_not_linear_in_depth_or_company() {
    within(LIMIT, "waiting", || {
        let (chain, bell) = (chain(20_000), Bell::new());
        let last = chain.last().unwrap();
        let mut futures: Vec<_> = (0..20_000).map(|_| Box::pin(last.cancelled())).collect();
        poll_all(&mut futures, &bell);
        poll_all(&mut futures, &bell);
        // The oldest leave first, then the youngest.
        futures.drain(..10_000);
        while futures.len() > 10 {
            futures.pop();
        }
        chain[0].cancel();
        assert_eq!(bell.rung(), futures.len());
        drop(futures);
        assert_eq!(Arc::strong_count(&bell), 1, "no waker is left");
    });
}

/// Counts itself when it is woken, into a list.
struct Listed(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Listed {
    fn wake(self: Arc<Self>) {
        self.1.lock().push(self.0);
    }
}

/// Waiters at any level below are woken in the order in which they came.
#[test]
fn those_who_wait_are_woken_in_order() {
    let (chain, woken) = (chain(5), Arc::default());
    let mut futures: Vec<_> = [3, 0, 4, 1, 2, 4, 0].iter().map(|n| Box::pin(chain[*n].cancelled())).collect();
    for (n, future) in futures.iter_mut().enumerate() {
        let waker = Waker::from(Arc::new(Listed(n, Arc::clone(&woken))));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    chain[0].cancel();
    assert!(woken.lock().iter().copied().eq(0..7), "{woken:?}");
}

/// Cancels the next token when it is woken.
struct Next(CancelToken);

impl Wake for Next {
    fn wake(self: Arc<Self>) {
        self.0.cancel();
    }
}

/// D03: a chain of wakers each of which cancels what the next one waits for.
#[test]
fn d03_wakers_that_wake_need_no_stack() {
    on_a_small_stack("wakers", || {
        let tokens: Vec<_> = (0..100_000).map(|_| CancelToken::new()).collect();
        let mut futures: Vec<_> = tokens.iter().map(|token| Box::pin(token.cancelled())).collect();
        for (future, next) in futures.iter_mut().zip(&tokens[1..]) {
            let waker = Waker::from(Arc::new(Next(next.clone())));
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        tokens[0].cancel();
        assert!(tokens.iter().all(CancelToken::is_cancelled));
    });
}

/// What a waker of [`Curious`] does in every call.
fn use_all(token: &CancelToken) {
    let bell = Bell::new();
    let below = token.child();
    let mut future = Box::pin(below.cancelled());
    let is_ready = poll_with(future.as_mut(), &bell).is_ready();
    assert_eq!(is_ready, token.is_cancelled());
    below.cancel_after(LIMIT);
    // With a deadline it has an alarm too.
    assert_eq!(poll_with(future.as_mut(), &bell).is_ready(), is_ready);
    assert!(below.deadline().is_some());
    below.cancel();
}

/// A waker that uses its token when it is cloned, woken, or dropped.
#[derive(Clone)]
struct Curious {
    token: CancelToken,
    calls: Count,
}

impl Curious {
    fn called(&self) {
        self.calls.up();
        use_all(&self.token);
    }

    fn raw(self) -> RawWaker {
        const VTABLE: RawWakerVTable =
            RawWakerVTable::new(Curious::clone_it, Curious::wake_it, Curious::wake_by_ref, Curious::drop_it);
        RawWaker::new(Box::into_raw(Box::new(self)).cast_const().cast(), &VTABLE)
    }

    fn waker(&self) -> Waker {
        // SAFETY: each of the functions uses the pointer as the box that it was made of, and `drop_it` and `wake_it` are its end.
        unsafe { Waker::from_raw(self.clone().raw()) }
    }

    unsafe fn clone_it(this: *const ()) -> RawWaker {
        // SAFETY: a waker of `raw` that was not dropped.
        let this = unsafe { &*this.cast::<Curious>() };
        this.called();
        this.clone().raw()
    }

    unsafe fn wake_by_ref(this: *const ()) {
        // SAFETY: a waker of `raw` that was not dropped.
        unsafe { &*this.cast::<Curious>() }.called();
    }

    unsafe fn drop_it(this: *const ()) {
        // SAFETY: a waker of `raw` that is dropped now.
        unsafe { Box::from_raw(this.cast_mut().cast::<Curious>()) }.called();
    }

    unsafe fn wake_it(this: *const ()) {
        // SAFETY: as in `drop_it`: waking it is its end.
        unsafe { Curious::drop_it(this) }
    }
}

/// D11: a waker may use its token, its token's relatives and the timer: no lock is held when it runs.
#[test]
fn d11_no_waker_of_a_token_is_called_under_a_lock() {
    within(LIMIT, "wakers", || {
        for is_timed in [false, true] {
            let (root, calls) = (CancelToken::new(), Count::new());
            let token = root.child();
            if is_timed {
                root.cancel_after(2 * LIMIT);
            }
            let curious = Curious { token: token.clone(), calls: calls.clone() };
            let waker = curious.waker();
            let poll = |future: &mut Pin<Box<Cancelled<'_>>>| future.as_mut().poll(&mut Context::from_waker(&waker));
            let mut futures: Vec<_> = (0..4).map(|_| Box::pin(token.cancelled())).collect();
            for _ in 0..2 {
                assert!(futures.iter_mut().all(|future| poll(future).is_pending()));
            }
            futures.pop();
            // A forgotten one keeps its entry until the token is dropped.
            std::mem::forget(futures.pop());
            root.cancel_after(LIMIT);
            assert!(futures.iter_mut().all(|future| poll(future).is_pending()));
            let before = calls.get();
            root.cancel();
            assert!(calls.get() >= before + 2);
            assert!(futures.iter_mut().all(|future| poll(future) == Poll::Ready(())));
            drop((futures, curious));
        }
        // The timer's thread.
        let (token, calls) = (CancelToken::new(), Count::new());
        let waker = Curious { token: token.clone(), calls: calls.clone() }.waker();
        token.cancel_after(Duration::from_millis(20));
        let mut future = Box::pin(token.cancelled());
        let is_pending = future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
        let before = calls.get();
        if is_pending {
            eventually("the timer wakes it", || calls.get() > before);
        }
    });
}
