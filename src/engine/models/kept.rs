//! loom model of a worker that is kept for the minimum (parking.md, **surplus**).

use std::time::{Duration, Instant};

use loom::thread;

use crate::engine::parking::AdaptiveSpin;
use crate::engine::parking::{Expiry, NextAction, Parker, Parking, Source};
use crate::sync::explore::explore;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, wait};

struct Pool {
    parking: Parking,
    /// How many workers there are. The minimum is one.
    registry: Mutex<usize>,
    /// Whether a worker has asked in vain whether it may end.
    has_asked: (Mutex<bool>, Condvar),
    staying: AtomicUsize,
    closed: AtomicBool,
}

struct At<'a>(&'a Pool, Duration);

impl Source for At<'_> {
    type Item = ();

    fn pop(&self) -> Option<()> {
        None
    }

    fn woken(&self) {}

    fn has_work(&self) -> bool {
        false
    }

    fn peek(&self) -> bool {
        false
    }

    fn has_mail(&self) -> bool {
        false
    }

    fn must_exit(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    fn exit(&self) -> bool {
        self.must_exit()
    }

    fn must_stop_searching(&self) -> bool {
        self.must_exit()
    }

    fn expiry(&self) -> Option<Duration> {
        Some(self.1)
    }

    fn expire(&self) -> Expiry {
        let mut registry = self.0.registry.lock();
        if *registry == 1 {
            drop(registry);
            *self.0.has_asked.0.lock() = true;
            self.0.has_asked.1.notify_all();
            return Expiry::IsKept;
        }
        *registry -= 1;
        self.0.staying.store(*registry, Ordering::Relaxed);
        Expiry::Exits
    }

    fn is_above_minimum(&self) -> bool {
        self.0.staying.load(Ordering::Relaxed) > 1
    }

    fn alarm(&self) -> Option<Instant> {
        None
    }
}

impl Pool {
    fn work(&self, id: usize, expiry: Duration) {
        let parker = Parker::for_current(id);
        let action = self.parking.wait_for_work(&parker, &AdaptiveSpin::new(Duration::ZERO), &At(self, expiry));
        assert!(matches!(action, NextAction::Exit));
    }
}

/// A worker has expired, and is kept or about to be. Another one starts and falls asleep, with its own expiry far away. The first one ends.
#[test]
fn a_kept_worker_ends_when_there_are_more_than_the_minimum() {
    explore(3, || {
        let pool = Arc::new(Pool {
            parking: Parking::new(2),
            registry: Mutex::new(1),
            has_asked: (Mutex::new(false), Condvar::new()),
            staying: AtomicUsize::new(1),
            closed: AtomicBool::new(false),
        });
        let kept = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.work(0, Duration::ZERO))
        };
        // Spinning threads yield, so this thread would not run in time by itself.
        let (has_asked, changed) = &pool.has_asked;
        let mut has_asked = has_asked.lock();
        while !*has_asked {
            wait(changed, &mut has_asked, None);
        }
        drop(has_asked);
        *pool.registry.lock() = 2;
        pool.staying.store(2, Ordering::Relaxed);
        let surplus = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.work(1, Duration::from_secs(3600)))
        };
        kept.join().unwrap();
        pool.closed.store(true, Ordering::Relaxed);
        pool.parking.wake_all();
        surplus.join().unwrap();
    });
}
