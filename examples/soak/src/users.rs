//! The users of a pool: what they submit, and what their tasks do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;

use formicary::{CancelToken, Dispatch, Handle, Pool, PoolWithFunc, StatefulPool, Task, WorkerPool};

use crate::faults::{FAULTS, Flaky, PanicsOnDrop, count, fail};
use crate::ledger::Ledger;
use crate::support::races::shift;
use crate::support::random::Random;
use crate::support::waking::{CountingWaker, block_on, poll_with};

/// A pool of any kind, with what only its kind can do.
pub(crate) trait Soaked: WorkerPool<Task> {
    fn ask(&self, user: &mut User);
}

pub(crate) struct User {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) pool: Weak<dyn Soaked>,
    pub(crate) random: Random,
    /// Whether the user is a task of the pool.
    pub(crate) is_inside: bool,
}

impl User {
    /// The user for a task.
    fn split(&mut self) -> User {
        User {
            ledger: Arc::clone(&self.ledger),
            pool: Weak::clone(&self.pool),
            random: self.random.split(),
            is_inside: true,
        }
    }

    /// A task that does something at random.
    fn task(&mut self) -> impl FnOnce() + Send + use<> {
        let (receipt, mut value, mut user) = (self.ledger.receipt(), PanicsOnDrop::default(), self.split());
        move || {
            receipt.sign();
            match user.random.below(40) {
                0..10 => shift(user.random.micros(40)),
                10 => thread::sleep(user.random.micros(1000)),
                11 => fail(&FAULTS.tasks),
                12 => value.arm(),
                // The pool may be dropped here, inside one of its own tasks.
                13 => _ = user.pool.upgrade().map(|pool| user.use_once(&*pool)),
                _ => {}
            }
        }
    }

    fn tasks(&mut self, most: usize) -> Vec<Task> {
        (0..self.random.below(most + 1)).map(|_| Task::new(self.task())).collect()
    }

    /// Submits one task or a few, by one of the methods. Refusals are fine.
    pub(crate) fn use_once(&mut self, pool: &dyn Soaked) {
        match self.random.below(12) {
            0 | 1 => drop(pool.try_submit(Task::new(self.task()))),
            2 | 3 => drop(pool.submit(Task::new(self.task()))),
            4 => {
                let limit = self.random.micros(300);
                drop(pool.submit_timeout(Task::new(self.task()), limit));
            }
            5 => drop(pool.submit_all(&mut self.tasks(8).into_iter())),
            6 => {
                let mut tasks = self.tasks(8).into_iter();
                let then_fails = std::iter::from_fn(|| tasks.next().or_else(|| fail(&FAULTS.submitters)));
                drop(catch_unwind(AssertUnwindSafe(|| drop(pool.submit_all(&mut { then_fails })))));
            }
            _ => pool.ask(self),
        }
    }

    /// Waits for a task, cancels it, or drops the handle.
    fn take_up(&mut self, mut handle: Handle<()>) {
        match self.random.below(5) {
            0 => drop(handle),
            1 => drop(handle.join_timeout(self.random.micros(200))),
            2 => cancelled(handle.cancel()),
            3 => drop(handle.shared().join().is_ok()),
            _ => drop(handle.join()),
        }
    }

    /// Awaits a future, or polls it once and drops it. A task of the pool only polls it: an executor does not know what the future waits
    /// for, so it cannot run that meanwhile, as the pool's own waits do.
    fn take_async<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        if !self.is_inside && self.random.once_in(2) {
            return Some(block_on(future));
        }
        let _ready = poll_with(std::pin::pin!(future), &CountingWaker::new());
        None
    }

    /// One child of a group or a scope; some fail.
    fn child(&mut self) -> impl FnOnce() -> Result<(), ()> + Send + use<> {
        let (task, fails) = (self.task(), self.random.once_in(6));
        move || {
            task();
            if fails { Err(()) } else { Ok(()) }
        }
    }
}

fn cancelled(is: bool) {
    if is {
        count(&FAULTS.cancelled);
    }
}

impl<D: Dispatch> Soaked for Pool<D> {
    fn ask(&self, user: &mut User) {
        match user.random.below(9) {
            0 | 1 => _ = self.spawn(user.task()).map(|handle| user.take_up(handle)),
            2 => drop(self.run(user.task())),
            3 => {
                let future = self.spawn_async(user.task());
                _ = user.take_async(future).and_then(Result::ok).map(|handle| user.take_up(handle));
            }
            4 => {
                let token = CancelToken::new();
                token.cancel_after(user.random.micros(500));
                let task = user.task();
                _ = self.with().token(&token).spawn(task).map(|handle| user.take_up(handle));
                cancelled(token.is_cancelled());
            }
            5 => {
                let group = self.group::<(), ()>().limit(1 + user.random.below(4));
                for _ in 0..user.random.below(8) {
                    let child = user.child();
                    drop(group.spawn(move |_| child()));
                }
                match user.random.below(3) {
                    0 => drop(group),
                    1 => drop(group.wait().is_ok()),
                    _ => drop(group.collect()),
                }
            }
            6 => {
                // Tasks that the pool refuses run on this thread, and the pool does not count them. All end before the scope does.
                let beside = Arc::<Ledger>::default();
                let children = user.random.below(6) as u64;
                let fails = user.random.below(24) as u64;
                drop(catch_unwind(AssertUnwindSafe(|| {
                    self.scope(|scope| {
                        for child in 0..children {
                            let receipt = beside.receipt();
                            scope.spawn(move || {
                                receipt.sign();
                                if child == fails {
                                    fail(&FAULTS.tasks)
                                }
                            });
                        }
                    });
                })));
                assert!(beside.is_settled() && beside.ran() == children, "a scope ended before its tasks");
                user.ledger.note_beside(children);
            }
            7 => {
                let most = user.random.below(12);
                let tasks = (0..16).map(|_| Task::new(user.task()));
                drop(catch_unwind(AssertUnwindSafe(|| self.map(tasks, Task::run).take(most).count())));
            }
            _ => {
                let view = self.limited(1 + user.random.below(3));
                for task in user.tasks(6) {
                    drop(view.submit(move || task.run()));
                }
                if user.random.once_in(2) {
                    let _ = view.wait_idle_timeout(user.random.micros(500));
                }
            }
        }
    }
}

impl<D: Dispatch> Soaked for PoolWithFunc<Task, D, ()> {
    fn ask(&self, user: &mut User) {
        let task = Task::new(user.task());
        match user.random.below(3) {
            0 => drop(self.run(task)),
            1 => _ = user.take_async(self.submit_async(task)),
            _ => {
                let tasks = user.tasks(16).into_iter().chain([task]);
                drop(catch_unwind(AssertUnwindSafe(|| self.map_unordered(tasks).count())));
            }
        }
    }
}

impl<D: Dispatch> Soaked for StatefulPool<Flaky, D> {
    fn ask(&self, user: &mut User) {
        let task = Task::new(user.task());
        match user.random.below(6) {
            0 | 1 => drop(self.with().timeout(user.random.micros(300)).run(task)),
            2 => drop(self.run(task)),
            3 => _ = self.spawn(task).map(|handle| user.take_up(handle)),
            4 => _ = user.take_async(self.spawn_async(task)),
            _ => {
                let fails = user.random.once_in(6);
                drop(self.broadcast(move |_| {
                    if fails {
                        fail(&FAULTS.tasks)
                    }
                }));
            }
        }
    }
}
