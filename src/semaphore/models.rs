//! loom models of the semaphore: no wake-up is lost, and no permit, whoever releases, resizes and gives up at the same time.
//!
//! Run by `ci/loom.sh`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;

use super::Semaphore;
use crate::error::AcquireError;
use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicUsize, Ordering};

/// Counts its wake-ups.
struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

type Acquired = thread::JoinHandle<Result<usize, AcquireError>>;

/// Acquires permits and releases them on a thread of its own.
fn acquire(semaphore: &Semaphore, n: usize) -> Acquired {
    let semaphore = semaphore.clone();
    thread::spawn(move || semaphore.acquire(n).map(|permit| permit.permits()))
}

fn took(acquired: Acquired) -> Result<usize, AcquireError> {
    acquired.join().expect("no panic")
}

/// A permit comes back while two threads wait, the first of which needs all.
#[test]
fn who_waits_gets_what_comes_back() {
    explore(3, || {
        let semaphore = Semaphore::new(2);
        let held = semaphore.acquire(1).expect("free");
        let acquired = [2, 1].map(|n| acquire(&semaphore, n));
        drop(held);
        assert_eq!(acquired.map(took), [Ok(2), Ok(1)]);
        assert_eq!(semaphore.available(), 2);
    });
}

/// The semaphore shrinks while a permit comes back: who waits for more than there are now is refused, unless it was faster.
#[test]
fn a_shrink_refuses_or_comes_too_late() {
    explore(3, || {
        let semaphore = Semaphore::new(2);
        let held = semaphore.acquire(1).expect("free");
        let acquired = acquire(&semaphore, 2);
        let resizes = {
            let semaphore = semaphore.clone();
            thread::spawn(move || semaphore.resize(1))
        };
        drop(held);
        let acquired = took(acquired);
        assert!(matches!(acquired, Ok(2) | Err(AcquireError::TooLarge)));
        resizes.join().expect("no panic");
        assert_eq!((semaphore.permits(), semaphore.available()), (1, 1));
    });
}

/// The semaphore grows: who waits is woken.
#[test]
fn growth_wakes_who_waits() {
    explore(3, || {
        let semaphore = Semaphore::new(1);
        let held = semaphore.acquire(1).expect("free");
        let acquired = acquire(&semaphore, 1);
        semaphore.resize(2);
        assert_eq!(took(acquired), Ok(1));
        drop(held);
        assert_eq!(semaphore.available(), 2);
    });
}

/// A future at the head is dropped, perhaps with its permit, while one comes back: the thread behind it gets it.
#[test]
fn a_dropped_future_passes_its_permit_on() {
    explore(3, || {
        let semaphore = Semaphore::new(1);
        let held = semaphore.acquire(1).expect("free");
        let waker = Waker::from(Arc::new(Counts(AtomicUsize::new(0))));
        let mut future = semaphore.acquire_async(1);
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
        let drops = thread::spawn(move || drop(future));
        let acquired = acquire(&semaphore, 1);
        drop(held);
        assert_eq!(took(acquired), Ok(1));
        drops.join().expect("no panic");
        assert_eq!(semaphore.available(), 1);
    });
}

/// A future is polled with another waker while a permit comes back: it has the permit, or that waker is woken.
#[test]
fn a_polled_future_has_its_permit_or_is_woken() {
    explore(3, || {
        let semaphore = Semaphore::new(1);
        let held = semaphore.acquire(1).expect("free");
        let [first, second] = [(); 2].map(|()| Arc::new(Counts(AtomicUsize::new(0))));
        let mut future = semaphore.acquire_async(1);
        let waker = Waker::from(first);
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
        let releases = thread::spawn(move || drop(held));
        let waker = Waker::from(Arc::clone(&second));
        let polled = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
        releases.join().expect("no panic");
        if polled.is_pending() {
            assert_eq!(second.0.load(Ordering::Acquire), 1, "the wake-up is lost");
            assert!(matches!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(_))));
        }
    });
}

/// The semaphore is closed while a permit comes back: who waits gets an answer.
#[test]
fn a_close_answers_who_waits() {
    explore(3, || {
        let semaphore = Semaphore::new(1);
        let held = semaphore.acquire(1).expect("free");
        let acquired = acquire(&semaphore, 1);
        let closes = {
            let semaphore = semaphore.clone();
            thread::spawn(move || semaphore.close())
        };
        drop(held);
        assert!(matches!(took(acquired), Ok(1) | Err(AcquireError::Closed)));
        closes.join().expect("no panic");
        assert_eq!(semaphore.available(), 1);
    });
}
