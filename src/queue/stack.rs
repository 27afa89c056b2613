//! Direct hand-off to the newest idle worker, and an overflow list behind it.

use std::mem;

use crossbeam_utils::CachePadded;

use super::counts::to_usize;
use super::finished_counters::{FinishedCounter, FinishedCounters};
use super::list::List;
use super::{Dispatch, LazyItem, Load, Queue, Refused, Shape, sealed};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};

/// A LIFO stack of idle workers: a task goes straight into the slot of the worker that has been idle
/// for the shortest time (its caches are warm, and the others may expire); when nobody is idle it waits
/// in one first-in-first-out list.
///
/// The queue bound is exact and may be 0 (pure hand-off), a number, or absent. Memory grows with the
/// tasks that wait and is given back when none is left. Submitters share one short lock, workers another.
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

/// The list is in two parts, each under a lock of its own: submitters put into `back`, workers take from `front`, and when that
/// is empty a worker exchanges the two. So a submitter and a worker meet once for many tasks where many wait. Who needs more
/// than one lock takes them in this order: front, back, book.
#[doc(hidden)]
pub struct StackQueue<T> {
    front: CachePadded<End<Front<T>>>,
    back: CachePadded<End<Back<T>>>,
    /// Whether [`Front::running_limit`] is one: a copy, written under the lock.
    is_limited: AtomicBool,
    inner: Mutex<Inner>,
}

/// One end of the list.
struct End<P> {
    part: Mutex<P>,
    /// How many tasks of the list have passed here: written under the lock, and read without it by workers that look for work.
    /// One in the slot is not in the list.
    passed: AtomicU64,
}

impl<P> End<P> {
    fn new(part: P) -> Self {
        End { part: Mutex::new(part), passed: AtomicU64::new(0) }
    }

    /// Counts `change` more tasks, or fewer. To be called under the lock.
    fn pass(&self, change: u64) {
        // ORDERING: Relaxed. A reader that must not miss this store has a sequentially consistent fence
        // between its own announcement and its load, and the pusher has one after this store
        // (parking.md); everyone else only polls, and what it tells of is read under the lock.
        self.passed.store(self.passed().wrapping_add(change), Ordering::Relaxed);
    }

    fn passed(&self) -> u64 {
        // ORDERING: Relaxed, as argued at the store.
        self.passed.load(Ordering::Relaxed)
    }
}

/// Where workers take.
struct Front<T> {
    tasks: List<T>,
    /// The task that only the named worker may take: it was idle, and is being woken for it. One slot
    /// is enough, because no second worker is woken before the first has looked (parking.md).
    slot: Option<(usize, T)>,
    /// Tasks ever popped.
    started: u64,
    /// The most tasks that may run; `None` where the number of workers is limit enough.
    running_limit: Option<u64>,
    /// How many of them did not come from here.
    elsewhere: u64,
}

impl<T> Front<T> {
    fn is_handed_to(&self, worker: usize) -> bool {
        matches!(self.slot, Some((to, _)) if to == worker)
    }
}

/// Where submitters put.
struct Back<T> {
    tasks: List<T>,
    /// Tasks ever taken in.
    accepted: u64,
    /// How many may ever have been taken in: those that are gone and the room. Reckoned anew when it is reached.
    limit: u64,
    closed: bool,
}

struct Inner {
    finished_counters: FinishedCounters,
    bound: Option<usize>,
    /// The most tasks that may be in the pool: every worker can hold one, running or on its way; the bound counts what is beyond.
    room: u64,
}

impl Inner {
    fn set_workers(&mut self, workers: usize) {
        self.room = self.bound.map_or(u64::MAX, |bound| workers.saturating_add(bound) as u64);
    }
}

impl<T> StackQueue<T> {
    /// Whether there is room for one more and for `reserved` beyond.
    fn has_room(&self, back: &mut Back<T>, reserved: u64) -> bool {
        back.accepted + reserved < back.limit || {
            self.renew_limit(back);
            back.accepted + reserved < back.limit
        }
    }

