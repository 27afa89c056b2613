//! The submissions of a pipeline that are under way, on whichever threads. Nothing is submitted after the drop of the results.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

use crate::flow::sending::Entering;
use crate::sync::{Arc, Condvar, Mutex, thread_local, wait};

thread_local! {
    /// How many submissions are on this thread's stack, of any pipeline.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

pub(super) struct Submissions {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    under_way: usize,
}

/// A submission that is under way until this is dropped.
struct UnderWay<'s>(&'s Submissions);

impl Submissions {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Submissions { state: Mutex::new(State::default()), changed: Condvar::new() })
    }

    /// Has a task enter its pool, in as many polls as that takes. Drops it once nothing more is to be submitted.
    pub(super) async fn enter(&self, mut entering: Entering) {
        poll_fn(|poller| match self.begin() {
            Some(_under_way) => entering.as_mut().poll(poller),
            None => Poll::Ready(()),
        })
        .await;
    }

    fn begin(&self) -> Option<UnderWay<'_>> {
        let mut state = self.state.lock();
        if state.is_closed {
            return None;
        }
        state.under_way += 1;
        drop(state);
        // Fails on a thread whose locals are gone, which waits for nothing.
        let _ = DEPTH.try_with(|depth| depth.set(depth.get() + 1));
        Some(UnderWay(self))
    }

    /// None begins from here on.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
    }

    /// Waits for those that are under way; not within one: its thread, and one that waits for it, would wait for themselves.
    pub(super) fn await_end(&self) {
        if DEPTH.try_with(Cell::get).unwrap_or(1) > 0 {
            return;
        }
        let mut state = self.state.lock();
        while state.under_way > 0 {
            wait(&self.changed, &mut state, None);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let _ = DEPTH.try_with(|depth| depth.set(depth.get() - 1));
        let mut state = self.0.state.lock();
        state.under_way -= 1;
        // `await_end` is called by whoever drops the results, so one waits.
        let is_awaited = state.is_closed && state.under_way == 0;
        drop(state);
        if is_awaited {
            self.0.changed.notify_all();
        }
    }
}
