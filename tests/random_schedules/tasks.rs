//! Tasks that record what becomes of them.

use std::sync::Arc;
// Not shuttle's: the test's own records must not add steps to a schedule.
use std::sync::Mutex;

use formicary::{Stats, Task};
use shuttle::thread::{ThreadId, current};

use crate::support::races::quiet_panic;

/// What has become of one task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The pool said that it took it.
    pub accepted: bool,
    /// It was given back, by a refusal or by the end of the pool, or it was cancelled.
    pub back: bool,
    pub ran: u32,
    pub panicked: bool,
    /// What it had captured was dropped.
    pub dropped: u32,
}

/// The tasks of one scenario.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    records: Vec<Record>,
    running: usize,
    peak: usize,
    refusals: u64,
    /// The thread on which tasks only report their numbers, instead of running.
    taker: Option<ThreadId>,
}

/// One task's entry, captured by it.
pub struct Entry {
    ledger: Ledger,
    pub number: usize,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.ledger.edit(self.number, |record| record.dropped += 1);
    }
}

/// A task is running, until this is dropped.
struct Running<'a>(&'a Ledger);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().running -= 1;
    }
}

impl Entry {
    /// Runs `body`, unless the task is only asked for its number.
    pub fn run<T>(self, body: impl FnOnce() -> T) -> Option<T> {
        {
            let mut inner = self.ledger.0.lock().unwrap();
            if inner.taker == Some(current().id()) {
                inner.records[self.number].back = true;
                return None;
            }
            inner.records[self.number].ran += 1;
            inner.running += 1;
            inner.peak = inner.peak.max(inner.running);
        }
        let _running = Running(&self.ledger);
        Some(body())
    }

    /// It runs and panics.
    pub fn run_and_panic(self) {
        let (ledger, number) = (self.ledger.clone(), self.number);
        self.run(|| {
            ledger.edit(number, |record| record.panicked = true);
            quiet_panic();
        });
    }
}

impl Ledger {
    fn edit<O>(&self, number: usize, f: impl FnOnce(&mut Record) -> O) -> O {
        f(&mut self.0.lock().unwrap().records[number])
    }

    /// A new task's entry.
    pub fn entry(&self) -> Entry {
        let mut inner = self.0.lock().unwrap();
        inner.records.push(Record::default());
        Entry { ledger: self.clone(), number: inner.records.len() - 1 }
    }

    /// A task that does `body`, and its number.
    pub fn task(&self, body: impl FnOnce() + Send + 'static) -> (Task, usize) {
        let entry = self.entry();
        let number = entry.number;
        (Task::new(move || _ = entry.run(body)), number)
    }

    /// A task that panics, and its number.
    pub fn panicking_task(&self) -> (Task, usize) {
        let entry = self.entry();
        let number = entry.number;
        (Task::new(move || entry.run_and_panic()), number)
    }

    pub fn accepted(&self, number: usize) {
        self.edit(number, |record| record.accepted = true);
    }

    pub fn came_back(&self, number: usize) {
        self.edit(number, |record| record.back = true);
    }

    /// The pool gave these back; returns how many.
    pub fn take_back(&self, tasks: Vec<Task>) -> u64 {
        let count = tasks.len() as u64;
        self.0.lock().unwrap().taker = Some(current().id());
        tasks.into_iter().for_each(Task::run);
        self.0.lock().unwrap().taker = None;
        count
    }

    pub fn refused(&self, number: usize) {
        self.came_back(number);
        self.0.lock().unwrap().refusals += 1;
    }

    /// Accepted tasks of an idle pool that were dropped unstarted had no state to run with.
    pub fn note_cancelled(&self) {
        let mut inner = self.0.lock().unwrap();
        let cancelled =
            inner.records.iter_mut().filter(|record| record.accepted && record.ran == 0 && record.dropped == 1);
        cancelled.for_each(|record| record.back = true);
    }

    pub fn record(&self, number: usize) -> Record {
        self.edit(number, |record| *record)
    }

    pub fn records(&self) -> Vec<Record> {
        self.0.lock().unwrap().records.clone()
    }

    /// The most tasks that ran at a time.
    pub fn peak(&self) -> usize {
        self.0.lock().unwrap().peak
    }

    /// The peak is counted anew, at a time when nothing runs.
    pub fn forget_peak(&self) {
        self.0.lock().unwrap().peak = 0;
    }

    /// How many tasks have ever begun.
    pub fn started(&self) -> usize {
        self.count(|record| record.ran > 0)
    }

    pub fn count(&self, which: impl Fn(&Record) -> bool) -> usize {
        self.0.lock().unwrap().records.iter().filter(|record| which(record)).count()
    }

    /// Checks a pool that has ended, or is idle: each task ran once, or came back and did not run; nothing of it is left; and the
    /// pool's figures say the same. `given_back` is how many accepted tasks the pool returned.
    pub fn check(&self, stats: &Stats, given_back: u64) {
        for (number, record) in self.records().into_iter().enumerate() {
            let Record { accepted, back, ran, dropped, .. } = record;
            assert!(accepted || back, "task {number} is lost: {record:?}");
            assert_eq!(ran, u32::from(!back), "task {number}: {record:?}");
            assert_eq!(dropped, 1, "task {number}: {record:?}");
        }
        let panicked = self.count(|record| record.panicked) as u64;
        assert_eq!(stats.submitted, self.count(|record| record.accepted) as u64, "{stats:?}");
        assert_eq!((stats.panicked, stats.returned), (panicked, given_back), "{stats:?}");
        assert_eq!(stats.completed, self.started() as u64 - panicked, "{stats:?}");
        assert_eq!(
            stats.cancelled,
            self.count(|record| record.accepted && record.back) as u64 - given_back,
            "{stats:?}"
        );
        assert_eq!(stats.rejected, self.0.lock().unwrap().refusals, "{stats:?}");
        assert_eq!((stats.queued, stats.running, stats.waiting), (0, 0, 0), "{stats:?}");
        assert_eq!(stats.submitted, stats.completed + stats.panicked + stats.cancelled + stats.returned, "{stats:?}");
    }
}

/// All workers of a pool that has ended are gone.
pub fn check_threads(stats: &Stats) {
    assert_eq!((stats.live, stats.spawned), (0, stats.retired), "{stats:?}");
    assert_eq!((stats.handler_panics, stats.failed_starts), (0, 0), "{stats:?}");
}
