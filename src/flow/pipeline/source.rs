//! The thread that pulls from the source.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use super::control::source_panic;
use super::stage::{End, Inlet, Outlet};
use super::stats::Waited;
use crate::sync::user_code::catch_user_panic;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Thread, current, park};

/// What the source's thread and the first stage share.
#[derive(Default)]
pub(super) struct Source {
    is_stopped: AtomicBool,
    /// Behind a lock: a stop either finds the thread, or is seen by it before it first waits.
    thread: Mutex<Option<Thread>>,
    figures: Mutex<Figures>,
}

#[derive(Default)]
struct Figures {
    pulled: u64,
    blocked: Waited,
}

impl Source {
    pub(super) fn figures(&self) -> (u64, Duration) {
        let figures = self.figures.lock();
        (figures.pulled, figures.blocked.total())
    }

    fn is_stopped(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `abandon`. The unpark orders a wait that has begun.
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Pulls on a thread of its own: an iterator may block, and what is done meanwhile comes out all the same.
    pub(super) fn start<I>(self: &Arc<Self>, items: I, first: Arc<dyn Inlet<I::Item>>) -> io::Result<()>
    where
        I: Iterator + Send + 'static,
    {
        let source = Arc::clone(self);
        let thread = thread::Builder::new().name("formicary-source".into());
        thread.spawn(move || source.run(items, &*first)).map(drop)
    }

    fn run<I: Iterator>(&self, mut items: I, first: &dyn Inlet<I::Item>) {
        *self.thread.lock() = Some(current());
        let end = loop {
            self.await_room(first);
            if self.is_stopped() {
                break None;
            }
            match catch_unwind(AssertUnwindSafe(|| items.next())) {
                Ok(Some(x)) => {
                    self.figures.lock().pulled += 1;
                    // Nobody else puts items there, so there is room. If the rest is not wanted, it is dropped.
                    let refused = first.put(x).err();
                    catch_user_panic(|| drop(refused));
                }
                Ok(None) => break Some(End::Finished),
                Err(payload) => break Some(source_panic(payload)),
            }
        };
        catch_user_panic(|| drop(items));
        if let Some(end) = end {
            first.end(end);
        }
    }

    fn await_room<T>(&self, first: &dyn Inlet<T>) {
        if first.has_room() || self.is_stopped() {
            return;
        }
        self.figures.lock().blocked.begin();
        while !first.has_room() && !self.is_stopped() {
            park(None);
        }
        self.figures.lock().blocked.end();
    }
}

impl Outlet for Source {
    fn forward(&self) {
        let thread = self.thread.lock().clone();
        thread.into_iter().for_each(|thread| thread.unpark());
    }

    fn abandon(&self) {
        // ORDERING: Release, see `is_stopped`.
        self.is_stopped.store(true, Ordering::Release);
        self.forward();
    }
}
