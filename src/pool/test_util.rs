//! For tests (feature `test-util`): pools without threads, and waiting for running tasks.

use std::time::{Duration, Instant};

use super::builder::Builder;
use super::control::PoolControl;
use crate::engine::without_threads::RunOn;
use crate::queue::Dispatch;

/// For tests, with the feature `test-util`.
impl<K, D: Dispatch> Builder<K, D> {
    /// The pool starts no thread: the thread that submits a task runs it, before the verb returns. So a test of code that uses a pool sees
    /// its effects at once, in the order of the submits, and with the test's own thread-locals.
    ///
    /// Sets the capacity to 1 and the minimum to 0; later calls of [`workers`](Self::workers) or [`min_workers`](Self::min_workers) are
    /// overwritten by `build`. All else is as in any other pool: panics are caught and reported, figures are exact, and what a task submits
    /// to its own pool runs after that task. A thread that submits while another one runs a task leaves its own to that thread; it waits
    /// for it only if the verb does. Tasks submitted to a paused pool run on the thread that resumes it. The thread hooks run, and a
    /// [`StatefulPool`](crate::StatefulPool) makes and drops its state, with each submit from outside. A task with a
    /// [time](crate::With::after) runs on the timer thread of the process; a [`stepped`](Self::stepped) pool is better for those.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().inline().build()?;
    /// let thread = pool.run(|| std::thread::current().id())?;
    /// assert_eq!(thread, std::thread::current().id());
    ///
    /// let handle = pool.spawn(|| 7)?;
    /// assert!(handle.is_finished());
    /// assert_eq!(pool.stats().completed, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inline(mut self) -> Self {
        self.options.run_on = RunOn::Submitter;
        self
    }

    /// The pool starts no thread: a task runs when the test asks for it, by [`step`](PoolControl::step). So a test decides what happens
    /// between a submit and the run.
    ///
    /// Capacity, minimum, hooks and states are as in [`inline`](Self::inline). Tasks start in the order of the queue; a
    /// [`Sharded`](crate::Sharded) pool may start them in another. Whatever waits for a task waits until another thread steps: in a test
    /// with one thread use `submit` and `spawn`, and look at a handle after the steps. A step begins with the tasks whose
    /// [time](crate::With::after) has come. A shutdown, and a drop of the pool, run what
    /// is queued on the calling thread.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().stepped().build()?;
    /// let handles = [pool.spawn(|| 1)?, pool.spawn(|| 2)?];
    /// assert_eq!(pool.queued(), 2);
    ///
    /// assert!(pool.step());
    /// assert_eq!(handles.each_ref().map(|handle| handle.is_finished()), [true, false]);
    /// assert!(pool.step() && !pool.step());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stepped(mut self) -> Self {
        self.options.run_on = RunOn::Stepper;
        self
    }
}

/// For tests, with the feature `test-util`.
impl<X> PoolControl<X> {
    /// Runs the next task of a [`stepped`](crate::Builder::stepped) pool on the calling thread. Returns whether one could start: `false` if
    /// nothing is queued, if the pool is paused, if another thread is stepping, and in any other pool. To take out a task that was cancelled
    /// in the queue, or waited too long there, is a step as well. A task that waits for another one of the pool runs that too, within the
    /// same step.
    ///
    /// ```
    /// let pool = formicary::Pool::builder().stepped().build()?;
    /// pool.submit(|| ())?;
    /// assert_eq!((pool.stats().completed, pool.step(), pool.stats().completed), (0, true, 1));
    /// assert!(!pool.step());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn step(&self) -> bool {
        self.engine.step()
    }

    /// Waits until at least so many tasks run at one moment, for at most `limit` of real time. Returns whether they do. So a test that needs a pool to be busy
    /// neither sleeps nor hopes; tasks that are to stay there wait for the test. Blocks, and looks every 100 µs.
    ///
    /// ```
    /// use std::sync::{Arc, Barrier};
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(2)?;
    /// let gate = Arc::new(Barrier::new(3));
    /// for _ in 0..2 {
    ///     let gate = Arc::clone(&gate);
    ///     pool.submit(move || _ = gate.wait())?;
    /// }
    /// assert!(pool.await_running(2, Duration::from_secs(10)));
    /// assert!(!pool.await_running(3, Duration::ZERO));
    /// gate.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "they may not run when the time is up"]
    pub fn await_running(&self, tasks: usize, limit: Duration) -> bool {
        // Not the crate's clock, which a test may have stopped.
        let begun = Instant::now();
        while self.running() < tasks {
            if begun.elapsed() >= limit {
                return false;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        true
    }
}
