//! Telling of tasks that run too long.
//!
//! A watchdog has one alarm of the process's timer, and only while tasks run: at the time at which the first of those that were not told yet
//! is due. When it goes off, the watchdog looks through the [running list](super::running_list), queues what is due for the handler, and sets
//! the next alarm. A task that starts while the alarm is set is due later, so its start checks a flag and no more. The end of a task does
//! nothing: an alarm whose task has ended goes off once for nothing, and is not set again on an idle pool.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::running_list::{RunningList, RunningTask, TaskKey};
use super::{Observer, TaskInfo};
use crate::pool::builder::Builder;
use crate::queue::Dispatch;
use crate::sync::clock::deadline;
use crate::sync::timer::{Alarm, TIMER, Timer};
use crate::sync::user_code::catch_user_panic;
use crate::sync::waiter::Waiter;
use crate::sync::{AtomicBool, Mutex, Ordering, fence, fence_after_rmw};

#[cfg(test)]
mod tests;

/// Without a timer thread, running tasks are looked at when one starts, but not more often than this.
const PAUSE_WITHOUT_TIMER: Duration = Duration::from_millis(10);

type Handler = Box<dyn Fn(&RunningTask) + Send + Sync>;

/// Tasks that run too long.
impl<K, D: Dispatch> Builder<K, D> {
    /// Calls `handler` for each task that has run for `limit`, once, while it runs. Several can be set, each with its limit. Default: none.
    ///
    /// The time counts from the beginning of the task's code. A task that ends at about its limit may or may not be reported. A task that runs within
    /// another one is reported separately. The handler gets the task as it was when it was due. It cannot stop it, but may cancel the task's token,
    /// or give up on its worker ([`PoolControl::replace`](crate::PoolControl::replace)).
    ///
    /// The handler is called on a thread of its own, `formicary-watchdog`, which lives until all due tasks are reported. It may
    /// block; then tasks that are due meanwhile wait until it returns. If the system refuses the thread, it is called on the thread that
    /// found the task: the one timer thread of the process, which then delays all other timers, or a worker that starts a task. A panic in it is
    /// caught and counted ([`Stats::handler_panics`](crate::Stats::handler_panics)). Neither a shutdown nor the drop of the pool waits for the
    /// handler.
    ///
    /// Includes the [running list](Self::running_tasks), and costs the start of a task one more check. The timer thread wakes at most once
    /// in about `limit`, and not while no task runs, except once after the last one. A limit beyond the range of the clock has no effect.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (told, slow) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .slow_after(Duration::from_millis(1), move |task| {
    ///         let name = task.name.as_deref().unwrap_or("a task");
    ///         told.send(format!("{name} is slow")).unwrap();
    ///     })
    ///     .build()?;
    /// pool.run(|| ())?;
    /// pool.with().name("resize").run(|| std::thread::sleep(Duration::from_millis(50)))?;
    /// assert_eq!(slow.recv()?, "resize is slow");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn slow_after(mut self, limit: Duration, handler: impl Fn(&RunningTask) + Send + Sync + 'static) -> Self {
        // First the list, so that it is told of a task before the watchdog.
        let list = self.options.extension::<RunningList>();
        if deadline(limit).is_some() {
            let panics = self.options.extensions.panic_counter();
            self.options.observers.push(Watchdog::new(list, limit, Box::new(handler), panics, &TIMER));
        }
        self
    }

    /// As [`slow_after`](Self::slow_after), under a name that says that the task is taken to hang: a program logs a slow task, and raises an
    /// alarm for a stuck one. The two differ only in their names.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (told, stuck) = std::sync::mpsc::channel();
    /// let pool = formicary::Pool::builder()
    ///     .workers(1)
    ///     .slow_after(Duration::from_secs(60), |task| eprintln!("worker {} is slow", task.worker))
    ///     .stuck_after(Duration::from_millis(1), move |task| told.send(task.worker).unwrap())
    ///     .build()?;
    /// pool.run(|| std::thread::sleep(Duration::from_millis(50)))?;
    /// assert_eq!(stuck.recv()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stuck_after(self, limit: Duration, handler: impl Fn(&RunningTask) + Send + Sync + 'static) -> Self {
        self.slow_after(limit, handler)
    }
}

