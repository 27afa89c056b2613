//! The target `ring`: a ring against a `VecDeque`, in lockstep.
//!
//! A task reports its number when it starts and ends when it is told to. So it is known at any time which tasks run, which one is
//! next, and whether one more finds room: the ring must agree in every lap.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use arbitrary::Arbitrary;
use formicary::{PauseGuard, PoolWithFunc, Ring, SubmitErrorKind};

use super::{Sequence, await_no_threads, eventually, thread_name};

#[derive(Arbitrary, Debug)]
pub(crate) struct Plan {
    workers: u8,
    queue: u8,
    operations: Sequence<Operation>,
}

choices! {
    #[derive(Debug)]
    enum Operation {
        /// So many tries to push.
        Put(u8),
        PutAll(u8),
        /// So many tasks end, each time the one at that place.
        End(u8, u8),
        Pause,
        Resume,
        Tune(u8),
        /// The queue is taken out and the pool opened again.
        Drain,
        Close,
        Reopen,
    }
}

/// What goes through the ring: larger than a word, and its drops are counted.
struct Item {
    number: u64,
    copy: [u64; 3],
    _counted: Arc<()>,
}

impl Item {
    fn check(&self) -> u64 {
        assert_eq!(self.copy, [self.number; 3], "an item is torn");
        self.number
    }
}

/// A task that has started, and how to end it.
type Started = (u64, Sender<()>);

pub(crate) fn drive(plan: &Plan) {
    let name = thread_name();
    let (starts, started) = channel::<Started>();
    let (workers, queue) = (1 + usize::from(plan.workers % 3), usize::from(plan.queue % 10));
    let run = move |item: Item| {
        let (end, ended) = channel();
        // If the receiver is gone, the plan has failed.
        if starts.send((item.check(), end)).is_ok() {
            let _end = ended.recv();
        }
    };
    let builder = PoolWithFunc::builder(run).workers(workers).queue(queue).thread_name(&*name);
    let pool = builder.dispatch::<Ring>().build().expect("the shape is good");
    let mut model = Model {
        pool,
        started,
        counted: Arc::new(()),
        next: 0,
        queued: VecDeque::new(),
        running: Vec::new(),
        pauses: Vec::new(),
        is_closed: false,
        capacity: workers,
        queue,
        slots: (workers + queue).next_power_of_two(),
    };
    for operation in &plan.operations.0 {
        model.carry_out(operation);
        model.check();
    }
    let counted = model.end();
    await_no_threads(&name);
    assert_eq!(Arc::strong_count(&counted), 1, "an item is left");
}

struct Model {
    pool: PoolWithFunc<Item, Ring>,
    started: Receiver<Started>,
    counted: Arc<()>,
    next: u64,
    queued: VecDeque<u64>,
    running: Vec<Started>,
    pauses: Vec<PauseGuard>,
    is_closed: bool,
    capacity: usize,
    queue: usize,
    slots: usize,
}

impl Model {
    fn carry_out(&mut self, operation: &Operation) {
        match operation {
            Operation::Put(count) => (0..count % 8).for_each(|_| self.put()),
            Operation::PutAll(count) => self.put_all(u64::from(count % 8)),
            Operation::End(count, which) => (0..count % 8).for_each(|_| self.end_one(usize::from(*which))),
            Operation::Pause => self.pauses.push(self.pool.pause()),
            Operation::Resume => {
                drop(self.pauses.pop());
                self.await_starts();
            }
            Operation::Tune(workers) => {
                self.capacity = 1 + usize::from(workers % 4);
                self.pool.tune(self.capacity).expect("a good number");
                self.await_starts();
            }
            Operation::Drain => self.drain(),
            Operation::Close => {
                // Pauses end with it.
                self.is_closed = true;
                let _report = self.pool.shutdown_timeout(Duration::ZERO);
                self.await_starts();
            }
            Operation::Reopen => self.reopen(),
        }
    }

    fn item(&mut self) -> Item {
        let number = self.next;
        self.next += 1;
        Item { number, copy: [number; 3], _counted: Arc::clone(&self.counted) }
    }

    /// Whether there is room for one more task.
    fn has_room(&self) -> bool {
        self.queued.len() < self.slots && self.queued.len() + self.running.len() < self.capacity + self.queue
    }

