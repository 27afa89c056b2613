//! What the models are made with: the engine's ways in and out around a real queue, without threads that start and end.

use std::task::Waker;
use std::time::{Duration, Instant};

use loom::thread;

use crate::engine::mailboxes::{Broadcast, Mailbox, Mailboxes};
use crate::engine::parking::AdaptiveSpin;
use crate::engine::parking::{Expiry, NextAction, Parker, Parking, Source};
use crate::engine::wait_queue::{WaitNode, WaitQueue};
use crate::error::JoinError;
use crate::queue::{Balance, DEFAULT_LANE, Queue, QueueCx, Refused, Shape, TaskQueue};
use crate::sync::waiter::Waiter;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, current, park, wait};

/// A pool with nothing but a queue, its sleepers and its line.
pub(super) struct Nest<Q: Queue<usize>> {
    pub(super) queue: TaskQueue<usize, Q>,
    pub(super) parking: Parking,
    pub(super) mailboxes: Mailboxes<usize>,
    pub(super) wait_queue: WaitQueue,
    closed: AtomicBool,
    /// Tasks that have run.
    pub(super) done: AtomicUsize,
    /// Tasks that are running, where a model counts them.
    pub(super) busy: AtomicUsize,
    /// A worker leaves when so many have.
    enough: usize,
    /// Opened by [`OPENS`], for [`LONG`].
    gate: (Mutex<bool>, Condvar),
}

/// A task that ends only after the task [`OPENS`].
pub(super) const LONG: usize = 100;

pub(super) const OPENS: usize = 101;

impl<Q: Queue<usize>> Nest<Q> {
    pub(super) fn new(workers: usize, bound: usize, enough: usize) -> Arc<Self> {
        let shape =
            Shape { workers, bound: Some(bound), shards: Some(2.min(workers + bound)), balance: Balance::default() };
        let queue = TaskQueue::new(&shape, usize::MAX).expect("the shape is good");
        let parking = Parking::new(0);
        let (closed, done, busy) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        let gate = (Mutex::new(false), Condvar::new());
        let (mailboxes, wait_queue) = (Mailboxes::new(), WaitQueue::new());
        Arc::new(Nest { queue, parking, mailboxes, wait_queue, closed, done, busy, enough, gate })
    }

    /// The engine's way to let a task in.
    pub(super) fn try_enter(&self, item: usize) -> Result<(), Refused> {
        let idle = self.parking.claim();
        self.queue.push(&mut Some(item), DEFAULT_LANE, 0, idle.as_ref().map(|claim| claim.worker()))?;
        drop(idle);
        self.parking.notify(|| self.queue.has_work(), || self.queue.has_more());
        Ok(())
    }

    /// The engine's way to let a worker's own task in.
    pub(super) fn enter_nested(&self, item: usize) -> Result<(), Refused> {
        self.queue.push_nested(&mut Some(item), DEFAULT_LANE)?;
        self.parking.notify(|| self.queue.has_work(), || self.queue.has_more());
        Ok(())
    }

    fn retry_from_queue(&self, place: &WaitNode<'_>, item: usize) -> Result<(), Refused> {
        let mut is_head = true;
        let answer = place.consume_notification(|| {
            is_head = place.is_head();
            match is_head {
                true => self.try_enter(item),
                false if self.closed.load(Ordering::SeqCst) => Err(Refused::Closed),
                false => Err(Refused::Full),
            }
        });
        if !is_head {
            self.wait_queue.pass_late_futures(|lane| self.queue.has_room(lane));
        }
        answer
    }

    /// The engine's way to wait at the door.
    pub(super) fn submit(&self, item: usize) -> bool {
        let place =
            self.wait_queue.join(DEFAULT_LANE, usize::MAX, Waiter::Thread(current())).expect("there is no limit");
        loop {
            match self.retry_from_queue(&place, item) {
                Ok(()) => return true,
                Err(Refused::Closed) => return false,
                Err(Refused::Full) => {}
            }
            place.wait(None);
        }
    }