    #[cold]
    fn renew_limit(&self, back: &mut Back<T>) {
        let inner = self.inner.lock();
        back.limit = inner.finished_counters.finished().saturating_add(inner.room);
    }

    /// Whether one more task may start.
    fn may_start(&self, front: &Front<T>) -> bool {
        front.running_limit.is_none_or(|limit| {
            front.started - self.inner.lock().finished_counters.finished() + front.elsewhere < limit
        })
    }

    /// Puts a task, for a worker that was claimed, into the slot. Only into an empty house: a task must not overtake one that
    /// waits.
    #[cold]
    fn hand_over(&self, item: &mut (impl LazyItem<T> + ?Sized), reserved: usize, worker: usize) -> Result<(), Refused> {
        let mut front = self.front.part.lock();
        let mut back = self.back.part.lock();
        self.admit(&mut back, reserved)?;
        if front.slot.is_none() && front.tasks.is_empty() && back.tasks.is_empty() && self.may_start(&front) {
            front.slot = Some((worker, item.build()));
        } else {
            self.put(&mut back, item);
        }
        Ok(())
    }

    /// Counts one more task, if it may come in.
    fn admit(&self, back: &mut Back<T>, reserved: usize) -> Result<(), Refused> {
        if back.closed {
            return Err(Refused::Closed);
        }
        if !self.has_room(back, reserved as u64) {
            return Err(Refused::Full);
        }
        back.accepted += 1;
        Ok(())
    }

    fn put(&self, back: &mut Back<T>, item: &mut (impl LazyItem<T> + ?Sized)) {
        back.tasks.push(item.build());
        self.back.pass(1);
    }

    /// The handed task becomes the oldest of the list: it was handed over when the list was empty.
    fn take_back(&self, front: &mut Front<T>) {
        if let Some((_, item)) = front.slot.take() {
            front.tasks.put_back(item);
            self.front.pass(1_u64.wrapping_neg());
        }
    }

    /// The oldest task of the list.
    fn take_first(&self, front: &mut Front<T>) -> Option<T> {
        if front.tasks.is_empty() {
            mem::swap(&mut front.tasks, &mut self.back.part.lock().tasks);
        }
        let first = front.tasks.pop()?;
        self.front.pass(1);
        Some(first)
    }

    /// Whether there is a task that anyone may take. The one in the slot is promised, and its worker looks there by itself.
    fn is_filled(&self) -> bool {
        self.front.passed() != self.back.passed()
    }
}

