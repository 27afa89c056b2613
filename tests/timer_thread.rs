//! The thread that ends waits for deadlines: one for the whole process, and only while it is needed. Linux lists the threads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod support;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use formicary::CancelToken;
use parking_lot::Mutex;
use support::races::together;
use support::waking::{Bell, block_on, poll_with};
use support::{LIMIT, eventually, threads_named, within};

const TIMER: &str = "formicary-timer";

/// One test at a time: the timer thread is the whole process's.
static ALONE: Mutex<()> = Mutex::new(());

/// The timer threads of this process, by their numbers (Linux).
fn timers() -> Vec<std::ffi::OsString> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let comm = |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.filter(|task| comm(task).starts_with(TIMER)).map(|task| task.file_name()).collect()
}

/// D21: a thousand awaited deadlines need one thread, and so do a thousand that are given up.
#[test]
fn d21_a_thousand_deadlines_are_one_thread() {
    let _alone = ALONE.lock();
    within(LIMIT, "deadlines", || {
        let bell = Bell::new();
        let tokens: Vec<_> = (1..=1000).map(|_| CancelToken::new()).collect();
        tokens.iter().for_each(|token| token.cancel_after(10 * LIMIT));
        let mut futures: Vec<_> = tokens.iter().map(|token| Box::pin(token.cancelled())).collect();
        assert!(futures.iter_mut().all(|future| poll_with(future.as_mut(), &bell).is_pending()));
        eventually("one thread keeps the time", || timers().len() == 1);
        drop(futures);

        let (mut seen, start) = (std::collections::HashSet::new(), Instant::now());
        for token in &tokens {
            assert!(poll_with(Box::pin(token.cancelled()).as_mut(), &bell).is_pending());
            seen.extend(timers());
        }
        // It stays for a second after its last alarm, so another one is needed only if the test is delayed for as long.
        let most = 1 + start.elapsed().as_secs() as usize;
        assert!((1..=most).contains(&seen.len()), "{} threads", seen.len());
        assert_eq!(Arc::strong_count(&bell), 1, "no waker is left");
    });
}

/// Awaiting a token: cancelled, by a token above, by time, too late, and dropped. The timer thread exits soon after the last future
/// that needs it.
#[test]
fn awaiting_tokens_leaves_no_thread_behind() {
    let _alone = ALONE.lock();
    within(LIMIT, "tokens", || {
        let token = CancelToken::new();
        let below = token.child();
        let waits = thread::spawn(move || block_on(below.cancelled()));
        token.cancel();
        waits.join().unwrap();
        block_on(token.cancelled());

        let token = CancelToken::new();
        token.cancel_after(Duration::from_millis(10));
        block_on(token.child().cancelled());
        assert!(token.is_cancelled());

        // A limit that is set or shortened while a future waits.
        let token = CancelToken::new();
        let bell = Bell::new();
        let mut waits = Box::pin(token.cancelled());
        assert!(poll_with(waits.as_mut(), &bell).is_pending());
        token.cancel_after(10 * LIMIT);
        assert_eq!(bell.rung(), 1);
        assert!(poll_with(waits.as_mut(), &bell).is_pending());
        eventually("one thread keeps the time", || threads_named(TIMER) == 1);
        token.cancel_after(Duration::from_millis(10));
        block_on(waits);

        // Dropped before its time, and after others had joined it.
        let late = CancelToken::new();
        late.cancel_after(10 * LIMIT);
        let mut many: Vec<_> = (0..100).map(|_| Box::pin(late.cancelled())).collect();
        assert!(many.iter_mut().all(|future| poll_with(future.as_mut(), &bell).is_pending()));
        eventually("one thread keeps the time", || threads_named(TIMER) == 1);
        drop(many);
        eventually("the thread is gone", || threads_named(TIMER) == 0);
        assert_eq!(Arc::strong_count(&bell), 1, "no waker is left");

        // The timer thread starts and exits while futures come and go.
        together(4, |n| {
            for i in 0..100 {
                let token = CancelToken::new();
                token.cancel_after(Duration::from_micros(((n * 37 + i * 11) % 300) as u64));
                block_on(token.cancelled());
            }
        });
        eventually("the thread is gone", || threads_named(TIMER) == 0);
    });
}
