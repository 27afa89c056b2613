//! Direct hand-off to the newest idle worker, and an overflow list behind it.

use std::collections::VecDeque;

use crossbeam_utils::CachePadded;

use super::{Dispatch, Load, Parcel, Queue, Refused, Shape, sealed};
use crate::sync::{AtomicUsize, Mutex, Ordering};

/// A LIFO stack of idle workers: a task goes straight into the slot of the worker that has been idle
/// for the shortest time (its caches are warm, and the others may expire); when nobody is idle it waits
/// in one first-in-first-out list.
///
/// The queue bound is exact and may be 0 (pure hand-off), a number, or absent. Memory grows with the
/// tasks that wait and is given back when none is left. Every operation takes one short lock.
///
/// ```
/// use formicary::{Pool, Stack};
///
/// let pool: Pool<Stack> = Pool::new(2)?;
/// assert_eq!(pool.run(|| 6 * 7)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Stack;

impl sealed::Sealed for Stack {}

impl Dispatch for Stack {
    const NAME: &'static str = "Stack";
    type Queue<T: Send + 'static> = StackQueue<T>;
}

/// An empty list keeps room for so many bytes of tasks. It takes as many pushes to need more again, so freeing the rest
/// is paid for.
const KEPT_BYTES: usize = 64 * 1024;

#[doc(hidden)]
pub struct StackQueue<T> {
    inner: CachePadded<Mutex<Inner<T>>>,
    /// How many tasks a `pop` could take now: a copy of [`Inner::startable`], written under the lock
    /// and read without it by workers that look for work.
    startable: CachePadded<AtomicUsize>,
}

struct Inner<T> {
    overflow: VecDeque<T>,
    /// The task that only the named worker may take: it was idle, and is being woken for it. One slot
    /// is enough, because no second worker is woken before the first has looked (parking.md).
    slot: Option<(usize, T)>,
    running: usize,
    peak_running: usize,
    accepted: u64,
    running_limit: usize,
    workers: usize,
    bound: Option<usize>,
    closed: bool,
}

impl<T> Inner<T> {
    fn queued(&self) -> usize {
        self.overflow.len() + usize::from(self.slot.is_some())
    }

    /// Every worker can hold one task, running or on its way; the bound counts what is beyond.
    fn is_full_but_for(&self, keep: usize) -> bool {
        match self.bound {
            None => false,
            Some(bound) => self.queued() + self.running + keep >= self.workers.saturating_add(bound),
        }
    }

    /// What anyone may take: the task in the slot is promised, and its worker looks there by itself.
    fn startable(&self) -> usize {
        if self.running < self.running_limit { self.overflow.len() } else { 0 }
    }

    /// The handed task becomes the oldest of the list: it was handed over when the list was empty.
    fn take_back(&mut self) {
        if let Some((_, item)) = self.slot.take() {
            self.overflow.push_front(item);
        }
    }

    /// The oldest task of the list. The room that a burst took is given back when the list is empty.
    fn take_first(&mut self) -> Option<T> {
        let first = self.overflow.pop_front();
        if self.overflow.is_empty() && self.overflow.capacity() > KEPT_BYTES / size_of::<T>().max(1) {
            self.overflow = VecDeque::new();
        }
        first
    }

    fn is_handed_to(&self, worker: usize) -> bool {
        matches!(self.slot, Some((to, _)) if to == worker)
    }
}

impl<T> StackQueue<T> {
    /// Runs `f` under the lock and publishes what a `pop` could take afterwards.
    fn with<O>(&self, f: impl FnOnce(&mut Inner<T>) -> O) -> O {
        let mut inner = self.inner.lock();
        let out = f(&mut inner);
        // ORDERING: Relaxed. A reader that must not miss this store has a sequentially consistent fence
        // between its own announcement and its load, and the pusher has one after this store
        // (parking.md); everyone else only polls, and what it guards is read under the lock.
        self.startable.store(inner.startable(), Ordering::Relaxed);
        out
    }
}

impl<T: Send + 'static> Queue<T> for StackQueue<T> {
    type Seat = usize;

    const HANDS_OVER: bool = true;

    fn new(shape: &Shape) -> Result<Self, &'static str> {
        Ok(StackQueue {
            inner: CachePadded::new(Mutex::new(Inner {
                overflow: VecDeque::new(),
                slot: None,
                running: 0,
                peak_running: 0,
                accepted: 0,
                running_limit: usize::MAX,
                workers: shape.workers,
                bound: shape.bound,
                closed: false,
            })),
            startable: CachePadded::new(AtomicUsize::new(0)),
        })
    }

    fn push(
        &self,
        item: &mut (impl Parcel<T> + ?Sized),
        _door: usize,
        keep: usize,
        idle: Option<usize>,
    ) -> Result<(), Refused> {
        self.with(|q| {
            if q.closed {
                return Err(Refused::Closed);
            }
            if q.is_full_but_for(keep) {
                return Err(Refused::Full);
            }
            q.accepted += 1;
            match idle {
                // Only into an empty house: a task must not overtake one that waits.
                Some(worker) if q.queued() == 0 && q.running < q.running_limit => {
                    q.slot = Some((worker, item.unpack()));
                }
                _ => q.overflow.push_back(item.unpack()),
            }
            Ok(())
        })
    }

    fn seat(&self, worker: usize) -> usize {
        worker
    }

    fn pop(&self, &worker: &usize) -> Option<T> {
        self.with(|q| {
            if q.running >= q.running_limit {
                if q.is_handed_to(worker) {
                    q.take_back();
                }
                return None;
            }
            let item = if q.is_handed_to(worker) { q.slot.take().map(|(_, item)| item) } else { q.take_first() }?;
            q.running += 1;
            q.peak_running = q.peak_running.max(q.running);
            Some(item)
        })
    }

    fn pop_instead(&self) -> Option<T> {
        self.with(|q| {
            if q.running_limit == 0 {
                return None;
            }
            q.take_first()
        })
    }

    fn finished(&self, _worker: &usize) {
        self.with(|q| q.running -= 1);
    }

    fn has_work(&self) -> bool {
        // ORDERING: Relaxed, as argued at the store.
        self.startable.load(Ordering::Relaxed) > 0
    }

    fn has_more(&self) -> bool {
        // The one on its way has its task in the slot.
        self.startable.load(Ordering::Relaxed) > 0
    }

    fn load(&self) -> Load {
        let q = self.inner.lock();
        Load { accepted: q.accepted, queued: q.queued(), running: q.running, peak_running: q.peak_running }
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        self.with(|q| {
            q.running_limit = running.unwrap_or(usize::MAX);
            q.workers = workers;
        });
    }

    fn close(&self) {
        self.with(|q| q.closed = true);
    }

    fn open(&self) {
        self.with(|q| q.closed = false);
    }

    fn drain(&self) -> Vec<T> {
        self.with(|q| {
            q.take_back();
            Vec::from(std::mem::take(&mut q.overflow))
        })
    }

    fn leave(&self, worker: usize) {
        self.with(|q| {
            if q.is_handed_to(worker) {
                q.take_back();
            }
        });
    }
}
