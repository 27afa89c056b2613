//! The semaphore by itself: order, weights, limits of waits, resizing, and futures that are dropped or never polled.

use std::pin::Pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::support::random::Random;
use crate::support::waking::{CountingWaker, block_on, poll_with};
use crate::support::{LIMIT, eventually, within};
use formicary::{AcquireError, CancelToken, Pool, Semaphore, SemaphorePermit};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(2);

/// Who got permits, in order.
type Log = Arc<Mutex<Vec<usize>>>;

/// Has a thread wait for `n` permits, behind all who wait already, and hold them until it gets leave to go.
fn joins(semaphore: &Semaphore, n: usize, log: &Log) -> JoinHandle<Result<SemaphorePermit, AcquireError>> {
    let before = semaphore.waiting();
    let (waits, log) = (semaphore.clone(), Arc::clone(log));
    let thread = thread::spawn(move || {
        let permit = waits.acquire(n)?;
        log.lock().push(n);
        Ok(permit)
    });
    eventually("it waits", || semaphore.waiting() == before + 1);
    thread
}

fn permit(thread: JoinHandle<Result<SemaphorePermit, AcquireError>>) -> Result<SemaphorePermit, AcquireError> {
    within(LIMIT, "a thread that waits for permits", move || thread.join().unwrap())
}

#[test]
fn permits_are_counted() {
    let semaphore = Semaphore::new(5);
    let two = semaphore.acquire(2).unwrap();
    let three = semaphore.clone().try_acquire(3).unwrap();
    assert_eq!((semaphore.permits(), semaphore.available(), two.permits()), (5, 0, 2));
    assert_eq!(semaphore.try_acquire(1).unwrap_err(), AcquireError::Full);
    drop(two);
    assert_eq!(semaphore.available(), 2);
    drop(three);
    assert_eq!((semaphore.available(), semaphore.waiting()), (5, 0));
}

/// No permits are always there, and more than all never.
#[test]
fn none_and_too_many() {
    for permits in [0, 1, 7, usize::MAX] {
        let semaphore = Semaphore::new(permits);
        let all = semaphore.acquire(permits).unwrap();
        let none = semaphore.acquire(0).unwrap();
        assert_eq!((semaphore.available(), none.permits()), (0, 0));
        if let Some(more) = permits.checked_add(1) {
            let refusals = [
                semaphore.acquire(more),
                semaphore.try_acquire(more),
                semaphore.acquire_timeout(more, LONG),
                semaphore.acquire_with(more, &CancelToken::new()),
                block_on(semaphore.acquire_async(more)),
            ];
            assert!(refusals.iter().all(|refusal| refusal.as_ref().unwrap_err().is_too_large()));
        }
        drop(all);
        assert_eq!(semaphore.available(), permits);
    }
}

/// First come, first served, whatever the weights: small ones do not overtake a large one that could not have its permits yet.
#[test]
fn nobody_overtakes() {
    let (semaphore, log) = (Semaphore::new(4), Log::default());
    let mut held: Vec<_> = (0..4).map(|_| semaphore.acquire(1).unwrap()).collect();
    let threads: Vec<_> = [3, 1, 2, 1].into_iter().map(|n| joins(&semaphore, n, &log)).collect();
    held.truncate(2);
    // Two are free, and the first wants three.
    assert_eq!((semaphore.available(), semaphore.waiting()), (2, 4));
    assert!(semaphore.try_acquire(1).unwrap_err().is_full(), "it would overtake");
    assert!(semaphore.acquire_timeout(1, Duration::ZERO).unwrap_err().is_timed_out());
    let mut future = Box::pin(semaphore.acquire_async(1));
    assert!(poll_with(future.as_mut(), &CountingWaker::new()).is_pending(), "it would overtake");
    drop(future);
    assert!(log.lock().is_empty());
    drop(semaphore.try_acquire(0).unwrap());

    held.pop();
    let mut threads = threads.into_iter();
    let first = permit(threads.next().unwrap()).unwrap();
    assert_eq!((*log.lock()).as_slice(), [3]);
    held.pop();
    let second = permit(threads.next().unwrap()).unwrap();
    assert_eq!((*log.lock()).as_slice(), [3, 1]);
    drop((first, second));
    let last: Vec<_> = threads.map(|thread| permit(thread).unwrap()).collect();
    assert_eq!((last.len(), semaphore.available()), (2, 1));
}