    /// The engine's way to poll a future that stands in line: `None` if it has to wait on.
    fn poll_in_line(&self, place: &WaitNode<'_>, item: usize, waiter: Waiter) -> Option<bool> {
        place.set_waiter(waiter);
        loop {
            match self.retry_from_queue(place, item) {
                Ok(()) => return Some(true),
                Err(Refused::Closed) => return Some(false),
                Err(Refused::Full) => {}
            }
            if !place.is_notified() {
                return None;
            }
        }
    }

    /// A future that is polled by somebody who leaves it, and then by this thread until it is in.
    pub(super) fn submit_async(&self, item: usize) -> bool {
        let nobody = Waiter::Task(Waker::noop().clone());
        let place = self.wait_queue.join(DEFAULT_LANE, usize::MAX, nobody.clone()).expect("there is no limit");
        let mut polled = self.poll_in_line(&place, item, nobody);
        while polled.is_none() {
            polled = self.poll_in_line(&place, item, Waiter::Thread(current()));
            if polled.is_none() {
                park(None);
            }
        }
        polled.unwrap_or_default()
    }

    /// The engine's worker: finds, runs, lets in, until enough is done or the pool is closed and empty.
    fn work(&self, id: usize) {
        let me = Parker::for_current(id);
        let cx = self.queue.cx(id);
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
                    &me,
                    &AdaptiveSpin::new(Duration::ZERO),
                    &At { nest: self, cx: &cx, mailbox: &mailbox },
                ) {
                    NextAction::Task(item) => item,
                    NextAction::Mail => continue,
                    NextAction::Exit => break,
                },
            };
            self.run(item);
            self.queue.finished(&cx);
            self.wait_queue.notify_one(|lane| self.queue.has_room(lane));
            if self.done.fetch_add(1, Ordering::SeqCst) + 1 == self.enough {
                self.parking.wake_all();
            }
        }
        while !self.mailboxes.try_unregister(id, &mailbox) {
            drain_mailbox(&mailbox, id, &mut state);
        }
        self.parking.wake_all();
    }

    fn run(&self, item: usize) {
        let (open, changed) = &self.gate;
        let mut open = open.lock();
        *open |= item == OPENS;
        changed.notify_all();
        while item == LONG && !*open {
            wait(changed, &mut open, None);
        }
    }

    pub(super) fn close(&self) {
        self.queue.close();
        self.closed.store(true, Ordering::SeqCst);
        self.wait_queue.notify_all();
        self.parking.wake_all();
    }
}

/// The engine's way to do what it was told.
fn drain_mailbox(mailbox: &Mailbox<usize>, id: usize, state: &mut usize) {
    while let Some(envelope) = mailbox.next() {
        envelope.broadcast.run(id, state);
    }
}

/// An order that counts.
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
    nest: &'a Nest<Q>,
    cx: &'a QueueCx<Q::Cx>,
    mailbox: &'a Mailbox<usize>,
}

impl<Q: Queue<usize>> Source for At<'_, Q> {
    type Item = usize;

    fn pop(&self) -> Option<usize> {
        self.nest.queue.pop(self.cx)
    }

    fn woken(&self) {
        self.nest.queue.woken(self.cx);
    }

    fn peek(&self) -> bool {
        self.nest.queue.peek()
    }

    fn has_work(&self) -> bool {
        self.nest.queue.has_work()
    }

    fn has_mail(&self) -> bool {
        self.mailbox.has_mail()
    }

    fn must_exit(&self) -> bool {
        self.nest.done.load(Ordering::SeqCst) >= self.nest.enough
            || (self.nest.closed.load(Ordering::SeqCst) && self.nest.queue.load().queued == 0)
    }

    fn exit(&self) -> bool {
        self.must_exit()
    }

    fn is_distracted(&self) -> bool {
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
pub(super) fn with_workers<Q: Queue<usize>>(nest: &Arc<Nest<Q>>, workers: usize, main: impl FnOnce()) {
    let threads: Vec<_> = (0..workers)
        .map(|id| {
            let nest = Arc::clone(nest);
            thread::spawn(move || nest.work(id))
        })
        .collect();
    main();
    for thread in threads {
        thread.join().expect("a worker does not panic");
    }
}
