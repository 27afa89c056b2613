//! How a pool ends, and opens again.

use std::future::poll_fn;
use std::time::Duration;

use super::control::PoolControl;
use crate::engine::stats::ShutdownReport;
use crate::error::BuildError;
use crate::sync::clock::deadline;

/// The end of a pool.
impl<X> PoolControl<X> {
    /// Closes the pool, runs all queued tasks, and joins every thread. New tasks, and those of blocked submitters, are refused as
    /// `Closed`. Dropping the pool does the same, unless [`on_drop`](crate::Builder::on_drop) says otherwise.
    ///
    /// It may be called from several threads and more than once: all calls wait for the same end. On a thread of the same pool (in a task,
    /// a hook, the drop of a state, the destructor of a thread-local) it closes the pool and returns at once; the pool then ends by
    /// itself. It also returns at once where threads of several pools would wait for each other's ends in a circle.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| ())?;
    /// assert!(pool.shutdown().is_complete());
    /// assert_eq!(pool.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("release", "close", "StopWait", "StopAndWait", "shutdown_join"))]
    pub fn shutdown(&self) -> ShutdownReport {
        self.engine.shutdown(None)
    }

    /// As [`shutdown`](Self::shutdown), but waits for at most `limit`. The report says what is left then, and the workers go on with it.
    ///
    /// This returns as soon as the pool has ended. If no worker is alive for queued tasks and the system refuses a thread, the tasks are
    /// left to the next shutdown: this one would have to run them on the calling thread, for as long as they take.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// let (done, gate) = std::sync::mpsc::channel::<()>();
    /// pool.submit(move || drop(gate.recv()))?;
    /// assert!(!pool.shutdown_timeout(Duration::from_millis(1)).is_complete());
    /// drop(done);
    /// assert!(pool.shutdown_timeout(Duration::from_secs(60)).is_complete());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("awaitTermination", "ReleaseTimeout", "StopAndWaitFor"))]
    #[must_use = "the pool may not have ended when the time is up"]
    pub fn shutdown_timeout(&self, limit: Duration) -> ShutdownReport {
        self.engine.shutdown(deadline(limit))
    }

    /// As [`shutdown`](Self::shutdown), as a future, which works on any executor. The first poll closes the pool; before it nothing
    /// happens. The future is ready when every thread has ended. Dropping it ends the wait and drops the waker; the shutdown goes on.
    ///
    /// A poll may block only to join threads that have finished their work, for as long as the destructors of their thread-locals take. On
    /// a thread of the same pool, and where threads of several pools would wait for each other's ends in a circle, the future is ready at
    /// once, as with `shutdown`. It runs no task: if no worker is alive for queued tasks and the system refuses a thread, it is ready, the
    /// report says what is left, and the next shutdown runs it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| ())?;
    /// assert!(pool.shutdown_async().await.is_complete());
    /// assert_eq!(pool.stats().completed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If it is polled after it was ready.
    pub async fn shutdown_async(&self) -> ShutdownReport {
        let mut ending = None;
        poll_fn(|poller| self.engine.poll_shutdown(&mut ending, poller.waker())).await
    }

    /// Closes the pool and returns the tasks that have not started, oldest first. Blocks until the running tasks have ended.
    ///
    /// The handles of the returned tasks report that they were cancelled. A task whose caller waits in `run` is not in the list: the caller
    /// gets its input back.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let (go, gate) = std::sync::mpsc::channel::<()>();
    /// let (started, begun) = std::sync::mpsc::channel();
    /// pool.submit(move || { started.send(()).unwrap(); drop(gate.recv()) })?;
    /// begun.recv()?;
    /// pool.submit(|| println!("perhaps"))?;
    /// drop(go);
    /// let returned = pool.shutdown_now();
    /// assert_eq!(pool.stats().completed + returned.len() as u64, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("shutdownNow", "Stop", "cancel_futures"))]
    #[must_use = "it holds the tasks that have not started; dropping it drops them"]
    pub fn shutdown_now(&self) -> Vec<X> {
        self.engine.shutdown_now()
    }

    /// Closes the pool and runs queued tasks for at most `limit`. Then it returns the tasks that have not started, oldest first, and tells
    /// the running ones to stop ([`Context::is_cancelled`](crate::Context::is_cancelled), and the tokens of tasks that were submitted with
    /// one). The report says how many still run. This does not wait for them; [`shutdown`](Self::shutdown) does.
    ///
    /// From a task of the same pool, which cannot end meanwhile, the time is up at once.
    ///
    /// ```
    /// use formicary::{Context, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let (started, begun) = std::sync::mpsc::channel();
    /// pool.submit(move || {
    ///     started.send(()).unwrap();
    ///     while Context::with(|cx| cx.is_cancelled()) == Some(false) {
    ///         std::thread::yield_now();
    ///     }
    /// })?;
    /// begun.recv()?;
    /// pool.submit(|| println!("does not start"))?;
    /// let (returned, _report) = pool.shutdown_graceful(std::time::Duration::from_millis(1));
    /// assert_eq!(returned.len(), 1);
    /// assert!(pool.shutdown().is_complete()); // the first task was told to stop
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "it holds the tasks that have not started, and says what still runs"]
    pub fn shutdown_graceful(&self, limit: Duration) -> (Vec<X>, ShutdownReport) {
        self.engine.shutdown_graceful(deadline(limit))
    }

    /// Closes the pool and waits for nothing: the workers run what is queued and end by themselves, and dropping the pool does not wait
    /// for them either, as with [`OnDrop::Detach`](crate::OnDrop::Detach). Never blocks. For a program that must end although a task does
    /// not, after a shutdown whose limit has passed.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = formicary::Pool::new(1)?;
    /// pool.submit(|| loop { std::thread::park() })?;
    /// if !pool.shutdown_timeout(Duration::from_millis(1)).is_complete() {
    ///     pool.detach();
    /// }
    /// drop(pool); // does not wait for ever
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("shutdown_background"))]
    pub fn detach(&self) {
        self.engine.detach();
    }

    /// Opens a pool again that has ended, with its options and its last capacity, and starts its minimum of workers. Pauses from before
    /// are over, even if their guards are still alive.
    ///
    /// ```
    /// let pool = formicary::Pool::new(1)?;
    /// let pause = pool.pause();
    /// pool.shutdown();
    /// pool.restart()?;
    /// assert_eq!(pool.run(|| 7)?, 7); // not paused
    /// # drop(pause);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StillRunning`](crate::BuildError::StillRunning) if the pool has not ended; otherwise as building.
    #[doc(alias("reboot"))]
    pub fn restart(&self) -> Result<(), BuildError> {
        self.engine.restart()
    }
}