    fn put(&mut self) {
        let item = self.item();
        let number = item.number;
        let result = self.pool.try_submit(item);
        let kind = result.err().map(|refusal| {
            let (kind, item) = refusal.into_parts();
            assert_eq!(item.check(), number, "the item itself comes back");
            kind
        });
        let expected = match (self.is_closed, self.has_room()) {
            (true, _) => Some(SubmitErrorKind::Closed),
            (false, false) => Some(SubmitErrorKind::Full),
            (false, true) => None,
        };
        assert_eq!(kind, expected, "item {number} {}", self.picture());
        if kind.is_none() {
            self.queued.push_back(number);
            self.await_starts();
        }
    }

    /// Submits no more than there is room for: the rest would wait.
    fn put_all(&mut self, count: u64) {
        let room = self.slots.saturating_sub(self.queued.len());
        let room_in_pool = (self.capacity + self.queue).saturating_sub(self.queued.len() + self.running.len());
        let count = count.min(room.min(room_in_pool) as u64);
        let items: Vec<Item> = (0..count).map(|_| self.item()).collect();
        let numbers: Vec<u64> = items.iter().map(|item| item.number).collect();
        match self.pool.submit_all(items) {
            Ok(accepted) => {
                assert_eq!(accepted as u64, count);
                assert!(!self.is_closed || count == 0);
                self.queued.extend(numbers);
                self.await_starts();
            }
            Err(stopped) => {
                assert!(self.is_closed && stopped.accepted() == 0);
                let (error, rest) = stopped.into_parts();
                assert!(error.is_closed());
                assert!(std::iter::once(error.into_task()).chain(rest).map(|item| item.check()).eq(numbers));
            }
        }
    }

    fn is_paused(&self) -> bool {
        !self.is_closed && !self.pauses.is_empty()
    }

    /// Waits for the tasks that must start now: those at the head, all of them and no other.
    fn await_starts(&mut self) {
        if self.is_paused() {
            return;
        }
        let count = self.capacity.saturating_sub(self.running.len()).min(self.queued.len());
        let heads: Vec<u64> = self.queued.drain(..count).collect();
        let mut begun: HashMap<u64, Sender<()>> = (0..count).map(|_| self.started.recv().expect("a pool")).collect();
        for number in heads {
            let end = begun.remove(&number).unwrap_or_else(|| panic!("{number} is next {}", self.picture()));
            self.running.push((number, end));
        }
    }

    fn end_one(&mut self, which: usize) {
        if self.running.is_empty() {
            return;
        }
        drop(self.running.remove(which % self.running.len()));
        // Its room is free when it is counted.
        let is_next = !self.is_paused() && !self.queued.is_empty() && self.running.len() < self.capacity;
        if !is_next {
            eventually(|| self.pool.running() == self.running.len());
        }
        self.await_starts();
    }

    fn drain(&mut self) {
        if self.is_closed {
            return;
        }
        // Shutting down waits for what runs: so that first, and nothing may follow it.
        let pause = self.pool.pause();
        self.running.clear();
        assert!(pause.wait_quiet());
        let returned: Vec<u64> = self.pool.shutdown_now().iter().map(Item::check).collect();
        assert!(returned.iter().eq(&self.queued), "{returned:?} came out {}", self.picture());
        self.queued.clear();
        drop(pause);
        self.restart();
    }

    /// Runs what is left in a closed pool, and opens it again.
    fn reopen(&mut self) {
        if self.is_closed {
            while !self.running.is_empty() {
                self.end_one(0);
            }
            assert!(self.pool.shutdown().is_complete());
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.pool.restart().expect("a pool that has ended");
        self.is_closed = false;
        // A pause ends with its pool.
        self.pauses.clear();
    }

    fn check(&self) {
        let counts = (self.pool.queued(), self.pool.running());
        assert_eq!(counts, (self.queued.len(), self.running.len()), "queued, running {}", self.picture());
        assert_eq!(self.pool.is_closed(), self.is_closed);
        assert!(self.started.try_recv().is_err(), "a task started that may not {}", self.picture());
    }

    fn picture(&self) -> String {
        let running: Vec<u64> = self.running.iter().map(|(number, _)| *number).collect();
        format!(
            "(running {running:?}, queued {:?}, {} workers, {} more, {} slots, paused {})",
            self.queued,
            self.capacity,
            self.queue,
            self.slots,
            self.is_paused()
        )
    }

    fn end(mut self) -> Arc<()> {
        self.pauses.clear();
        self.await_starts();
        while !self.running.is_empty() {
            self.end_one(0);
        }
        assert!(self.pool.wait_idle());
        let stats = self.pool.stats();
        assert_eq!(stats.submitted, stats.completed + stats.returned, "{stats:?}");
        self.counted
    }
}