impl<T: Send + 'static> Queue<T> for StackQueue<T> {
    type Cx = FinishedCounter;

    const HANDS_OVER: bool = true;

    fn new(shape: &Shape) -> Result<Self, String> {
        let mut inner = Inner { finished_counters: FinishedCounters::new(), bound: shape.bound, room: 0 };
        inner.set_workers(shape.workers);
        Ok(StackQueue {
            front: CachePadded::new(End::new(Front {
                tasks: List::new(),
                slot: None,
                started: 0,
                running_limit: None,
                elsewhere: 0,
            })),
            back: CachePadded::new(End::new(Back {
                tasks: List::new(),
                accepted: 0,
                limit: inner.room,
                closed: false,
            })),
            is_limited: AtomicBool::new(false),
            inner: Mutex::new(inner),
        })
    }

    fn push(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        _door: usize,
        reserved: usize,
        idle: Option<usize>,
    ) -> Result<(), Refused> {
        if let Some(worker) = idle {
            return self.hand_over(item, reserved, worker);
        }
        let mut back = self.back.part.lock();
        self.admit(&mut back, reserved)?;
        self.put(&mut back, item);
        Ok(())
    }

    fn cx(&self, worker: usize) -> FinishedCounter {
        self.inner.lock().finished_counters.take(worker)
    }

    fn pop(&self, cx: &FinishedCounter) -> Option<T> {
        let mut front = self.front.part.lock();
        let is_mine = front.is_handed_to(cx.worker);
        let item = if !self.may_start(&front) {
            if is_mine {
                self.take_back(&mut front);
            }
            None
        } else if is_mine {
            front.slot.take().map(|(_, item)| item)
        } else {
            self.take_first(&mut front)
        };
        if item.is_some() {
            front.started += 1;
        }
        item
    }

    fn pop_instead(&self) -> Option<T> {
        let mut front = self.front.part.lock();
        if front.running_limit == Some(0) {
            return None;
        }
        let item = self.take_first(&mut front)?;
        // It takes the place of one that is counted as running.
        front.started += 1;
        self.inner.lock().finished_counters.add_untracked(1);
        Some(item)
    }

    fn finished(&self, cx: &FinishedCounter) {
        cx.finished();
    }

    fn started(&self) -> u64 {
        self.front.part.lock().started
    }

    fn ended(&self) -> u64 {
        self.inner.lock().finished_counters.finished()
    }

    fn has_work(&self) -> bool {
        // ORDERING: Relaxed. Those who must not miss it are woken after it changed, through a lock.
        self.is_filled() && (!self.is_limited.load(Ordering::Relaxed) || self.may_start(&self.front.part.lock()))
    }

    fn has_more(&self) -> bool {
        // The one on its way has its task in the slot.
        self.is_filled()
    }

    fn load(&self) -> Load {
        let front = self.front.part.lock();
        let back = self.back.part.lock();
        let finished = self.inner.lock().finished_counters.finished();
        Load {
            accepted: back.accepted,
            queued: to_usize(back.accepted - front.started),
            running: to_usize(front.started - finished),
        }
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        let mut front = self.front.part.lock();
        let mut back = self.back.part.lock();
        front.running_limit = running.map(|limit| limit as u64);
        self.is_limited.store(running.is_some(), Ordering::Relaxed);
        self.inner.lock().set_workers(workers);
        self.renew_limit(&mut back);
    }

    fn set_bound(&self, bound: Option<usize>, _workers: usize) -> Result<(), String> {
        self.inner.lock().bound = bound;
        Ok(())
    }

    fn set_elsewhere(&self, running: usize) {
        self.front.part.lock().elsewhere = running as u64;
    }

    fn close(&self) {
        self.back.part.lock().closed = true;
    }

    fn open(&self) {
        self.back.part.lock().closed = false;
    }

    fn drain(&self) -> Vec<T> {
        let mut front = self.front.part.lock();
        let mut back = self.back.part.lock();
        self.take_back(&mut front);
        let mut tasks = Vec::new();
        front.tasks.drain_into(&mut tasks);
        back.tasks.drain_into(&mut tasks);
        let drained = tasks.len() as u64;
        front.started += drained;
        self.front.pass(drained);
        self.inner.lock().finished_counters.add_untracked(drained);
        tasks
    }

    fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T> {
        let mut front = self.front.part.lock();
        let mut back = self.back.part.lock();
        let mut tasks = Vec::new();
        if let Some((_, item)) = front.slot.take_if(|(_, item)| is_dead(item)) {
            // It is not of the list, whose figures stay.
            tasks.push(item);
        }
        let kept = tasks.len() as u64;
        front.tasks.sweep_into(is_dead, &mut tasks);
        back.tasks.sweep_into(is_dead, &mut tasks);
        let swept = tasks.len() as u64;
        front.started += swept;
        self.front.pass(swept - kept);
        self.inner.lock().finished_counters.add_untracked(swept);
        tasks
    }

    fn leave(&self, cx: FinishedCounter) {
        let mut front = self.front.part.lock();
        if front.is_handed_to(cx.worker) {
            self.take_back(&mut front);
        }
        self.inner.lock().finished_counters.leave();
    }
}