/// One limit of one pool.
struct Watchdog {
    list: Arc<RunningList>,
    limit: Duration,
    handler: Handler,
    /// Counts the handler's panics.
    panics: Arc<AtomicU64>,
    timer: &'static Timer,
    this: Weak<Watchdog>,
    waker: Waker,
    /// Whether an alarm is set. Written under the lock of `state`.
    is_armed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    alarm: Option<Alarm>,
    /// When there was no timer thread: the time before which none is asked for.
    not_before: Option<Instant>,
    /// The running tasks that the handler was told of, or will be.
    told: HashSet<TaskKey>,
    /// The tasks that the handler is still to be told of.
    due: VecDeque<RunningTask>,
    /// Whether a thread tells the handler of them.
    is_telling: bool,
}

/// The waker of the alarm. It does not keep the watchdog.
struct Looks(Weak<Watchdog>);

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        if let Some(watchdog) = self.0.upgrade() {
            watchdog.look();
            // This may be the last reference, and drop the handler.
            catch_user_panic(|| drop(watchdog));
        }
    }
}

impl Watchdog {
    fn new(
        list: Arc<RunningList>,
        limit: Duration,
        handler: Handler,
        panics: Arc<AtomicU64>,
        timer: &'static Timer,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Watchdog {
            list,
            limit,
            handler,
            panics,
            timer,
            this: Weak::clone(this),
            waker: Waker::from(Arc::new(Looks(Weak::clone(this)))),
            is_armed: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// A task has started, and is in the list.
    fn note_start(&self) {
        // ORDERING: the list's lock was released before, a read-modify-write. This fence pairs with the one in `look`: either this sees that
        // no alarm is set, or that sees the task in the list.
        fence_after_rmw();
        // ORDERING: Relaxed, because of the fence. Nothing is read because of the flag.
        if !self.is_armed.load(Ordering::Relaxed) {
            self.look();
        }
    }

    /// Queues the tasks that are due, and sets the alarm for the next. Calls no user code under a lock.
    fn look(&self) {
        let now = self.timer.now();
        let mut state = self.state.lock();
        if state.not_before.is_some_and(|time| now < time) {
            return;
        }
        // ORDERING: see `note_start`.
        self.is_armed.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let next = self.find_due(&mut state, now);
        state.not_before = None;
        match next.map(|time| self.timer.try_at(time, Waiter::Task(self.waker.clone()))) {
            Some(Ok(alarm)) => {
                // ORDERING: Relaxed. A thread that does not see it waits for the lock, and finds nothing to do.
                self.is_armed.store(true, Ordering::Relaxed);
                state.alarm = Some(alarm);
            }
            Some(Err(_)) => state.not_before = now.checked_add(PAUSE_WITHOUT_TIMER),
            None => state.alarm = None,
        }
        let tells = !state.due.is_empty() && !state.is_telling;
        state.is_telling |= tells;
        drop(state);
        if tells {
            self.tell();
        }
    }

    /// Queues the tasks that are due and were not told. Returns when the next is due.
    fn find_due(&self, state: &mut State, now: Instant) -> Option<Instant> {
        let mut told = HashSet::new();
        let mut next = None;
        self.list.each(|key, since, look| {
            let Some(time) = since.checked_add(self.limit) else { return };
            if !state.told.contains(&key) {
                if time > now {
                    next = Some(next.map_or(time, |next: Instant| next.min(time)));
                    return;
                }
                state.due.push_back(look());
            }
            told.insert(key);
        });
        state.told = told;
        next
    }

    /// Calls the handler for what is due, on a thread of its own if there is one to be had.
    fn tell(&self) {
        let Some(this) = self.this.upgrade() else { return };
        let thread = thread::Builder::new().name("formicary-watchdog".into()).spawn(move || {
            this.tell_here();
            // This may be the last reference, and drop the handler.
            catch_user_panic(|| drop(this));
        });
        if thread.is_err() {
            self.tell_here();
        }
    }

    fn tell_here(&self) {
        while let Some(task) = self.take_due() {
            if catch_user_panic(|| (self.handler)(&task)).is_none() {
                self.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The next task to tell of. `None` ends the telling.
    fn take_due(&self) -> Option<RunningTask> {
        let mut state = self.state.lock();
        let task = state.due.pop_front();
        state.is_telling = task.is_some();
        task
    }
}

impl Observer for Watchdog {
    fn started(&self, _task: &TaskInfo<'_>) {
        self.note_start();
    }
}
