//! Direct hand-off to the newest idle worker, and one queue behind it.

use super::counts::to_usize;
use super::finished_counters::{FinishedCounter, FinishedCounters};
use super::run_limit::RunLimit;
use super::two_lock_queue::{Head, TwoLockQueue};
use super::{Dispatch, LazyBatch, LazyItem, Load, Queue, Refused, Shape, sealed};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// A stack of idle workers with one queue behind it. The default.
///
/// A task goes directly to the worker that became idle last: its caches are warm, and workers idle for longer can expire. While no
/// worker is idle, tasks wait in one first-in-first-out queue.
///
/// The bound of the queue is exact and may be 0 (hand-off only), a number, or absent. Memory grows with the waiting tasks and is
/// freed when none is left. Submitters share one short lock, workers another.
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

/// Lock order: the head of `tasks`, its tail, `control`.
#[doc(hidden)]
pub struct StackQueue<T> {
    tasks: TwoLockQueue<T, PopState<T>>,
    /// Whether a run limit is set: a copy, written under the lock of the head.
    is_limited: AtomicBool,
    control: Mutex<Control>,
}

/// What the lock of the head guards beside the tasks.
struct PopState<T> {
    /// A task reserved for this worker, which was idle and is about to wake. The task counts as popped. One slot is enough,
    /// because no second worker is woken before the first has looked for work (parking.md).
    slot: Option<(usize, T)>,
    run_limit: RunLimit,
}

impl<T> PopState<T> {
    fn is_reserved_for(&self, worker: usize) -> bool {
        matches!(self.slot, Some((to, _)) if to == worker)
    }
}

/// State that pushes and pops rarely need.
struct Control {
    finished_counters: FinishedCounters,
    bound: Option<usize>,
}

impl Control {
    /// How many unfinished tasks there may be: each worker can hold one, and the bound counts those beyond.
    fn room(&self, workers: usize) -> u64 {
        self.bound.map_or(u64::MAX, |bound| workers.saturating_add(bound) as u64)
    }
}

impl<T> StackQueue<T> {
    #[cold]
    fn finished_tasks(&self) -> u64 {
        self.control.lock().finished_counters.finished()
    }

    /// How many tasks ever started. A reserved one has not.
    fn started_tasks(&self, head: &Head<T, PopState<T>>) -> u64 {
        self.tasks.popped() - u64::from(head.guarded.slot.is_some())
    }

    /// Whether one more task may start.
    fn may_start(&self, head: &Head<T, PopState<T>>) -> bool {
        head.guarded.run_limit.allows_one_more(|| self.started_tasks(head) - self.finished_tasks())
    }

    /// Reserves a task for a worker that was claimed, unless tasks wait, which it must not overtake, or it may not start.
    #[cold]
    fn push_reserved(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        reserved: usize,
        worker: usize,
    ) -> Result<(), Refused> {
        let mut head = self.tasks.lock_head();
        let may_bypass = head.guarded.slot.is_none() && self.may_start(&head);
        let item = self.tasks.push_or_bypass(&mut head, item, reserved, || self.finished_tasks(), may_bypass)?;
        if let Some(item) = item {
            head.guarded.slot = Some((worker, item));
        }
        Ok(())
    }

    /// Pops a task, and counts it as ended.
    fn take_as_ended(&self, head: &mut Head<T, PopState<T>>) -> Option<T> {
        let item = self.tasks.pop(head)?;
        self.control.lock().finished_counters.add_untracked(1);
        Some(item)
    }

    /// Makes a reserved task the oldest one of the queue, which was empty when the task was reserved.
    fn unreserve(&self, head: &mut Head<T, PopState<T>>) {
        if let Some((_, item)) = head.guarded.slot.take() {
            self.tasks.unpop(head, item);
        }
    }
}

