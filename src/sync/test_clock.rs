//! A clock for tests of programs that use pools (feature `test-util`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::sync::timer::TIMER;

/// Held by the only clock there is.
static ALONE: Mutex<()> = Mutex::new(());
static IS_FROZEN: AtomicBool = AtomicBool::new(false);
static TIME: Mutex<Option<Instant>> = Mutex::new(None);

/// How long a thread sleeps at most before it reads the time again.
const LOOK: Duration = Duration::from_millis(1);

/// While a `TestClock` lives, the crate's time stands still, and advances only by [`advance`](Self::advance). Feature `test-util`.
///
/// It is for the whole process. Every limit of every pool follows it: deadlines and timeouts of tasks and waits, tokens, the expiry of
/// workers, pauses, watchdogs, and the times that observers are told. The standard library's clock, and what other crates do with it, do not change, and a [`Timeline`](crate::observe::Timeline) records real times. With a pool that is [`inline`](crate::Builder::inline) or [`stepped`](crate::Builder::stepped) what follows is
/// deterministic. Elsewhere a thread that waits for a time sees it within some milliseconds after
/// [`advance`](Self::advance), unless its wait began before the clock did: make the pools of a test after it.
///
/// ```standalone_crate
/// use std::time::Duration;
/// use formicary::{CancelToken, Pool, TestClock};
///
/// let clock = TestClock::freeze();
/// let pool = Pool::builder().stepped().build()?;
/// let token = CancelToken::new();
/// token.cancel_after(Duration::from_secs(3600));
/// let [first, second] = [(); 2].map(|()| pool.with().token(&token).spawn(|| ()));
///
/// pool.step();
/// assert!(first?.join().is_ok());
/// clock.advance(Duration::from_secs(3600));
/// pool.step();
/// assert!(second?.join().unwrap_err().is_cancelled());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TestClock {
    _alone: MutexGuard<'static, ()>,
}

impl TestClock {
    /// Stops the time. Blocks while another such clock lives, so tests that use one run one after the other; a second call on the same thread never
    /// returns. Tests that use none, and run in
    /// the same process, would see the time stand still: give those that use one a test program of their own.
    ///
    /// ```standalone_crate
    /// let clock = formicary::TestClock::freeze();
    /// let pool = formicary::Pool::builder().workers(1).latencies().build()?;
    /// pool.run(|| ())?;
    /// assert!(pool.latencies().unwrap().run_time.max().is_zero());
    /// # drop(clock);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the time goes on when it is dropped"]
    pub fn freeze() -> Self {
        let alone = ALONE.lock();
        *TIME.lock() = Some(Instant::now());
        // ORDERING: Relaxed. The lock publishes the time; a thread that does not see this yet reads the real one.
        IS_FROZEN.store(true, Ordering::Relaxed);
        TIMER.time_was_set();
        TestClock { _alone: alone }
    }

    /// Advances the time by `time`. Does nothing if the system's clock could not represent it.
    ///
    /// Waits until all is woken that waits for a time that has come now: when it returns, the next attempt of a retry, a task of a rate, or
    /// an item of a batch is in the queue of its pool, if there is room. A task of an [`inline`](crate::Builder::inline) pool has run.
    ///
    /// ```standalone_crate
    /// # use std::time::Duration;
    /// let clock = formicary::TestClock::freeze();
    /// let before = clock.now();
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(clock.now() - before, Duration::from_secs(60));
    /// ```
    pub fn advance(&self, time: Duration) {
        let mut now = TIME.lock();
        *now = now.map(|now| now.checked_add(time).unwrap_or(now));
        drop(now);
        TIMER.time_was_set();
        TIMER.await_due();
    }

    /// The time.
    ///
    /// ```standalone_crate
    /// let clock = formicary::TestClock::freeze();
    /// assert_eq!(clock.now(), clock.now());
    /// ```
    #[must_use]
    pub fn now(&self) -> Instant {
        now().unwrap_or_else(Instant::now)
    }
}

impl Drop for TestClock {
    fn drop(&mut self) {
        // ORDERING: Relaxed, see `freeze`.
        IS_FROZEN.store(false, Ordering::Relaxed);
        *TIME.lock() = None;
        TIMER.time_was_set();
    }
}

/// The time, if it stands still.
#[inline]
pub(super) fn now() -> Option<Instant> {
    // ORDERING: Relaxed, see `freeze`.
    if IS_FROZEN.load(Ordering::Relaxed) { *TIME.lock() } else { None }
}

/// When a thread that sleeps until `deadline` looks at the time again, by the real clock, if the time stands still.
pub(super) fn next_look(deadline: Instant) -> Option<Instant> {
    let real = Instant::now();
    now().map(|now| if now >= deadline { real } else { real + LOOK })
}
