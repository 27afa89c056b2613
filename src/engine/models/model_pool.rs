//! What the models use: the engine's paths for submitters and workers around a real queue, without starting and ending threads.

use std::task::Waker;
use std::time::{Duration, Instant};

use loom::thread;

use crate::engine::mailboxes::{Broadcast, Mailbox, Mailboxes};
use crate::engine::parking::AdaptiveSpin;
use crate::engine::parking::{Expiry, NextAction, Parker, Parking, Source};
use crate::engine::wait_queue::{WaitNode, WaitQueue};
use crate::error::JoinError;
use crate::queue::deques::{Deques, LocalDeque, Victims};
use crate::queue::{DEFAULT_LANE, OwnQueue, Queue, QueueCx, Refused, Shape, TaskQueue};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, current, park, wait};

/// A pool of nothing but a queue, its workers' deques, its parking, its mailboxes and its wait queue.
pub(super) struct ModelPool<Q: Queue<usize>> {
    pub(super) queue: TaskQueue<usize, Q>,
    pub(super) deques: Arc<Deques<usize>>,
    pub(super) parking: Parking,
    pub(super) mailboxes: Mailboxes<usize>,
    pub(super) wait_queue: WaitQueue,
    closed: AtomicBool,
    /// Tasks that have run.
    pub(super) done: AtomicUsize,
    /// Tasks that run now, where a model counts them.
    pub(super) busy: AtomicUsize,
    /// A worker exits when so many tasks have run.
    enough: usize,
    /// Opened by [`OPENS`], for [`LONG`].
    gate: (Mutex<bool>, Condvar),
}

/// A task that ends only after the task [`OPENS`].
pub(super) const LONG: usize = 100;

pub(super) const OPENS: usize = 101;

impl<Q: Queue<usize>> ModelPool<Q> {
    pub(super) fn new(workers: usize, bound: usize, enough: usize) -> Arc<Self> {
        let shape = Shape { workers, bound: Some(bound), shards: Some(2.min(workers + bound)), ..Shape::default() };
        let queue = TaskQueue::new(&shape, usize::MAX).expect("the shape is good");
        let (deques, parking) = (Deques::new(), Parking::new(0));
        let (closed, done, busy) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        let gate = (Mutex::new(false), Condvar::new());
        let (mailboxes, wait_queue) = (Mailboxes::new(), WaitQueue::new(queue.room_order()));
        Arc::new(ModelPool { queue, deques, parking, mailboxes, wait_queue, closed, done, busy, enough, gate })
    }

    /// With one worker and a full queue: tasks 0 to `bound`.
    pub(super) fn full(bound: usize, enough: usize) -> Arc<Self> {
        let pool = Self::new(1, bound, enough);
        (0..=bound).for_each(|item| assert!(pool.try_enter(item).is_ok()));
        pool
    }

    /// Accepts a task as the engine does.
    pub(super) fn try_enter(&self, item: usize) -> Result<(), Refused> {
        self.try_enter_by(item, DEFAULT_LANE, 0)
    }

    /// Accepts a worker's own task as the engine does. `own`: into that worker's list.
    pub(super) fn enter_nested(&self, item: usize, own: Option<&OwnQueue<usize>>) -> Result<(), Refused> {
        self.queue.push_nested(&mut Some(item), DEFAULT_LANE, own)?;
        self.parking.notify(|| self.queue.may_start_overflowed(), |searching| self.queue.has_more(searching));
        Ok(())
    }

    /// Pushes a worker's own job as the engine does.
    pub(super) fn push_job(&self, local: &LocalDeque<usize>, job: usize) {
        local.push(job);
        self.parking.wake_for(|| true);
    }

    /// Steals a job as the engine does.
    pub(super) fn steal(&self, cx: &QueueCx<usize, Q::Cx>, victims: &Victims<usize>) -> Option<usize> {
        self.queue.start_stolen(cx, || victims.steal(&self.deques))
    }

