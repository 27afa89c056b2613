//! The timer by a clock that the tests advance: nothing here waits for real time, but where the system's own clock is meant.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Poll, Wake, Waker};

use parking_lot::Mutex;

use super::*;
use crate::sync::clock::scripted::Script;

/// Later than everything else.
const FAR: Duration = Duration::from_secs(3600);

const SECOND: Duration = Duration::from_secs(1);

/// A timer with its own clock that counts the threads it starts.
macro_rules! scripted {
    ($script:ident, $timer:ident, $started:ident) => {
        static $started: AtomicUsize = AtomicUsize::new(0);
        static $script: Script = Script::new();
        static $timer: Timer = Timer::new(Clock::Scripted(&$script), |body| {
            $started.fetch_add(1, SeqCst);
            start_thread(body)
        });
    };
}

fn refuse(_: Body) -> io::Result<()> {
    Err(io::Error::other("a test's refusal"))
}

/// Waits until another thread makes `condition` true.
fn eventually(condition: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < limit, "it does not happen");
        std::thread::yield_now();
    }
}

/// Appends its number to a list when it is woken.
struct Noted(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.1.lock().push(self.0);
    }
}

#[derive(Default)]
struct Notes(Arc<Mutex<Vec<usize>>>);

impl Notes {
    fn waiter(&self, number: usize) -> Waiter {
        Waiter::Task(Waker::from(Arc::new(Noted(number, Arc::clone(&self.0)))))
    }

    fn await_all(&self, numbers: &[usize]) {
        eventually(|| self.0.lock().len() >= numbers.len());
        assert_eq!(*self.0.lock(), numbers);
    }
}

impl Timer {
    fn thread_is_gone(&'static self) -> bool {
        self.state.lock().thread.is_none()
    }
}

#[test]
fn alarms_go_off_in_the_order_of_their_times() {
    scripted!(SCRIPT, TIMER, STARTED);
    let (start, notes) = (SCRIPT.start(), Notes::default());
    let alarms: Vec<_> = [5, 2, 9, 1, 2].map(|s| TIMER.at(start + s * SECOND, notes.waiter(s as usize))).into();
    SCRIPT.await_sleeper(start + SECOND);
    assert!(notes.0.lock().is_empty());
    SCRIPT.advance(SECOND);
    notes.await_all(&[1]);
    // An earlier one, while the thread sleeps.
    SCRIPT.await_sleeper(start + 2 * SECOND);
    let _early = TIMER.at(start + SECOND + SECOND / 2, notes.waiter(10));
    SCRIPT.await_sleeper(start + SECOND + SECOND / 2);
    SCRIPT.advance(20 * SECOND);
    notes.await_all(&[1, 10, 2, 2, 5, 9]);
    // One whose time is over already.
    let _late = TIMER.at(start, notes.waiter(11));
    notes.await_all(&[1, 10, 2, 2, 5, 9, 11]);
    drop(alarms);
    assert_eq!(STARTED.load(SeqCst), 1);
}

#[test]
fn an_alarm_that_is_dropped_does_not_go_off() {
    scripted!(SCRIPT, TIMER, STARTED);
    let (start, notes) = (SCRIPT.start(), Notes::default());
    let mut alarms: Vec<_> = (1..=4).map(|n| TIMER.at(start + SECOND, notes.waiter(n))).collect();
    alarms.remove(2);
    alarms.remove(0);
    assert_eq!(TIMER.state.lock().alarms.len(), 2);
    SCRIPT.await_sleeper(start + SECOND);
    SCRIPT.advance(SECOND);
    notes.await_all(&[2, 4]);
    drop(alarms);
    assert!(TIMER.state.lock().alarms.is_empty());
    assert_eq!(Arc::strong_count(&notes.0), 1, "no waker is left");
}

/// D21: one thread serves all alarms, stays alive for a while after the last one has fired or was dropped, and then exits.
#[test]
fn d21_one_thread_stays_for_a_while() {
    scripted!(SCRIPT, TIMER, STARTED);
    let (start, notes) = (SCRIPT.start(), Notes::default());
    let alarms: Vec<_> = (0..1000).map(|n| TIMER.at(start + SECOND, notes.waiter(n))).collect();
    SCRIPT.await_sleeper(start + SECOND);
    SCRIPT.advance(SECOND);
    notes.await_all(&(0..1000).collect::<Vec<_>>());
    drop(alarms);
    SCRIPT.await_sleeper(start + SECOND + IDLE_LIFETIME);
    // Each of these is the last alarm. The thread is not woken: it wakes before their time anyway.
    for n in 0..1000 {
        drop(TIMER.at(start + FAR, notes.waiter(n)));
    }
    SCRIPT.advance(IDLE_LIFETIME / 2);
    let last = TIMER.at(start + FAR, notes.waiter(0));
    SCRIPT.advance(IDLE_LIFETIME / 2);
    SCRIPT.await_sleeper(start + FAR);
    drop(last);
    let end = SCRIPT.now() + IDLE_LIFETIME;
    SCRIPT.await_sleeper(end);
    SCRIPT.advance(IDLE_LIFETIME - Duration::from_nanos(1));
    assert!(!TIMER.thread_is_gone());
    assert_eq!(STARTED.load(SeqCst), 1);
    SCRIPT.advance(Duration::from_nanos(1));
    eventually(|| TIMER.thread_is_gone());
    // The next alarm starts another thread.
    let _alarm = TIMER.at(end, notes.waiter(1000));
    eventually(|| notes.0.lock().len() == 1001);
    assert_eq!(STARTED.load(SeqCst), 2);
}

