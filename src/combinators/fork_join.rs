//! Fork and join: two closures that may run at the same time, one of them on the calling thread.
//!
//! The second closure stays on the caller's stack, and a reference to it is pushed to the worker's own deque, as in Cilk ("The
//! implementation of the Cilk-5 multithreaded language", Frigo, Leiserson, Randall, 1998) and rayon. Mostly nobody steals it, and the caller
//! takes it back. If it was stolen, the caller helps the thief: it steals what the thief has pushed, and nothing else ("leapfrogging",
//! Wagner and Calder, 1993). So a waiting worker runs only descendants of its own task.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::engine::WorkerLocal;
use crate::error::Payload;
use crate::pool::Pool;
use crate::queue::Dispatch;
use crate::sync::abort::AbortOnUnwind;
use crate::sync::user_code::catch_user_panic;
use crate::sync::{self, park};
use crate::task::blocked_workers::{self, BlockGuard};
use crate::task::closure::Task;
use crate::task::current_worker;
use crate::task::state::{JobRef, StackJob};

impl<D: Dispatch> Pool<D> {
    /// Runs both closures, and returns both results. They may borrow. `b` may run on another worker at the same time as `a` on the calling
    /// thread; if no worker is free, it runs on the calling thread after `a`.
    ///
    /// On a worker of the pool this allocates nothing, and takes some 20 nanoseconds if no other worker is free. So it may be called for
    /// small parts of recursive work. From any other thread it first moves to a worker, as [`install`](Self::install) does. It does not
    /// return before both closures have ended. A worker that waits for `b` runs what `b` itself has forked, and no other task. The depth of
    /// recursion is limited by the stack only.
    ///
    /// What runs on the calling thread is a part of its task: it runs although the pool is paused, and [`Context`](crate::Context) tells
    /// about that task. A closure that another worker runs is counted as a task, and has neither name nor token of its own.
    ///
    /// ```
    /// fn sum(pool: &formicary::Pool, numbers: &[u64]) -> u64 {
    ///     if numbers.len() < 1000 {
    ///         return numbers.iter().sum();
    ///     }
    ///     let (left, right) = numbers.split_at(numbers.len() / 2);
    ///     let (left, right) = pool.join(|| sum(pool, left), || sum(pool, right));
    ///     left + right
    /// }
    /// let pool = formicary::Pool::new(2)?;
    /// let numbers: Vec<_> = (1..=10_000).collect();
    /// assert_eq!(sum(&pool, &numbers), 50_005_000);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// When both have ended: with the panic of `a`, or else with that of `b`.
    #[doc(alias("fork", "invoke"))]
    pub fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        match self.engine.capture() {
            None => self.join_closures(a, b),
            Some(propagated) => self.join_closures(a, move || {
                let _entered = propagated.enter();
                b()
            }),
        }
    }

    #[inline]
    fn join_closures<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        self.engine.with_local(|local| match local {
            Some(local) => self.join_inside(local, a, b),
            None => self.join_outside(a, b),
        })
    }

    #[cold]
    fn join_outside<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        let inside = |local: Option<&WorkerLocal<Task>>| match local {
            Some(local) => self.join_inside(local, a, b),
            // The pool has refused it.
            None => both(catch_unwind(AssertUnwindSafe(a)), catch_unwind(AssertUnwindSafe(b))),
        };
        self.install(|| self.engine.with_local(inside))
    }

    fn join_inside<A, B, RA, RB>(&self, local: &WorkerLocal<Task>, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA,
        B: FnOnce() -> RB + Send,
        RB: Send,
    {
        let deque = self.engine.deque_of(local);
        let height = deque.height();
        // Not dropped: nothing is left in it when `end_job` returns.
        let job = ManuallyDrop::new(StackJob::new(b));
        // SAFETY: `job` stays in place until the reference was taken back, or the answer is there. Between here and there nothing unwinds.
        let job_ref = unsafe { job.job_ref() };
        AbortOnUnwind::run(|| self.engine.push_job(deque, job_ref));
        let a = match catch_unwind(AssertUnwindSafe(a)) {
            Ok(a) => a,
            Err(panic) => {
                // SAFETY: the job was pushed to the caller's own deque at this height, and is ended once.
                let b = unsafe { self.end_job(local, &job, height) };
                raise(panic, b)
            }
        };
        // SAFETY: as above.
        match unsafe { self.end_job(local, &job, height) } {
            Ok(b) => (a, b),
            Err(panic) => raise(panic, a),
        }
    }

    /// Takes `job` back and calls its closure, or waits for its thief. Catches the panic of the closure.
    ///
    /// # Safety
    /// The caller has pushed `job` to its own deque, which had this height, and calls this once.
    #[inline]
    unsafe fn end_job<F, T>(&self, local: &WorkerLocal<Task>, job: &StackJob<F, T>, height: usize) -> Result<T, Payload>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        // SAFETY: this only makes another copy of the reference, to compare.
        let job_ref = unsafe { job.job_ref() };
        let taken = AbortOnUnwind::run(|| self.engine.deque_of(local).pop());
        if taken == Some(job_ref) || self.run_others(local, taken, job_ref, height) {
            // SAFETY: the reference was taken back.
            catch_unwind(AssertUnwindSafe(unsafe { job.take() }))
        } else {
            self.await_thief(local, job)
        }
    }

    /// Runs `taken` and what else lies above a job in the deque: the fork's first closure has spawned it for a scope around the fork. Returns
    /// whether the job was taken back then; otherwise it was stolen.
    #[cold]
    fn run_others(&self, local: &WorkerLocal<Task>, mut taken: Option<JobRef>, job: JobRef, height: usize) -> bool {
        AbortOnUnwind::run(|| {
            let deque = self.engine.deque_of(local);
            while let Some(other) = taken {
                self.engine.run_own_job(local, other);
                taken = deque.pop();
                if taken == Some(job) {
                    return true;
                }
            }
            // All that is older was stolen, too.
            deque.set_height(height);
            false
        })
    }

    /// Waits for the answer of the thief. Calls the closure of `job` here if the thief has not.
    #[cold]
    fn await_thief<F, T>(&self, local: &WorkerLocal<Task>, job: &StackJob<F, T>) -> Result<T, Payload>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        AbortOnUnwind::run(|| self.help_thief(local, job));
        // SAFETY: the job is complete, and this is the owner.
        unsafe { job.answer() }.unwrap_or_else(|| {
            // SAFETY: as above, and there is no answer.
            let b = unsafe { job.take() };
            catch_unwind(AssertUnwindSafe(b))
        })
    }

    /// Runs what the thief of `job` has pushed, until the job is complete.
    fn help_thief<F, T>(&self, local: &WorkerLocal<Task>, job: &StackJob<F, T>)
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        // The thief tells its number just after it has stolen the job.
        let thief = loop {
            match job.thief() {
                Some(thief) => break self.engine.deque_of(local).other(thief),
                None if job.is_complete() => return,
                None => sync::yield_now(),
            }
        };
        // It is kept until there is something to run.
        let waits = Cell::new(None);
        job.wait_and_help(
            thief.as_deref(),
            |stolen| {
                drop(waits.take());
                self.engine.run_stolen_job(local.worker(), stolen);
            },
            || {
                // What the caller waits for has started on another thread, later than the caller's own task. So such waits cannot form a
                // circle.
                let guard = waits.take();
                guard.iter().for_each(|guard: &BlockGuard| guard.park(|| park(None)));
                waits.set(guard.or_else(|| Some(blocked_workers::enter_wait_regardless(self.engine.id()))));
            },
        );
    }

    /// Runs all closures, and returns their results in the same order. They may borrow, and run at the same time where workers are free.
    ///
    /// It forks as [`join`](Self::join) does, in halves, and costs two allocations.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let words = ["ant", "bee", "cicada"];
    /// let lengths = pool.join_all(words.iter().map(|word| || word.len()));
    /// assert_eq!(lengths, [3, 3, 6]);
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// When all have ended: with the panic of the first of them, in their order, that panicked.
    #[doc(alias("invokeAll", "invoke_all"))]
    pub fn join_all<I, F, T>(&self, closures: I) -> Vec<T>
    where
        I: IntoIterator<Item = F>,
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let mut closures: Vec<_> = closures.into_iter().map(|f| (Some(f), None)).collect();
        self.run_halves(&mut closures);
        closures.into_iter().filter_map(|(_, result)| result).collect()
    }

    fn run_halves<F: FnOnce() -> T + Send, T: Send>(&self, closures: &mut [(Option<F>, Option<T>)]) {
        if let [(f, result)] = closures {
            *result = f.take().map(|f| f());
        } else if !closures.is_empty() {
            let (left, right) = closures.split_at_mut(closures.len() / 2);
            self.join(|| self.run_halves(left), || self.run_halves(right));
        }
    }

    /// Runs a closure that may borrow on a worker, and blocks until it has ended. On a worker of this pool it runs at once, as a part of
    /// the calling task.
    ///
    /// Blocks while the pool is full. If the pool refuses the closure (it is closed; it is full and
    /// [`nonblocking`](crate::Builder::nonblocking)), the closure runs on the calling thread. [`run`](Self::run) tells of a refusal instead,
    /// and its closure must not borrow.
    ///
    /// ```
    /// let pool = formicary::Pool::new(2)?;
    /// let names = vec!["worker", "queue"];
    /// let lengths = pool.install(|| pool.join(|| names[0].len(), || names[1].len()));
    /// assert_eq!(lengths, (6, 5));
    /// # Ok::<(), formicary::BuildError>(())
    /// ```
    ///
    /// # Panics
    /// With the panic of `f`.
    pub fn install<F, R>(&self, f: F) -> R
    where
        F: FnOnce() -> R + Send,
        R: Send,
    {
        if self.engine.is_inside() {
            return f();
        }
        let mut result = None;
        self.scope(|s| s.spawn(|| result = Some(f())));
        result.unwrap_or_else(|| unreachable!("a scope raises the panics of its tasks"))
    }
}

