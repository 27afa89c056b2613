//! loom models of the timer's thread: no alarm is lost, whatever the thread is doing when an alarm is set or dropped.
//!
//! Run by `ci/loom.sh`. The clock is a script, so time passes only where a model says so. A lost wake-up is a deadlock, and so is a thread
//! that does not end.

use std::task::{Wake, Waker};

use loom::thread::{self, JoinHandle};

use super::*;
use crate::sync::clock::scripted::Script;
use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicUsize, Ordering, Thread, current, park};

/// Later than everything else.
const FAR: Duration = Duration::from_secs(3600);

const SECOND: Duration = Duration::from_secs(1);

static SCRIPT: Script = Script::new();
static TIMER: Timer = Timer::new(Clock::Scripted(&SCRIPT), |body| {
    THREADS.lock().push(thread::spawn(body));
    Ok(())
});
/// The timer's threads.
static THREADS: StaticMutex<Vec<JoinHandle<()>>> = static_mutex!(Vec::new());

/// Counts how often it is woken, and unparks the thread that made it.
struct Bell {
    rung: AtomicUsize,
    thread: Thread,
}

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Bell { rung: AtomicUsize::new(0), thread: current() })
    }

    fn waiter(self: &Arc<Self>) -> Waiter {
        Waiter::Task(Waker::from(Arc::clone(self)))
    }

    fn ring(&self) {
        self.rung.fetch_add(1, Ordering::AcqRel);
        self.thread.unpark();
    }

    fn rung(&self) -> usize {
        self.rung.load(Ordering::Acquire)
    }

    fn wait(&self) {
        while self.rung() == 0 {
            park(None);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

fn unheard() -> Waiter {
    Waiter::Task(Waker::noop().clone())
}

/// Without alarms the thread ends after a while, and nothing is left.
fn end() {
    SCRIPT.advance(IDLE_LIFETIME);
    let threads = std::mem::take(&mut *THREADS.lock());
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let state = TIMER.state.lock();
    assert!(state.alarms.is_empty() && state.thread.is_none());
}

/// An alarm is set for a time before that until which the thread sleeps, or is about to.
#[test]
fn an_earlier_alarm_is_in_time() {
    explore(3, || {
        let start = SCRIPT.start();
        let last = TIMER.at(start + FAR, unheard());
        let bell = Bell::new();
        let _early = TIMER.at(start + SECOND, bell.waiter());
        SCRIPT.advance(SECOND);
        bell.wait();
        drop(last);
        end();
        assert_eq!(bell.rung(), 1);
    });
}

/// Two threads set an alarm for the same time. The first starts the timer's thread.
#[test]
fn both_of_two_alarms_go_off() {
    explore(2, || {
        let time = SCRIPT.start() + SECOND;
        let other = thread::spawn(move || {
            let bell = Bell::new();
            let _alarm = TIMER.at(time, bell.waiter());
            bell.wait();
        });
        let bell = Bell::new();
        let _alarm = TIMER.at(time, bell.waiter());
        SCRIPT.advance(SECOND);
        bell.wait();
        other.join().expect("no panic");
        end();
    });
}

/// An alarm is dropped while it goes off: its waiter is woken once or not at all, and is not kept. The other alarm goes off.
#[test]
fn a_dropped_alarm_is_over() {
    explore(3, || {
        let start = SCRIPT.start();
        let (dropped, kept) = (Bell::new(), Bell::new());
        let _kept = TIMER.at(start + SECOND, kept.waiter());
        drop(TIMER.at(start, dropped.waiter()));
        SCRIPT.advance(SECOND);
        kept.wait();
        end();
        assert!(dropped.rung() <= 1);
        assert_eq!([dropped, kept].map(|bell| Arc::strong_count(&bell)), [1, 1], "a waiter is kept");
    });
}

/// An alarm is set while the thread ends because there was none: it goes off, on this thread or on the next.
#[test]
fn an_alarm_is_set_while_the_thread_ends() {
    explore(3, || {
        drop(TIMER.at(SCRIPT.start() + FAR, unheard()));
        SCRIPT.advance(IDLE_LIFETIME);
        let bell = Bell::new();
        let _alarm = TIMER.at(SCRIPT.now(), bell.waiter());
        bell.wait();
        end();
    });
}

/// Uses the timer when it is woken and when it is dropped.
struct Meddles(Arc<Bell>);

fn meddle() {
    drop(TIMER.at(SCRIPT.start() + FAR, unheard()));
}

impl Wake for Meddles {
    fn wake(self: Arc<Self>) {
        meddle();
    }
}

impl Drop for Meddles {
    fn drop(&mut self) {
        meddle();
        self.0.ring();
    }
}

/// An alarm goes off or is dropped, and its waiter uses the timer at that moment: it runs and is dropped without the lock.
#[test]
fn a_waiter_may_use_the_timer() {
    explore(3, || {
        let bell = Bell::new();
        let waiter = Waiter::Task(Waker::from(Arc::new(Meddles(Arc::clone(&bell)))));
        drop(TIMER.at(SCRIPT.start(), waiter));
        bell.wait();
        end();
        assert_eq!(bell.rung(), 1);
    });
}
