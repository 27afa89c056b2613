//! What the tests of races share.
#![allow(dead_code, unreachable_pub, unused_macros, unused_imports)] // every test file uses its own part

use std::panic::resume_unwind;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use formicary::Task;

/// Runs `body(0)` to `body(count - 1)` on threads of their own that start together, and waits for all.
pub fn together(count: usize, body: impl Fn(usize) + Sync) {
    let start = Barrier::new(count);
    std::thread::scope(|scope| {
        let (start, body) = (&start, &body);
        let run = |n| {
            scope.spawn(move || {
                start.wait();
                body(n);
            })
        };
        let threads: Vec<_> = (0..count).map(run).collect();
        // The scope joins too, but ThreadSanitizer does not see that.
        for thread in threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
}

/// A task that panics, without a message on the terminal.
pub fn panicking() -> Task {
    Task::new(quiet_panic)
}

/// Panics without a message on the terminal.
pub fn quiet_panic() {
    resume_unwind(Box::new("a test's panic"))
}

/// Lets `time` pass, to move one side of a race against the other. Nothing may depend on how long it is.
pub fn shift(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::thread::yield_now();
    }
}