/// The results of both, or the panic of the first that has one.
#[inline]
fn both<A, B>(a: Result<A, Payload>, b: Result<B, Payload>) -> (A, B) {
    match (a, b) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(panic), other) => raise(panic, other),
        (other, Err(panic)) => raise(panic, other),
    }
}

/// Raises a panic. `other` is dropped before, and a panic of that drop is ignored.
#[cold]
fn raise<T>(panic: Payload, other: T) -> ! {
    catch_user_panic(|| drop(other));
    resume_unwind(panic)
}

/// On a worker of a pool: runs one queued task of that pool, inside the current one. Returns whether it did. On other threads, if nothing
/// is queued, and for kinds of pools whose state is in use, it does nothing.
///
/// For long tasks on a busy pool, which let shorter ones pass. At most 32 such tasks run inside one another on a thread.
///
/// ```
/// let pool = formicary::Pool::new(1)?;
/// let other = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
/// let flag = other.clone();
/// let gate = pool.pause();
/// let long = pool.spawn(move || {
///     while formicary::yield_now() {}
///     flag.load(std::sync::atomic::Ordering::Relaxed)
/// })?;
/// pool.submit(move || other.store(true, std::sync::atomic::Ordering::Relaxed))?;
/// drop(gate);
/// assert!(long.join()?, "the second task has run inside the first");
/// assert!(!formicary::yield_now(), "this is no worker");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn yield_now() -> bool {
    current_worker::innermost().is_some_and(|(pool, _)| pool.help())
}