/// A waker that uses the timer when it is woken and when it is dropped, and panics when it is woken.
struct Meddling(&'static Timer, Arc<AtomicUsize>);

impl Meddling {
    fn meddle(&self) {
        let start = self.0.clock.now();
        let alarms = [start + FAR, start + 2 * FAR].map(|time| self.0.at(time, Waiter::Task(Waker::noop().clone())));
        drop(alarms);
        self.1.fetch_add(1, SeqCst);
    }
}

impl Wake for Meddling {
    fn wake(self: Arc<Self>) {
        self.meddle();
        std::panic::resume_unwind(Box::new("a test's panic"));
    }
}

impl Drop for Meddling {
    fn drop(&mut self) {
        self.meddle();
    }
}

/// D11: no waker is woken or dropped under the timer's lock, and a waker's panic does not stop the thread.
#[test]
fn d11_a_waker_may_use_the_timer_and_panic() {
    scripted!(SCRIPT, TIMER, STARTED);
    let (start, notes, calls) = (SCRIPT.start(), Notes::default(), Arc::new(AtomicUsize::new(0)));
    let meddling = || Waiter::Task(Waker::from(Arc::new(Meddling(&TIMER, Arc::clone(&calls)))));
    drop(TIMER.at(start + SECOND, meddling()));
    assert_eq!(calls.load(SeqCst), 1, "dropped");
    let _first = TIMER.at(start + SECOND, meddling());
    let _second = TIMER.at(start + SECOND, notes.waiter(1));
    SCRIPT.advance(SECOND);
    notes.await_all(&[1]);
    assert_eq!((calls.load(SeqCst), STARTED.load(SeqCst)), (3, 1), "woken and dropped");
}

/// Without a thread, setting an alarm sleeps briefly, wakes the waiter early, and does not keep it.
#[test]
fn setting_an_alarm_without_a_thread_sleeps() {
    static SCRIPT: Script = Script::new();
    static TIMER: Timer = Timer::new(Clock::Scripted(&SCRIPT), refuse);
    let (start, notes) = (SCRIPT.start(), Notes::default());
    let time = start + 10 * FALLBACK_SLEEP + FALLBACK_SLEEP / 2;
    let (mut alarm, mut sleeps) = (None, 0);
    while SCRIPT.now() < time {
        alarm = Some(TIMER.at(time, notes.waiter(sleeps)));
        sleeps += 1;
        notes.await_all(&(0..sleeps).collect::<Vec<_>>());
    }
    assert_eq!((sleeps, SCRIPT.now()), (11, time));
    drop(alarm);

    // Many alarms share the sleep, so a thread that polls all of them is as fast as with one.
    let before = SCRIPT.now();
    let _others: Vec<_> = (0..17).map(|_| TIMER.at(before + FAR, notes.waiter(0))).collect();
    let before = SCRIPT.now();
    drop(TIMER.at(before + FAR, notes.waiter(0)));
    assert_eq!(SCRIPT.now() - before, FALLBACK_SLEEP / 17);
    assert!(TIMER.state.lock().alarms.is_empty());
}

/// Awaiting a token without a timer thread polls the future now and then and does not keep its executor busy.
#[test]
fn awaiting_a_deadline_without_a_thread_burns_no_core() {
    static TIMER: Timer = Timer::new(Clock::System, refuse);
    let start = Instant::now();
    let end = start + 10 * FALLBACK_SLEEP;
    let (mut polls, mut alarm) = (0, None);
    let awaiting = std::future::poll_fn(|poller| {
        polls += 1;
        alarm = (Instant::now() < end).then(|| TIMER.at(end, Waiter::Task(poller.waker().clone())));
        if alarm.is_some() { Poll::Pending } else { Poll::Ready(()) }
    });
    block_on(awaiting);
    assert!(start.elapsed() >= 10 * FALLBACK_SLEEP);
    assert!((1..=12).contains(&polls), "{polls} polls");
}

/// Polls only after a wake-up.
fn block_on(future: impl Future<Output = ()>) {
    struct Unparks(std::thread::Thread);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unparks(std::thread::current())));
    let mut future = pin!(future);
    while future.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending() {
        std::thread::park_timeout(Duration::from_secs(60));
    }
}