/// Who gives up lets those behind it go on.
#[test]
fn who_gives_up_holds_up_nobody() {
    for by_token in [false, true] {
        let (semaphore, token) = (Semaphore::new(3), CancelToken::new());
        let held = semaphore.acquire(2).unwrap();
        let (waits, cancels) = (semaphore.clone(), token.clone());
        let first = thread::spawn(move || match by_token {
            true => waits.acquire_with(3, &cancels).unwrap_err(),
            false => waits.acquire_timeout(3, 100 * SHORT).unwrap_err(),
        });
        eventually("the first waits", || semaphore.waiting() == 1);
        let second = joins(&semaphore, 1, &Log::default());
        if by_token {
            token.cancel();
        }
        assert_eq!(first.join().unwrap(), if by_token { AcquireError::Cancelled } else { AcquireError::TimedOut });
        let second = permit(second).unwrap();
        drop((held, second));
        assert_eq!((semaphore.available(), semaphore.waiting()), (3, 0));
    }
}

#[test]
fn waits_end_at_their_time() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.acquire(1).unwrap();
    assert_eq!(semaphore.acquire_timeout(1, SHORT).unwrap_err(), AcquireError::TimedOut);
    assert_eq!(semaphore.acquire_deadline(1, Instant::now() + SHORT).unwrap_err(), AcquireError::TimedOut);
    let token = CancelToken::new();
    token.cancel_after(SHORT);
    assert_eq!(semaphore.acquire_with(1, &token).unwrap_err(), AcquireError::TimedOut);
    // A time that is set while it waits.
    let token = CancelToken::new();
    let (waits, sees) = (semaphore.clone(), token.clone());
    let thread = thread::spawn(move || waits.acquire_with(1, &sees).unwrap_err());
    eventually("it waits", || semaphore.waiting() == 1);
    token.cancel_after(SHORT);
    assert_eq!(within(LIMIT, "a later time", move || thread.join().unwrap()), AcquireError::TimedOut);
    drop(held);
    // A time that is over matters only where it has to wait, but a cancelled token always does.
    drop(semaphore.acquire_timeout(1, Duration::ZERO).unwrap());
    drop(semaphore.acquire_timeout(1, Duration::MAX).unwrap());
    assert!(semaphore.acquire_with(1, &token).is_err());
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn it_shrinks_and_grows_while_it_is_in_use() {
    let (semaphore, log) = (Semaphore::new(6), Log::default());
    let mut held: Vec<_> = (0..6).map(|_| semaphore.acquire(1).unwrap()).collect();
    let threads = [2, 5, 1].map(|n| joins(&semaphore, n, &log));
    let mut late = Box::pin(semaphore.acquire_async(4));
    let waker = CountingWaker::new();
    assert!(poll_with(late.as_mut(), &waker).is_pending());
    semaphore.resize(3);
    let [two, five, one] = threads;
    assert_eq!(permit(five).unwrap_err(), AcquireError::TooLarge);
    assert_eq!(waker.wakes(), 1);
    assert!(block_on(late).unwrap_err().is_too_large());
    assert_eq!((semaphore.permits(), semaphore.available(), semaphore.waiting()), (3, 0, 2));
    // Six are out of three: four have to come back before one is free.
    held.truncate(2);
    assert!(semaphore.try_acquire(1).is_err() && log.lock().is_empty());
    semaphore.resize(4);
    let two = permit(two).unwrap();
    assert_eq!(semaphore.available(), 0);
    semaphore.resize(usize::MAX);
    drop((two, permit(one).unwrap(), held));
    assert_eq!((semaphore.available(), (*log.lock()).as_slice()), (usize::MAX, [2, 1].as_slice()));
    semaphore.resize(0);
    assert!(semaphore.acquire(1).unwrap_err().is_too_large());
}