    /// As [`try_enter`](Self::try_enter), by a lane, leaving room for others.
    fn try_enter_by(&self, item: usize, lane: usize, reserved: usize) -> Result<(), Refused> {
        let idle = self.parking.claim();
        self.queue.push(&mut Some(item), lane, reserved, idle.as_ref().map(|claim| claim.worker()))?;
        drop(idle);
        self.parking.notify(|| self.queue.has_work(), |searching| self.queue.has_more(searching));
        Ok(())
    }

    fn notify_blocked(&self) {
        self.wait_queue.notify_heads(|lane, others| self.queue.has_room(lane, others));
    }

    fn retry_from_queue(&self, node: &WaitNode<'_>, item: usize, lane: usize) -> Result<(), Refused> {
        let mut is_head = true;
        let answer = node.consume_notification(|| {
            is_head = node.is_head();
            match is_head {
                true => self.try_enter_by(item, lane, node.reserved()),
                false if self.closed.load(Ordering::SeqCst) => Err(Refused::Closed),
                false => Err(Refused::Full),
            }
        });
        if !is_head {
            self.wait_queue.pass_late_futures(|lane| self.queue.has_room(lane, 0));
        }
        answer
    }

    /// Waits for room as the engine does. Returns false when the pool is closed.
    pub(super) fn submit(&self, item: usize) -> bool {
        self.submit_by(item, DEFAULT_LANE)
    }

    /// The same by a lane.
    pub(super) fn submit_by(&self, item: usize, lane: usize) -> bool {
        let node = self.wait_queue.join(lane, usize::MAX, Waiter::Thread(current())).expect("there is no limit");
        let is_in = loop {
            match self.retry_from_queue(&node, item, lane) {
                Ok(()) => break true,
                Err(Refused::Closed) => break false,
                Err(Refused::Full) => {}
            }
            node.wait(None);
        };
        self.leave(node);
        is_in
    }

    /// Leaves the wait queue as the engine does.
    pub(super) fn leave(&self, node: WaitNode<'_>) {
        drop(node);
        if self.wait_queue.shares_room() {
            self.notify_blocked();
        }
    }

    /// Polls a waiting future as the engine does. `None` if it must go on waiting.
    fn poll_waiting(&self, node: &WaitNode<'_>, item: usize, waiter: Waiter) -> Option<bool> {
        node.set_waiter(waiter);
        loop {
            match self.retry_from_queue(node, item, DEFAULT_LANE) {
                Ok(()) => return Some(true),
                Err(Refused::Closed) => return Some(false),
                Err(Refused::Full) => {}
            }
            if !node.is_notified() {
                return None;
            }
        }
    }

    /// Submits through a future that is first polled with a waker that does nothing, and then by this thread until it is accepted.
    pub(super) fn submit_async(&self, item: usize) -> bool {
        let noop = Waiter::Task(Waker::noop().clone());
        let node = self.wait_queue.join(DEFAULT_LANE, usize::MAX, noop.clone()).expect("there is no limit");
        let mut polled = self.poll_waiting(&node, item, noop);
        while polled.is_none() {
            polled = self.poll_waiting(&node, item, Waiter::Thread(current()));
            if polled.is_none() {
                park(None);
            }
        }
        polled.unwrap_or_default()
    }

    /// The engine's worker: finds and runs tasks and admits submitters, until enough have run or the pool is closed and empty.
    fn work(&self, id: usize) {
        let parker = Parker::for_current(id);
        let (cx, victims) = (self.queue.cx(id), Victims::new(id));
        let mailbox = Mailbox::new(false);
        let mut state = 0;
        drop(self.mailboxes.register(id, &mailbox));
        loop {
            if mailbox.is_signalled() {
                drain_mailbox(&mailbox, id, &mut state);
            }
            let item = match self.queue.pop(&cx) {
                Some(item) => item,
                None => match self.parking.wait_for_work(
                    &parker,
                    &AdaptiveSpin::new(Duration::ZERO),
                    &At { pool: self, cx: &cx, victims: &victims, mailbox: &mailbox },
                ) {
                    NextAction::Task(item) => item,
                    NextAction::Mail => continue,
                    NextAction::Exit => break,
                },
            };
            if cx.take_moved() {
                self.parking.notify(|| self.queue.has_work(), |searching| self.queue.has_more(searching));
            }
            self.run(item, &cx);
        }
        while !self.mailboxes.try_unregister(id, &mailbox) {
            drain_mailbox(&mailbox, id, &mut state);
        }
        self.parking.wake_all();
    }