impl<T: Send + 'static> Queue<T> for StackQueue<T> {
    type Cx = FinishedCounter;

    const HANDS_OVER: bool = true;

    fn new(shape: &Shape) -> Result<Self, String> {
        let control = Control { finished_counters: FinishedCounters::new(), bound: shape.bound };
        let pop_state = PopState { slot: None, run_limit: RunLimit::default() };
        Ok(StackQueue {
            tasks: TwoLockQueue::new(control.room(shape.workers), pop_state, ()),
            is_limited: AtomicBool::new(false),
            control: Mutex::new(control),
        })
    }

    fn push(
        &self,
        item: &mut (impl LazyItem<T> + ?Sized),
        _lane: usize,
        reserved: usize,
        idle: Option<usize>,
    ) -> Result<(), Refused> {
        match idle {
            Some(worker) => self.push_reserved(item, reserved, worker),
            None => self.tasks.push(item, reserved, || self.finished_tasks()),
        }
    }

    fn push_batch(&self, batch: &mut impl LazyBatch<T>, _lane: usize, reserved: usize) -> usize {
        self.tasks.push_batch(batch, usize::MAX, reserved, || self.finished_tasks())
    }

    fn cx(&self, worker: usize) -> FinishedCounter {
        self.control.lock().finished_counters.register(worker)
    }

    fn pop(&self, cx: &FinishedCounter) -> Option<T> {
        let mut head = self.tasks.lock_head();
        let is_mine = head.guarded.is_reserved_for(cx.worker);
        if !self.may_start(&head) {
            if is_mine {
                self.unreserve(&mut head);
            }
            None
        } else if is_mine {
            head.guarded.slot.take().map(|(_, item)| item)
        } else {
            self.tasks.pop(&mut head)
        }
    }

    fn pop_instead(&self) -> Option<T> {
        let mut head = self.tasks.lock_head();
        if head.guarded.run_limit.is_zero() {
            return None;
        }
        // It replaces a task that is counted as running.
        self.take_as_ended(&mut head)
    }

    fn take_oldest(&self, _lane: usize) -> Option<T> {
        self.take_as_ended(&mut self.tasks.lock_head())
    }

    fn finished(&self, cx: &FinishedCounter) {
        cx.finished();
    }

    fn started(&self) -> u64 {
        self.started_tasks(&self.tasks.lock_head())
    }

    fn ended(&self) -> u64 {
        self.finished_tasks()
    }

    fn has_work(&self) -> bool {
        // ORDERING: Relaxed. Threads that must not miss a change are woken after it, through a lock.
        !self.tasks.is_empty() && (!self.is_limited.load(Ordering::Relaxed) || self.may_start(&self.tasks.lock_head()))
    }

    fn has_more(&self, searching: usize) -> bool {
        // A worker that was claimed has its task in its slot, so this may be one too few; that worker wakes the next.
        self.tasks.len() > searching as u64
    }

    fn load(&self) -> Load {
        let head = self.tasks.lock_head();
        let _tail = self.tasks.lock_tail();
        let (started, accepted) = (self.started_tasks(&head), self.tasks.pushed());
        let finished = self.finished_tasks();
        Load { accepted, queued: to_usize(accepted - started), running: to_usize(started - finished) }
    }

    fn set_limits(&self, running: Option<usize>, workers: usize) {
        let mut head = self.tasks.lock_head();
        let mut tail = self.tasks.lock_tail();
        head.guarded.run_limit.set(running);
        // ORDERING: Relaxed, see `has_work`.
        self.is_limited.store(running.is_some(), Ordering::Relaxed);
        let control = self.control.lock();
        tail.set_room(control.room(workers), || control.finished_counters.finished());
    }

    fn set_bound(&self, bound: Option<usize>, _workers: usize) -> Result<(), String> {
        self.control.lock().bound = bound;
        Ok(())
    }

    fn set_elsewhere(&self, running: usize) {
        self.tasks.lock_head().guarded.run_limit.set_elsewhere(running);
    }

    fn close(&self) {
        self.tasks.lock_tail().set_closed(true);
    }

    fn open(&self) {
        self.tasks.lock_tail().set_closed(false);
    }

    fn drain(&self) -> Vec<T> {
        let mut head = self.tasks.lock_head();
        self.unreserve(&mut head);
        let mut drained = Vec::new();
        let count = self.tasks.drain_into(&mut head, &mut drained);
        self.control.lock().finished_counters.add_untracked(count);
        drained
    }

    fn sweep(&self, is_dead: &mut dyn FnMut(&T) -> bool) -> Vec<T> {
        let mut head = self.tasks.lock_head();
        let mut swept = Vec::new();
        if let Some((_, item)) = head.guarded.slot.take_if(|(_, item)| is_dead(item)) {
            // It was counted as popped when it was reserved.
            swept.push(item);
        }
        self.tasks.sweep_into(&mut head, is_dead, &mut swept);
        self.control.lock().finished_counters.add_untracked(swept.len() as u64);
        swept
    }

    fn leave(&self, cx: FinishedCounter) {
        let mut head = self.tasks.lock_head();
        if head.guarded.is_reserved_for(cx.worker) {
            self.unreserve(&mut head);
        }
        self.control.lock().finished_counters.unregister();
    }
}