#[test]
fn a_close_refuses_all() {
    let semaphore = Semaphore::new(2);
    let held = semaphore.acquire(2).unwrap();
    let thread = joins(&semaphore, 1, &Log::default());
    let mut future = Box::pin(semaphore.acquire_async(1));
    let waker = CountingWaker::new();
    assert!(poll_with(future.as_mut(), &waker).is_pending());
    semaphore.close();
    semaphore.close();
    assert_eq!(permit(thread).unwrap_err(), AcquireError::Closed);
    assert_eq!(waker.wakes(), 1);
    assert!(block_on(future).unwrap_err().is_closed());
    assert!(semaphore.try_acquire(0).unwrap_err().is_closed() && semaphore.is_closed());
    drop(held);
    assert_eq!((semaphore.available(), semaphore.waiting()), (2, 0));
}

/// A future has a place among the threads, from its first poll on, and the waker of its last poll is woken.
#[test]
fn futures_wait_in_the_same_order() {
    let (semaphore, log) = (Semaphore::new(1), Log::default());
    let held = semaphore.acquire(1).unwrap();
    let mut future = Box::pin(semaphore.acquire_async(1));
    let mut unpolled = Box::pin(semaphore.acquire_async(1));
    let wakers = [CountingWaker::new(), CountingWaker::new()];
    assert!(wakers.iter().all(|waker| poll_with(future.as_mut(), waker).is_pending()));
    let thread = joins(&semaphore, 1, &log);
    assert!(poll_with(unpolled.as_mut(), &wakers[0]).is_pending());
    drop(held);
    assert_eq!((wakers[0].wakes(), wakers[1].wakes()), (0, 1));
    let first = block_on(future).unwrap();
    assert!(log.lock().is_empty() && poll_with(unpolled.as_mut(), &wakers[0]).is_pending());
    drop(first);
    drop(permit(thread).unwrap());
    drop(block_on(unpolled).unwrap());
    assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
}

/// A future that is dropped, waiting or with permits that it has not taken, gives all back.
#[test]
fn a_dropped_future_gives_back_what_it_got() {
    let semaphore = Semaphore::new(2);
    for (granted, behind) in [(false, false), (false, true), (true, false), (true, true)] {
        let held = semaphore.acquire(2).unwrap();
        let mut future = Box::pin(semaphore.acquire_async(2));
        assert!(poll_with(future.as_mut(), &CountingWaker::new()).is_pending());
        let thread = behind.then(|| joins(&semaphore, 1, &Log::default()));
        if granted {
            drop(held);
            drop(future);
        } else {
            drop(future);
            drop(held);
        }
        thread.into_iter().for_each(|thread| drop(permit(thread).unwrap()));
        assert_eq!((semaphore.available(), semaphore.waiting()), (2, 0), "{granted} {behind}");
    }
    let mut ready = Box::pin(semaphore.acquire_async(1));
    drop(block_on(Pin::new(&mut ready)).unwrap());
    let polled_again = thread::spawn(move || drop(block_on(ready)));
    assert!(polled_again.join().is_err());
}

/// Futures that are woken and never polled hold up nobody, and are back in their places when they are polled after all.
#[test]
fn futures_that_are_not_polled_hold_up_nobody() {
    let (semaphore, log) = (Semaphore::new(2), Log::default());
    let held = semaphore.acquire(2).unwrap();
    let wakers: Vec<_> = (0..3).map(|_| CountingWaker::new()).collect();
    let mut futures: Vec<_> = (0..3).map(|_| Box::pin(semaphore.acquire_async(2))).collect();
    for (future, waker) in futures.iter_mut().zip(&wakers) {
        assert!(poll_with(future.as_mut(), waker).is_pending());
    }
    let thread = joins(&semaphore, 1, &log);
    drop(held);
    // It comes behind three futures that were given the permits, one after the other.
    let one = permit(thread).unwrap();
    assert!(wakers.iter().all(|waker| waker.wakes() == 1));
    assert_eq!((semaphore.available(), semaphore.waiting()), (1, 3));
    // Nobody waits before a newcomer now.
    drop(semaphore.try_acquire(1).unwrap());
    // The second is polled, and waits for two again; the newcomer is behind it.
    assert!(poll_with(futures[1].as_mut(), &wakers[1]).is_pending());
    assert!(semaphore.try_acquire(1).is_err());
    drop(one);
    assert_eq!(wakers[1].wakes(), 2);
    drop(block_on(futures.remove(1)).unwrap());
    drop(futures);
    assert_eq!((semaphore.available(), semaphore.waiting()), (2, 0));
}

