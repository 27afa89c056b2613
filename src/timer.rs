//! The one thread that keeps the time for asynchronous code. It is there only while a future waits for a time.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::contain::contain;

// The real ones, also in a model: a static cannot be one of loom's.
static TIMER: Mutex<Timer> = Mutex::new(Timer { alarms: BTreeMap::new(), next: 0, has_thread: false });
static CHANGED: Condvar = Condvar::new();

struct Timer {
    alarms: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    has_thread: bool,
}

fn lock() -> MutexGuard<'static, Timer> {
    TIMER.lock()
}

/// Has `waker` woken at `time`, unless the answer is dropped before.
pub(crate) fn wake_at(time: Instant, waker: Waker) -> Alarm {
    let mut timer = lock();
    let key = (time, timer.next);
    timer.next += 1;
    timer.alarms.insert(key, waker);
    if timer.has_thread {
        drop(timer);
        CHANGED.notify_one();
    } else {
        timer.has_thread = true;
        drop(timer);
        let thread = std::thread::Builder::new().name("formicary-timer".into()).stack_size(64 * 1024);
        if thread.spawn(keep_time).is_err() {
            let mut timer = lock();
            timer.has_thread = false;
            let all: Vec<Waker> = timer.alarms.values().cloned().collect();
            drop(timer);
            // Without a thread the executors have to look again and again, also those that came while it was being started.
            for waker in all {
                contain(|| waker.wake());
            }
        }
    }
    Alarm(key)
}

fn keep_time() {
    let mut timer = lock();
    while let Some((&key, _)) = timer.alarms.first_key_value() {
        if key.0 <= Instant::now() {
            let waker = timer.alarms.remove(&key);
            drop(timer);
            if let Some(waker) = waker {
                // An executor's panic is not the timer's.
                contain(|| waker.wake());
            }
            timer = lock();
        } else {
            CHANGED.wait_until(&mut timer, key.0);
        }
    }
    timer.has_thread = false;
}

/// An alarm that was set; dropping it unsets it.
pub(crate) struct Alarm((Instant, u64));

impl Drop for Alarm {
    fn drop(&mut self) {
        let unwanted = lock().alarms.remove(&self.0);
        drop(unwanted);
        // If it was the last one, the thread may go.
        CHANGED.notify_one();
    }
}
