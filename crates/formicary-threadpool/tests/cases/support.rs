//! Limits that turn a hang into a failure, and gates to hold jobs with.
// Each test program uses its own part.
#![allow(dead_code)]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test may take before it counts as hanging.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Runs the body of a test, and fails if that takes longer than [`LIMIT`].
pub(crate) fn within_limit(body: impl FnOnce() + Send + 'static) {
    let (done, end) = channel::<()>();
    let running = thread::spawn(move || {
        let _done = done;
        body();
    });
    let timed_out = end.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
    assert!(!timed_out, "the test hangs");
    if let Err(panic) = running.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "never: {what}");
        thread::yield_now();
    }
}

/// Holds jobs until it is opened, and counts those that have arrived.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    pub(crate) fn new() -> Self {
        Gate::default()
    }

    /// Arrives, and waits until the gate is open.
    pub(crate) fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.0 += 1;
        changed.notify_all();
        drop(changed.wait_while(state, |(_, is_open)| !*is_open).unwrap());
    }

    /// A job that passes the gate.
    pub(crate) fn job(&self) -> impl FnOnce() + Send + 'static {
        let gate = self.clone();
        move || gate.pass()
    }

    /// Whether so many have arrived within the limit.
    pub(crate) fn has_within(&self, arrivals: usize, limit: Duration) -> bool {
        let (state, changed) = &*self.0;
        let state = changed.wait_timeout_while(state.lock().unwrap(), limit, |(arrived, _)| *arrived < arrivals);
        state.unwrap().0.0 >= arrivals
    }

    pub(crate) fn await_arrivals(&self, arrivals: usize) {
        assert!(self.has_within(arrivals, LIMIT), "fewer than {arrivals} have arrived");
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().1 = true;
        self.0.1.notify_all();
    }
}

/// A count that jobs raise.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn new() -> Self {
        Count::default()
    }

    pub(crate) fn up(&self) {
        self.0.fetch_add(1, SeqCst);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// A job that raises it.
    pub(crate) fn job(&self) -> impl FnOnce() + Send + 'static {
        let count = self.clone();
        move || count.up()
    }
}

/// How many threads of this process have the name. The system cuts names to 15 bytes.
#[cfg(target_os = "linux")]
pub(crate) fn threads_named(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|text| text.trim_end() == name).count()
}

/// A thread that is about to block.
pub(crate) struct Blocking {
    #[cfg(target_os = "linux")]
    stat: std::path::PathBuf,
}

impl Blocking {
    /// The calling thread.
    pub(crate) fn current() -> Self {
        Blocking {
            #[cfg(target_os = "linux")]
            stat: std::path::Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap()).join("stat"),
        }
    }

    /// Waits until the thread sleeps.
    pub(crate) fn until_blocked(&self) {
        #[cfg(target_os = "linux")]
        for _ in 0..3 {
            eventually("the thread sleeps", || {
                let stat = std::fs::read_to_string(&self.stat).unwrap();
                // The state is behind the name, which ends with the last parenthesis.
                stat.rsplit_once(") ").unwrap().1.starts_with('S')
            });
            thread::sleep(Duration::from_millis(1));
        }
        #[cfg(not(target_os = "linux"))]
        thread::sleep(Duration::from_millis(100));
    }
}