/// A newcomer that does not wait takes the permits of a future that was not polled in time.
#[test]
fn a_newcomer_passes_a_late_future() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.acquire(1).unwrap();
    let mut future = Box::pin(semaphore.acquire_async(1));
    assert!(poll_with(future.as_mut(), &CountingWaker::new()).is_pending());
    drop(held);
    eventually("the grace is over", || semaphore.try_acquire(1).is_ok());
    drop(block_on(future).unwrap());
    assert_eq!(semaphore.available(), 1);
}

/// Tasks take permits along, and give them back however they end.
#[test]
fn a_permit_goes_with_a_task() {
    let (semaphore, pool) = (Semaphore::new(3), Pool::builder().workers(1).panic_handler(|_| {}).build().unwrap());
    let pause = pool.pause();
    let permits = [(); 3].map(|()| semaphore.acquire(1).unwrap());
    let [ran, panicked, returned] = permits;
    let ran = pool.spawn(move || drop(ran)).unwrap();
    let panicked = pool
        .spawn(move || {
            let _permit = panicked;
            std::panic::resume_unwind(Box::new("a test's panic"));
        })
        .unwrap();
    drop(pause);
    ran.join().unwrap();
    assert!(panicked.join().is_err());
    assert_eq!(semaphore.available(), 2);
    let pause = pool.pause();
    pool.submit(move || drop(returned)).unwrap();
    drop(pool.shutdown_now());
    drop(pause);
    assert_eq!(semaphore.available(), 3);
}

/// Threads and futures take, wait and give up at random while the size changes: never are more out than the largest size, and in the end
/// all are back.
#[test]
fn nothing_is_lost_in_a_crowd() {
    const MOST: usize = 8;
    let rounds = if cfg!(miri) { 10 } else { 400 };
    let (semaphore, out) = (Semaphore::new(MOST), Arc::new(Mutex::new((0, 0))));
    within(LIMIT, "a crowd", {
        let semaphore = semaphore.clone();
        move || {
            let threads: Vec<_> = (0..4_u64)
                .map(|seed| {
                    let (semaphore, out) = (semaphore.clone(), Arc::clone(&out));
                    thread::spawn(move || {
                        let mut random = Random(seed + 1);
                        for _ in 0..rounds {
                            let n = 1 + random.below(4);
                            let taken = match random.below(5) {
                                0 => semaphore.try_acquire(n),
                                1 => semaphore.acquire_timeout(n, random.micros(50)),
                                2 => block_on(semaphore.acquire_async(n)),
                                3 => {
                                    let mut future = Box::pin(semaphore.acquire_async(n));
                                    drop(poll_with(future.as_mut(), &CountingWaker::new()));
                                    continue;
                                }
                                _ => semaphore.acquire(n),
                            };
                            if random.once_in(10) {
                                semaphore.resize(4 + random.below(MOST - 3));
                            }
                            let Ok(permit) = taken else { continue };
                            {
                                let mut out = out.lock();
                                out.0 += n;
                                out.1 = out.1.max(out.0);
                            }
                            thread::yield_now();
                            out.lock().0 -= n;
                            drop(permit);
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert!(out.lock().1 <= MOST);
        }
    });
    semaphore.resize(MOST);
    assert_eq!((semaphore.available(), semaphore.waiting()), (MOST, 0));
}