    /// Runs a task, and counts its end as the engine does.
    pub(super) fn run(&self, item: usize, cx: &QueueCx<usize, Q::Cx>) {
        let (open, changed) = &self.gate;
        let mut open = open.lock();
        *open |= item == OPENS;
        changed.notify_all();
        while item == LONG && !*open {
            wait(changed, &mut open, None);
        }
        drop(open);
        self.queue.finished(cx);
        self.notify_blocked();
        if self.done.fetch_add(1, Ordering::SeqCst) + 1 == self.enough {
            self.parking.wake_all();
        }
    }

    pub(super) fn close(&self) {
        self.queue.close();
        self.closed.store(true, Ordering::SeqCst);
        self.wait_queue.notify_all();
        self.parking.wake_all();
    }
}

/// Handles broadcasts as the engine does.
fn drain_mailbox(mailbox: &Mailbox<usize>, id: usize, state: &mut usize) {
    while let Some(envelope) = mailbox.next() {
        envelope.broadcast.run(id, state);
    }
}

/// A broadcast that counts.
pub(super) struct CountUp(pub(super) AtomicUsize);

impl Broadcast<usize> for CountUp {
    fn run(&self, _worker: usize, state: &mut usize) {
        *state += 1;
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn repeat(&self, _state: &mut usize) {}

    fn fail(&self, _worker: usize, _error: JoinError) {}
}

struct At<'a, Q: Queue<usize>> {
    pool: &'a ModelPool<Q>,
    cx: &'a QueueCx<usize, Q::Cx>,
    victims: &'a Victims<usize>,
    mailbox: &'a Mailbox<usize>,
}

impl<Q: Queue<usize>> At<'_, Q> {
    fn has_jobs(&self) -> bool {
        let (deques, queue) = (&self.pool.deques, &self.pool.queue);
        deques.is_used() && self.victims.has_jobs(deques) && queue.may_start_overflowed()
    }
}

impl<Q: Queue<usize>> Source for At<'_, Q> {
    type Item = usize;

    fn pop(&self) -> Option<usize> {
        let steal = || if self.pool.deques.is_used() { self.pool.steal(self.cx, self.victims) } else { None };
        self.pool.queue.pop(self.cx).or_else(steal)
    }

    fn woken(&self) {
        self.pool.queue.woken(self.cx);
    }

    fn peek(&self) -> bool {
        self.pool.queue.peek(self.cx) || self.has_jobs()
    }

    fn has_work(&self) -> bool {
        self.pool.queue.has_work_for(self.cx) || self.has_jobs()
    }

    fn has_mail(&self) -> bool {
        self.mailbox.has_mail()
    }

    fn must_exit(&self) -> bool {
        self.pool.done.load(Ordering::SeqCst) >= self.pool.enough
            || (self.pool.closed.load(Ordering::SeqCst) && self.pool.queue.load().queued == 0)
    }

    fn exit(&self) -> bool {
        self.must_exit()
    }

    fn must_stop_searching(&self) -> bool {
        self.has_mail() || self.must_exit()
    }

    fn expiry(&self) -> Option<Duration> {
        None
    }

    fn expire(&self) -> Expiry {
        Expiry::IsKept
    }

    fn is_above_minimum(&self) -> bool {
        false
    }

    fn alarm(&self) -> Option<Instant> {
        None
    }
}

/// Runs `workers` workers beside `main` and waits for all of them.
pub(super) fn with_workers<Q: Queue<usize>>(pool: &Arc<ModelPool<Q>>, workers: usize, main: impl FnOnce()) {
    let threads: Vec<_> = (0..workers)
        .map(|id| {
            let pool = Arc::clone(pool);
            thread::spawn(move || pool.work(id))
        })
        .collect();
    main();
    for thread in threads {
        thread.join().expect("a worker does not panic");
    }
}
